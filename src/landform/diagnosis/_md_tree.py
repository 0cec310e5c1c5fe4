"""The published baseline: a tree of fixed shape of which only the thresholds are fitted (MD tree, Zhou et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landform.diagnosis._columns import LABELS
from landform.diagnosis._table import Table
from landform.errors import BadInput

Numbers = NDArray[np.float64]
Yes = NDArray[np.bool_]
_Rule = Callable[[Numbers, Numbers, Numbers, tuple[float, ...]], Yes]

# For each question the measures, where each threshold begins, and within which bounds it is sought.
_SETUP: dict[str, tuple[tuple[str, ...], tuple[float, ...], tuple[tuple[float, float], ...]]] = {
    "temperature": (
        ("train_error", "curve_error", "log_trace"),
        (0.5, -10.0, 7.0),
        ((0.0, 1.0), (-30.0, 0.0), (4.0, 9.0)),
    ),
    "width-or-batch": (
        ("train_error", "curve_error"),
        (0.5, -10.0, -10.0),
        ((0.0, 1.0), (-30.0, 0.0), (-30.0, 0.0)),
    ),
}


def _temperature(error: Numbers, peak: Numbers, trace: Numbers, t: tuple[float, ...]) -> Yes:
    """Small where trained to the end; else small where poorly connected and sharp."""
    return (error <= t[0]) | ((peak <= t[1]) & (trace > t[2]))


def _width(error: Numbers, peak: Numbers, trace: Numbers, t: tuple[float, ...]) -> Yes:
    """Width where poorly connected; how poorly depends on whether it was trained to the end."""
    return np.where(error <= t[0], peak <= t[1], peak <= t[2])


_RULES: dict[str, _Rule] = {"temperature": _temperature, "width-or-batch": _width}


@dataclass(frozen=True)
class MDTree:
    """The tree with its thresholds.

    Attributes:
        question: ``"temperature"`` or ``"width-or-batch"``.
        thresholds: of the training error in percent, of minus the largest error inside the curve, and, for
            temperature, of the log trace; for width the second and third are those of networks trained to the end and
            of others.
    """

    question: str
    thresholds: tuple[float, ...]

    def predict(self, table: Table) -> NDArray[Any]:
        """Answer the question for each row of a table.

        Args:
            table: with the training error, the error inside the curve and, for temperature, the trace.

        Returns:
            ``[rows]``.
        """
        first, second = LABELS[self.question]
        yes = _RULES[self.question](*_measures(table, self.question), self.thresholds)
        return np.where(yes, first, second)


def md_tree(table: Table, answers: NDArray[Any], question: str) -> MDTree:
    """Fit the thresholds of the published tree.

    One after the other, each by bounded scalar minimisation of the share of wrong answers, the later ones still where
    they begin.

    Args:
        table: measured networks.
        answers: to the question, ``[rows]``; rows with neither answer are left out.
        question: ``"temperature"`` or ``"width-or-batch"``; the paper has no tree of its own for data.

    Returns:
        The tree.

    Raises:
        BadInput: when there is no such tree, or no row with an answer.
    """
    from scipy.optimize import minimize_scalar

    if question not in _SETUP:
        raise BadInput(f"The published tree answers {' and '.join(_SETUP)}, not {question}: use the default model.")
    first, second = LABELS[question]
    known = (answers == first) | (answers == second)
    if not known.any():
        raise BadInput(f"{table.source} has no row whose answer to {question} is {first} or {second}.")
    part, right = table.where(known), answers[known] == first
    measures, rule = _measures(part, question), _RULES[question]
    _, start, bounds = _SETUP[question]
    thresholds = list(start)
    for place, ends in enumerate(bounds):

        def wrong(value: float, place: int = place) -> float:
            tried = tuple(value if i == place else each for i, each in enumerate(thresholds))
            return float((rule(*measures, tried) != right).mean())

        thresholds[place] = float(minimize_scalar(wrong, bounds=ends, method="bounded").x)
    return MDTree(question, tuple(thresholds))


def _measures(table: Table, question: str) -> tuple[Numbers, Numbers, Numbers]:
    found = table.need(*_SETUP[question][0])
    return found[0], -found[1], found[2] if len(found) > 2 else np.zeros(len(table))
