"""What a taxonomy of landscapes claims, held against a table (Yang et al., NeurIPS 2021)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from landform.diagnosis._grid import Grid
from landform.diagnosis._phases import Thresholds
from landform.series import interval

Numbers = NDArray[np.float64]

PAPER = "Yang et al. 2021, arXiv 2107.11228"
# Largest eigenvalues that differ by less than 15% count as the same sharpness.
_SAME_SHARPNESS = 0.15
_DIP = 2.0


@dataclass(frozen=True)
class Finding:
    """One claim held against a table, in the fields of a study's claim.

    Attributes:
        id: short name.
        paper: which paper, and where in it.
        statement: what it says.
        definition: how that was made a number here.
        expected: what the number should be for the claim to hold.
        value: what it is; None where it could not be measured.
        interval: 95% interval over the cells or lines that were averaged; None where there is no such mean.
        seeds: over how many cells or lines.
        verdict: *reproduced*, *in part*, *not at this scale*, *contradicted*, or *not measured*.
        why: what led to the verdict, in a sentence.
        settings: what it was measured with, plain JSON.
    """

    id: str
    paper: str
    statement: str
    definition: str
    expected: str
    value: float | None
    interval: tuple[float, float] | None
    seeds: int
    verdict: Literal["reproduced", "in part", "not at this scale", "contradicted", "not measured"]
    why: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def findings(grid: Grid, other: Grid | None = None, thresholds: Thresholds | None = None) -> list[Finding]:
    """Hold the six claims of the taxonomy against a grid.

    Args:
        grid: over width (or whatever the load is) and temperature.
        other: the same over data, for what data is said to buy.
        thresholds: where the phases end.

    Returns:
        The claims C1 to C6, C4 in its three parts.
    """
    at = thresholds or Thresholds()
    told = {"grid": str(grid), "phases": str(at)}
    return [
        Finding(paper=PAPER, settings=told, **found)
        for found in (
            _best(grid, at),
            _sharpness(grid, at),
            _zero_loss(grid, at),
            _load_buys(grid, "width", "connectivity", at),
            _load_buys(other, "data", "similarity", at),
            _label_quality(grid),
            _double_descent(grid, at),
            _without_test_data(grid, at),
        )
    ]


def _best(grid: Grid, at: Thresholds) -> dict[str, Any]:
    found = {
        "id": "C1",
        "statement": "The best test accuracy is in phase IV-B: trained to zero loss, well connected, alike",
        "definition": "Share of the most accurate twentieth of all cells that lie in phase IV-B",
        "expected": "100%, and the best cell among them",
    }
    missing = _missing(grid, "test_accuracy", "similarity")
    if missing:
        return found | missing
    accuracy, phase = grid["test_accuracy"].ravel(), grid.phases(at).ravel()
    known = np.isfinite(accuracy) & (phase != "")
    accuracy, phase = accuracy[known], phase[known]
    if not (phase == "IV-B").any():
        return found | _unseen("No cell of this grid is in phase IV-B.")
    order = np.argsort(-accuracy)
    top = phase[order[: max(1, round(len(accuracy) / 20))]]
    share = float((top == "IV-B").mean())
    means = {name: float(accuracy[phase == name].mean()) for name in np.unique(phase)}
    leads = max(means, key=lambda name: means[name]) == "IV-B"
    verdict = "reproduced" if share == 1.0 and leads else "in part" if phase[order[0]] == "IV-B" else "contradicted"
    said = ", ".join(f"{name} {mean:.1f}" for name, mean in sorted(means.items()))
    why = f"The best cell ({accuracy[order[0]]:.2f}%) is in phase {phase[order[0]]}; mean accuracies: {said}."
    return found | {"value": share, "interval": None, "seeds": len(top), "verdict": verdict, "why": why}


def _sharpness(grid: Grid, at: Thresholds) -> dict[str, Any]:
    found = {
        "id": "C2",
        "statement": "Sharpness alone mispredicts: equally flat landscapes differ in accuracy by their connectivity",
        "definition": "Each cell of phase III against the cell of phase IV that is nearest in log lambda_1, if within "
        f"{_SAME_SHARPNESS}: how much more accurate the connected one is, in points, mean over pairs",
        "expected": "above 0",
    }
    missing = _missing(grid, "test_accuracy", "log_eigenvalue")
    if missing:
        return found | missing
    accuracy, sharp, phase = (v.ravel() for v in (grid["test_accuracy"], grid["log_eigenvalue"], grid.phases(at)))
    known = np.isfinite(accuracy) & np.isfinite(sharp)
    poor = np.flatnonzero(known & (phase == "III"))
    nice = np.flatnonzero(known & np.isin(phase, ("IV-A", "IV-B")))
    if not len(poor) or not len(nice):
        return found | _unseen("There are no cells of phase III and of phase IV to compare.")
    gaps = []
    for cell in poor:
        nearest = nice[np.abs(sharp[nice] - sharp[cell]).argmin()]
        if abs(sharp[nearest] - sharp[cell]) < _SAME_SHARPNESS:
            gaps.append(float(accuracy[nearest] - accuracy[cell]))
    if not gaps:
        return found | _unseen("No cell of phase III is as sharp as one of phase IV.")
    return found | _above_zero(gaps, "pairs of equally sharp cells", "points")


def _zero_loss(grid: Grid, at: Thresholds) -> dict[str, Any]:
    found = {
        "id": "C3",
        "statement": "Where networks are poorly connected, training to zero loss can lower accuracy",
        "definition": "For each load that reaches phase III: the best accuracy without reaching zero loss, less the "
        "accuracy in phase III, in points; the largest of these",
        "expected": "above 0",
    }
    missing = _missing(grid, "test_accuracy")
    if missing:
        return found | missing
    accuracy, phase = grid["test_accuracy"], grid.phases(at)
    drops: list[tuple[float, float]] = []
    for column, load in enumerate(grid.loads):
        poor = (phase[:, column] == "III") & np.isfinite(accuracy[:, column])
        before = np.isin(phase[:, column], ("I", "II")) & np.isfinite(accuracy[:, column])
        if poor.any() and before.any():
            drop = accuracy[before, column].max() - accuracy[poor, column].min()
            drops.append((float(drop), float(load)))
    if not drops:
        return found | _unseen("No load of this grid reaches phase III and stays above zero loss elsewhere.")
    drop, load = max(drops)
    down = sum(each > 0 for each, _ in drops)
    verdict = "reproduced" if drop > 1 else "in part" if drop > 0 else "contradicted"
    why = f"At {grid.load} {load:g} accuracy falls by {drop:.1f} points; it falls at {down} of {len(drops)} such loads."
    return found | {"value": drop, "interval": None, "seeds": len(drops), "verdict": verdict, "why": why}


def _load_buys(grid: Grid | None, load: str, measure: str, at: Thresholds) -> dict[str, Any]:
    bought = {"connectivity": "connectivity", "similarity": "similarity (CKA)"}[measure]
    lines = "at each temperature" if load == "width" else "at each temperature, among cells trained to zero loss"
    found = {
        "id": f"C4-{load}",
        "statement": f"{load.capitalize()} buys {bought}",
        "definition": f"Spearman's correlation of {load} with {measure}"
        f"{' (cut off at 0, above which there is no barrier)' if measure == 'connectivity' else ''} {lines}, mean",
        "expected": "above 0.5",
    }
    if grid is None or grid.load != load:
        return found | _missed(f"The table does not vary {load}.")
    missing = _missing(grid, measure)
    if missing:
        return found | missing
    values = grid[measure]
    if measure == "connectivity":
        values = np.where(np.isnan(values), np.nan, np.minimum(values, 0.0))
    elif "train_loss" in grid:
        values = np.where(grid["train_loss"] < at.flat, values, np.nan)
    return found | _correlated(grid.loads, values, measure, 1)


def _label_quality(grid: Grid) -> dict[str, Any]:
    found = {
        "id": "C4-labels",
        "statement": "The quality of labels buys connectivity",
        "definition": "Spearman's correlation of label noise with connectivity (cut off at 0) at each temperature, "
        "mean",
        "expected": "below -0.5",
    }
    if grid.load != "label_noise":
        return found | _missed("The grid does not vary label noise: give a table that does, with --load label_noise.")
    missing = _missing(grid, "connectivity")
    if missing:
        return found | missing
    values = np.where(np.isnan(grid["connectivity"]), np.nan, np.minimum(grid["connectivity"], 0.0))
    return found | _correlated(grid.loads, values, "connectivity", -1)


def _double_descent(grid: Grid, at: Thresholds) -> dict[str, Any]:
    found = {
        "id": "C5",
        "statement": "Double descent: with noisy labels accuracy dips where the Hessian changes over",
        "definition": "Along each line of the grid: by how many points accuracy falls short of the best on both sides, "
        "within one cell of where training loss falls to zero; mean over lines that have such a place",
        "expected": f"above {_DIP:g} where labels are noisy",
    }
    missing = _missing(grid, "test_accuracy", "train_loss")
    if missing:
        return found | missing
    dips = list(_dips(grid["test_accuracy"], grid["train_loss"] < at.flat))
    if not dips:
        return found | _unseen("Training loss falls to zero along no line of this grid.")
    mean = interval(dips)
    why = f"Mean dip {mean.mean:.1f} points over {len(dips)} lines, the deepest {max(dips):.1f}."
    if mean.mean > _DIP:
        return found | _valued(mean.mean, mean, "reproduced", why)
    noisy = grid.load == "label_noise" or grid.fixed.get("label_noise", 0.0) > 0
    if noisy:
        return found | _valued(mean.mean, mean, "in part" if max(dips) > _DIP else "contradicted", why)
    return found | _valued(mean.mean, mean, "not at this scale", why + " The claim is about noisy labels.")


def _dips(accuracy: Numbers, flat: NDArray[np.bool_]) -> Iterator[float]:
    """Depth of the dip at the transition of every row and column that has one."""
    for values, below in (*zip(accuracy, flat, strict=True), *zip(accuracy.T, flat.T, strict=True)):
        known = np.isfinite(values)
        line, under = values[known], below[known]
        if len(line) < 5 or under.all() or not under.any():
            continue
        first = int(under.argmax())
        near = [place for place in (first - 2, first - 1, first) if 0 < place < len(line) - 1]
        depths = [min(line[:place].max(), line[place + 1 :].max()) - line[place] for place in near]
        if depths:
            yield max(0.0, float(max(depths)))


def _without_test_data(grid: Grid, at: Thresholds) -> dict[str, Any]:
    found = {
        "id": "C6",
        "statement": "No test data is needed: what is measured on training data picks a good network",
        "definition": "Accuracy of the best cell, less that of the cell with the highest CKA among those trained to "
        "zero loss and well connected, in points",
        "expected": "at most 1",
    }
    missing = _missing(grid, "test_accuracy", "similarity")
    if missing:
        return found | missing
    accuracy, phase, similarity = (v.ravel() for v in (grid["test_accuracy"], grid.phases(at), grid["similarity"]))
    nice = np.isin(phase, ("IV-A", "IV-B")) & np.isfinite(accuracy)
    if not nice.any():
        return found | _unseen("No cell is trained to zero loss and well connected.")
    picked = int(np.where(nice, similarity, -np.inf).argmax())
    lost = float(np.nanmax(accuracy) - accuracy[picked])
    verdict = "reproduced" if lost <= 1 else "in part" if lost <= 3 else "contradicted"
    why = f"The cell that is picked has {accuracy[picked]:.2f}%, the best one {np.nanmax(accuracy):.2f}%."
    return found | {"value": lost, "interval": None, "seeds": int(nice.sum()), "verdict": verdict, "why": why}


def _spearman(a: Numbers, b: Numbers) -> float:
    from scipy.stats import spearmanr

    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 4 or np.ptp(b[known]) == 0:
        return math.nan
    return float(spearmanr(a[known], b[known]).statistic)


def _correlated(loads: Numbers, values: Numbers, measure: str, sign: int) -> dict[str, Any]:
    """Mean rank correlation with the load over temperatures, where it should have this sign."""
    rhos = [rho for row in values if math.isfinite(rho := _spearman(loads, row))]
    if not rhos:
        return _unseen(f"At no temperature are there four cells whose {measure} differs.")
    mean = interval(rhos)
    agree = sign * mean.mean
    verdict = "reproduced" if agree > 0.5 else "in part" if agree > 0 else "contradicted"
    why = f"At {sum(sign * rho > 0 for rho in rhos)} of {len(rhos)} temperatures it is so; mean {mean.mean:+.2f}."
    found = _valued(mean.mean, mean, verdict, why)
    if found["interval"] is not None:  # a correlation is none beyond 1, whatever Student says
        found["interval"] = (max(-1.0, mean.low), min(1.0, mean.high))
    return found


def _above_zero(values: list[float], of: str, unit: str) -> dict[str, Any]:
    mean = interval(values)
    sure = mean.low > 0
    verdict = "reproduced" if sure else "in part" if mean.mean > 0 else "contradicted"
    why = f"Mean {mean.mean:+.1f} {unit} over {len(values)} {of}, {sum(v > 0 for v in values)} of them above 0."
    return _valued(mean.mean, mean, verdict, why)


def _valued(value: float, mean: Any, verdict: str, why: str) -> dict[str, Any]:
    ends = None if math.isnan(mean.low) else (mean.low, mean.high)
    return {"value": value, "interval": ends, "seeds": mean.count, "verdict": verdict, "why": why}


def _missing(grid: Grid, *needed: str) -> dict[str, Any] | None:
    absent = [name for name in needed if name not in grid]
    return _missed(f"The table has no column for {' and '.join(absent)}.") if absent else None


def _missed(why: str) -> dict[str, Any]:
    return {"value": None, "interval": None, "seeds": 0, "verdict": "not measured", "why": why}


def _unseen(why: str) -> dict[str, Any]:
    return {"value": None, "interval": None, "seeds": 0, "verdict": "not at this scale", "why": why}
