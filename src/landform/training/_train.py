"""Training models, one or many, and going on with what was cut short."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.landscape import Loss, loss_function
from landform.layout import Layout
from landform.recording import Plan, Times, Trajectory, log_spaced, partner_gap
from landform.stacked import Choice
from landform.store import checksum
from landform.training._books import Books
from landform.training._confined import Within
from landform.training._loop import Start
from landform.training._plane import Plane
from landform.training._recipe import Recipe, check_stackable
from landform.training._stack import End, Progress, Task, as_dataset, decide, follow

How: TypeAlias = Literal["auto", "stack", "loop"]


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        point: where it ended, ``[P]``, on the CPU.
        buffers: the buffers there, by name.
        losses: mean loss of each step's batch, before the step, ``[steps]``.
        recipe: how it was trained.
        how: whether it ran in a stack, and why.
        trajectory: the recorded run; None where it was not recorded.
        coordinates: where in its plane it ended, ``[d]``; None where it was not confined to one.
    """

    point: Tensor
    buffers: Mapping[str, Tensor]
    losses: Tensor
    recipe: Recipe
    how: Choice
    trajectory: Trajectory | None = None
    coordinates: Tensor | None = None

    @property
    def diverged(self) -> bool:
        """Whether the loss or the weights ended as NaN or infinity."""
        return not bool(torch.isfinite(self.point).all() and torch.isfinite(self.losses[-1:]).all())


@dataclass(frozen=True)
class Recording:
    """What is recorded of a training.

    Attributes:
        at: the times, as for `lf.Recorder`: steps, or one number for every so many; None for 50 log-spaced.
        pairs: each time gets a partner so many epochs later (for velocities); None for no partners.
        resumable_at: times at which the optimiser's state is kept too, so that the run can go on and have children
            from there; None for all of ``at``.
    """

    at: int | Iterable[int] | None = None
    pairs: float | None = 0.4
    resumable_at: int | Iterable[int] | None = None

    def plan(self, until: int, per_epoch: int) -> Plan:
        """Say which steps are recorded: the last one is, and it is resumable."""
        at = log_spaced(min(50, until + 1), until) if self.at is None else self.at
        times = _with(Times.parse(at, "at"), until)
        resumable = times if self.resumable_at is None else Times.parse(self.resumable_at, "resumable_at")
        gap = partner_gap(self.pairs, per_epoch)
        return Plan(times, gap, _with(resumable, until))


def train(
    model: nn.Module, data: Any, recipe: Recipe | None = None, *, out: str | Path | None = None, **options: Any
) -> Trained:
    """Train one model, in place.

    Args:
        model: any module; it ends up trained.
        data: one of ``lf.data``, or a pair of tensors (inputs, targets).
        recipe: how; `Recipe()` by default.
        out: folder to record the run in; None records nothing.
        options: the other options of `train_many`.

    Returns:
        What came of it.
    """
    return train_many([model], data, [recipe or Recipe()], outs=None if out is None else [out], **options)[0]


