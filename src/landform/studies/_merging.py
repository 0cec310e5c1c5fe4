"""The common ground of merging (Khan et al. 2024): convexity, determinism, directedness, connectivity.

Groups of networks that differ in one honest way each are trained, merged in every way, and looked at beforehand: see
`docs/merging-study.md`.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from landform import merging, paths, store, surface
from landform.data import Augment
from landform.engine import Unit
from landform.landscape import Landscape
from landform.layout import Layout
from landform.studies._claim import Claim
from landform.studies._merging_claims import claims_of_merging
from landform.studies._merging_ensembles import rank_one, snapshots
from landform.studies._merging_groups import SETTINGS, MergingProtocol, settings_of
from landform.studies._merging_measure import Judge, convexity, directedness, pair, soups
from landform.studies._parts import RESULTS, Asked, Made, conduct
from landform.training import Recipe, Recording, train, train_many

NAME = "merging"
QUESTION = "when do several networks make a good one, and which way of merging them? (Khan et al. 2024)"
SCHEMA = 1
# Share of the distance between two sources below which a third point does not span a plane with them.
_APART = 1e-3
# Test samples that a plane is read on, at most, and places along each of its sides.
_SHOWN, _STEPS = 800, 21

_DIGITS = Recipe(epochs=20, batch_size=32, lr=0.03, momentum=0.9, schedule="cosine")

SCALES: Mapping[str, MergingProtocol] = {
    "small": MergingProtocol(
        data="digits",
        data_options={"flat": False},
        model="mlp",
        model_options={"width": 64, "depth": 3},
        recipe=_DIGITS,
        tune=replace(_DIGITS, epochs=10, lr=0.02),
    ),
    # Seconds: shows what the page looks like, and proves nothing.
    "tiny": MergingProtocol(
        data="digits",
        data_options={"flat": False, "per_class": 20},
        model="mlp",
        model_options={"width": 16, "depth": 2},
        recipe=replace(_DIGITS, epochs=4.0),
        tune=replace(_DIGITS, epochs=3.0),
        parent=2.0,
        sources=2,
        forks=(0.0, 2.0),
        curve=20,
        seeds=2,
    ),
    "medium": MergingProtocol(
        data="cifar10",
        data_options={"per_class": 300},
        model="small_cnn",
        model_options={"width": (24, 48, 48)},
        recipe=Recipe(epochs=12, batch_size=64, lr=0.05, momentum=0.9, schedule="cosine", precision="bfloat16"),
        tune=Recipe(epochs=5, batch_size=64, lr=0.02, momentum=0.9, schedule="cosine", precision="bfloat16"),
        parent=8.0,
        forks=(0.0, 0.5, 1.0, 2.0, 4.0, 8.0),
        fork_lr=0.05,
        curve=100,
        text=300,
        looked_at=300,
        judged=2000,
    ),
}


def merging_study(out: str | Path, **asked: Unpack[Asked[MergingProtocol]]) -> list[Claim]:
    """Train, merge, measure, and hold the claims against the numbers; goes on where it was stopped.

    The scales are ``"small"`` (digits, minutes), ``"medium"`` (CIFAR-10, less than an hour), or ``"tiny"``, to see
    in seconds what comes out.

    Args:
        out: folder for the results, ``claims.json`` and the report.
        **asked: ``scale``, ``seeds`` and whatever else `Asked` tells of.

    Returns:
        The claims.

    Raises:
        BadInput: when something given does not fit, or another study lies in the folder.
    """
    return conduct(MERGING, out, **asked)


def _by_group(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What was measured, by setting, one for each seed; children of forks are the setting ``"forks"``."""
    found: dict[str, list[dict[str, Any]]] = {}
    for setting in (*SETTINGS, "forks"):
        files = Path(folder, RESULTS).glob(f"{setting}-*.json")
        ordered = sorted(files, key=lambda path: int(path.stem.rpartition("-")[2]))
        if ordered:
            found[setting] = [store.read_json(path) for path in ordered]
    return found


def _group(folder: Path, protocol: MergingProtocol, device: str, setting: str, seed: int) -> None:
    """Train one group, merge its sources in pairs and all together, and write down what came of it."""
    data = protocol.dataset()
    group = replace(
        SETTINGS[setting].make(protocol, data, seed, device), looked_at=protocol.looked_at, judged=protocol.judged
    )
    found: dict[str, Any] = {"setting": setting, "seed": seed, "soups": soups(group, device)}
    found["pairs"] = [pair(group, (i, i + 1), seed, protocol.curve, device) for i in range(0, protocol.sources, 2)]
    if group.base is not None:
        found["directedness"] = directedness(group, device)
    if seed == 0:
        found["plane"] = _plane(group, device)
    store.make_folder(folder / RESULTS)
    store.write_json(folder / RESULTS / f"{setting}-{seed}.json", found)


