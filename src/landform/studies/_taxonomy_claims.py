"""What is said about the taxonomy of landscapes, held against the study's table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landform.diagnosis import Finding, Grid, Table, Thresholds, findings
from landform.series import interval
from landform.studies._claim import Claim, Verdict
from landform.studies._taxonomy_protocol import TaxonomyProtocol
from landform.studies._taxonomy_table import Cells, grids_of, moved

Numbers = NDArray[np.float64]

PAPER = "Yang et al. 2021, arXiv 2107.11228"
PRUNING_PAPER = "Zhou et al. 2023, arXiv 2305.18383"
# The batch size along which widths are compared, or the next that there is.
SWEPT_AT = 128
# Points by which connectivity may move when its steps are doubled.
TOLERANCE = 1.0
_SURE = 0.9
_SWEEP = (
    ("log_eigenvalue", "sweep-sharpness", "sharpness falls", -1),
    ("connectivity", "sweep-connectivity", "connectivity rises towards 0", 1),
    ("similarity", "sweep-similarity", "similarity (CKA) rises", 1),
    ("test_accuracy", "sweep-accuracy", "test accuracy rises", 1),
)


def claims_of_taxonomy(
    protocol: TaxonomyProtocol, table: Table, cells: Cells, pruned: Cells, scale: str, at: Thresholds | None = None
) -> list[Claim]:
    """Hold each claim against what was measured.

    Args:
        protocol: the study's.
        table: its table.
        cells: what was measured of each cell.
        pruned: what was measured of pruned networks.
        scale: its name.
        at: where phases end.

    Returns:
        The claims: those of the taxonomy on the clean grid, on the noisy one and over label noise, those of the sweep
        over widths, how far connectivity follows its steps, and those of pruning.
    """
    told = {"scale": scale, "data": protocol.data, "model": protocol.model, "networks of a cell": protocol.seeds}
    thresholds, grids = at or Thresholds(), grids_of(table)
    found = [*_taxonomy(grids, thresholds), *_sweep(grids["width"])]
    if "noise" in grids:
        found.append(_noise_column(grids["noise"], thresholds))
    found.append(_steps(protocol, cells))
    found += _pruning(pruned)
    return [replace(claim, settings={**told, **claim.settings}) for claim in found]


def nearest_to(values: Numbers, wanted: float) -> int:
    """Place of the value that is nearest, by its ratio.

    Args:
        values: above 0.
        wanted: above 0.

    Returns:
        The place.
    """
    return int(np.abs(np.log(values / wanted)).argmin())


def _taxonomy(grids: Mapping[str, Grid], at: Thresholds) -> Iterator[Claim]:
    clean = findings(grids["width"], grids.get("data"), at)
    noisy = findings(grids["noise"], None, at) if "noise" in grids else []
    labels = findings(grids["labels"], None, at) if "labels" in grids else []

    def among(some: Sequence[Finding], id: str) -> Finding | None:
        return next((each for each in some if each.id == id), None)

    for each in clean:
        if each.id == "C4-labels":
            yield _claim(among(labels, each.id) or each)
        elif each.id != "C5" or not noisy:
            yield _claim(each)
    for id in ("C2", "C3", "C5"):
        if (each_noisy := among(noisy, id)) is not None:
            noise = grids["noise"].fixed["label_noise"]
            said = f"With {noise:.0%} of the labels wrong: {each_noisy.statement[0].lower()}{each_noisy.statement[1:]}"
            yield _claim(replace(each_noisy, id=f"{id}-noise", statement=said))


def _claim(found: Finding) -> Claim:
    return Claim(**{**asdict(found), "settings": dict(found.settings)})


def _sweep(grid: Grid) -> Iterator[Claim]:
    """Rank correlations with width at one batch size."""
    from scipy.stats import spearmanr

    row = nearest_to(grid.temperatures, SWEPT_AT)
    batch = grid.temperatures[row]
    for measure, id, said, sign in _SWEEP:
        values = grid[measure][row]
        if measure == "connectivity":
            values = np.minimum(values, 0.0)
        known = np.isfinite(values)
        statement = f"With more width {said}"
        definition = f"Spearman's correlation of width with it at batch size {batch:g}, over means of each cell" + (
            "; above 0 there is no barrier, and it counts as 0" if measure == "connectivity" else ""
        )
        expected = f"{'above' if sign > 0 else 'below -'}{' ' if sign > 0 else ''}{_SURE:g}"
        settings = {"grid": str(grid), "batch size": float(batch)}
        if known.sum() < 4 or np.ptp(values[known]) == 0:
            why = "There are not four widths that differ in it."
            yield Claim(id, PAPER, statement, definition, expected, None, None, 0, "not at this scale", why, settings)
            continue
        rho = float(spearmanr(grid.loads[known], values[known]).statistic)
        verdict: Verdict = "reproduced" if sign * rho > _SURE else "in part" if sign * rho > 0.5 else "contradicted"
        ends = (values[known][0], values[known][-1])
        widths = (grid.loads[known][0], grid.loads[known][-1])
        why = f"From width {widths[0]:g} to {widths[1]:g} it goes from {ends[0]:.3g} to {ends[1]:.3g}."
        count = int(known.sum())
        yield Claim(id, PAPER, statement, definition, expected, rho, None, count, verdict, why, settings)


def _noise_column(grid: Grid, at: Thresholds) -> Claim:
    """Of the columns of the noisy grid: the flattest cell at zero loss against the best that is not trained so far."""
    gaps: dict[float, tuple[float, float, float]] = {}
    accuracy, loss, sharp = grid["test_accuracy"], grid["train_loss"], grid["log_eigenvalue"]
    poor = grid.phases(at) == "III"
    for column, width in enumerate(grid.loads.tolist()):
        ends = np.flatnonzero(poor[:, column])
        if not len(ends):
            continue
        flat = int(ends[sharp[ends, column].argmin()])
        others = np.flatnonzero((loss[:, column] >= at.flat) & (sharp[:, column] > sharp[flat, column]))
        if len(others):
            best = int(others[accuracy[others, column].argmax()])
            gap = float(accuracy[best, column] - accuracy[flat, column])
            gaps[width] = (gap, float(grid.temperatures[best]), float(grid.temperatures[flat]))
    statement = "With noisy labels the flatter cell, at zero loss but poorly connected, is worse than a sharper one"
    definition = (
        "At each width with a cell of phase III: accuracy of the best cell that is sharper and not at zero loss, less "
        "that of the flattest cell of phase III, in points; mean over widths"
    )
    settings = {"grid": str(grid), "phases": str(at)}
    if not gaps:
        why = "No width has a cell of phase III and a sharper one that is not at zero loss."
        return Claim(
            "noise-column", PAPER, statement, definition, "above 0", None, None, 0, "not at this scale", why, settings
        )
    mean = interval([gap for gap, _, _ in gaps.values()])
    bounds = (mean.low, mean.high) if math.isfinite(mean.low) else None
    worst = max(gaps, key=lambda width: gaps[width][0])
    gap, sharper, flatter = gaps[worst]
    sure = bounds is None or bounds[0] > 0
    verdict: Verdict = "reproduced" if mean.mean > 0 and sure else "in part" if gap > 0 else "contradicted"
    why = f"At width {worst:g} batch size {flatter:g} is flatter than {sharper:g}, and {gap:.1f} points worse."
    return Claim(
        "noise-column", PAPER, statement, definition, "above 0", mean.mean, bounds, mean.count, verdict, why, settings
    )


def _steps(protocol: TaxonomyProtocol, cells: Cells) -> Claim:
    """How many cells' connectivity is still what its steps make it."""
    found = moved(cells)
    share = float(np.mean(np.abs(found) > TOLERANCE)) if found else None
    statement = "Mode connectivity is what its steps make it, unless there are enough"
    definition = f"Share of cells whose mc moves by more than {TOLERANCE:g} point when its curves' steps are doubled"
    settings = {"steps": protocol.steps, "doubled": 2 * protocol.steps, "bends begin": protocol.begin}
    if share is None:
        return Claim(
            "steps", PAPER, statement, definition, "0", None, None, 0, "not measured", "There is no curve.", settings
        )
    verdict: Verdict = "reproduced" if share == 0 else "in part"
    why = (
        f"From {protocol.steps} to {2 * protocol.steps} steps mc moves by {np.median(np.abs(found)):.1f} points in the "
        f"median, at most by {np.max(np.abs(found)):.1f}; networks are at least as connected as it says."
    )
    return Claim("steps", PAPER, statement, definition, "0", share, None, len(found), verdict, why, settings)


