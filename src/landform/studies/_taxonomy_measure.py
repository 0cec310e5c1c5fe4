"""One width and amount of data of the taxonomy's grid: its networks trained, and everything measured of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landform import curvature, functions, store
from landform.data import Dataset, mix
from landform.landscape import Landscape, find_device
from landform.studies._taxonomy_protocol import Cell, TaxonomyProtocol
from landform.studies._taxonomy_stacks import bends, train_own

RESULTS = "results"
# Places on a curve at which it is read, as in the released code, and on the straight line.
CURVE_AT = (0.0, 0.25, 0.5, 0.75, 1.0)
LINE_AT = tuple(i / 10 for i in range(11))
# Strength of mixup of the inputs that similarity is measured on, and their batches.
_ALPHA, _BATCH = 16.0, 128
# Random bends begin where a network of such a seed would.
_FRESH = 10_000


def signed(errors: Sequence[float]) -> float:
    """Connectivity from errors along a path, in their unit (Yang et al. 2021, equation 4).

    Mean error of the two ends, less the error where it deviates most from that: below zero for a barrier.

    Args:
        errors: from one end to the other.

    Returns:
        The deviation with its sign.
    """
    mean = (errors[0] + errors[-1]) / 2
    return max((mean - error for error in errors), key=abs)


def measure_group(folder: Path, protocol: TaxonomyProtocol, device: str, cells: Sequence[Cell], name: str) -> None:
    """Train and measure cells of one width and amount of data, and write down what came of it.

    Args:
        folder: of the study.
        protocol: what it trains.
        device: where.
        cells: the cells; those of one batch size are trained as one stack.
        name: of the file.
    """
    width, amount = cells[0].width, cells[0].amount
    sets = {cell.noise: protocol.dataset(amount, cell.noise) for cell in cells}
    place = find_device(device)
    any_data = next(iter(sets.values()))
    inputs = any_data.train.inputs.to(place)
    points: dict[Cell, Tensor] = {}
    for batch_size in dict.fromkeys(cell.batch_size for cell in cells):
        alike = [cell for cell in cells if cell.batch_size == batch_size]
        runs = [(cell, seed) for cell in alike for seed in range(protocol.seeds)]
        nets = [protocol.net(any_data, width, seed) for _, seed in runs]
        targets = [sets[cell.noise].train.targets for cell, _ in runs]
        recipes = [replace(protocol.recipe, batch_size=batch_size, seed=seed) for _, seed in runs]
        ends = train_own(nets, inputs, targets, recipes, device)
        for start, cell in zip(range(0, len(runs), protocol.seeds), alike, strict=True):
            points[cell] = torch.stack([end.point for end in ends[start : start + protocol.seeds]])
    found: list[dict[str, Any]] = []
    for noise, data in sets.items():
        here = {cell: points[cell] for cell in cells if cell.noise == noise}
        found += _measured(protocol, data, here, inputs, device)
    store.make_folder(folder / RESULTS)
    store.write_json(folder / RESULTS / f"{name}.json", {"cells": found})


def _measured(
    protocol: TaxonomyProtocol, data: Dataset, points: dict[Cell, Tensor], inputs: Tensor, device: str
) -> list[dict[str, Any]]:
    """Everything about the networks of cells that have their data in common."""
    first = next(iter(points))
    landscape = Landscape(protocol.net(data, first.width, 0), data, device=device)
    test = landscape.on(data.test)
    # The same samples for every cell that has this much data.
    chosen = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[: protocol.samples]
    few, mixed = landscape.subset(chosen.to(landscape.device)), landscape.on(_mixed(data, protocol.mixed))
    readings = {cell: (landscape.read(trained), test.read(trained)) for cell, trained in points.items()}
    # Of a network that diverged nothing is measured.
    finite = {cell: points[cell].isfinite().all(1) & seen.loss.isfinite() for cell, (seen, _) in readings.items()}
    curves = _curves(protocol, landscape, data, points, finite, inputs)
    found = []
    for cell, trained in points.items():
        sound, (seen, unseen) = finite[cell], readings[cell]
        assert seen.error is not None
        assert unseen.error is not None
        sharpness = [_sharpness(few, point) if ok else {} for point, ok in zip(trained, sound.tolist(), strict=True)]
        runs = [
            {
                "seed": seed,
                "train_loss": _number(float(seen.loss[seed])),
                "train_error": _number(100 * float(seen.error[seed])) if sound[seed] else None,
                "test_loss": _number(float(unseen.loss[seed])),
                "test_accuracy": _number(100 * (1 - float(unseen.error[seed]))) if sound[seed] else None,
                **sharpness[seed],
            }
            for seed in range(protocol.seeds)
        ]
        found.append(
            {
                "width": cell.width,
                "batch_size": cell.batch_size,
                "data": len(data.train),
                "label_noise": cell.noise,
                "parameters": landscape.layout.size,
                "runs": runs,
                "curves": curves[cell],
                **_likeness(mixed, trained[sound]),
            }
        )
    return found


def _mixed(data: Dataset, batches: int) -> tuple[Tensor, Tensor]:
    """Inputs on which networks are compared: training samples mixed with one another, each batch by one share."""
    assert data.classes is not None
    generator = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(batches):
        at = torch.randperm(len(data.train), generator=generator)[:_BATCH]
        rows.append(mix(data.train.inputs[at], data.train.targets[at], _ALPHA, data.classes, generator)[0])
    inputs = torch.cat(rows)
    return inputs, torch.zeros(len(inputs), dtype=torch.int64)  # nobody looks at the labels


def _sharpness(few: Landscape, point: Tensor) -> dict[str, Any]:
    """Largest eigenvalue and trace of the Hessian, exact where the network is piecewise linear."""
    hessian = few.hessian(point, check=False)
    top = curvature.eigenpairs(hessian, 1, tol=1e-3)
    if not float(top.values[0]):  # so sure of every label that nothing is left of the curvature
        trace = 0.0
    elif curvature.piecewise_linear(few, point) is None:
        trace = curvature.exact_trace(few, point).value
    else:
        trace = curvature.trace(hessian, tol=0.05).value
    return {
        "eigenvalue": _number(float(top.values[0])),
        "trace": _number(float(trace)),
        "converged": bool(top.converged.all()) if isinstance(top.converged, Tensor) else bool(top.converged),
    }


def _likeness(mixed: Landscape, points: Tensor) -> dict[str, Any]:
    """CKA of the softmax outputs and distance of the weights of all pairs of networks."""
    pairs = [(i, j) for i in range(len(points)) for j in range(i + 1, len(points))]
    if not pairs:
        return {"cka": [], "distance": []}
    outputs = torch.softmax(mixed.outputs(points).double(), -1)
    return {
        "cka": [_number(functions.cka(outputs[i], outputs[j])) for i, j in pairs],
        "distance": [_number(float((points[i] - points[j]).norm())) for i, j in pairs],
    }


def _curves(
    protocol: TaxonomyProtocol,
    landscape: Landscape,
    data: Dataset,
    points: dict[Cell, Tensor],
    finite: dict[Cell, Tensor],
    inputs: Tensor,
) -> dict[Cell, list[dict[str, Any]]]:
    """Curves between the pairs of every cell, trained together, and read after their steps and after as many more."""
    joined = [(cell, i, j) for cell, sound in finite.items() for i, j in protocol.pairs if bool(sound[[i, j]].all())]
    found: dict[Cell, list[dict[str, Any]]] = {cell: [] for cell in points}
    if not joined:
        return found
    ends = [(points[cell][i], points[cell][j]) for cell, i, j in joined]
    begin = [(a + b) / 2 for a, b in ends]
    if protocol.begin == "random":
        layout = landscape.layout
        width = next(iter(points)).width
        begin = [layout.point(protocol.net(data, width, _FRESH + place)) for place in range(len(ends))]
    targets = [data.train.targets] * len(ends)

    def onwards(begin: Sequence[Tensor], seed: int) -> Tensor:
        return bends(landscape, ends, begin, targets, inputs, protocol.curve, protocol.steps, seed)

    half = onwards(begin, 0)
    whole = onwards(list(half), protocol.steps)  # another leg draws anew
    for (cell, i, j), (a, b), before, after in zip(joined, ends, half, whole, strict=True):
        t = torch.tensor(CURVE_AT)[:, None]
        s = torch.tensor(LINE_AT)[:, None]
        found[cell].append(
            {
                "seeds": [i, j],
                "half": _errors(landscape, (1 - t) ** 2 * a + 2 * t * (1 - t) * before + t**2 * b),
                "curve": _errors(landscape, (1 - t) ** 2 * a + 2 * t * (1 - t) * after + t**2 * b),
                "line": _errors(landscape, (1 - s) * a + s * b),
            }
        )
    return found


def _errors(landscape: Landscape, points: Tensor) -> list[float]:
    """Training error in percent."""
    return [round(100 * value, 4) for value in landscape.error(points).tolist()]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
