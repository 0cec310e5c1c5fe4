"""The tangent kernel by its products with vectors, without forming it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.operators import Operator


class KernelOperator(Operator):
    """``J J'`` of a Jacobian, or its trace over outputs, as a symmetric operator.

    Vectors are outputs of all samples, flattened as `Landscape.outputs` orders them (samples slow, outputs fast); those
    of the trace kernel have one number for each sample. It goes wherever an operator goes: `curvature.solve` (conjugate
    gradients), `curvature.eigenpairs`, `curvature.density`, ``K.to_scipy()``.
    """

    def __init__(self, jacobian: Operator, outputs: int = 1, *, traced: bool = False) -> None:
        """Take the Jacobian.

        Args:
            jacobian: ``[N K, P]``.
            outputs: K.
            traced: whether to sum over the outputs.
        """
        size = jacobian.rows // outputs if traced else jacobian.rows
        name = "trace tangent kernel" if traced else "tangent kernel"
        super().__init__(size, dtype=jacobian.dtype, device=jacobian.device, name=name)
        self._jacobian, self._outputs, self._traced = jacobian, outputs, traced

    @property
    def gradients(self) -> float:
        """What all products so far cost, in gradients of the mean loss over the full data."""
        return self._spent

    def _matmat(self, vectors: Tensor) -> Tensor:
        before = self._jacobian.gradients
        if self._traced:
            found = self._sum_over_outputs(vectors)
        else:
            found = self._jacobian @ (self._jacobian.T @ vectors)
        self._spent += self._jacobian.gradients - before
        return found

    def _sum_over_outputs(self, vectors: Tensor) -> Tensor:
        """``sum_k J_k J_k' v``: a product with the full kernel for each output."""
        total = torch.zeros_like(vectors)
        for k in range(self._outputs):
            lifted = vectors.new_zeros(self.size, self._outputs, vectors.shape[1])
            lifted[:, k] = vectors
            moved = self._jacobian @ (self._jacobian.T @ lifted.reshape(self._jacobian.rows, -1))
            total += moved.reshape(self.size, self._outputs, -1)[:, k]
        return total


def operator(
    landscape: Landscape,
    point: Tensor,
    *,
    kind: Literal["full", "trace"] = "full",
    memory: float = 2**30,
    buffers: Mapping[str, Tensor] | None = None,
) -> KernelOperator:
    """See the tangent kernel of a landscape's data as an operator.

    A product costs a Jacobian product back and one forth, as one with the Gauss-Newton matrix does, and K times that
    for the trace kernel; no ``N K x N K`` matrix is held.

    Args:
        landscape: the network and the data.
        point: where, ``[P]``.
        kind: ``"full"``, ``[N K, N K]``, or ``"trace"``, summed over outputs, ``[N, N]``.
        memory: bytes that the graphs kept between products may take.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The operator, symmetric and positive.

    Raises:
        BadInput: when the kind is unknown.
    """
    if kind not in ("full", "trace"):
        raise BadInput(f"kind is {kind!r}: give 'full' or 'trace'.")
    jacobian = landscape.jacobian(point, memory=memory, buffers=buffers)
    outputs = 1
    if kind == "trace":
        shape = landscape.outputs(point, buffers=buffers).shape
        outputs = shape.numel() // shape[0]
    return KernelOperator(jacobian, outputs, traced=kind == "trace")