def train_many(
    models: Sequence[nn.Module],
    data: Any,
    recipes: Sequence[Recipe] | Recipe,
    *,
    outs: Sequence[str | Path] | None = None,
    recording: Recording | None = None,
    loss: str | Loss = "cross-entropy",
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
    how: How = "auto",
    resume: bool = False,
    overwrite: bool = False,
    settings: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    planes: Plane | Sequence[Plane] | None = None,
    progress: Progress | None = None,
) -> list[Trained]:
    """Train K models of one architecture in step, as one program where that is counted to be quicker.

    Args:
        models: the models; they end up trained.
        data: one of ``lf.data``, or a pair of tensors (inputs, targets).
        recipes: one for each model, or one for all.
        outs: folders to record the runs in, one for each model; None records nothing.
        recording: which times are recorded.
        loss: a name, or a function of (outputs, targets) that returns the mean over the batch.
        device: where to train; the models stay where they are.
        dtype: the floating-point type to train in; None keeps the models' own.
        how: ``"stack"``, ``"loop"``, or ``"auto"``; the choice is kept in ``run.json``, and a resumed run keeps to it.
        resume: go on with the runs that lie in ``outs`` from their last common resumable record; they end as if they
            had never been cut, to the bit on a CPU.
        overwrite: replace the runs that lie in ``outs``.
        settings: more to be kept in ``run.json``, as JSON; one for all runs, or one for each.
        planes: planes through the models' own points that the runs are confined to, ``theta = theta_0 + M z`` with z
            trained from zero; one for each, or one for all. None leaves them free.
        progress: called with (steps done, steps in all).

    Returns:
        What came of each.

    Raises:
        BadInput: when models, data and recipes do not fit together; the message says which.
    """
    recipes = [recipes] * len(models) if isinstance(recipes, Recipe) else list(recipes)
    if not models or len(models) != len(recipes):
        raise BadInput(f"There are {len(models)} models and {len(recipes)} recipes: give one recipe for each model.")
    if outs is not None and len({Path(out) for out in outs}) != len(models):
        raise BadInput(f"There are {len(models)} models for {len(set(outs))} folders: give each run its own.")
    if len({id(model) for model in models}) < len(models):
        raise BadInput("The same model is given twice: each ends up trained, so give each run a model of its own.")
    check_stackable(recipes)
    layout = _one_layout(models)
    starts = [Start(layout.point(model), buffers=dict(model.named_buffers())) for model in models]
    found = train_from(
        models[0],
        data,
        recipes,
        starts,
        folders=None if outs is None else [Path(out) for out in outs],
        recording=recording or Recording(),
        loss=loss,
        device=device,
        dtype=dtype,
        how=how,
        resume=resume,
        overwrite=overwrite,
        settings=settings or {},
        planes=planes,
        progress=progress,
    )
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
    folders: Sequence[Path] | None,
    recording: Recording,
    loss: str | Loss,
    device: str | torch.device,
    dtype: torch.dtype | None,
    how: How,
    resume: bool,
    overwrite: bool,
    settings: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    progress: Progress | None,
    parents: Sequence[dict[str, Any] | None] | None = None,
    planes: Plane | Sequence[Plane] | None = None,
) -> list[Trained]:
    """Train runs from where they start, leaving the model alone; arguments as for `train_many`."""
    within = None if planes is None else Within.of(planes, starts, recipes, Layout.of(model))
    task = Task.of(model, data, recipes, loss=loss, device=device, dtype=dtype, within=within)
    if folders is None:
        choice = decide(how, task, starts)
        ends = follow(task, starts, choice, None, progress)
        return [_trained(end, recipe) for end, recipe in zip(ends, recipes, strict=True)]
    more = [settings] * len(recipes) if isinstance(settings, Mapping) else list(settings)
    described = [describe(model, data, recipe, loss, own) for recipe, own in zip(recipes, more, strict=True)]
    if within is not None:
        for k, one in enumerate(described):
            one["plane"] = within.describe(k)
    there = [Trajectory(f) if resume and (f / "run.json").exists() else None for f in folders]
    if any(trajectory is not None for trajectory in there):
        starts, choice = resumed(there, starts, described, task.dtype)
    else:
        choice = decide(how, task, starts)
    for k, one in enumerate(described):
        one["how"] = {"stack": choice.stack, "why": choice.why, "size": len(recipes), "place": k}
    per_epoch = recipes[0].steps_per_epoch(len(task.batches.inputs))
    plan = recording.plan(task.until, per_epoch)
    runs = range(len(recipes))
    groups = [runs] if choice.stack else [range(k, k + 1) for k in runs]
    with ExitStack() as open_books:
        books = [
            open_books.enter_context(
                Books(
                    [folders[k] for k in group],
                    [described[k] for k in group],
                    [None if parents is None else parents[k] for k in group],
                    layout=task.function.layout,
                    plan=plan,
                    starts=[starts[k].step for k in group],
                    epoch=per_epoch,
                    dtype=task.dtype,
                    persistent=task.function.persistent,
                    before=_seconds(there[group.start], starts[group.start].step),
                    resume=resume,
                    overwrite=overwrite,
                )
            )
            for group in groups
        ]
        ends = follow(task, starts, choice, books, progress)
    return [
        _trained(end, recipe, Trajectory(folder)) for end, recipe, folder in zip(ends, recipes, folders, strict=True)
    ]


