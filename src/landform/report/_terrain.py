"""Losses on a plane, as a map or as hills and valleys: what one shows, said without drawing it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from landform.errors import BadInput
from landform.report._figure import Axis, Numbers, Scale, decades
from landform.report._plotly import notes_under

# Dark is low; told apart in grey and by colour-blind readers (viridis, of which these are thirteen even steps).
COLOURS = ("#440154", "#482173", "#433e85", "#38588c", "#2d708e", "#25858e", "#1e9b8a", "#2ab07f", "#52c569", "#86d549",
           "#c2df23", "#eae51a", "#fde725")  # fmt: skip
_HALO = "rgba(255,255,255,0.85)"
_LEVELS = 14
# Beyond this ratio of their spans two axes are not drawn at one scale: the figure would be a strip.
_STRIP = 2.5


@dataclass(frozen=True)
class Way:
    """Points on the plane that follow one another, such as a run's.

    Attributes:
        name: what the legend calls it.
        places: coordinates, ``[n, 2]``.
        labels: what each is called on hovering, ``[n]``, or none.
        colour: which colour of the palette, from 0.
    """

    name: str
    places: Numbers
    labels: tuple[str, ...] = ()
    colour: int = 1


@dataclass(frozen=True)
class Terrain:
    """What a map of a plane shows; it stands beside `Figure` and `HeatMap`.

    Attributes:
        name: short name, for files and links.
        title: what is to be seen.
        caption: how to read it.
        fools: what can mislead in it.
        x: the first direction.
        y: the second direction.
        alphas: coordinates along the first, ``[a]``, ascending.
        betas: coordinates along the second, ``[b]``, ascending.
        values: ``[a, b]``; what is not finite is left blank.
        label: what the values are.
        scale: of the values: ``"linear"`` or ``"log"``.
        percent: whether they are shares, written as percentages.
        relief: drawn as hills and valleys, not as a map.
        ways: what is drawn over it.
        marks: single places, each with its name and coordinates.
        read: coordinates of the places that were read, ``[n, 2]``, where the others are interpolated.
        foretold: other values to compare with, ``[a, b]``, drawn as dashed lines of equal height; what they are.
        notes: what belongs to the figure itself, one line each.
    """

    name: str
    title: str
    caption: str
    fools: str
    x: Axis
    y: Axis
    alphas: Numbers
    betas: Numbers
    values: Numbers
    label: str
    scale: Scale = "linear"
    percent: bool = False
    relief: bool = False
    ways: tuple[Way, ...] = ()
    marks: tuple[tuple[str, float, float], ...] = ()
    read: Numbers | None = None
    foretold: tuple[str, Numbers] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = (len(self.alphas), len(self.betas))
        if np.shape(self.values) != shape or min(shape) < 2:
            raise BadInput(
                f"The figure {self.name} has values {list(np.shape(self.values))} for {shape[0]} by {shape[1]} places: "
                "give one value for each, and two places or more along both directions."
            )
        if not np.isfinite(self.placed(self.values)).any():
            raise BadInput(f"There is no finite number in the figure {self.name}: nothing can be drawn.")

    def placed(self, values: Numbers) -> Numbers:
        """Where values lie on the colour scale and the upright axis.

        Args:
            values: true values.

        Returns:
            The same, or their logarithms to the base of ten; NaN where there is no such place.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.log10(np.where(values > 0, values, np.nan)) if self.scale == "log" else np.asarray(values)
        return np.where(np.isfinite(found), found, np.nan)

    @property
    def levels(self) -> tuple[float, float, float]:
        """First and last line of equal height and the step between two, where values are placed."""
        seen = self.placed(self.values)
        low, high = float(np.nanmin(seen)), float(np.nanmax(seen))
        if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
            return low - 0.5, low + 0.5, 0.1
        if self.scale == "log":
            return low, high, (high - low) / _LEVELS
        step = _round((high - low) / _LEVELS)
        return math.floor(low / step) * step, math.ceil(high / step - 1e-9) * step, step

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """What is written beside the colours: places and texts."""
        low, high, step = self.levels
        if self.scale == "log":
            found = [(math.log10(value), f"{value:g}") for value in decades(10**low, 10**high)]
            if len(found) > 1:
                return found
            return [(place, f"{10**place:.3g}") for place in np.linspace(low, high, 5)]
        count = round((high - low) / step)
        every = max(1, -(-count // 7))
        return [(low + i * step, self.text(low + i * step)) for i in range(0, count + 1, every)]

    def text(self, value: float) -> str:
        """A value as it is written.

        Args:
            value: a true value.

        Returns:
            The text.
        """
        return f"{value:.3g}" if not self.percent else f"{100 * value:.3g}%"

    def smooth(self, values: Numbers, times: int = 6) -> tuple[Numbers, Numbers, Numbers]:
        """The plane on a finer grid, for drawing: through the values, and nowhere beyond its neighbours.

        Args:
            values: where they are placed, ``[a, b]``.
            times: into how many parts each interval is cut.

        Returns:
            Coordinates along both directions and the values there; as they are where some are missing.
        """
        if not np.isfinite(values).all():
            return self.alphas, self.betas, values
        from scipy.interpolate import PchipInterpolator

        axes = (self.alphas, self.betas)
        fine = [np.interp(np.arange((len(a) - 1) * times + 1) / times, np.arange(len(a)), a) for a in axes]
        found = PchipInterpolator(self.alphas, values, axis=0)(fine[0])
        return fine[0], fine[1], PchipInterpolator(self.betas, found, axis=1)(fine[1])

    @property
    def equal(self) -> bool:
        """Whether both directions are drawn at one scale."""
        spans = float(np.ptp(self.alphas)), float(np.ptp(self.betas))
        return max(spans) <= _STRIP * min(spans)

    def height(self, places: Numbers) -> Numbers:
        """Values of the plane between its places, by the four around.

        Args:
            places: coordinates, ``[n, 2]``.

        Returns:
            Where they are placed, ``[n]``; NaN outside.
        """
        z = self.placed(self.values)
        (i, s), (j, t) = (_between(axis, places[:, k]) for k, axis in enumerate((self.alphas, self.betas)))
        found = (1 - s) * ((1 - t) * z[i, j] + t * z[i, j + 1]) + s * ((1 - t) * z[i + 1, j] + t * z[i + 1, j + 1])
        inside = (s >= -1e-9) & (s <= 1 + 1e-9) & (t >= -1e-9) & (t <= 1 + 1e-9)
        return np.where(inside, found, np.nan)


def describe_terrain(figure: Terrain) -> dict[str, Any]:
    """Describe a map, or hills and valleys, for plotly.

    Args:
        figure: what to draw.

    Returns:
        ``{"data": [...], "layout": {...}}``, plain JSON.
    """
    return _relief(figure) if figure.relief else _map(figure)


def _map(figure: Terrain) -> dict[str, Any]:
    low, high, step = figure.levels
    bar = _bar(figure)
    data: list[dict[str, Any]] = [
        {
            "type": "contour",
            "x": figure.alphas.tolist(),
            "y": figure.betas.tolist(),
            "z": _rows(figure.placed(figure.values).T),
            "customdata": _texts(figure),
            "zmin": low,
            "zmax": high,
            "contours": {"start": low, "end": high, "size": step, "coloring": "fill", "showlines": False},
            "colorscale": [[i / (len(COLOURS) - 1), colour] for i, colour in enumerate(COLOURS)],
            "colorbar": bar,
            "hovertemplate": "%{customdata}<br>at %{x:.3g}, %{y:.3g}<extra></extra>",
            "hoverongaps": False,
            "connectgaps": False,
            "meta": {"colour": 0, "band": False},
        }
    ]
    if figure.read is not None:
        data.append(
            {
                "type": "scatter",
                "x": _numbers(figure.read[:, 0]),
                "y": _numbers(figure.read[:, 1]),
                "mode": "markers",
                "marker": {"size": 2.5, "color": "rgba(255,255,255,0.55)"},
                "hoverinfo": "skip",
                "showlegend": False,
                "meta": {"own": True},
            }
        )
    if figure.foretold is not None:
        name, values = figure.foretold
        lines: dict[str, Any] = {
            "type": "contour",
            "x": figure.alphas.tolist(),
            "y": figure.betas.tolist(),
            "z": _rows(figure.placed(values).T),
            "contours": {"start": low + step, "end": high - step, "size": 2 * step, "coloring": "none"},
            "showscale": False,
            "hoverinfo": "skip",
        }
        below = {"line": {"width": 3, "color": _HALO}, "showlegend": False, "meta": {"own": True}}
        data.append({**lines, **below})
        data.append(
            {
                **lines,
                "name": name,
                "showlegend": True,
                "line": {"dash": "dash", "width": 1.6},
                "meta": {"colour": 3, "band": False},
            }
        )
    for way in figure.ways:
        line = {"type": "scatter", "x": _numbers(way.places[:, 0]), "y": _numbers(way.places[:, 1])}
        # White below, so that it is seen on every colour.
        halo = {"mode": "lines", "line": {"width": 5.5, "color": _HALO}, "hoverinfo": "skip", "showlegend": False}
        data.append({**line, **halo, "meta": {"own": True}})
        data.append(
            {
                **line,
                "name": way.name,
                "text": list(way.labels),
                "mode": "lines+markers",
                "line": {"width": 2.5},
                "marker": {"size": 5},
                "hovertemplate": ("%{text}<br>" if way.labels else "") + "at %{x:.3g}, %{y:.3g}<extra></extra>",
                "meta": {"colour": way.colour, "band": False},
            }
        )
    legend = bool(figure.ways) or figure.foretold is not None
    span = {"constrain": "domain", "showgrid": False}
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": figure.x.label, "standoff": 8}, "automargin": True, **span},
        "yaxis": {"title": {"text": figure.y.label, "standoff": 8}, "automargin": True, **span},
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        "margin": {"l": 64, "r": 12, "t": 36 if legend else 12, "b": 60 + 17 * len(figure.notes)},
        "height": round(_tall(figure)) + (96 if legend else 72) + 17 * len(figure.notes),
        "annotations": [*_named(figure), *notes_under(figure.notes)],
    }
    for axis, places in (("xaxis", figure.alphas), ("yaxis", figure.betas)):
        layout[axis]["range"] = [float(places[0]), float(places[-1])]
    if figure.equal:
        layout["yaxis"]["scaleanchor"] = "x"
    return {"data": data, "layout": layout}


def _tall(figure: Terrain) -> float:
    """Pixels that the map is high on a page of usual width, so that little is left beside it."""
    ratio = float(np.ptp(figure.betas)) / float(np.ptp(figure.alphas)) if figure.equal else 0.65
    return min(640.0, max(300.0, 760.0 * ratio))


def _relief(figure: Terrain) -> dict[str, Any]:
    low, high, step = figure.levels
    lines = {"show": True, "start": low, "end": high, "size": step, "color": "rgba(255,255,255,0.35)", "width": 1}
    data: list[dict[str, Any]] = [
        {
            "type": "surface",
            "x": figure.alphas.tolist(),
            "y": figure.betas.tolist(),
            "z": _rows(figure.placed(figure.values).T),
            "customdata": _texts(figure),
            "cmin": low,
            "cmax": high,
            "colorscale": [[i / (len(COLOURS) - 1), colour] for i, colour in enumerate(COLOURS)],
            "colorbar": {**_bar(figure), "len": 0.7},
            "contours": {"z": lines},
            "lighting": {"ambient": 0.75, "diffuse": 0.5, "specular": 0.05, "roughness": 0.9},
            "hovertemplate": "%{customdata}<br>at %{x:.3g}, %{y:.3g}<extra></extra>",
            "meta": {"colour": 0, "band": False},
        }
    ]
    lift = 0.012 * (high - low)  # a line in the surface itself would be hidden by half
    for way in figure.ways:
        heights = figure.height(way.places) + lift
        data.append(
            {
                "type": "scatter3d",
                "name": way.name,
                "x": _numbers(way.places[:, 0]),
                "y": _numbers(way.places[:, 1]),
                "z": _numbers(heights),
                "text": list(way.labels),
                "mode": "lines+markers",
                "line": {"width": 5},
                "marker": {"size": 2.5},
                "hovertemplate": ("%{text}<br>" if way.labels else "") + "at %{x:.3g}, %{y:.3g}<extra></extra>",
                "meta": {"colour": way.colour, "band": False},
            }
        )
    # Greys that can be seen on a light and on a dark ground.
    grid = {
        "gridcolor": "#98a1a7",
        "zeroline": False,
        "showbackground": False,
        "tickfont": {"size": 10},
        "nticks": 6,
    }
    spans = float(np.ptp(figure.alphas)), float(np.ptp(figure.betas))
    wide = [span / max(spans) if figure.equal else 1.0 for span in spans]
    ticks, small = figure.ticks, {"size": 11}
    upright = {"tickvals": [place for place, _ in ticks], "ticktext": [text for _, text in ticks]}
    layout: dict[str, Any] = {
        "scene": {
            "xaxis": {"title": {"text": figure.x.label, "font": small}, **grid},
            "yaxis": {"title": {"text": figure.y.label, "font": small}, **grid},
            "zaxis": {"title": {"text": figure.label, "font": small}, **upright, **grid},
            "aspectmode": "manual",
            "aspectratio": {"x": 1.15 * wide[0], "y": 1.15 * wide[1], "z": 0.7},
            "camera": {"eye": {"x": -1.05, "y": -1.3, "z": 1.35}, "center": {"x": 0, "y": 0, "z": -0.18}},
        },
        "showlegend": bool(figure.ways),
        "legend": {"orientation": "h", "x": 0, "y": 1, "xanchor": "left", "yanchor": "top"},
        "margin": {"l": 0, "r": 0, "t": 0, "b": 12 + 17 * len(figure.notes)},
        "height": 540 + 17 * len(figure.notes),
        "annotations": notes_under(figure.notes, 0),
    }
    return {"data": data, "layout": layout}


def _bar(figure: Terrain) -> dict[str, Any]:
    ticks = figure.ticks
    return {
        "title": {"text": figure.label, "side": "right"},
        "thickness": 12,
        "outlinewidth": 0,
        "tickvals": [place for place, _ in ticks],
        "ticktext": [text for _, text in ticks],
    }


def _named(figure: Terrain) -> list[dict[str, Any]]:
    """Names of single places, readable on any colour and in light and dark."""
    return [
        {
            "x": x,
            "y": y,
            "text": name,
            "showarrow": True,
            "arrowhead": 6,
            "arrowsize": 1.2,
            "arrowwidth": 1,
            "arrowcolor": "#ffffff",
            "ax": 0,
            "ay": -22,
            "font": {"color": "#1d2327", "size": 11},
            "bgcolor": "rgba(255,255,255,0.82)",
            "borderpad": 2,
        }
        for name, x, y in figure.marks
    ]


def _texts(figure: Terrain) -> list[list[str]]:
    return [[figure.text(float(v)) if np.isfinite(v) else "" for v in row] for row in figure.values.T]


def _rows(values: Numbers) -> list[list[float | None]]:
    return [_numbers(row) for row in values]


def _numbers(values: Numbers) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


def _between(axis: Numbers, at: Numbers) -> tuple[Any, Numbers]:
    """In which interval of an axis places lie, and how far along it."""
    i = np.clip(np.searchsorted(axis, at, side="right") - 1, 0, len(axis) - 2)
    return i, (at - axis[i]) / (axis[i + 1] - axis[i])


def _round(step: float) -> float:
    """A round number no smaller."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * m for m in (1.0, 2.0, 2.5, 5.0, 10.0) if power * m >= step * (1 - 1e-9))
