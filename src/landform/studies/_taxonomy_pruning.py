"""The second grid of the taxonomy: networks cut once and trained again (Zhou, Yang, Chang, Mahoney, ICML 2023)."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landform import functions, store
from landform.landscape import Landscape, find_device
from landform.layout import Layout
from landform.studies._taxonomy_measure import LINE_AT, RESULTS, signed
from landform.studies._taxonomy_protocol import TaxonomyProtocol
from landform.studies._taxonomy_stacks import retrain
from landform.training import Recording, train_many

REGIMES = {
    "I": "poorly connected",
    "II-A": "connected, but unlike one another",
    "II-B": "connected and alike",
}
# Second trainings of one cut network; they differ in the order of the data.
_AGAIN = 2
PRUNING = "pruning"
# Where regimes end: linear connectivity of the training error in percent, and CKA. Second trainings of one cut network
# are closer than networks trained apart, so the bar for being alike lies higher than in the taxonomy.
POOR, ALIKE = -1.0, 0.97


def magnitude_mask(layout: Layout, point: Tensor, density: float) -> Tensor:
    """Keep the largest weights of each matrix and all biases.

    Args:
        layout: of the network.
        point: its weights, ``[P]``.
        density: which share of each matrix is kept, at least one weight.

    Returns:
        1 for what is kept and 0 for what is cut off, ``[P]``.
    """
    mask = torch.ones_like(point)
    for slot in layout.slots:
        if len(slot.shape) < 2:
            continue
        sizes = point[slot.start : slot.stop].abs()
        kept = max(1, round(density * len(sizes)))
        part = torch.zeros_like(sizes)
        part[sizes.topk(kept).indices] = 1.0
        mask[slot.start : slot.stop] = part
    return mask


def measure_pruned(folder: Path, protocol: TaxonomyProtocol, device: str) -> None:
    """Train, cut, train again, and write down how the second trainings of one cut network are connected.

    Args:
        folder: of the study.
        protocol: what it trains.
        device: where.
    """
    cut = protocol.pruning
    assert cut is not None
    data = protocol.dataset(max((cell.amount or 0 for cell in protocol.cells()), default=0) or None)
    place = find_device(device)
    inputs = data.train.inputs.to(place)
    recipe = replace(protocol.recipe, batch_size=cut.batch_size)
    net = protocol.net(data, cut.width, 0)
    layout = Layout.of(net)
    dense = _dense(protocol, device)
    jobs = [
        (density, place_, seed, again)
        for density in cut.densities
        for place_ in range(len(cut.epochs))
        for seed in range(protocol.seeds)
        for again in range(_AGAIN)
    ]
    starts = [dense[seed, place_] for _, place_, seed, _ in jobs]
    masks = [magnitude_mask(layout, start, job[0]) for start, job in zip(starts, jobs, strict=True)]
    recipes = [replace(recipe, epochs=cut.again, seed=1000 + again) for *_, again in jobs]
    ends = retrain(net, starts, masks, data.train.targets, inputs, recipes, device)
    landscape = Landscape(net, data, device=device)
    test = landscape.on(data.test)
    error, outside = landscape.error(ends), test.error(ends)
    shape = (len(cut.densities), len(cut.epochs), protocol.seeds, _AGAIN)
    table = ends.reshape(*shape, -1)
    errors, tested = error.reshape(shape), outside.reshape(shape)
    found = []
    for i, density in enumerate(cut.densities):
        for j, epochs in enumerate(cut.epochs):
            pairs = [_pair(landscape, table[i, j, seed]) for seed in range(protocol.seeds)]
            found.append(
                {
                    "density": density,
                    "epochs": epochs,
                    "train_error": (100 * errors[i, j].mean(-1)).tolist(),
                    "test_accuracy": (100 * (1 - tested[i, j]).mean(-1)).tolist(),
                    "connectivity": [pair["connectivity"] for pair in pairs],
                    "cka": [pair["cka"] for pair in pairs],
                }
            )
    store.make_folder(folder / RESULTS)
    store.write_json(folder / RESULTS / f"{PRUNING}.json", {"cells": found})


def pruned(folder: Path) -> list[dict[str, Any]]:
    """What was measured of pruned networks, one for each density and training; each list has one value a seed.

    Args:
        folder: of the study.

    Returns:
        The cells; none where that grid was left out.
    """
    path = folder / RESULTS / f"{PRUNING}.json"
    found: list[dict[str, Any]] = store.read_json(path)["cells"] if path.is_file() else []
    return found


def regimes(cells: list[dict[str, Any]], poor: float, alike: float) -> list[str]:
    """The regime of each cell.

    Args:
        cells: as `pruned` gives them.
        poor: linear connectivity below which a cell is poorly connected, percent.
        alike: CKA from which on networks are alike.

    Returns:
        Names of `REGIMES`.
    """
    found = []
    for cell in cells:
        connected = float(np.mean(cell["connectivity"])) >= poor
        found.append("I" if not connected else "II-B" if float(np.mean(cell["cka"])) >= alike else "II-A")
    return found


def _dense(protocol: TaxonomyProtocol, device: str) -> Tensor:
    """Dense networks at each of the times, ``[seeds, times, P]``."""
    cut = protocol.pruning
    assert cut is not None
    data = protocol.dataset(max((cell.amount or 0 for cell in protocol.cells()), default=0) or None)
    recipe = replace(protocol.recipe, batch_size=cut.batch_size, epochs=max(cut.epochs))
    per_epoch = recipe.steps_per_epoch(len(data.train))
    steps = [round(epochs * per_epoch) for epochs in cut.epochs]
    nets = [protocol.net(data, cut.width, seed) for seed in range(protocol.seeds)]
    with tempfile.TemporaryDirectory(prefix="landform-") as place:
        outs = [Path(place) / str(seed) for seed in range(protocol.seeds)]
        recipes = [replace(recipe, seed=seed) for seed in range(protocol.seeds)]
        recording = Recording(at=sorted({0, *steps}), pairs=None, resumable_at=(max(steps),))
        runs = train_many(nets, data, recipes, outs=outs, recording=recording, device=device)
        rows = []
        for run in runs:
            assert run.trajectory is not None
            rows.append(torch.stack([run.trajectory.at(step=step).point for step in steps]))
    return torch.stack(rows)


def _pair(landscape: Landscape, ends: Tensor) -> dict[str, float]:
    """Linear connectivity of the training error, and CKA of the softmax outputs on training data, of two networks."""
    a, b = ends[:2]
    s = torch.tensor(LINE_AT)[:, None]
    errors = (100 * landscape.error((1 - s) * a + s * b)).tolist()
    outputs = torch.softmax(landscape.outputs(torch.stack([a, b])).double(), -1)
    return {"connectivity": signed(errors), "cka": functions.cka(outputs[0], outputs[1])}
