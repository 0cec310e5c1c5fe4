"""A grid read only where it has to be: finer where the surface bends, interpolated elsewhere.

A coarse grid of cells is read first. Then the middle of every cell (and of its sides on the rim, where nothing lies
beyond) is foretold by interpolation from all that is known, and read. Where a cell was foretold badly, or one of its
neighbours very badly, it is cut in halves along each axis, and its parts are tried in turn, down to the grid itself.
What is accepted has been tried: the largest miss among the accepted is the estimate of the error. It is an estimate and
no bound: a spike narrower than the distance between the places read can be missed.

The interpolation is by radial functions ``r^3`` with a polynomial of second degree: exact at every place read, and of
fourth order between them, however the places lie.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from landform.errors import BadInput
from landform.surface._reading import Values
from landform.surface._surface import Within

Reading: TypeAlias = Callable[[Tensor, Callable[[int, int], None] | None], Values]
Place: TypeAlias = tuple[int, ...]
Cell: TypeAlias = tuple[tuple[int, int], ...]
Numbers: TypeAlias = NDArray[np.float64]

# Cells along an axis to begin with, and the least that one is wide.
_CELLS, _WIDE = 6, 4
# With more places known than this, the nearest of them interpolate a place: the whole system grows as their cube.
_ALL, _NEAREST = 1500, 60
# How many times the tolerance a neighbour may have been missed by. Found on grids of 25 and 51 places a side around
# trained and untrained networks: with more, places of steep relative change near a minimum were off by more than asked.
_NEAR: dict[Within, float] = {"range": 4.0, "value": 1.0}
# Share of a constant loss that single precision leaves uncertain.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Refined:
    """A grid of which some places were read.

    Attributes:
        losses: ``[steps, ...]``, float64.
        errors: likewise, between 0 and 1; None where the targets are not labels.
        read: which places were read, of bool.
        estimate: the largest miss where the interpolation was tried and accepted, in the measure asked for; None where
            every place was read.
        how: how places were read, in words.
        passes: forward passes over the data that it took.
    """

    losses: Tensor
    errors: Tensor | None
    read: Tensor
    estimate: float | None
    how: str
    passes: int


def refine(
    reading: Reading,
    axes: Sequence[Tensor],
    tolerance: float,
    within: Within = "range",
    progress: Callable[[int, int], None] | None = None,
) -> Refined:
    """Read a grid where it has to be read.

    Args:
        reading: reads coordinates ``[n, k]``.
        axes: coordinates along each axis.
        tolerance: the largest difference from the whole grid that is aimed at.
        within: of what it is a share: of the ``"range"`` of the losses, or of the ``"value"`` at each place.
        progress: called with (places read, places of the grid).

    Returns:
        The grid.
    """
    grid = _Grid(reading, axes, within, progress)
    lines = [_coarse(len(axis)) for axis in axes]
    grid.want(itertools.product(*lines))
    cells: list[Cell] = list(itertools.product(*(tuple(itertools.pairwise(line)) for line in lines)))
    estimate = 0.0
    while cells:
        tried = {cell: _middles(cell, grid.shape) for cell in cells}
        missed = grid.miss({place for middles in tried.values() for place in middles})
        worst = {
            cell: max((missed[place] for place in middles if place in missed), default=0.0)
            for cell, middles in tried.items()
        }
        cells = []
        for cell, miss in worst.items():
            near = max(other for place, other in worst.items() if _touch(cell, place))
            if miss > tolerance or near > _NEAR[within] * tolerance:
                grid.want(_corners(cell))
                cells += _halves(cell)
            else:
                estimate = max(estimate, miss)
    return grid.filled(estimate)


def check_refinement(tolerance: float | None, within: Within) -> None:
    """Refuse a tolerance that is no share.

    Args:
        tolerance: as for `refine`; None where every place is read.
        within: likewise.

    Raises:
        BadInput: when there is no such tolerance.
    """
    if tolerance is not None and not 0 < tolerance < 1:
        raise BadInput(f"tolerance is {tolerance!r}: give a share between 0 and 1, such as 0.01; None reads all.")
    if within not in ("range", "value"):
        raise BadInput(f"within is {within!r}: give 'range' or 'value'.")


class _Grid:
    """What is known of a grid."""

    def __init__(
        self,
        reading: Reading,
        axes: Sequence[Tensor],
        within: Within,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.shape = tuple(len(axis) for axis in axes)
        self._reading, self._axes, self._within, self._progress = reading, axes, within, progress
        self._known: dict[Place, tuple[float, float]] = {}
        self._waiting: set[Place] = set()
        self._labels = True
        self._how, self._passes = "", 0

    def want(self, places: Iterable[Place]) -> None:
        """Note places to be read; they are read together when something is asked of the grid."""
        self._waiting |= set(places) - self._known.keys()

    def miss(self, places: set[Place]) -> dict[Place, float]:
        """Read places that are not known, and tell by how much what is known otherwise would have missed each."""
        new = sorted(places - self._known.keys() - self._waiting)
        self.want(new)
        self._settle()
        if not new:
            return {}
        found = {place: self._known.pop(place) for place in new}
        foretold = self._interpolated(new, 0)
        self._known.update(found)
        true = np.array([loss for loss, _ in found.values()])
        whole = np.abs(true) if self._within == "value" else np.full(len(new), self._range())
        with np.errstate(invalid="ignore", divide="ignore"):
            off = np.abs(foretold - true) / whole
        # Nothing is foretold of a place without a number; on a flat surface nothing is missed.
        off = np.where(foretold == true, 0.0, np.where(np.isfinite(off), off, np.inf))
        return dict(zip(new, off.tolist(), strict=True))

    def filled(self, estimate: float) -> Refined:
        """The whole grid, interpolated where it was not read."""
        self._settle()
        losses = torch.full(self.shape, torch.nan, dtype=torch.float64)
        errors, read = losses.clone(), torch.zeros(self.shape, dtype=torch.bool)
        for place, (loss, error) in self._known.items():
            losses[place], errors[place], read[place] = loss, error, True
        left = [tuple(place) for place in (~read).nonzero().tolist()]
        if left:
            at = tuple(torch.tensor(left).T)
            losses[at] = torch.from_numpy(self._interpolated(left, 0))
            if self._labels:
                errors[at] = torch.from_numpy(self._interpolated(left, 1)).clamp(0, 1)
        return Refined(losses, errors if self._labels else None, read, estimate, self._how, self._passes)

    def _settle(self) -> None:
        if not self._waiting:
            return
        new = sorted(self._waiting)
        self._waiting = set()
        at = torch.stack([axis[list(column)] for axis, column in zip(self._axes, zip(*new, strict=True), strict=True)])
        known, size, progress = len(self._known), int(np.prod(self.shape)), self._progress
        told = None if progress is None else lambda done, total: progress(known + done, size)
        found = self._reading(at.T.contiguous(), told)
        self._labels = found.errors is not None
        errors = found.losses * torch.nan if found.errors is None else found.errors
        self._known.update(zip(new, zip(found.losses.tolist(), errors.tolist(), strict=True), strict=True))
        self._how, self._passes = found.how, self._passes + found.passes

    def _range(self) -> float:
        """What the losses range over; not less than rounding makes of a constant."""
        seen = self._finite(0)
        return max(float(np.ptp(seen)), _ROUNDING * float(np.abs(seen).max())) if len(seen) else 0.0

    def _finite(self, which: int) -> Numbers:
        values = np.array([value[which] for value in self._known.values()])
        found: Numbers = values[np.isfinite(values)]
        return found

    def _interpolated(self, places: Sequence[Place], which: int) -> Numbers:
        """Losses (0) or errors (1) at places, from all that are known and finite; nan where too few are."""
        knots = np.array([place for place, value in self._known.items() if np.isfinite(value[which])], dtype=np.float64)
        values = self._finite(which)
        least = 2 + len(self.shape) + len(self.shape) * (len(self.shape) + 1) // 2
        if len(values) < least:
            return np.full(len(places), np.nan)
        # Relative misses are evened out where logarithms are interpolated; they need positive numbers.
        logs = which == 0 and self._within == "value" and bool((values > 0).all())
        given = np.log(values) if logs else values
        scale = 2 / (np.array(self.shape, dtype=np.float64) - 1)
        # On an axis of two places a square is a constant.
        degree = 2 if all(len(np.unique(column)) > 2 for column in knots.T) else 1
        near = None if len(values) <= _ALL else _NEAREST
        some = slice(None, None, 1 + len(values) // _NEAREST)
        try:
            made = RBFInterpolator(knots * scale, given, kernel="cubic", degree=degree, neighbors=near)
            right = np.allclose(made(knots[some] * scale), given[some], rtol=1e-6, atol=1e-6 * np.abs(given).max())
        except np.linalg.LinAlgError:
            right = False
        if not right:  # what is finite lies on one line, or the like
            return np.full(len(places), np.nan)
        found: Numbers = made(np.array(places, dtype=np.float64) * scale)
        return np.exp(found) if logs else found


def _coarse(steps: int) -> tuple[int, ...]:
    """Where an axis is read first: both ends, and cells of much the same width between them."""
    cells = max(2, min(_CELLS, (steps - 1) // _WIDE))
    return tuple(sorted({round(i * (steps - 1) / cells) for i in range(cells + 1)}))


def _middles(cell: Cell, shape: tuple[int, ...]) -> list[Place]:
    """The middle of a cell, and of its sides that lie on the rim of the grid."""
    middle = tuple((low + high) // 2 for low, high in cell)
    found = [middle]
    for axis, ((low, high), size) in enumerate(zip(cell, shape, strict=True)):
        found += [(*middle[:axis], end, *middle[axis + 1 :]) for end in (low, high) if end in (0, size - 1)]
    return found


def _corners(cell: Cell) -> itertools.product[Place]:
    """Corners of the parts that a cell is cut into."""
    return itertools.product(*((low, (low + high) // 2, high) for low, high in cell))


def _halves(cell: Cell) -> list[Cell]:
    """The parts a cell is cut into that still have places inside."""
    sides = []
    for low, high in cell:
        middle = (low + high) // 2
        sides.append([(low, high)] if middle == low else [(low, middle), (middle, high)])
    return [part for part in itertools.product(*sides) if any(high - low > 1 for low, high in part)]


def _touch(a: Cell, b: Cell) -> bool:
    """Whether two cells share a side or a corner, or are one."""
    return all(low <= top and bottom <= high for (low, high), (bottom, top) in zip(a, b, strict=True))
