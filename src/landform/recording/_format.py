"""What lies where in a run's folder, and what a record's file holds.

run.json                        schema, versions, epoch, dtypes, parent, settings, layout
points/000000100.safetensors    one record: the tensors and strings that `pack_record` makes
curves/000000137.safetensors    the values after the last record, when a recorder was closed between two
children/NAME/                  a run that left this one, in a folder of the same form
shards/00000/                   what one process of several recorded of its part, in a folder of the same form
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landform import store
from landform.errors import BadInput, Damaged
from landform.recording._plain import encode

SCHEMA = 1
POINTS, CURVES, CHILDREN, SHARDS, RUN = "points", "curves", "children", "shards", "run.json"
POINT, BUFFERS, OPTIMIZER, CURVE, CURVE_STEPS, STATE = "point", "buffers.", "optimizer.", "curve.", "steps.", "state"
SKIPPED = "skipped."
_FILE = re.compile(r"(\d{9,})\.safetensors")

Curve = tuple[Sequence[int], Sequence[float | Tensor]]


@dataclass(frozen=True)
class RecordData:
    """What is to be kept of one time of a run. Its tensors must not be changed afterwards: give copies.

    Attributes:
        step: optimiser steps taken.
        point: the parameters, ``[P]``, on any device.
        loss: the training loss at the last step, as the loop had it.
        lr: the learning rate of the last step.
        seconds: time spent training so far.
        buffers: persistent buffers by name.
        optimizer: state of the optimiser as points ``[P]`` (``momentum_buffer``, ``exp_avg``, ...); None where the
            run need not be resumable from here.
        state: whatever else is needed to go on (kept where ``optimizer`` is): numbers, strings, tensors, and lists,
            tuples and dicts of such.
        curves: values since the record before, by name: the steps, and one number for each.
        skipped: steps at which live probes were due and left out since the record before, by the probe's name.
        partner: True when the record is there only as the partner of an earlier one.
        gap: how many steps later this record's own partner follows; 0 for none.
    """

    step: int
    point: Tensor
    loss: float | Tensor | None = None
    lr: float | Tensor | None = None
    seconds: float = 0.0
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    optimizer: Mapping[str, Tensor] | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    skipped: Mapping[str, Sequence[int]] = field(default_factory=dict)
    partner: bool = False
    gap: int = 0


def pack_record(data: RecordData, storage: torch.dtype) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Put a record as named tensors and strings.

    Args:
        data: the record.
        storage: type in which its point is stored.

    Returns:
        The tensors, and the metadata.

    Raises:
        BadInput: when a number of the point is too large for the type, or the state holds what cannot be stored.
    """
    point = data.point.to("cpu")
    tensors = {POINT: point.to(storage)}
    if storage == torch.float16 and bool((tensors[POINT].isinf() & ~point.isinf()).any()):
        raise BadInput(f"The point at step {data.step} holds numbers too large for float16: use dtype=torch.bfloat16.")
    tensors |= {BUFFERS + name: buffer for name, buffer in data.buffers.items()}
    tensors |= {OPTIMIZER + name: value for name, value in (data.optimizer or {}).items()}
    tensors |= pack_curves(data.curves, data.skipped)
    held: dict[str, Tensor] = {}
    parts = {name: encode(value, held, name) for name, value in data.state.items()}
    tensors |= {f"{STATE}.{name}": value for name, value in held.items()}
    strings = {
        "step": data.step,
        "loss": None if data.loss is None else float(data.loss),
        "lr": None if data.lr is None else float(data.lr),
        "seconds": data.seconds,
        "partner": data.partner,
        "gap": data.gap,
        "resumable": data.optimizer is not None,
        STATE: parts,
    }
    return tensors, {name: json.dumps(value) for name, value in strings.items()}


