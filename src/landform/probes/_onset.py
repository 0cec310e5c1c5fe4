"""The probe of what could still be learned from a time on, with the kernel held and with the kernel moving."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from landform import kernel
from landform.landscape import Landscape
from landform.probes._moment import Moment
from landform.probes._probe import Probe, Value
from landform.training import Recipe

_COURSES = ("linearised", "nonlinear", "probe")


def _onset(
    moment: Moment,
    *,
    epochs: float,
    lr: float | None,
    momentum: float,
    batch_size: int,
    samples: int,
    nonlinear: bool,
    precision: Literal["full", "bfloat16"] | None,
    seed: int,
) -> dict[str, Value]:
    """Errors of what is trained from here, on every set."""
    names = list(moment.sets)
    home = moment.sets["train" if "train" in names else names[0]]
    gap = torch.full((len(names),), math.nan, dtype=torch.float64)
    found: dict[str, Tensor] = {"onset_own": gap, "onset_machine": gap, "onset_machine_from": gap}
    for name in _COURSES:
        found |= {f"onset_{name}": gap, f"onset_{name}_best": gap}
    point = moment.record.point.to(home.device, home.dtype)
    rate = _small(moment) if lr is None else lr
    if bool(torch.isfinite(point).all()):
        seen = kernel.onset(
            home,
            point,
            moment.sets,
            epochs=epochs,
            lr=rate,
            momentum=momentum,
            batch_size=batch_size,
            samples=samples,
            nonlinear=nonlinear,
            precision=_own_precision(moment) if precision is None else precision,
            seed=seed,
        )
        found |= {
            "onset_own": seen.own,
            "onset_machine": seen.machine,
            "onset_machine_from": seen.machine_from,
        }
        for name in _COURSES:
            course: kernel.Course | None = getattr(seen, name)
            if course is not None:
                found |= {f"onset_{name}": course.last, f"onset_{name}_best": course.best}
    values = {name: Value(tensor, ("on",), {"on": names}) for name, tensor in found.items()}
    return {**values, "onset_lr": Value(torch.tensor(rate, dtype=torch.float64))}


def _small(moment: Moment) -> float:
    """A fifth of the run's largest learning rate; 0.01 where it is not known."""
    settings: Mapping[str, Any] = moment.trajectory.run["settings"]
    if "recipe" in settings:
        return Recipe.from_json(settings["recipe"]).lr / 5
    known = [record.lr for record in moment.trajectory.records if record.lr]
    return max(known) / 5 if known else 0.01


def _own_precision(moment: Moment) -> Literal["full", "bfloat16"]:
    """That of the run, where it was trained by landform."""
    settings: Mapping[str, Any] = moment.trajectory.run["settings"]
    return Recipe.from_json(settings["recipe"]).precision if "recipe" in settings else "full"


def _refusal(landscape: Landscape) -> str | None:
    return kernel.why_no_onset(landscape)


onset = Probe(
    "onset",
    _onset,
    settings={
        "epochs": 24.0,
        "lr": None,
        "momentum": 0.9,
        "batch_size": 128,
        "samples": 600,
        "nonlinear": True,
        "precision": None,
        "seed": 0,
    },
    times=6,
    version=2,  # long sets are read in part on the way, and trainings have the run's precision
    needs=("sets", "trajectory"),
    doc="errors of linearised, of low-step and of last-layer training from here, and of the kernel machine",
    cost=80.0,
    applies=_refusal,
)
