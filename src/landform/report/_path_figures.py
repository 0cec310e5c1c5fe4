"""Figures of what lies between points: along a run as it was measured, and of paths given as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from landform.errors import BadInput
from landform.report._figure import Axis, Figure, Series
from landform.report._function_figures import pair_map
from landform.report._lines import Times, lines, time_axis, value_axis

if TYPE_CHECKING:
    from landform.paths import Barrier, BarrierMatrix, Curve
    from landform.report._heat import HeatMap
    from landform.report._material import Material

_FOOLS = (
    "Two points that do badly have no barrier between them either: read the heights at the ends. A permutation of "
    "units alone can put a barrier between two networks that compute the same."
)


def barrier_to_end(material: Material, times: Times = "auto") -> Figure | None:
    """Barrier between each recorded time and the last; None where it was not measured."""
    measured = material.measured.get("error_barrier_to_end")
    percent = measured is not None
    if measured is None:
        measured = material.measured.get("barrier_to_end")
    if measured is None or not np.isfinite(measured.values).any():
        return None
    series = lines(measured, "barrier")
    what = "share of wrong labels" if percent else "loss"
    return Figure(
        "barrier-to-end",
        "Barrier to the end of the run",
        f"How far the {what} rises on the straight line from each recorded time to the last, above the mean of the two "
        "ends. Where it falls to zero, the run has entered the valley that it ends in.",
        "A point that does worse than the end lifts the line by half the difference: an early barrier is in part the "
        "way down. BatchNorm's statistics are those of each point of the line, not an average of the ends'.",
        time_axis(times, measured.epochs),
        Axis(f"barrier, {what}", percent=percent),
        series,
    )


def line_from_start(material: Material, times: Times = "auto") -> Figure | None:
    """Loss on the straight line from the first record, one line a recorded time; None where it was not measured."""
    spread = material.spread.get("line_loss")
    if spread is None:
        return None
    # On the line to itself a point stays where it is.
    seen = [i for i, row in enumerate(spread.values) if np.isfinite(row).any() and np.ptp(row[np.isfinite(row)]) > 0]
    if not seen:
        return None
    alphas = np.asarray([float(label) for label in spread.labels])
    chosen = [seen[i] for i in np.unique(np.linspace(0, len(seen) - 1, min(6, len(seen))).astype(int))]
    series = tuple(
        Series(f"to epoch {spread.epochs[i]:.3g}", alphas, np.where(np.isfinite(row), row, np.nan), "marked", colour)
        for colour, i in enumerate(chosen)
        for row in [spread.values[i]]
    )
    return Figure(
        "line-from-start",
        f"On the straight line from the start{f' ({spread.set})' if spread.set else ''}",
        "Loss on the straight line from the first record to some of the recorded times. A line that only falls: the "
        "run could have gone straight. A plateau or a hump: it went round something.",
        "A straight line that falls does not mean that the run went along it, nor that the problem was easy: scale and "
        "normalisation decide much of the shape.",
        Axis("share of the way from the start"),
        value_axis("mean loss", series, "auto"),
        series,
    )


def profile(paths: Mapping[str, Barrier] | Barrier | Curve, *, error: bool = False, title: str | None = None) -> Figure:
    """Loss, or error, along one path or several.

    Args:
        paths: barriers by what the legend shall call them, one barrier, or a trained curve, which is drawn beside the
            straight line; each on all data sets that it was read on.
        error: the share of wrong labels instead of the loss.
        title: what is to be seen.

    Returns:
        The figure.

    Raises:
        BadInput: when there is nothing to draw.
    """
    named: Mapping[str, Barrier]
    said = ""
    if isinstance(paths, Mapping):
        named = paths
    elif (straight := getattr(paths, "straight", None)) is not None:
        named, said = {"straight": straight, "curve": paths.barrier}, f" {str(paths)[0].upper()}{str(paths)[1:]}."  # type: ignore[union-attr]
    else:
        named = {"": paths}  # type: ignore[dict-item]
    series = tuple(
        one
        for place, (name, path) in enumerate(named.items())
        for one in _lines_of(path, name, error, place * (1 + len(path.on)))
    )
    if not series:
        raise BadInput(
            "There is no path with such values to draw: give at least one, and leave error out without labels."
        )
    what = "share of wrong labels" if error else "mean loss"
    return Figure(
        "path-error" if error else "path-loss",
        title or ("Error along the way" if error else "Loss along the way"),
        f"The {what} at points of the way from the one point (left) to the other (right).{said}",
        _FOOLS,
        Axis("share of the way from the one point to the other"),
        Axis(what, percent=True) if error else value_axis(what, series, "auto"),
        series,
    )


def barrier_map(
    found: BarrierMatrix, names: Sequence[str] | None = None, *, error: bool = False, points: str = "points"
) -> HeatMap:
    """Barriers between all pairs of points as a heat map.

    Args:
        found: as `paths.barrier_matrix` gives it.
        names: what each point is called, ``[n]``; by default its number.
        error: the barriers of the error instead of those of the loss.
        points: what rows and columns are, such as ``"run"``.

    Returns:
        The heat map.

    Raises:
        BadInput: when there are no errors, or not one name for each point.
    """
    values = found.error_heights if error else found.heights
    if values is None:
        raise BadInput("The barriers are of data without labels, so there is no error: leave error out.")
    measure = "error barrier" if error else "barrier"
    return pair_map(values, names, measure=measure, title=f"{measure.capitalize()} between all pairs", points=points)


def _lines_of(path: Barrier, name: str, error: bool, colour: int) -> list[Series]:
    """A line for each data set that a path was read on."""
    found = []
    for place, (where, one) in enumerate({"": path, **path.on}.items()):
        values = one.errors if error else one.losses
        if values is None:
            continue
        called = ", ".join(part for part in (name, where) if part) or "along the way"
        numbers = values.numpy().astype(np.float64)
        alphas = one.alphas.numpy().astype(np.float64)
        found.append(Series(called, alphas, np.where(np.isfinite(numbers), numbers, np.nan), "marked", colour + place))
    return found
