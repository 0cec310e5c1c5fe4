"""The Jacobian of the outputs, and the square root of Gauss-Newton that it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.operators._batched import DEFAULT_MEMORY
from landform.operators._gauss_newton import Curved, GaussNewton, pull, push
from landform.operators._ground import Ground
from landform.operators._operator import Operator


class Jacobian(Operator):
    """J, from a vector ``[P]`` to the change of every output ``[N * K]``; ``J.T`` goes back.

    Outputs are in the order of `Landscape.outputs`, flattened. With ``root`` it is the square root S of Gauss-Newton
    (of cross-entropy, without weight decay): ``G = S.T S``, with a row for each sample and class.
    """

    def __init__(self, ground: Ground, *, root: bool, memory: float) -> None:
        """Record the batches, and count the outputs.

        Args:
            ground: the point, the batches, the loss.
            root: whether to take the square root of Gauss-Newton in place of J.
            memory: bytes that the graphs kept between products may take.
        """
        self._graphs = _Graphs(ground, name="Jacobian", memory=memory, check=False)
        shapes = []
        with torch.no_grad():
            leaves = ground.layout.views(ground.point)
            for outputs, _ in ground.passes(leaves, 0):
                shapes.append(outputs.shape)
        self._shapes = shapes
        self._samples = sum(shape[0] for shape in shapes)
        if root and any(len(shape) != 2 for shape in shapes):
            raise BadInput("The square root of Gauss-Newton has a row for each sample and class: give outputs [N, K].")
        self._root = root
        rows = sum(shape.numel() for shape in shapes)
        of = self._graphs
        super().__init__(
            of.size, rows=rows, dtype=of.dtype, device=of.device, symmetric=False, layout=ground.layout,
            name="square root of Gauss-Newton" if root else "Jacobian",
        )  # fmt: skip

    def _batches(self) -> Iterator[Curved]:
        yield from self._graphs._kept
        for graph, _ in self._graphs._recorded(self._graphs.kept):
            yield graph

    def _matmat(self, vectors: Tensor) -> Tensor:
        of = self._graphs
        columns = [of._ground.layout.views(column.contiguous()) for column in vectors.T]
        rows: list[Tensor] = []
        with of._safe():
            for graph in self._batches():
                parts = [push([graph.linear], column, of._wanted)[0] for column in columns]
                if self._root:
                    parts = [_root(graph.linear.outputs.detach(), p, self._samples, back=False) for p in parts]
                rows.append(torch.stack([p.reshape(-1) for p in parts], dim=1) if parts else vectors.new_zeros(0, 0))
        self._charge(len(columns))
        return torch.cat(rows) if columns else vectors.new_zeros(self.rows, 0)

    def _adjoint(self, vectors: Tensor) -> Tensor:
        of = self._graphs
        leaves = list(of._leaves.values())
        total = vectors.new_zeros(self.size, vectors.shape[1])
        sizes = [shape.numel() for shape in self._shapes]
        with of._safe():
            for graph, part in zip(self._batches(), torch.split(vectors, sizes), strict=True):
                outputs = graph.linear.outputs
                for k, column in enumerate(part.T):
                    u = column.reshape(outputs.shape)
                    if self._root:
                        u = _root(outputs.detach(), u, self._samples, back=True)
                    found = pull([graph.linear], [u], leaves)
                    total[:, k] += torch.cat([t.reshape(-1) for t in found])
        self._charge(vectors.shape[1])
        return total

    def _charge(self, columns: int) -> None:
        product, recording = self._graphs.costs
        again = 1 - self._graphs.kept / len(self._shapes)
        self._spent += columns * product / 2 + recording * again


class _Graphs(GaussNewton):
    """Linearised batches, of any loss."""

    def _curve(self, outputs: Tensor, targets: Any, number: int) -> Callable[[Tensor], Tensor]:
        return torch.clone


def _root(outputs: Tensor, tangent: Tensor, samples: int, *, back: bool) -> Tensor:
    """L' t, or L t, with L L' = diag(p) - p p' over the samples: L = diag(sqrt p) - p sqrt(p)'."""
    p = outputs.softmax(-1)
    r = p.sqrt()
    found: Tensor
    if back:
        found = r * tangent - p * (r * tangent).sum(-1, keepdim=True)
    else:
        found = r * (tangent - (p * tangent).sum(-1, keepdim=True))
    return found.div(samples**0.5)


def jacobian(ground: Ground, *, root: bool = False, memory: float = DEFAULT_MEMORY) -> Jacobian:
    """Make the Jacobian of all outputs at a point, or the square root of Gauss-Newton for classification.

    Args:
        ground: the point, the batches, the loss.
        root: the square root S of the Gauss-Newton matrix of cross-entropy, ``G = S.T S``, in place of J.
        memory: bytes that the graphs kept between products may take.

    Returns:
        The operator, ``[N * K, P]``; ``.T`` is its adjoint.

    Raises:
        BadInput: when the square root is asked of another loss.
    """
    if root and ground.loss_name != "cross-entropy":
        raise BadInput(f"The square root of Gauss-Newton is known for cross-entropy; the loss is {ground.loss_name}.")
    return Jacobian(ground, root=root, memory=memory)
