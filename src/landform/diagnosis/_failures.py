"""Which knob holds a network back: answers from a grid in which every knob was turned (Zhou et al., ICML 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landform.diagnosis._columns import LABELS
from landform.diagnosis._table import Table
from landform.errors import BadInput

Numbers = NDArray[np.float64]


def room(table: Table) -> Mapping[str, Numbers]:
    """Room for improvement: how much accuracy there is to win by turning one knob alone, all others kept.

    ``RFI(knob) = max over the grid's settings of that knob in that direction of the test accuracy, less the accuracy``.
    The temperature is raised by a smaller batch and lowered by a larger one; width and data are only raised.

    Args:
        table: a grid with ``test_accuracy``, ``batch_size`` and, where there are several, ``width`` and ``data``.

    Returns:
        Percent by direction, ``[rows]`` each: ``"hotter"``, ``"colder"``, and ``"width"`` and ``"data"`` where these
        were varied.
    """
    accuracy, _ = table.need("test_accuracy", "batch_size")
    knobs = [name for name in ("width", "data", "batch_size") if name in table.columns]
    found = {"hotter": _won(table, knobs, "batch_size", -1.0, accuracy)}
    found["colder"] = _won(table, knobs, "batch_size", 1.0, accuracy)
    for name in ("width", "data"):
        if name in knobs and len(np.unique(table[name])) > 1:
            found[name] = _won(table, knobs, name, 1.0, accuracy)
    return found


def failures(table: Table) -> Mapping[str, NDArray[Any]]:
    """What is wrong with each network of a grid.

    The temperature is *small* where more is won by raising it than by lowering it, *large* where less; width (or data)
    is to blame where more of it wins more than either. A tie is *optimal*.

    Args:
        table: a grid, as for `room`.

    Returns:
        Answers by question (`LABELS`), ``[rows]`` each, for those questions that the grid can answer.
    """
    won = room(table)
    found = {"temperature": _larger(won["hotter"], won["colder"], "small", "large")}
    either = np.maximum(won["hotter"], won["colder"])
    for name in ("width", "data"):
        if name in won:
            found[f"{name}-or-batch"] = _larger(won[name], either, name, "batch")
    return found


def answers(table: Table, question: str) -> NDArray[Any]:
    """Known answers of a table: those that stand in it, else those that follow from its grid.

    Args:
        table: the table.
        question: one of `LABELS`.

    Returns:
        ``[rows]``; whatever is neither of the two answers is a tie.

    Raises:
        BadInput: when it holds neither.
    """
    if question not in LABELS:
        raise BadInput(f"There is no question {question!r}: ask one of {', '.join(LABELS)}.")
    if question in table.labels:
        return table.labels[question]
    if {"test_accuracy", "batch_size"} <= set(table.columns):
        found = failures(table)
        if question in found:
            return found[question]
    raise BadInput(
        f"{table.source} does not say which is the answer to {question}: give a table with that column, or one with "
        "test accuracy and batch size (and width or data) over a grid."
    )


def labelled(table: Table, question: str) -> Table:
    """The same table with the answers to a question written down, so that parts of it keep them.

    Args:
        table: the table.
        question: one of `LABELS`.

    Returns:
        Another table.
    """
    return replace(table, labels={**table.labels, question: answers(table, question)})


def _won(table: Table, knobs: list[str], turned: str, sign: float, accuracy: Numbers) -> Numbers:
    others = [table[name] for name in knobs if name != turned]
    keys = np.stack(others, 1) if others else np.zeros((len(table), 1))
    _, group = np.unique(keys, axis=0, return_inverse=True)
    won = np.zeros(len(table))
    along = sign * table[turned]
    for each in range(int(group.max()) + 1):
        rows = np.flatnonzero(group.ravel() == each)
        # From the far end inwards, so that the running maximum holds every setting beyond one's own.
        rows = rows[np.argsort(-along[rows], kind="stable")]
        won[rows] = np.fmax.accumulate(accuracy[rows]) - accuracy[rows]
    return won


def _larger(first: Numbers, second: Numbers, one: str, other: str) -> NDArray[Any]:
    return np.where(first > second, one, np.where(first < second, other, "optimal"))
