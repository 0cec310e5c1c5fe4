"""``landform train``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from landform.cli._choose import Choice, build_model, default_loss, load_data, options
from landform.cli._recording import recorded_at, say_run, see_that_free
from landform.cli._show import going_on, progress
from landform.cli._threads import threads as use

if TYPE_CHECKING:
    from landform.training import Recipe, Trained

_RECIPE = Group("Recipe", sort_key=1)
_ADVERSARY = Group("Adversary", sort_key=2)
_RECORDING = Group("Recording", sort_key=3)


def train(
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
    epochs: Annotated[float, Parameter(group=_RECIPE)] = 10.0,
    batch_size: Annotated[int, Parameter(group=_RECIPE)] = 128,
    optimizer: Annotated[Literal["sgd", "adam", "adamw"], Parameter(group=_RECIPE)] = "sgd",
    lr: Annotated[float, Parameter(group=_RECIPE)] = 0.1,
    momentum: Annotated[float, Parameter(group=_RECIPE)] = 0.9,
    nesterov: Annotated[bool, Parameter(group=_RECIPE)] = False,
    betas: Annotated[tuple[float, float], Parameter(group=_RECIPE)] = (0.9, 0.999),
    eps: Annotated[float, Parameter(group=_RECIPE)] = 1e-8,
    weight_decay: Annotated[float, Parameter(group=_RECIPE)] = 0.0,
    schedule: Annotated[Literal["constant", "cosine", "step", "cyclic"], Parameter(group=_RECIPE)] = "constant",
    warmup: Annotated[float, Parameter(group=_RECIPE)] = 0.0,
    label_smoothing: Annotated[float, Parameter(group=_RECIPE)] = 0.0,
    label_noise: Annotated[float, Parameter(group=_RECIPE)] = 0.0,
    label_seed: Annotated[int | None, Parameter(group=_RECIPE)] = None,
    mixup: Annotated[float | None, Parameter(group=_RECIPE)] = None,
    seed: Annotated[int, Parameter(group=_RECIPE)] = 0,
    precision: Annotated[Literal["full", "bfloat16"], Parameter(group=_RECIPE)] = "full",
    adversary: Annotated[Literal["linf", "l2"] | None, Parameter(group=_ADVERSARY)] = None,
    adversary_eps: Annotated[float, Parameter(group=_ADVERSARY)] = 0.1,
    adversary_steps: Annotated[int, Parameter(group=_ADVERSARY)] = 7,
    adversarial: Annotated[float, Parameter(group=_ADVERSARY)] = 1.0,
    records: Annotated[int, Parameter(group=_RECORDING)] = 50,
    every: Annotated[int | None, Parameter(group=_RECORDING)] = None,
    pairs: Annotated[float, Parameter(group=_RECORDING)] = 0.4,
    resume: Annotated[bool, Parameter(group=_RECORDING)] = False,
    overwrite: Annotated[bool, Parameter(group=_RECORDING)] = False,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Train a model and record its run.

    For example:

        landform train --out runs/mine --epochs 10 --lr 0.1
        landform train --out runs/cnn --model small_cnn --data cifar10
        landform train --out runs/own --model my_module:build
        landform train --out runs/robust --adversary linf --adversary-eps 0.1 --adversary-steps 7

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
        epochs: how long; may be a fraction.
        batch_size: samples a step.
        optimizer: sgd, adam or adamw.
        lr: the learning rate that the schedule multiplies.
        momentum: of sgd.
        nesterov: whether sgd looks ahead.
        betas: of adam and adamw.
        eps: of adam and adamw.
        weight_decay: added to the gradient as weight_decay times the weights (decoupled for adamw).
        schedule: how the learning rate goes on.
        warmup: epochs over which the learning rate rises from zero.
        label_smoothing: share of each label that is spread over all classes.
        label_noise: share of training labels that are replaced by other ones.
        label_seed: decides the label noise; the seed does by default.
        mixup: strength of mixup; the data set's own by default.
        seed: decides the order of the data and other noise, not the initial weights (--model-option seed=1).
        precision: bfloat16 multiplies and convolves in bfloat16, several times quicker on processors made for it; the
            weights and the optimiser keep their type.
        adversary: train on inputs that an adversary moves within a ball of this norm before every step.
        adversary_eps: radius of the ball, in the units of the inputs before they were normalised.
        adversary_steps: gradient steps of the adversary; 1 is FGSM.
        adversarial: share of the loss that is of the moved inputs; the rest is of the inputs as they are.
        records: how many times are recorded, log-spaced.
        every: record every so many steps instead.
        pairs: each recorded time gets a partner so many epochs later, for velocities; 0 for none.
        resume: go on with the run that lies in the folder.
        overwrite: replace the run that lies in the folder.
        json: print what came of it as JSON.
    """
    from landform.attacks import Attack
    from landform.training import Recipe

    against = None
    if adversary is not None:
        start: Literal["centre", "random"] = "centre" if adversary_steps == 1 else "random"
        against = Attack(adversary, adversary_eps, adversary_steps, start=start)
    recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        momentum=momentum,
        nesterov=nesterov,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        schedule=schedule,
        warmup=warmup,
        label_smoothing=label_smoothing,
        label_noise=label_noise,
        mixup=mixup,
        seed=seed,
        label_seed=label_seed,
        precision=precision,
        adversary=against,
        adversarial=adversarial,
    )
    see_that_free(out, resume=resume, overwrite=overwrite)
    started = time.perf_counter()
    with use(threads):
        trained = train_and_record(
            out,
            Choice(model, options(model_option or [], "--model-option")),
            Choice(data, options(data_option or [], "--data-option")),
            recipe,
            loss=loss,
            device=device,
            dtype=dtype,
            records=records,
            every=every,
            pairs=pairs,
            resume=resume,
            overwrite=overwrite,
            again=f"The same command with --resume goes on from the last record in {out}.",
        )
    seconds = time.perf_counter() - started
    assert trained.trajectory is not None
    found = {
        "run": str(out),
        "steps": trained.trajectory.steps[-1],
        "epochs": trained.trajectory.epochs[-1],
        "last_batch_loss": float(trained.losses[-1]) if len(trained.losses) else None,
        "diverged": trained.diverged,
        "records": len(trained.trajectory),
        "parameters": trained.trajectory.layout.size,
        "seconds": round(seconds, 2),
    }
    say_run(out, found, json=json)


