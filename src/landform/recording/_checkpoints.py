"""Checkpoints of any training loop, made into a run."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.layout import Layout
from landform.recording._checkpoint_files import SUFFIXES, WEIGHTS, Checkpoint, Told, open_checkpoint, told_of
from landform.recording._format import RUN, Curve, RecordData
from landform.recording._state import persistent_buffers
from landform.recording._times import Times
from landform.recording._trajectory import Trajectory
from landform.recording._writer import RunWriter

# How a Trainer's log calls what a run calls otherwise, and what is no measurement.
_RENAMED = {"learning_rate": "lr"}
_LEFT_OUT = {"step", "epoch"}


def from_checkpoints(
    checkpoints: str | Path | Iterable[str | Path],
    folder: str | Path,
    model: nn.Module,
    *,
    epoch: int | None = None,
    steps: Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
    trusted: bool = False,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Trajectory:
    """Make a run of checkpoints that a training left on disk; called again it adds those that are new.

    A checkpoint is a folder in the form of the Hugging Face hub (as its Trainer saves: ``model.safetensors`` or
    ``pytorch_model.bin``, whole or in shards, with ``trainer_state.json`` for steps, losses and rates), a .safetensors
    file, or a file of ``torch.save`` that holds a state dict, alone or under a name such as ``model_state_dict``.

    Names need not be the model's own: what is put before all of them (``module.``, ``_orig_mod.``, ``model.``) is found
    out. One checkpoint is open at a time, and one tensor of it is read at a time.

    Examples:
        >>> run = from_checkpoints("out/checkpoint-*", "runs/out", model)
        >>> landform.survey(run, Landscape(model, data))

    Args:
        checkpoints: their paths, or one pattern of such, or a folder that holds them; in any order.
        folder: where the run shall lie.
        model: a model built as the one that was trained; its weights do not matter.
        epoch: steps in an epoch; by default as the checkpoints tell, or else 1, where each step counts as an epoch.
        steps: the step of each checkpoint, in the order of ``checkpoints``, where files and names do not tell.
        dtype: type in which points are stored; the model's own by default.
        trusted: read pickles that could run any code. Say so only of files whose writer you trust.
        settings: whatever describes the run, as JSON.
        overwrite: remove the run that lies in the folder.
        progress: called as ``progress(done, total)``.

    Returns:
        The run.

    Raises:
        BadInput: when a checkpoint cannot be read, is not of this model, or does not tell its step.
    """
    paths = find_checkpoints(checkpoints)
    if steps is not None and len(steps) != len(paths):
        raise BadInput(f"steps has {len(steps)} entries and there are {len(paths)} checkpoints: give one for each.")
    if not isinstance(model, nn.Module):
        raise BadInput(f"model must be a torch.nn.Module; got {type(model).__name__}.")
    told = [told_of(open_checkpoint(path, trusted=trusted)) for path in paths]
    if steps is not None:
        given = [Times.parse([step], "steps").steps[0] for step in steps]
        told = [Told(step, None, each.logs) for step, each in zip(given, told, strict=True)]
    order = _ordered(paths, told)
    per_epoch = Times.parse(epoch, "epoch").every if epoch is not None else _steps_in_epoch(told)
    layout, own = Layout.of(model), Layout.of(model).point(model).dtype
    described = {
        "recorder": {"model": type(model).__name__},
        "checkpoints": {"folder": str(paths[0].parent), "count": len(paths)},
        **(settings or {}),
    }
    writer = RunWriter(
        folder,
        layout=layout,
        epoch=per_epoch,
        settings=described,
        dtype=dtype,
        point_dtype=own,
        overwrite=overwrite,
        resume=not overwrite and _of_checkpoints(Path(folder)),
    )
    try:
        logs: dict[int, dict[str, Any]] = {}
        for place in order:  # the same step may be told of several times: its loss, then an evaluation
            for entry in told[place].logs:
                logs.setdefault(entry["step"], {}).update(entry)
        last = -1
        for done, place in enumerate(order):
            step = told[place].step or 0
            checkpoint = open_checkpoint(paths[place], trusted=trusted)
            point, buffers = _weights(checkpoint, model, layout, own)
            curves = _curves(logs, last, step)
            loss, lr = (curves[name][1][-1] if name in curves else None for name in ("loss", "lr"))
            writer.write(RecordData(step, point, loss=loss, lr=lr, buffers=buffers, curves=curves))
            last = step
            if progress is not None:
                progress(done + 1, len(order))
        if rest := _curves(logs, last, max(logs, default=-1)):
            writer.write_curves(max(logs), rest)
    finally:
        writer.close()
    return Trajectory(folder)


def find_checkpoints(given: str | Path | Iterable[str | Path]) -> list[Path]:
    """Find the checkpoints that a path, a pattern, or several of either mean.

    Args:
        given: a checkpoint, a pattern of such, a folder that holds them, or several.

    Returns:
        Files and folders; those found by a pattern or in a folder in the order of the numbers in their names.

    Raises:
        BadInput: when there are none.
    """
    several = [given] if isinstance(given, str | Path) else list(given)
    if not several:
        raise BadInput("There is no checkpoint: give paths, a pattern such as out/checkpoint-*, or a folder of them.")
    found: list[Path] = []
    for each in several:
        path = Path(each)
        if not path.exists() and any(sign in str(path) for sign in "*?["):
            inside = sorted(map(Path, glob.glob(str(path))), key=_by_number)
            if not inside:
                raise BadInput(f"No checkpoint matches {path}.")
            found += inside
        elif path.is_dir() and (inside := _inside(path)):
            found += inside
        else:
            found.append(path)
    return found


def holds_checkpoints(path: Path) -> bool:
    """Tell whether a path is a checkpoint, or a folder of such, and not a run.

    Args:
        path: a file or folder.

    Returns:
        True where weights are found that no recorder wrote.
    """
    if path.is_file():
        return path.suffix in SUFFIXES
    return path.is_dir() and not (path / RUN).is_file() and (_is_one(path) or bool(_inside(path)))


def _is_one(folder: Path) -> bool:
    return any((folder / name).is_file() for name in WEIGHTS)


def _inside(folder: Path) -> list[Path]:
    """The checkpoints in a folder that is none itself: folders of weights, or files."""
    if _is_one(folder):
        return []
    saved = [place for place in folder.iterdir() if place.is_dir() and _is_one(place)]
    files = [file for file in folder.iterdir() if file.is_file() and file.suffix in SUFFIXES]
    return sorted(saved or files, key=_by_number)


def _by_number(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _ordered(paths: Sequence[Path], told: Sequence[Told]) -> list[int]:
    unknown = [path for path, each in zip(paths, told, strict=True) if each.step is None]
    if unknown:
        raise BadInput(
            f"{unknown[0]} does not tell its step, in its name or inside: give steps=, one for each checkpoint."
        )
    order = sorted(range(len(paths)), key=lambda place: told[place].step or 0)
    for a, b in pairwise(order):
        if told[a].step == told[b].step:
            raise BadInput(
                f"{paths[a]} and {paths[b]} are both of step {told[a].step}: give steps=, or one of the two."
            )
    return order


def _steps_in_epoch(told: Sequence[Told]) -> int:
    known = sorted((each.step, each.epoch) for each in told if each.step and each.epoch is not None)
    exact = [(step, epoch) for step, epoch in known if epoch % 1]
    if len(known) > 1 and known[-1][1] > known[0][1]:  # whether epochs are counted from 0 or from 1 cancels out
        return max(1, round((known[-1][0] - known[0][0]) / (known[-1][1] - known[0][1])))
    return max(1, round(exact[-1][0] / exact[-1][1])) if exact else 1


def _of_checkpoints(folder: Path) -> bool:
    """Whether a run of checkpoints lies there already."""
    return (folder / RUN).is_file() and "checkpoints" in Trajectory(folder).run["settings"]


def _weights(
    checkpoint: Checkpoint, model: nn.Module, layout: Layout, dtype: torch.dtype
) -> tuple[Tensor, dict[str, Tensor]]:
    """Read a model's parameters as a point, and its buffers."""
    aliases: dict[str, list[str]] = {slot.name: [slot.name] for slot in layout.slots}
    for alias, owner in (layout.tied or {}).items():
        aliases[owner].append(alias)
    called = _called(checkpoint, [aliases[slot.name] for slot in layout.slots], type(model).__name__)
    point = torch.empty(layout.size, dtype=dtype)
    for slot in layout.slots:
        key = next(key for key in map(called, aliases[slot.name]) if key in checkpoint.files)
        tensor = checkpoint.read(key)
        if tuple(tensor.shape) != slot.shape:
            raise BadInput(
                f"{key} in {checkpoint.path} has shape {tuple(tensor.shape)}, and {slot.name} of the model "
                f"{slot.shape}: build the model that was trained."
            )
        point[slot.start : slot.stop].view(slot.shape).copy_(tensor)
    buffers: dict[str, Tensor] = {}
    for name in persistent_buffers(model):
        if (key := called(name)) in checkpoint.files and checkpoint.read(key).shape == model.get_buffer(name).shape:
            buffers[name] = checkpoint.read(key).clone()
    return point, buffers


