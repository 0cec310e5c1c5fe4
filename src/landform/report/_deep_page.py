"""The page about deep learning versus kernel learning."""

from __future__ import annotations

import json
import math
import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import landform
from landform import store
from landform.atlas import Atlas
from landform.errors import BadInput
from landform.recording import Trajectory
from landform.report import _curvature_figures as curvature
from landform.report._deep_figures import correlation_maps, deep_figures
from landform.report._facts import Fact
from landform.report._gather import gather as gather_run
from landform.report._gather import one_line
from landform.report._lines import Times
from landform.report._material import Drawn
from landform.report._study_page import STUDY, StudyMaterial, claims_at, controls_of, counted
from landform.series import interval
from landform.studies import (
    SCALES,
    Claim,
    Protocol,
    claims_of,
    protocol_of,
    series,
    together,
    transitions,
)


def gather(place: Path, times: Times = "auto") -> StudyMaterial:
    """Read everything that the page about a study says.

    Args:
        place: folder of the study.
        times: how time is drawn.

    Returns:
        The material.

    Raises:
        BadInput: when there is no study, or nothing of it was measured yet.
    """
    described = store.read_json(place / STUDY)
    protocol = protocol_of(described)
    runs = [path for path in sorted(place.glob("seed-*")) if (path / "run.json").is_file()]
    if not runs:
        raise BadInput(f"{place} holds no run yet: 'landform reproduce {described['study']} --out {place}' goes on.")
    atlases = [Atlas(run) for run in runs]
    claims = claims_at(place, lambda: claims_of(protocol, atlases, described["scale"]))
    joint = transitions(atlases)
    tables = together(atlases, protocol.spawns)
    first = gather_run(runs[0])
    figures: list[Drawn] = [*deep_figures(atlases, times, joint)]
    figures += list(first.maps)
    figures += correlation_maps(tables)
    if (ridges := curvature.density(first, times)) is not None:
        figures.append(ridges)
    trajectory = Trajectory(runs[0])
    parameters = trajectory.layout.size
    name = trajectory.run["settings"]["data"]["name"]
    kids = len(runs) * len(protocol.spawns) * protocol.children
    sentence = (
        f"{counted(len(runs), 'network')} ({protocol.model}, {parameters:,} parameters) trained on {name} for "
        f"{protocol.recipe.epochs:g} epochs by {protocol.recipe.optimizer.upper()} with step {protocol.recipe.lr:g}; "
        f"{kids} children left them at {len(protocol.spawns)} times."
    )
    notes = [f"{run.name}: {note}" for run, atlas in zip(runs, atlases, strict=True) for note in atlas.notes]
    return StudyMaterial(
        title="Deep learning versus kernel learning",
        sentence=sentence,
        verdict=_verdict(atlases, joint, claims),
        facts=tuple(_facts(atlases, joint, claims)),
        claims=claims,
        controls=controls_of(place),
        figures=tuple(figures),
        settings={
            "study": {
                "scale": described["scale"],
                "seeds": len(runs),
                "spawn times": ", ".join(f"{t:g}" for t in protocol.spawns),
                "children of each": protocol.children,
                "onsets": ", ".join(f"{t:g}" for t in protocol.onsets),
                "samples of kernels": protocol.kernel,
                "samples of the Hessian and of functions, at most": protocol.closely,
            },
            "recipe": {key: one_line(value) for key, value in protocol.recipe.to_json().items() if value is not None},
            "data": {key: one_line(value) for key, value in trajectory.run["settings"]["data"].items()},
            "model": {"name": protocol.model, **protocol.model_options, "parameters": parameters},
        },
        notes=tuple(dict.fromkeys(notes)),
        command=_command(described, protocol, controls=bool(controls_of(place))),
        provenance={
            "recorded": f"{trajectory.run['made']}, by landform {trajectory.run['landform']} with torch "
            f"{trajectory.run['torch']}",
            "page made": f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')}, by landform {landform.__version__}",
            "paper": "Fort, Dziugaite, Paul, Kharaghani, Roy, Ganguli, NeurIPS 2020, arXiv 2010.15110",
        },
    )


