"""``landform align``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from landform.cli._choose import Choice, load_data, options
from landform.cli._paths import landscape_of, points_of
from landform.cli._show import answer, going_on, say, table
from landform.cli._threads import threads as use
from landform.cli._told import settled
from landform.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from landform.landscape import Landscape


def align(
    first: Path,
    second: Path,
    /,
    *,
    method: Literal["weights", "activations", "sinkhorn"] = "weights",
    restarts: int = 1,
    seed: int = 0,
    at: float | None = None,
    unknown: Literal["refuse", "hold"] = "refuse",
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
    """Put the units of the second run in the order of the first's, and read the barrier between them before and after.

    The permutations that leave the function as it is are found from the model's own graph. Between the points the
    barrier is also read half way with every unit rescaled to the mean and the spread it should have (REPAIR).

    For example:

        landform align runs/a runs/b
        landform align runs/a runs/b --method activations --out aligned.safetensors

    Args:
        first: the folder of the run whose units stay.
        second: the folder of the run whose units are permuted.
        method: weights (the least distance), activations (the largest correlation over the training data) or sinkhorn
            (the least loss half way, by training).
        restarts: how often matching begins, after the first time from random permutations; the best is kept.
        seed: of the order in which groups of units are matched, and of random starts.
        at: the epoch; of each run the recorded time nearest to it is taken instead of the last one.
        unknown: at an operation that is not understood, refuse or hold the units that go into it.
        batch_size: samples at a time.
        out: a .safetensors file for the permuted weights, by the names of the parameters.
        model: a model of 'landform list models', or a function of your own that builds it, as module:function.
        data: a data set of 'landform list data', or a function of your own that returns one.
        model_option: an option of the model, as name=value; may be given several times.
        data_option: an option of the data set, as name=value; may be given several times.
        device: auto, cpu, cuda or mps.
        threads: on how many threads torch runs; small models are quickest on 1.
        json: print what was found as JSON.
    """
    if out is not None and out.suffix != ".safetensors":
        raise BadInput(f"--out is {out}: give a name that ends in .safetensors.")
    ends, names = points_of((first, second), at)
    chosen = settled(
        first,
        None if model is None else Choice(model, options(model_option or [], "--model-option")),
        None if data is None else Choice(data, options(data_option or [], "--data-option")),
    )
    started = time.perf_counter()
    with use(threads), going_on("Nothing was written."):
        dataset = load_data(chosen[1])
        landscape = landscape_of(*chosen, dataset, loss=None, batch_size=batch_size, device=device)
        test = {"test": dataset.test} if len(dataset.test) else {}
        found, point = measure(landscape, ends, test, method=method, restarts=restarts, seed=seed, unknown=unknown)
    if out is not None:
        from landform.store import make_folder, write_tensors

        make_folder(out.parent)
        write_tensors(out, landscape.layout.views(point.cpu()), {"from": str(second), "aligned to": str(first)})
    if json:
        answer({"first": names[0], "second": names[1], **found})
        return
    say(f"{names[1]}, aligned to {names[0]} by {method}")
    say(
        f"{found['groups']} groups of units, {100 * found['moved']:.0f}% of their units moved; distance "
        f"{found['distance']:.4g}, then {found['distance_aligned']:.4g}"
    )
    rows = [
        (way, where, *(f"{one[name]:.4g}" if one[name] is not None else "" for name in ("barrier", "error_barrier")))
        for way, sets in found["paths"].items()
        for where, one in sets.items()
    ]
    table(rows, ("line", "set", "barrier of the loss", "of the error"))
    if out is not None:
        say(f"Written: {out}")
    say(f"Aligned in {time.perf_counter() - started:.1f} s.")


def measure(
    landscape: Landscape,
    ends: list[Tensor],
    test: dict[str, Any],
    *,
    method: Literal["weights", "activations", "sinkhorn"],
    restarts: int,
    seed: int,
    unknown: Literal["refuse", "hold"],
) -> tuple[dict[str, Any], Tensor]:
    """Align, and read the lines between the points.

    Args:
        landscape: on the training data.
        ends: the two points.
        test: further data by name.
        method: how units are matched.
        restarts: how often.
        seed: of orders and starts.
        unknown: what to do at an operation that is not understood.

    Returns:
        What there is to say, by name, and the permuted point.
    """
    from landform import alignment, paths

    symmetries = alignment.symmetries(landscape, unknown=unknown)
    result = alignment.align(landscape, *ends, method=method, symmetries=symmetries, restarts=restarts, seed=seed)
    lines = {"as they are": ends[1], "aligned": result.point}
    read = {way: _barriers(paths.barrier(landscape, ends[0], end, on=test)) for way, end in lines.items()}
    repaired = alignment.repair(landscape, ends[0], result.point, symmetries=symmetries)
    if repaired.layers:
        read["aligned, half way repaired"] = _half_way(landscape, ends[0], result.point, repaired.point, test)
    told = {
        "method": method,
        "groups": len(symmetries.groups),
        "held": list(symmetries.held),
        "moved": result.moved,
        "converged": result.converged,
        "objective": list(result.objective),
        "distance": result.before,
        "distance_aligned": result.after,
        "paths": read,
    }
    return told, result.point


def _barriers(path: Any) -> dict[str, Any]:
    return {
        where: {"barrier": one.height, "error_barrier": one.error_height}
        for where, one in {"train": path, **path.on}.items()
    }


def _half_way(landscape: Landscape, a: Tensor, b: Tensor, between: Tensor, test: dict[str, Any]) -> dict[str, Any]:
    """How far a point half way lies above the mean of the ends."""
    import torch

    found: dict[str, Any] = {}
    points = torch.stack([one.to(landscape.device, landscape.dtype) for one in (a, b, between)])
    for where, one in {"train": landscape, **{name: landscape.on(split) for name, split in test.items()}}.items():
        reading = one.read(points)
        rise = [None if v is None else float(v[2] - (v[0] + v[1]) / 2) for v in (reading.loss, reading.error)]
        found[where] = {"barrier": rise[0], "error_barrier": rise[1]}
    return found
