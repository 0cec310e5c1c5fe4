"""Random straight cuts through a point, and how wide the tunnel of low loss around it is.

Width means nothing without a unit: a network with rectifiers whose weights all double has walls twice as far away and
computes the same. So each width is told three times: as an L2 distance, relative to the norm of the weights, and in
units of each filter's norm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.surface._contract import MEMORY, Extent, at_least, one_point, ranges
from landform.surface._directions import Treatment
from landform.surface._random import SCALES, Scale, random
from landform.surface._reading import read

Progress: TypeAlias = Callable[[int, int], None]
Unit: TypeAlias = Literal["raw", "relative", "filter"]

# Distances grow by this factor until the threshold is passed.
_GROWTH = 2**0.5


@dataclass(frozen=True)
class Cuts:
    """Losses along random straight lines through a point.

    Attributes:
        alphas: coordinates along each line, ``[steps]``, float64.
        losses: ``[lines, steps]``, float64.
        errors: shares of wrong labels, likewise; None without labels.
        norms: L2 norm of each direction, ``[lines]``.
        how: how the directions were made.
        unit: what a coordinate of one means.
    """

    alphas: Tensor
    losses: Tensor
    errors: Tensor | None
    norms: Tensor
    how: str
    unit: str


@dataclass(frozen=True)
class Tunnel:
    """How far a threshold lies from a point along random straight lines.

    Attributes:
        threshold: the loss, or share of wrong labels, that makes a wall.
        centre: what it is at the point.
        measure: which of the two.
        raw: L2 distances of the walls on both sides, ``[cuts, 2]``, float64; infinity where there was none.
        relative: the same as shares of the norm of the weights.
        filter: distances along filter-normalised lines in units of the filters' norms, ``[cuts, 2]``.
        reach: how far was looked, in units of the norm of the weights and of the filters' norms.
        tolerance: how exact the distances are, relatively.
        passes: forward passes over the data that it took.
        treatment: what became of biases and normalisation layers on the filter-normalised lines.
    """

    threshold: float
    centre: float
    measure: str
    raw: Tensor
    relative: Tensor
    filter: Tensor
    reach: float
    tolerance: float
    passes: int
    treatment: str

    def widths(self, unit: Unit = "filter") -> Tensor:
        """Distance from wall to wall along each line.

        Args:
            unit: which normalisation.

        Returns:
            ``[cuts]``; infinity where one side has no wall within reach.
        """
        found: Tensor = getattr(self, unit).sum(1)
        return found

    def width(self, unit: Unit = "filter") -> float:
        """The median width.

        Args:
            unit: which normalisation.

        Returns:
            The median over the cuts; infinity where half of them or more never reach the threshold.
        """
        ordered = self.widths(unit).sort().values
        low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        return float((low + high) / 2)

    def reached(self, unit: Unit = "filter") -> float:
        """Share of the sides that have a wall within reach.

        Args:
            unit: which normalisation.

        Returns:
            The share.
        """
        return float(torch.isfinite(getattr(self, unit)).double().mean())

    def __str__(self) -> str:
        said = ", ".join(
            f"{self.width(unit):.3g} {name}"  # type: ignore[arg-type]
            for unit, name in (("raw", "in L2 distance"), ("relative", "of the norm"), ("filter", "filter norms"))
        )
        missing = [
            f"{1 - self.reached(unit):.0%} of the {name} sides never reach it within {self.reach:g}"  # type: ignore[arg-type]
            for unit, name in (("relative", "plain"), ("filter", "filter-normalised"))
            if self.reached(unit) < 1  # type: ignore[arg-type]
        ]
        return (
            f"median width of {len(self.raw)} cuts at {self.measure} {self.threshold:.4g} ({self.centre:.4g} at the "
            f"point): {said}{'; ' + '; '.join(missing) if missing else ''}"
        )


def cuts(
    landscape: Landscape,
    point: Tensor | None = None,
    count: int = 10,
    *,
    scale: Scale = "filter",
    biases: Treatment = "zero",
    norms: Treatment = "zero",
    extent: Extent = 1.0,
    steps: int = 41,
    seed: int = 0,
    memory: float = MEMORY,
    progress: Progress | None = None,
) -> Cuts:
    """Read a landscape along random straight lines through a point.

    Args:
        landscape: what to read.
        point: ``[P]``; the model's own by default.
        count: how many lines.
        scale: of the directions, as for `random`.
        biases: what becomes of biases.
        norms: what becomes of normalisation layers.
        extent: how far to go on both sides, or (lowest, highest).
        steps: how many places each line has.
        seed: decides the directions.
        memory: bytes of points that are made at a time.
        progress: called with (lines read, lines in all).

    Returns:
        Losses along the lines.

    Raises:
        BadInput: when something does not fit.
    """
    here = one_point(landscape, landscape.here if point is None else point, "The centre")
    at_least("count", count, 1)
    at_least("steps", steps, 2)
    ((low, high),) = ranges(extent, 1)
    half = torch.arange(steps, dtype=torch.float64) - (steps - 1) / 2
    alphas = (low + high) / 2 + half * ((high - low) / (steps - 1))
    losses, errors, lengths, how = [], [], [], ""
    for i, one in enumerate(_seeds(seed, count)):
        basis = random(landscape, here, 1, scale=scale, biases=biases, norms=norms, seed=one)
        found = read(landscape, here, basis.vectors, alphas[:, None], memory=memory)
        losses.append(found.losses)
        errors.append(found.errors)
        lengths.append(basis.norms)
        how = f"Random Gaussian, {SCALES[scale][0]}, seed {seed}; {basis.treatment}"
        if progress:
            progress(i + 1, count)
    seen = [one for one in errors if one is not None]
    return Cuts(
        alphas,
        torch.stack(losses),
        torch.stack(seen) if seen else None,
        torch.cat(lengths).cpu(),
        how,
        SCALES[scale][1],
    )


def tunnel(
    landscape: Landscape,
    point: Tensor | None = None,
    *,
    threshold: float,
    count: int = 10,
    measure: Literal["loss", "error"] = "loss",
    biases: Treatment = "zero",
    norms: Treatment = "zero",
    reach: float = 10.0,
    tol: float = 1e-3,
    seed: int = 0,
    memory: float = MEMORY,
    progress: Progress | None = None,
) -> Tunnel:
    """Measure how far one can go straight, in random directions, before the loss passes a threshold.

    Each side is walked outwards by steps that grow by a factor of about 1.4 until the threshold is passed, and the
    place of the wall is then found by bisection; a wall thinner than a step can be missed, what is no number counts as
    above. Plain lines move every parameter; the same draws, filter-normalised, make the other lines.

    Args:
        landscape: what to read.
        point: ``[P]``; the model's own by default.
        threshold: what makes a wall; compare tunnels at one threshold only.
        count: how many lines.
        measure: ``"loss"`` or ``"error"``, the share of wrong labels.
        biases: what becomes of biases on the filter-normalised lines.
        norms: what becomes of normalisation layers there.
        reach: how far to look, in units of the norm of the weights, or of the filters' norms.
        tol: how exact the distances are to be, relatively.
        seed: decides the directions.
        memory: bytes of points that are made at a time.
        progress: called with (sides done, sides in all).

    Returns:
        Distances of the walls; infinity where there is none within reach.

    Raises:
        BadInput: when the point itself lies above the threshold, or something does not fit.
    """
    here = one_point(landscape, landscape.here if point is None else point, "The centre")
    at_least("count", count, 1)
    if measure not in ("loss", "error"):
        raise BadInput(f"measure is {measure!r}: give 'loss' or 'error'.")
    if not (0 < tol < 1 and 0 < reach < math.inf):
        raise BadInput(f"tol is {tol!r} and reach {reach!r}: give a tol between 0 and 1 and a reach above 0.")
    measured = landscape.error if measure == "error" else landscape.loss
    centre = float(measured(here))
    if not centre <= threshold:
        raise BadInput(
            f"The {measure} at the point is {centre:.4g}, above the threshold {threshold:g}: there is no tunnel to "
            "measure; give a higher threshold."
        )
    found: dict[str, list[Tensor]] = {"model": [], "filter": []}
    passes, done, sides = 1, 0, 4 * count
    again = 1 + (landscape.batchnorm == "recompute")
    together = max(1, int(memory / (3 * here.element_size() * len(here))))
    for scale, walls in found.items():
        for seeds in _parts(_seeds(seed, count), together):
            rows = torch.cat([_direction(landscape, here, scale, biases, norms, one) for one in seeds])

            def above(at: Tensor, which: Tensor, rows: Tensor = rows) -> Tensor:
                points = here + at.to(rows)[:, None] * rows[which // 2]
                return ~(measured(points) <= threshold)  # NaN is above

            part, reads = _walls(above, len(seeds), reach, tol, together)
            walls.append(part)
            passes += reads * again
            done += 2 * len(seeds)
            if progress:
                progress(done, sides)
    relative, filtered = torch.cat(found["model"]), torch.cat(found["filter"])
    treatment = random(landscape, here, 1, biases=biases, norms=norms).treatment
    norm = float(torch.linalg.vector_norm(here.cpu().double()))
    return Tunnel(float(threshold), centre, measure, relative * norm, relative, filtered, reach, tol, passes, treatment)


def _walls(
    above: Callable[[Tensor, Tensor], Tensor], lines: int, reach: float, tol: float, together: int
) -> tuple[Tensor, int]:
    """Distance of the first wall on both sides of each line, ``[lines, 2]``, and at how many points that was read."""
    sign = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(lines)
    low, high = torch.zeros(2 * lines, dtype=torch.float64), torch.full((2 * lines,), math.inf, dtype=torch.float64)
    reads = 0

    def ask(at: Tensor, which: Tensor) -> Tensor:
        nonlocal reads
        reads += len(which)
        parts = [which[start : start + together] for start in range(0, len(which), together)]
        return torch.cat([above(at[part] * sign[part], part) for part in parts])

    walked = math.ceil(math.log(1e3) / math.log(_GROWTH))
    for step in range(walked, -1, -1):
        open_ = high.isinf().nonzero()[:, 0]
        if not len(open_):
            break
        at = torch.full_like(low, reach * _GROWTH**-step)
        hit = ask(at, open_)
        high[open_[hit]] = at[open_[hit]]
        low[open_[~hit]] = at[open_[~hit]]
    while len(wide := (high.isfinite() & (high - low > tol * high)).nonzero()[:, 0]):
        middle = (low + high) / 2
        hit = ask(middle, wide)
        high[wide[hit]] = middle[wide[hit]]
        low[wide[~hit]] = middle[wide[~hit]]
    return torch.where(high.isfinite(), (low + high) / 2, high).view(lines, 2), reads


def _direction(
    landscape: Landscape, here: Tensor, scale: str, biases: Treatment, norms: Treatment, seed: int
) -> Tensor:
    if scale == "model":
        return random(landscape, here, 1, scale="model", biases="keep", norms="keep", seed=seed).vectors
    return random(landscape, here, 1, biases=biases, norms=norms, seed=seed).vectors


def _seeds(seed: int, count: int) -> list[int]:
    """A seed for each line; the first of many are those of few."""
    generator = torch.Generator().manual_seed(seed)
    return [int(torch.randint(2**62, (1,), generator=generator)) for _ in range(count)]


def _parts(seeds: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(seeds), size):
        yield seeds[start : start + size]
