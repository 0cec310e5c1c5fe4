"""Curves made of characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from landform.report._facts import number

_BARS = "▁▂▃▄▅▆▇█"
# Which dot of a Braille character is which bit: four rows of two.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_MARGIN = 10


def is_wide(values: NDArray[np.float64]) -> bool:
    """Whether values ask for a logarithmic scale: all above zero, over more than a factor of ten.

    Args:
        values: ``[n]``; what is not finite is passed over.

    Returns:
        True where they do.
    """
    fine = values[np.isfinite(values)]
    return len(fine) > 1 and bool(fine.min() > 0) and bool(fine.max() > 10 * fine.min())


def spark(values: Sequence[float], width: int = 12, *, plain: bool = False) -> str:
    """Draw values as a row of bars.

    Args:
        values: in the order of time; what is not finite leaves a blank.
        width: at most so many characters.
        plain: by ASCII alone.

    Returns:
        The row; bars are higher where values are, by their logarithm where they span more than a factor of ten.
    """
    every = np.asarray(values, dtype=np.float64)
    if not len(every):
        return ""
    height = np.array([part[-1] for part in np.array_split(every, min(width, len(every)))])
    height = np.log(height) if is_wide(height) else height
    fine = height[np.isfinite(height)]
    if not len(fine):
        return " " * len(height)
    low, span = fine.min(), float(np.ptp(fine)) or 1.0
    bars = "_.-~=+*#" if plain else _BARS
    return "".join(bars[round((one - low) / span * 7)] if math.isfinite(one) else " " for one in height)


def plot(
    x: NDArray[np.float64], y: NDArray[np.float64], width: int, height: int, *, label: str = "epoch",
    plain: bool = False,
) -> list[str]:  # fmt: skip
    """Draw a curve: in each column the median of the values that fall into it, joined to the next.

    Args:
        x: ``[n]``, increasing.
        y: ``[n]``; what is not finite leaves a gap.
        width: of the drawing in characters, with its axis.
        height: of the drawing in lines, with its axis.
        label: what the horizontal axis counts.
        plain: by ASCII alone.

    Returns:
        The lines; the scale is logarithmic where values span more than a factor of ten.
    """
    columns, rows = max(8, width - _MARGIN - 2), max(3, height - 2)
    across, down = (columns, rows) if plain else (2 * columns, 4 * rows)
    logarithmic = is_wide(y)
    drawn = np.log10(y) if logarithmic else y
    middle = _medians(x, drawn, across)
    fine = middle[np.isfinite(middle)]
    if not len(fine):
        return ["(no finite number yet)"]
    low, high = float(fine.min()), float(fine.max())
    if high == low:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    dots = np.zeros((down, across), dtype=bool)
    broken = _places(x[~np.isfinite(y)], x, across)
    previous: tuple[int, int] | None = None
    for column in np.flatnonzero(np.isfinite(middle)).tolist():
        row = round((high - middle[column]) / (high - low) * (down - 1))
        if previous is not None and not ((broken >= previous[0]) & (broken <= column)).any():
            _join(dots, previous, (column, row))
        dots[row, column] = True
        previous = column, row
    edge = "|" if plain else "┤"
    values = [high, (high + low) / 2, low]
    texts = [number(10**value if logarithmic else value) for value in values]
    marks = {0: texts[0], rows // 2: texts[1], rows - 1: texts[2]}
    lines = [f"{marks.get(row, ''):>{_MARGIN}} {edge}{line}".rstrip() for row, line in enumerate(_rows(dots, plain))]
    first, last = number(float(x[0])), number(float(x[-1]))
    foot = f"{first} {label:^{max(0, columns - len(first) - len(last) - 2)}} {last}"
    return [*lines, " " * (_MARGIN + 2) + foot]


def _join(dots: NDArray[np.bool_], start: tuple[int, int], stop: tuple[int, int]) -> None:
    """Draw a straight line from one (column, row) to a later one, without gaps."""
    columns = np.arange(start[0], stop[0] + 1)
    rows = np.rint(np.linspace(start[1], stop[1], len(columns))).astype(int)
    for column, row, before in zip(columns[1:], rows[1:], rows, strict=False):
        low, high = sorted((row, before))
        dots[low + (low < high and low == before) : high + (low == high or high == row), column] = True


def _places(at: NDArray[np.float64], x: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The column into which each time falls."""
    span = float(x[-1] - x[0]) or 1.0
    found: NDArray[np.int64] = np.minimum((at - x[0]) / span * count, count - 1).astype(np.int64)
    return found


def _medians(x: NDArray[np.float64], y: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The median of what falls into each column, NaN where nothing does."""
    found = np.full(count, np.nan)
    fine = np.isfinite(y)
    place, y = _places(x[fine], x, count), y[fine]
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    for column, part in zip(place[starts], np.split(y, starts[1:]) if len(starts) else [], strict=True):
        found[column] = np.median(part)
    return found


def _rows(dots: NDArray[np.bool_], plain: bool) -> list[str]:
    if plain:
        return ["".join("*" if dot else " " for dot in row) for row in dots]
    lines = []
    for top in range(0, dots.shape[0], 4):
        cells = []
        for left in range(0, dots.shape[1], 2):
            bits = sum(
                bit
                for row, pair in enumerate(_DOTS)
                for column, bit in enumerate(pair)
                if dots[top + row, left + column]
            )
            cells.append(chr(0x2800 + bits) if bits else " ")
        lines.append("".join(cells))
    return lines
