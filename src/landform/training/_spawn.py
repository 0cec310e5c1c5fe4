"""Children of a run (Fort et al. 2020, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from landform.errors import BadInput
from landform.landscape import Loss
from landform.layout import Layout
from landform.recording import Record, Trajectory
from landform.training._loop import Start
from landform.training._noise import seed_of
from landform.training._optimiser import Optimiser
from landform.training._recipe import Recipe
from landform.training._stack import Progress, as_dataset
from landform.training._train import How, Recording, Trained, architecture_of, train_from


def spawn(
    parent: str | Path | Trajectory,
    model: nn.Module,
    data: Any,
    *,
    at: Sequence[float] | float,
    children: int = 2,
    recipe: Recipe | None = None,
    recording: Recording | None = None,
    record: bool = True,
    loss: str | Loss = "cross-entropy",
    device: str | torch.device = "auto",
    how: How = "auto",
    resume: bool = False,
    overwrite: bool = False,
    settings: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> list[Trained]:
    """Train children of a recorded run to its end.

    A child starts from its parent's weights *and* momentum at the spawn time, follows the parent's schedule to the
    parent's end, and differs only in its noise: the order of the data, augmentation and dropout. Label noise is the
    parent's. The children of all spawn times are one stack, which later children join when their time comes.

    Args:
        parent: the run, or its folder.
        model: a model of the parent's architecture; left alone.
        data: the parent's data.
        at: spawn times in epochs; the nearest resumable record of each is taken.
        children: how many for each time.
        recipe: the parent's recipe, for runs of one's own loop; a run of `train` knows its own.
        recording: which times of the children are recorded; only the start and the end by default.
        record: whether they are recorded at all, in the folder ``children`` of the parent.
        loss: the parent's loss.
        device: where to train.
        how: as for `train_many`.
        resume: go on with children that were cut short.
        overwrite: replace children that are there.
        settings: more to be kept in ``run.json``.
        progress: called with (steps done, steps in all).

    Returns:
        The children, by spawn time and number.

    Raises:
        BadInput: when the parent keeps nothing to start from, its recipe is not known, or model, data and recipe are
            not the parent's.
    """
    run = parent if isinstance(parent, Trajectory) else Trajectory(parent)
    own = run.run["settings"].get("recipe")
    if recipe is None:
        if own is None:
            raise BadInput(f"The run in {run.folder} does not say how it was trained: give recipe=.")
        recipe = Recipe.from_json(own)
    if children < 1:
        raise BadInput(f"children is {children}: give at least 1.")
    resumable = run.resumable
    if not resumable:
        raise BadInput(f"The run in {run.folder} keeps no optimiser state: record it with resumable_at.")
    times = [at] if isinstance(at, int | float) else list(at)
    if not times:
        raise BadInput("There is no spawn time: give at least one, in epochs.")
    sources = {r.step: r for r in (min(resumable, key=lambda r: abs(r.epoch - t)) for t in sorted(times))}
    _check(run, model, data, recipe, list(sources.values()))
    labels = recipe.seed if recipe.label_seed is None else recipe.label_seed
    starts: list[Start] = []
    recipes: list[Recipe] = []
    folders: list[Path] = []
    parents: list[dict[str, Any] | None] = []
    for step, source in sorted(sources.items()):
        start = Start(source.point, step, source.optimizer, source.buffers)
        for child in range(children):
            starts.append(start)
            recipes.append(replace(recipe, seed=seed_of(recipe.seed, "child", step, child), label_seed=labels))
            folders.append(run.folder / "children" / f"{step:09d}-{child}")
            parents.append({"step": step, "epoch": source.epoch, "child": child, "digest": source.digest})
    return train_from(
        model,
        data,
        recipes,
        starts,
        folders=folders if record else None,
        recording=recording or Recording(at=(0,), pairs=None),
        loss=loss,
        device=device,
        dtype=resumable[0].dtype,
        how=how,
        resume=resume,
        overwrite=overwrite,
        settings=settings or {},
        progress=progress,
        parents=parents,
    )


def _check(run: Trajectory, model: nn.Module, data: Any, recipe: Recipe, sources: Sequence[Record]) -> None:
    """Refuse what would make children that differ from their parent in more than noise."""
    given, settings = as_dataset(data), run.run["settings"]
    if "plane" in settings:
        raise BadInput(
            f"The run in {run.folder} was confined to a plane, and its momentum is not that of points: a child would "
            "leave the plane; train from its last point with planes= instead."
        )
    shapes = [[(slot.name, slot.shape) for slot in layout.slots] for layout in (Layout.of(model), run.layout)]
    known = settings.get("architecture")
    if shapes[0] != shapes[1] or known not in (None, architecture_of(model)):
        raise BadInput(f"The model is not that of the run in {run.folder}: build it, and freeze it, as it was there.")
    if settings.get("data", {}).get("fingerprint", given.fingerprint()) != given.fingerprint():
        raise BadInput(f"The data are not those of the run in {run.folder}: children see what their parent saw.")
    per_epoch = recipe.steps_per_epoch(len(given.train))
    if per_epoch != run.run["epoch"]:
        raise BadInput(
            f"The run in {run.folder} has {run.run['epoch']} steps an epoch, and this recipe {per_epoch} on "
            f"{len(given.train)} samples: give the batch size of the run."
        )
    for source in sources:
        if source.step > recipe.steps(len(given.train)):
            raise BadInput(f"A child of step {source.step} starts after the recipe's end: give the parent's epochs.")
        missing = set(Optimiser.state_names(recipe)) - (source.optimizer or {}).keys()
        if source.step and missing:
            raise BadInput(
                f"The record of step {source.step} keeps no {sorted(missing)[0]}, with which {recipe.optimizer} goes "
                "on: give the recipe of the run, and record it with its optimiser."
            )
