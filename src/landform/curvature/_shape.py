"""The shape of a spectrum in a few numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landform.curvature._contract import Symmetric
from landform.curvature._density import Density, density
from landform.curvature._estimate import Estimate
from landform.curvature._krylov import Krylov


@dataclass(frozen=True)
class Shape:
    """Numbers that sum a spectrum up, all from the same products; errors by the jackknife over probes.

    Attributes:
        trace: sum of the eigenvalues.
        frobenius: ``||H||_F``, root of the summed squares.
        ratio: trace over Frobenius norm, in [-sqrt(P), sqrt(P)]: the excess of positive curvature (Fort & Scherlis
            2018).
        positive: share of positive eigenvalues (those within rounding of 0 count on neither side).
        negative: share of negative eigenvalues.
        participation: ``trace^2 / ||H||_F^2``: how many equal eigenvalues would do the same.
        effective_rank: exponential of the entropy of ``|eigenvalue| / sum |eigenvalue|`` (Roy & Vetterli 2007).
        exact: whether all eigenvalues were used.
        products: products spent.
        probes: random vectors.
        seed: of the probes.
    """

    trace: Estimate
    frobenius: Estimate
    ratio: Estimate
    positive: Estimate
    negative: Estimate
    participation: Estimate
    effective_rank: Estimate
    exact: bool
    products: int
    probes: int
    seed: int


def shape(
    operator: Symmetric | Krylov | Sequence[Krylov] | Density, *, probes: int = 8, steps: int = 32, seed: int = 0
) -> Shape:
    """Sum a spectrum up.

    Args:
        operator: a symmetric operator; Krylov bases; or a density, of which it is then read at no cost.
        probes: random vectors, where the operator is not small enough to be exact.
        steps: products for each.
        seed: of the probes.

    Returns:
        The numbers. Where all that is wanted is the trace to some accuracy, `trace` is cheaper.
    """
    cost = 0
    if isinstance(operator, Density):
        found = operator
    else:
        found = density(operator, probes=probes, steps=steps, seed=seed)
        cost = found.products
    x, w, size = found.nodes, found.weights, found.size
    zero = 1e-6 * float(x.abs().max())
    sizes = x.abs().clamp_min(1e-300)
    # Each of the numbers is a function of five means over the spectrum.
    each = torch.stack(
        [
            (w * x).sum(1),
            (w * x * x).sum(1),
            (w * (x > zero)).sum(1),
            (w * (x < -zero)).sum(1),
            (w * sizes).sum(1),
            (w * sizes * sizes.log()).sum(1),
        ],
        dim=1,
    )

    def over(function: Callable[[Tensor], float]) -> Estimate:
        value = function(each.mean(0))
        n = len(each)
        if found.exact:
            return Estimate(value, 0.0)
        if n < 2:
            return Estimate(value, math.nan)
        without = torch.tensor([function((each.sum(0) - row) / (n - 1)) for row in each], dtype=torch.float64)
        return Estimate(value, math.sqrt((n - 1) / n * float((without - without.mean()).square().sum())))

    def ratio_(m: Tensor) -> float:
        return math.sqrt(size) * float(m[0]) / math.sqrt(max(float(m[1]), 1e-300))

    def rank(m: Tensor) -> float:
        return math.exp(math.log(size * max(float(m[4]), 1e-300)) - float(m[5]) / max(float(m[4]), 1e-300))

    return Shape(
        trace=over(lambda m: size * float(m[0])),
        frobenius=over(lambda m: math.sqrt(size * float(m[1]))),
        ratio=over(ratio_),
        positive=over(lambda m: float(m[2])),
        negative=over(lambda m: float(m[3])),
        participation=over(lambda m: ratio_(m) ** 2),
        effective_rank=over(rank),
        exact=found.exact,
        products=cost,
        probes=len(each),
        seed=found.seed,
    )
