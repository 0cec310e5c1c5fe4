"""Wedges in networks: optima and what connects them, tunnels and what widens them, cyclic runs, random planes."""

from __future__ import annotations

import itertools
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landform import curvature, functions, paths, surface, training
from landform.data import Dataset
from landform.landscape import Landscape
from landform.studies._emergent_protocol import finite, seen
from landform.studies._parts import write_part
from landform.studies._wedges_protocol import KNOBS, WedgesProtocol
from landform.training import Cyclic, Recipe, Recording, train_many

# Places of a straight line that are read, and along each side of a plane.
_CUT, _STEPS = 11, 25
# Multiples of an optimum, and degrees by which it is turned towards another, at which the loss is read.
_SCALES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0)
_DEGREES = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 75.0, 90.0)


def optima(folder: Path, protocol: WedgesProtocol, device: str, name: str, seed: int) -> None:
    """Train networks from other starts as a stack, and connect them in pairs and all together.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to train and to measure.
        name: of the part.
        seed: of the starts.
    """
    subject = protocol.subject
    data = subject.dataset()
    nets = [subject.net(data, 1000 * seed + i) for i in range(protocol.optima)]
    recipes = [replace(protocol.recipe, seed=1000 * seed + i) for i in range(protocol.optima)]
    landscape = seen(subject, data, nets[0], device)
    test = landscape.on(data.test)
    start = landscape.here.cpu()
    points = torch.stack([end.point for end in train_many(nets, data, recipes, device=device)]).to(landscape.device)
    pairs = list(itertools.combinations(range(len(points)), 2))
    cuts = [paths.barrier(landscape, points[i], points[j], steps=_CUT, refine=0) for i, j in pairs]
    a, b = points[0], points[1]
    way = paths.curve(landscape, a, b, steps=protocol.steps, seed=seed, positions=21, refine=0)
    middle = paths.connector(
        landscape, points[:2], kind="pieces", method="midpoint", steps=protocol.steps, samples=64, seed=seed
    )
    joined = []
    for m in protocol.connected:
        found = paths.connector(landscape, points[:m], steps=protocol.steps, samples=96, seed=seed)
        joined.append(
            {
                "optima": m,
                "ends": float(found.trained.optima.mean()),
                "mean": found.trained.inside.mean,
                "highest": found.trained.inside.highest,
                "plain_mean": found.plain.inside.mean,
                "plain_highest": found.plain.inside.highest,
            }
        )
    wide = points.double().cpu()
    cosines = _cosines(wide)
    labels = test.outputs(points).argmax(-1)
    apart = [float((labels[i] != labels[j]).double().mean()) for i, j in pairs]
    along = way.points(torch.linspace(0, 1, _CUT))
    there = test.outputs(along.to(points)).argmax(-1)
    told: dict[str, Any] = {
        "kind": "optima",
        "subject": "",
        "seed": seed,
        "parameters": landscape.layout.size,
        "losses": finite(landscape.loss(points)),
        "errors": finite(test.error(points)),
        "pairs": [list(pair) for pair in pairs],
        "straight": [cut.height for cut in cuts],
        "straight_losses": finite(cuts[0].losses),
        "curve": way.barrier.height,
        "midpoint": middle.trained.inside.highest - float(middle.trained.optima.mean()),
        "midpoint_plain": middle.plain.inside.highest - float(middle.plain.optima.mean()),
        "joined": joined,
        "angles": [math.degrees(math.acos(max(-1.0, min(1.0, float(cosines[i, j]))))) for i, j in pairs],
        "apart": apart,
        "from_first": [float((each != labels[0]).double().mean()) for each in there],
        "from_second": [float((each != labels[1]).double().mean()) for each in there],
        "radial": _radial(landscape, a),
        "angular": _angular(landscape, a, b),
        "scales": list(_SCALES),
        "degrees": list(_DEGREES),
    }
    if seed == 0:
        told["plane"] = _plane(landscape, torch.zeros_like(a), a, b, "origin")
        bend = way.points(torch.tensor([0.5]))[0].to(a)
        told["bent"] = _plane(landscape, bend, a, b, "connector")
        told["start_norm"] = float(start.double().norm())
    write_part(folder, name, told)


