"""Maps and reliefs of a plane as PNG or SVG files, drawn by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from landform.errors import try_import
from landform.report._matplotlib import LINE, RC, write_notes
from landform.report._style import DARK, INK, LIGHT, nth
from landform.report._terrain import COLOURS, Terrain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NIGHT: Mapping[str, str] = {"text": "#e6eaec", "faint": "#a3adb4", "grid": "#2a3237", "ground": "#14181b"}
_HALO = "#ffffff"
_WIDE = 6.4  # inches


def draw_terrain(figure: Terrain, kind: Literal["png", "svg"] = "png", *, dark: bool = False) -> bytes:
    """Draw a map of a plane, or its hills and valleys.

    Args:
        figure: what to draw.
        kind: ``"png"`` or ``"svg"``.
        dark: light ink on a dark ground.

    Returns:
        The content of a file of that kind; the same figure gives the same bytes.

    Raises:
        BadInput: when matplotlib is not installed.
    """
    try_import("matplotlib", "report")
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    ink = _NIGHT if dark else INK
    inks: dict[Any, Any] = {
        "axes.labelcolor": ink["faint"],
        "axes.edgecolor": ink["faint"],
        "axes.titlecolor": ink["text"],
        "text.color": ink["text"],
        "xtick.color": ink["faint"],
        "ytick.color": ink["faint"],
        "axes.grid": False,
        "axes.facecolor": ink["ground"],
        "grid.color": ink["grid"],
    }
    with matplotlib.rc_context({**RC, **inks}):
        below, above = LINE * len(figure.notes) + (0.25 if figure.relief else 0.08), _height(figure)
        canvas = Canvas(figsize=(_WIDE, above + below), dpi=150, layout="constrained", facecolor=ink["ground"])
        write_notes(canvas, figure.notes, above, below, ink["faint"])
        _relief(canvas, figure, ink, dark) if figure.relief else _map(canvas, figure, dark)
        file = io.BytesIO()
        canvas.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def _height(figure: Terrain) -> float:
    """Inches that the drawing itself takes: what is drawn at one scale along both directions decides it."""
    if figure.relief or not figure.equal:
        return 5.0
    return 0.8 + 4.6 * float(np.ptp(figure.betas)) / float(np.ptp(figure.alphas))


def _map(canvas: Any, figure: Terrain, dark: bool) -> None:
    from matplotlib.patheffects import Normal, Stroke

    axes: Axes = canvas.add_subplot()
    low, high, step = figure.levels
    levels = np.linspace(low, high, round((high - low) / step) + 1)
    x, y, fine = figure.smooth(figure.placed(figure.values))
    z = np.ma.masked_invalid(fine.T).clip(low, high)
    filled = axes.contourf(x, y, z, levels=levels, cmap=_colours())
    axes.contour(x, y, z, levels=levels[1:-1], colors=_HALO, linewidths=0.35, linestyles="solid", alpha=0.45)
    palette = DARK if dark else LIGHT
    if figure.read is not None:
        axes.scatter(figure.read[:, 0], figure.read[:, 1], s=3, color=_HALO, alpha=0.6, linewidths=0)
    if figure.foretold is not None:
        name, values = figure.foretold
        u, v, told = figure.smooth(figure.placed(values))
        other = np.ma.masked_invalid(told.T)
        ink = nth(palette, 3)
        axes.contour(u, v, other, levels=levels[1:-1:2], colors=_HALO, linewidths=2.2, linestyles="solid", alpha=0.85)
        axes.contour(u, v, other, levels=levels[1:-1:2], colors=ink, linewidths=1.3, linestyles="dashed")
        axes.plot([], [], color=ink, linewidth=1.3, linestyle="dashed", label=name)
    for way in figure.ways:
        colour = nth(palette, way.colour)
        axes.plot(
            way.places[:, 0],
            way.places[:, 1],
            color=colour,
            linewidth=1.8,
            marker="o",
            markersize=3.2,
            markeredgecolor=_HALO,
            markeredgewidth=0.5,
            label=way.name,
            path_effects=[Stroke(linewidth=3.2, foreground=_HALO), Normal()],
        )
    for name, at, up in figure.marks:
        axes.plot(at, up, marker="o", markersize=5, color="#1d2327", markeredgecolor=_HALO, markeredgewidth=1.2)
        axes.annotate(
            name,
            (at, up),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            color="#1d2327",
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "#ffffff", "alpha": 0.82, "linewidth": 0},
        )
    axes.set_xlim(float(figure.alphas[0]), float(figure.alphas[-1]))
    axes.set_ylim(float(figure.betas[0]), float(figure.betas[-1]))
    if figure.equal:
        axes.set_aspect("equal")
    axes.set_xlabel(figure.x.label)
    axes.set_ylabel(figure.y.label)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    bar = canvas.colorbar(filled, ax=axes, shrink=0.9, label=figure.label)
    _ticks(bar.ax.yaxis, figure)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2)
    axes.set_title(figure.title)
    if figure.ways or figure.foretold is not None:
        axes.legend(loc="upper right", fontsize=8, frameon=True, framealpha=0.85, edgecolor="none",
                    facecolor="#ffffff", labelcolor="#1d2327")  # fmt: skip


def _relief(canvas: Any, figure: Terrain, ink: Mapping[str, str], dark: bool) -> None:
    axes = canvas.add_subplot(projection="3d", computed_zorder=False)
    low, high, _ = figure.levels
    alphas, betas, z = figure.smooth(figure.placed(figure.values), 4)
    x, y = np.meshgrid(alphas, betas, indexing="ij")
    axes.plot_surface(
        x, y, z, cmap=_colours(), vmin=low, vmax=high, rcount=150, ccount=150, linewidth=0, antialiased=False, zorder=1
    )
    # The places that were read, as a net over it.
    u, v = np.meshgrid(figure.alphas, figure.betas, indexing="ij")
    net = figure.placed(figure.values)
    axes.plot_wireframe(u, v, net, rcount=20, ccount=20, color=(1, 1, 1, 0.3), linewidth=0.4, zorder=2)
    for way in figure.ways:
        heights = figure.height(way.places) + 0.015 * (high - low)
        colour = nth(DARK if dark else LIGHT, way.colour)
        axes.plot(way.places[:, 0], way.places[:, 1], heights, color=colour, linewidth=2, label=way.name, zorder=3)
    spans = float(np.ptp(figure.alphas)), float(np.ptp(figure.betas))
    axes.set_box_aspect((*((s / max(spans) if figure.equal else 1.0) for s in spans), 0.6), zoom=0.98)
    axes.view_init(elev=42, azim=-125)
    for axis, label in ((axes.xaxis, figure.x.label), (axes.yaxis, figure.y.label), (axes.zaxis, figure.label)):
        axis.set_label_text(label, fontsize=8)
        axis.set_pane_color((0, 0, 0, 0))
        axis.line.set_color(ink["faint"])
    axes.set_zlim(low, high)
    _ticks(axes.zaxis, figure)
    axes.tick_params(labelsize=8)
    axes.set_title(figure.title, loc="left")
    if figure.ways:
        axes.legend(loc="upper right", fontsize=8)


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("terrain", COLOURS)


def _ticks(axis: Any, figure: Terrain) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    ticks = figure.ticks
    axis.set_major_locator(FixedLocator([place for place, _ in ticks]))
    axis.set_major_formatter(FixedFormatter([text for _, text in ticks]))
    axis.set_minor_locator(NullLocator())
