"""Other points on a surface: where they lie, and how much of them the picture cannot show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.surface._contract import MEMORY
from landform.surface._directions import Directions


class Points(Protocol):
    """Points that can be read a few at a time, such as ``trajectory.points``."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: slice, /) -> Tensor:
        """Some of them, ``[n, P]``."""


@dataclass(frozen=True)
class Projection:
    """Points projected onto a line, a plane or a volume.

    Attributes:
        coordinates: of each point's nearest point of the surface, ``[n, k]``, float64.
        shares: share of the squared distance from the centre that the surface holds, ``[n]``; one at the centre itself.
        residuals: L2 distance from the surface, ``[n]``.
        distances: L2 distance from the centre, ``[n]``.
        names: what the points are called.
    """

    coordinates: Tensor
    shares: Tensor
    residuals: Tensor
    distances: Tensor
    names: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of all the points' squared distances that the surface holds; of those that are finite."""
        sound = self.distances.isfinite()
        whole = float(self.distances[sound].square().sum())
        return 1 - float(self.residuals[sound].square().sum()) / whole if whole else 1.0

    @property
    def residual(self) -> float:
        """L2 distance from the surface of the farthest point that is finite."""
        sound = self.residuals[self.residuals.isfinite()]
        return float(sound.max()) if len(sound) else float("nan")

    def __str__(self) -> str:
        return (
            f"{len(self.coordinates)} points projected: the surface holds {self.share:.1%} of their squared distances; "
            f"the farthest lies {self.residual:.3g} off it"
        )


def project(centre: Tensor, basis: Directions, points: Tensor | Points, names: Sequence[str] = ()) -> Projection:
    """Project points onto the space that directions span from a centre.

    Args:
        centre: ``[P]``.
        basis: the directions.
        points: ``[P]``, ``[n, P]``, or a sequence whose slices are such, read a few at a time.
        names: what they are called.

    Returns:
        The projection, by least squares: directions that are not orthogonal are taken as they are.

    Raises:
        BadInput: when the points are of another length, or there are none.
    """
    if isinstance(points, Tensor) and points.dim() == 1:
        points = points.unsqueeze(0)
    if not len(points):
        raise BadInput("There is no point to project: give at least one.")
    if names and len(names) != len(points):
        raise BadInput(f"There are {len(points)} points but {len(names)} names: give one for each.")
    vectors = (basis.vectors.cpu() if centre.device.type == "mps" else basis.vectors).double()
    origin = centre.to(vectors)
    gram = vectors @ vectors.T
    together = max(1, int(MEMORY / (8 * len(centre))))
    coordinates, residuals, distances = [], [], []
    for start in range(0, len(points), together):
        part = points[start : start + together]
        if not isinstance(part, Tensor) or part.dim() != 2 or part.shape[1] != len(centre):
            got = list(part.shape) if isinstance(part, Tensor) else type(part).__name__
            raise BadInput(
                f"The points to project are {got}, but this surface's points have {len(centre)} numbers: it shows "
                "points of one layout."
            )
        apart = part.to(vectors) - origin
        at = torch.linalg.solve(gram, vectors @ apart.T).T
        coordinates.append(at)
        residuals.append(torch.linalg.vector_norm(apart - at @ vectors, dim=1))
        distances.append(torch.linalg.vector_norm(apart, dim=1))
    off, far = torch.cat(residuals).cpu(), torch.cat(distances).cpu()
    shares = torch.where(far > 0, 1 - (off / torch.where(far > 0, far, 1.0)).square(), 1.0)
    return Projection(torch.cat(coordinates).cpu(), shares, off, far, tuple(names))
