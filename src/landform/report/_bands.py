"""Lines with bands over seeds, and what pages about studies have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from landform.report._figure import Axis, Numbers, Series
from landform.series import interval


def table_of(rows: Sequence[Sequence[float | None]]) -> Numbers:
    """Numbers of several seeds as one table; what is missing is nan.

    Args:
        rows: of each seed; a run that ended early has fewer.

    Returns:
        ``[seeds, n]``.
    """
    most = max(map(len, rows), default=0)
    return np.array([[*row, *[None] * (most - len(row))] for row in rows], dtype=np.float64)


def band(
    name: str,
    x: Sequence[float] | Numbers,
    rows: Sequence[Sequence[float | None]] | Numbers,
    colour: int,
    *,
    log: bool = False,
    style: str = "marked",
) -> Series:
    """A line of means with a band of one standard error over seeds.

    Args:
        name: what the legend calls it.
        x: ``[n]``.
        rows: values of each seed, ``[seeds, n]``.
        colour: which colour, dash and mark.
        log: take means and errors of the logarithms, for values that span decades.
        style: as for `Series`.

    Returns:
        The line.
    """
    table = rows if isinstance(rows, np.ndarray) else table_of(rows)
    if log:
        table = np.log(np.where(table > 0, table, np.nan))
    count = np.isfinite(table).sum(0)
    filled = np.where(np.isfinite(table), table, 0.0)
    mean = np.where(count > 0, filled.sum(0) / np.maximum(count, 1), np.nan)
    spread = np.where(np.isfinite(table), (table - mean) ** 2, 0.0).sum(0)
    error = np.where(count > 1, np.sqrt(spread / np.maximum(count - 1, 1) / np.maximum(count, 1)), 0.0)
    low, high = mean - error, mean + error
    if log:
        mean, low, high = np.exp(mean), np.exp(low), np.exp(high)
    places = np.asarray(x, dtype=np.float64)[: table.shape[1]]
    if len(table) < 2:
        return Series(name, places, mean, style, colour, dash=colour)  # type: ignore[arg-type]
    return Series(name, places, mean, style, colour, low=low, high=high, dash=colour)  # type: ignore[arg-type]


def steps_axis(label: str, series: Sequence[Series]) -> Axis:
    """A logarithmic axis of steps, with step 0 at its left.

    Args:
        label: what it counts.
        series: what is drawn.

    Returns:
        The axis.
    """
    later = np.concatenate([one.x for one in series])
    least = float(later[later > 0].min()) if (later > 0).any() else 1.0
    if not (later == 0).any():
        return Axis(f"{label} (log scale)", "log")
    return Axis(f"{label} (log scale, 0 at the left)", "log", zero_at=least / 2)


def told(values: Sequence[float | None], digits: int = 2, *, percent: bool = False) -> str:
    """Mean and standard error of what was measured, as a table writes it.

    Args:
        values: one for each seed.
        digits: behind the point.
        percent: in percent.

    Returns:
        The text.
    """
    scale = 100.0 if percent else 1.0
    known = interval([scale * value for value in values if value is not None and math.isfinite(value)])
    if not known.count:
        return "–"
    error = f" ± {known.standard_error:.{digits}f}" if known.count > 1 else ""
    return f"{known.mean:.{digits}f}{error}"
