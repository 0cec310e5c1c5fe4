"""``landform survey``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from landform.cli._choose import Choice, build_model, default_loss, load_data, options
from landform.cli._show import answer, going_on, progress, say, table
from landform.cli._threads import threads as use
from landform.cli._told import settled
from landform.errors import BadInput


def survey(
    run: Path,
    /,
    *,
    model: str | None = None,
    data: str | None = None,
    model_option: list[str] | None = None,
    data_option: list[str] | None = None,
    probes: str | None = None,
    budget: float | None = None,
    loss: str | None = None,
    batch_size: int = 512,
    device: str = "auto",
    threads: int | None = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Measure along a recorded run; what is measured already is kept, so that a stopped survey goes on.

    With --budget and without --probes everything is measured that fits into it: kernels, curvature, linearised
    training from several times, and children, which are trained where the run allows it. What it will cost and what is
    left out for it is said beforehand.

    A run made by 'landform train' knows its model and data; for others name them.

    For example:

        landform survey runs/mine
        landform survey runs/mine --budget 0.5
        landform survey runs/mine --model my_module:build --data cifar10

    Args:
        run: the run's folder.
        model: a model of 'landform list models', or a function of your own that builds it, as module:function.
        data: a data set of 'landform list data', or a function of your own that returns one.
        model_option: an option of the model, as name=value; may be given several times.
        data_option: an option of the data set, as name=value; may be given several times.
        probes: which ones, separated by commas; see 'landform list probes'.
        budget: measure for this share of the time that training took (0.5 is half), but for two minutes in any case,
            with times spread evenly.
        loss: cross-entropy or mse; by default whichever fits the data.
        batch_size: samples at a time.
        device: auto, cpu, cuda or mps.
        threads: on how many threads torch runs; small models are quickest on 1.
        json: print the results as JSON.
    """
    chosen = settled(
        run,
        None if model is None else Choice(model, options(model_option or [], "--model-option")),
        None if data is None else Choice(data, options(data_option or [], "--data-option")),
    )
    for part, named, given in (("model", model, model_option), ("data", data, data_option)):
        if given and named is None:
            raise BadInput(f"--{part}-option belongs to --{part}: give both.")
    started = time.perf_counter()
    with use(threads):
        measure(
            run,
            *chosen,
            probes=None if probes is None else [name.strip() for name in probes.split(",") if name.strip()],
            budget=budget,
            forecast=None if budget is None else lambda told: say(str(told)),
            loss=loss,
            batch_size=batch_size,
            device=device,
        )
    show(run, json=json)
    if not json:
        say(f"Measured in {time.perf_counter() - started:.1f} s; landform report {run} shows it on a page.")


def measure(run: Path, model: Choice, data: Choice, *, loss: str | None = None, batch_size: int = 512,
            device: str = "auto", **how: Any) -> None:  # fmt: skip
    """Survey a run on the training and the test split of its data.

    Args:
        run: the run's folder.
        model: the model.
        data: the data set.
        loss: name of the loss; by default whichever fits the data.
        batch_size: samples at a time.
        device: where to compute.
        **how: further options of the survey.
    """
    from landform.landscape import Landscape
    from landform.studies import deep_survey
    from landform.survey import survey as take

    dataset = load_data(data)
    net = build_model(model, dataset)
    train = Landscape(net, dataset, loss=loss or default_loss(dataset), batch_size=batch_size, device=device)
    landscapes = {"train": train}
    if len(dataset.test):
        landscapes["test"] = train.on(dataset.test)
    with going_on(f"landform survey {run} goes on where it stopped."), progress("measuring") as bar:
        if how.get("budget") is not None and how.get("probes") is None:
            how.pop("probes", None)
            deep_survey(run, landscapes, model=net, data=dataset, say=say, progress=bar, **how)
        else:
            take(run, landscapes, progress=bar, **how)


def show(run: Path, *, json: bool) -> None:
    """Print the headline numbers of a run.

    Args:
        run: the run's folder.
        json: as JSON, with every measured curve.
    """
    from landform.report import as_json, facts, gather

    material = gather(run)
    if json:
        curves = {
            name: {
                "epochs": m.epochs.tolist(),
                **{where or "values": row.tolist() for where, row in zip(m.sets, m.values, strict=True)},
            }
            for name, m in material.measured.items()
        }
        answer({"run": str(run), **as_json(material), "measured": curves})
        return
    table([(fact.label, fact.text) for fact in facts(material)])
    for note in material.notes:
        say(f"note: {note}")
