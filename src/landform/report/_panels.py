"""Several curves over one time axis, one above the other: what moves together is seen to move together."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from landform.errors import BadInput, try_import
from landform.report._figure import Axis, Figure, Series
from landform.report._plotly import axis_of, traces_of
from landform.report._style import INK, WIDTH

# Pixels of one panel and of the gap below it, on the page; inches of one in a drawing.
_HIGH, _GAP, _INCHES = 120, 26, 1.25
_MARK = "#b8860b"


@dataclass(frozen=True)
class Panel:
    """One row.

    Attributes:
        label: what is drawn in it.
        y: its vertical axis.
        series: its curves.
    """

    label: str
    y: Axis
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Panels:
    """Rows over one time axis; it stands beside `Figure`.

    Attributes:
        name: short name, for files and links.
        title: what is to be seen.
        caption: how to read it.
        fools: what can mislead in it.
        x: the time axis of all rows.
        panels: the rows, from the top.
        mark: a time to be marked through all rows, with the ends of its interval; None for none.
        mark_label: what the mark is called.
    """

    name: str
    title: str
    caption: str
    fools: str
    x: Axis
    panels: tuple[Panel, ...]
    mark: tuple[float, float, float] | None = None
    mark_label: str = ""

    def __post_init__(self) -> None:
        if not self.panels:
            raise BadInput(f"The figure {self.name} has no panel: give at least one.")

    @property
    def rows(self) -> tuple[Figure, ...]:
        """Each row as a figure of its own."""
        return tuple(
            Figure(f"{self.name}-{i}", panel.label, "", "", self.x, panel.y, panel.series)
            for i, panel in enumerate(self.panels)
        )


def describe_panels(figure: Panels) -> dict[str, Any]:
    """Describe panels for plotly: one time axis, on which hovering reads all rows at once.

    Args:
        figure: what to draw.

    Returns:
        ``{"data": [...], "layout": {...}}``, plain JSON. Every trace carries its places on a linear and on a
        logarithmic axis, between which the page switches.
    """
    rows = figure.rows
    height = len(rows) * (_HIGH + _GAP) + 70
    step = 1.0 / len(rows)
    data: list[dict[str, Any]] = []
    every = [series for row in rows for series in row.series]
    layout: dict[str, Any] = {
        "height": height,
        "margin": {"l": 64, "r": 12, "t": 52, "b": 52},
        "hovermode": "x unified",
        "hoversubplots": "axis",
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": 1.0 + 20 / height, "xanchor": "left", "yanchor": "bottom"},
        "annotations": [],
        "shapes": _marks(figure),
    }
    layout["xaxis"] = {**axis_of(figure.x, every, "x"), "anchor": "y" if len(rows) == 1 else f"y{len(rows)}"}
    named: set[tuple[str, int]] = set()
    for number, row in enumerate(rows, start=1):
        key = "y" if number == 1 else f"y{number}"
        top = 1.0 - (number - 1) * step
        axis = axis_of(row.y, row.series, "y")
        layout["yaxis" + key[1:]] = {
            **axis,
            "title": {"text": ""},
            "domain": [max(0.0, top - step + step * _GAP / (_HIGH + _GAP)), top],
            "nticks": 4,
        }
        layout["annotations"].append(
            {"text": row.title, "xref": "paper", "yref": "paper", "x": 0, "y": top, "xanchor": "left",
             "yanchor": "bottom", "showarrow": False, "font": {"size": 12}}
        )  # fmt: skip
        for place, series in enumerate(row.series):
            for trace in traces_of(row, series, place):
                linear = replace(figure.x, scale="linear")
                both = {"linear": _places(series, linear, trace), "log": _places(series, _log(figure.x), trace)}
                trace |= {"yaxis": key, "name": series.name, "meta": {**trace["meta"], "places": both}}
                # What is called and drawn alike in several rows stands in the legend once.
                alike = (series.name, series.colour)
                if not trace["meta"]["band"]:
                    trace |= {"legendgroup": f"{alike}", "showlegend": alike not in named}
                    named.add(alike)
                data.append(trace)
    return {"data": data, "layout": layout}


def draw_panels(figure: Panels, kind: Literal["png", "svg"] = "png") -> bytes:
    """Draw panels by matplotlib.

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

    from landform.report._matplotlib import RC, draw_series

    with matplotlib.rc_context(RC):
        drawn = [tuple(series.name for series in row.series) for row in figure.rows if len(row.series) > 1]
        alike = len(set(drawn)) == 1
        columns = 4 if alike and len(drawn[0]) == 4 else 3
        high = _INCHES * len(figure.panels) + 0.9 + (0.2 * -(-len(drawn[0]) // columns) if alike else 0.0)
        canvas = Canvas(figsize=(WIDTH, high), dpi=150, layout="constrained", facecolor=INK["ground"])
        grid = canvas.subplots(len(figure.panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, row in zip(grid, figure.rows, strict=True):
            draw_series(axes, replace(row, x=replace(row.x, label=""), y=replace(row.y, label="")))
            axes.set_title(row.title, fontsize=9.5, fontweight="normal", pad=2)
            if figure.mark is not None:
                time, low, high = figure.mark
                axes.axvspan(low, high, color=_MARK, alpha=0.15, linewidth=0)
                axes.axvline(time, color=_MARK, linewidth=1.2)
            if len(row.series) > 1 and not alike:
                axes.legend(fontsize=7.5, loc="best")
        grid[-1].set_xlabel(figure.x.label)
        if alike:  # one legend for all rows hides nothing
            first = next(axes for axes, row in zip(grid, figure.rows, strict=True) if len(row.series) > 1)
            handles, names = first.get_legend_handles_labels()
            canvas.legend(handles, names, loc="outside lower center", ncols=columns, fontsize=8)
        canvas.suptitle(figure.title, fontsize=11.5, fontweight="bold", x=0.01, ha="left")
        file = io.BytesIO()
        canvas.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def _log(axis: Axis) -> Axis:
    return replace(axis, scale="log")


def _places(series: Series, axis: Axis, trace: dict[str, Any]) -> list[float | None]:
    """Where the points of a trace lie on an axis; a band goes there and back."""
    if trace["meta"]["band"]:
        own = np.asarray([np.nan if v is None else v for v in trace["meta"]["times"]])
    else:
        own = np.asarray(series.x, dtype=np.float64)
    return [float(v) if np.isfinite(v) else None for v in axis.place(own)]


def _marks(figure: Panels) -> list[dict[str, Any]]:
    if figure.mark is None:
        return []
    time, low, high = (max(value, figure.x.zero_at or value) for value in figure.mark)
    through = {"xref": "x", "yref": "paper", "y0": 0, "y1": 1}
    return [
        {"type": "rect", **through, "x0": low, "x1": high, "fillcolor": _MARK, "opacity": 0.15, "line": {"width": 0}},
        {"type": "line", **through, "x0": time, "x1": time, "line": {"color": _MARK, "width": 1.5}},
    ]
