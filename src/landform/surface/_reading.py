"""Loss and error at many places of a surface: quickly, and checked against the landscape's own reading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.surface._contract import MEMORY
from landform.surface._program import Program
from landform.surface._surface import points_at

Progress: TypeAlias = Callable[[int, int], None]
Way: TypeAlias = Literal["quick", "plain"]

# For fewer places than this the check costs more than is gained.
_WORTH = 12
# How far the quick reading may be off, relative to the loss: what rounding does, and no wrong program.
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}


@dataclass(frozen=True)
class Values:
    """What was read at n places.

    Attributes:
        losses: ``[n]``, float64, on the CPU; NaN and infinity as they came.
        errors: ``[n]``, likewise; None without labels.
        how: how they were read, in words.
        passes: forward passes over the data that it took.
    """

    losses: Tensor
    errors: Tensor | None
    how: str
    passes: int

    def at(self, chosen: Tensor) -> Values:
        """Some of them.

        Args:
            chosen: which, as an index or a mask.

        Returns:
            These.
        """
        return Values(self.losses[chosen], None if self.errors is None else self.errors[chosen], self.how, self.passes)


class Reader:
    """Reads one landscape around one centre, as often as asked.

    The quick way (`_program`) is compared with the landscape's own reading at three of the first places; where they
    differ by more than rounding, everything is read the plain way, and that is said.

    Attributes:
        how: how the last places were read, in words.
    """

    def __init__(
        self, landscape: Landscape, centre: Tensor, directions: Tensor, *, memory: float = MEMORY, way: Way = "quick"
    ) -> None:
        """Take what is read.

        Args:
            landscape: the landscape.
            centre: ``[P]``, where and as it computes.
            directions: ``[k, P]``, likewise.
            memory: bytes that may be held at a time.
            way: ``"plain"`` reads every place as the landscape reads points.
        """
        if way not in ("quick", "plain"):
            raise BadInput(f"way is {way!r}: give 'quick' or 'plain'.")
        self.landscape, self.memory = landscape, memory
        self.how = ""
        self._centre, self._directions = centre, directions
        self._quick = way == "quick"
        self._checked = False
        self._program: Program | None = None
        self._why = ""

    def read(self, coordinates: Tensor, *, progress: Progress | None = None) -> Values:
        """Read at ``centre + coordinates @ directions``.

        Args:
            coordinates: ``[n, k]``, float64.
            progress: called with (places read, places in all).

        Returns:
            The values, in the order of the coordinates.
        """
        if not self._quick or (not self._checked and len(coordinates) < _WORTH):
            return self._plainly(coordinates, progress)
        # Places that begin alike lie side by side: what they share is summed once.
        order = torch.arange(len(coordinates))
        for axis in reversed(range(coordinates.shape[1])):
            order = order[coordinates[order, axis].sort(stable=True).indices]
        if self._program is None:
            nodes = torch.cat((self._centre[None], self._directions))
            self._program = Program(self.landscape, nodes, memory=self.memory)
        weights = torch.cat((torch.ones(len(coordinates), 1, dtype=torch.float64), coordinates.double()), dim=1)
        losses, errors = self._program.run(weights[order], progress=progress)
        back = order.argsort()
        again = 1 + (self.landscape.batchnorm == "recompute")
        self.how = str(self._program.plan)
        found = Values(losses[back], None if errors is None else errors[back], self.how, again * len(order))
        return found if self._checked else self._check(coordinates, found, progress)

    def _check(self, coordinates: Tensor, found: Values, progress: Progress | None) -> Values:
        """Compare with the landscape's own reading at three places: at both ends and in the middle of what was read."""
        places = torch.tensor([0, len(coordinates) // 2, len(coordinates) - 1])
        plain = self._plainly(coordinates[places], None)
        a, b = found.losses[places], plain.losses
        limit = _ROUNDING.get(self.landscape.dtype, 1e-2)
        if torch.allclose(a, b, rtol=limit, atol=limit * 1e-2, equal_nan=True):
            self._checked = True
            self.how = found.how
            return Values(found.losses, found.errors, found.how, found.passes + plain.passes)
        off = float((a - b).abs().max())
        self._quick = False
        self._why = f"; a quicker way was tried and was off by {off:.2g}"
        return self._plainly(coordinates, progress)

    def _plainly(self, coordinates: Tensor, progress: Progress | None) -> Values:
        found = plainly(
            self.landscape, self._centre, self._directions, coordinates, memory=self.memory, progress=progress
        )
        self.how = found.how + self._why
        return Values(found.losses, found.errors, self.how, found.passes)


def read(
    landscape: Landscape,
    centre: Tensor,
    directions: Tensor,
    coordinates: Tensor,
    *,
    memory: float = MEMORY,
    progress: Progress | None = None,
) -> Values:
    """Read a landscape at ``centre + coordinates @ directions``.

    Args:
        landscape: what to read.
        centre: ``[P]``, where and as the landscape computes.
        directions: ``[k, P]``, likewise.
        coordinates: ``[n, k]``, float64.
        memory: bytes that may be held at a time.
        progress: called with (places read, places in all).

    Returns:
        The values, in the order of the coordinates.
    """
    return Reader(landscape, centre, directions, memory=memory).read(coordinates, progress=progress)


def plainly(
    landscape: Landscape,
    centre: Tensor,
    directions: Tensor,
    coordinates: Tensor,
    *,
    memory: float = MEMORY,
    progress: Progress | None = None,
) -> Values:
    """Read every place as the landscape reads points: the values that any quicker way is held against.

    Args:
        landscape: what to read.
        centre: ``[P]``.
        directions: ``[k, P]``.
        coordinates: ``[n, k]``.
        memory: bytes of points that are made at a time.
        progress: called with (places read, places in all).

    Returns:
        The values.
    """
    total = len(coordinates)
    together = max(1, min(total, int(memory / (centre.element_size() * len(centre)))))
    together = min(together, max(1, total // 20)) if progress else together
    losses: list[Tensor] = []
    errors: list[Tensor] = []
    for start in range(0, total, together):
        reading = landscape.read(points_at(centre, directions, coordinates[start : start + together]))
        losses.append(reading.loss)
        if reading.error is not None:
            errors.append(reading.error)
        if progress:
            progress(min(start + together, total), total)
    return Values(
        torch.cat(losses),
        torch.cat(errors) if errors else None,
        "plainly",
        total * (1 + (landscape.batchnorm == "recompute")),
    )
