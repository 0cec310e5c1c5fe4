"""The toy landscape: distance to the nearest of several wedges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput

Orientation: TypeAlias = Literal["axes", "random"]

# Coordinates that are worked out at a time, for many points and wedges.
_AT_ONCE = 2**23


@dataclass(frozen=True)
class Wedges:
    """A union of W n-wedges in D dimensions, and the distance to it as a loss.

    Wedge k is ``{P : |a_ki . P| <= h for all i <= s}`` with s = D - n orthonormal short directions ``a_ki`` and half
    thickness h. All wedges hold the origin, so that the origin is a trivial connector of any of them; a network has
    no such point.

    Attributes:
        dimension: D.
        axes: which coordinates are short, ``[W, s]``; None where the orientation is random.
        bases: orthonormal short directions in the columns, ``[W, D, s]``; None where they are coordinate axes.
        thickness: half thickness h.
    """

    dimension: int
    axes: Tensor | None
    bases: Tensor | None
    thickness: float = 0.0

    @classmethod
    def draw(
        cls,
        dimension: int = 1000,
        long: int = 800,
        count: int = 50,
        *,
        orientation: Orientation = "axes",
        thickness: float = 0.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        """Draw wedges at random.

        Args:
            dimension: D.
            long: n, in how many directions a wedge is long.
            count: W, how many wedges.
            orientation: ``"axes"``, each wedge takes its short directions from the coordinate axes; ``"random"``, they
                span a uniformly random subspace.
            thickness: half thickness of the short directions.
            seed: decides the wedges.
            dtype: of random directions.

        Returns:
            The landscape.

        Raises:
            BadInput: when the numbers make no wedge.
        """
        if not 0 <= long < dimension or count < 1 or not thickness >= 0:
            raise BadInput(
                f"There are no {count} wedges of {long} long directions and half thickness {thickness} in {dimension} "
                "dimensions: give 0 <= long < dimension, count >= 1 and thickness >= 0."
            )
        short = dimension - long
        generator = torch.Generator().manual_seed(seed)
        if orientation == "axes":
            rows = [torch.randperm(dimension, generator=generator)[:short].sort().values for _ in range(count)]
            return cls(dimension, torch.stack(rows), None, float(thickness))
        if orientation != "random":
            raise BadInput(f"orientation is {orientation!r}: give 'axes' or 'random'.")
        bases = [
            torch.linalg.qr(torch.randn(dimension, short, generator=generator, dtype=torch.float64))[0]
            for _ in range(count)
        ]
        return cls(dimension, None, torch.stack(bases).to(dtype), float(thickness))

    @property
    def count(self) -> int:
        """How many wedges there are, W."""
        return len(self._directions)

    @property
    def short(self) -> int:
        """In how many directions a wedge is short, s = D - n."""
        return self._directions.shape[-1]

    @property
    def long(self) -> int:
        """In how many directions a wedge is long, n."""
        return self.dimension - self.short

    def basis(self, which: int) -> Tensor:
        """The short directions of one wedge.

        Args:
            which: its number.

        Returns:
            ``[D, s]``, float64, orthonormal columns.
        """
        if self.bases is not None:
            return self.bases[which].double()
        assert self.axes is not None
        columns = torch.zeros(self.dimension, self.short, dtype=torch.float64)
        columns[self.axes[which], torch.arange(self.short)] = 1.0
        return columns

    def coordinates(self, points: Tensor, which: int | None = None) -> Tensor:
        """Coordinates along the short directions.

        Args:
            points: ``[..., D]``.
            which: one wedge; None for all.

        Returns:
            ``[..., W, s]``, or ``[..., s]`` for one wedge.
        """
        self._check(points)
        if self.axes is not None:
            return points[..., self.axes if which is None else self.axes[which]]
        assert self.bases is not None
        if which is not None:
            return points @ self.bases[which].to(points.dtype)
        flat = self.bases.to(points.dtype).permute(1, 0, 2).reshape(self.dimension, -1)
        return (points @ flat).reshape(*points.shape[:-1], *self.bases.shape[::2])

    def distances(self, points: Tensor) -> Tensor:
        """Distance to each wedge, ``sqrt(sum_i max(0, |a_ki . P| - h)^2)``.

        Args:
            points: ``[..., D]``.

        Returns:
            ``[..., W]``.
        """
        self._check(points)
        flat = points.reshape(-1, self.dimension)
        size = max(1, _AT_ONCE // (self.count * self.short))
        parts = [_shrunk(self.coordinates(part), self.thickness).norm(dim=-1) for part in torch.split(flat, size)]
        return torch.cat(parts).reshape(*points.shape[:-1], self.count)

    def nearest(self, points: Tensor) -> Tensor:
        """Number of the nearest wedge.

        Args:
            points: ``[..., D]``.

        Returns:
            ``[...]``.
        """
        return self.distances(points).argmin(-1)

    def loss(self, points: Tensor) -> Tensor:
        """Distance to the nearest wedge, ``L(P) = min_k sqrt(sum_i max(0, |a_ki . P| - h)^2)``.

        Args:
            points: ``[..., D]``.

        Returns:
            ``[...]``.
        """
        return self.distances(points).amin(-1)

    def step(self, points: Tensor) -> Tensor:
        """The way from the nearest low-loss point to a point: the gradient of ``L^2 / 2``.

        Args:
            points: ``[..., D]``.

        Returns:
            ``[..., D]``; its length is the loss, so that ``P - step(P)`` is the nearest point of loss zero.
        """
        flat = points.reshape(-1, self.dimension)
        found = [self._out(point, int(which)) for point, which in zip(flat, self.nearest(flat), strict=True)]
        return torch.stack(found).reshape(points.shape)

    def gradient(self, points: Tensor) -> Tensor:
        """Gradient of the loss: a unit vector away from the nearest wedge, zero inside one.

        Args:
            points: ``[..., D]``.

        Returns:
            ``[..., D]``.
        """
        step = self.step(points)
        length = step.norm(dim=-1, keepdim=True)
        return step / torch.where(length > 0, length, 1.0)

    def project(self, points: Tensor, which: int | None = None) -> Tensor:
        """The nearest point of loss zero.

        Args:
            points: ``[..., D]``.
            which: on this wedge; None for the nearest.

        Returns:
            ``[..., D]``.
        """
        if which is None:
            return points - self.step(points)
        flat = points.reshape(-1, self.dimension)
        return torch.stack([point - self._out(point, which) for point in flat]).reshape(points.shape)

    def gaussian(self, count: int = 1, *, spread: float = 1.0, seed: int = 0) -> Tensor:
        """Draw points at random.

        Args:
            count: how many.
            spread: standard deviation of every coordinate.
            seed: decides the draw.

        Returns:
            ``[count, D]``, float64.
        """
        generator = torch.Generator().manual_seed(seed)
        return spread * torch.randn(count, self.dimension, generator=generator, dtype=torch.float64)

    def plane(self, size: int, *, seed: int = 0) -> Tensor:
        """Draw the directions of a uniformly random plane.

        Args:
            size: its dimension d.
            seed: decides the draw.

        Returns:
            ``[D, d]``, orthonormal columns, float64.

        Raises:
            BadInput: when it is larger than the space.
        """
        if not 0 < size <= self.dimension:
            raise BadInput(
                f"A plane of {size} dimensions does not fit into {self.dimension}: give 1 to {self.dimension}."
            )
        basis: Tensor = torch.linalg.qr(self.gaussian(size, seed=seed).T)[0]
        return basis

    @property
    def _directions(self) -> Tensor:
        held = self.axes if self.axes is not None else self.bases
        assert held is not None
        return held

    def _out(self, point: Tensor, which: int) -> Tensor:
        """How far a point ``[D]`` lies out of one wedge, and where."""
        beyond = _shrunk(self.coordinates(point, which), self.thickness)
        if self.axes is not None:
            whole = torch.zeros_like(point)
            whole[self.axes[which]] = beyond
            return whole
        assert self.bases is not None
        return self.bases[which].to(point.dtype) @ beyond

    def _check(self, points: Tensor) -> None:
        if not isinstance(points, Tensor) or not points.is_floating_point() or points.shape[-1:] != (self.dimension,):
            got = f"shape {list(points.shape)}" if isinstance(points, Tensor) else type(points).__name__
            raise BadInput(f"Points of this landscape are a floating-point tensor [..., {self.dimension}]; got {got}.")


def _shrunk(values: Tensor, by: float) -> Tensor:
    return values if by == 0 else values.sign() * (values.abs() - by).clamp_min(0)
