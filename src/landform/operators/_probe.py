"""Is the operator the symmetric, finite thing it says it is? Two products tell."""

from __future__ import annotations

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.operators._operator import Operator

# Share of the typical size of u'Hv that rounding may leave between u'Hv and v'Hu.
# In float32 a loss that is nearly nothing leaves products of few right digits; a wrong derivative is off by far more.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-2}


def check_symmetry(operator: Operator, *, positive: bool = False) -> None:
    """Compare u'Hv with v'Hu for two random vectors, from a generator of its own.

    Args:
        operator: what to try.
        positive: whether u'Hu and v'Hv must not be negative either.

    Raises:
        BadInput: when products are not finite, not symmetric, or not positive where they must be.
    """
    generator = torch.Generator().manual_seed(20_201)
    pair = torch.randn(operator.size, 2, generator=generator, dtype=torch.float64).to(operator.device, operator.dtype)
    found = operator @ pair
    if not bool(torch.isfinite(found).all()):
        raise BadInput(
            f"A product of {operator.name} is not finite at this point: the loss has no second derivative there, or "
            "overflows; look at the loss at this point, or try float64."
        )
    products, vectors = _precise(found), _precise(pair)
    inner = vectors.T @ products
    # What u'Hv is for independent u: |u||Hv| / sqrt(P), about.
    typical = float((vectors.norm(dim=0).mean() * products.norm(dim=0).max()) / operator.size**0.5)
    allowed = _TOLERANCE.get(operator.dtype, 0.1)
    gap = abs(float(inner[0, 1] - inner[1, 0]))
    if gap > allowed * typical:
        raise BadInput(
            f"The {operator.name} is not symmetric: u'Hv and v'Hu differ by {gap / typical:.1e} of their size, "
            f"{allowed:.0e} is rounding; an operation of the model or the loss has a wrong derivative, so replace it "
            "(check=False takes the products as they are)."
        )
    if positive and float(inner.diagonal().min()) < -allowed * typical:
        raise BadInput(
            f"The {operator.name} is not positive: the loss is not convex in the model's outputs, so take the Hessian, "
            "or give a convex loss (check=False takes the products as they are)."
        )


def _precise(block: Tensor) -> Tensor:
    return block.detach().cpu().double()
