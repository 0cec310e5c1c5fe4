"""Probes of straight lines from a record: the barrier to the end of the run, and the line from its start."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landform import paths
from landform.probes._moment import Moment
from landform.probes._probe import Probe, Value


def _barrier_to_end(moment: Moment, *, steps: int, refine: int) -> dict[str, float]:
    """Barrier on the straight line to the run's last record; nan where one of the two has diverged."""
    landscape = moment.landscape
    last = moment.trajectory.records[-1]
    keys = ["barrier_to_end", *(["error_barrier_to_end"] if landscape.has_labels else [])]
    if not _finite(moment.point, last.point):
        return dict.fromkeys(keys, math.nan)
    if last.step == moment.record.step:  # a point is no way from itself
        return dict.fromkeys(keys, 0.0)
    found = paths.barrier(landscape, moment.point, last.point, steps=steps, refine=refine)
    return dict(zip(keys, (found.height, found.error_height or 0.0), strict=False))


def _line_from_start(moment: Moment, *, steps: int) -> dict[str, Value | float]:
    """Loss and error on the straight line from the run's first record; nan where one of the two has diverged."""
    landscape = moment.landscape
    alphas = torch.linspace(0, 1, steps, dtype=torch.float64)
    nothing = torch.full((steps,), math.nan, dtype=torch.float64)
    losses, errors, rise = nothing, nothing, math.nan
    if _finite(moment.start.point, moment.point):
        found = paths.monotonicity(landscape, moment.start.point, moment.point, steps=steps)
        losses, rise = found.line.losses, found.rise
        errors = nothing if found.line.errors is None else found.line.errors
    coords = {"alpha": alphas.tolist()}
    lines: dict[str, Value | float] = {"line_loss": Value(losses, ("alpha",), coords)}
    if landscape.has_labels:
        lines["line_error"] = Value(errors, ("alpha",), coords)
    return {**lines, "line_rise": rise}


def _finite(a: Tensor, b: Tensor) -> bool:
    return bool(torch.isfinite(a).all()) and bool(torch.isfinite(b).all())


barrier_to_end = Probe(
    "barrier_to_end",
    _barrier_to_end,
    settings={"steps": 11, "refine": 4},
    times=20,
    needs=("landscape", "trajectory"),
    doc="barrier of loss and error on the straight line to the run's last record",
    cost=5.0,
)
line_from_start = Probe(
    "line_from_start",
    _line_from_start,
    settings={"steps": 21},
    times=6,
    needs=("landscape", "start"),
    doc="loss and error on the straight line from the run's first record, and how far the loss rises on it",
    cost=7.0,
)
