"""What a page is made of, read from a run and its atlas."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import landform
from landform.atlas import Atlas, Labelled
from landform.errors import BadInput
from landform.recording import Trajectory
from landform.report._deep_figures import DRAWN, deep_figures
from landform.report._kernel_figures import MAPPED, heat_maps
from landform.report._material import Material, Measured, Spread
from landform.report._surface_figures import DRAWN as AROUND
from landform.report._surface_figures import around


def gather(source: Atlas | Trajectory | str | Path) -> Material:
    """Read everything that a page says about a run.

    Args:
        source: the run's folder, its trajectory, or its atlas.

    Returns:
        The material of the page; quantities with more than one dimension beside data set and time have no figure, and
        are named in the notes.

    Raises:
        BadInput: when there is no run there.
    """
    if not isinstance(source, Atlas | Trajectory | str | Path):
        raise BadInput(
            f"A report is made from a run's folder, a Trajectory or an Atlas; got a {type(source).__name__}."
        )
    atlas = source if isinstance(source, Atlas) else Atlas(_folder(source))
    trajectory = source if isinstance(source, Trajectory) else Trajectory(atlas.folder)
    measured: dict[str, Measured] = {}
    spread: dict[str, Spread] = {}
    notes = list(atlas.notes)
    for name in atlas.names():
        labelled = atlas[name]
        if set(labelled.dims) <= {"set", "time"}:
            measured[name] = as_rows(labelled)
        elif len(set(labelled.dims) - {"set", "time"}) == 1 and not labelled.lengths:
            spread[name] = as_spread(labelled)
        elif name not in (*MAPPED, *DRAWN, *AROUND):
            notes.append(f"{name} ({', '.join(labelled.dims)}) has no figure on this page: read it from the atlas.")
    if not measured and not spread:
        notes.append("Nothing has been measured along this run yet: landform survey does so.")
    notes += gaps(measured)
    known = " ".join(notes)
    notes += [
        f"{path} is damaged, and what it held is missing here." for path in trajectory.damaged if str(path) not in known
    ]
    return Material(
        name=trajectory.folder.resolve().name,
        measured=measured,
        spread={name: each for name, each in spread.items() if name not in (*MAPPED, *DRAWN, *AROUND)},
        maps=tuple(heat_maps(atlas)),
        deep=(*deep_figures([atlas]), *around(atlas)),
        curves=_curves(trajectory),
        settings=_settings(trajectory),
        records=len(trajectory),
        parameters=trajectory.layout.size,
        notes=tuple(dict.fromkeys(notes)),
        provenance=_provenance(trajectory, atlas),
    )


def as_rows(labelled: Labelled) -> Measured:
    """Put a quantity as one row for each data set.

    Args:
        labelled: a quantity over ``time``, or ``set`` and ``time``.

    Returns:
        The same numbers.
    """
    epochs = np.asarray(labelled.coords["time"], dtype=np.float64)
    values = np.asarray(labelled.values, dtype=np.float64).reshape(-1, len(epochs))
    sets = np.atleast_1d(labelled.coords.get("set", np.array("")))
    return Measured(epochs, values, tuple(str(name) for name in sets))


def as_spread(labelled: Labelled) -> Spread:
    """Put a quantity of several numbers at each time as one row for each time, of the first data set.

    Args:
        labelled: a quantity over ``time`` and one more dimension, perhaps over ``set`` too.

    Returns:
        The same numbers.
    """
    epochs = np.asarray(labelled.coords["time"], dtype=np.float64)
    more = next(dim for dim in labelled.dims if dim not in ("set", "time"))
    values = np.asarray(labelled.values, dtype=np.float64)
    values = values.reshape(-1, len(epochs), labelled.shape[labelled.dims.index(more)])[0]
    labels = labelled.coords.get(more, np.arange(values.shape[1]))
    names = tuple(f"{label:g}" if isinstance(label, float) else str(label) for label in labels.tolist())
    return Spread(epochs, values, names, str(np.atleast_1d(labelled.coords.get("set", np.array("")))[0]))


def gaps(measured: Mapping[str, Measured]) -> list[str]:
    """Name the times that were measured but gave no finite number, or were not measured.

    Args:
        measured: quantities by name.

    Returns:
        One sentence for each quantity with gaps.
    """
    found = []
    for name, each in measured.items():
        for row, where in zip(each.values, each.sets, strict=True):
            missing = ~np.isfinite(row)
            if missing.any():
                first = float(each.epochs[missing][0])
                on = f" on {where}" if where else ""
                found.append(
                    f"{name}{on} has no finite number at {int(missing.sum())} of {len(row)} times, the first at epoch "
                    f"{first:.4g}: the curve has a gap there."
                )
    return found


def _folder(source: Trajectory | str | Path) -> Path:
    folder = source.folder if isinstance(source, Trajectory) else Path(source)
    if not folder.is_dir():
        raise BadInput(f"There is no folder {folder}: give the folder of a run.")
    return folder


def _curves(trajectory: Trajectory) -> dict[str, tuple[Any, Any]]:
    per_epoch = trajectory.run["epoch"]
    return {
        name: (steps.numpy().astype(np.float64) / per_epoch, values.numpy().astype(np.float64))
        for name, (steps, values) in trajectory.curves.items()
    }


def _settings(trajectory: Trajectory) -> dict[str, dict[str, Any]]:
    """What the run's description says, in groups; what is nested deeper is written in one line."""
    described: Mapping[str, Any] = trajectory.run["settings"]
    run: dict[str, Any] = {
        "trainable parameters": trajectory.layout.size,
        "steps in an epoch": trajectory.run["epoch"],
        "recorded times": len(trajectory),
        "last epoch": trajectory.epochs[-1] if trajectory.epochs else 0.0,
        "frozen, and left out": ", ".join(trajectory.layout.frozen),
    }
    seconds = [each for each in trajectory.seconds if math.isfinite(each)]
    if seconds and max(seconds) > 0:
        run["seconds of training"] = round(max(seconds), 1)
    groups: dict[str, dict[str, Any]] = {"run": run}
    for name, value in described.items():
        if isinstance(value, Mapping):
            groups[name] = {each: one_line(inner) for each, inner in value.items()}
        elif value is not None:
            run[name.replace("_", " ")] = one_line(value)
    return {name: {k: v for k, v in group.items() if v not in ("", None)} for name, group in groups.items() if group}


