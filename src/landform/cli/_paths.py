"""``landform paths``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from landform.cli._choose import Choice, build_model, default_loss, load_data, options
from landform.cli._show import answer, going_on, progress, say, table
from landform.cli._threads import threads as use
from landform.cli._told import recall, settled
from landform.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from landform.landscape import Landscape
    from landform.paths import Barrier, BarrierMatrix, Curve


def paths(
    *runs: Path,
    at: float | None = None,
    steps: int = 21,
    refine: int = 20,
    curve: int | None = None,
    kind: Literal["bezier", "chain"] = "bezier",
    bends: int = 1,
    begin: Literal["linear", "random"] = "linear",
    seed: int = 0,
    loss: str | None = None,
    batch_size: int = 512,
    out: Path | None = None,
    model: str | None = None,
    data: str | None = None,
    model_option: list[str] | None = None,
    data_option: list[str] | None = None,
    device: str = "auto",
    threads: int | None = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Read how far loss and error rise between runs, on the training and the test data.

    Of two runs the straight line between their last points is read, and with --curve a curve of low loss is trained
    between them. Of one run it is the line from its first point to its last; of three or more, the barriers between
    all pairs.

    For example:

        landform paths runs/a runs/b
        landform paths runs/a runs/b --curve 1000
        landform paths runs/a runs/b runs/c --at 2.5 --out barriers.png

    Args:
        runs: folders of runs of one model.
        at: the epoch; of each run the recorded time nearest to it is taken instead of the last one.
        steps: at how many even places of a line loss and error are read, the ends among them.
        refine: at how many more, where a higher value may hide; not for three runs or more.
        curve: train a curve for that many steps, and for as many again: both barriers are told.
        kind: bezier (a Bezier curve) or chain (straight pieces).
        bends: how many points of the curve are free.
        begin: where they begin: linear (on the straight line) or random (as the model initialises itself).
        seed: of the curve's batches and of random bends.
        loss: name of the loss; by default whichever fits the data.
        batch_size: samples at a time.
        out: a .png or .svg file for the figure.
        model: a model of 'landform list models', or a function of your own that builds it, as module:function.
        data: a data set of 'landform list data', or a function of your own that returns one.
        model_option: an option of the model, as name=value; may be given several times.
        data_option: an option of the data set, as name=value; may be given several times.
        device: auto, cpu, cuda or mps.
        threads: on how many threads torch runs; small models are quickest on 1.
        json: print what was found as JSON.
    """
    if not runs:
        raise BadInput("landform paths reads what lies between runs: give the folder of one or more.")
    if curve is not None and len(runs) > 2:
        raise BadInput(f"--curve joins two points, and there are {len(runs)} runs: give two, or leave --curve out.")
    if curve is not None and curve < 1:
        raise BadInput(f"--curve is {curve}: give at least 1 step.")
    if out is not None and out.suffix not in (".png", ".svg"):
        raise BadInput(f"--out is {out}: give a name that ends in .png or .svg.")
    ends, names = points_of(runs, at)
    chosen = settled(
        runs[0],
        None if model is None else Choice(model, options(model_option or [], "--model-option")),
        None if data is None else Choice(data, options(data_option or [], "--data-option")),
    )
    for run in runs[1:]:
        if data is None and (other := recall(run).get("data")) not in (None, chosen[1]):
            say(f"note: {run} was trained on other data ({other.name}); both are read on those of {runs[0]}.")
    started = time.perf_counter()
    with use(threads):
        dataset = load_data(chosen[1])
        landscape = landscape_of(*chosen, dataset, loss=loss, batch_size=batch_size, device=device)
        test = {"test": dataset.test} if len(dataset.test) else {}
        with going_on("Nothing is kept of a path that was not finished."):
            if len(ends) > 2:
                _pairs(landscape, ends, names, test, steps=steps, out=out, json=json)
            else:
                _line(
                    landscape, ends, names, test, steps=steps, refine=refine, out=out, json=json, curve=curve,
                    how={"kind": kind, "bends": bends, "begin": begin, "seed": seed},
                )  # fmt: skip
    if not json:
        say(f"Read in {time.perf_counter() - started:.1f} s.")


def points_of(runs: Sequence[Path], at: float | None) -> tuple[list[Tensor], list[str]]:
    """The points that paths shall join, and what they are called.

    Args:
        runs: folders.
        at: the epoch, or None for the last records.

    Returns:
        Of one run its first point and that at the epoch; of several, one of each.

    Raises:
        BadInput: when a run has too few records or has diverged, or the runs are of different models.
    """
    import torch

    from landform.paths._contract import one_layout
    from landform.recording import Trajectory

    found, names = [], []
    opened = [Trajectory(run) for run in runs]
    for run, trajectory in zip(runs, opened, strict=True):
        if not len(trajectory):
            raise BadInput(f"{run} holds no record yet: record a run first.")
        one_layout(opened[0].layout, trajectory.layout, (str(runs[0]), str(run)))
        record = trajectory.records[len(trajectory) - 1] if at is None else trajectory.at(epoch=at)
        chosen = [record] if len(runs) > 1 else [trajectory.records[0], record]
        if len(runs) == 1 and record.step == chosen[0].step:
            raise BadInput(
                f"{run} has one point to look at (step {record.step}): give a second run, or one with more records."
            )
        for each in chosen:
            if not bool(torch.isfinite(each.point).all()):
                bad = int((~torch.isfinite(each.point)).nonzero()[0])
                slot = next(slot for slot in trajectory.layout.slots if slot.start <= bad < slot.stop)
                raise BadInput(
                    f"{run} holds NaN or infinity at epoch {each.epoch:.4g}, first in {slot.name}: the run has "
                    "diverged; give an earlier epoch by --at."
                )
            found.append(each.point)
            names.append(f"{run}, epoch {each.epoch:.4g}")
    return found, names


