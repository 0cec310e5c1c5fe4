"""What a line, a plane or a volume through the space of points holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.surface._directions import Directions, without
from landform.surface._projection import Points, Projection, project

Within: TypeAlias = Literal["range", "value"]


@dataclass(frozen=True)
class Surface:
    """Losses on a grid of points ``centre + alpha u + beta v``.

    Attributes:
        axes: coordinates along each direction, ascending, float64; one tensor for a line, two for a plane, three for a
            volume.
        losses: ``[len(axes[0]), len(axes[1]), ...]``, float64; NaN where the loss is no number.
        errors: shares of wrong labels, likewise; None where the targets are not labels.
        basis: the directions, with how they were made.
        centre: the point at the origin of the coordinates, ``[P]``.
        centre_loss: the loss there, read whether it is a place of the grid or not.
        centre_error: the error there.
        read: where the landscape was read, ``[...]`` of bool; elsewhere the values are interpolated.
        about: the landscape, in words.
        how: how the points were read, in words.
        passes: forward passes over the data that it took.
        tolerance: largest difference from the full grid that an adaptive one was made for; None where every place was
            read.
        within: of what it is a share: of the ``"range"`` of the losses, or of the ``"value"`` at each place.
        estimate: the largest miss, in the same measure, where the interpolation was tried against the landscape and
            found good enough.
    """

    axes: tuple[Tensor, ...]
    losses: Tensor
    errors: Tensor | None
    basis: Directions
    centre: Tensor
    centre_loss: float
    centre_error: float | None
    read: Tensor
    about: str
    how: str
    passes: int
    tolerance: float | None = None
    within: Within = "range"
    estimate: float | None = None

    @property
    def alphas(self) -> Tensor:
        """Coordinates along the first direction, ``[steps]``."""
        return self.axes[0]

    @property
    def betas(self) -> Tensor:
        """Coordinates along the second direction, ``[steps]``."""
        return self._axis(1)

    @property
    def gammas(self) -> Tensor:
        """Coordinates along the third direction, ``[steps]``."""
        return self._axis(2)

    @property
    def directions(self) -> Tensor:
        """The directions, ``[k, P]``."""
        return self.basis.vectors

    @property
    def coordinates(self) -> Tensor:
        """Coordinates of every place, ``[places, k]``, the last axis quickest."""
        return places(self.axes)

    def points(self, coordinates: Tensor | Sequence[float]) -> Tensor:
        """The points at some coordinates, on the grid or off it.

        Args:
            coordinates: ``[k]`` or ``[n, k]``.

        Returns:
            ``[P]`` or ``[n, P]``.
        """
        at = torch.as_tensor(coordinates, dtype=torch.float64)
        if at.dim() not in (1, 2) or at.shape[-1] != len(self.axes):
            raise BadInput(f"Coordinates are [{len(self.axes)}] or [n, {len(self.axes)}]; got {list(at.shape)}.")
        return points_at(self.centre, self.directions, at)

    def project(self, points: Tensor | Points, *, names: Sequence[str] = ()) -> Projection:
        """Where other points, such as a trajectory's, lie on the surface, and how much of them does not.

        Args:
            points: ``[P]``, ``[n, P]``, or ``trajectory.points``, which are read a few at a time.
            names: what they are called.

        Returns:
            Their coordinates, the share of their distance that the surface holds, and what lies off it.
        """
        return project(self.centre, self.basis, points, names)

    def cut(self, axis: int, at: float = 0.0) -> Surface:
        """The part of the surface where one coordinate stays: a plane of a volume, a line of a plane.

        Args:
            axis: which direction, from 0.
            at: its coordinate; the nearest place of the grid is taken.

        Returns:
            A surface of one axis less around the point at that coordinate, with what was read there.

        Raises:
            BadInput: when there is no such direction, or it is the only one.
        """
        count = len(self.axes)
        if count < 2 or not -count <= axis < count:
            raise BadInput(f"A surface of {count} direction{'s'[: count - 1]} has no part across direction {axis}.")
        axis %= count
        place = int((self.axes[axis] - at).abs().argmin())
        left = [i for i in range(count) if i != axis]
        there = torch.zeros(count, dtype=torch.float64)
        there[axis] = self.axes[axis][place]
        axes = tuple(self.axes[i] for i in left)
        zeros = [(one == 0).nonzero()[:, 0] for one in axes]
        middle = tuple(int(one[0]) for one in zeros) if all(map(len, zeros)) else None
        losses, read = self.losses.select(axis, place), self.read.select(axis, place)
        errors = None if self.errors is None else self.errors.select(axis, place)
        held = f"{self.basis.how}; of {count} directions number {axis + 1} held at {float(there[axis]):.4g}"
        return replace(
            self,
            axes=axes,
            losses=losses,
            errors=errors,
            basis=without(self.basis, axis, held),
            centre=self.points(there),
            centre_loss=float("nan") if middle is None else float(losses[middle]),
            centre_error=None if errors is None or middle is None else float(errors[middle]),
            read=read,
        )

    def __str__(self) -> str:
        size = " x ".join(str(len(axis)) for axis in self.axes)
        low, high = self._range()
        missed = "" if self.estimate is None else f", the others to {self.estimate:.1%} of their {self.within}"
        return (
            f"{size} {'line' if len(self.axes) == 1 else 'grid'} of losses from {low:.4g} to {high:.4g} around "
            f"{self.centre_loss:.4g}; {self.basis}; {int(self.read.sum())} of {self.read.numel()} places read{missed}"
        )

    def _axis(self, i: int) -> Tensor:
        if len(self.axes) <= i:
            kind = ("line", "plane")[len(self.axes) - 1]
            raise BadInput(f"A {kind} has no such coordinates: it has {len(self.axes)} direction{'s'[: i - 1]}.")
        return self.axes[i]

    def _range(self) -> tuple[float, float]:
        seen = self.losses[torch.isfinite(self.losses)]
        return (float(seen.min()), float(seen.max())) if seen.numel() else (float("nan"), float("nan"))


def places(axes: Sequence[Tensor]) -> Tensor:
    """Coordinates of every place of a grid.

    Args:
        axes: coordinates along each axis.

    Returns:
        ``[places, k]``, the last axis quickest.
    """
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(axes))


def points_at(centre: Tensor, directions: Tensor, coordinates: Tensor) -> Tensor:
    """Points ``centre + coordinates @ directions``; where the coordinates are zero, the centre bit by bit.

    Args:
        centre: ``[P]``.
        directions: ``[k, P]``.
        coordinates: ``[k]`` or ``[n, k]``.

    Returns:
        ``[P]`` or ``[n, P]``.
    """
    return centre + coordinates.to(directions) @ directions
