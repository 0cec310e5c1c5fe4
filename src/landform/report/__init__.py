"""The page about a run: figures described first, then drawn."""

from landform.report._facts import Fact, as_json, facts
from landform.report._figure import Axis, Figure, Series
from landform.report._figures import figures
from landform.report._gather import gather
from landform.report._material import Material, Measured
from landform.report._matplotlib import draw
from landform.report._page import check_installed, report

__all__ = [
    "Axis",
    "Fact",
    "Figure",
    "Material",
    "Measured",
    "Series",
    "as_json",
    "check_installed",
    "draw",
    "facts",
    "figures",
    "gather",
    "report",
]
