"""What a survey will cost, from what its first measurements took; and when its budget is used up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from landform.survey._plan import Task

_Kind: TypeAlias = tuple[str, str | None]


@dataclass(frozen=True)
class Forecast:
    """What a survey will cost, told after its first two times.

    Attributes:
        seconds: what everything that fits will probably take, earlier surveys and the first times included.
        whole: the same for everything that was asked for.
        allowance: seconds that the budget allows; infinite where there is none.
        left_out: how many times each probe will be left out at, of how many, by the probe's name.
    """

    seconds: float
    whole: float
    allowance: float
    left_out: Mapping[str, tuple[int, int]]

    def __str__(self) -> str:
        """In a sentence or two."""
        if math.isinf(self.allowance):
            return f"Measuring will take about {time_text(self.seconds)}."
        if not self.left_out:
            return f"Measuring will take about {time_text(self.seconds)} of the {time_text(self.allowance)} allowed."
        some = ", ".join(f"{name} at {count} of {total} times" for name, (count, total) in self.left_out.items())
        return (
            f"Measuring will take about {time_text(self.seconds)} of the {time_text(self.allowance)} allowed "
            f"(everything would take {time_text(self.whole)}): left out for it are {some}."
        )


class Clock:
    """Seconds spent so far, and what each probe took when it was last taken."""

    def __init__(self, allowance: float) -> None:
        """Begin.

        Args:
            allowance: seconds there are; infinite for no limit.
        """
        self.allowance = allowance
        self.spent = 0.0
        self._last: dict[_Kind, float] = {}
        self._dropped: frozenset[_Kind] = frozenset()

    def add(self, task: Task, seconds: float) -> None:
        """Note what a measurement took.

        Args:
            task: which.
            seconds: how long; one that failed has taken its time too.
        """
        self.spent += seconds
        self._last[_kind(task)] = seconds

    def expect(self, tasks: Sequence[Task]) -> float:
        """What some measurements will probably take.

        Args:
            tasks: which; those never taken yet count nothing.

        Returns:
            Seconds.
        """
        return sum(self._last.get(_kind(task), 0.0) for task in tasks)

    def choose(self, groups: Sequence[list[Task]]) -> list[list[Task]]:
        """Choose what there is time for: what costs most is left out first, and is left out from then on.

        Args:
            groups: measurements of one rank, those of a group together.

        Returns:
            The groups to be measured; the very first ones are, whatever they take.
        """
        chosen, self._dropped = self._choose(groups, self.spent, self._dropped)
        return chosen

    def _choose(
        self, groups: Sequence[list[Task]], spent: float, dropped: frozenset[_Kind]
    ) -> tuple[list[list[Task]], frozenset[_Kind]]:
        chosen = [group for group in groups if not dropped & set(map(_kind, group))]
        while chosen and self._last and spent + sum(map(self.expect, chosen)) > self.allowance:
            most = max(chosen, key=self.expect)
            chosen.remove(most)
            dropped |= set(map(_kind, most))
        return chosen, dropped

    def forecast(self, ranks: Sequence[Sequence[list[Task]]]) -> Forecast:
        """Say what is to come.

        Args:
            ranks: what is still to be measured, by rank and group.

        Returns:
            The forecast.
        """
        spent, dropped = self.spent, self._dropped
        left: Counter[str] = Counter()
        every: Counter[str] = Counter()
        whole = self.spent
        for rank in ranks:
            chosen, dropped = self._choose(rank, spent, dropped)
            spent += sum(map(self.expect, chosen))
            whole += sum(map(self.expect, rank))
            names = [task.probe.name for group in rank for task in group]
            every.update(names)
            left.update(names)
            left.subtract([task.probe.name for group in chosen for task in group])
        gone = {name: (count, every[name]) for name, count in left.items() if count > 0}
        return Forecast(spent, whole, self.allowance, gone)


def _kind(task: Task) -> _Kind:
    return task.probe.name, task.set


def time_text(seconds: float) -> str:
    """Seconds as one says them.

    Args:
        seconds: how many.

    Returns:
        The text, such as "45 s" or "3.2 min".
    """
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
