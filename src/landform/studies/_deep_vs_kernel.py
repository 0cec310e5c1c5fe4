"""Deep learning versus kernel learning along one run (Fort et al. 2020, arXiv 2010.15110).

Parents are trained, children leave them at several times, and along each parent everything is measured that the paper
measures, and more: see `docs/deep-vs-kernel.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landform import models, store
from landform.atlas import Atlas
from landform.data import Dataset
from landform.engine import Engine, InProcess, Unit, run_missing
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.probes import Probe, get
from landform.recording import Trajectory, log_spaced
from landform.studies._claim import Claim, write_claims
from landform.studies._deep_vs_kernel_claims import claims_of
from landform.studies._loaded import loaded
from landform.studies._protocol import Protocol
from landform.survey import survey
from landform.training import Recipe, Recording, spawn, train_many

NAME = "deep-vs-kernel"
QUESTION = "when does a network stop being a chaos, and become a kernel machine? (Fort et al. 2020)"
STUDY = "study.json"
SCHEMA = 1

SCALES: Mapping[str, Protocol] = {
    # A task whose initial kernel is poor, and a step that is large for it, but not so large that seeds stall.
    "small": Protocol(
        data="digit_sums",
        model="mlp",
        model_options={"width": 128, "depth": 4, "init": "torch"},
        recipe=Recipe(epochs=25, batch_size=16, lr=0.03, momentum=0.9, schedule="cosine"),
        spawns=(0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0),
        onsets=(0.0, 1.0, 4.0, 6.0, 8.0, 12.0, 25.0),
        onset={"epochs": 24.0, "lr": 0.04, "batch_size": 256, "samples": 600},
        curvature=5,
        closely=4000,
    ),
    # Seconds: shows what the page looks like, and proves nothing.
    "tiny": Protocol(
        data="digit_sums",
        data_options={"train_size": 400, "test_size": 200},
        model="mlp",
        model_options={"width": 32, "depth": 2},
        recipe=Recipe(epochs=8, batch_size=16, lr=0.1, momentum=0.5, schedule="cosine"),
        spawns=(0.0, 1.0, 2.0, 4.0),
        onsets=(0.0, 2.0, 4.0, 8.0),
        onset={"epochs": 6.0, "lr": 0.05, "batch_size": 64, "samples": 100},
        records=8,
        kernel=24,
        curvature=2,
        seeds=2,
    ),
    "medium": Protocol(
        data="cifar10",
        data_options={"per_class": 1000},
        model="small_cnn",
        model_options={"width": (32, 64, 64, 64)},
        recipe=Recipe(epochs=40, lr=0.1, schedule="constant", precision="bfloat16"),
        spawns=(0.0, 0.8, 1.6, 3.2, 6.4, 16.0),
        onsets=(0.0, 0.8, 3.2, 16.0, 40.0),
        onset={"epochs": 30.0, "lr": 0.01, "batch_size": 128, "samples": 1000},
        records=20,
        curvature=6,
    ),
    # As the paper: for one large GPU, or a cluster.
    "paper": Protocol(
        data="cifar10",
        data_options={"augment": "standard"},
        model="resnet20",
        recipe=Recipe(epochs=200, batch_size=128, lr=0.1, momentum=0.9, weight_decay=1e-4, schedule="constant"),
        spawns=(0.0, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 60.0),
        onsets=(0.0, 0.8, 3.2, 12.8, 30.0, 60.0, 90.0, 200.0),
        onset={"epochs": 200.0, "lr": 0.001, "batch_size": 128, "samples": 2000},
        children=4,
        records=40,
        kernel=128,
        curvature=10,
    ),
}


def _smaller_step(protocol: Protocol) -> Protocol:
    """A third of the step that momentum makes of the learning rate, without momentum."""
    recipe = protocol.recipe
    return protocol.using(recipe=replace(recipe, lr=recipe.lr / (1 - recipe.momentum) / 3, momentum=0.0))


def _other_schedule(protocol: Protocol) -> Protocol:
    constant = protocol.recipe.to_json()["schedule"]["name"] == "constant"
    return protocol.using(recipe=replace(protocol.recipe, schedule="cosine" if constant else "constant"))


def _another_task(protocol: Protocol) -> Protocol:
    """Plain digits, whose initial kernel is good already, in place of their sums; noisy labels elsewhere."""
    if protocol.data == "digit_sums":
        return protocol.using(data="digits", data_options={})
    return protocol.using(data_options={**protocol.data_options, "label_noise": 0.2})


# What should change the verdicts: each at one seed, with fewer times.
CONTROLS: Mapping[str, Callable[[Protocol], Protocol]] = {
    "smaller step": _smaller_step,
    "other schedule": _other_schedule,
    "another task": _another_task,
}

Say = Callable[[str], object]
Progress = Callable[[int, int], object]


def deep_vs_kernel(
    out: str | Path,
    *,
    scale: str = "small",
    data: str | None = None,
    data_options: Mapping[str, Any] | None = None,
    model: str | None = None,
    model_options: Mapping[str, Any] | None = None,
    seeds: int | None = None,
    protocol: Protocol | None = None,
    controls: bool = False,
    device: str = "auto",
    engine: Engine | None = None,
    say: Say | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> list[Claim]:
    """Run the study, or go on with one that was stopped, and write its claims.

    Whatever lies in the folder already is kept: trained runs are not trained again, and what was measured is not
    measured again.

    Args:
        out: folder for the runs, ``claims.json`` and the report.
        scale: ``"small"`` (minutes on a laptop, nothing downloaded), ``"medium"`` (hours), ``"paper"`` (a GPU), or
            ``"tiny"``, to see in seconds what comes out.
        data: name of another data set.
        data_options: options of the data set.
        model: name of another model.
        model_options: options of the model.
        seeds: how many parents, each with an initialisation and an order of the data of its own; more can be asked
            for later.
        protocol: everything at once, in place of a scale.
        controls: also run what should change the verdicts, each at one seed, in the folder ``controls``.
        device: where to train and to measure.
        engine: where the units of work run; here, one after the other, by default.
        say: told in a sentence what is going on.
        progress: given a title, returns what is called with (done, total).

    Returns:
        The claims.

    Raises:
        BadInput: when something given does not fit, or another study lies in the folder.
    """
    told = say or (lambda text: None)
    bar = progress or (lambda title: lambda done, total: None)
    chosen = _chosen(scale, protocol, data, data_options, model, model_options, seeds)
    folder = store.make_folder(out)
    name = scale if protocol is None else "own"
    groups = _keep(folder, {"schema": SCHEMA, "study": NAME, "scale": name, "protocol": chosen.to_json()})
    runner = engine or InProcess()
    dataset, _ = _parts(chosen, 0)
    told(f"Training {chosen.seeds} parents on {dataset.name}: {len(dataset.train):,} samples ...")
    for group in groups:
        _train_parents(folder, chosen, dataset, device, group, bar("parents"))
    total = chosen.seeds * chosen.children * len(chosen.spawns)
    told(f"Training {total} children, {chosen.children} from each of {len(chosen.spawns)} times of every parent ...")
    arguments = {"folder": folder, "protocol": chosen, "device": device}
    units = [
        Unit(f"children of {_run_name(k)}", _train_children, {**arguments, "seed": k}) for k in range(chosen.seeds)
    ]
    run_missing(units, engine=runner, progress=bar("children"))
    told("Measuring along the parents, and between their children ...")
    for seed in range(chosen.seeds):
        _measure(folder, chosen, device, seed, runner, bar(f"measuring {_run_name(seed)}"))
    claims = claims_of(chosen, atlases(folder, chosen.seeds), name)
    write_claims(folder, claims)
    for control, change in CONTROLS.items() if controls else ():
        told(f"Control: {control} ...")
        few = change(chosen).using(seeds=1, curvature=0, spawns=_some(chosen.spawns), onsets=_some(chosen.onsets))
        place = folder / "controls" / control.replace(" ", "-")
        deep_vs_kernel(place, protocol=few, device=device, engine=runner, progress=progress)
    return claims


def atlases(folder: Path, seeds: int) -> list[Atlas]:
    """The atlases of a study's parents.

    Args:
        folder: of the study.
        seeds: how many parents there are.

    Returns:
        One for each seed.
    """
    return [Atlas(folder / _run_name(seed)) for seed in range(seeds)]


def probes_of(protocol: Protocol) -> tuple[list[Probe], list[Probe]]:
    """What is measured along a parent.

    Args:
        protocol: the study's.

    Returns:
        The probes, and those that look at some samples of each set: at the Hessian, and at functions.
    """
    kernel = {"samples": protocol.kernel}
    names = ["loss", "error", "gradient_norm", "distance", "parameter_norm", "step_cosine"]
    found = [get("onset").using(**protocol.onset).at(tuple(protocol.onsets)), get("children").using(**kernel)]
    found += [get("family_plane").at((0.0,)).on("test")]
    found += [get(name) for name in names]
    found += [get(name).using(**kernel) for name in ("kernel_velocity", "kernel_distance")]
    found += [get("kernel_alignment")]
    # One data set is enough for what costs most.
    found += [get("kernel_spectrum").on("train"), get("kernel_distances").using(**kernel).on("train")]
    functions = [get("function_step"), get("function_to_end")]
    if not protocol.curvature:
        return found, functions
    return found, [
        *functions,
        get("eigenvalues").using(k=10, tol=0.05).at(protocol.curvature).on("train"),
        get("sharpness").using(tol=0.02).at(2 * protocol.curvature).on("train"),
        get("trace").using(tol=0.1).at(protocol.curvature).on("train"),
        get("density").using(probes=1, steps=32).at(min(3, protocol.curvature)).on("train"),
    ]


def _chosen(
    scale: str,
    protocol: Protocol | None,
    data: str | None,
    data_options: Mapping[str, Any] | None,
    model: str | None,
    model_options: Mapping[str, Any] | None,
    seeds: int | None,
) -> Protocol:
    if protocol is None and scale not in SCALES:
        raise BadInput(f"There is no scale {scale!r} of {NAME}: choose from {', '.join(SCALES)}.")
    chosen = protocol or SCALES[scale]
    # The options of one data set or model mean nothing to another.
    if data is not None and data != chosen.data:
        chosen = chosen.using(data=data, data_options={})
    if model is not None and model != chosen.model:
        chosen = chosen.using(model=model, model_options={})
    if data_options:
        chosen = chosen.using(data_options={**chosen.data_options, **data_options})
    if model_options:
        chosen = chosen.using(model_options={**chosen.model_options, **model_options})
    return chosen.using(seeds=seeds)


def _keep(folder: Path, described: dict[str, Any]) -> list[list[int]]:
    """Write down what the study is, or see that what lies there is the same but for the number of seeds.

    Returns:
        The seeds whose parents are trained together: later ones are a group of their own.
    """
    path = folder / STUDY
    plain, seeds = described, described["protocol"]["seeds"]
    groups: list[list[int]] = []
    if path.is_file():
        before = store.read_json(path)
        store.check_schema(before, path, SCHEMA)
        told = before.get("protocol", {})
        changed = [key for key, value in plain["protocol"].items() if key != "seeds" and told.get(key) != value]
        if before.get("study") != plain["study"] or changed:
            raise BadInput(
                f"{folder} holds a study with another {' and '.join(changed) or 'question'}: go on with the settings "
                "it was begun with, or give another folder."
            )
        groups = before["groups"]
    elif any(folder.glob("seed-*")):
        raise BadInput(f"{folder} holds runs but no {STUDY}: give another folder.")
    known = sum(map(len, groups))
    if known < seeds:
        groups = [*groups, list(range(known, seeds))]
    store.write_json(path, {**plain, "groups": groups})
    return [group for group in groups if group[0] < seeds]


def _parts(protocol: Protocol, seed: int) -> tuple[Dataset, nn.Module]:
    dataset = loaded(protocol.data, protocol.data_options)
    if dataset.classes is None:
        raise BadInput(f"{dataset.name} has no classes: {NAME} compares errors, so give data with labels.")
    inputs = tuple(dataset.train.inputs.shape[1:])
    options = {"inputs": inputs, "classes": dataset.classes, "seed": seed, **protocol.model_options}
    return dataset, models.build(protocol.model, **options)


def _run_name(seed: int) -> str:
    return f"seed-{seed}"


def _some(times: tuple[float, ...]) -> tuple[float, ...]:
    """About half of some times, the first and the last among them."""
    return tuple(time for place, time in enumerate(times) if (len(times) - 1 - place) % 2 == 0 or place == 0)


def _steps(times: tuple[float, ...], per_epoch: int) -> list[int]:
    return sorted({round(time * per_epoch) for time in times})


def _train_parents(
    folder: Path, protocol: Protocol, dataset: Dataset, device: str, seeds: list[int], bar: Progress
) -> None:
    nets = [_parts(protocol, seed)[1] for seed in seeds]
    recipes = [replace(protocol.recipe, seed=seed, label_seed=0) for seed in seeds]
    until = recipes[0].steps(len(dataset.train))
    per_epoch = recipes[0].steps_per_epoch(len(dataset.train))
    children = _steps(protocol.spawns, per_epoch)
    onsets = _steps(protocol.onsets, per_epoch)
    even = range(0, until, max(1, until // protocol.records))  # log-spaced ones alone leave the later half empty
    at = sorted({*log_spaced(min(protocol.records, until + 1), until), *even, *children, *onsets})
    settings = [
        {
            "command": {
                "model": {"name": protocol.model, "options": {**protocol.model_options, "seed": seed}},
                "data": {"name": protocol.data, "options": dict(protocol.data_options)},
            }
        }
        for seed in seeds
    ]
    outs = [folder / _run_name(seed) for seed in seeds]
    there = [(out / "run.json").is_file() for out in outs]
    if any(there) and not all(there):  # killed before the last folder was begun
        for out in outs:
            store.remove(out)
    train_many(
        nets,
        dataset,
        recipes,
        outs=outs,
        recording=Recording(at=at, pairs=0.4, resumable_at=children),
        device=device,
        resume=all(there),
        settings=settings,
        progress=bar,
    )


def _train_children(folder: Path, protocol: Protocol, device: str, seed: int) -> None:
    """Train the children of one parent, or go on with them: a unit of work."""
    dataset, net = _parts(protocol, seed)
    parent = Trajectory(folder / _run_name(seed))
    epoch = parent.run["epoch"]
    there, wanted = len(parent.children), len(protocol.spawns) * protocol.children
    spawn(
        parent,
        net,
        dataset,
        at=[parent.at(step=step).epoch for step in _steps(protocol.spawns, epoch)],
        children=protocol.children,
        # Some of their way, to be drawn; and to go on from.
        recording=Recording(
            at=_steps(tuple(protocol.recipe.epochs * share / 6 for share in range(6)), epoch), pairs=None
        ),
        device=device,
        resume=there == wanted,
        overwrite=0 < there < wanted,  # killed before the last folder was begun
    )


def _measure(folder: Path, protocol: Protocol, device: str, seed: int, engine: Engine, bar: Progress) -> None:
    """Survey one parent."""
    dataset, net = _parts(protocol, seed)
    train = Landscape(net, dataset, device=device)
    sets = {"train": train, "test": train.on(dataset.test)}
    probes, closely = probes_of(protocol)
    few = {
        name: sets[name].subset(_drawn(len(split), protocol.closely)) if len(split) > protocol.closely else sets[name]
        for name, split in (("train", dataset.train), ("test", dataset.test))
    }
    survey(folder / _run_name(seed), few, probes=closely, engine=engine, progress=bar)
    survey(folder / _run_name(seed), sets, probes=probes, engine=engine, progress=bar)


def _drawn(count: int, most: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most]
