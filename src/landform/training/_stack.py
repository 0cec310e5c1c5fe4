"""Runs trained together: the choice between a stack and a loop, and what both share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from landform.attacks import Space
from landform.data import Dataset, Split
from landform.errors import BadInput
from landform.landscape import Loss, check_finite, check_labels, check_loss, find_device, first_line, loss_function
from landform.layout import Layout
from landform.stacked import Choice, Function, Unstackable, choose, count, refusal, stack
from landform.training._adversarial import Adversarial
from landform.training._batches import Batches
from landform.training._books import Books
from landform.training._confined import Within, undecayed
from landform.training._gradients import Gradients, Plain, smoothed
from landform.training._loop import Moment, Start, run
from landform.training._recipe import Recipe
from landform.training._rows import Rows

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class End:
    """Where a run ended.

    Attributes:
        point: ``[P]``.
        buffers: buffers by name.
        losses: mean loss of each step's batch, before the step, ``[steps]``.
        how: whether it ran in a stack, and why.
        coordinates: where in its plane that is, ``[d]``, for runs that are confined to one.
    """

    point: Tensor
    buffers: Mapping[str, Tensor]
    losses: Tensor
    how: Choice
    coordinates: Tensor | None = None


@dataclass(frozen=True)
class Task:
    """Runs of one architecture over one data set, ready to begin.

    Attributes:
        function: the model, in training mode.
        batches: each run's batches.
        loss: of (outputs, targets).
        until: the last step.
        dtype: the floating-point type it is trained in.
        within: the planes that the runs are confined to, if they are.
    """

    function: Function
    batches: Batches
    loss: Loss
    until: int
    dtype: torch.dtype
    within: Within | None = None

    @classmethod
    def of(
        cls,
        model: nn.Module,
        data: Any,
        recipes: Sequence[Recipe],
        *,
        loss: str | Loss,
        device: str | torch.device,
        dtype: torch.dtype | None,
        within: Within | None = None,
    ) -> Task:
        """Put model and data where they will be trained; the model is left alone."""
        place = find_device(device)
        layout = Layout.of(model)
        kind = dtype or layout.point(model).dtype  # of mixed types the widest
        if recipes[0].precision == "bfloat16" and kind is torch.float64:
            raise BadInput(
                "precision='bfloat16' is for training in float32, and this is in float64: leave one of them."
            )
        function = Function(model, layout, device=place, dtype=kind)
        function.net.train()
        name, loss_of = loss_function(loss)
        if recipes[0].label_smoothing and name != "cross-entropy":
            raise BadInput("label_smoothing belongs to cross-entropy: leave it at 0 with another loss.")
        batches = Batches.of(as_dataset(data), recipes, place, kind)
        task = cls(function, batches, loss_of, recipes[0].steps(len(batches.inputs)), kind, within)
        with own_generators(place):
            task.check(layout.point(model), name)
        return task

    def check(self, point: Tensor, name: str) -> None:
        """Go once through a batch, and through the shorter one that ends an epoch, and say what does not fit.

        Args:
            point: a point of the model.
            name: what the loss is called.

        Raises:
            BadInput: when something does not fit; the message says what.
        """
        if self.batches.recipes[0].adversary is not None:
            Space.of(self.batches.data)  # says why, where there is none
        check_finite(self.batches.inputs, "inputs")
        check_finite(self.batches.targets, "targets")
        views = self.function.layout.views(point.to(self.batches.inputs.device, self.dtype))
        recipe, samples = self.batches.recipes[0], len(self.batches.inputs)
        loss = smoothed(recipe.label_smoothing) if recipe.label_smoothing else self.loss
        last = recipe.steps_per_epoch(samples) - 1
        for step in {0, min(last, self.until - 1)}:
            x, y = (t[0] for t in self.batches.at(step, 1))
            buffers = {key: buffer.clone() for key, buffer in self.function.buffers.items()}
            try:
                with torch.no_grad():
                    outputs = self.function(views, buffers, lambda net, x=x: net(x))  # type: ignore[misc]
            except BadInput:
                raise
            except Exception as why:
                raise BadInput(
                    f"The model cannot be trained on a batch of {len(x)} samples: {first_line(why)} Check the shape "
                    "and the type of the inputs, and the batch_size."
                ) from why
            if name == "cross-entropy" and not step:
                check_labels(outputs, self.batches.targets)
            check_loss(name, loss, outputs, y)

    def place(self, start: Start) -> Start:
        """Move a start to where the runs are trained."""
        device = self.batches.inputs.device
        state = {name: t.to(device, self.dtype) for name, t in (start.state or {}).items()}
        return Start(start.point.to(device, self.dtype), start.step, state, start.buffers)


def follow(
    task: Task, starts: Sequence[Start], choice: Choice, books: Sequence[Books] | None, progress: Progress | None
) -> list[End]:
    """Train runs to their end: in step where they are stacked, else one after another, each alone in the cache.

    Args:
        task: what is trained.
        starts: where each run starts, in the order of their steps.
        choice: whether they are stacked.
        books: what records each group of runs.
        progress: called with (steps done, steps in all).

    Returns:
        Where each ended.
    """
    starts = [task.place(start) for start in starts]
    runs = len(starts)
    groups = [range(runs)] if choice.stack else [range(k, k + 1) for k in range(runs)]
    found: list[End] = []
    with own_generators(task.batches.inputs.device), torch.enable_grad():
        for i, group in enumerate(groups):
            members = [starts[k] for k in group]
            told = _told(progress, [task.until - start.step for start in starts], group)
            found += _in_step(task, group, members, choice, None if books is None else books[i], told)
    return found


def _in_step(
    task: Task, group: range, starts: Sequence[Start], choice: Choice, books: Books | None, progress: Progress | None
) -> list[End]:
    batches = task.batches.of_runs(group)
    recipe, seeds = batches.recipes[0], [recipe.seed for recipe in batches.recipes]
    plain = Plain(
        task.function,
        task.loss,
        stacked=choice.stack,
        seeds=seeds,
        smoothing=recipe.label_smoothing,
        precision=recipe.precision,
    )
    gradients: Gradients = plain
    if recipe.adversary is not None:
        space = Space.of(batches.data)
        gradients = Adversarial(plain, recipe.adversary, recipe.adversarial, space, seeds)
    shown = _as_it_is
    if task.within is not None:
        gradients = confined = task.within.of_runs(group, gradients, batches.recipes, starts[0].point)
        starts, batches, shown = confined.starts(starts), undecayed(batches), confined.seen
    losses = Rows(len(starts))
    first = starts[0].step

    def watch(moment: Moment) -> None:
        if moment.losses is not None:
            losses.add(moment.losses)
        if books is not None:
            books.see(moment, shown)
        if progress is not None:
            progress(moment.step - first, task.until - first)

    last = run(starts, batches, gradients, buffers=task.function.buffers, until=task.until, watch=watch)
    ended = shown(last)
    # Rows are as long as there were runs at the time; those that join later have theirs from then on.
    table = losses.table()
    return [
        End(
            ended.points[k].clone(),
            {name: buffer[k].clone() for name, buffer in last.buffers.items()},
            table[start.step - first :, k].clone() if start.step < task.until else torch.empty(0),
            choice,
            None if task.within is None else last.points[k, : task.within.planes[group[k]].dimension].clone(),
        )
        for k, start in enumerate(starts)
    ]


def _as_it_is(moment: Moment) -> Moment:
    return moment


def decide(how: str, task: Task, starts: Sequence[Start]) -> Choice:
    """Decide between stack and loop by counting one forward pass, and try a stack of two before relying on it."""
    with own_generators(task.batches.inputs.device):
        return _decide(how, task, starts)


def _decide(how: str, task: Task, starts: Sequence[Start]) -> Choice:
    function, batches, loss = task.function, task.batches, task.loss
    starts = [task.place(start) for start in starts[:1]] * len(starts)
    if how not in ("auto", "stack", "loop"):
        raise BadInput(f"how is {how!r}: give 'auto', 'stack' or 'loop'.")
    runs = len(starts)
    if how == "loop" or runs == 1:
        return Choice(False, "it is one run" if runs == 1 else "asked for")
    x, y = batches.at(0, 1)
    inputs, targets = x[0][:8], y[0][:8]
    buffers = {name: buffer.clone() for name, buffer in function.buffers.items()}
    views = function.layout.views(starts[0].point)
    cost = count(lambda: function(views, buffers, lambda net: net(inputs)), len(inputs))
    if how == "stack":
        choice = Choice(True, "asked for")
    else:
        choice = choose(cost, batches.recipes[0].batch_size, inputs.device, models=runs, size=function.layout.size)
    if not choice.stack:
        return choice
    two = function.layout.views(torch.stack([starts[0].point] * 2))
    own = {name: torch.stack([buffer] * 2) for name, buffer in buffers.items()}
    x, y = torch.stack([inputs] * 2), torch.stack([targets] * 2)
    why = refusal(lambda: loss(function.many(two, own, lambda net: net(stack(x))), stack(y)))
    if why is not None and how == "stack":
        raise Unstackable(f"These models cannot be one stack: {why}.")
    return choice if why is None else Choice(False, why)


def _told(progress: Progress | None, steps: Sequence[int], group: range) -> Progress | None:
    """Progress over all groups, as each tells its own."""
    if progress is None:
        return None
    before, total = sum(steps[: group.start]), sum(steps)
    if len(group) == 1:
        return lambda done, _: progress(before + done, total)
    return lambda done, until: progress(done * len(group), until * len(group))


@contextmanager
def own_generators(device: torch.device) -> Iterator[None]:
    """Leave the caller's random generators as they were: dropout is seeded anew at every step.

    Args:
        device: where it is trained.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else [], enabled=True):
        yield


def as_dataset(data: Any) -> Dataset:
    """Take data as a data set: one of ``lf.data`` as it is, a pair of tensors as its training split."""
    if isinstance(data, Dataset):
        return data
    if isinstance(data, Split):
        data = (data.inputs, data.targets)
    if isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(t, Tensor) for t in data):
        inputs, targets = data
        classes = None if targets.is_floating_point() or not targets.numel() else int(targets.max()) + 1
        return Dataset("tensors", Split(inputs, targets), Split(inputs[:0], targets[:0]), classes, {})
    raise BadInput(
        f"Training takes one of lf.data or a pair of tensors (inputs, targets); got {type(data).__name__}. For a "
        "loader, write your own loop and record it with lf.Recorder."
    )
