"""Phase plots: what was measured over load and temperature, with the phases' boundaries drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from landform.diagnosis import MEANING, PHASES, Thresholds, borders, correlation_matrix
from landform.report._heat import HeatAxis, HeatMap

if TYPE_CHECKING:
    from landform.diagnosis import Grid, Table

# What is drawn: title, label, whether zero is a middle, and what can mislead.
_MAPS: dict[str, tuple[str, str, bool, str]] = {
    "test_accuracy": (
        "Test accuracy",
        "test accuracy (%)",
        False,
        "Neighbouring cells differ by chance too; the phases are told without it.",
    ),
    "train_loss": (
        "Training loss",
        "log10 training loss",
        False,
        "Phases I and II end where it falls below the threshold, so along that line it agrees by construction.",
    ),
    "train_error": ("Training error", "training error (%)", False, "Zero error comes before zero loss."),
    "log_eigenvalue": (
        "Sharpness: largest Hessian eigenvalue",
        "log lambda_1",
        False,
        "It is that of a few hundred samples at one point; rescaling the weights changes it and nothing else.",
    ),
    "log_trace": (
        "Sharpness: trace of the Hessian",
        "log trace",
        False,
        "While networks are not trained to the end it follows the temperature, whatever the load.",
    ),
    "connectivity": (
        "Mode connectivity",
        "mc (%): below 0 a barrier",
        True,
        "It depends on the steps that the curve was given; above 0 the ends are not trained to the end.",
    ),
    "similarity": ("Similarity of networks", "CKA", False, "It is that of outputs, and higher where outputs are sure."),
    "distance": ("Distance of networks", "L2 distance", False, "Larger networks are further apart in any case."),
}


def phase_maps(grid: Grid, thresholds: Thresholds | None = None) -> list[HeatMap]:
    """One map for each measure of a grid, all with the same boundaries.

    Args:
        grid: the grid.
        thresholds: where the phases end; the usual ones by default.

    Returns:
        The maps, the hottest row at the top.
    """
    at = thresholds or Thresholds()
    phases = grid.phases(at)
    edges, marks = tuple(borders(_filled(phases))), tuple(_names(phases))
    x = HeatAxis(grid.load.replace("_", " "), tuple(f"{value:g}" for value in grid.loads))
    down = f"{grid.temperature.replace('_', ' ')} (hot at the top)"
    y = HeatAxis(down, tuple(f"{value:g}" for value in grid.temperatures))
    there = [name for name in PHASES if (phases == name).any()]
    meant = "; ".join(f"{name}: {MEANING[name]}" for name in there)
    found = []
    for measure, (title, label, diverging, fools) in _MAPS.items():
        if measure not in grid or not np.isfinite(grid[measure]).any():
            continue
        values = grid[measure]
        if measure == "train_loss":
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.where(values > 0, np.log10(values), np.nan)
        found.append(
            HeatMap(
                f"map-{measure}".replace("_", "-"),
                f"{title} over {grid.load} and {grid.temperature}".replace("_", " "),
                f"Each cell is one setting ({grid}). Lines are boundaries of phases ({at}). {meant}.",
                fools,
                x,
                y,
                values,
                label,
                diverging,
                edges=edges,
                marks=marks,
            )
        )
    return found


def correlation_map(table: Table) -> HeatMap | None:
    """Spearman's correlation of all measures of a table with one another and with test accuracy.

    Args:
        table: the table.

    Returns:
        A square map; None where the table has fewer than two of them.
    """
    names, rho = correlation_matrix(table)
    if len(names) < 2:
        return None
    axis = HeatAxis("", tuple(name.replace("_", " ") for name in names))
    return HeatMap(
        "correlations",
        "What moves together",
        f"Spearman's rank correlation of every measure with every other, over {len(table)} networks.",
        "Over all networks a measure may only tell trained ones from untrained ones.",
        axis,
        axis,
        rho,
        "Spearman's correlation",
        diverging=True,
        limits=(-1.0, 1.0),
    )


def _names(phases: NDArray[np.str_]) -> list[tuple[float, float, str]]:
    """Each phase's name, on that of its cells that is nearest to their middle."""
    found = []
    for name in PHASES:
        cells = np.argwhere(phases == name)
        if len(cells):
            row, column = cells[((cells - cells.mean(0)) ** 2).sum(1).argmin()]
            found.append((float(column), float(row), name))
    return found


def _filled(phases: NDArray[np.str_]) -> NDArray[np.str_]:
    """Cells that were not measured take the phase of a neighbour, so that lines do not run around each of them."""
    found = phases.copy()
    rows, columns = phases.shape
    for i, j in np.argwhere(phases == ""):
        for row, column in ((i, j - 1), (i - 1, j), (i, j + 1), (i + 1, j)):
            if 0 <= row < rows and 0 <= column < columns and phases[row, column]:
                found[i, j] = phases[row, column]
                break
    return found
