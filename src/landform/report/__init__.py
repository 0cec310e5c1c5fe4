"""The page about a run: figures described first, then drawn."""

from landform.report._facts import Fact, as_json, facts
from landform.report._figure import Axis, Figure, Series
from landform.report._figures import figures
from landform.report._gather import gather
from landform.report._heat import HeatAxis, HeatMap
from landform.report._kernel_figures import distance_map, kernel_map
from landform.report._material import Material, Measured
from landform.report._matplotlib import draw
from landform.report._page import check_installed, report

__all__ = [
    "Axis",
    "Fact",
    "Figure",
    "HeatAxis",
    "HeatMap",
    "Material",
    "Measured",
    "Series",
    "as_json",
    "check_installed",
    "distance_map",
    "draw",
    "facts",
    "figures",
    "gather",
    "kernel_map",
    "report",
]
