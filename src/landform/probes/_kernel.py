"""Probes of the tangent kernel along a run: how fast it turns, how far, towards what, and its spectrum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landform import kernel
from landform.errors import Damaged
from landform.landscape import Landscape
from landform.probes._moment import Moment
from landform.probes._probe import Probe, Value
from landform.recording import Record
from landform.training import Recipe


def _velocity(moment: Moment, *, samples: int) -> dict[str, float]:
    """Distance of the full kernel to that of the partner, over the time in between, and over the learning rate."""
    after = moment.partner
    dt = after.epoch - moment.record.epoch
    now, then = _kernel(moment, samples), _kernel_at(moment, after, samples)
    if now is None or then is None or dt <= 0:
        return dict.fromkeys(("kernel_velocity", "kernel_velocity_per_lr"), math.nan)
    speed = kernel.distance(now, then) / dt
    lr = _rate(moment, after)
    return {"kernel_velocity": speed, "kernel_velocity_per_lr": speed / lr if lr else math.nan}


def _distance(moment: Moment, *, samples: int) -> dict[str, float]:
    """Distance of the full kernel from that of the first record, and its growth."""
    now, first = _kernel(moment, samples), _kernel_at(moment, moment.start, samples)
    if now is None or first is None:
        return dict.fromkeys(("kernel_distance", "kernel_scale"), math.nan)
    return {
        "kernel_distance": kernel.distance(first, now),
        "kernel_scale": float(torch.linalg.vector_norm(now) / torch.linalg.vector_norm(first)),
    }


def _alignment(moment: Moment, *, samples: int) -> dict[str, float]:
    """Alignment of the trace kernel with the labels, centred and not."""
    names = ("kernel_alignment", "kernel_alignment_uncentred")
    now = _kernel(moment, samples, "trace")
    labels = few(moment.landscape, samples)[1]
    if now is None or labels is None:
        return dict.fromkeys(names, math.nan)
    return {name: kernel.alignment(now, labels, centred=name == names[0]) for name in names}


def _spectrum(moment: Moment, *, samples: int, k: int) -> dict[str, Value | float]:
    """Largest eigenvalues of the trace kernel, its effective rank, and the labels' share in its top eigenvectors."""
    now = _kernel(moment, samples, "trace")
    labels = few(moment.landscape, samples)[1]
    ranks = {"rank": list(range(1, k + 1))}
    gap = torch.full((k,), math.nan)
    if now is None:
        found = {name: Value(gap, ("rank",), ranks) for name in ("kernel_eigenvalues", "kernel_label_energy")}
        return {**found, "kernel_effective_rank": math.nan, "kernel_top_mass": math.nan}
    spectrum = kernel.spectrum(now, vectors=True)
    energy = gap if labels is None else kernel.label_energy(spectrum, labels, centred=True).cumulative
    return {
        "kernel_eigenvalues": Value(_padded(spectrum.values, k), ("rank",), ranks),
        "kernel_label_energy": Value(_padded(energy, k), ("rank",), ranks),
        "kernel_effective_rank": spectrum.effective_rank,
        "kernel_top_mass": spectrum.top_mass(min(20, len(now))),
    }


def _distances(moment: Moment, *, samples: int, times: int) -> dict[str, Value]:
    """Distances between the full kernels of some of the run's records, all pairs."""
    sound = _sound(moment)
    places = np.unique(np.linspace(0, len(sound) - 1, min(times, len(sound))).round().astype(int)).tolist()
    records = [sound[place] for place in places]
    kernels = [_kernel_at(moment, record, samples) for record in records]
    there = [i for i, one in enumerate(kernels) if one is not None]
    table = torch.full((times, times), math.nan, dtype=torch.float64)
    epochs = torch.full((times,), math.nan, dtype=torch.float64)
    for place, record in enumerate(records):
        epochs[place] = record.epoch
    if there:
        known = kernel.distances([one for one in kernels if one is not None])
        table[torch.tensor(there)[:, None], torch.tensor(there)] = known
    return {
        "kernel_distances": Value(table, ("from_record", "to_record")),
        "kernel_distances_epochs": Value(epochs, ("from_record",)),
    }


def _sound(moment: Moment) -> list[Record]:
    """The run's records but for partners and damaged ones."""
    found = []
    for place in range(len(moment.trajectory)):
        try:
            record = moment.trajectory.records[place]
        except Damaged:
            continue
        if not record.partner:
            found.append(record)
    return found


def _map(moment: Moment, *, samples: int) -> dict[str, Value]:
    """The trace kernel itself, of samples sorted by class, and their classes."""
    labels = few(moment.landscape, samples)[1]
    now = _kernel(moment, samples, "trace")
    count = samples if now is None else len(now)
    table = torch.full((count, count), math.nan) if now is None else now
    classes = torch.full((count,), math.nan) if labels is None else labels.double()
    return {
        "kernel_map": Value(table, ("sample", "other_sample")),
        "kernel_map_classes": Value(classes, ("sample",)),
    }


# ------------------------------------------------------------------------------------------------------------ kernels


