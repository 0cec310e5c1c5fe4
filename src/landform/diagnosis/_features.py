"""What a diagnosis looks at: measures on training data, made free of scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landform.diagnosis._phases import Thresholds
from landform.diagnosis._table import Table
from landform.errors import BadInput

Numbers = NDArray[np.float64]
_Columns = Mapping[str, Numbers]

USED = (
    "train_error",
    "train_loss",
    "connectivity",
    "curve_error",
    "log_eigenvalue",
    "log_trace",
    "similarity",
)
"""Measures that a diagnosis takes: never the configuration, never test data."""


@dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes:
        name: what it is called.
        needs: measures it is made of.
        made: how, from columns by name.
    """

    name: str
    needs: tuple[str, ...]
    made: Callable[[_Columns], Numbers]


def _signed_log(values: Numbers, unit: float) -> Numbers:
    """Logarithm on both sides of zero, linear within a unit of it: the sign of connectivity is what matters most."""
    return np.sign(values) * np.log1p(np.abs(values) / unit)


# Errors and barriers span three orders of magnitude, so they enter as logarithms; a small unit keeps zero in place.
# Ratios hold where label noise or other data move all errors up together; the trace of the Hessian per loss and the
# share of its largest eigenvalue do not depend on how large either is.
FEATURES: tuple[Feature, ...] = (
    Feature("loss", ("train_loss",), lambda c: np.log(np.maximum(c["train_loss"], 0) + 1e-3)),
    Feature("error", ("train_error",), lambda c: np.log1p(c["train_error"] / 0.5)),
    Feature("connectivity", ("connectivity",), lambda c: _signed_log(c["connectivity"], 0.5)),
    Feature("connectivity, linear", ("connectivity",), lambda c: c["connectivity"] / 10.0),
    Feature("error on the curve", ("curve_error",), lambda c: np.log1p(c["curve_error"] / 0.3)),
    Feature("trace", ("log_trace",), lambda c: c["log_trace"]),
    Feature("eigenvalue", ("log_eigenvalue",), lambda c: c["log_eigenvalue"]),
    Feature("share of the eigenvalue", ("log_eigenvalue", "log_trace"), lambda c: c["log_eigenvalue"] - c["log_trace"]),
    Feature("similarity", ("similarity",), lambda c: c["similarity"]),
    Feature(
        "relative barrier",
        ("curve_error", "train_error"),
        lambda c: (c["curve_error"] - c["train_error"]) / (c["curve_error"] + c["train_error"] + 0.5),
    ),
    Feature(
        "connectivity per error",
        ("connectivity", "train_error"),
        lambda c: c["connectivity"] / (c["train_error"] + 1.0),
    ),
    Feature(
        "trace per loss",
        ("log_trace", "train_loss"),
        lambda c: c["log_trace"] - np.log(np.maximum(c["train_loss"], 0) + 1e-2),
    ),
    Feature(
        "flat",
        ("train_loss",),
        lambda c: np.where(np.isnan(c["train_loss"]), np.nan, c["train_loss"] < Thresholds().flat),
    ),
)


def shared(*tables: Table) -> tuple[str, ...]:
    """Measures that all of some tables have.

    Args:
        *tables: the tables.

    Returns:
        Names among `USED`.

    Raises:
        BadInput: when there is no training error or loss, or nothing beside them.
    """
    found = tuple(
        name for name in USED if all(name in table.columns and bool(np.isfinite(table[name]).any()) for table in tables)
    )
    for table in tables:
        if not {"train_error", "train_loss"} & set(table.columns):
            table.need("train_loss")
    if len(found) < 2 or not set(found) - {"train_error", "train_loss"}:
        named = " and ".join(table.source for table in tables)
        raise BadInput(
            f"A diagnosis needs a training error or loss and one of {', '.join(USED[2:])}; {named} share only "
            f"{', '.join(found) or 'nothing'}."
        )
    return found


def features(table: Table, measures: Sequence[str]) -> tuple[tuple[str, ...], Numbers]:
    """The features of a table that follow from some measures.

    Args:
        table: the table.
        measures: which measures to look at.

    Returns:
        Names, and ``[rows, features]``; NaN where a measure is missing.
    """
    columns = {name: table[name] for name in measures}
    chosen = [feature for feature in FEATURES if set(feature.needs) <= set(measures)]
    return tuple(one.name for one in chosen), np.stack([one.made(columns) for one in chosen], 1).astype(np.float64)
