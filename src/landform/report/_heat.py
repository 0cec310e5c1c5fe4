"""Heat maps: what one shows, said without drawing it, and how each backend draws it."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from landform.errors import BadInput, try_import
from landform.report._figure import Numbers
from landform.report._style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Dark is small in the one, white is zero in the other; both are told apart in grey and by colour-blind readers.
_SEQUENTIAL, _DIVERGING = "cividis", "RdBu"
_MOST_TICKS, _ALL_TICKS = 9, 12
_LINE = "#ffffff"
# A dark line in a light one, and words on a light plate.
_EDGE = (("#ffffff", 3.4), ("#1d2327", 1.6))
_PLATE = "rgba(255,255,255,0.8)"
# Names of cells that are longer than this are written aslant.
_LONG = 8
# Letters of a title that fit over a narrow map.
_TITLE = 30


@dataclass(frozen=True)
class HeatAxis:
    """One axis of a heat map; its cells are of one width, whatever they stand for.

    Attributes:
        label: what the cells are.
        names: what each cell is called, ``[cells]``; as many are written as there is room for.
        groups: names of groups of cells that follow one another, such as classes, each with its number of cells; they
            are named in place of the cells, and lines are drawn between them.
        every: whether each cell's name is written, however many there are.
    """

    label: str
    names: tuple[str, ...]
    groups: tuple[tuple[str, int], ...] = ()
    every: bool = False

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Where something is written, and what."""
        if self.groups:
            found, start = [], 0
            for name, cells in self.groups:
                found.append((start + (cells - 1) / 2, name))
                start += cells
            return found if len(found) <= 3 * _MOST_TICKS else found[:: -(-len(found) // (3 * _MOST_TICKS))]
        every = 1 if self.every or len(self.names) <= _ALL_TICKS else -(-len(self.names) // _MOST_TICKS)
        return [(float(i), self.names[i]) for i in range(0, len(self.names), every)]

    @property
    def borders(self) -> list[float]:
        """Where one group ends and the next begins."""
        ends = np.cumsum([cells for _, cells in self.groups])[:-1]
        return [float(end) - 0.5 for end in ends]


@dataclass(frozen=True)
class HeatMap:
    """What a heat map shows; it stands beside `Figure`.

    Attributes:
        name: short name, for files and links.
        title: what is to be seen.
        caption: how to read it.
        fools: what can mislead in it.
        x: the columns.
        y: the rows, the first at the top.
        values: ``[rows, columns]``; NaN is left blank.
        label: what the values are.
        diverging: whether zero is a middle, with values of both signs around it.
        limits: values at the two ends of the colours; None lets the data decide.
        edges: lines between regions of cells, ``(x0, y0, x1, y1)`` each, in cells with the middle of the first at 0.
        marks: words on the map, ``(x, y, text)`` each, in the same units.
    """

    name: str
    title: str
    caption: str
    fools: str
    x: HeatAxis
    y: HeatAxis
    values: Numbers
    label: str
    diverging: bool = False
    limits: tuple[float, float] | None = None
    edges: tuple[tuple[float, float, float, float], ...] = ()
    marks: tuple[tuple[float, float, str], ...] = ()

    def __post_init__(self) -> None:
        shape = np.shape(self.values)
        if shape != (len(self.y.names), len(self.x.names)) or 0 in shape:
            raise BadInput(
                f"The heat map {self.name} has values {list(shape)} for {len(self.y.names)} rows and "
                f"{len(self.x.names)} columns: give one value for each."
            )
        for axis in (self.x, self.y):
            if axis.groups and sum(cells for _, cells in axis.groups) != len(axis.names):
                raise BadInput(f"The groups of the heat map {self.name} do not count its cells.")

    @property
    def span(self) -> tuple[float, float]:
        """Values at the two ends of the colours."""
        if self.limits is not None:
            return self.limits
        seen = self.values[np.isfinite(self.values)]
        low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
        if self.diverging:
            high = max(abs(low), abs(high))
            low = -high
        return (low, high) if low < high else (low - 0.5, low + 0.5)


def describe_heat(figure: HeatMap) -> dict[str, Any]:
    """Describe a heat map for plotly.

    Args:
        figure: what to draw.

    Returns:
        ``{"data": [...], "layout": {...}}``, plain JSON.
    """
    low, high = figure.span
    rows, columns = figure.values.shape
    trace = {
        "type": "heatmap",
        "x": list(range(columns)),
        "y": list(range(rows)),
        "z": [[float(v) if np.isfinite(v) else None for v in row] for row in figure.values],
        "zmin": low,
        "zmax": high,
        "colorscale": _scale(_DIVERGING if figure.diverging else _SEQUENTIAL),
        "colorbar": {"title": {"text": figure.label, "side": "right"}, "thickness": 12, "outlinewidth": 0},
        "text": [[f"{row}, {column}" for column in figure.x.names] for row in figure.y.names],
        "hovertemplate": "%{z:.4g}<br>%{text}<extra></extra>",
        "hoverongaps": False,
        "meta": {"colour": 0, "band": False},
    }
    layout: dict[str, Any] = {
        "xaxis": _axis(figure.x, columns),
        # One unit of both axes is as long, so that a matrix of samples with themselves is a square.
        "yaxis": {**_axis(figure.y, rows), "autorange": "reversed", "scaleanchor": "x", "constrain": "domain"},
        "margin": {"l": 64, "r": 12, "t": 12, "b": 52},
        "height": 460,
        "showlegend": False,
        "shapes": _lines(figure) + _edges(figure),
    }
    if figure.marks:
        layout["annotations"] = [
            {"x": x, "y": y, "text": text, "showarrow": False, "bgcolor": _PLATE, "borderpad": 2,
             "font": {"size": 12, "color": INK["text"]}}
            for x, y, text in figure.marks
        ]  # fmt: skip
    return {"data": [trace], "layout": layout}


def draw_heat(figure: HeatMap, kind: Literal["png", "svg"] = "png") -> bytes:
    """Draw a heat map by matplotlib.

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

    from landform.report._matplotlib import RC

    low, high = figure.span
    with matplotlib.rc_context({**RC, "axes.grid": False}):
        long = max(map(len, figure.y.names)) > _LONG and not figure.y.groups
        canvas = Canvas(
            figsize=(7.0, 5.2) if long else (5.6, 4.6), dpi=150, layout="compressed", facecolor=INK["ground"]
        )
        axes = canvas.add_subplot()
        colours = matplotlib.colormaps[_DIVERGING + "_r" if figure.diverging else _SEQUENTIAL]
        image = axes.imshow(figure.values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
        _set_axes(axes, figure)
        bar = canvas.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label=figure.label)
        bar.outline.set_visible(False)
        for x, y, text in figure.marks:
            plate = {"boxstyle": "round,pad=0.2", "facecolor": INK["ground"], "edgecolor": "none", "alpha": 0.8}
            axes.text(x, y, text, ha="center", va="center", fontsize=9, color=INK["text"], bbox=plate)
        if len(figure.title) > _TITLE:
            title = textwrap.fill(figure.title, 2 * _TITLE)
            canvas.suptitle(title, x=0.02, ha="left", fontsize=RC["axes.titlesize"], fontweight="bold")
        else:
            axes.set_title(figure.title)
        file = io.BytesIO()
        canvas.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def _set_axes(axes: Axes, figure: HeatMap) -> None:
    axes.set_xlabel(figure.x.label)
    axes.set_ylabel(figure.y.label)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    x, y = figure.x.ticks, figure.y.ticks
    axes.set_xticks([place for place, _ in x], [name for _, name in x])
    axes.set_yticks([place for place, _ in y], [name for _, name in y])
    axes.tick_params(length=2)
    if not figure.x.groups and max((len(name) for _, name in x), default=0) > _LONG:
        axes.tick_params(axis="both", labelsize=8)
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    for border in figure.x.borders:
        axes.axvline(border, color=_LINE, linewidth=0.6)
    for border in figure.y.borders:
        axes.axhline(border, color=_LINE, linewidth=0.6)
    for colour, width in _EDGE:
        for x0, y0, x1, y1 in figure.edges:
            axes.plot([x0, x1], [y0, y1], color=colour, linewidth=width, solid_capstyle="round")
    if figure.edges:  # lines along the rim must not widen the map
        rows, columns = figure.values.shape
        axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def _axis(axis: HeatAxis, cells: int) -> dict[str, Any]:
    return {
        "title": {"text": axis.label, "standoff": 8},
        "tickvals": [place for place, _ in axis.ticks],
        "ticktext": [name for _, name in axis.ticks],
        "range": [-0.5, cells - 0.5],
        "showgrid": False,
        "automargin": True,
        "constrain": "domain",
    }


def _lines(figure: HeatMap) -> list[dict[str, Any]]:
    rows, columns = figure.values.shape
    style = {"type": "line", "line": {"width": 1, "color": _LINE}, "xref": "x", "yref": "y"}
    upright = [{**style, "x0": at, "x1": at, "y0": -0.5, "y1": rows - 0.5} for at in figure.x.borders]
    return upright + [{**style, "y0": at, "y1": at, "x0": -0.5, "x1": columns - 0.5} for at in figure.y.borders]


def _edges(figure: HeatMap) -> list[dict[str, Any]]:
    """All of them as one path, once as its rim and once as its core, seen on light cells and on dark ones."""
    if not figure.edges:
        return []
    path = " ".join(f"M {x0:g},{y0:g} L {x1:g},{y1:g}" for x0, y0, x1, y1 in figure.edges)
    drawn = {"type": "path", "path": path, "xref": "x", "yref": "y"}
    return [{**drawn, "line": {"width": width, "color": colour}} for colour, width in _EDGE]


def _scale(name: str) -> list[list[float | str]]:
    """The same colours for plotly as matplotlib has under this name, at a few places."""
    colours: dict[str, Sequence[str]] = {
        _SEQUENTIAL: ("#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55",
                      "#fee838"),
        _DIVERGING: ("#053061", "#2a71b2", "#6bacd1", "#c2ddec", "#f7f6f6", "#fbccb4", "#e48066", "#ba2832", "#67001f"),
    }  # fmt: skip
    chosen = colours[name]
    return [[i / (len(chosen) - 1), colour] for i, colour in enumerate(chosen)]
