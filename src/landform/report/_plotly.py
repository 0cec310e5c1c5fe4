"""Figures as plotly draws them in a page: plain JSON; the page gives them its colours, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from landform.report._figure import Axis, Figure, Numbers, Series, drawn
from landform.report._style import DASHES, LIGHT, MARKS, nth

_MODES = {"marked": "lines+markers", "points": "markers"}
_DASHES = {"solid": "solid", "dashed": "dash", "dotted": "dot", "dashdot": "dashdot"}
_MARKS = {"circle": "circle-open", "square": "square-open", "diamond": "diamond-open", "triangle": "triangle-up-open"}
_BAND = 0.18


def describe_lines(figure: Figure) -> dict[str, Any]:
    """Describe a figure of lines for plotly.

    Every trace carries ``meta.colour``, its place in the palette, so that the page can recolour it.

    Args:
        figure: what to draw.

    Returns:
        ``{"data": [...], "layout": {...}}``, plain JSON.
    """
    data: list[dict[str, Any]] = []
    for place, series in enumerate(figure.series):
        data += traces_of(figure, series, place)
    legend = len(figure.series) > 1 or any(series.low is not None for series in figure.series)
    layout: dict[str, Any] = {
        "xaxis": axis_of(figure.x, figure.series, "x"),
        "yaxis": axis_of(figure.y, figure.series, "y"),
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        "margin": {"l": 64, "r": 12, "t": 36 if legend else 12, "b": 52 + 19 * len(figure.notes)},
        "hovermode": "x unified",
        "height": 340 + 17 * len(figure.notes),
    }
    if figure.notes:
        layout["annotations"] = notes_under(figure.notes)
    if figure.reference is not None:
        layout["shapes"] = [
            {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": figure.reference, "y1": figure.reference,
             "line": {"width": 1, "color": "#808a92"}}
        ]  # fmt: skip
    return {"data": data, "layout": layout}


def notes_under(notes: Sequence[str], below: float = 52) -> list[dict[str, Any]]:
    """Describe lines of text under a drawing.

    Args:
        notes: the lines.
        below: how far under it the first stands, in pixels.

    Returns:
        Annotations, plain JSON.
    """
    return [
        {
            "xref": "paper",
            "yref": "paper",
            "x": 0,
            "y": 0,
            "xanchor": "left",
            "yanchor": "top",
            "yshift": -below - 17 * i,
            "text": note,
            "showarrow": False,
            "font": {"size": 11},
            "opacity": 0.75,
        }
        for i, note in enumerate(notes)
    ]


def traces_of(figure: Figure, series: Series, place: int) -> list[dict[str, Any]]:
    """Describe one line of a figure, with its band.

    Args:
        figure: the figure.
        series: the line.
        place: its place among the figure's lines.

    Returns:
        The band, if any, and the line.
    """
    colour = nth(LIGHT, series.colour)
    dash = place if series.dash is None else series.dash
    x = figure.x.place(series.x)
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": series.name,
        "x": _plain(x),
        "y": _plain(figure.y.place(series.y)),
        # What is said on hovering is the true time and value, also where a zero has no place of its own.
        "customdata": [[_number(a), _number(b)] for a, b in zip(series.x, series.y, strict=True)],
        "hovertemplate": f"%{{customdata[1]:{'.2%' if figure.y.percent else '.4g'}}} at epoch %{{customdata[0]:.4g}}",
        "mode": _MODES.get(series.style, "lines"),
        "line": {"color": colour, "width": 1 if series.style == "faint" else 2, "dash": _DASHES[nth(DASHES, dash)]},
        "opacity": 0.4 if series.style == "faint" else 1,
        "connectgaps": False,
        "meta": {"colour": series.colour, "band": False},
    }
    if series.style in _MODES:
        trace["marker"] = {"symbol": _MARKS[nth(MARKS, dash)], "size": 6, "color": colour}
    if series.low is None or series.high is None:
        return [trace]
    return [*_band(figure, series, x, colour), trace]


def _band(figure: Figure, series: Series, x: Numbers, colour: str) -> list[dict[str, Any]]:
    """Two lines without ink, filled between: plotly's way of a band. Gaps split it, or plotly would close them."""
    assert series.low is not None
    assert series.high is not None
    low, high = figure.y.place(series.low), figure.y.place(series.high)
    there = np.isfinite(x) & np.isfinite(low) & np.isfinite(high)
    runs = np.split(np.arange(len(x)), np.flatnonzero(np.diff(there.astype(int))) + 1)
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return [
        {
            "type": "scatter",
            "x": _plain(np.concatenate([x[run], x[run][::-1]])),
            "y": _plain(np.concatenate([low[run], high[run][::-1]])),
            "fill": "toself",
            "fillcolor": f"rgba({red},{green},{blue},{_BAND})",
            "mode": "lines",
            "line": {"width": 0},
            "hoverinfo": "skip",
            "showlegend": False,
            "meta": {
                "colour": series.colour,
                "band": True,
                "times": _plain(np.concatenate([series.x[run], series.x[run][::-1]])),
            },
        }
        for run in runs
        if there[run].all()
    ]


def axis_of(axis: Axis, series: Sequence[Series], side: Literal["x", "y"]) -> dict[str, Any]:
    """Describe an axis.

    Args:
        axis: the axis.
        series: what is drawn along it.
        side: ``"x"`` or ``"y"``.

    Returns:
        Plain JSON.
    """
    found: dict[str, Any] = {"title": {"text": axis.label, "standoff": 8}, "type": axis.scale, "automargin": True}
    if axis.scale == "log" and (ticks := axis.ticks(drawn(series, side))):
        found |= {"tickvals": [place for place, _ in ticks], "ticktext": [text for _, text in ticks]}
    if axis.limits:
        found["range"] = list(axis.limits)
    if axis.percent:
        # A format of its own for small shares, or the ticks of 0.1% and 0.2% would both read 0%.
        found |= {"tickformat": ".3~p", "rangemode": "tozero"}
    return found


def _plain(values: Numbers) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    """JSON has no NaN: a gap is null."""
    return float(value) if np.isfinite(value) else None