def describe(
    model: nn.Module, data: Any, recipe: Recipe, loss: str | Loss, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What ``run.json`` says of a training, so that it can be done again.

    Args:
        model: what is trained.
        data: on what.
        recipe: how.
        loss: of (outputs, targets), or its name.
        settings: more to be kept.

    Returns:
        Plain JSON.
    """
    given = as_dataset(data)
    return {
        "recipe": recipe.to_json(),
        "model": {"class": type(model).__qualname__},
        "architecture": architecture_of(model),
        "data": {"name": given.name, "fingerprint": given.fingerprint(), "transform": dict(given.transform)},
        "loss": loss_function(loss)[0],
        **settings,
    }


def architecture_of(model: nn.Module) -> str:
    """Name a model's structure and frozen weights, all that a point leaves out but buffers, by a short hash."""
    structure = re.sub(" at 0x[0-9a-f]+", "", str(model))  # where a function lies in memory says nothing
    sponge = hashlib.blake2b(structure.encode(), digest_size=8)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            sponge.update(f"{name}{checksum(parameter.detach().cpu()):08x}".encode())
    return sponge.hexdigest()


def _trained(end: End, recipe: Recipe, trajectory: Trajectory | None = None) -> Trained:
    coordinates = None if end.coordinates is None else end.coordinates.cpu()
    losses = end.losses.cpu()
    if trajectory is not None and "loss" in trajectory.curves:  # a resumed run has more than it did now
        losses = trajectory.curves["loss"][1].to(end.point.dtype).cpu()
    buffers = {name: buffer.cpu() for name, buffer in end.buffers.items()}
    return Trained(end.point.cpu(), buffers, losses, recipe, end.how, trajectory, coordinates)


def resumed(
    there: Sequence[Trajectory | None], starts: Sequence[Start], described: Sequence[dict[str, Any]], dtype: torch.dtype
) -> tuple[list[Start], Choice]:
    """Where runs that were cut short go on: at the last resumable step they all have, for runs of a stack.

    Args:
        there: what lies in their folders.
        starts: where they began.
        described: what ``run.json`` would say of them now.
        dtype: they are trained in.

    Returns:
        Where they go on, and whether they are stacked.

    Raises:
        BadInput: when a run is not there, or was made otherwise.
    """
    kept: list[dict[str, Any]] = []
    for trajectory, now in zip(there, described, strict=True):
        if trajectory is None:
            raise BadInput("Some of the runs to resume are not there: give overwrite=True to train all of them anew.")
        before = trajectory.run["settings"]
        for name in ("recipe", "data", "loss", "model", "architecture", "plane"):
            if before.get(name) != json.loads(json.dumps(now.get(name))):
                raise BadInput(
                    f"The run in {trajectory.folder} was made with another {name}: resume it with the same one, "
                    "or give overwrite=True or another folder."
                )
        if before["how"]["size"] != len(there):
            raise BadInput(
                f"The run in {trajectory.folder} was trained with {before['how']['size']} runs together, not "
                f"{len(there)}: resume them together."
            )
        if trajectory.run["dtype"] != str(dtype).removeprefix("torch."):
            raise BadInput(f"The run in {trajectory.folder} has {trajectory.run['dtype']} points: give that dtype.")
        kept.append(before["how"])
    choice = Choice(kept[0]["stack"], kept[0]["why"])
    steps = [{record.step for record in trajectory.resumable} for trajectory in there if trajectory is not None]
    found: list[Start] = []
    for k, trajectory in enumerate(there):
        assert trajectory is not None
        shared = set.intersection(*steps) if choice.stack else steps[k]
        step = max((s for s in shared if s >= starts[k].step), default=None)
        if step is None:
            found.append(starts[k])
            continue
        record = trajectory.at(step=step)
        found.append(Start(record.point, step, record.optimizer, record.buffers))
    return found, choice


def _seconds(trajectory: Trajectory | None, step: int) -> float:
    if trajectory is None or not len(trajectory):
        return 0.0
    return trajectory.at(step=step).seconds


def _with(times: Times, last: int) -> Times:
    """Times up to the last step, and that one."""
    steps = range(0, last, times.every) if times.every else times.steps
    return Times((*(step for step in steps if step < last), last))


def _one_layout(models: Sequence[nn.Module]) -> Layout:
    layout = Layout.of(models[0])
    for model in models[1:]:
        if Layout.of(model).slots != layout.slots or str(model) != str(models[0]):
            raise BadInput("The models of a stack differ in architecture: train each architecture as its own stack.")
        if layout.frozen and architecture_of(model) != architecture_of(models[0]):
            raise BadInput("The models of a stack share their frozen weights, and these differ: train each by itself.")
    return layout
