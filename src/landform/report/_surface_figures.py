"""Figures of lines and planes through the space of points, with all that decides what they show written on them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from landform.atlas import Atlas
from landform.errors import BadInput
from landform.report._figure import Axis, Figure, Numbers, Series
from landform.report._lines import time_axis, value_axis
from landform.report._terrain import Terrain, Way

if TYPE_CHECKING:
    from torch import Tensor

    from landform.surface import Cuts, MergeTree, Projection, Quadratic, Surface

Scales: TypeAlias = Literal["auto", "linear", "log"]

# Quantities that stand in figures of their own, and need no note that they have none.
DRAWN = ("around_loss", "around_error", "around_norms", "around_angle", "tunnel_width")
# Colours: the run that crosses a plane, and what was foretold of a line.
_WAY, _FORETOLD = 1, 3
_WIDE = 118  # letters that a line of notes holds
_LOG = 30  # by what factor losses differ that are drawn on a log scale unless told otherwise
_FOOLS = (
    "A plane is two directions of very many: another seed gives another plane, and what looks like a wall or a barrier "
    "in it may be walked around. Flat in random directions is not flat: nearly all curvature lies in few directions, "
    "which random ones miss. Widths can be compared between networks only in units that a rescaling of the weights "
    "leaves as they are."
)


def surface_map(
    surface: Surface,
    *,
    error: bool = False,
    scale: Scales = "auto",
    ways: Mapping[str, Projection] | Projection | None = None,
    foretold: Quadratic | None = None,
    tree: MergeTree | None = None,
    relief: bool = False,
    title: str | None = None,
) -> Terrain:
    """A plane as a map, or as hills and valleys.

    Args:
        surface: the plane.
        error: the share of wrong labels instead of the loss.
        scale: of the colours; by default logarithmic where losses differ by more than a factor of thirty.
        ways: a trajectory, or several by name, as ``surface.project`` gives them.
        foretold: the loss to second order, drawn as dashed lines of equal height.
        tree: basins, whose minima are marked.
        relief: hills and valleys instead of a map.
        title: what is to be seen.

    Returns:
        The figure.

    Raises:
        BadInput: when the surface is no plane, or has no errors.
    """
    if len(surface.axes) != 2:
        raise BadInput(f"A map shows a plane, and this surface has {len(surface.axes)} axis or axes: give a plane.")
    values = _values(surface.errors if error else surface.losses, error)
    named = {"trajectory": ways} if ways is not None and not isinstance(ways, Mapping) else dict(ways or {})
    what = "share of wrong labels" if error else "mean loss"
    chosen = _chosen(values, scale, error)
    blank = int((~np.isfinite(values)).sum())
    marks = [(name, float(at[0]), float(at[1])) for name, at in zip(surface.basis.names, _marks(surface), strict=False)]
    if not marks and _inside(surface):
        marks = [("centre", 0.0, 0.0)]
    for one in tree.basins if tree is not None else ():
        climb = "" if np.isinf(one.saddle) else f", climb {one.persistence:.2g}"
        marks.append((f"{one.value:.3g}{climb}", one.coordinates[0], one.coordinates[1]))
    if foretold is not None and error:
        raise BadInput("The loss to second order says nothing about wrong labels: leave foretold or error out.")
    found = Terrain(
        f"surface{'-error' if error else ''}",
        title or ("Wrong labels on a plane" if error else "Loss on a plane"),
        f"The {what} at {surface.losses.shape[0]} by {surface.losses.shape[1]} places of a plane through the space of "
        f"weights{', on a logarithmic scale' if chosen == 'log' else ''}; dark is low."
        + (" Trajectories are projected onto the plane: they run above or below it." if named else "")
        + (" Dashed: what the gradient and the Hessian at the centre foretell." if foretold is not None else "")
        + ("" if bool(surface.read.all()) else " Dots: the places that were read.")
        + (f" {blank} places where the loss is no finite number are left blank." if blank else ""),
        _FOOLS,
        Axis(_along(surface, 0)),
        Axis(_along(surface, 1)),
        surface.alphas.numpy().astype(np.float64),
        surface.betas.numpy().astype(np.float64),
        values,
        f"{what}{' (log scale)' if chosen == 'log' else ''}",
        chosen,
        error,
        False,
        tuple(_way(name, one, _WAY + i) for i, (name, one) in enumerate(named.items())),
        tuple(marks),
        None if bool(surface.read.all()) else surface.coordinates[surface.read.reshape(-1)].numpy(),
        None if foretold is None else ("to second order", _values(foretold.on(surface), False)),
        _notes(surface, named, foretold),
    )
    return reliefs(found) if relief else found


def surface_line(
    surface: Surface, *, error: bool = False, foretold: Quadratic | None = None, title: str | None = None
) -> Figure:
    """Loss along a line, or error, with what is foretold at the centre.

    Args:
        surface: the line.
        error: the share of wrong labels instead of the loss.
        foretold: the loss to second order.
        title: what is to be seen.

    Returns:
        The figure.

    Raises:
        BadInput: when the surface is no line, or has no errors.
    """
    if len(surface.axes) != 1:
        raise BadInput(f"This surface has {len(surface.axes)} axes: give a line, or draw it as a map.")
    if foretold is not None and error:
        raise BadInput("The loss to second order says nothing about wrong labels: leave foretold or error out.")
    what = "share of wrong labels" if error else "mean loss"
    values = _values(surface.errors if error else surface.losses, error)
    at = surface.alphas.numpy().astype(np.float64)
    series = [Series(what, at, np.where(np.isfinite(values), values, np.nan), "marked", 0)]
    y = Axis(what, percent=True) if error else value_axis(what, series, "auto")
    if foretold is not None:
        low, high = float(np.nanmin(series[0].y)), float(np.nanmax(series[0].y))
        curve = _values(foretold.on(surface), False)
        # A parabola that leaves the picture must not decide how high the picture is.
        curve = np.where((curve <= high + 0.1 * (high - low)) & (curve >= low - 0.1 * (high - low)), curve, np.nan)
        series.append(Series("to second order at the centre", at, curve, "line", _FORETOLD))
    return Figure(
        f"line{'-error' if error else ''}",
        title or ("Wrong labels along a line" if error else "Loss along a line"),
        f"The {what} along a straight line through the space of weights.",
        _FOOLS,
        Axis(_along(surface, 0)),
        y,
        tuple(series),
        notes=_notes(surface, {}, foretold),
    )


def cut_lines(found: Cuts, *, error: bool = False, threshold: float | None = None, title: str | None = None) -> Figure:
    """Loss along random straight cuts through a point.

    Args:
        found: the cuts.
        error: the share of wrong labels instead of the loss.
        threshold: a loss at which widths are measured, drawn as a horizontal line.
        title: what is to be seen.

    Returns:
        The figure.

    Raises:
        BadInput: when there are no errors.
    """
    what = "share of wrong labels" if error else "mean loss"
    values = _values(found.errors if error else found.losses, error)
    at = found.alphas.numpy().astype(np.float64)
    finite = np.where(np.isfinite(values), values, np.nan)
    # All cuts are one line with gaps: they have one name and one colour.
    gap = np.full((len(values), 1), np.nan)
    every = [np.concatenate((part, gap), axis=1).reshape(-1) for part in (np.tile(at, (len(values), 1)), finite)]
    rows = [Series("each cut", every[0], every[1], "faint", 0, dash=0)]
    median = np.full(values.shape[1], np.nan)
    whole = ~np.isnan(finite).all(0)
    median[whole] = np.nanmedian(finite[:, whole], axis=0)
    low, high = float(found.norms.min()), float(found.norms.max())
    norms = f"{low:.4g}" if high - low < 1e-3 * high else f"from {low:.4g} to {high:.4g}"
    series = (*rows, Series("median", at, median, "marked", 0, dash=0))
    return Figure(
        f"cuts{'-error' if error else ''}",
        title or f"{len(values)} random straight cuts",
        f"The {what} along {len(values)} random straight lines through the same point; the thick line is their median.",
        _FOOLS,
        Axis(f"along the line (1 = {found.unit})"),
        Axis(what, percent=True) if error else value_axis(what, series, "auto"),
        series,
        threshold,
        tuple(textwrap.wrap(f"{found.how}; norms {norms}.", _WIDE)),
    )


def around(atlas: Atlas) -> list[Figure | Terrain]:
    """What a survey measured around the records of a run, on its first data set.

    Args:
        atlas: what was measured.

    Returns:
        Widths of the tunnel along the run, and a map for each time at which a plane was read.
    """
    widths = _widths(atlas) if "tunnel_width" in atlas.names() else None
    return [*([] if widths is None else [widths]), *(_planes(atlas) if "around_loss" in atlas.names() else [])]


def _widths(atlas: Atlas) -> Figure | None:
    """Median width in two units along the run, with all cuts as a band; None where the run was never below."""
    values, epochs = _first(atlas, "tunnel_width"), np.asarray(atlas["tunnel_width"].coords["time"], dtype=np.float64)
    level = _first(atlas, "tunnel_threshold")
    # An infinite width is one that was not found within reach: it has no place on the figure.
    seen = np.where(np.isfinite(values), values, np.nan)
    if not np.isfinite(seen).any():
        return None
    series = []
    for place, (unit, name) in enumerate(((1, "in norms of the weights"), (2, "in norms of each filter"))):
        rows = seen[:, unit]
        some = np.isfinite(rows).any(1)
        low, middle, high = (np.full(len(rows), np.nan) for _ in range(3))
        low[some], high[some] = np.nanmin(rows[some], axis=1), np.nanmax(rows[some], axis=1)
        middle[some] = np.nanmedian(rows[some], axis=1)
        series.append(Series(name, epochs, middle, "marked", place, low, high))
    missing = int(np.isinf(values[:, 2]).sum())
    return Figure(
        "tunnel-width",
        "Width of the tunnel",
        f"How far random straight lines through the record lead, from wall to wall, while the loss stays below "
        f"{level[np.isfinite(level)][0]:.3g}; median and range over {values.shape[2]} lines. Wider with time: the run "
        "has come to a place where the loss is low all around."
        + (f" {missing} lines had no wall within reach and are left out." if missing else ""),
        "Records above that loss are in no tunnel and have no width. Widths in norms of the weights grow and shrink "
        "with the scale of layers that normalisation or the next layer undoes; those in filter norms do not.",
        time_axis("auto", epochs),
        value_axis("width from wall to wall", series, "auto"),
        tuple(series),
    )


def _planes(atlas: Atlas) -> list[Figure | Terrain]:
    labelled = atlas["around_loss"]
    values = _first(atlas, "around_loss")
    settings = atlas.settings("around_loss")
    told = str(settings.get("scale", "filter"))
    norms = _first(atlas, "around_norms")
    angles = _first(atlas, "around_angle")
    found: list[Figure | Terrain] = []
    for i, epoch in enumerate(np.asarray(labelled.coords["time"], dtype=np.float64)):
        if not np.isfinite(values[i]).any():
            continue
        chosen = _chosen(values[i], "auto", False)
        lengths = ", ".join(f"{norm:.4g}" for norm in norms[i])
        found.append(
            Terrain(
                f"around-{i + 1}",
                f"Loss around the weights of epoch {epoch:.3g}",
                "The mean loss on a random plane through the record; dark is low. All times have the same random "
                "directions, scaled to the filters of each record.",
                _FOOLS,
                Axis("first direction (1 = norm of each filter)" if told == "filter" else "first direction"),
                Axis("second direction (1 = norm of each filter)" if told == "filter" else "second direction"),
                np.asarray(labelled.coords["alpha"], dtype=np.float64),
                np.asarray(labelled.coords["beta"], dtype=np.float64),
                values[i],
                f"mean loss{' (log scale)' if chosen == 'log' else ''}",
                chosen,
                marks=(("here", 0.0, 0.0),),
                notes=(
                    f"Random Gaussian directions, scale {told}, seed {settings.get('seed', 0)}; norms {lengths}, angle "
                    f"{angles[i]:.2f}°.",
                    "Biases and normalisation layers left where they are.",
                ),
            )
        )
    return found


def _first(atlas: Atlas, name: str) -> Numbers:
    """Numbers at each time, on the first data set."""
    labelled = atlas[name]
    values = np.asarray(labelled.values, dtype=np.float64)
    return np.asarray(values[0] if "set" in labelled.dims else values)


def _values(values: Tensor | None, error: bool) -> Numbers:
    if values is None:
        raise BadInput("The surface has no errors, its targets are no labels: leave error out.")
    return values.detach().cpu().numpy().astype(np.float64)


def _chosen(values: Numbers, scale: Scales, error: bool) -> Literal["linear", "log"]:
    if scale not in ("auto", "linear", "log"):
        raise BadInput(f"scale is {scale!r}: give 'auto', 'linear' or 'log'.")
    seen = values[np.isfinite(values)]
    if scale == "log" and not (seen > 0).any():
        raise BadInput("No value is above zero, so that there is no logarithm: give scale='linear'.")
    if scale != "auto":
        return scale
    return "log" if not error and len(seen) and seen.min() > 0 and seen.max() > _LOG * seen.min() else "linear"


def _marks(surface: Surface) -> Sequence[Sequence[float]]:
    marks = surface.basis.marks
    # Of a trajectory whose principal components they are, the points are many and have no names.
    return [] if marks is None or not surface.basis.names else marks.tolist()


def _inside(surface: Surface) -> bool:
    return all(float(axis[0]) <= 0 <= float(axis[-1]) for axis in surface.axes)


def _along(surface: Surface, i: int) -> str:
    units = [unit.strip() for unit in surface.basis.unit.split(",")]
    unit = units[i] if len(units) == len(surface.axes) else surface.basis.unit
    name = ("first", "second", "third")[i]
    if surface.basis.shares is not None:
        name = f"component {i + 1}, {float(surface.basis.shares[i]):.1%}"
    else:
        name = f"{name} direction" if len(surface.axes) > 1 else "along the line"
    return f"{name} (1 = {unit})" if unit != "L2 distance" else f"{name} (L2 distance)"


def _way(name: str, one: Projection, colour: int) -> Way:
    return Way(name, one.coordinates.numpy().astype(np.float64), one.names, colour)


def _notes(surface: Surface, ways: Mapping[str, Projection], foretold: Quadratic | None) -> tuple[str, ...]:
    """What one has to know to read the figure, one line each."""
    said = [f"{str(surface.basis)[0].upper()}{str(surface.basis)[1:]}.", f"{surface.about}."]
    read = int(surface.read.sum())
    if read < surface.read.numel():
        within = "" if surface.tolerance is None else f" to within {surface.tolerance:.1%} of the {surface.within}"
        said.append(f"Read at {read} of {surface.read.numel()} places; the others are interpolated{within}.")
    if foretold is not None:
        said.append(f"{str(foretold)[0].upper()}{str(foretold)[1:]}.")
    for name, one in ways.items():
        said.append(
            f"{name[0].upper()}{name[1:]}: the plane holds {one.share:.1%} of the squared distances from the centre; "
            f"no point lies farther off it than {one.residual:.3g}, or from the centre than "
            f"{float(one.distances.max()):.3g}."
        )
    return tuple(line for sentence in said for line in textwrap.wrap(sentence, _WIDE))


def reliefs(figure: Terrain) -> Terrain:
    """The same figure as hills and valleys.

    Args:
        figure: a map.

    Returns:
        Hills and valleys.
    """
    return replace(figure, name=f"{figure.name}-relief", title=f"{figure.title}, as hills and valleys", relief=True)
