"""Lines, planes and volumes: a landscape read at every place of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.surface._adaptive import Reading, Refined, check_refinement, refine
from landform.surface._contract import MEMORY, Extent, counts, one_point, ranges
from landform.surface._directions import Directions, along, taken
from landform.surface._random import random
from landform.surface._reading import Progress, Reader, Way
from landform.surface._stored import Stored, load
from landform.surface._surface import Surface, Within, places

Given: TypeAlias = str | Directions | Tensor | None


def line(landscape: Landscape, *, steps: int = 51, **settings: Any) -> Surface:
    """Read a landscape along a line.

    Args:
        landscape: what to read.
        steps: how many places.
        settings: as for `plane`; ``directions`` is one direction.

    Returns:
        The line, a surface of one axis.
    """
    return _grid(landscape, 1, steps=steps, **settings)


def plane(
    landscape: Landscape,
    *,
    center: Tensor | None = None,
    extent: Extent | None = None,
    steps: int | Sequence[int] = 25,
    directions: Given = None,
    seed: int = 0,
    margin: float = 0.2,
    tolerance: float | None = None,
    within: Within = "range",
    way: Way = "quick",
    out: str | Path | None = None,
    memory: float = MEMORY,
    progress: Progress | None = None,
) -> Surface:
    """Read a landscape on a plane.

    BatchNorm's statistics are those of each place, recomputed where the landscape does so. Layers that read the data
    alone are worked out for the centre and the directions, and mixed; what is read so is compared with the landscape's
    own reading at three places, and where they differ by more than rounding all is read plainly.

    Args:
        landscape: what to read; the model behind it is not touched.
        center: the point at the origin of the coordinates, ``[P]``; by default the one that the directions were made
            at, else where the model is.
        extent: how far to go on both sides of the centre, or (lowest, highest), or one of these for each axis, in
            units of the directions. By default one, or as far as the marks of the directions and a margin.
        steps: how many places each axis has; with an odd number the centre is one of them.
        directions: what `random`, `through`, `radial`, `hessian` or `principal` make; or ``"filter"`` (the default),
            ``"layer"``, ``"model"``, ``"unit"`` or ``"gaussian"``, random ones of that scale; or a tensor ``[2, P]``.
        seed: for random ones.
        margin: how far to go beyond the marks, as a share of their range.
        tolerance: read only where the surface bends, and interpolate to within this share elsewhere, such as 0.01;
            None reads every place.
        within: of what the tolerance is a share: of the ``"range"`` of the losses on the grid, as a picture shows
            them, or of the ``"value"`` at each place, which takes many more places where a loss is near zero.
        way: ``"plain"`` reads every place as the landscape reads points.
        out: a folder to make it in: killed and made again with the same arguments it goes on where it was, and once
            finished it is read from there.
        memory: bytes that may be held at a time.
        progress: called with (places read, places in all).

    Returns:
        The plane.

    Raises:
        BadInput: when something does not fit; the message says what.
    """
    return _grid(
        landscape, 2, center=center, extent=extent, steps=steps, directions=directions, seed=seed, margin=margin,
        tolerance=tolerance, within=within, way=way, out=out, memory=memory, progress=progress,
    )  # fmt: skip


def volume(landscape: Landscape, *, steps: int | Sequence[int] = 11, **settings: Any) -> Surface:
    """Read a landscape in a volume.

    Args:
        landscape: what to read.
        steps: how many places each axis has.
        settings: as for `plane`; ``directions`` are three.

    Returns:
        The volume, a surface of three axes.
    """
    return _grid(landscape, 3, steps=steps, **settings)


def _grid(
    landscape: Landscape,
    axes: int,
    *,
    steps: int | Sequence[int],
    center: Tensor | None = None,
    extent: Extent | None = None,
    directions: Given = None,
    seed: int = 0,
    margin: float = 0.2,
    tolerance: float | None = None,
    within: Within = "range",
    way: Way = "quick",
    out: str | Path | None = None,
    memory: float = MEMORY,
    progress: Progress | None = None,
) -> Surface:
    each = counts(steps, axes)
    check_refinement(tolerance, within)
    basis, centre = settled(landscape, axes, center, directions, seed)
    span = ranges(extent, axes) if extent is not None else _around(basis, margin, axes)
    lines = tuple(_line(low, high, count) for (low, high), count in zip(span, each, strict=True))
    reader = Reader(landscape, centre, basis.vectors, memory=memory, way=way)

    def fill(reading: Reading) -> Surface:
        if tolerance is None:
            found = reading(places(lines), progress)
            values = Refined(
                found.losses.view(each), None if found.errors is None else found.errors.view(each),
                torch.ones(each, dtype=torch.bool), None, found.how, found.passes,
            )  # fmt: skip
        else:
            values = refine(reading, lines, tolerance, within, progress)
        return _made(landscape, lines, basis, centre, values, tolerance, within)

    if out is None:
        return fill(lambda at, told: reader.read(at, progress=told))
    stored = Stored(out, landscape, basis, centre, lines, (tolerance, within))
    try:
        if stored.finished:
            return load(out)
        surface = fill(lambda at, told: stored.read(reader.read, at, told))
        stored.finish(surface)
        return surface
    finally:
        stored.release()


def _made(
    landscape: Landscape,
    lines: tuple[Tensor, ...],
    basis: Directions,
    centre: Tensor,
    values: Refined,
    tolerance: float | None,
    within: Within,
) -> Surface:
    """The surface; at its centre it is what the landscape says there by itself, to the last bit."""
    own = landscape.read(centre)
    middle = (places(lines) == 0).all(1).view(values.losses.shape)
    losses = torch.where(middle, own.loss, values.losses)
    errors = None if values.errors is None or own.error is None else torch.where(middle, own.error, values.errors)
    return Surface(
        lines,
        losses,
        errors,
        basis,
        centre,
        float(own.loss),
        None if own.error is None else float(own.error),
        values.read | middle,
        repr(landscape),
        values.how,
        values.passes + 1 + (landscape.batchnorm == "recompute"),
        tolerance,
        within,
        values.estimate,
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
