"""Spectral density by stochastic Lanczos quadrature, with bands; exact where the operator is small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from landform.curvature._contract import Symmetric, check_count, check_operator, product
from landform.curvature._estimate import Estimate, over_probes, ratio
from landform.curvature._krylov import Krylov
from landform.errors import BadInput

Scale: TypeAlias = Literal["linear", "log"]

# A dense spectrum of this size takes a second or two, and is exact.
_EXACT = 1024


@dataclass(frozen=True)
class Density:
    """The spectrum of an operator as a probability density.

    Each probe gives a quadrature: nodes with weights that sum to 1, whose first 2m - 1 moments are those of the
    spectrum as seen by the probe. What is read off a density is the mean over probes, and its error their spread.

    Attributes:
        grid: where the density is given, ascending, ``[g]``.
        density: mean over probes, smoothed by a Gaussian of width ``width``, ``[g]``; on a "log" scale the density of
            asinh(x / linear), which is logarithmic on both sides and linear within ``linear`` of 0.
        band: standard error of the density, ``[g]``; nan for a single probe, 0 where exact.
        nodes: quadrature nodes, ascending, one row a probe, ``[probes, m]``.
        weights: their weights, ``[probes, m]``.
        size: P; a weight w stands for w P eigenvalues.
        exact: whether the nodes are all the eigenvalues.
        width: standard deviation of the smoothing, on the scale.
        scale: "linear" or "log".
        linear: half width of the linear part of a log scale.
        seed: of the probes.
        products: products spent here.
        converged: whether every quadrature is complete: exact, or of the number of steps asked for.
        bases: the Krylov bases, where they were kept: give one to `eigenpairs`, which then needs few products or none.
    """

    grid: Tensor
    density: Tensor
    band: Tensor
    nodes: Tensor = field(repr=False)
    weights: Tensor = field(repr=False)
    size: int
    exact: bool
    width: float
    scale: Scale
    linear: float
    seed: int
    products: int
    converged: bool
    bases: tuple[Krylov, ...] = field(default=(), repr=False, compare=False)

    def mean(self, values: Tensor) -> Estimate:
        """Mean of a function over the spectrum.

        Args:
            values: the function at the nodes, ``[probes, m]``.

        Returns:
            The mean, with its standard error over the probes.
        """
        each = (self.weights * values).sum(1)
        return over_probes(each, exact=self.exact)

    def moment(self, order: int) -> Estimate:
        """``tr(H^order) / P``.

        Args:
            order: 1, 2, ...; quadrature is exact for each probe up to 2m - 1.

        Returns:
            The moment, with its standard error.
        """
        return self.mean(self.nodes**order)

    @property
    def trace(self) -> Estimate:
        """Sum of the eigenvalues: the trace sample that the bases contain."""
        mean = self.moment(1)
        return Estimate(self.size * mean.value, self.size * mean.standard_error)

    def share(self, below: float = -math.inf, above: float = math.inf) -> Estimate:
        """Share of the eigenvalues outside an interval.

        Where the interval is cut in the midst of many eigenvalues, quadrature adds a bias of up to `resolution`.

        Args:
            below: eigenvalues less than this count.
            above: eigenvalues greater than this count.

        Returns:
            The share, with its standard error.
        """
        return self.mean(((self.nodes < below) | (self.nodes > above)).to(self.nodes))

    @property
    def negative(self) -> Estimate:
        """Share of negative eigenvalues; those within rounding of 0 do not count."""
        return self.share(below=-self._zero)

    @property
    def positive(self) -> Estimate:
        """Share of positive eigenvalues; those within rounding of 0 do not count."""
        return self.share(above=self._zero)

    def resolution(self, at: float = 0.0) -> float:
        """How far quadrature can be off in the share of eigenvalues below a place (Chebyshev, Markov, Stieltjes).

        Args:
            at: the place.

        Returns:
            The larger of the weights of the nodes on its two sides, mean over probes; 0 where exact. More steps make
            it smaller.
        """
        if self.exact:
            return 0.0
        found = []
        for x, w in zip(self.nodes, self.weights, strict=True):
            i = int((x < at).sum())
            found.append(float(w[max(i - 1, 0) : i + 1].max()))
        return sum(found) / len(found)

    def outliers(self, beyond: float) -> Estimate:
        """Share of the squared Frobenius norm that lies in eigenvalues of absolute value greater than ``beyond``.

        Args:
            beyond: where the bulk ends.

        Returns:
            The share; its standard error by the delta method.
        """
        far = self.nodes.abs() > beyond
        squares = (self.weights * self.nodes**2).sum(1)
        part = (self.weights * self.nodes**2 * far).sum(1)
        return ratio(part, squares, exact=self.exact)

    @property
    def _zero(self) -> float:
        return 1e-6 * float(self.nodes.abs().max())


def density(
    operator: Symmetric | Krylov | Sequence[Krylov],
    *,
    probes: int = 4,
    steps: int = 64,
    scale: Scale = "linear",
    points: int = 512,
    width: float | None = None,
    linear: float | None = None,
    exact: bool | None = None,
    block: int = 1,
    keep: bool = False,
    seed: int = 0,
) -> Density:
    """Estimate the spectral density (Golub & Welsch 1969; Lin, Saad & Yang 2016; Ghorbani et al. 2019).

    Probes are independent bases of full orthogonality, so that no eigenvalue appears twice. A basis that is given is
    read as it is, and extended where it has fewer steps than asked for.

    Args:
        operator: a symmetric operator; or one or several bases that grew from single random vectors and were never
            restarted.
        probes: independent bases; at least 2 give a band.
        steps: products for each.
        scale: "linear", or "log" for a density over many orders of magnitude on both sides of 0.
        points: of the grid.
        width: of the smoothing, on the scale; by default 1% of the range.
        linear: half width of the linear part of a log scale; by default 1e-5 of the largest absolute node.
        exact: take all eigenvalues of the dense matrix; by default where the size is at most 1,024 and the products
            are no more than the probes would take.
        block: probes whose products are taken together, as a block.
        keep: keep the bases (probes x steps x P numbers).
        seed: of the probes.

    Returns:
        The density.

    Raises:
        BadInput: when an argument makes no sense, or a basis given cannot be read as a quadrature.
    """
    if scale not in ("linear", "log"):
        raise BadInput(f"scale is {scale!r}: give 'linear' or 'log'.")
    check_count("points", points, 2)
    given = [operator] if isinstance(operator, Krylov) else operator if isinstance(operator, Sequence) else None
    if given is not None:
        bases = [_readable(basis) for basis in given]
        if not bases:
            raise BadInput("There is no basis in the list: give at least one.")
        H = bases[0].operator
        seed = bases[0].seed
    else:
        assert not isinstance(operator, Krylov | Sequence)
        H = operator
        check_operator(H)
        check_count("probes", probes, 1)
        check_count("steps", steps, 1)
        bases = []
    steps = min(steps, H.size)
    if exact is None:
        exact = not bases and H.size <= _EXACT and H.size <= probes * steps
    if exact:
        values = _eigenvalues(H)
        nodes, weights = values[None], torch.full((1, H.size), 1.0 / H.size, dtype=torch.float64)
        return _smooth(nodes, weights, H.size, True, scale, points, width, linear, seed, H.size, True, ())
    before = sum(basis.products for basis in bases)
    drawn = not bases
    quadratures: list[tuple[Tensor, Tensor]] = []
    kept: list[Krylov] = []
    numbers = range(probes) if drawn else range(len(bases))
    check_count("block", block, 1)
    spent = 0
    for first in range(0, len(numbers), block):
        some = numbers[first : first + block]
        group = [Krylov(H, seed=seed, number=i) for i in some] if drawn else [bases[i] for i in some]
        _together(group, steps)
        quadratures += [_quadrature(basis) for basis in group]
        if drawn:
            spent += sum(basis.products for basis in group)
        if keep or not drawn:
            kept += group
    if not drawn:
        spent = sum(basis.products for basis in bases) - before
    longest = max(len(nodes) for nodes, _ in quadratures)
    nodes = torch.stack([_padded(n, longest, float(n[-1])) for n, _ in quadratures])
    weights = torch.stack([_padded(w, longest, 0.0) for _, w in quadratures])
    return _smooth(nodes, weights, H.size, False, scale, points, width, linear, seed, spent, True, tuple(kept))


def _together(bases: Sequence[Krylov], steps: int) -> None:
    """Extend bases to a number of steps, taking their products as one block."""
    while waiting := [basis for basis in bases if basis.size < steps and basis.waiting]:
        if len(waiting) == 1:
            waiting[0].extend(1)
            continue
        results = product(waiting[0].operator, torch.stack([basis.next for basis in waiting], dim=1))
        for basis, result in zip(waiting, results.unbind(1), strict=True):
            basis.absorb(result.contiguous())


def _quadrature(basis: Krylov) -> tuple[Tensor, Tensor]:
    """Nodes and weights of one probe: Ritz values, and the squared first entries of their vectors."""
    ritz = basis.ritz()
    weights = ritz.coefficients[0] ** 2
    return torch.from_numpy(ritz.values.copy()), torch.from_numpy(weights / weights.sum())


def _readable(basis: Krylov) -> Krylov:
    if not isinstance(basis, Krylov):
        raise BadInput(f"A {type(basis).__name__} is no Krylov basis: give an operator, a basis, or a list of bases.")
    if basis.restarts or basis.given or basis.waiting > 1:
        raise BadInput(
            "This basis did not grow from one random vector without a restart, so it holds no quadrature of the "
            "spectrum: give one made by lf.curvature.krylov(H, steps)."
        )
    return basis


def _eigenvalues(H: Symmetric) -> Tensor:
    matrix = H.dense().to("cpu", torch.float64)
    if not bool(torch.isfinite(matrix).all()):
        raise BadInput("The operator's matrix holds NaN or infinity: look whether the point and the loss are finite.")
    values: Tensor = torch.linalg.eigvalsh(0.5 * (matrix + matrix.T))
    return values


def _padded(values: Tensor, length: int, filling: float) -> Tensor:
    return torch.cat([values, values.new_full((length - len(values),), filling)])


def _smooth(
    nodes: Tensor,
    weights: Tensor,
    size: int,
    exact: bool,
    scale: Scale,
    points: int,
    width: float | None,
    linear: float | None,
    seed: int,
    products: int,
    converged: bool,
    bases: tuple[Krylov, ...],
) -> Density:
    largest = max(float(nodes.abs().max()), 1e-300)
    linear = 1e-5 * largest if linear is None else linear
    if linear <= 0 or (width is not None and width <= 0):
        raise BadInput("The width of the smoothing and of the linear part must be positive.")
    onto = nodes if scale == "linear" else torch.asinh(nodes / linear)
    low, high = float(onto.min()), float(onto.max())
    width = 0.01 * max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-300) if width is None else width
    grid = torch.linspace(low - 5 * width, high + 5 * width, points, dtype=torch.float64)
    norm = width * math.sqrt(2 * math.pi)
    bumps = torch.stack(
        [
            (w[:, None] * torch.exp(-0.5 * ((grid - x[:, None]) / width) ** 2)).sum(0) / norm
            for x, w in zip(onto, weights, strict=True)
        ]
    )
    if exact:
        band = torch.zeros(points, dtype=torch.float64)
    elif len(bumps) > 1:
        band = bumps.std(0) / math.sqrt(len(bumps))
    else:
        band = torch.full((points,), math.nan, dtype=torch.float64)
    shown = grid if scale == "linear" else linear * torch.sinh(grid)
    return Density(
        grid=shown,
        density=bumps.mean(0),
        band=band,
        nodes=nodes,
        weights=weights,
        size=size,
        exact=exact,
        width=width,
        scale=scale,
        linear=linear,
        seed=seed,
        products=products,
        converged=converged,
        bases=bases,
    )
