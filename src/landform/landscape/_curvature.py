"""The operators of a landscape at a point: `Landscape` has these functions as its methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from landform import operators
from landform.landscape._terms import samples_in
from landform.operators import FisherKind, Ground, Operator, Sampler

if TYPE_CHECKING:
    from landform.landscape._landscape import Buffers, Landscape

MEMORY = 2**30


def hessian(
    self: Landscape, point: Tensor, *, memory: float = MEMORY, check: bool = True, buffers: Buffers | None = None
) -> Operator:
    """The Hessian of the mean loss, weight decay included, as an exact operator over the full data.

    Args:
        self: the landscape.
        point: where, ``[P]``.
        memory: bytes that gradient graphs kept between products may take; the batches beyond are gone through anew.
        check: whether to try that products are symmetric, by two of them.
        buffers: buffers to use instead of the landscape's own, such as a record's; they count as constants.

    Returns:
        The operator: ``H @ v``, ``H @ V``, ``H.dense()``, ``H.part(part)``, ``H.restricted(M)``, ``H.to_scipy()``.
    """
    return operators.hessian(_ground(self, point, buffers), memory=memory, check=check)


def gauss_newton(
    self: Landscape, point: Tensor, *, memory: float = MEMORY, check: bool = True, buffers: Buffers | None = None
) -> Operator:
    """The Gauss-Newton matrix J' H_L J of the mean loss, weight decay included, for a loss convex in the outputs.

    Args:
        self: the landscape.
        point: where, ``[P]``.
        memory: bytes that graphs kept between products may take.
        check: whether to try that products are symmetric and positive, by two of them.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The operator.
    """
    return operators.gauss_newton(_ground(self, point, buffers), memory=memory, check=check)


def fisher(
    self: Landscape,
    point: Tensor,
    *,
    kind: FisherKind = "true",
    draws: int = 16,
    seed: int = 0,
    sampler: Sampler | None = None,
    memory: float = MEMORY,
    check: bool = True,
    buffers: Buffers | None = None,
) -> Operator:
    """The Fisher information of the model's distribution, without weight decay.

    Args:
        self: the landscape.
        point: where, ``[P]``.
        kind: ``"true"`` (exact), ``"empirical"`` (with the data's targets) or ``"sampled"`` (with targets drawn from
            the model; it also gives standard errors).
        draws: targets drawn for each sample, where they are.
        seed: for drawing.
        sampler: draws targets for a loss of one's own: (outputs, CPU generator) to targets for the loss.
        memory: bytes that graphs kept between products may take.
        check: whether to try that products are symmetric and positive, by two of them.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The operator.
    """
    ground = _ground(self, point, buffers)
    return operators.fisher(ground, kind=kind, draws=draws, seed=seed, sampler=sampler, memory=memory, check=check)


def functional_hessian(
    self: Landscape, point: Tensor, *, memory: float = MEMORY, check: bool = True, buffers: Buffers | None = None
) -> Operator:
    """The Hessian less Gauss-Newton: what comes from the curvature of the model itself.

    Args:
        self: the landscape.
        point: where, ``[P]``.
        memory: bytes that graphs kept between products may take.
        check: whether to try that products are symmetric.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The operator.
    """
    return operators.functional_hessian(_ground(self, point, buffers), memory=memory, check=check)


def jacobian(
    self: Landscape, point: Tensor, *, root: bool = False, memory: float = MEMORY, buffers: Buffers | None = None
) -> Operator:
    """The Jacobian of all outputs, flattened, by the parameters.

    Args:
        self: the landscape.
        point: where, ``[P]``.
        root: the square root S of the Gauss-Newton matrix of cross-entropy in its place: ``G = S.T S``.
        memory: bytes that graphs kept between products may take.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The operator, ``[N * K, P]``; ``.T`` is its adjoint.
    """
    return operators.jacobian(_ground(self, point, buffers), root=root, memory=memory)


def _ground(landscape: Landscape, point: Tensor, buffers: Buffers | None) -> Ground:
    if isinstance(point, Tensor) and point.dim() == 1:
        ((point, buffers),) = landscape._blocks(point, buffers)
    point = point.to(landscape.device, landscape.dtype) if isinstance(point, Tensor) else point
    own = buffers or {}
    return Ground(
        point,
        landscape.layout,
        lambda leaves, start: landscape._passes(point, own, leaves, start),
        landscape._loss,
        landscape._loss_name,
        landscape.weight_decay,
        samples_in,
        coupled=landscape.batchnorm == "batch",
    )
