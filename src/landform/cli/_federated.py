"""``landform federated``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from landform.cli._choose import Choice, build_model, default_loss, load_data, options
from landform.cli._recording import recorded_at, say_run, see_that_free
from landform.cli._show import going_on, progress
from landform.cli._threads import threads as use
from landform.errors import BadInput

if TYPE_CHECKING:
    from landform.training import Federation

_FEDERATION = Group("Federation", sort_key=1)
_RECIPE = Group("Recipe of a client", sort_key=2)
_RECORDING = Group("Recording", sort_key=3)


def federated(
    *,
    out: Path,
    model: str = "mlp",
    data: str = "digits",
    model_option: list[str] | None = None,
    data_option: list[str] | None = None,
    loss: str | None = None,
    device: str = "auto",
    dtype: Literal["float32", "float64"] | None = None,
    threads: int | None = None,
    clients: Annotated[int, Parameter(group=_FEDERATION)] = 8,
    local_steps: Annotated[int, Parameter(group=_FEDERATION)] = 5,
    rounds: Annotated[int, Parameter(group=_FEDERATION)] = 50,
    division: Annotated[str, Parameter(group=_FEDERATION)] = "iid",
    equal: Annotated[bool, Parameter(group=_FEDERATION)] = False,
    server_lr: Annotated[float, Parameter(group=_FEDERATION)] = 1.0,
    weighting: Annotated[Literal["samples", "equal"], Parameter(group=_FEDERATION)] = "samples",
    participation: Annotated[float, Parameter(group=_FEDERATION)] = 1.0,
    batch_size: Annotated[int, Parameter(group=_RECIPE)] = 32,
    optimizer: Annotated[Literal["sgd", "adam", "adamw"], Parameter(group=_RECIPE)] = "sgd",
    lr: Annotated[float, Parameter(group=_RECIPE)] = 0.1,
    momentum: Annotated[float, Parameter(group=_RECIPE)] = 0.0,
    weight_decay: Annotated[float, Parameter(group=_RECIPE)] = 0.0,
    schedule: Annotated[Literal["constant", "cosine", "step", "cyclic"], Parameter(group=_RECIPE)] = "constant",
    label_noise: Annotated[float, Parameter(group=_RECIPE)] = 0.0,
    seed: Annotated[int, Parameter(group=_RECIPE)] = 0,
    records: Annotated[int, Parameter(group=_RECORDING)] = 50,
    every: Annotated[int | None, Parameter(group=_RECORDING)] = None,
    resume: Annotated[bool, Parameter(group=_RECORDING)] = False,
    overwrite: Annotated[bool, Parameter(group=_RECORDING)] = False,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Train a model by federated averaging, and record the run of the server's model, a step a round.

    For example:

        landform federated --out runs/fed --clients 8 --local-steps 5 --rounds 50
        landform federated --out runs/unlike --division dirichlet:0.3 --clients 16 --participation 0.5
        landform federated --out runs/own --model my_module:build --data my_module:data --division labels

    Args:
        out: the folder to record the run in.
        model: a model of 'landform list models', or a function of your own that builds it, as module:function.
        data: a data set of 'landform list data', or a function of your own that returns one.
        model_option: an option of the model, as name=value (width=64, seed=1); may be given several times.
        data_option: an option of the data set, as name=value (per_class=50); may be given several times.
        loss: cross-entropy or mse; by default whichever fits the data.
        device: auto, cpu, cuda or mps.
        dtype: the type of number to train in; the model's own by default.
        threads: on how many threads torch runs; small models are quickest on 1.
        clients: how many clients divide the training samples.
        local_steps: steps that each takes in a round, from the server's weights.
        rounds: how many.
        division: iid; labels, which sorts samples by target; or dirichlet:ALPHA, unlike the more the smaller ALPHA is.
        equal: clients of a Dirichlet division have equally many samples.
        server_lr: by which the server multiplies the mean of what the clients moved by.
        weighting: whether that mean goes by samples, or all clients count alike.
        participation: share of the clients that takes part in each round, drawn anew.
        batch_size: samples of a local step; as many as a client has take all of them.
        optimizer: sgd, adam or adamw; it begins anew in each round.
        lr: the learning rate of a client, that the schedule multiplies.
        momentum: of sgd.
        weight_decay: added to the gradient as weight_decay times the weights (decoupled for adamw).
        schedule: how the learning rate goes on, over the rounds.
        label_noise: share of training labels that are replaced by other ones.
        seed: decides the division, who takes part, and the order of the data, not the initial weights.
        records: how many rounds are recorded, log-spaced.
        every: record every so many rounds instead.
        resume: go on with the run that lies in the folder.
        overwrite: replace the run that lies in the folder.
        json: print what came of it as JSON.
    """
    import torch

    from landform import training

    see_that_free(out, resume=resume, overwrite=overwrite)
    rules = training.Federation(
        clients=clients,
        local_steps=local_steps,
        rounds=rounds,
        **division_named(division),
        equal=equal,
        server_lr=server_lr,
        weighting=weighting,
        participation=participation,
        seed=seed,
    )
    times = recorded_at(records, every, rounds)
    recipe = training.Recipe(
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        schedule=schedule,
        label_noise=label_noise,
        seed=seed,
    )
    chosen = Choice(model, options(model_option or [], "--model-option"))
    read = Choice(data, options(data_option or [], "--data-option"))
    started = time.perf_counter()
    with use(threads):
        dataset = load_data(read)
        net = build_model(chosen, dataset)
        again = f"The same command with --resume goes on from the last record in {out}."
        with going_on(again), progress("rounds") as bar:
            found = training.federated(
                net,
                dataset,
                rules,
                recipe,
                out=out,
                recording=training.Recording(at=times, pairs=None),
                loss=loss or default_loss(dataset),
                device=device,
                dtype=None if dtype is None else getattr(torch, dtype),
                resume=resume,
                overwrite=overwrite,
                settings={"command": {"model": chosen.to_json(), "data": read.to_json()}},
                progress=bar,
            )
    told = _told(out, rules, found, time.perf_counter() - started)
    say_run(out, told, json=json)


def division_named(told: str) -> dict[str, Any]:
    """Read how data are divided among clients.

    Args:
        told: ``iid``, ``labels``, ``dirichlet`` or ``dirichlet:ALPHA``.

    Returns:
        ``division``, and ``alpha`` where it is given.

    Raises:
        BadInput: when it is none of these.
    """
    name, colon, text = told.partition(":")
    try:
        if name in ("iid", "labels", "dirichlet") and (not colon or name == "dirichlet"):
            return {"division": name, **({"alpha": float(text)} if colon else {})}
    except ValueError:
        pass
    raise BadInput(f"--division is {told!r}: give iid, labels, or dirichlet:ALPHA, such as dirichlet:0.3.")


def _told(out: Path, rules: Federation, found: Any, seconds: float) -> dict[str, Any]:
    sizes = [len(places) for places in found.clients]
    return {
        "run": str(out),
        "rounds": rules.rounds,
        "clients": rules.clients,
        "samples_of_a_client": f"{min(sizes)} to {max(sizes)}" if min(sizes) < max(sizes) else sizes[0],
        "last_round_loss": float(found.start_losses[-1]) if len(found.losses) else None,
        "diverged": found.diverged,
        "spread_of_clients": float(found.spread[-1]) if len(found.spread) else None,
        "sent_a_round": found.sent,
        "records": len(found.trajectory),
        "parameters": len(found.point),
        "together": "one program" if found.how.stack else "one after the other",
        "seconds": round(seconds, 2),
    }
