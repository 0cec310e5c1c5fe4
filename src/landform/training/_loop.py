"""The one training loop: K models in step, each a point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from landform.training._batches import Batches
from landform.training._gradients import Gradients
from landform.training._optimiser import Optimiser


@dataclass(frozen=True)
class Start:
    """Where a run begins, or goes on.

    Attributes:
        point: ``[P]``.
        step: how many steps lie behind it.
        state: the optimiser's tensors by name, each ``[P]``; those missing begin at zero.
        buffers: the model's buffers by name; those missing are the model's own.
    """

    point: Tensor
    step: int = 0
    state: Mapping[str, Tensor] | None = None
    buffers: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Moment:
    """What there is to see of K runs after a step; the tensors are the loop's own and change with the next step.

    Attributes:
        step: how many steps have been taken.
        active: how many of the runs have begun.
        points: ``[active, P]``.
        state: optimiser tensors by name, ``[active, P]``.
        buffers: buffers by name, ``[active, *shape]``.
        losses: of the step's batches, before the step, ``[active]``; None at the start.
        rates: learning rates of the step, ``[active]``.
    """

    step: int
    active: int
    points: Tensor
    state: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    losses: Tensor | None
    rates: Sequence[float]


class Meeting(Protocol):
    """Brings runs together: a variation of the loop in which they are not independent.

    Attributes:
        every: after so many steps optimisers begin anew.
    """

    every: int

    def __call__(self, moment: Moment) -> None:
        """Look at the runs after a step; at a meeting, change them in place.

        Args:
            moment: the runs.
        """


def run(
    starts: Sequence[Start],
    batches: Batches,
    gradients: Gradients,
    *,
    buffers: Mapping[str, Tensor],
    until: int,
    watch: Callable[[Moment], None] | None = None,
    meeting: Meeting | None = None,
) -> Moment:
    """Train K models from their starts to one end.

    A run that starts later than the others joins in when its step comes, so that children spawned at different times
    of a parent are one stack.

    Args:
        starts: one for each run, in the order of their steps.
        batches: gives each run's batch at each step.
        gradients: gives losses and gradients.
        buffers: the model's own buffers.
        until: the last step.
        watch: called at every start and after every step.
        meeting: called after every step, before ``watch``; runs that meet start together.

    Returns:
        The last moment.
    """
    points = torch.stack([start.point for start in starts])
    names = Optimiser.state_names(batches.recipes[0]) if _alike(batches) else _all_names(batches)
    zero = torch.zeros_like(points[0])
    state = {name: torch.stack([(s.state or {}).get(name, zero) for s in starts]).clone() for name in names}
    own = {
        name: torch.stack([(s.buffers or {}).get(name, buffer).to(buffer) for s in starts])
        for name, buffer in buffers.items()
    }
    optimiser = Optimiser(batches.recipes, state)
    out = torch.empty_like(points)
    first = starts[0].step

    def moment(step: int, active: int, losses: Tensor | None, rates: Sequence[float]) -> Moment:
        return Moment(
            step,
            active,
            points[:active],
            {name: tensor[:active] for name, tensor in state.items()},
            {name: tensor[:active] for name, tensor in own.items()},
            losses,
            rates,
        )

    seen = moment(first, sum(start.step <= first for start in starts), None, ())
    if watch is not None:
        watch(seen)
    for step, active, rates in _timetable(starts, batches, first, until):
        x, y = batches.at(step, active)
        current = {name: tensor[:active] for name, tensor in own.items()}
        where, add = optimiser.target(active, out)
        losses = gradients(points[:active], current, x, y, step, where, add=add)
        taken = step if meeting is None else step % meeting.every
        optimiser.update_(points[:active], where, rates, taken, added=add)
        # A run that starts at the next step is shown at its start.
        joined = sum(start.step <= step + 1 for start in starts)
        if watch is not None or meeting is not None or step + 1 == until:
            seen = moment(step + 1, joined, losses, rates)
        if meeting is not None:
            meeting(seen)
        if watch is not None:
            watch(seen)
    return seen


def _timetable(
    starts: Sequence[Start], batches: Batches, first: int, until: int
) -> Iterator[tuple[int, int, Sequence[float]]]:
    """For every step: its number, how many runs take it, and their learning rates."""
    per_epoch = batches.per_epoch
    for begin in range(first, until, per_epoch):
        steps = range(begin, min(begin + per_epoch, until))
        columns = [recipe.rates(steps, per_epoch).tolist() for recipe in batches.recipes]
        for i, step in enumerate(steps):
            active = sum(start.step <= step for start in starts)
            yield step, active, [column[i] for column in columns[:active]]


def _alike(batches: Batches) -> bool:
    return len({Optimiser.state_names(recipe) for recipe in batches.recipes}) == 1


def _all_names(batches: Batches) -> tuple[str, ...]:
    """Some have momentum and some none: those without keep a buffer that equals their gradient."""
    return max((Optimiser.state_names(recipe) for recipe in batches.recipes), key=len)