def _called(checkpoint: Checkpoint, wanted: Sequence[Sequence[str]], kind: str) -> Callable[[str], str]:
    """How a checkpoint calls what the model calls by a name: with something put before it, or left out."""
    held = checkpoint.files

    def fits(call: Callable[[str], str]) -> bool:
        return all(any(call(name) in held for name in names) for names in wanted)

    def before(prefix: str) -> Callable[[str], str]:
        return lambda name: prefix + name

    def without(prefix: str) -> Callable[[str], str]:
        return lambda name: name.removeprefix(prefix)

    first = wanted[0]
    more = {key[: -len(name)] for name in first for key in held if key.endswith("." + name)}
    less = {name[: -len(key)] for name in first for key in held if name.endswith("." + key)}
    choices = [before(prefix) for prefix in ("", *sorted(more, key=len))] + [without(prefix) for prefix in sorted(less)]
    # PEFT leaves the adapter's name out of what it saves.
    choices += [lambda name, inner=inner: inner(name.replace(".default.", ".")) for inner in list(choices)]  # type: ignore[misc]
    for call in choices:
        if fits(call):
            return call
    missing = [names[0] for names in wanted if not any(name in held for name in names)]
    raise BadInput(
        f"{checkpoint.path} does not hold the parameters of this {kind}: {len(missing)} of {len(wanted)} are missing, "
        f"such as {missing[0]} (it has {', '.join(list(held)[:3])}, ...); build the model that was trained."
    )


def _curves(logs: Mapping[int, Mapping[str, Any]], after: int, until: int) -> dict[str, Curve]:
    """What a Trainer logged between two steps."""
    found: dict[str, tuple[list[int], list[float | Tensor]]] = {}
    for step in sorted(step for step in logs if after < step <= until):
        for name, value in logs[step].items():
            if name not in _LEFT_OUT and isinstance(value, int | float) and not isinstance(value, bool):
                steps, values = found.setdefault(_RENAMED.get(name, name), ([], []))
                steps.append(step)
                values.append(float(value))
    return dict(found)
