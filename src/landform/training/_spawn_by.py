"""Children of a run whose loop is the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.recording import Record, RecordData, RunWriter, Trajectory
from landform.training._noise import seed_of

ContinueFrom: TypeAlias = Callable[[Record, int], nn.Module | Tensor]
"""Trains on from a record to the run's end, with noise decided by a seed, and gives the trained model or its point."""


def spawn_by(
    parent: str | Path | Trajectory,
    continue_from: ContinueFrom,
    *,
    at: Sequence[float] | float,
    children: int = 2,
    overwrite: bool = False,
) -> list[Trajectory]:
    """Let the user's own loop train children of a recorded run to its end.

    Args:
        parent: the run, or its folder.
        continue_from: called with a record of the run and a seed; trains from there (``record.restore(model,
            optimizer)`` puts weights, momentum and buffers into the user's own) to the parent's end, with a data order
            that the seed decides, and returns the trained model, or its point ``[P]``.
        at: spawn times in epochs; the nearest record of each is taken.
        children: how many for each time.
        overwrite: train children anew that are there.

    Returns:
        The children, in the folder ``children`` of the parent: their start and their end.

    Raises:
        BadInput: when there is no record, or what comes back is no model of the parent's layout.
    """
    run = parent if isinstance(parent, Trajectory) else Trajectory(parent)
    if children < 1:
        raise BadInput(f"children is {children}: give at least 1.")
    times = [at] if isinstance(at, int | float) else list(at)
    if not times or not len(run):
        raise BadInput("There is no spawn time, or no record: give at least one time, in epochs, of a recorded run.")
    sources = {record.step: record for record in (run.at(epoch=time) for time in sorted(times))}
    last = run.steps[-1]
    found: list[Trajectory] = []
    for step, source in sources.items():
        if step >= last:
            raise BadInput(f"A child of epoch {source.epoch:.4g} has nothing left to train: spawn before the end.")
        for child in range(children):
            folder = run.folder / "children" / f"{step:09d}-{child}"
            if (folder / "run.json").is_file() and not overwrite:
                there = Trajectory(folder)
                if len(there) and there.steps[-1] >= last:
                    found.append(there)
                    continue
            seed = seed_of("child", step, child) % 2**31  # small enough for every library
            point = _point(continue_from(source, seed), run)
            with closing(
                RunWriter(
                    folder,
                    layout=run.layout,
                    epoch=run.run["epoch"],
                    settings={"continued_by": getattr(continue_from, "__qualname__", "a function"), "seed": seed},
                    parent={"step": step, "epoch": source.epoch, "child": child, "digest": source.digest},
                    point_dtype=point.dtype,
                    overwrite=True,
                )
            ) as writer:
                writer.write(RecordData(step=step, point=source.point.to(point.dtype)))
                writer.write(RecordData(step=last, point=point))
            found.append(Trajectory(folder))
    return found


def _point(given: nn.Module | Tensor, run: Trajectory) -> Tensor:
    """What came back, as a point of the run's layout."""
    if isinstance(given, nn.Module):
        own = dict(given.named_parameters())
        missing = [slot.name for slot in run.layout.slots if slot.name not in own or own[slot.name].shape != slot.shape]
        if missing:
            raise BadInput(f"continue_from returned a model without the run's {missing[0]}: return the run's model.")
        given = run.layout.join({slot.name: own[slot.name].detach() for slot in run.layout.slots})
    if not isinstance(given, Tensor) or given.shape != (run.layout.size,):
        what = f"a tensor of shape {list(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
        raise BadInput(f"continue_from returned {what}: return the trained model, or its point [{run.layout.size}].")
    return given.detach().cpu().to(getattr(torch, run.run["dtype"]))
