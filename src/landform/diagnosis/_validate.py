"""How far a diagnosis can be trusted: whole levels of a grid left out, and few networks to learn from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from landform.diagnosis._columns import LABELS
from landform.diagnosis._failures import answers, labelled
from landform.diagnosis._features import shared
from landform.diagnosis._judge import learn
from landform.diagnosis._md_tree import md_tree
from landform.diagnosis._table import Table
from landform.errors import BadInput

Numbers = NDArray[np.float64]
Method = Literal["ensemble", "md-tree"]


@dataclass(frozen=True)
class Validation:
    """Answers for networks that were left out of the fit, against the right ones.

    Attributes:
        question: one of `LABELS`.
        method: ``"ensemble"`` or ``"md-tree"``.
        held_out: what was left out.
        accuracy: share of right answers.
        standard_error: of it, over what was left out; NaN for a single part.
        parts: share of right answers in each part that was left out.
        first: probability of the first answer, of each row that was judged, ``[n]``; 0 or 1 from the tree.
        right: whether the first answer is right for it, ``[n]``.
    """

    question: str
    method: str
    held_out: str
    accuracy: float
    standard_error: float
    parts: tuple[float, ...]
    first: Numbers
    right: NDArray[np.bool_]

    @property
    def calibration_error(self) -> float:
        """Mean distance of probability and share of right answers, over ten bins of equal count (ECE)."""
        sure = np.maximum(self.first, 1 - self.first)
        correct = (self.first >= 0.5) == self.right
        order = np.argsort(sure, kind="stable")
        bins = np.array_split(order, min(10, len(order)))
        return float(sum(len(b) * abs(sure[b].mean() - correct[b].mean()) for b in bins) / len(order))

    @property
    def confusion(self) -> NDArray[np.int64]:
        """How often which answer was given, ``[right answer, given answer]``, the first answer first."""
        given = self.first >= 0.5
        return np.array(
            [[(self.right & given).sum(), (self.right & ~given).sum()],
             [(~self.right & given).sum(), (~self.right & ~given).sum()]]
        )  # fmt: skip


def leave_out(
    table: Table, question: str, knob: str, *, levels: int = 2, method: Method = "ensemble", seed: int = 0
) -> Validation:
    """Judge whole levels of a knob by a model that has seen none of them.

    Random rows would flatter it: their neighbours on the grid are nearly copies.

    Args:
        table: a grid with answers.
        question: one of `LABELS`.
        knob: ``"width"``, ``"batch_size"`` or ``"data"``.
        levels: how many neighbouring levels to leave out at a time.
        method: ``"ensemble"``, or ``"md-tree"`` for the published tree.
        seed: of what is random in the model.

    Returns:
        What came out.

    Raises:
        BadInput: when the table varies the knob in no more than ``levels`` levels.
    """
    table = labelled(table, question)
    values, level = np.unique(table[knob], return_inverse=True)
    if len(values) <= levels:
        raise BadInput(f"{table.source} has {len(values)} levels of {knob}: leave out fewer than that at a time.")
    right, known = _known(table, question)
    first = np.full(len(table), np.nan)
    parts = []
    for start in range(0, len(values), levels):
        inside = known & (level >= start) & (level < start + levels)
        outside = known & ~inside
        if not inside.any():
            continue
        first[inside] = _judged(table.where(outside), table.where(inside), question, method, seed)
        parts.append(float(((first[inside] >= 0.5) == right[inside]).mean()))
    held = f"{levels} levels of {knob.replace('_', ' ')} at a time" if levels > 1 else f"each {knob.replace('_', ' ')}"
    return _validation(question, method, held, parts, first, right)


def few_shot(
    table: Table,
    question: str,
    count: int,
    *,
    judged: Table | None = None,
    draws: int = 5,
    method: Method = "ensemble",
    seed: int = 0,
) -> Validation:
    """Judge networks by a model that has seen few.

    Args:
        table: networks with answers, of which to draw.
        question: one of `LABELS`.
        count: how many to learn from.
        judged: networks to judge; all that were not drawn by default.
        draws: how often to draw anew.
        method: as for `leave_out`.
        seed: of the draws.

    Returns:
        What came out, over all draws.
    """
    table = labelled(table, question)
    right, known = _known(table, question)
    places = np.flatnonzero(known)
    if not 0 < count < len(places):
        raise BadInput(f"{table.source} has {len(places)} networks with an answer: learn from fewer, not {count}.")
    every: list[Numbers] = []
    truth: list[NDArray[np.bool_]] = []
    parts = []
    for draw in range(draws):
        chosen = np.random.default_rng([seed, draw]).choice(places, count, replace=False)
        if judged is None:
            rest = np.setdiff1d(places, chosen)
            target, wanted = table.where(rest), right[rest]
        else:
            wanted, answered = _known(judged, question)
            target, wanted = judged.where(answered), wanted[answered]
        first = _judged(table.where(chosen), target, question, method, seed)
        every.append(first)
        truth.append(wanted)
        parts.append(float(((first >= 0.5) == wanted).mean()))
    whom = "the others" if judged is None else judged.source
    held = f"{count} drawn at random, {whom} judged"
    return _validation(question, method, held, parts, np.concatenate(every), np.concatenate(truth), mean=True)


def transfer(table: Table, judged: Table, question: str, *, method: Method = "ensemble", seed: int = 0) -> Validation:
    """Judge the networks of one table by a model that has seen those of another.

    Args:
        table: networks with answers, to learn from.
        judged: networks with answers, to judge.
        question: one of `LABELS`.
        method: as for `leave_out`.
        seed: of what is random in the model.

    Returns:
        What came out; the standard error is that of independent networks.
    """
    right, known = _known(judged, question)
    first = _judged(table, judged.where(known), question, method, seed)
    found = _validation(question, method, f"all of {judged.source}", [], first, right[known])
    error = math.sqrt(found.accuracy * (1 - found.accuracy) / len(first))
    return Validation(question, method, found.held_out, found.accuracy, error, (), first, right[known])


def _judged(seen: Table, new: Table, question: str, method: Method, seed: int) -> Numbers:
    if method == "md-tree":
        told = md_tree(seen, answers(seen, question), question).predict(new)
        first: Numbers = (told == LABELS[question][0]).astype(np.float64)
        return first
    return learn(seen, question, measures=shared(seen, new), seed=seed).answer(new, together=True).first


def _known(table: Table, question: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    told = answers(table, question)
    one, other = LABELS[question]
    return told == one, (told == one) | (told == other)


def _validation(
    question: str,
    method: str,
    held: str,
    parts: list[float],
    first: Numbers,
    right: NDArray[np.bool_],
    mean: bool = False,
) -> Validation:
    known = np.isfinite(first)
    first, right = first[known], right[known]
    accuracy = float(np.mean(parts)) if mean else float(((first >= 0.5) == right).mean())
    error = float(np.std(parts, ddof=1) / math.sqrt(len(parts))) if len(parts) > 1 else math.nan
    return Validation(question, method, held, accuracy, error, tuple(parts), first, right)
