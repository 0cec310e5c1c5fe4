"""Which steps of a training run are recorded."""

from __future__ import annotations

import bisect
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Self

from landform.errors import BadInput


def log_spaced(n: int, until: int) -> tuple[int, ...]:
    """Steps 0 and ``until`` and, in between, steps whose distance grows in proportion.

    Early in training things happen within a few steps, late within thousands. Where the spacing would fall below one
    step, every step is taken, and the rest is spaced anew; so there are always ``n`` different steps.

    Args:
        n: how many steps, at least 2.
        until: the last step, at least 1.

    Returns:
        ``n`` increasing steps, or all ``until + 1`` where there are no more.

    Raises:
        BadInput: when ``n`` or ``until`` is too small.
    """
    n, until = _whole(n, "n", 2), _whole(until, "until", 1)
    if n > until:
        return tuple(range(until + 1))
    steps = [0, 1] if n > 2 else [0]
    while len(steps) < n - 1:
        last = steps[-1]
        ratio = (until / last) ** (1 / (n - len(steps)))
        steps.append(max(last + 1, round(last * ratio)))
    return (*steps, until)


def every(k: int, until: int) -> tuple[int, ...]:
    """Steps 0, k, 2 k and so on, and ``until``.

    Args:
        k: the distance, at least 1.
        until: the last step, at least 1.

    Returns:
        Increasing steps.

    Raises:
        BadInput: when ``k`` or ``until`` is too small.
    """
    k, until = _whole(k, "k", 1), _whole(until, "until", 1)
    return (*range(0, until, k), until)


@dataclass(frozen=True)
class Times:
    """A set of steps: those listed, or every so many without an end.

    Attributes:
        steps: the steps listed, increasing.
        every: if not 0, all multiples of this instead.
    """

    steps: tuple[int, ...] = ()
    every: int = 0

    @classmethod
    def parse(cls, given: int | Iterable[int], what: str) -> Self:
        """Read what a user gave as times.

        Args:
            given: steps in any order, or one whole number for every so many steps.
            what: name of the argument, for the message.

        Returns:
            The times.

        Raises:
            BadInput: when it is neither.
        """
        if not isinstance(given, Iterable) or getattr(given, "ndim", 1) == 0:
            return cls(every=_whole(given, what, 1))
        return cls(tuple(sorted({_whole(step, f"a step in {what}", 0) for step in given})))

    def __contains__(self, step: int) -> bool:
        """Whether a step is one of them."""
        if self.every:
            return step >= 0 and step % self.every == 0
        place = bisect.bisect_left(self.steps, step)
        return place < len(self.steps) and self.steps[place] == step

    def after(self, step: int) -> int | None:
        """The first of them that is later than a step.

        Args:
            step: any whole number.

        Returns:
            A step, or None where none is later.
        """
        if self.every:
            return 0 if step < 0 else (step // self.every + 1) * self.every
        place = bisect.bisect_right(self.steps, step)
        return self.steps[place] if place < len(self.steps) else None


@dataclass(frozen=True)
class Plan:
    """What is recorded when.

    Attributes:
        at: the times asked for.
        gap: each of them gets a partner so many steps later; 0 for no partners.
        resumable: times at which optimiser state and random generators are kept too.
    """

    at: Times
    gap: int
    resumable: Times

    def after(self, step: int) -> int | None:
        """The next step to record.

        Args:
            step: the present step.

        Returns:
            A later step, or None where nothing more is planned.
        """
        partner = self.at.after(step - self.gap) if self.gap else None
        found = [self.at.after(step), self.resumable.after(step)]
        return min(
            (s for s in (*found, None if partner is None else partner + self.gap) if s is not None), default=None
        )

    @property
    def steps(self) -> tuple[int, ...] | None:
        """All steps to be recorded, with step 0; None when there is no end to them."""
        if self.at.every or self.resumable.every:
            return None
        partners = {step + self.gap for step in self.at.steps}
        return tuple(sorted({0, *self.at.steps, *partners, *self.resumable.steps}))


def partner_gap(pairs: float | None, epoch: int) -> int:
    """How many steps after a recorded time its partner follows.

    Args:
        pairs: the distance in epochs, or None for no partners.
        epoch: steps in an epoch.

    Returns:
        At least 1; 0 for no partners.

    Raises:
        BadInput: when the distance is not positive.
    """
    if pairs is None:
        return 0
    if not 0 < pairs < float("inf"):
        raise BadInput(f"pairs={pairs} is no distance between partners: give epochs, such as 0.4, or None for none.")
    return max(1, round(pairs * epoch))


def thin(plan: Plan, size: Callable[[Plan], int], max_bytes: int) -> Plan:
    """Take evenly from the planned times as many as fit.

    The first time and the last are kept, and so is every resumable one.

    Args:
        plan: the plan, with an end.
        size: the disk use of a plan, in bytes.
        max_bytes: the disk use allowed.

    Returns:
        The plan itself where it fits, or a thinner one.

    Raises:
        BadInput: when not even two times fit.
    """
    if size(plan) <= max_bytes:
        return plan
    steps = plan.at.steps

    def of(count: int) -> Plan:
        kept = tuple(steps[round(i * (len(steps) - 1) / (count - 1))] for i in range(count))
        return replace(plan, at=Times(kept))

    # The use grows with the count, but for partners that fall together: search, then step back.
    count = bisect.bisect_right(range(2, len(steps)), max_bytes, key=lambda n: size(of(n))) + 1
    while count >= 2 and size(of(count)) > max_bytes:
        count -= 1
    if count < 2 or len(steps) < 2:
        least = size(of(2)) if len(steps) > 1 else size(plan)
        raise BadInput(
            f"max_bytes={max_bytes} is too little: the first and the last time and those in resumable_at take {least} "
            "bytes; allow more, or give fewer resumable times or a smaller dtype."
        )
    return of(count)


def _whole(given: object, what: str, least: int) -> int:
    try:
        if isinstance(given, bool):
            raise TypeError
        number = operator.index(given)  # type: ignore[arg-type]
    except TypeError:
        raise BadInput(f"{what} must be a whole number; got {given!r}.") from None
    if number < least:
        raise BadInput(f"{what} must be at least {least}; got {number}.")
    return number
