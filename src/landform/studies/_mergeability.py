"""Can it be told beforehand what merging will give? Predictions across pairs, seeds held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = NDArray[np.float64]
Outcome: TypeAlias = Literal["mean", "best"]

# What is read between the points or after matching: nearly the outcome itself, on the training data.
BETWEEN = ("barrier", "midpoint", "error_barrier", "error_midpoint", "aligned_barrier", "aligned_midpoint",
           "aligned_error_midpoint")  # fmt: skip
# Strength of the ridge, in units of a standardised feature's variance.
_RIDGE = 1.0


@dataclass(frozen=True)
class Predicted:
    """How well merging was foretold.

    Attributes:
        outcome: what was to be foretold: the rise of test error over the mean of the sources, of the plain ``"mean"``
            or of the ``"best"`` of all methods.
        truth: ``[pairs]``.
        foretold: by all features, each pair by a model that has not seen its seed, ``[pairs]``.
        settings: of each pair.
        rho: rank correlation of both, and of each single predictor with the truth, by name: ``"all"``, ``"ends"``
            (without what is read between the points), ``"distance"`` and every feature.
        by_seed: the same within each seed, for ``"all"``, ``"ends"`` and ``"distance"``.
    """

    outcome: Outcome
    truth: Numbers
    foretold: Numbers
    settings: tuple[str, ...]
    rho: Mapping[str, float]
    by_seed: Mapping[str, tuple[float, ...]]


def predict(results: Mapping[str, Sequence[Mapping[str, Any]]], outcome: Outcome) -> Predicted | None:
    """Foretell what merging a pair gives by what was measured before.

    Ranks of the features go into a ridge regression on the ranks of the outcome; the pairs of each seed are foretold
    by a fit on all other seeds.

    Args:
        results: of the study, by setting.
        outcome: what to foretell.

    Returns:
        The predictions; None with fewer than two seeds.
    """
    rows = [
        (setting, each["seed"], pair)
        for setting, every in results.items()
        for each in every
        for pair in each.get("pairs", ())
    ]
    seeds = np.array([seed for _, seed, _ in rows])
    if len(set(seeds.tolist())) < 2:
        return None
    truth = np.array([rise(pair, outcome) for _, _, pair in rows])
    names = sorted({name for _, _, pair in rows for name in pair["features"]})
    table = np.array([[pair["features"].get(name, np.nan) for name in names] for _, _, pair in rows])
    groups = {"all": names, "ends": [name for name in names if name not in BETWEEN]}
    foretold = {
        group: _held_out(table[:, [names.index(name) for name in used]], truth, seeds) for group, used in groups.items()
    }
    columns = {name: table[:, i] for i, name in enumerate(names)}
    rho = {name: _rho(column, truth) for name, column in {**columns, **foretold}.items()}
    by_seed = {
        name: tuple(_rho(column[seeds == seed], truth[seeds == seed]) for seed in sorted(set(seeds.tolist())))
        for name, column in (*foretold.items(), ("distance", columns["distance"]))
    }
    return Predicted(outcome, truth, foretold["all"], tuple(s for s, _, _ in rows), rho, by_seed)


def rise(pair: Mapping[str, Any], outcome: Outcome) -> float:
    """Rise of test error over the mean of two sources.

    Args:
        pair: of the results.
        outcome: of the plain mean, or of the best method.

    Returns:
        The difference; below zero where merging gains.
    """
    merged = {name: one["error"] for name, one in pair["methods"].items() if "error" in one}
    error = merged["mean"] if outcome == "mean" else min(merged.values())
    return float(error - np.mean(pair["sources"]))


def _held_out(table: Numbers, truth: Numbers, seeds: NDArray[Any]) -> Numbers:
    """Predictions of each seed's pairs by a fit on the others'."""
    ranked = np.column_stack([_standard(_ranks(column)) for column in table.T])
    wanted = _ranks(truth)
    found = np.empty(len(truth))
    for seed in sorted(set(seeds.tolist())):
        out = seeds == seed
        x, y = ranked[~out], wanted[~out]
        gram = x.T @ x + _RIDGE * len(x) / 10 * np.eye(x.shape[1])
        found[out] = y.mean() + (ranked[out] - x.mean(0)) @ np.linalg.solve(gram, (x - x.mean(0)).T @ (y - y.mean()))
    return found


def _ranks(values: Numbers) -> Numbers:
    """Ranks, ties in the middle; what is missing gets the middle rank."""
    from scipy.stats import rankdata

    known = np.isfinite(values)
    ranks = np.full(len(values), (known.sum() + 1) / 2)
    ranks[known] = rankdata(values[known])
    return ranks


def _standard(values: Numbers) -> Numbers:
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)


def _rho(a: Numbers, b: Numbers) -> float:
    a, b = _standard(_ranks(a)), _standard(_ranks(b))
    return float((a * b).mean())
