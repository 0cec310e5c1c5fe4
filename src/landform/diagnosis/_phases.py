"""Phases of a loss landscape: sharp or flat, connected or not, similar or not (Yang et al., NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landform.diagnosis._table import Table
from landform.errors import BadInput

Numbers = NDArray[np.float64]

PHASES: tuple[str, ...] = ("I", "II", "III", "IV-A", "IV-B")

MEANING = {
    "I": "not trained to the end, and poorly connected",
    "II": "not trained to the end, but connected",
    "III": "trained to zero loss, yet poorly connected",
    "IV-A": "trained to zero loss and connected, but unlike one another",
    "IV-B": "trained to zero loss, connected and alike: globally nice",
}


@dataclass(frozen=True)
class Thresholds:
    """Where one phase ends and the next begins; the paper reads them off its plots by eye.

    Attributes:
        flat: training loss below which a landscape counts as flat: the fall of the Hessian coincides with that of the
            loss by an order of magnitude, and the loss needs no Hessian.
        poor: mode connectivity below which it counts as poorly connected, percent.
        alike: similarity (CKA) from which on networks count as alike.
    """

    flat: float = 0.02
    poor: float = -1.0
    alike: float = 0.60

    def __post_init__(self) -> None:
        if not self.flat > 0:
            raise BadInput(f"flat is {self.flat}: give a training loss above 0, such as 0.02.")
        if not 0 < self.alike < 1:
            raise BadInput(f"alike is {self.alike}: give a similarity between 0 and 1, such as 0.6.")

    def __str__(self) -> str:
        return (
            f"flat: training loss below {self.flat:g}; poorly connected: mc below {self.poor:g}%; "
            f"alike: CKA of {self.alike:g} or more"
        )


@dataclass(frozen=True)
class PhaseRow:
    """One phase of a table.

    Attributes:
        phase: its name.
        count: how many networks are in it.
        accuracy: mean test accuracy, percent; NaN where there is none, as in all that follow.
        best: highest test accuracy.
        connectivity: mean mode connectivity, percent.
        log_eigenvalue: mean log of the largest eigenvalue.
        similarity: mean CKA.
    """

    phase: str
    count: int
    accuracy: float
    best: float
    connectivity: float
    log_eigenvalue: float
    similarity: float


def phases(table: Table, thresholds: Thresholds | None = None) -> NDArray[Any]:
    """Tell the phase of every network of a table.

    Args:
        table: with ``train_loss`` and ``connectivity``, and ``similarity`` to tell IV-A from IV-B.
        thresholds: where the phases end; the usual ones by default.

    Returns:
        ``[rows]``, names of `PHASES`; "" where a measure is missing that would decide.
    """
    at = thresholds or Thresholds()
    loss, connectivity = table.need("train_loss", "connectivity")
    nowhere = np.full(len(table), np.nan)
    similarity = table.columns.get("similarity", nowhere)
    flat, poor, alike = loss < at.flat, connectivity < at.poor, similarity >= at.alike
    found = np.where(flat, np.where(poor, "III", np.where(alike, "IV-B", "IV-A")), np.where(poor, "I", "II"))
    unknown = np.isnan(loss) | np.isnan(connectivity) | (flat & ~poor & np.isnan(similarity))
    return np.where(unknown, "", found).astype(np.str_)


def phase_table(table: Table, found: Sequence[str] | NDArray[Any] | None = None) -> list[PhaseRow]:
    """What each phase of a table is like.

    Args:
        table: the table.
        found: the phase of each row; by `phases` where not given.

    Returns:
        One row for each of `PHASES`, in their order.
    """
    each = phases(table) if found is None else np.asarray(found)

    def mean(name: str, chosen: NDArray[np.bool_]) -> float:
        values = table.columns[name][chosen] if name in table.columns else np.empty(0)
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else float("nan")

    rows = []
    for phase in PHASES:
        chosen = each == phase
        accuracy = table.columns["test_accuracy"][chosen] if "test_accuracy" in table.columns else np.empty(0)
        accuracy = accuracy[np.isfinite(accuracy)]
        rows.append(
            PhaseRow(
                phase,
                int(chosen.sum()),
                mean("test_accuracy", chosen),
                float(accuracy.max()) if len(accuracy) else float("nan"),
                mean("connectivity", chosen),
                mean("log_eigenvalue", chosen),
                mean("similarity", chosen),
            )
        )
    return rows