def _kernel(moment: Moment, samples: int, kind: str = "full") -> Tensor | None:
    """The kernel at the moment, shared by the probes that look at it; None where there is none."""

    def find() -> tuple[Tensor | None]:
        return (_taken(moment.landscape, moment.point, samples, kind, moment.buffers),)

    return moment._once(f"kernel {kind} {samples}", find)[0]


def _kernel_at(moment: Moment, record: Record, samples: int) -> Tensor | None:
    """The full kernel at another record."""
    landscape = moment.landscape
    return _taken(landscape, record.point.to(landscape.device, landscape.dtype), samples, "full", None)


def _taken(
    landscape: Landscape, point: Tensor, samples: int, kind: str, buffers: Mapping[str, Tensor] | None
) -> Tensor | None:
    if not bool(torch.isfinite(point).all()):
        return None
    found = kernel.ntk(few(landscape, samples)[0], point, kind=kind, buffers=buffers)  # type: ignore[arg-type]
    return found if bool(torch.isfinite(found).all()) and bool(found.any()) else None


def few(landscape: Landscape, samples: int) -> tuple[Landscape, Tensor | None]:
    """Choose samples to take kernels on: as many of each class as there are, sorted by class, or evenly spread.

    Args:
        landscape: of data in memory.
        samples: how many, at most.

    Returns:
        The landscape on them, and their labels; None where there are no labels.
    """
    targets: Any = landscape._data.targets  # type: ignore[union-attr]
    count = min(samples, len(targets))
    if not landscape.has_labels or targets.dim() != 1:
        spread = torch.linspace(0, len(targets) - 1, count, dtype=torch.float64).round().long()
        return landscape.subset(spread), None
    labels = targets.cpu()
    order = torch.argsort(labels, stable=True)
    # The place of each sample within its own class: taking all first ones, then all second ones, balances the classes.
    sizes = torch.bincount(labels[labels >= 0])
    place = torch.empty_like(labels)
    start = int((labels < 0).sum())
    place[order[:start]] = len(labels)  # those that cross-entropy passes over come last
    for size in sizes.tolist():
        place[order[start : start + size]] = torch.arange(size)
        start += size
    chosen = torch.argsort(place * (int(labels.max()) + 2) + labels, stable=True)[:count]
    chosen = chosen[torch.argsort(labels[chosen], stable=True)]
    return landscape.subset(chosen), labels[chosen]


def _rate(moment: Moment, after: Record) -> float | None:
    """Mean learning rate of the steps between the record and its partner, as far as it is known."""
    settings: Mapping[str, Any] = moment.trajectory.run["settings"]
    steps = range(moment.record.step, after.step)
    if "recipe" in settings and len(steps):
        return float(Recipe.from_json(settings["recipe"]).rates(steps, moment.trajectory.run["epoch"]).mean())
    known = [record.lr for record in (moment.record, after) if record.lr]
    return sum(known) / len(known) if known else None


def _padded(values: Tensor, k: int) -> Tensor:
    """The first k values; nan where there are fewer."""
    found = torch.full((k,), math.nan, dtype=torch.float64)
    found[: len(values)] = values[:k].cpu()
    return found


def without_subset(landscape: Landscape) -> str | None:
    """Say why no samples can be chosen.

    Args:
        landscape: the landscape.

    Returns:
        The reason, or None where they can.
    """
    return None if hasattr(landscape._data, "targets") else "its data are a stream, of which no samples can be chosen"


def _without_labels(landscape: Landscape) -> str | None:
    if not landscape.has_labels:
        return "its targets are not labels, so there is nothing to be aligned with"
    return without_subset(landscape)


kernel_velocity = Probe(
    "kernel_velocity",
    _velocity,
    settings={"samples": 64},
    times="pairs",
    needs=("landscape", "partner", "trajectory"),
    doc="distance of the full tangent kernel to that 0.4 epochs later, per epoch and per learning rate",
    cost=4.0,
    applies=without_subset,
)
kernel_distance = Probe(
    "kernel_distance",
    _distance,
    settings={"samples": 64},
    times=24,
    needs=("landscape", "start"),
    doc="distance of the full tangent kernel from that of the first record, and its growth",
    cost=4.0,
    applies=without_subset,
)
kernel_alignment = Probe(
    "kernel_alignment",
    _alignment,
    settings={"samples": 200},
    times=24,
    doc="cosine between the trace kernel and the kernel of the labels, centred and not",
    cost=4.0,
    applies=_without_labels,
)
kernel_spectrum = Probe(
    "kernel_spectrum",
    _spectrum,
    settings={"samples": 200, "k": 64},
    times=16,
    doc="largest eigenvalues of the trace kernel, its effective rank, and the labels' share in its top eigenvectors",
    cost=4.0,
    applies=without_subset,
)
kernel_distances = Probe(
    "kernel_distances",
    _distances,
    settings={"samples": 64, "times": 24},
    times=(1e9,),
    needs=("landscape", "trajectory"),
    doc="distances between the full tangent kernels of the run's records, all pairs (taken once, at the end)",
    cost=50.0,
    applies=without_subset,
)
kernel_map = Probe(
    "kernel_map",
    _map,
    settings={"samples": 100},
    times=3,
    doc="the trace kernel itself, of samples sorted by class",
    cost=4.0,
    applies=without_subset,
)