def _command(described: Mapping[str, Any], protocol: Protocol, *, controls: bool) -> str:
    """What runs the study again; nothing for a protocol of somebody's own."""
    usual = SCALES.get(described["scale"])
    if usual is None:
        return ""
    words = ["landform", "reproduce", described["study"], "--scale", described["scale"]]
    for name in ("data", "model"):
        own, options = getattr(protocol, name), getattr(protocol, f"{name}_options")
        changed = own != getattr(usual, name)
        known = {} if changed else json.loads(json.dumps(dict(getattr(usual, f"{name}_options"))))
        words += [f"--{name}", own] if changed else []
        for key, value in options.items():
            if known.get(key) != value:
                words += [f"--{name}-option", f"{key}={json.dumps(value)}"]
    if protocol.seeds != usual.seeds:
        words += ["--seeds", str(protocol.seeds)]
    return shlex.join([*words, *(["--controls"] if controls else [])])


def _facts(atlases: Sequence[Atlas], joint: Sequence[Any], claims: Sequence[Claim]) -> list[Fact]:
    found: list[Fact] = []
    times = interval([each.time for each in joint])
    if math.isfinite(times.mean):
        text = f"epoch {_epoch(times.mean)}" + (f" ± {_epoch(times.standard_error)}" if times.count > 1 else "")
        found.append(Fact("transition_epoch", "transition: half of the change", times.mean, text))
        over = interval([each.over for each in joint])
        found.append(Fact("transition_over", "transition: 90% done", over.mean, f"epoch {_epoch(over.mean)}"))
    moving = series(atlases)
    barrier = moving.get("barrier between children")
    if barrier is not None:
        first, last = (interval(row).mean for row in (barrier.values[:, 0], barrier.values[:, -1]))
        label = f"barrier of children leaving at epoch {barrier.epochs[-1]:g} (at 0)"
        found.append(Fact("barrier_last", label, last, f"{last:.1%} ({first:.1%})"))
    green = moving.get("error of the linearised net")
    if green is not None:
        best = float(np.nanmin(green.mean))
        found.append(Fact("kernel_error", "best kernel's error (initial)", best, f"{best:.1%} ({green.mean[0]:.1%})"))
    error = moving.get("test error")
    if error is not None:
        found.append(Fact("test_error", "the networks' test error", float(error.mean[-1]), f"{error.mean[-1]:.1%}"))
    verdicts_of = Counter(claim.verdict for claim in claims)
    found.append(
        Fact(
            "reproduced",
            "claims reproduced",
            verdicts_of["reproduced"],
            f"{verdicts_of['reproduced']} of {len(claims)}",
        )
    )
    return found


def _epoch(value: float) -> str:
    """A time as it is read: to a tenth, and with two figures where that would say nothing."""
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _verdict(atlases: Sequence[Atlas], joint: Sequence[Any], claims: Sequence[Claim]) -> str:
    """The answer, in a sentence or two."""
    times = interval([each.time for each in joint])
    if not math.isfinite(times.mean):
        return "No common transition was found in these runs: see the notes for what was not measured."
    used = sorted({name for each in joint for name in each.used})
    # No time lies before the start, whatever Student says.
    ends = f" (95% interval {_epoch(max(0.0, times.low))} to {_epoch(times.high)})"
    sure = ends if math.isfinite(times.low) else ""
    verdicts_of = Counter(claim.verdict for claim in claims)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts_of.most_common())
    return (
        f"Around epoch {_epoch(times.mean)}{sure} the training passes from a chaotic phase, in which children still "
        f"part ways and the kernel is being made, to a calm one; {len(used)} measures agree on it. Of the paper's "
        f"claims: {verdicts}."
    )