def _cosines(points: Tensor) -> Tensor:
    units = points / points.norm(dim=1, keepdim=True)
    found: Tensor = units @ units.T
    return found


def _radial(landscape: Landscape, point: Tensor) -> list[float | None]:
    return finite(landscape.loss(torch.stack([scale * point for scale in _SCALES])))


def _angular(landscape: Landscape, a: Tensor, b: Tensor) -> list[float | None]:
    """Loss where a is turned towards b about the origin, its norm kept."""
    unit = a / a.norm()
    across = b - (b @ unit) * unit
    across = across / across.norm()
    turned = [a.norm() * (math.cos(math.radians(t)) * unit + math.sin(math.radians(t)) * across) for t in _DEGREES]
    return finite(landscape.loss(torch.stack(turned)))


def _plane(landscape: Landscape, third: Tensor, a: Tensor, b: Tensor, called: str) -> dict[str, Any]:
    found = surface.plane(landscape, directions=surface.through(landscape, a, b, third), steps=_STEPS, margin=0.25)
    where = found.project(torch.stack([a, b, third])).coordinates
    return {
        "alphas": found.alphas.tolist(),
        "betas": found.betas.tolist(),
        "losses": found.losses.tolist(),
        "marks": dict(zip(("A", "B", called), where.tolist(), strict=True)),
    }


def tunnels(folder: Path, protocol: WedgesProtocol, device: str, name: str, seed: int) -> None:
    """Turn one knob at a time, and measure the tunnels around where training ends.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to train and to measure.
        name: of the part.
        seed: of weights, order and lines.
    """
    data = protocol.subject.dataset()
    told: dict[str, Any] = {"kind": "tunnels", "subject": "", "seed": seed, "knobs": {}}
    base = replace(protocol.recipe, seed=seed)
    for knob, values in protocol.knobs.items():
        key = KNOBS[knob]
        nets, recipes = [], []
        for value in values:
            options = dict(protocol.subject.model_options)
            if key in ("dropout", "width"):
                options[key] = int(value) if key == "width" else value
                recipes.append(base)
            elif key == "batch_size":
                recipes.append(replace(base, batch_size=int(value)))
            else:
                recipes.append(replace(base, **{key: value}))  # type: ignore[arg-type]
            nets.append(replace(protocol.subject, model_options=options).net(data, seed))
        if key in ("lr", "weight_decay"):
            train_many(nets, data, recipes, device=device)
        else:
            for net, recipe in zip(nets, recipes, strict=True):
                training.train(net, data, recipe, device=device)
        measured = [tunnel(protocol, net, data, device, seed) for net in nets]
        told["knobs"][knob] = [{"value": value, **each} for value, each in zip(values, measured, strict=True)]
    write_part(folder, name, told)


def tunnel(protocol: WedgesProtocol, net: nn.Module, data: Dataset, device: str, seed: int) -> dict[str, Any]:
    """Measure the tunnel around a network in three normalisations, and the curvature on both scales.

    Args:
        protocol: the study's.
        net: a trained network.
        data: its data.
        device: where to measure.
        seed: of the lines.

    Returns:
        Widths (None where the network lies above the threshold, or a wall is missing), the curvature that a parabola
        through both walls would have, the largest eigenvalue, loss, norm and test error.
    """
    landscape = seen(protocol.subject, data, net, device)
    here = landscape.here
    loss = float(landscape.loss(here))
    found: dict[str, Any] = {
        "loss": loss,
        "error": float(landscape.on(data.test).error(here)),
        "norm": float(here.double().norm()),
        "raw": None,
        "relative": None,
        "filter": None,
        "large": None,
        "largest": float(curvature.eigenpairs(landscape.hessian(here), 1, tol=1e-2, judge="values").values[0]),
    }
    if loss < protocol.threshold:
        cut = surface.tunnel(landscape, here, threshold=protocol.threshold, count=protocol.lines, tol=0.02, seed=seed)
        for unit in ("raw", "relative", "filter"):
            width = cut.width(unit)
            found[unit] = width if math.isfinite(width) else None
        if found["raw"] is not None:
            found["large"] = 2 * (protocol.threshold - loss) / (found["raw"] / 2) ** 2
    return found


