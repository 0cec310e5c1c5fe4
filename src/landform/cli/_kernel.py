"""``landform kernel``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from landform.cli._choose import Choice, build_model, default_loss, load_data, options
from landform.cli._show import answer, going_on, progress, say, table
from landform.cli._threads import threads as use
from landform.cli._told import settled
from landform.errors import BadInput

_GIGABYTE = 1e9


def kernel(
    run: Path,
    /,
    *,
    at: float | None = None,
    kind: str = "trace",
    samples: int = 256,
    split: Literal["train", "test"] = "train",
    out: Path | None = None,
    memory: float = 2.0,
    explain: bool = False,
    model: str | None = None,
    data: str | None = None,
    model_option: list[str] | None = None,
    data_option: list[str] | None = None,
    device: str = "auto",
    threads: int | None = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Compute the tangent kernel at one time of a recorded run, and say what it is like.

    With --out it is written to a file as it is computed; a run of this command that was stopped goes on from there.

    For example:

        landform kernel runs/mine
        landform kernel runs/mine --at 2.5 --samples 1000 --out k.safetensors
        landform kernel runs/mine --kind full --explain

    Args:
        run: the run's folder.
        at: the epoch; the recorded time nearest to it is taken, by default the last one.
        kind: trace (the sum over the outputs), full (all pairs of outputs), each (of each output), sum (of the sum of
            the outputs), loss (of the losses' gradients), or the number of an output.
        samples: of how many samples, balanced over the data in their order.
        split: train or test.
        out: a .safetensors file for the kernel, under the name kernel.
        memory: gigabytes that may be used.
        explain: only say how it would be computed, layer by layer.
        model: a model of 'landform list models', or a function of your own that builds it, as module:function.
        data: a data set of 'landform list data', or a function of your own that returns one.
        model_option: an option of the model, as name=value; may be given several times.
        data_option: an option of the data set, as name=value; may be given several times.
        device: auto, cpu, cuda or mps.
        threads: on how many threads torch runs; small models are quickest on 1.
        json: print what it is like as JSON.
    """
    chosen = settled(
        run,
        None if model is None else Choice(model, options(model_option or [], "--model-option")),
        None if data is None else Choice(data, options(data_option or [], "--data-option")),
    )
    started = time.perf_counter()
    with use(threads):
        found = measure(
            run, *chosen, at=at, kind=_kind(kind), samples=samples, split=split, out=out,
            memory=memory * _GIGABYTE, explain=explain, device=device,
        )  # fmt: skip
    if explain:
        say(found["plan"])
    elif json:
        answer(found)
    else:
        table([(name.replace("_", " "), _text(value)) for name, value in found.items()])
        say(f"Computed in {time.perf_counter() - started:.1f} s.")


def measure(
    run: Path,
    model: Choice,
    data: Choice,
    *,
    at: float | None,
    kind: Any,
    samples: int,
    split: str,
    out: Path | None,
    memory: float,
    explain: bool,
    device: str,
) -> dict[str, Any]:
    """Compute the kernel and describe it.

    Args:
        run: the run's folder.
        model: the model.
        data: the data set.
        at: the epoch, or None for the last record.
        kind: as for `landform.kernel.ntk`.
        samples: how many.
        split: train or test.
        out: the file, or None.
        memory: bytes.
        explain: only plan.
        device: where to compute.

    Returns:
        What there is to say, by name.

    Raises:
        BadInput: when something asked for is not there.
    """
    import torch

    from landform import kernel as room
    from landform.landscape import Landscape
    from landform.recording import Trajectory

    if samples < 1:
        raise BadInput(f"--samples is {samples}: give at least 1.")
    if out is not None and out.suffix != ".safetensors":
        raise BadInput(f"--out is {out}: give a name that ends in .safetensors.")
    trajectory = Trajectory(run)
    if not len(trajectory):
        raise BadInput(f"{run} holds no record yet: record a run first.")
    record = trajectory.records[len(trajectory) - 1] if at is None else trajectory.at(epoch=at)
    dataset = load_data(data)
    net = build_model(model, dataset)
    whole = Landscape(net, dataset, loss=default_loss(dataset), device=device)
    landscape = whole if split == "train" else whole.on(dataset.test)
    part = dataset.train if split == "train" else dataset.test
    chosen = torch.linspace(0, len(part) - 1, min(samples, len(part)), dtype=torch.float64).round().long()
    landscape = landscape.subset(chosen)
    point, buffers = record.point.to(landscape.device, landscape.dtype), dict(record.buffers) or None
    if explain:
        return {"plan": str(room.explain(landscape, point, kind=kind, memory=memory, buffers=buffers))}
    with going_on(f"landform kernel {run} --out {out} goes on where it stopped."), progress("taking gradients") as bar:
        if out is None:
            found = room.ntk(landscape, point, kind=kind, memory=memory, progress=bar, buffers=buffers)
        else:
            found = room.ntk_to_file(out, landscape, point, kind=kind, memory=memory, progress=bar, buffers=buffers)
    return {
        "epoch": record.epoch,
        "kind": str(kind),
        "shape": list(found.shape),
        **({"file": str(out)} if out is not None else {}),
        **_described(found, part.targets[chosen]),
    }


def _described(kernel: Any, targets: Any) -> dict[str, Any]:
    """Norm, spectrum and alignment, for kernels of one number a pair and not too large for an eigendecomposition."""
    from landform import kernel as room

    found = {"norm": float(kernel.double().norm())}
    if kernel.dim() == 2 and len(kernel) <= 4096:
        spectrum = room.spectrum(kernel)
        found |= {
            "largest_eigenvalue": float(spectrum.values[0]),
            "effective_rank": float(spectrum.effective_rank),
            "trace": float(kernel.double().trace()),
        }
        if targets.dim() == 1 and not targets.is_floating_point():
            found["alignment"] = room.alignment(kernel, targets)
    return found


def _kind(given: str) -> Any:
    return int(given) if given.lstrip("-").isdigit() else given


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
