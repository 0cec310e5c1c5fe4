"""The page about a run: figures described first, then drawn."""

from landform.report._compare import Comparison, compare, comparison
from landform.report._connector_figures import connectors
from landform.report._deep_figures import deep_figures
from landform.report._draw import draw
from landform.report._facts import Fact, as_json, facts
from landform.report._figure import Axis, Figure, Series
from landform.report._figures import figures
from landform.report._gallery import write_gallery
from landform.report._gather import gather
from landform.report._heat import HeatAxis, HeatMap
from landform.report._kernel_figures import distance_map, kernel_map
from landform.report._material import Drawn, Material, Measured
from landform.report._page import check_installed, claim_value, report
from landform.report._panels import Panel, Panels
from landform.report._path_figures import barrier_map, profile
from landform.report._print import check_browser, print_page
from landform.report._study_page import StudyMaterial, gather_study, is_study
from landform.report._surface_figures import cut_lines, surface_line, surface_map
from landform.report._surface_page import surface_figures, surface_page
from landform.report._terrain import Terrain, Way

__all__ = [
    "Axis",
    "Comparison",
    "Drawn",
    "Fact",
    "Figure",
    "HeatAxis",
    "HeatMap",
    "Material",
    "Measured",
    "Panel",
    "Panels",
    "Series",
    "StudyMaterial",
    "Terrain",
    "Way",
    "as_json",
    "barrier_map",
    "check_browser",
    "check_installed",
    "claim_value",
    "compare",
    "comparison",
    "connectors",
    "cut_lines",
    "deep_figures",
    "distance_map",
    "draw",
    "facts",
    "figures",
    "gather",
    "gather_study",
    "is_study",
    "kernel_map",
    "print_page",
    "profile",
    "report",
    "surface_figures",
    "surface_line",
    "surface_map",
    "surface_page",
    "write_gallery",
]