def cycles(folder: Path, protocol: WedgesProtocol, device: str, name: str, seed: int) -> None:
    """Cyclic runs from one trained point, with several largest learning rates: snapshots, their mean, their ensemble.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to train and to measure.
        name: of the part.
        seed: of weights and order.
    """
    subject = protocol.subject
    data = subject.dataset()
    first = subject.net(data, seed)
    training.train(first, data, replace(protocol.recipe, seed=seed), device=device)
    landscape = seen(subject, data, first, device)
    test, layout, begun = landscape.on(data.test), landscape.layout, landscape.here
    schedule = Cyclic(period=protocol.period, low=0.02)
    base = replace(protocol.recipe, epochs=protocol.period * protocol.cycles, schedule=schedule, seed=seed + 1)
    recipes = [replace(base, lr=lr) for lr in protocol.cycle_lrs]
    nets = [subject.net(data, seed) for _ in recipes]
    for net in nets:
        layout.load_(net, begun.cpu())
    per_cycle = round(protocol.period * base.steps_per_epoch(len(data.train)))
    times = [per_cycle * (i + 1) for i in range(protocol.cycles)]
    runs = []
    with tempfile.TemporaryDirectory(prefix="landform-") as place:
        outs = [Path(place) / str(i) for i in range(len(recipes))]
        recording = Recording(at=times, pairs=None, resumable_at=(times[-1],))
        ends = train_many(nets, data, recipes, outs=outs, recording=recording, device=device)
        for lr, end in zip(protocol.cycle_lrs, ends, strict=True):
            assert end.trajectory is not None
            points = torch.stack([end.trajectory.at(step=step).point for step in times]).to(begun)
            runs.append({"lr": lr, **snapshots(landscape, test, data.test.targets, begun, points)})
    write_part(folder, name, {"kind": "cycles", "subject": "", "seed": seed, "runs": runs})


def snapshots(landscape: Landscape, test: Landscape, labels: Tensor, begun: Tensor, points: Tensor) -> dict[str, Any]:
    """What the snapshots of a cyclic run are to each other.

    Args:
        landscape: of training samples.
        test: of test samples.
        labels: theirs.
        begun: where the run began, ``[P]``.
        points: the snapshots, ``[n, P]``.

    Returns:
        Barriers between consecutive ones, test errors of each, of their mean (SWA) and of their ensemble (FGE,
        snapshot ensembles), and the share of test labels on which consecutive ones differ.
    """
    if not bool(points.isfinite().all()):
        return {"barriers": None, "errors": None, "mean": None, "ensemble": None, "apart": None, "moved": None}
    pairs = list(itertools.pairwise(points))
    outputs = test.outputs(points)
    said = outputs.argmax(-1)
    together = functions.ensemble(outputs, labels.to(outputs.device))
    return {
        "barriers": [paths.barrier(landscape, a, b, steps=_CUT, refine=0).height for a, b in pairs],
        "errors": finite(test.error(points)),
        "mean": float(test.error(points.mean(0))),
        "ensemble": 1 - float(together.accuracy),
        "apart": [float((a != b).double().mean()) for a, b in itertools.pairwise(said)],
        "moved": float((points[-1] - begun).double().norm() / begun.double().norm()),
    }


def planes(folder: Path, protocol: WedgesProtocol, device: str, name: str, seed: int) -> None:
    """Train in random planes through one start, to which the toy is fitted.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to train and to measure.
        name: of the part.
        seed: of the start and the planes.
    """
    subject = protocol.subject
    data = subject.dataset()
    net = subject.net(data, seed)
    landscape = Landscape(net, data, device=device)
    dimensions = [d for d in protocol.dimensions if d <= landscape.layout.size]
    recipe: Recipe = replace(protocol.plane_recipe, seed=seed)
    losses = [float(landscape.loss(landscape.here))]
    for d in dimensions:
        plane = training.plane(landscape.layout, d, seed=1000 * seed + d)
        end = training.train(subject.net(data, seed), data, recipe, planes=plane, device=device)
        losses.append(float(landscape.loss(end.point.to(landscape.device))))
    told = {"kind": "planes", "subject": "", "seed": seed, "parameters": landscape.layout.size}
    write_part(folder, name, {**told, "dimensions": [0, *dimensions], "losses": losses})
