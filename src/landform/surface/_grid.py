"""Lines, planes and volumes: a landscape read at every place of a grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.surface._contract import MEMORY, Extent, counts, one_point, ranges
from landform.surface._directions import Directions, along, taken
from landform.surface._random import random
from landform.surface._reading import Values, read
from landform.surface._stored import Stored, load
from landform.surface._surface import Surface, places

Given: TypeAlias = str | Directions | Tensor | None
Progress: TypeAlias = Callable[[int, int], None]
# Reads places ``[n, k]``, telling how far it is.
Reading: TypeAlias = Callable[[Tensor, Progress | None], Values]


def line(
    landscape: Landscape,
    *,
    center: Tensor | None = None,
    extent: Extent | None = None,
    steps: int = 51,
    directions: Given = None,
    seed: int = 0,
    margin: float = 0.2,
    out: str | Path | None = None,
    memory: float = MEMORY,
    progress: Progress | None = None,
) -> Surface:
    """Read a landscape along a line; see `plane`.

    Args:
        landscape: what to read.
        center: ``[P]``.
        extent: how far to go on both sides, or (lowest, highest).
        steps: how many places.
        directions: the direction.
        seed: for a random one.
        margin: how far to go beyond the marks of the direction.
        out: a folder to make it in.
        memory: bytes of points that are made at a time.
        progress: called with (places read, places in all).

    Returns:
        The line, a surface of one axis.
    """
    return _grid(landscape, 1, center, extent, steps, directions, seed, margin, out, memory, progress)


def plane(
    landscape: Landscape,
    *,
    center: Tensor | None = None,
    extent: Extent | None = None,
    steps: int | Sequence[int] = 25,
    directions: Given = None,
    seed: int = 0,
    margin: float = 0.2,
    out: str | Path | None = None,
    memory: float = MEMORY,
    progress: Progress | None = None,
) -> Surface:
    """Read a landscape on a plane.

    BatchNorm's statistics are those of each place, recomputed where the landscape does so.

    Args:
        landscape: what to read.
        center: the point at the origin of the coordinates, ``[P]``; by default the one that the directions were made
            at, else where the model is.
        extent: how far to go on both sides of the centre, or (lowest, highest), or one of these for each axis, in
            units of the directions. By default one, or as far as the marks of the directions and a margin.
        steps: how many places each axis has; with an odd number the centre is one of them.
        directions: what `random`, `through`, `radial`, `hessian` or `principal` make; or ``"filter"`` (the default),
            ``"layer"``, ``"model"``, ``"unit"`` or ``"gaussian"``, random ones of that scale; or a tensor ``[2, P]``.
        seed: for random ones.
        margin: how far to go beyond the marks, as a share of their range.
        out: a folder to make it in: a call that was interrupted goes on from what it had read, `load` reads it when it
            is finished.
        memory: bytes of points that are made at a time.
        progress: called with (places read, places in all).

    Returns:
        The plane.

    Raises:
        BadInput: when something does not fit; the message says what.
    """
    return _grid(landscape, 2, center, extent, steps, directions, seed, margin, out, memory, progress)


def volume(
    landscape: Landscape,
    *,
    center: Tensor | None = None,
    extent: Extent | None = None,
    steps: int | Sequence[int] = 11,
    directions: Given = None,
    seed: int = 0,
    margin: float = 0.2,
    out: str | Path | None = None,
    memory: float = MEMORY,
    progress: Progress | None = None,
) -> Surface:
    """Read a landscape in a volume; see `plane`.

    Args:
        landscape: what to read.
        center: ``[P]``.
        extent: how far to go.
        steps: how many places each axis has.
        directions: three of them.
        seed: for random ones.
        margin: how far to go beyond the marks of the directions.
        out: a folder to make it in.
        memory: bytes of points that are made at a time.
        progress: called with (places read, places in all).

    Returns:
        The volume, a surface of three axes.
    """
    return _grid(landscape, 3, center, extent, steps, directions, seed, margin, out, memory, progress)


def _grid(
    landscape: Landscape,
    axes: int,
    center: Tensor | None,
    extent: Extent | None,
    steps: int | Sequence[int],
    directions: Given,
    seed: int,
    margin: float,
    out: str | Path | None,
    memory: float,
    progress: Progress | None,
) -> Surface:
    each = counts(steps, axes)
    basis, centre = settled(landscape, axes, center, directions, seed)
    span = ranges(extent, axes) if extent is not None else _around(basis, margin, axes)
    lines = tuple(_line(low, high, count) for (low, high), count in zip(span, each, strict=True))

    def plainly(at: Tensor, told: Progress | None) -> Values:
        return read(landscape, centre, basis.vectors, at, memory=memory, progress=told)

    if out is None:
        return _filled(landscape, lines, basis, centre, plainly, progress)
    stored = Stored(out, landscape, basis, centre, lines)
    try:
        if stored.finished:
            return load(out)

        def once(at: Tensor, told: Progress | None) -> Values:
            return stored.read(lambda part: plainly(part, None), at, told)

        surface = _filled(landscape, lines, basis, centre, once, progress)
        stored.finish(surface)
        return surface
    finally:
        stored.release()


def _filled(
    landscape: Landscape,
    lines: tuple[Tensor, ...],
    basis: Directions,
    centre: Tensor,
    reading: Reading,
    progress: Progress | None,
) -> Surface:
    """Read every place of the grid."""
    each = tuple(len(one) for one in lines)
    found = reading(places(lines), progress)
    middle = _middle(landscape, centre, lines, found)
    return Surface(
        lines,
        found.losses.view(each),
        None if found.errors is None else found.errors.view(each),
        basis,
        centre,
        float(middle.losses[0]),
        None if middle.errors is None else float(middle.errors[0]),
        torch.ones(each, dtype=torch.bool),
        repr(landscape),
        found.how,
        found.passes + middle.passes,
    )


def settled(
    landscape: Landscape, axes: int, center: Tensor | None, directions: Given, seed: int
) -> tuple[Directions, Tensor]:
    """Settle directions and centre.

    Args:
        landscape: what is read.
        axes: how many directions it takes.
        center: as given.
        directions: as given.
        seed: for random ones.

    Returns:
        Directions and centre, where and as the landscape computes.
    """
    origin = directions.origin if isinstance(directions, Directions) else None
    chosen = center if center is not None else landscape.here if origin is None else origin
    centre = one_point(landscape, chosen, "The centre")
    if directions is None or isinstance(directions, str):
        return random(landscape, centre, axes, scale=directions or "filter", seed=seed), centre  # type: ignore[arg-type]
    basis = taken(along(landscape, directions) if isinstance(directions, Tensor) else directions, axes)
    if basis.vectors.shape[1] != landscape.layout.size:
        raise BadInput(
            f"The directions have {basis.vectors.shape[1]} numbers, but this landscape's points "
            f"{landscape.layout.size}: they are of another model."
        )
    vectors = basis.vectors.to(landscape.device, landscape.dtype)
    if basis.marks is not None and origin is not None and not torch.equal(origin.to(centre), centre):
        away = (origin.to(vectors) - centre) @ torch.linalg.pinv(vectors)
        return replace(basis, vectors=vectors, marks=basis.marks + away.cpu()), centre
    return replace(basis, vectors=vectors), centre


def _around(basis: Directions, margin: float, axes: int) -> tuple[tuple[float, float], ...]:
    """As far as the marks reach, and a margin."""
    if basis.marks is None:
        return ((-1.0, 1.0),) * axes
    low, high = basis.marks.amin(0), basis.marks.amax(0)
    more = margin * (high - low)
    return tuple(zip((low - more).tolist(), (high + more).tolist(), strict=True))


def _line(low: float, high: float, count: int) -> Tensor:
    """Even places from the one end to the other; symmetric where the ends are, with zero itself in the middle."""
    if low == -high:
        half = torch.arange(count, dtype=torch.float64) - (count - 1) / 2
        return half * (2 * high / (count - 1))
    return torch.linspace(low, high, count, dtype=torch.float64)


def _middle(landscape: Landscape, centre: Tensor, lines: Sequence[Tensor], found: Values) -> Values:
    """What was read at the centre, or is read now."""
    grid = places(lines)
    at = (grid == 0).all(1).nonzero()
    if len(at):
        i = int(at[0])
        return Values(found.losses[i : i + 1], None if found.errors is None else found.errors[i : i + 1], found.how, 0)
    reading = landscape.read(centre)
    again = 1 + (landscape.batchnorm == "recompute")
    return Values(reading.loss[None], None if reading.error is None else reading.error[None], found.how, again)