def pack_curves(curves: Mapping[str, Curve], skipped: Mapping[str, Sequence[int]] | None = None) -> dict[str, Tensor]:
    """Put curves as named tensors; curves without a value are left out.

    Args:
        curves: values by name: the steps, and one number for each.
        skipped: steps at which live probes were left out, by the probe's name.

    Returns:
        For each curve its steps ``[n]`` and its values ``[n]``; for each probe the steps it was left out at.
    """
    tensors = {SKIPPED + name: torch.tensor(steps, dtype=torch.int64) for name, steps in (skipped or {}).items()}
    for name, (steps, values) in curves.items():
        if len(steps):
            late = [n for n, value in enumerate(values) if isinstance(value, Tensor)]
            numbers = torch.tensor([0.0 if isinstance(v, Tensor) else v for v in values], dtype=torch.float64)
            if late:  # numbers still on the device: fetched at once
                fetched = torch.stack([values[n].detach().reshape(()) for n in late])  # type: ignore[union-attr]
                numbers[late] = fetched.to("cpu", torch.float64)
            tensors[CURVE_STEPS + name] = torch.tensor(steps, dtype=torch.int64)
            tensors[CURVE + name] = numbers
    return tensors


def record_path(folder: Path, step: int) -> Path:
    """Where a record lies.

    Args:
        folder: the run's folder.
        step: its step.

    Returns:
        The file.
    """
    return folder / POINTS / f"{step:09d}.safetensors"


def record_files(folder: Path, kind: str = POINTS) -> list[tuple[int, Path]]:
    """Find the records of a run.

    Args:
        folder: the run's folder.
        kind: ``"points"`` or ``"curves"``.

    Returns:
        Steps and files, by step.
    """
    place = folder / kind
    found = [(_FILE.fullmatch(file.name), file) for file in place.iterdir()] if place.is_dir() else []
    return sorted((int(match[1]), file) for match, file in found if match)


def read_run(folder: Path) -> dict[str, Any]:
    """Read and check a run's description.

    Args:
        folder: the run's folder.

    Returns:
        The content of its ``run.json``.

    Raises:
        BadInput: when there is no run in this folder, or one of a later landform.
        Damaged: when the description is damaged.
    """
    path = folder / RUN
    if not path.is_file():
        if (folder / SHARDS).is_dir():
            raise BadInput(
                f"{folder} holds what several processes recorded, each its shard: join them by "
                "landform.recording.join_shards(folder), as landform survey does by itself."
            )
        what = f"holds no {RUN}" if folder.is_dir() else "is no folder"
        raise BadInput(f"{folder} is not a run ({what}): give a folder that a recorder wrote.")
    run = store.read_json(path)
    store.check_schema(run, path, SCHEMA)
    kinds = {"epoch": int, "dtype": str, "layout": dict, "settings": dict, "parent": dict | None}
    missing = [name for name, kind in kinds.items() if name not in run or not isinstance(run[name], kind)]
    if missing:
        raise Damaged(f"{path} is damaged (its {', '.join(missing)} is missing): put back a good copy.")
    kind = getattr(torch, run["dtype"], None)
    wrong = "dtype" if not isinstance(kind, torch.dtype) else "epoch" if run["epoch"] < 1 else None
    if wrong:
        raise Damaged(f"{path} is damaged (its {wrong} is {run[wrong]!r}): put back a good copy.")
    return run


def storage_type(dtype: torch.dtype | None, own: torch.dtype) -> torch.dtype:
    """Choose the type in which points are stored.

    Args:
        dtype: the type asked for; None for their own.
        own: their own type.

    Returns:
        The type.

    Raises:
        BadInput: when points cannot be stored in it.
    """
    chosen = own if dtype is None else dtype
    if not (isinstance(chosen, torch.dtype) and chosen.is_floating_point and store.can_hold(chosen)):
        raise BadInput(f"Points cannot be stored as {chosen}: give dtype=torch.bfloat16, float16, float32 or float64.")
    return chosen


def dtype_name(dtype: torch.dtype) -> str:
    """Name a type as ``run.json`` does.

    Args:
        dtype: the type.

    Returns:
        For example ``"float32"``.
    """
    return str(dtype).removeprefix("torch.")
