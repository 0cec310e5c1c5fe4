"""Figures as PNG or SVG files, drawn by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from landform.errors import try_import
from landform.report._figure import Axis, Figure, Numbers, Series, drawn
from landform.report._style import DASHES, HEIGHT, INK, LIGHT, MARKS, WIDTH, nth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

LINE = 0.17  # inches that a line of notes takes
_MARKS = {"circle": "o", "square": "s", "diamond": "D", "triangle": "^"}
RC: Any = {
    "font.size": 10.0,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK["faint"],
    "axes.edgecolor": INK["faint"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK["grid"],
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "text.color": INK["text"],
    "xtick.color": INK["faint"],
    "ytick.color": INK["faint"],
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text, which can be searched and selected
    "svg.hashsalt": "landform",  # the same figure gives the same file
}


def draw_lines(figure: Figure, kind: Literal["png", "svg"] = "png") -> bytes:
    """Draw a figure of lines.

    Args:
        figure: what to draw.
        kind: ``"png"`` or ``"svg"``.

    Returns:
        The content of a file of that kind.

    Raises:
        BadInput: when matplotlib is not installed.
    """
    try_import("matplotlib", "report")
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(RC):
        below, above = LINE * len(figure.notes), HEIGHT + 0.2 * max(0, len(figure.series) - 3)
        canvas = Canvas(
            figsize=(WIDTH, above + below),
            dpi=150,
            layout="constrained",
            facecolor=INK["ground"],
        )
        write_notes(canvas, figure.notes, above, below)
        axes = canvas.add_subplot()
        draw_series(axes, figure)
        axes.set_title(figure.title)
        if len(figure.series) > 1 or figure.series[0].low is not None:
            if len(figure.series) > 3:  # below the drawing, so that it hides nothing and takes no width
                canvas.legend(loc="outside lower center", ncols=2 if len(figure.series) < 7 else 3, fontsize=8.5)
            else:
                axes.legend(loc="best")
        file = io.BytesIO()
        # No date in the file: the same figure gives the same bytes.
        canvas.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def write_notes(canvas: Canvas, notes: Sequence[str], above: float, below: float, ink: str = INK["faint"]) -> None:
    """Write lines under a drawing, and keep the drawing above them.

    Args:
        canvas: what is drawn on.
        notes: the lines.
        above: inches that the drawing takes.
        below: inches that the notes take.
        ink: their colour.
    """
    if notes:
        whole = above + below
        engine: Any = canvas.get_layout_engine()
        engine.set(rect=(0, below / whole, 1, above / whole))
        for i, note in enumerate(reversed(notes)):
            height = (0.05 + i * LINE) / whole
            canvas.text(0.012, height, note, fontsize=7.2, color=ink, ha="left", va="bottom")


def draw_series(axes: Axes, figure: Figure) -> None:
    """Draw the lines of a figure, without title and legend.

    Args:
        axes: where.
        figure: what.
    """
    _set_axes(axes, figure)
    for place, series in enumerate(figure.series):
        _plot(axes, figure, series, place)
    if figure.y.percent and not figure.y.limits:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))  # after the lines, or the top would be 100%
    if figure.reference is not None:
        axes.axhline(figure.reference, color=INK["faint"], linewidth=1, zorder=1)


def _plot(axes: Axes, figure: Figure, series: Series, place: int) -> None:
    colour = nth(LIGHT, series.colour)
    dash = place if series.dash is None else series.dash
    x, y = figure.x.place(series.x), figure.y.place(series.y)
    style: dict[str, Any] = {"color": colour, "linewidth": 1.6, "linestyle": nth(DASHES, dash), "label": series.name}
    if series.style in ("marked", "points"):
        style |= {"marker": _MARKS[nth(MARKS, dash)], "markersize": 3.6, "markerfacecolor": INK["ground"]}
    if series.style == "points":
        style |= {"linestyle": "none"}
    elif series.style == "faint":
        style |= {"linewidth": 0.7, "alpha": 0.4}
    axes.plot(x, y, **style)
    if series.low is not None and series.high is not None:
        low, high = figure.y.place(series.low), figure.y.place(series.high)
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def _set_axes(axes: Axes, figure: Figure) -> None:
    axes.set_xlabel(figure.x.label)
    axes.set_ylabel(figure.y.label)
    for name, axis in (("x", figure.x), ("y", figure.y)):
        side = axes.xaxis if name == "x" else axes.yaxis
        if axis.scale == "log":
            (axes.set_xscale if name == "x" else axes.set_yscale)("log")
            _set_ticks(side, axis, drawn(figure.series, "x" if name == "x" else "y"))
        if axis.limits:
            (axes.set_xlim if name == "x" else axes.set_ylim)(*axis.limits)
        if axis.percent:
            from matplotlib.ticker import PercentFormatter

            side.set_major_formatter(PercentFormatter(1.0, decimals=None))


def _set_ticks(side: Any, axis: Axis, values: Numbers) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    if ticks := axis.ticks(values):
        places, texts = zip(*ticks, strict=True)
        side.set_major_locator(FixedLocator(list(np.asarray(places))))
        side.set_ticklabels(texts)
    side.set_minor_formatter(NullFormatter())
    if axis.zero_at is not None:
        side.set_minor_locator(NullLocator())  # between zero and the first value there is no scale to mark
