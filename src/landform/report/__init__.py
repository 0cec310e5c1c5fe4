"""The page about a run: figures described first, then drawn."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from landform.report._write import report

if TYPE_CHECKING:
    from landform.report._compare import Comparison, compare, comparison
    from landform.report._connector_figures import connectors
    from landform.report._deep_figures import deep_figures
    from landform.report._diagnosis_figures import calibration_curve, confusion_map
    from landform.report._draw import draw
    from landform.report._facts import Fact, as_json, facts
    from landform.report._figure import Axis, Figure, Series
    from landform.report._figures import figures
    from landform.report._gallery import write_gallery
    from landform.report._gather import gather
    from landform.report._heat import HeatAxis, HeatMap
    from landform.report._kernel_figures import distance_map, kernel_map
    from landform.report._material import Drawn, Material, Measured
    from landform.report._page import check_installed, claim_value
    from landform.report._panels import Panel, Panels
    from landform.report._path_figures import barrier_map, profile
    from landform.report._print import check_browser, print_page
    from landform.report._study_page import StudyMaterial, gather_study, is_study
    from landform.report._surface_figures import cut_lines, surface_line, surface_map
    from landform.report._surface_page import surface_figures, surface_page
    from landform.report._taxonomy_figures import correlation_map, phase_maps
    from landform.report._taxonomy_page import taxonomy_claims, taxonomy_material, write_taxonomy
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
    "calibration_curve",
    "check_browser",
    "check_installed",
    "claim_value",
    "compare",
    "comparison",
    "confusion_map",
    "connectors",
    "correlation_map",
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
    "phase_maps",
    "print_page",
    "profile",
    "report",
    "surface_figures",
    "surface_line",
    "surface_map",
    "surface_page",
    "taxonomy_claims",
    "taxonomy_material",
    "write_gallery",
    "write_taxonomy",
]

# Where the rest is: loaded when first used, since importing landform imports this room.
_HOMES = {
    "_compare": (
        "Comparison",
        "compare",
        "comparison",
    ),
    "_connector_figures": ("connectors",),
    "_deep_figures": ("deep_figures",),
    "_diagnosis_figures": (
        "calibration_curve",
        "confusion_map",
    ),
    "_draw": ("draw",),
    "_facts": (
        "Fact",
        "as_json",
        "facts",
    ),
    "_figure": (
        "Axis",
        "Figure",
        "Series",
    ),
    "_figures": ("figures",),
    "_gallery": ("write_gallery",),
    "_gather": ("gather",),
    "_heat": (
        "HeatAxis",
        "HeatMap",
    ),
    "_kernel_figures": (
        "distance_map",
        "kernel_map",
    ),
    "_material": (
        "Drawn",
        "Material",
        "Measured",
    ),
    "_page": (
        "check_installed",
        "claim_value",
    ),
    "_panels": (
        "Panel",
        "Panels",
    ),
    "_path_figures": (
        "barrier_map",
        "profile",
    ),
    "_print": (
        "check_browser",
        "print_page",
    ),
    "_study_page": (
        "StudyMaterial",
        "gather_study",
        "is_study",
    ),
    "_surface_figures": (
        "cut_lines",
        "surface_line",
        "surface_map",
    ),
    "_surface_page": (
        "surface_figures",
        "surface_page",
    ),
    "_taxonomy_figures": (
        "correlation_map",
        "phase_maps",
    ),
    "_taxonomy_page": (
        "taxonomy_claims",
        "taxonomy_material",
        "write_taxonomy",
    ),
    "_terrain": (
        "Terrain",
        "Way",
    ),
}


def __getattr__(name: str) -> Any:
    """Load what is first used."""
    for home, held in _HOMES.items():
        if name in held:
            return getattr(importlib.import_module(f"landform.report.{home}"), name)
    raise AttributeError(f"module 'landform.report' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What there is, loaded or not."""
    return sorted({*globals(), *__all__})
