"""Training models, and spawning children from a recorded run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from landform.data import Dataset, Split
from landform.errors import BadInput
from landform.landscape import find_device
from landform.landscape._losses import Loss, loss_function
from landform.layout import Layout
from landform.stacked import Choice, Function, Stacked, Unstackable, choose, count, stack
from landform.training._batches import Batches
from landform.training._gradients import Plain
from landform.training._loop import Moment, Start, run
from landform.training._recipe import Recipe, check_stackable

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        point: where it ended, ``[P]``.
        buffers: the buffers there, by name.
        losses: mean loss of each step's batch, before the step, ``[steps]``.
        recipe: how it was trained.
        how: whether it ran in a stack, and why.
    """

    point: Tensor
    buffers: Mapping[str, Tensor]
    losses: Tensor
    recipe: Recipe
    how: Choice

    @property
    def diverged(self) -> bool:
        """Whether the loss or the weights ended as NaN or infinity."""
        return not bool(torch.isfinite(self.point).all() and torch.isfinite(self.losses[-1:]).all())


def train(model: nn.Module, data: Any, recipe: Recipe | None = None, **options: Any) -> Trained:
    """Train one model, in place.

    Args:
        model: any module; it ends up trained.
        data: one of ``lf.data``, or a pair of tensors (inputs, targets).
        recipe: how; `Recipe()` by default.
        options: as for `train_many`, with ``out`` in place of ``outs``.

    Returns:
        What came of it.
    """
    if "out" in options:
        options["outs"] = [options.pop("out")]
    return train_many([model], data, [recipe or Recipe()], **options)[0]


def train_many(
    models: Sequence[nn.Module],
    data: Any,
    recipes: Sequence[Recipe] | Recipe,
    *,
    loss: str | Loss = "cross-entropy",
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
    how: str = "auto",
    progress: Progress | None = None,
) -> list[Trained]:
    """Train K models of one architecture in step, as one program where that is quicker.

    Args:
        models: the models; they end up trained.
        data: one of ``lf.data``, or a pair of tensors (inputs, targets).
        recipes: one for each model, or one for all.
        loss: a name, or a function of (outputs, targets) that returns the mean over the batch.
        device: where to train; the models stay where they are.
        dtype: the floating-point type to train in; None keeps the models' own.
        how: ``"stack"``, ``"loop"``, or ``"auto"``: whichever is counted to be quicker.
        progress: called with (steps done, steps in all).

    Returns:
        What came of each.
    """
    recipes = [recipes] * len(models) if isinstance(recipes, Recipe) else list(recipes)
    if not models or len(models) != len(recipes):
        raise BadInput(f"There are {len(models)} models and {len(recipes)} recipes: give one recipe for each model.")
    check_stackable(recipes)
    layout = _one_layout(models)
    starts = [Start(layout.point(model), buffers=dict(model.named_buffers())) for model in models]
    found = train_from(models[0], data, recipes, starts, loss=loss, device=device, dtype=dtype, how=how,
                       progress=progress)  # fmt: skip
    for model, trained in zip(models, found, strict=True):
        layout.load_(model, trained.point)
        own = dict(model.named_buffers())
        for name, buffer in trained.buffers.items():
            own[name].copy_(buffer)
    return found


def train_from(
    model: nn.Module,
    data: Any,
    recipes: Sequence[Recipe],
    starts: Sequence[Start],
    *,
    loss: str | Loss = "cross-entropy",
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
    how: str = "auto",
    progress: Progress | None = None,
) -> list[Trained]:
    """Train runs of one architecture from where they start, leaving the model alone."""
    layout = Layout.of(model)
    place = find_device(device)
    kind = dtype or next(p.dtype for p in model.parameters() if p.requires_grad)
    function = Function(model, layout, device=place, dtype=kind)
    function.net.train()
    batches = Batches.of(as_dataset(data), recipes, place, kind)
    starts = [Start(s.point.to(place, kind), s.step, s.state, s.buffers) for s in starts]
    name, loss_of = loss_function(loss)
    if recipes[0].label_smoothing and name != "cross-entropy":
        raise BadInput("label_smoothing belongs to cross-entropy: leave it at 0 with another loss.")
    until = recipes[0].steps(len(batches.inputs))
    with _own_generators(place):
        choice = _choose(how, function, batches, starts, loss_of)
        groups = [range(len(recipes))] if choice.stack else [range(k, k + 1) for k in range(len(recipes))]
        found: list[Trained] = []
        for group in groups:
            found += _in_step(
                group, function, batches, starts, loss_of, choice, until, _shared(progress, group, len(recipes))
            )
    return found


def _in_step(
    group: range,
    function: Function,
    batches: Batches,
    starts: Sequence[Start],
    loss: Loss,
    choice: Choice,
    until: int,
    progress: Progress | None,
) -> list[Trained]:
    """Train some of the runs in step. Runs that are not stacked come one after another: each stays in the cache."""
    members = [starts[k] for k in group]
    own = batches.of_runs(group)
    gradients = Plain(
        function,
        loss,
        stacked=choice.stack,
        seeds=[recipe.seed for recipe in own.recipes],
        smoothing=own.recipes[0].label_smoothing,
    )
    losses: list[Tensor] = []
    first = members[0].step

    def watch(moment: Moment) -> None:
        if moment.losses is not None:
            losses.append(moment.losses)
        if progress is not None:
            progress(moment.step - first, until - first)

    last = run(members, own, gradients, buffers=function.buffers, until=until, watch=watch)
    return [
        Trained(
            last.points[k].clone(),
            {name: buffer[k].clone() for name, buffer in last.buffers.items()},
            torch.stack([row[k] for row in losses if len(row) > k]) if losses else torch.empty(0),
            recipe,
            choice,
        )
        for k, recipe in enumerate(own.recipes)
    ]


def _shared(progress: Progress | None, group: range, runs: int) -> Progress | None:
    """Progress over all groups, as each tells its own."""
    if progress is None:
        return None
    return lambda done, total: progress(group.start * total + done * len(group), total * runs)


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


def _one_layout(models: Sequence[nn.Module]) -> Layout:
    layout = Layout.of(models[0])
    for model in models[1:]:
        if Layout.of(model).slots != layout.slots or str(model) != str(models[0]):
            raise BadInput("The models of a stack differ in architecture: train each architecture as its own stack.")
    return layout


def _choose(how: str, function: Function, batches: Batches, starts: Sequence[Start], loss: Loss) -> Choice:
    """Decide between stack and loop by counting one forward pass, and try a stack of two before relying on it."""
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
    try:
        two = function.layout.views(torch.stack([starts[0].point] * 2))
        own = {name: torch.stack([buffer] * 2) for name, buffer in buffers.items()}
        with torch.no_grad():
            value = loss(function.many(two, own, lambda net: net(stack(torch.stack([inputs] * 2)))),
                         stack(torch.stack([targets] * 2)))  # fmt: skip
        if not isinstance(value, Stacked) or value.dim():
            raise Unstackable("its loss is not one number for each model.")
    except Unstackable as why:
        if how == "stack":
            raise
        return Choice(False, str(why).rstrip("."))
    except (RuntimeError, TypeError, AttributeError, ValueError) as why:
        if how == "stack":
            raise Unstackable(f"This model does not take many points at once: {why}") from why
        return Choice(False, f"its code does not take many models at once ({type(why).__name__})")
    return choice


@contextmanager
def _own_generators(device: torch.device) -> Iterator[None]:
    """Leave the caller's random generators as they were: dropout is seeded anew at every step."""
    with torch.random.fork_rng([device] if device.type == "cuda" else [], enabled=True):
        yield
