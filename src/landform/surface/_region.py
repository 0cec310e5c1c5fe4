"""The basin around the centre at a level: how large it is, how long and how narrow, and whether the grid holds it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.surface._surface import Surface


@dataclass(frozen=True)
class Region:
    """The places that can be reached from the centre without rising above a level.

    Lengths are L2 distances in the space of points, whatever the units of the coordinates.

    Attributes:
        level: the level.
        inside: which places, ``[...]`` of bool.
        share: their share of the grid.
        size: length, area or volume that they stand for.
        widths: their extent along each principal axis, the widest first, ``[k]``: the length of an interval whose
            places are spread as far around their middle (``sqrt(12)`` standard deviations).
        cut: whether the region reaches the edge of the grid, so that it is larger than what is seen.
    """

    level: float
    inside: Tensor
    share: float
    size: float
    widths: Tensor
    cut: bool

    @property
    def elongation(self) -> float:
        """The largest width by the smallest; infinity where it is one place wide."""
        low = float(self.widths[-1])
        return float(self.widths[0]) / low if low > 0 else float("inf")

    def __str__(self) -> str:
        widths = " x ".join(f"{width:.3g}" for width in self.widths.tolist())
        cut = ", cut off by the edge of the grid" if self.cut else ""
        return f"{self.share:.1%} of the grid lies in the basin below {self.level:.4g} ({widths} wide{cut})"


def region(surface: Surface, level: float) -> Region:
    """Look at the basin that holds the centre.

    Args:
        surface: a line, a plane or a volume.
        level: a loss above that of the place nearest to the centre.

    Returns:
        The region.

    Raises:
        BadInput: when the centre itself lies above the level, or outside the grid.
    """
    start = []
    for axis in surface.axes:
        if not float(axis[0]) <= 0 <= float(axis[-1]):
            raise BadInput("The centre lies outside the grid, which has no basin around it.")
        start.append(int(axis.abs().argmin()))
    low = surface.losses <= level  # NaN is not
    if not bool(low[tuple(start)]):
        raise BadInput(
            f"The loss at the centre is {float(surface.losses[tuple(start)]):.4g}, not below {level:g}: give a higher "
            "level."
        )
    inside = torch.zeros_like(low)
    inside[tuple(start)] = True
    while True:  # spread by one place at a time
        wider = inside.clone()
        for dim, size in enumerate(inside.shape):
            wider.narrow(dim, 1, size - 1).logical_or_(inside.narrow(dim, 0, size - 1))
            wider.narrow(dim, 0, size - 1).logical_or_(inside.narrow(dim, 1, size - 1))
        wider &= low
        if torch.equal(wider, inside):
            break
        inside = wider
    edge = any(bool(inside.select(dim, end).any()) for dim in range(inside.dim()) for end in (0, -1))
    # Coordinates that are lengths: x^T G x is the squared distance for the directions' Gram matrix G = C^T C.
    vectors = surface.directions.detach().cpu().double()
    stretch = torch.linalg.cholesky(vectors @ vectors.T).T
    cells = [_cells(axis) for axis in surface.axes]
    weight = torch.ones((), dtype=torch.float64)
    for cell in cells:
        weight = weight[..., None] * cell
    weights = (weight * inside).reshape(-1)
    at = surface.coordinates @ stretch.T
    total = weights.sum()
    apart = at - (weights @ at) / total
    spread = (apart * weights[:, None]).T @ apart / total
    # Of a place's own extent: an interval of length h has the variance h^2 / 12.
    own = torch.diag(torch.stack([(axis[1] - axis[0]) ** 2 / 12 for axis in surface.axes]))
    spread = spread + stretch @ own @ stretch.T
    widths = torch.linalg.eigvalsh(spread).clamp_min(0).sqrt().flip(0) * 12**0.5
    return Region(
        float(level), inside, float(inside.double().mean()), float(total * torch.linalg.det(stretch)), widths, edge
    )


def _cells(axis: Tensor) -> Tensor:
    """Length that each place of an axis stands for: half way to its neighbours."""
    gaps = axis.diff()
    half = torch.cat((gaps[:1], gaps)) / 2
    return half + torch.cat((gaps, gaps[-1:])) / 2