def one_line(value: Any) -> str | int | float | bool | None:
    """Write a setting in one line.

    Args:
        value: plain JSON.

    Returns:
        Simple values as they are; lists and groups as text.
    """
    if isinstance(value, Mapping):
        name = value.get("name")
        inner = {key: _short(each) for key, each in value.items() if key != "name"}
        rest = ", ".join(f"{key} {text}" for key, text in inner.items() if text)
        return f"{name} ({rest})" if name and rest else str(name or rest)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_short(each) for each in value)
    return value  # type: ignore[no-any-return]


def _short(value: Any) -> str:
    plain = one_line(value)
    return "" if plain is None else f"{plain:.4g}" if isinstance(plain, float) else str(plain)


def _provenance(trajectory: Trajectory, atlas: Atlas) -> dict[str, str]:
    run = trajectory.run
    found = {
        "recorded": f"{run['made']}, by landform {run['landform']} with torch {run['torch']}",
        "page made": f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')}, by landform {landform.__version__}",
        "points": f"{run['dtype']}, stored as {run['storage']}",
        "seeds": _seeds(run["settings"]),
    }
    results = [stored for name in atlas.names() for stored in atlas.results(name)]
    each = {stored.file: stored for stored in results}
    if each:
        seconds = sum(stored.seconds for stored in each.values())
        found["measured"] = f"{len(each)} results in {seconds:.1f} s, in {', '.join(_kinds(each.values()))}"
        for name in sorted({stored.set for stored in results if stored.set is not None}):
            bases = sorted({stored.basis for stored in results if stored.set == name and "loss" in stored.quantities})
            if bases:
                found[f"loss on {name}"] = f"digest of probe, settings and landscape: {', '.join(bases)}"
    return {name: text for name, text in found.items() if text}


def _kinds(results: Any) -> list[str]:
    return sorted({stored.dtype for stored in results if stored.dtype})


def _seeds(settings: Mapping[str, Any]) -> str:
    """Every seed that the settings name, with the part it belongs to."""

    def walk(value: Any, part: str) -> list[str]:
        if not isinstance(value, Mapping):
            return []
        here = [f"{part or 'run'} {value['seed']}"] if isinstance(value.get("seed"), int) else []
        # The seed among the options of a model is the model's.
        return here + [
            found
            for name, inner in value.items()
            for found in walk(inner, part if name in ("options", "transform") else name)
        ]

    return ", ".join(dict.fromkeys(walk(settings, "")))