def _plane(group: Any, device: str) -> dict[str, Any]:
    """Test error on the plane through two sources and their merge by matched units."""
    judge = Judge.of(group, [0, 1], device)
    a, b = group.points[:2].to(judge.train.device)
    merge = merging.merge([a, b], method="aligned", data=judge.train).point
    marks = {"A": a, "B": b, "mean": (a + b) / 2}
    # Where matching changes nothing, the merge is the mean, and another point spans the plane.
    name, third = "matched mean", merge
    if float((merge - marks["mean"]).norm()) < _APART * float((a - b).norm()):
        name, third = "trained on both", group.joint.to(a)
    marks[name] = third
    seen = judge.test
    if len(judge.labels) > _SHOWN:
        rows = torch.randperm(len(judge.labels), generator=torch.Generator().manual_seed(0))[:_SHOWN]
        seen = judge.test.subset(rows)
    plane = surface.plane(seen, directions=surface.through(seen, a, b, third), steps=_STEPS, margin=0.25)
    where = plane.project(torch.stack(list(marks.values())))
    return {
        "alphas": plane.alphas.tolist(),
        "betas": plane.betas.tolist(),
        "losses": plane.losses.tolist(),
        "errors": None if plane.errors is None else plane.errors.tolist(),
        "marks": dict(zip(marks, where.coordinates.tolist(), strict=True)),
        "how": str(plane),
    }


def _forks(folder: Path, protocol: MergingProtocol, device: str, seed: int) -> None:
    """Children that leave a run at several times and differ in one thing: how far apart is where they end?

    The run keeps its step, and its children bring theirs down to nothing: their ends are not blurred by it.
    """
    data = protocol.dataset()
    recipe = replace(protocol.recipe, schedule="constant", lr=protocol.fork_lr, seed=seed)
    starts = _along(protocol, recipe, seed, device)
    landscape = Landscape(protocol.net(seed), data, device=device)
    layout = landscape.layout
    found: dict[str, Any] = {"setting": "forks", "seed": seed, "epochs": list(protocol.forks)}
    kinds = ("order", "learning rate", "augmentation")
    barriers: dict[str, list[float | None]] = {kind: [] for kind in kinds}
    for fork, start in zip(protocol.forks, starts, strict=True):
        rest = replace(recipe, epochs=recipe.epochs - fork, schedule="cosine")
        recipes = [replace(rest, seed=seed + 101), replace(rest, seed=seed + 102)]
        recipes.append(replace(rest, seed=seed + 102, lr=rest.lr / 2))
        nets = [_at(protocol, layout, start, seed) for _ in range(4)]
        ends = [each.point for each in train_many(nets[:3], data, recipes, device=device)]
        moved = replace(data, augment=Augment(pad=1))
        ends.append(train(nets[3], moved, replace(rest, seed=seed + 102), device=device).point)
        points = torch.stack(ends).to(landscape.device)
        for place, kind in enumerate(kinds, start=1):
            sound = bool(points[[0, place]].isfinite().all())
            cut = paths.barrier(landscape, points[0], points[place], steps=11, refine=0) if sound else None
            barriers[kind].append(None if cut is None else cut.height)
    found["barriers"] = barriers
    points = points[:3][points[:3].isfinite().all(1)]
    found["convexity"] = convexity(landscape, points, seed) if len(points) > 1 else None
    found["snapshots"] = snapshots(protocol, data, landscape, seed)
    found["rank one"] = rank_one(protocol, data, seed, device)
    store.make_folder(folder / RESULTS)
    store.write_json(folder / RESULTS / f"forks-{seed}.json", found)


def _along(protocol: MergingProtocol, recipe: Recipe, seed: int, device: str) -> list[Tensor]:
    """Points of a run at the times of the forks."""
    data = protocol.dataset()
    per_epoch = recipe.steps_per_epoch(len(data.train))
    steps = [round(fork * per_epoch) for fork in protocol.forks]
    with tempfile.TemporaryDirectory(prefix="landform-") as place:
        recording = Recording(at=sorted({*steps, recipe.steps(len(data.train))}), pairs=None)
        run = train(protocol.net(seed), data, recipe, out=Path(place) / "run", recording=recording, device=device)
        assert run.trajectory is not None
        return [run.trajectory.at(step=step).point for step in steps]


def _at(protocol: MergingProtocol, layout: Layout, point: Tensor, seed: int) -> Any:
    net = copy.deepcopy(protocol.net(seed))
    layout.load_(net, point)
    return net


def _wanted(protocol: MergingProtocol, folder: Path, device: str) -> list[Unit]:
    shared = {"folder": folder, "protocol": protocol, "device": device}
    found = []
    for seed in range(protocol.seeds):
        for setting in settings_of(protocol):
            arguments = {**shared, "setting": setting, "seed": seed}
            found.append(Unit(f"{setting}-{seed}", _group, arguments))
        found.append(Unit(f"forks-{seed}", _forks, {**shared, "seed": seed}))
    return found


def _sentence(chosen: MergingProtocol) -> str:
    data, settings = chosen.dataset(), len(settings_of(chosen))
    return (
        f"Training {chosen.sources} networks in each of {settings} settings with {chosen.seeds} seeds on {data.name}, "
        "and merging them in every way"
    )


MERGING = Made(NAME, SCHEMA, SCALES, MergingProtocol.from_json, _sentence, _wanted, claims_of_merging, _by_group)
