"""What the Hessian holds beyond Gauss-Newton."""

from __future__ import annotations

from landform.operators._batched import DEFAULT_MEMORY
from landform.operators._gauss_newton import gauss_newton
from landform.operators._ground import Ground
from landform.operators._hessian import hessian
from landform.operators._operator import Operator


def functional_hessian(ground: Ground, *, memory: float = DEFAULT_MEMORY, check: bool = True) -> Operator:
    """Make H - G: the part of the Hessian that comes from the curvature of the model itself.

    It is the mean over samples of the Hessians of the outputs, each weighted by the loss's slope by it. Weight decay is
    in both, and cancels.

    Args:
        ground: the point, the batches, the loss.
        memory: bytes that the graphs kept between products may take, half for each of the two.
        check: whether to try that products are symmetric.

    Returns:
        The operator.
    """
    whole = hessian(ground, memory=memory / 2, check=check)
    made = whole - gauss_newton(ground, memory=memory / 2, check=check)
    made.name = "functional Hessian"
    return made