def train_and_record(
    out: Path,
    model: Choice,
    data: Choice,
    recipe: Recipe,
    *,
    again: str,
    loss: str | None = None,
    device: str = "auto",
    dtype: str | None = None,
    records: int = 50,
    every: int | None = None,
    pairs: float | None = 0.4,
    resume: bool = False,
    overwrite: bool = False,
) -> Trained:
    """Train, and keep with the run what it was told.

    Args:
        out: the folder of the run.
        model: the model.
        data: the data set.
        recipe: how to train.
        again: how to go on after an interrupt.
        loss: name of the loss; by default whichever fits the data.
        device: where to train.
        dtype: type of number to train in.
        records: how many times are recorded, log-spaced.
        every: record every so many steps instead.
        pairs: epochs from a recorded time to its partner; 0 or None for no partners.
        resume: go on with the run that lies there.
        overwrite: replace the run that lies there.

    Returns:
        What came of it.

    Raises:
        BadInput: when something given does not fit.
    """
    import torch

    from landform import training

    dataset = load_data(data)
    net = build_model(model, dataset)
    times = recorded_at(records, every, recipe.steps(len(dataset.train)))
    with going_on(again), progress("training") as bar:
        return training.train(
            net,
            dataset,
            recipe,
            out=out,
            recording=training.Recording(at=times, pairs=pairs or None),
            loss=loss or default_loss(dataset),
            device=device,
            dtype=None if dtype is None else getattr(torch, dtype),
            resume=resume,
            overwrite=overwrite,
            settings={"command": {"model": model.to_json(), "data": data.to_json()}},
            progress=bar,
        )