def _pruning(cells: Cells) -> Iterator[Claim]:
    if not cells:
        return
    densities = sorted({cell["density"] for cell in cells})
    times = sorted({cell["epochs"] for cell in cells})
    settings = {"densities": densities, "epochs before the cut": times}
    by = {(cell["density"], cell["epochs"]): cell for cell in cells}

    def over_density() -> Iterator[float]:
        from scipy.stats import spearmanr

        for epochs in times:
            values = [min(0.0, float(np.mean(by[density, epochs]["connectivity"]))) for density in densities]
            if len(values) > 3 and np.ptp(values) > 0:
                yield float(spearmanr(densities, values).statistic)

    rhos = list(over_density())
    statement = "Networks of higher density are better connected after pruning"
    definition = (
        "Spearman's correlation of density with linear connectivity (cut off at 0), mean over trainings before the cut"
    )
    yield _mean_claim("pruning-density", statement, definition, "above 0.5", rhos, 0.5, 0.0, settings)

    def gain(density: float) -> Numbers:
        """What a hotter first training wins over the coldest, at the best of the hotter ones."""
        cold = np.asarray(by[density, times[-1]]["test_accuracy"])
        hot = np.stack([by[density, epochs]["test_accuracy"] for epochs in times[:-1]])
        best: Numbers = hot[hot.mean(1).argmax()] - cold
        return best

    low, high = gain(densities[0]), gain(densities[-1])
    statement = "At low density a hotter first training helps, at high density it does not"
    definition = (
        "Test accuracy after the best of the hotter (shorter) first trainings less that after the coldest, at the "
        "lowest density less the same at the highest, in points"
    )
    mean = interval((low - high).tolist())
    bounds = (mean.low, mean.high) if math.isfinite(mean.low) else None
    sure = bounds is not None and bounds[0] > 0
    both = low.mean() > 0 >= high.mean()
    verdict: Verdict = "reproduced" if sure and both else "in part" if low.mean() > high.mean() else "contradicted"
    ends = (densities[0], densities[-1])
    why = f"A hotter one wins {low.mean():+.1f} points at density {ends[0]:g}, {high.mean():+.1f} at {ends[1]:g}."
    yield Claim(
        "pruning-temperature", PRUNING_PAPER, statement, definition, "above 0", mean.mean, bounds, mean.count, verdict,
        why, settings,
    )  # fmt: skip


def _mean_claim(
    id: str, statement: str, definition: str, expected: str, values: Sequence[float], good: float, some: float,
    settings: Mapping[str, Any],
) -> Claim:  # fmt: skip
    if not values:
        why = "There are not four that differ in it."
        return Claim(
            id, PRUNING_PAPER, statement, definition, expected, None, None, 0, "not at this scale", why, settings
        )
    mean = interval(values)
    bounds = (max(-1.0, mean.low), min(1.0, mean.high)) if math.isfinite(mean.low) else None
    verdict: Verdict = "reproduced" if mean.mean > good else "in part" if mean.mean > some else "contradicted"
    why = f"The mean over {mean.count} is {mean.mean:+.2f}."
    return Claim(
        id, PRUNING_PAPER, statement, definition, expected, mean.mean, bounds, mean.count, verdict, why, settings
    )
