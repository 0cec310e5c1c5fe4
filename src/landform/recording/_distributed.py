"""Models that several processes train together: who records, and what of it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.layout import Layout, Slot
from landform.recording._format import RUN, SHARDS, Curve, RecordData
from landform.recording._trajectory import Trajectory
from landform.recording._writer import RunWriter


def unwrapped(model: nn.Module) -> nn.Module:
    """Find the model in what data-parallel training and compilation put around it.

    Args:
        model: any module.

    Returns:
        The module within, whose parameters have the names that the user gave them.

    Raises:
        BadInput: when it is wrapped so that its parameters cannot be told apart.
    """
    while True:
        kind = type(model).__name__
        if kind in ("DistributedDataParallel", "DataParallel"):
            model = model.module  # type: ignore[assignment]
        elif kind == "OptimizedModule" and isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod  # type: ignore[assignment]
        else:
            break
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        raise BadInput(
            "The model is wrapped by FullyShardedDataParallel, which hides its parameters in flat ones: shard it by "
            "torch.distributed.fsdp.fully_shard, or record its checkpoints by from_checkpoints."
        )
    return model


def is_bystander(model: nn.Module) -> bool:
    """Tell whether another process records this model: one of data-parallel training that is not the first.

    Args:
        model: the model as the user gave it.

    Returns:
        True where nothing is to be recorded here.
    """
    while type(model).__name__ == "OptimizedModule":
        model = model._orig_mod  # type: ignore[assignment]
    return type(model).__name__ == "DistributedDataParallel" and torch.distributed.get_rank(model.process_group) > 0  # type: ignore[arg-type]


def is_sharded(parameter: Tensor) -> bool:
    """Tell whether a parameter is split over processes.

    Args:
        parameter: any tensor.

    Returns:
        True for a distributed tensor.
    """
    module = sys.modules.get("torch.distributed.tensor")  # where nobody has loaded it there is none
    return module is not None and isinstance(parameter, module.DTensor)


def local(parameter: Tensor) -> Tensor:
    """What this process holds of a parameter.

    Args:
        parameter: whole, or split over processes.

    Returns:
        All of it, or this process's part, detached.
    """
    if not is_sharded(parameter):
        return parameter.detach()
    part: Tensor = parameter.to_local().detach()  # type: ignore[attr-defined]
    return part


@dataclass(frozen=True)
class Shard:
    """What one process holds of a model that is split over several.

    Attributes:
        rank: the process's number.
        world: how many there are.
        whole: the layout of the whole model.
        layout: the layout of what is here.
        offsets: for each parameter, where in it the part here begins, along each axis.
    """

    rank: int
    world: int
    whole: Layout
    layout: Layout
    offsets: tuple[tuple[int, ...], ...]

    remedy: ClassVar[dict[str, str]] = {
        "resumable_at": "resume from torch.distributed.checkpoint instead",
        "probes": "survey the run when its shards are joined",
    }

    @classmethod
    def of(cls, model: nn.Module) -> Self | None:
        """Find out what is here of a model.

        Args:
            model: any module.

        Returns:
            The shard; None where the model is not split.

        Raises:
            BadInput: when it is split otherwise than into plain slices.
        """
        if not any(map(is_sharded, model.parameters())):
            return None
        whole = Layout.of(model)
        parameters = dict(model.named_parameters())
        slots: list[Slot] = []
        offsets: list[tuple[int, ...]] = []
        start = 0
        for slot in whole.slots:
            shape, offset = _slice(slot.name, parameters[slot.name])
            stop = start + math.prod(shape)
            slots.append(Slot(slot.name, shape, start, stop, slot.kind, slot.filter_axis))
            offsets.append(offset)
            start = stop
        distributed = torch.distributed
        layout = Layout(tuple(slots), whole.frozen, whole.tied)
        return cls(distributed.get_rank(), distributed.get_world_size(), whole, layout, tuple(offsets))

    def folder(self, run: str | Path) -> Path:
        """Where this process records.

        Args:
            run: the run's folder.

        Returns:
            A folder in it.
        """
        return Path(run) / SHARDS / f"{self.rank:05d}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, for ``run.json``."""
        return {
            "rank": self.rank,
            "world": self.world,
            "offsets": [list(each) for each in self.offsets],
            "whole": self.whole.to_json(),
        }


