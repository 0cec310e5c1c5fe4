"""``landform survey``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from landform.cli._choose import Choice, build_model, default_loss, load_data, options
from landform.cli._show import answer, going_on, progress, say, table
from landform.cli._threads import threads as use
from landform.cli._told import settled
from landform.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

    from landform.data import Dataset
    from landform.engine import Engine
    from landform.landscape import Landscape
    from landform.probes import Probe


def survey(
    run: Path,
    /,
    *more: Path,
    model: str | None = None,
    data: str | None = None,
    model_option: list[str] | None = None,
    data_option: list[str] | None = None,
    into: Path | None = None,
    trusted: bool = False,
    probes: str | None = None,
    set: list[str] | None = None,
    budget: float | None = None,
    rehearse: bool = False,
    loss: str | None = None,
    samples: int | None = None,
    batch_size: int = 512,
    device: str = "auto",
    threads: int | None = None,
    engine: str | None = None,
    processes: int | None = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Measure along a recorded run; what is measured already is kept, so that a stopped survey goes on.

    With --budget and without --probes everything is measured that fits into it: kernels, curvature, linearised
    training from several times, and children, which are trained where the run allows it. What it will cost and what is
    left out for it is said beforehand.

    A run made by 'landform train' knows its model and data; for others name them.

    Checkpoints that any training loop left are made into a run first: folders of a Hugging Face Trainer, .safetensors
    files, files of torch.save. Surveyed again, those that are new are added.

    For example:

        landform survey runs/mine
        landform survey runs/mine --budget 0.5
        landform survey runs/mine --probes eigenvalues,kernel_sketch --set eigenvalues.k=10 --set times=2 --rehearse
        landform survey runs/mine --model my_module:build --data cifar10
        landform survey out/checkpoint-* --model my_module:build --data my_module:data --into runs/mine

    Args:
        run: the run's folder; or a checkpoint, or a folder of checkpoints.
        more: further checkpoints.
        model: a model of 'landform list models', or a function of your own that builds it, as module:function.
        data: a data set of 'landform list data', or a function of your own that returns one.
        model_option: an option of the model, as name=value; may be given several times.
        data_option: an option of the data set, as name=value; may be given several times.
        into: where the run that is made of checkpoints shall lie; by default a folder 'landform' beside them.
        trusted: read checkpoints that could run any code when they are read, since whoever wrote them is trusted.
        probes: which ones, separated by commas; see 'landform list probes'.
        set: a setting of a probe, as probe.name=value, or its times, as probe.times=3 (times=3 for all of them); may be
            given several times.
        budget: measure for this share of the time that training took (0.5 is half), but for two minutes in any case,
            with times spread evenly.
        rehearse: measure nothing, but say what it would take in time and memory, from few samples.
        loss: cross-entropy or mse; by default whichever fits the data.
        samples: look at this many samples of each split, drawn once; at all by default.
        batch_size: samples at a time.
        device: auto, cpu, cuda or mps.
        threads: on how many threads torch runs; small models are quickest on 1.
        engine: where it is measured: inline (here, one after the other; the default), local (processes of this
            machine), ray, or the address of a Ray cluster that sees the folder, ray://host:port.
        processes: of the engine local; as many as there are cores by default.
        json: print the results as JSON.
    """
    for part, named, given in (("model", model, model_option), ("data", data, data_option)):
        if given and named is None:
            raise BadInput(f"--{part}-option belongs to --{part}: give both.")
    asked = (
        None if model is None else Choice(model, options(model_option or [], "--model-option")),
        None if data is None else Choice(data, options(data_option or [], "--data-option")),
    )
    if rehearse and budget is not None:
        raise BadInput("--rehearse says what everything would take, without a limit: leave --budget away.")
    run = _recorded(run, more, into, *asked, trusted=trusted)
    chosen = settled(run, *asked)
    taken = _set(probes, set or [])
    how: dict[str, Any] = {"loss": loss, "samples": samples, "batch_size": batch_size, "device": device}
    started = time.perf_counter()
    if rehearse:
        with use(threads):
            _rehearse(run, *chosen, probes=taken, json=json, **how)
        return
    with use(threads):
        measure(
            run,
            *chosen,
            probes=taken,
            budget=budget,
            forecast=None if budget is None else lambda told: say(str(told)),
            engine=_engine(engine, processes),
            **how,
        )
    show(run, json=json)
    if not json:
        say(f"Measured in {time.perf_counter() - started:.1f} s; landform report {run} shows it on a page.")


def _engine(name: str | None, processes: int | None) -> Engine | None:
    from landform.engine import engine_named

    if name is None and processes is None:
        return None
    if processes is not None and name not in (None, "local"):
        raise BadInput(f"--processes is for --engine local, and the engine is {name}: leave one of them away.")
    if name == "inline":  # what a survey does by itself, with as many threads as --threads says
        return None
    return engine_named(name or "local", processes=processes)


