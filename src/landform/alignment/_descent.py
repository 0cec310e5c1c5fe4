"""Coordinate descent over groups of units: each solved in turn with the others held, until nothing changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from landform.alignment._blocks import Group
from landform.alignment._symmetries import Symmetries


@dataclass(frozen=True)
class Descent:
    """Where a descent ended.

    Attributes:
        permutations: by group, ``[*copies, size]``.
        objective: its value at the start and after each sweep over the groups.
        converged: whether the last sweep changed nothing.
    """

    permutations: dict[str, Tensor]
    objective: tuple[float, ...]
    converged: bool


class Matcher(Protocol):
    """What is improved group by group: permutations as they are, by group."""

    now: dict[str, Tensor]

    def value(self) -> float:
        """How well units are matched."""

    def improve(self, group: Group) -> bool:
        """Find the best permutation of a group; tell whether it was taken."""


def movable(symmetries: Symmetries, only: Collection[str] | None = None) -> list[Group]:
    """Groups that are solved for: families over one group alone are solved together with it."""
    groups = [group for group in symmetries.groups if only is None or group.name in only]
    return [group for group in groups if not (len(group.per) == 1 and not symmetries.group(group.per[0]).per)]


def descend(matcher: Matcher, groups: Sequence[Group], sweeps: int, generator: torch.Generator) -> Descent:
    """Improve group by group, in random order, until nothing changes.

    Args:
        matcher: what is improved.
        groups: the groups.
        sweeps: the most sweeps over them.
        generator: of the order.

    Returns:
        Where it ended.
    """
    history = [matcher.value()]
    for _ in range(sweeps):
        changed = False
        for number in torch.randperm(len(groups), generator=generator).tolist():
            changed |= matcher.improve(groups[number])
        history.append(matcher.value())
        if not changed:
            return Descent(matcher.now, tuple(history), True)
    return Descent(matcher.now, tuple(history), False)
