"""What a figure shows, said without drawing it: so that it can be tested without pixels and drawn by any backend."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = NDArray[np.float64]
Scale: TypeAlias = Literal["linear", "log"]


@dataclass(frozen=True)
class Axis:
    """One axis of a figure.

    Attributes:
        label: what it counts, with its unit.
        scale: ``"linear"`` or ``"log"``.
        zero_at: on a log axis, where a zero is drawn (it has no place of its own there); None where there is no zero.
        limits: lowest and highest value shown; None lets the data decide.
        percent: whether its numbers are shares, written as percentages.
    """

    label: str
    scale: Scale = "linear"
    zero_at: float | None = None
    limits: tuple[float, float] | None = None
    percent: bool = False

    def place(self, values: Numbers) -> Numbers:
        """Where values are drawn.

        Args:
            values: true values, ``[n]``.

        Returns:
            The same, ``[n]``; on a log axis zeros lie at ``zero_at``, and what has no place there is NaN.
        """
        if self.scale == "linear":
            return values
        placed = np.where(values > 0, values, np.nan)
        return placed if self.zero_at is None else np.where(values == 0, self.zero_at, placed)

    def ticks(self, values: Numbers) -> list[tuple[float, str]]:
        """Ticks of a log axis, with its zero.

        Args:
            values: what is drawn along it, above zero, in any order.

        Returns:
            Places and what is written there, by place: values themselves where they are a few round numbers, such as
            widths or batch sizes, and round numbers between them where they are not.
        """
        found = [] if self.zero_at is None else [(self.zero_at, "0")]
        if len(values) == 0:
            return found
        every = np.unique(values)
        places = list(every) if _few_and_round(every) else decades(float(every[0]), float(every[-1]))
        return found + [(float(value), _short(value)) for value in places]


@dataclass(frozen=True)
class Series:
    """One line of a figure.

    Attributes:
        name: what the legend calls it.
        x: ``[n]``.
        y: ``[n]``; NaN leaves a gap.
        style: ``"marked"`` shows every measured point, ``"line"`` only the line, ``"points"`` only the points,
            ``"faint"`` is background.
        colour: which colour of the palette, from 0; the same thing has the same colour in every figure.
        low: lower edge of a band around ``y``, ``[n]``.
        high: its upper edge, ``[n]``.
        dash: which dash and mark, from 0; by its place among the figure's lines where None.
    """

    name: str
    x: Numbers
    y: Numbers
    style: Literal["marked", "line", "points", "faint"] = "marked"
    colour: int = 0
    low: Numbers | None = None
    high: Numbers | None = None
    dash: int | None = None


@dataclass(frozen=True)
class Figure:
    """What a figure shows.

    Attributes:
        name: short name, for files and links.
        title: what is to be seen.
        caption: how to read it.
        fools: what can mislead in it.
        x: the horizontal axis.
        y: the vertical axis.
        series: what is drawn.
        reference: height of a thin horizontal line to compare with, if any.
        notes: what belongs to the drawing itself, one line each.
    """

    name: str
    title: str
    caption: str
    fools: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    reference: float | None = None
    notes: tuple[str, ...] = ()


def decades(low: float, high: float) -> list[float]:
    """Round numbers between two positive ones, evenly spread on a log scale.

    Args:
        low: where to begin.
        high: where to end.

    Returns:
        Powers of ten, with 2 and 5 times such where there are few; at most about eight.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps: Sequence[int] = (1, 2, 5) if last - first <= 2 else (1,)
    every = max(1, math.ceil((last - first) / 8))
    numbers = [step * 10.0**power for power in range(first, last + 1, every) for step in steps]
    return [number for number in numbers if low * (1 - 1e-9) <= number <= high * (1 + 1e-9)]


def drawn(series: Iterable[Series], axis: Literal["x", "y"]) -> Numbers:
    """Values above zero of some series.

    Args:
        series: the series.
        axis: which of their coordinates.

    Returns:
        All of them, ``[n]``.
    """
    every = [np.asarray(getattr(one, axis), dtype=np.float64) for one in series]
    values = np.concatenate(every) if every else np.empty(0)
    return values[np.isfinite(values) & (values > 0)]


def extent(series: Iterable[Series], axis: Literal["x", "y"]) -> tuple[float, float] | None:
    """Smallest and largest value above zero of some series.

    Args:
        series: the series.
        axis: which of their coordinates.

    Returns:
        Both, or None where there is none.
    """
    values = drawn(series, axis)
    return (float(values.min()), float(values.max())) if len(values) else None


def _few_and_round(values: Numbers) -> bool:
    """Whether ascending values can stand at an axis: two to eight, whole or of three digits, and far enough apart."""
    if not 2 <= len(values) <= 8 or any(value % 1 and value != float(f"{value:.3g}") for value in values):
        return False
    gaps = np.diff(np.log(values))
    return bool(gaps.min() > gaps.sum() / 16)


def _short(value: float) -> str:
    return f"{value:g}" if 1e-4 <= value < 1e5 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
