"""Full-batch descent on the squared error: progressive sharpening, the edge of stability, the catapult."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from landform import curvature
from landform.landscape import Landscape
from landform.recording import log_spaced
from landform.studies._emergent_along import threshold
from landform.studies._emergent_protocol import EmergentProtocol, Subject, finite
from landform.studies._parts import write_part
from landform.training import Recipe, Recording, train_many

_LOOKS = 14
# Places of the curve of the loss that are told.
_TOLD = 120


def edge(folder: Path, protocol: EmergentProtocol, device: str, name: str, subject: str, seed: int) -> None:
    """Descend on all samples at once with several learning rates, as one stack, and follow the sharpness.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to train and to measure.
        name: of the part.
        subject: which network.
        seed: of its weights.
    """
    chosen = protocol.subjects[subject]
    small = replace(chosen, model_options={**chosen.model_options, **protocol.edge_options})
    runs: list[dict[str, Any]] = []
    for begun, rates in (
        (small, [rate for rate in protocol.edge_rates if rate < 1]),
        (chosen, [rate for rate in protocol.edge_rates if rate >= 1]),
    ):
        if rates:
            runs += _descend(protocol, begun, rates, device, seed)
    write_part(folder, name, {"kind": "edge", "subject": subject, "seed": seed, "runs": runs})


def _descend(
    protocol: EmergentProtocol, subject: Subject, rates: list[float], device: str, seed: int
) -> list[dict[str, Any]]:
    """Runs of one network as a stack, and the sharpness along each."""
    data = subject.dataset()
    split = subject.some(data)
    assert data.classes is not None
    pair = (split.inputs, functional.one_hot(split.targets, data.classes).to(split.inputs.dtype))
    landscape = Landscape(subject.net(data, seed), pair, loss="mse", device=device)
    unit, start = threshold(landscape, landscape.here), float(landscape.loss(landscape.here))
    times = log_spaced(_LOOKS, protocol.edge_steps)
    base = Recipe(epochs=float(protocol.edge_steps), batch_size=len(split), momentum=0.0, seed=seed)
    recipes = [replace(base, lr=rate * unit) for rate in rates]
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="landform-") as place:
        outs = [Path(place) / str(i) for i in range(len(recipes))]
        nets = [subject.net(data, seed) for _ in recipes]
        recording = Recording(at=times, pairs=None, resumable_at=(times[-1],))
        ends = train_many(nets, pair, recipes, outs=outs, recording=recording, loss="mse", device=device)
        for rate, end in zip(rates, ends, strict=True):
            assert end.trajectory is not None
            points = [end.trajectory.at(step=step).point.to(landscape.device) for step in times]
            sound = list(itertools.takewhile(lambda point: bool(point.isfinite().all()), points))
            found = curvature.tracked(map(landscape.hessian, sound), 1, tol=1e-2, judge="values", seed=seed)
            told = sorted({*range(min(60, len(end.losses))), *log_spaced(_TOLD, len(end.losses) - 1)})
            runs.append(
                {
                    "rate": rate,
                    "lr": end.recipe.lr,
                    "start": start,
                    "steps": list(times[: len(sound)]),
                    "sharpness": [float(pairs.values[0]) for pairs in found],
                    "norms": finite(torch.stack(sound).double().norm(dim=1)),
                    "loss_steps": told,
                    "losses": finite(end.losses[told]),
                    "diverged": end.diverged,
                }
            )
    return runs
