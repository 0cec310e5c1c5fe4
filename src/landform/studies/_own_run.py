"""The measurements of deep-vs-kernel along a run of one's own, as far as that run and the budget allow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from landform.atlas import Atlas
from landform.engine import Engine, Progress
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.probes import Probe, get
from landform.recording import Trajectory
from landform.survey import Forecast, survey
from landform.training import ContinueFrom, spawn, spawn_by

# Everything that moves along a run, cheap ones first.
EVERYTHING = (
    "loss",
    "error",
    "gradient_norm",
    "distance",
    "parameter_norm",
    "step_cosine",
    "function_step",
    "function_to_end",
    "kernel_velocity",
    "kernel_distance",
    "kernel_alignment",
    "kernel_spectrum",
    "kernel_distances",
    "sharpness",
    "children",
    "family_plane",
    "onset",
    "eigenvalues",
    "trace",
    "density",
)
# What costs much is measured on the training data alone.
_COSTLY = ("kernel_spectrum", "kernel_distances", "family_plane", "sharpness", "eigenvalues", "trace", "density")
# Shares of a run at which children leave it, the most telling first: the start, and the early part.
_LEAVE = (0.0, 0.1, 0.03, 0.3)


def deep_survey(
    run: str | Path | Trajectory,
    landscape: Landscape | Mapping[str, Landscape],
    *,
    budget: float | None = 0.5,
    least: float = 120.0,
    model: nn.Module | None = None,
    data: Any = None,
    continue_from: ContinueFrom | None = None,
    children: int = 2,
    say: Callable[[str], object] | None = None,
    forecast: Callable[[Forecast], object] | None = None,
    engine: str | Engine | None = None,
    progress: Progress | None = None,
) -> Atlas:
    """Measure everything that moves along a run, children and linearised training included, within a budget.

    Children are trained where that is possible: for a run of `lf.train` that kept its optimiser's state, with the
    model and data it was trained with; for a run of one's own loop by ``continue_from``. Where it is not, it is said
    why.

    Args:
        run: the run, or its folder.
        landscape: what to measure on, as for `lf.survey`.
        budget: share of the training's own time; None measures everything.
        least: seconds that a budget allows in any case.
        model: the run's model, to train children of a run that `lf.train` made.
        data: the run's data, likewise.
        continue_from: trains a child from a record to the run's end, in one's own loop; see
            `landform.training.spawn_by`.
        children: how many for each spawn time.
        say: told in a sentence what is done, and what cannot be.
        forecast: told what measuring will cost and leave out, after its first two times.
        engine: where to measure, as for `landform.survey.survey`.
        progress: called as ``progress(done, total)``.

    Returns:
        The run's atlas.

    Raises:
        BadInput: when something given does not fit together.
    """
    if budget is not None and not (isinstance(budget, int | float) and budget > 0 and math.isfinite(budget)):
        raise BadInput(f"The budget is {budget!r}: give a share of the training's time, such as 0.5, or None.")
    trajectory = run if isinstance(run, Trajectory) else Trajectory(run)
    told = say or (lambda text: None)
    trained = max((seconds for seconds in trajectory.seconds if math.isfinite(seconds)), default=0.0)
    allowance = math.inf if budget is None else max(least, budget * trained)
    spent = _children(trajectory, model, data, continue_from, children, trained, allowance, told)
    left = None if budget is None or trained <= 0 else max(allowance - spent, 0.1 * allowance) / trained
    return survey(
        Trajectory(trajectory.folder),
        landscape,
        probes=probes_for(trajectory),
        budget=left,
        least=0.0,
        forecast=forecast,
        engine=engine,
        progress=progress,
    )


def probes_for(trajectory: Trajectory) -> list[Probe]:
    """Everything there is to measure along a run, what costs much on the training data alone.

    Args:
        trajectory: the run.

    Returns:
        The probes.
    """
    last = trajectory.epochs[-1] if trajectory.epochs else 0.0
    found = []
    for name in EVERYTHING:
        probe = get(name)
        if name == "onset":
            # Where children leave, and at the end, so that the two can be set against each other.
            probe = probe.at(tuple(sorted({*(share * last for share in _LEAVE), last})))
        if name == "family_plane":
            probe = probe.at((0.0,))
        if name in _COSTLY:
            probe = probe.on("train")
        found.append(probe)
    return found


def _children(
    run: Trajectory,
    model: nn.Module | None,
    data: Any,
    continue_from: ContinueFrom | None,
    count: int,
    trained: float,
    allowance: float,
    told: Callable[[str], object],
) -> float:
    """Train children if that is possible and there is time; gives the seconds that it probably took."""
    if run.children:
        return 0.0
    why = _why_not(run, model, data, continue_from)
    if why:
        told(f"No children leave this run: {why}.")
        return 0.0
    last = run.epochs[-1]
    records = run.resumable or list(run.records)
    steps: dict[int, float] = {}
    expected = 0.0
    for share in _LEAVE:
        near = min(records, key=lambda record: abs(record.epoch - share * last))
        cost = count * trained * (1 - near.epoch / last)
        if near.epoch >= last or near.step in steps or expected + cost > allowance / 2:
            continue
        steps[near.step] = near.epoch
        expected += cost
    if not steps:
        told(f"No children leave this run: {count} of them would take more than half of the {allowance:.0f} s allowed.")
        return 0.0
    times = sorted(steps.values())
    shown = ", ".join(f"{time:.3g}" for time in times)
    told(f"Training {count * len(times)} children from epochs {shown}: about {expected:.0f} s, or less ...")
    if continue_from is not None:
        spawn_by(run, continue_from, at=times, children=count)
    else:
        assert model is not None
        spawn(run, model, data, at=times, children=count)
    return expected


def _why_not(run: Trajectory, model: nn.Module | None, data: Any, continue_from: ContinueFrom | None) -> str | None:
    """Why no child can be trained."""
    if not len(run) or run.epochs[-1] <= 0:
        return "it has no record beside its start"
    if continue_from is not None:
        return None
    if "recipe" not in run.run["settings"]:
        return "it comes from a loop of your own, so give continue_from= in Python, which trains on from a record"
    if model is None or data is None:
        return "the model and the data it was trained with are not given"
    if not run.resumable:
        return "it kept no optimiser state: record it with resumable_at"
    return None
