"""Which measure ranks networks as their test accuracy does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landform.diagnosis._columns import MEASURES
from landform.diagnosis._table import Table

Numbers = NDArray[np.float64]

# A network counts as trained to the end below this training loss.
CONVERGED = 0.01


@dataclass(frozen=True)
class Rank:
    """How one measure ranks networks, against their test accuracy.

    Attributes:
        measure: its meaning.
        among: which networks were ranked: ``"all"`` or ``"converged"``.
        count: how many.
        spearman: Spearman's rank correlation; NaN with fewer than four networks or a measure that is the same for all.
        kendall: Kendall's tau (b), likewise.
    """

    measure: str
    among: str
    count: int
    spearman: float
    kendall: float


def ranks(table: Table, measures: Sequence[str] | None = None, *, converged: float = CONVERGED) -> list[Rank]:
    """Correlate the measures of a table with test accuracy, over all networks and over those trained to the end.

    Args:
        table: with ``test_accuracy``; ``train_loss`` tells which were trained to the end.
        measures: which; all that the table has by default.
        converged: training loss below which a network was trained to the end.

    Returns:
        One value for each measure and set of networks.
    """
    from scipy.stats import kendalltau, spearmanr

    accuracy = table["test_accuracy"]
    sets = {"all": np.ones(len(table), dtype=bool)}
    if "train_loss" in table.columns:
        sets["converged"] = table["train_loss"] < converged
    found = []
    for among, chosen in sets.items():
        for measure in measures or [name for name in MEASURES if name in table.columns]:
            known = chosen & np.isfinite(table[measure]) & np.isfinite(accuracy)
            a, b = table[measure][known], accuracy[known]
            rho, tau = math.nan, math.nan
            if len(a) >= 4 and np.ptp(a) > 0 and np.ptp(b) > 0:
                rho, tau = float(spearmanr(a, b).statistic), float(kendalltau(a, b).statistic)
            found.append(Rank(measure, among, int(known.sum()), rho, tau))
    return found


def correlation_matrix(table: Table) -> tuple[tuple[str, ...], Numbers]:
    """Spearman's correlation of test accuracy and all measures with one another.

    Args:
        table: the table.

    Returns:
        Their names, and ``[m, m]``; NaN for pairs with fewer than four networks, or of which one is the same for all.
    """
    from scipy.stats import spearmanr

    names = tuple(name for name in ("test_accuracy", *MEASURES) if name in table.columns)
    found = np.full((len(names), len(names)), np.nan)
    for i, first in enumerate(names):
        for j, second in enumerate(names[: i + 1]):
            known = np.isfinite(table[first]) & np.isfinite(table[second])
            a, b = table[first][known], table[second][known]
            if len(a) >= 4 and np.ptp(a) > 0 and np.ptp(b) > 0:
                found[i, j] = found[j, i] = spearmanr(a, b).statistic
    return names, found
