"""Whatever a page draws, by the backend that is asked for."""

from __future__ import annotations

from typing import Any, Literal

from landform.report._heat import HeatMap, describe_heat, draw_heat
from landform.report._material import Drawn
from landform.report._matplotlib import draw_lines
from landform.report._panels import Panels, describe_panels, draw_panels
from landform.report._plotly import describe_lines
from landform.report._terrain import Terrain, describe_terrain
from landform.report._terrain_png import draw_terrain


def describe(figure: Drawn) -> dict[str, Any]:
    """Describe a figure for plotly.

    Args:
        figure: what to draw.

    Returns:
        ``{"data": [...], "layout": {...}}``, plain JSON.
    """
    if isinstance(figure, HeatMap):
        return describe_heat(figure)
    if isinstance(figure, Terrain):
        return describe_terrain(figure)
    return describe_panels(figure) if isinstance(figure, Panels) else describe_lines(figure)


def draw(figure: Drawn, kind: Literal["png", "svg"] = "png") -> bytes:
    """Draw a figure by matplotlib.

    Args:
        figure: what to draw.
        kind: ``"png"`` or ``"svg"``.

    Returns:
        The content of a file of that kind.

    Raises:
        BadInput: when matplotlib is not installed.
    """
    if isinstance(figure, HeatMap):
        return draw_heat(figure, kind)
    if isinstance(figure, Terrain):
        return draw_terrain(figure, kind)
    return draw_panels(figure, kind) if isinstance(figure, Panels) else draw_lines(figure, kind)
