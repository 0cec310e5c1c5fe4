"""How far a diagnosis can be trusted: whether its probabilities come true, and what it takes for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from landform.diagnosis import LABELS
from landform.errors import BadInput
from landform.report._figure import Axis, Figure, Series
from landform.report._heat import HeatAxis, HeatMap

if TYPE_CHECKING:
    from landform.diagnosis import Validation


def calibration_curve(found: Sequence[Validation], *, bins: int = 10) -> Figure:
    """Whether probabilities come true.

    Args:
        found: validations of one question, a line each.
        bins: how many groups of equally many answers, by their probability.

    Returns:
        Share of right answers over the probability that the diagnosis gave them, beside the diagonal.

    Raises:
        BadInput: when there is none, or they are of several questions.
    """
    question = _question(found)
    lines = []
    for place, one in enumerate(found):
        sure = np.maximum(one.first, 1 - one.first)
        correct = ((one.first >= 0.5) == one.right).astype(np.float64)
        groups = [g for g in np.array_split(np.argsort(sure, kind="stable"), bins) if len(g)]
        x = np.array([sure[g].mean() for g in groups])
        y = np.array([correct[g].mean() for g in groups])
        # Wilson's interval of one standard error: it does not shrink to nothing where all answers are right.
        n = np.array([len(g) for g in groups], dtype=np.float64)
        middle, half = (y + 0.5 / n) / (1 + 1 / n), np.sqrt(y * (1 - y) / n + 0.25 / n**2) / (1 + 1 / n)
        told = f"{one.held_out.removesuffix(' at a time')}: {one.accuracy:.1%}, off by {one.calibration_error:.3f}"
        lines.append(Series(told, x, y, "marked", place, middle - half, middle + half))
    straight = np.array([0.5, 1.0])
    lines.append(Series("as sure as right", straight, straight, "faint", len(found)))
    return Figure(
        f"calibration-{question}",
        f"Do the probabilities come true? ({question})",
        "Answers in groups of equally many, by the probability that the diagnosis gave them; above the diagonal it was "
        "more often right than it said. The legend has the share of right answers and the calibration error; bands are "
        "one standard error.",
        "Networks that were left out together are not independent, so the bands are narrower than the doubt.",
        Axis("probability given", limits=(0.48, 1.02)),
        Axis("share right", limits=(0.2, 1.03)),
        tuple(lines),
    )


def confusion_map(found: Sequence[Validation]) -> HeatMap:
    """What is taken for what.

    Args:
        found: validations of one question, taken together.

    Returns:
        Shares of each right answer that got each answer, with counts on them.

    Raises:
        BadInput: when there is none, or they are of several questions.
    """
    question = _question(found)
    counts = np.sum([one.confusion for one in found], axis=0)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = LABELS[question]
    return HeatMap(
        f"confusion-{question}",
        f"What is taken for what ({question})",
        f"Rows are right answers, columns the answers given, over {int(counts.sum())} answers: "
        f"{'; '.join(one.held_out for one in found)} left out.",
        "Each network counts once for each way of leaving it out.",
        HeatAxis("answer given", names),
        HeatAxis("right answer", names),
        shares.astype(np.float64),
        "share of the row",
        limits=(0.0, 1.0),
        marks=tuple((float(j), float(i), f"{shares[i, j]:.1%} ({counts[i, j]})") for i in range(2) for j in range(2)),
    )


def _question(found: Sequence[Validation]) -> str:
    questions = {one.question for one in found}
    if len(questions) != 1:
        raise BadInput(f"A figure is about one question; these validations are about {len(questions)}.")
    return questions.pop()