def _slice(name: str, parameter: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and place of the part of a parameter that is here."""
    shape, offset = list(parameter.shape), [0] * parameter.dim()
    if is_sharded(parameter):
        mesh, given = parameter.device_mesh, parameter  # type: ignore[attr-defined]
        for axis, placement in enumerate(given.placements):  # type: ignore[attr-defined]
            if placement.is_replicate():
                continue
            if type(placement).__name__ != "Shard":
                raise BadInput(
                    f"Parameter {name} is split as {placement}, which cannot be recorded: split it by fully_shard over "
                    "one axis of processes."
                )
            # As torch.chunk splits: equal slices, the last ones shorter or empty.
            each = -(-shape[placement.dim] // mesh.size(axis))
            begin = min(mesh.get_local_rank(axis) * each, shape[placement.dim])
            offset[placement.dim] += begin
            shape[placement.dim] = min(each, shape[placement.dim] - begin)
        if tuple(local(parameter).shape) != tuple(shape):
            raise BadInput(f"Parameter {name} is split unevenly, into {list(local(parameter).shape)} here.")
    return tuple(shape), tuple(offset)


def join_shards(folder: str | Path, *, progress: Callable[[int, int], object] | None = None) -> Trajectory:
    """Make one run of what the processes of a sharded training recorded, each its shard.

    Call it in one process when training is over, or at any time between: what is there already is kept. Memory holds
    one whole point and one shard. Curves are the means over the processes, each of which saw its part of a batch.

    Args:
        folder: the run's folder.
        progress: called as ``progress(done, total)``.

    Returns:
        The run.

    Raises:
        BadInput: when there are no shards, or some processes have recorded nothing.
    """
    folder = Path(folder)
    place = folder / SHARDS
    shards = [Trajectory(each) for each in sorted(place.iterdir()) if (each / RUN).is_file()] if place.is_dir() else []
    if not shards:
        raise BadInput(f"{folder} holds no shards: give the folder that the recorders of a sharded model were given.")
    told = [shard.run["settings"]["shard"] for shard in shards]
    if len(shards) != told[0]["world"]:
        raise BadInput(
            f"{folder} holds {len(shards)} of {told[0]['world']} shards: copy those of all machines into one folder."
        )
    first = shards[0]
    whole = Layout.from_json(told[0]["whole"])
    settings = {name: value for name, value in first.run["settings"].items() if name != "shard"}
    own = getattr(torch, first.run["dtype"])
    writer = RunWriter(
        folder,
        layout=whole,
        epoch=first.run["epoch"],
        settings={**settings, "shards": len(shards)},
        dtype=getattr(torch, first.run["storage"]),
        point_dtype=own,
        resume=(folder / RUN).is_file(),
    )
    try:
        # A process may have been a record ahead of the others when all were stopped.
        steps = sorted(set.intersection(*(set(shard.steps) for shard in shards)))
        curves, last = _means([shard.curves for shard in shards]), -1
        for done, step in enumerate(steps):
            records = [shard.at(step=step) for shard in shards]
            point = torch.empty(whole.size, dtype=own)
            views = whole.views(point)
            for shard, record, each in zip(shards, records, told, strict=True):
                parts = shard.layout.views(record.point)
                for (name, part), offset in zip(parts.items(), each["offsets"], strict=True):
                    view = views[name]
                    for axis, begin in enumerate(offset):
                        view = view.narrow(axis, begin, part.shape[axis])
                    view.copy_(part)
            head = records[0]
            writer.write(
                RecordData(
                    step,
                    point,
                    curves.get("loss", {}).get(step),
                    head.lr,
                    head.seconds,
                    head.buffers,
                    curves=_between(curves, last, step),
                    partner=head.partner,
                    gap=head.gap,
                )
            )
            last = step
            if progress is not None:
                progress(done + 1, len(steps))
        end = max((max(values) for values in curves.values()), default=-1)
        writer.write_curves(end, _between(curves, last, end))
    finally:
        writer.close()
    return Trajectory(folder)


def _means(every: list[dict[str, tuple[Tensor, Tensor]]]) -> dict[str, dict[int, float]]:
    """Curves as the means over the processes, by step."""
    found: dict[str, dict[int, float]] = {}
    for name in every[0]:
        tables = [
            dict(zip(*(each.tolist() for each in curves[name]), strict=True)) for curves in every if name in curves
        ]
        common = sorted(set.intersection(*map(set, tables)))
        found[name] = {step: sum(table[step] for table in tables) / len(tables) for step in common}
    return {name: values for name, values in found.items() if values}


def _between(curves: dict[str, dict[int, float]], after: int, until: int) -> dict[str, Curve]:
    found = {name: [step for step in values if after < step <= until] for name, values in curves.items()}
    return {name: (steps, [curves[name][step] for step in steps]) for name, steps in found.items() if steps}