def landscape_of(
    model: Choice, data: Choice, dataset: Any, *, loss: str | None, batch_size: int, device: str
) -> Landscape:
    """The landscape that the runs' points are read on.

    Args:
        model: the model.
        data: what the data set is called.
        dataset: the data set.
        loss: name of the loss, or None for whichever fits the data.
        batch_size: samples at a time.
        device: where to compute.

    Returns:
        The landscape, on the training data.
    """
    from landform.landscape import Landscape

    net = build_model(model, dataset)
    return Landscape(net, dataset, loss=loss or default_loss(dataset), batch_size=batch_size, device=device)


def _line(
    landscape: Landscape,
    ends: list[Tensor],
    names: list[str],
    test: dict[str, Any],
    *,
    steps: int,
    refine: int,
    curve: int | None,
    how: dict[str, Any],
    out: Path | None,
    json: bool,
) -> None:
    from landform import paths as room

    told: dict[str, Any] = {"from": names[0], "to": names[1], "batchnorm": landscape.batchnorm}
    legs: list[Curve] = []
    if curve is None:
        straight = room.barrier(landscape, *ends, steps=steps, refine=refine, on=test)
    else:
        with progress("training the curve") as bar:
            first = room.curve(
                landscape, *ends, steps=curve, positions=steps, refine=refine, on=test, progress=bar, **how
            )
            legs = [first, first.more(progress=bar)]
        straight = first.straight
    told["straight"] = _numbers(straight)
    if legs:
        told["curve"] = {**how, "after": [{"steps": leg.steps, **_numbers(leg.barrier)} for leg in legs]}
    if json:
        answer(told)
    else:
        say(f"From {names[0]} to {names[1]} (batchnorm: {landscape.batchnorm})")
        rows = _rows("straight line", straight)
        for leg in legs:
            rows += _rows(f"{leg.kind}, {leg.steps} steps", leg.barrier)
        table(rows, ("path", "set", "loss at the ends", "barrier", "interior", "at", "error at the ends", "barrier"))
        if legs:
            bends = f"{how['bends']} free bend{'s' * (how['bends'] != 1)}"
            say(f"The curve has {bends}, begun {how['begin']}, seed {how['seed']}.")
    if out is not None:
        from landform.report._path_figures import profile

        _draw(out, profile(legs[-1] if legs else straight))


def _pairs(
    landscape: Landscape,
    ends: list[Tensor],
    names: list[str],
    test: dict[str, Any],
    *,
    steps: int,
    out: Path | None,
    json: bool,
) -> None:
    import torch

    from landform import paths as room

    points = torch.stack([end.to(landscape.device, landscape.dtype) for end in ends])
    sets = {"train": landscape, **{name: landscape.on(split) for name, split in test.items()}}
    found = {name: room.barrier_matrix(one, points, steps=steps) for name, one in sets.items()}
    if json:
        every = {
            name: {
                "barriers": one.heights.tolist(),
                "error_barriers": None if one.error_heights is None else one.error_heights.tolist(),
                "losses": one.losses.tolist(),
                "errors": None if one.errors is None else one.errors.tolist(),
            }
            for name, one in found.items()
        }
        answer({"points": names, "batchnorm": landscape.batchnorm, "steps": steps, **every})
    else:
        for number, name in enumerate(names):
            say(f"{number}: {name}")
        for name, one in found.items():
            _show(one.heights, one.losses, f"barrier of the loss, {name}", "loss")
            if one.error_heights is not None and one.errors is not None:
                _show(one.error_heights, one.errors, f"barrier of the error, {name}", "error")
    if out is not None:
        from landform.report._path_figures import barrier_map

        first: BarrierMatrix = found["train"]
        _draw(out, barrier_map(first, error=first.errors is not None, points="runs"))


def _show(heights: Tensor, own: Tensor, title: str, column: str) -> None:
    rows = [
        (str(i), f"{float(own[i]):.4g}", *("" if i == j else f"{float(height):.4g}" for j, height in enumerate(row)))
        for i, row in enumerate(heights)
    ]
    table(rows, ("", column, *map(str, range(len(heights)))), title)


def _rows(name: str, path: Barrier) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for where, one in {"train": path, **path.on}.items():
        errors = ("", "") if one.error_ends is None else (_both(one.error_ends), f"{one.error_height:.4g}")
        rows.append(
            (name, where, _both(one.ends), f"{one.height:.4g}", f"{one.interior:.4g}", f"{one.at:.3f}", *errors)
        )
    return rows


def _both(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4g}, {ends[1]:.4g}"


def _numbers(path: Barrier) -> dict[str, Any]:
    def plain(one: Barrier) -> dict[str, Any]:
        return {
            "barrier": one.height,
            "error_barrier": one.error_height,
            "interior": one.interior,
            "at": one.at,
            "ends": list(one.ends),
            "error_ends": None if one.error_ends is None else list(one.error_ends),
            "mean": one.mean,
            "alphas": one.alphas.tolist(),
            "losses": one.losses.tolist(),
            "errors": None if one.errors is None else one.errors.tolist(),
        }

    return {"train": plain(path), **{name: plain(one) for name, one in path.on.items()}}


def _draw(out: Path, figure: Any) -> None:
    from landform.report import draw

    out.parent.mkdir(parents=True, exist_ok=True)
    kind: Any = out.suffix[1:]
    out.write_bytes(draw(figure, kind))
    say(f"Drawn: {out}")
