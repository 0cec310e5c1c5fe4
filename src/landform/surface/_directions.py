"""The directions that a line, a plane or a volume is spanned by, with all that decides what its picture shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.surface._contract import one_point

Treatment: TypeAlias = Literal["zero", "whole", "keep", "as they are"]
_SAID = {
    "zero": "left where they are",
    "whole": "scaled as one filter",
    "keep": "moved at random, unscaled",
    "as they are": "move with the direction",
}


@dataclass(frozen=True)
class Directions:
    """Directions in the space of points.

    Attributes:
        vectors: ``[k, P]``; the coordinates of a grid count multiples of them.
        how: how they were made, as a clause.
        unit: what a coordinate of one means.
        biases: what became of the biases.
        norms_of_layers: what became of the scales and shifts of normalisation layers.
        origin: the point that they were taken at or through, ``[P]``; a grid's centre unless another is given.
        marks: coordinates of points that they were made of, ``[m, k]``.
        names: what those points are called.
        shares: for principal components, each one's share of the variance, ``[k]``.
        values: for eigenvectors, their eigenvalues, ``[k]``.
        seed: what random ones were drawn with.
    """

    vectors: Tensor
    how: str
    unit: str
    biases: Treatment = "as they are"
    norms_of_layers: Treatment = "as they are"
    origin: Tensor | None = None
    marks: Tensor | None = None
    names: tuple[str, ...] = ()
    shares: Tensor | None = None
    values: Tensor | None = None
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def norms(self) -> Tensor:
        """L2 norm of each, ``[k]``, float64."""
        found: Tensor = torch.linalg.vector_norm(_wide(self.vectors), dim=1)
        return found

    @property
    def angles(self) -> Tensor:
        """Angle between every two in degrees, ``[k, k]``, float64."""
        wide = _wide(self.vectors)
        units = wide / torch.linalg.vector_norm(wide, dim=1, keepdim=True)
        # By half-angles: the arc cosine loses half of the digits near 0 and 180 degrees.
        apart = torch.linalg.vector_norm(units[:, None] - units[None], dim=2)
        along = torch.linalg.vector_norm(units[:, None] + units[None], dim=2)
        return torch.rad2deg(2 * torch.atan2(apart, along))

    @property
    def angle(self) -> float:
        """Angle between the first two in degrees; NaN where there is only one."""
        return float(self.angles[0, 1]) if len(self) > 1 else float("nan")

    def __str__(self) -> str:
        norms = ", ".join(f"{norm:.4g}" for norm in self.norms.tolist())
        said = f"{self.how}; norm{'s' if len(self) > 1 else ''} {norms}"
        if len(self) > 1:
            said += f", angle {self.angle:.2f}°"
        return f"{said}; {self.treatment}"

    @property
    def treatment(self) -> str:
        """What became of biases and normalisation layers, as a clause."""
        if self.biases == self.norms_of_layers:
            return f"biases and normalisation layers {_SAID[self.biases]}"
        return f"biases {_SAID[self.biases]}, normalisation layers {_SAID[self.norms_of_layers]}"


def through(landscape: Landscape, *points: Tensor, names: Sequence[str] = ()) -> Directions:
    """The line through two points, the plane through three, the volume through four.

    Coordinates are L2 distances: the directions are orthonormal, the first from the first point to the second, the next
    towards the third, and so on. A grid is centred on the first point unless told otherwise.

    Args:
        landscape: what they are points of.
        *points: ``[P]`` each.
        names: what they are called; numbers by default.

    Returns:
        The directions, with the points as marks.

    Raises:
        BadInput: when there are fewer than two points or more than four, or some lie on a line through others.
    """
    if not 2 <= len(points) <= 4:
        raise BadInput(f"There are {len(points)} points: give two for a line, three for a plane, four for a volume.")
    called = tuple(names) or tuple(str(i + 1) for i in range(len(points)))
    if len(called) != len(points):
        raise BadInput(f"There are {len(points)} points but {len(called)} names: give one for each.")
    ends = [one_point(landscape, point, f"Point {name}") for point, name in zip(points, called, strict=True)]
    apart = torch.stack([_wide(end) - _wide(ends[0]) for end in ends[1:]])
    units: list[Tensor] = []
    for name, row in zip(called[1:], apart, strict=True):
        left = row
        for _ in range(2):  # once leaves what rounding put in
            for unit in units:
                left = left - (left @ unit) * unit
        size = torch.linalg.vector_norm(left)
        if not size > 1e-6 * torch.linalg.vector_norm(row):
            raise BadInput(
                f"Point {name} lies on what the points before it span: they give no {len(points) - 1} directions."
            )
        units.append(left / size)
    basis = torch.stack(units)
    marks = torch.cat((torch.zeros(1, len(basis), dtype=basis.dtype, device=basis.device), apart @ basis.T))
    return Directions(
        basis.to(ends[0]),
        f"through {len(points)} points ({', '.join(called)}), orthonormal",
        "L2 distance",
        origin=ends[0],
        marks=marks.cpu(),
        names=called,
    )


def radial(landscape: Landscape, point: Tensor, *parts: str) -> Directions:
    """Growing and shrinking: the point itself as a direction, or what it holds of some layers.

    Args:
        landscape: what it is a point of.
        point: ``[P]``, also where the grid is centred.
        *parts: names of layers, with the wildcards of `Layout.part`; one direction for each. None: the whole point.

    Returns:
        The directions; a coordinate of one doubles the weights, one of minus one makes them zero.

    Raises:
        BadInput: when a part is zero, or two parts share parameters.
    """
    here = one_point(landscape, point, "The point")
    rows = []
    for name in parts or ("*",):
        part = landscape.layout.part(name)
        row = part.embed(part.of(here))
        if not bool(row.any()):
            raise BadInput(f"The point is zero in {name}: it gives no direction.")
        rows.append(row)
    if len(rows) > 1 and bool((torch.stack(rows).ne(0).sum(0) > 1).any()):
        raise BadInput(f"Two of the parts {', '.join(parts)} share parameters: give parts apart from each other.")
    of = f" of {', '.join(parts)}" if parts else ""
    return Directions(torch.stack(rows), f"radial: the weights{of} themselves", "share of the weights", origin=here)


def along(
    landscape: Landscape, vectors: Tensor, *, how: str = "given", unit: str = "norms of the direction"
) -> Directions:
    """Directions of one's own.

    Args:
        landscape: whose points they move.
        vectors: ``[k, P]`` or ``[P]``.
        how: how they were made, for the figure.
        unit: what a coordinate of one means.

    Returns:
        The directions as they are.

    Raises:
        BadInput: when they have another length, are not finite, or one is zero or a multiple of another.
    """
    rows = vectors.unsqueeze(0) if isinstance(vectors, Tensor) and vectors.dim() == 1 else vectors
    if not isinstance(rows, Tensor) or rows.dim() != 2 or not 1 <= len(rows) <= 3:
        raise BadInput("Give one, two or three directions as a tensor [k, P].")
    return check(
        Directions(
            torch.stack([one_point(landscape, row, f"Direction {i + 1}") for i, row in enumerate(rows)]), how, unit
        )
    )


def join(*directions: Directions) -> Directions:
    """Put directions that were made apart together, such as a radial one and a random one.

    Args:
        *directions: what to join.

    Returns:
        All of them, as they are.

    Raises:
        BadInput: when they are of points of different length, or one is a multiple of another.
    """
    if not directions or len({one.vectors.shape[1] for one in directions}) != 1:
        raise BadInput("The directions to join are of points of different length: give some of one layout.")
    first = directions[0]
    same = all(
        one.origin is None or first.origin is None or torch.equal(one.origin, first.origin) for one in directions
    )
    treatments = {(one.biases, one.norms_of_layers) for one in directions}
    return check(
        Directions(
            torch.cat([one.vectors for one in directions]),
            "; ".join(one.how if len(treatments) == 1 else f"{one.how} ({one.treatment})" for one in directions),
            ", ".join(dict.fromkeys(one.unit for one in directions)),
            biases=first.biases if len(treatments) == 1 else "as they are",
            norms_of_layers=first.norms_of_layers if len(treatments) == 1 else "as they are",
            origin=next((one.origin for one in directions if one.origin is not None), None) if same else None,
        )
    )


def check(directions: Directions) -> Directions:
    """Refuse directions that span less than there are of them.

    Args:
        directions: what to look at.

    Returns:
        The same.

    Raises:
        BadInput: when one is zero or not finite, or two are parallel.
    """
    norms = directions.norms
    if not bool(torch.isfinite(norms).all()) or not bool((norms > 0).all()):
        bad = int((~(torch.isfinite(norms) & (norms > 0))).nonzero()[0])
        raise BadInput(f"Direction {bad + 1} ({directions.how}) is zero or not finite: it leads nowhere.")
    for i, row in enumerate(directions.angles):
        for j in range(i):
            if min(float(row[j]), 180 - float(row[j])) < 1e-4:
                raise BadInput(f"Directions {j + 1} and {i + 1} ({directions.how}) are parallel: they span a line.")
    return directions


def taken(directions: Directions, count: int) -> Directions:
    """The first of several directions.

    Args:
        directions: what to take from.
        count: how many.

    Returns:
        As many.

    Raises:
        BadInput: when there are fewer.
    """
    if len(directions) < count:
        raise BadInput(f"There are {len(directions)} directions ({directions.how}), but the grid needs {count}.")
    if len(directions) == count:
        return directions

    def cut(rows: Tensor | None) -> Tensor | None:
        return None if rows is None else rows[..., :count]

    return replace(
        directions,
        vectors=directions.vectors[:count],
        marks=cut(directions.marks),
        shares=cut(directions.shares),
        values=cut(directions.values),
    )


def without(directions: Directions, which: int, how: str) -> Directions:
    """All directions but one.

    Args:
        directions: two or more.
        which: which to leave out, from 0.
        how: how what is left was made.

    Returns:
        The others, without marks, which need not lie in what they span.
    """
    left = [i for i in range(len(directions)) if i != which]
    units = directions.unit.split(", ")
    return replace(
        directions,
        vectors=directions.vectors[left],
        how=how,
        unit=", ".join(dict.fromkeys(units[i] for i in left)) if len(units) == len(directions) else directions.unit,
        origin=None,
        marks=None,
        names=(),
        shares=None if directions.shares is None else directions.shares[left],
        values=None if directions.values is None else directions.values[left],
    )


def _wide(numbers: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none."""
    return (numbers.cpu() if numbers.device.type == "mps" else numbers).to(torch.float64)