def _recorded(
    run: Path, more: Sequence[Path], into: Path | None, model: Choice | None, data: Choice | None, *, trusted: bool
) -> Path:
    """The folder of the run: the one given, or one made of checkpoints."""
    from landform.recording import find_checkpoints, from_checkpoints, holds_checkpoints, join_shards

    if not more and (run / "shards").is_dir() and not (run / "run.json").exists():
        joined = join_shards(run)
        say(f"The {joined.run['settings']['shards']} shards in {run} are joined into {len(joined)} records.")
    if not more and not holds_checkpoints(run):
        if into is not None or trusted:
            raise BadInput(f"--into and --trusted are for checkpoints, and {run} holds none: leave them away.")
        return run
    paths = find_checkpoints([run, *more])
    folder = into or paths[0].parent / "landform"
    if model is None or data is None:
        missing = " and ".join(flag for flag, given in (("--model", model), ("--data", data)) if given is None)
        raise BadInput(
            f"Checkpoints do not say how they were trained: give {missing}, such as --model my_module:build."
        )
    net = build_model(model, load_data(data))
    command = {"command": {"model": model.to_json(), "data": data.to_json()}}
    made = from_checkpoints(paths, folder, net, trusted=trusted, settings=command)
    say(f"{folder} holds {len(made)} checkpoints as a run, from step {made.steps[0]} to {made.steps[-1]}.")
    return folder


def _set(probes: str | None, settings: Sequence[str]) -> list[Probe] | None:
    """The probes that are named, as the user has set them."""
    from landform.probes import DEFAULT, get

    if probes is None and not settings:
        return None
    names = DEFAULT if probes is None else [name.strip() for name in probes.split(",") if name.strip()]
    found = {name: get(name) for name in names}
    for pair in settings:
        key, _, text = pair.partition("=")
        owner, dot, name = key.strip().rpartition(".")
        ((name, value),) = options([f"{name}={text}"] if "=" in pair else [pair], "--set").items()
        if dot and owner not in found:
            raise BadInput(f"--set {pair} is for {owner!r}, which is not measured: there are {', '.join(found)}.")
        if not dot and name != "times":
            raise BadInput(f"--set {pair} does not say of which probe: give it as probe.{name}={text}.")
        for own in [owner] if dot else list(found):
            if name == "times":
                found[own] = found[own].at(tuple(value) if isinstance(value, list) else value)
            elif name in found[own].settings:
                found[own] = found[own].using(**{name: value})
            else:
                there = ", ".join(found[own].settings) or "none"
                raise BadInput(f"Probe {own} has no setting {name!r}: there are {there}, and times.")
    return list(found.values())


def _rehearse(run: Path, model: Choice, data: Choice, *, probes: list[Probe] | None, json: bool, **how: Any) -> None:
    """Say what measuring would take."""
    from landform.store import size_text
    from landform.survey import rehearse, time_text

    found = rehearse(run, _landscapes(model, data, **how)[2], probes=probes)
    if json:
        answer({**asdict(found), "run": str(run)})
        return
    rows = []
    for part in found.parts:
        each = "" if part.failure else time_text(part.seconds)
        whole = part.failure or time_text(part.seconds * part.times)
        rows.append(
            (part.probe, part.set or "", part.times, each, whole, "" if part.bytes is None else size_text(part.bytes))
        )
    table(rows, ("probe", "on", "times", "each", "together", "memory"))
    for note in found.notes:
        say(f"note: {note}")
    say(str(found))


def _landscapes(
    model: Choice,
    data: Choice,
    *,
    loss: str | None = None,
    samples: int | None = None,
    batch_size: int = 512,
    device: str = "auto",
) -> tuple[nn.Module, Dataset, dict[str, Landscape]]:
    """The model, the data, and what is measured on."""
    import torch

    from landform.landscape import Landscape

    if samples is not None and samples < 1:
        raise BadInput(f"--samples is {samples}: give at least 1, or leave it away to look at all.")

    dataset = load_data(data)
    net = build_model(model, dataset)
    train = Landscape(net, dataset, loss=loss or default_loss(dataset), batch_size=batch_size, device=device)
    found = {"train": train}
    if len(dataset.test):
        found["test"] = train.on(dataset.test)
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        if samples is not None and samples < len(split):
            drawn = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:samples]
            found[name] = found[name].subset(drawn)
    return net, dataset, found


def measure(run: Path, model: Choice, data: Choice, *, loss: str | None = None, samples: int | None = None,
            batch_size: int = 512, device: str = "auto", **how: Any) -> None:  # fmt: skip
    """Survey a run on the training and the test split of its data.

    Args:
        run: the run's folder.
        model: the model.
        data: the data set.
        loss: name of the loss; by default whichever fits the data.
        samples: how many of each split; all by default.
        batch_size: samples at a time.
        device: where to compute.
        **how: further options of the survey.
    """
    from landform.studies import deep_survey
    from landform.survey import survey as take

    net, dataset, landscapes = _landscapes(
        model, data, loss=loss, samples=samples, batch_size=batch_size, device=device
    )
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
