"""Holding claims against numbers, one a seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from landform.series import interval
from landform.studies._claim import Claim, Verdict

Judge: TypeAlias = Callable[[float], tuple[Verdict, str]]


@dataclass(frozen=True)
class Given:
    """A claim before it is judged.

    Attributes:
        id: short name.
        paper: which paper, and where in it.
        statement: what it says.
        definition: how that was made a number.
        expected: what the number should be.
        values: what it is, one for each seed; nan where there is none.
        judge: says what a number means.
        absent: why there is no number, where seeds were measured and none has one.
    """

    id: str
    paper: str
    statement: str
    definition: str
    expected: str
    values: Sequence[float]
    judge: Judge
    absent: str = "there was nothing to measure"


def hold(given: Given, settings: Mapping[str, Any]) -> Claim:
    """Hold a claim against its numbers.

    Where the interval over seeds reaches from *reproduced* to *contradicted* the verdict is *in part*.

    Args:
        given: the claim.
        settings: what it was measured with.

    Returns:
        The claim with its verdict.
    """
    known = interval(given.values)
    told = (given.id, given.paper, given.statement, given.definition, given.expected)
    if not known.count:
        absent: Verdict = "not at this scale" if given.values else "not measured"
        return Claim(*told, None, None, 0, absent, given.absent if given.values else "", settings)
    bounds = (known.low, known.high) if math.isfinite(known.low) else None
    verdict, why = given.judge(known.mean)
    other = {"reproduced": "contradicted", "contradicted": "reproduced"}.get(verdict)
    if bounds is not None and other in {given.judge(bound)[0] for bound in bounds}:
        verdict, why = "in part", f"{why}; the seeds are too far apart to settle it"
    return Claim(*told, known.mean, bounds, known.count, verdict, why, settings)


def graded(value: float, good: float, some: float) -> Verdict:
    """A verdict by how large a number is.

    Args:
        value: the number.
        good: from where on the claim is reproduced.
        some: above which it is in part.

    Returns:
        The verdict.
    """
    return "reproduced" if value >= good else "in part" if value > some else "contradicted"


def said(good: float, some: float, text: str) -> Judge:
    """A judge of numbers that should be large.

    Args:
        good: from where on the claim is reproduced.
        some: above which it is in part.
        text: the sentence, with ``{}`` for the number.

    Returns:
        The judge.
    """
    return lambda value: (graded(value, good, some), text.format(value))


def small(good: float, some: float, text: str) -> Judge:
    """A judge of numbers that should be small.

    Args:
        good: up to where the claim is reproduced.
        some: below which it is in part.
        text: the sentence, with ``{}`` for the number.

    Returns:
        The judge.
    """
    return lambda value: (graded(-value, -good, -some), text.format(value))
