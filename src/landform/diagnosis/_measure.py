"""What a diagnosis looks at, measured on your own networks: training data alone, as the published grid was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from landform.errors import BadInput
from landform.landscape._batches import Tensors

if TYPE_CHECKING:
    from torch import Tensor

    from landform.landscape import Landscape

# As the published grid was measured: Hessians of 200 samples, CKA on 6 batches of 128 mixed-up ones, curves read at
# five places.
_HESSIAN = 200
_BATCHES, _BATCH, _MIXUP = 6, 128, 16.0
_PLACES = 5
# Percentage points that connectivity may move when the steps of the curve are doubled.
_SETTLED = 1.0


@dataclass(frozen=True)
class Measured:
    """What was measured of one network, or of two that were trained alike.

    Attributes:
        values: measures by the names of `MEASURES`; of two networks the means over both where each has its own.
        errors: standard errors of those that were estimated.
        steps: how many steps the curve between the two was trained for; 0 without one.
        moved: by how much connectivity moved, in percentage points, when these steps were doubled: `values` holds the
            figure after them.
        notes: sentences on what is missing or did not settle.
    """

    values: Mapping[str, float]
    errors: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0
    moved: float = math.nan
    notes: tuple[str, ...] = ()


def measure(
    landscape: Landscape,
    a: Tensor,
    b: Tensor | None = None,
    *,
    steps: int = 1000,
    samples: int = _HESSIAN,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Measure on training data what a diagnosis looks at.

    Mode connectivity is ``mc = (E(a) + E(b)) / 2 - E(c(t*))`` (equation 4 of Yang et al. 2021), with E the training
    error in percent, c a Bezier curve trained between the two and t* where it deviates most; similarity is the linear
    CKA of softmax outputs on mixed-up inputs; eigenvalue and trace are those of the Hessian on some samples.

    Args:
        landscape: the loss on the training data, which have to be in memory.
        a: the network, ``[P]``.
        b: another one that was trained alike from another beginning, ``[P]``; without it connectivity and similarity
            stay unknown, and they are what tells most.
        steps: how many steps the curve is trained for, and as many again to see whether it has settled.
        samples: how many samples the Hessian is taken of.
        seed: of the curve, the samples, the mixing and the trace.
        progress: called with (steps done, steps in all) while the curve is trained.

    Returns:
        The measures.

    Raises:
        BadInput: when the targets are no labels, or an argument makes no sense.
    """
    import torch

    if not landscape.has_labels:
        raise BadInput("A diagnosis reads training errors, and these targets are no labels: it is for classifiers.")
    if steps < 1 or samples < 1:
        raise BadInput(f"steps is {steps} and samples {samples}: give at least 1 of each.")
    landscape.subset(1)  # refuses a stream
    held = landscape._data
    assert isinstance(held, Tensors)
    points = a[None] if b is None else torch.stack([a, b.to(a)])
    if b is not None and bool((points[0] == points[1]).all()):
        raise BadInput("The two networks are one and the same: give one that was trained from another beginning.")
    reading = landscape.read(points)
    assert reading.error is not None
    values = {"train_loss": float(reading.loss.mean()), "train_error": 100 * float(reading.error.mean())}
    errors: dict[str, float] = {}
    notes: list[str] = []
    _sharpness(landscape, points, _some(held, samples, seed), seed, values, errors, notes)
    if b is None:
        notes.append(
            "Connectivity and similarity need a second network, trained alike from another beginning; they tell most."
        )
        return Measured(values, errors, notes=tuple(notes))
    moved = _connectivity(landscape, points, steps, seed, values, notes, progress)
    values["similarity"] = _similarity(
        landscape, points, held.subset(_some(held, _BATCHES * _BATCH, seed)), seed, notes
    )
    values["distance"] = float((points[0] - points[1]).norm())
    return Measured(values, errors, steps, moved, tuple(notes))


def _some(held: Tensors, count: int, seed: int) -> Tensor:
    import torch

    order = torch.randperm(len(held), generator=torch.Generator().manual_seed(seed))
    return order[: min(count, len(held))].to(held.inputs.device)


def _sharpness(
    landscape: Landscape, points: Tensor, some: Tensor, seed: int, values: dict[str, float],
    errors: dict[str, float], notes: list[str],
) -> None:  # fmt: skip
    from landform import curvature

    few = landscape.subset(some)
    tops, traces, spread = [], [], []
    for point in points:
        H = few.hessian(point)
        top = curvature.eigenpairs(H, 1, tol=1e-3, seed=seed)
        found = curvature.trace(H, tol=0.02, seed=seed)
        if not found.converged:
            notes.append(f"The trace of the Hessian did not settle: {found.status}.")
        tops.append(float(top.values[0]))
        traces.append(float(found.value))
        spread.append(float(found.standard_error))
    for name, each in (("log_eigenvalue", tops), ("log_trace", traces)):
        mean = float(np.mean(each))
        if mean > 0:
            values[name] = math.log(mean)
        else:
            notes.append(f"{name} is left out: its mean, {mean:.3g}, has no logarithm.")
    if "log_trace" in values:
        errors["log_trace"] = float(np.linalg.norm(spread) / len(spread) / np.mean(traces))


def _connectivity(
    landscape: Landscape, points: Tensor, steps: int, seed: int, values: dict[str, float], notes: list[str],
    progress: Callable[[int, int], None] | None,
) -> float:  # fmt: skip
    from landform import paths

    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(done + beyond, 2 * total)

    beyond = 0
    first = paths.curve(
        landscape, points[0], points[1], steps=steps, seed=seed, positions=_PLACES, refine=0, progress=told
    )
    beyond = steps
    second = first.more(progress=told)
    before, after = (_mc(curve.barrier.errors) for curve in (first, second))
    values["connectivity"] = after
    inner = second.barrier.errors
    assert inner is not None
    values["curve_error"] = 100 * float(inner[1:-1].max())
    moved = after - before
    if abs(moved) > _SETTLED:
        notes.append(
            f"Connectivity has not settled: {before:.1f}% after {steps:,} steps of the curve and {after:.1f}% after "
            f"{2 * steps:,}; give more steps."
        )
    return moved


def _mc(errors: Tensor | None) -> float:
    """Equation 4 of Yang et al. 2021, in percent: the sign is that of the largest deviation from the ends' mean."""
    assert errors is not None
    deviation = (errors[0] + errors[-1]) / 2 - errors
    return 100 * float(deviation[deviation.abs().argmax()])


def _similarity(landscape: Landscape, points: Tensor, some: Tensors, seed: int, notes: list[str]) -> float:
    """Linear CKA of softmax outputs on inputs mixed with a shuffled copy of themselves."""
    import torch

    from landform import data, functions

    generator = torch.Generator().manual_seed(seed)
    inputs = some.inputs
    if inputs.is_floating_point():
        nobody = torch.zeros(_BATCH, dtype=torch.long, device=inputs.device)  # labels play no part here
        inputs = torch.cat(
            [data.mix(x, nobody[: len(x)], _MIXUP, 1, generator)[0] for x in torch.split(inputs, _BATCH)]
        )
    else:
        notes.append("Inputs that are no numbers cannot be mixed: similarity is that on the inputs themselves.")
    both = landscape.on((inputs, some.targets)).outputs(points).softmax(-1)
    return functions.cka(both[0], both[1])
