"""``landform free``."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from landform.cli._choose import Choice, build_model, default_loss, load_data
from landform.cli._recording import recorded_at, say_run
from landform.cli._show import going_on, progress
from landform.cli._threads import threads as use
from landform.cli._told import settled
from landform.errors import BadInput

# How a freed model of the zoo is called in the settings of a run, so that every later command can build it.
_FREED = "landform.models:freed_net"


def free(
    run: Path,
    /,
    *,
    out: Path,
    at: float | None = None,
    epochs: float | None = None,
    lr: float | None = None,
    seed: int | None = None,
    records: int = 20,
    memory: float = 4.0,
    device: str = "auto",
    threads: int | None = None,
    overwrite: bool = False,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Free a convolutional network of its bias: write it out as a fully-connected one and train that on.

    Every convolution becomes the dense layer that computes the same, whose entries are then all trained, those off
    the filters too. The new run is one like any other: survey it, report on it, compare it.

    For example:

        landform train --out runs/cnn --model small_cnn --data moved_digits --model-option head=flatten --momentum 0
        landform free runs/cnn --at 4 --out runs/freed
        landform survey runs/freed

    Args:
        run: the folder of the convolutional network's run, made by 'landform train' with a model of the zoo.
        out: the folder to record the new run in.
        at: the epoch at which it is freed; the recorded time nearest to it is taken, by default the last one.
        epochs: how long the freed network is trained; by default as long as the run was.
        lr: the learning rate; by default the run's.
        seed: decides the order of the data; by default the run's.
        records: how many times are recorded, log-spaced.
        memory: refuse, before it is built, a network whose training would fill more; in GB.
        device: auto, cpu, cuda or mps.
        threads: on how many threads torch runs; small models are quickest on 1.
        overwrite: replace the run that lies in the folder.
        json: print what came of it as JSON.
    """
    from landform import models, training
    from landform.landscape import Landscape
    from landform.recording import Trajectory

    if (out / "run.json").exists() and not overwrite:
        raise BadInput(f"{out} holds a run already: --overwrite replaces it, or give another --out.")
    if out.resolve() == run.resolve():
        raise BadInput(f"{out} is the run that is to be freed: give another --out.")
    model, data = settled(run, None, None)
    if model.name not in models.names():
        raise BadInput(
            f"{run} is of {model.name}: this command frees models of the zoo; free your own in Python, by "
            "lf.models.freed(net, inputs)."
        )
    started = time.perf_counter()
    dataset = load_data(data)
    trajectory = Trajectory(run)
    net = build_model(model, dataset)
    record = trajectory.record(-1) if at is None else trajectory.at(epoch=at)
    record.restore(net)
    inputs = tuple(dataset.train.inputs.shape[1:])
    freed = models.freed(net, inputs, most_bytes=1e9 * memory)
    recipe = training.Recipe.from_json(trajectory.run["settings"]["recipe"])
    asked: dict[str, Any] = {"epochs": epochs, "lr": lr, "seed": seed}
    recipe = replace(recipe, **{name: value for name, value in asked.items() if value is not None})
    options = {"of": model.name, "options": dict(model.options), "most_bytes": 1e9 * memory}
    times = recorded_at(records, None, recipe.steps(len(dataset.train)))
    with use(threads):
        own = Landscape(net, dataset, loss=default_loss(dataset), device=device)
        before = own.on(dataset.test).error(own.here) if own.has_labels and len(dataset.test) else None
        with going_on("The same command begins anew."), progress("training") as bar:
            trained = training.train(
                freed.net,
                dataset,
                recipe,
                out=out,
                recording=training.Recording(at=times),
                loss=default_loss(dataset),
                device=device,
                overwrite=overwrite,
                settings={
                    "command": {"model": Choice(_FREED, options).to_json(), "data": data.to_json()},
                    "freed": {"run": str(run), "epoch": record.epoch, "step": record.step},
                },
                progress=bar,
            )
        landscape = Landscape(freed.net, dataset, loss=default_loss(dataset), device=device)
        after = landscape.on(dataset.test).error(landscape.here) if before is not None else None
    found = {
        "run": str(out),
        "freed_at_epoch": record.epoch,
        "epochs": recipe.epochs,
        "parameters_before": freed.size.convolutional,
        "parameters": freed.size.parameters,
        "off_the_filters": freed.size.off,
        "deviation": float(freed.deviation(trained.point)),
        "distance_from_cnns": float(freed.distance(trained.point)),
        "test_error_before": None if before is None else float(before),
        "test_error": None if after is None else float(after),
        "diverged": trained.diverged,
        "seconds": round(time.perf_counter() - started, 2),
    }
    say_run(out, found, json=json)
