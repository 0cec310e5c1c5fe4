"""Figures of the tangent kernel: along a run as it was measured, and of kernels and distances given as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from landform.atlas import Atlas
from landform.errors import BadInput
from landform.report._figure import Axis, Figure, Numbers, Series
from landform.report._heat import HeatAxis, HeatMap
from landform.report._lines import Times, along, time_axis, value_axis
from landform.report._material import Material, Spread

# What `heat_maps` reads from an atlas.
MAPPED = ("kernel_distances", "kernel_distances_epochs", "kernel_map", "kernel_map_classes")


def velocity(material: Material, times: Times = "auto") -> Figure | None:
    """Kernel velocity along the run; None where it was not measured."""
    return along(
        material,
        "kernel_velocity",
        times,
        title="Kernel velocity",
        label="kernel distance per epoch",
        caption="Distance of the tangent kernel to itself a little later (0.4 epochs, as a rule), over the time in "
        "between. A fast early turn and a slow, steady one after it is the transient in which features are learned.",
        fools="It goes about with the learning rate: beside a falling rate read the velocity per learning rate. It "
        "depends on the samples it is taken on, and over a shorter time noise makes it larger.",
    )


def velocity_per_lr(material: Material, times: Times = "auto") -> Figure | None:
    """Kernel velocity over the learning rate; None where it was not measured."""
    return along(
        material,
        "kernel_velocity_per_lr",
        times,
        title="Kernel velocity per learning rate",
        label="distance per epoch and learning rate",
        caption="The same velocity over the mean learning rate of the steps in between. What is left to fall is the "
        "kernel's own settling, not the schedule's.",
        fools="Where the rate goes to zero the quotient grows from rounding and means nothing. Momentum and Adam make "
        "steps of other lengths than the rate says.",
    )


def distance(material: Material, times: Times = "auto") -> Figure | None:
    """Distance of the kernel from that of the first record; None where it was not measured."""
    return along(
        material,
        "kernel_distance",
        times,
        title="How far the kernel has turned",
        label="kernel distance from the start",
        caption="One minus the cosine between the tangent kernel and that of the first record: 0 for a network that "
        "trains as a fixed kernel would, near 1 when nothing of the first kernel is left.",
        fools="Growth alone does not show, since the distance leaves scale out. Kernels of positive entries share much "
        "from the outset, so half the way to 1 is far.",
    )


def sketch_distance(material: Material, times: Times = "auto") -> Figure | None:
    """Distance of the estimated kernel from that of the first record; None where it was not measured."""
    return along(
        material,
        "sketch_distance",
        times,
        title="How far the estimated kernel has turned",
        label="kernel distance from the start",
        caption="One minus the cosine between the trace kernel and that of the first record, both estimated from the "
        "same few mixes of the outputs and the same shortening of gradients.",
        fools="It is of the trace kernel, and of the same draws: what the estimate adds to both kernels makes them "
        "look nearer than they are. The error of the estimate is in the atlas, as sketch_error.",
    )


def alignment(material: Material, times: Times = "auto") -> Figure | None:
    """Alignment of the kernel with the labels; None where it was not measured."""
    return along(
        material,
        "kernel_alignment",
        times,
        title="Alignment with the labels",
        label="centred kernel alignment",
        caption="Cosine between the trace kernel and the kernel of the labels, which is 1 for two samples of a class "
        "and 0 for others, the mean over samples taken off both. It rises as features of the classes are learned.",
        fools="On training samples it rises with random labels too: look at a test set. It is taken on few samples.",
    )


def effective_rank(material: Material, times: Times = "auto") -> Figure | None:
    """Effective rank of the kernel; None where it was not measured."""
    return along(
        material,
        "kernel_effective_rank",
        times,
        title="Effective rank of the kernel",
        label="effective rank",
        caption="Exponential of the entropy of the kernel's spectrum: in about how many directions of output space a "
        "gradient step can move the network. Towards 1 all samples move together; it rises as classes come apart.",
        fools="It is at most the number of samples times outputs the kernel was taken on, and grows with them.",
    )


def eigenvalues(material: Material, times: Times = "auto") -> Figure | None:
    """The largest eigenvalues of the kernel along the run; None where they were not measured."""
    spread = _spectrum(material)
    if spread is None:
        return None
    series = _columns(spread, "eigenvalue")
    return Figure(
        "kernel-eigenvalues",
        f"Largest eigenvalues of the kernel{_on(spread)}",
        "The largest eigenvalues of the tangent kernel at the recorded times. What lies along an eigenvector is "
        "learned at a rate in proportion to its eigenvalue.",
        "They grow with the number of samples the kernel is taken on, and with the scale of weights and outputs.",
        time_axis(times, spread.epochs),
        value_axis("eigenvalue", series, "log"),
        series,
    )


def decay(material: Material, times: Times = "auto") -> Figure | None:
    """The kernel's spectrum by rank, one line a recorded time; None where it was not measured."""
    spread = _spectrum(material)
    if spread is None or spread.values.shape[1] < 3:
        return None
    ranks = np.arange(1.0, spread.values.shape[1] + 1)
    seen = [i for i, row in enumerate(spread.values) if np.isfinite(row).any() and np.nanmax(row) > 0]
    chosen = [seen[i] for i in np.unique(np.linspace(0, len(seen) - 1, min(6, len(seen))).astype(int))]
    style: Literal["marked", "line"] = "marked" if len(ranks) <= 20 else "line"
    series = tuple(
        Series(f"epoch {spread.epochs[i]:.3g}", ranks, spread.values[i] / np.nanmax(spread.values[i]), style, colour)
        for colour, i in enumerate(chosen)
    )
    return Figure(
        "kernel-decay",
        f"Decay of the kernel's eigenvalues{_on(spread)}",
        "Each eigenvalue over the largest, by rank, at some of the recorded times. A line that drops faster is a "
        "kernel that puts more of its weight on fewer functions.",
        "Only the largest are kept, and those of few samples: the tail of the whole data set lies lower.",
        Axis("rank (log scale)", "log"),
        value_axis("eigenvalue / largest", series, "log"),
        series,
    )


def label_energy(material: Material, times: Times = "auto") -> Figure | None:
    """Share of the labels in the kernel's top eigenvectors; None where it was not measured."""
    spread = _spread(material, "kernel_label_energy")
    if spread is None:
        return None
    # Of many ranks a few that double: 1, 2, 4, ...
    there = {int(i) for i in np.flatnonzero(np.isfinite(spread.values).sum(axis=0))}
    places = [2**p - 1 for p in range(12) if 2**p - 1 in there]
    part = Spread(spread.epochs, spread.values[:, places], tuple(spread.labels[i] for i in places), spread.set)
    return Figure(
        "kernel-label-energy",
        f"How much of the labels lies in the top eigenvectors{_on(spread)}",
        "Share of the squared length of the centred labels in the span of the kernel's first 1, 2, 4, ... vectors. "
        "What lies in the top is learned soon and generalises; what lies in the tail has to be memorised.",
        "It is the share of the samples the kernel was taken on; with k of N eigenvectors, k / N lies there by chance.",
        time_axis(times, spread.epochs),
        Axis("share of the labels", limits=(-0.02, 1.02), percent=True),
        _columns(part, "first"),
    )


def kernel_map(
    kernel: Any, labels: Any = None, *, title: str = "The kernel", name: str = "kernel", normalised: bool = False
) -> HeatMap:
    """A kernel as a heat map, its samples sorted by class.

    Args:
        kernel: ``[n, n]``, or ``[n, n, K, K]``, of which the trace over outputs is shown; a tensor or an array.
        labels: the samples' classes, ``[n]``; without them the order is kept.
        title: what is to be seen.
        name: for files and links.
        normalised: whether to show cosines, ``K_ij / sqrt(K_ii K_jj)``.

    Returns:
        The heat map.

    Raises:
        BadInput: when the kernel is not one of samples with themselves, or the labels are not theirs.
    """
    values = _numbers(kernel)
    if values.ndim == 4 and values.shape[2] == values.shape[3]:
        values = np.einsum("nmkk->nm", values)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not len(values):
        raise BadInput(f"A kernel map shows the kernel of samples with themselves; got shape {list(values.shape)}.")
    cells = tuple(str(i) for i in range(len(values)))
    groups: tuple[tuple[str, int], ...] = ()
    if labels is not None:
        classes = _numbers(labels)
        if classes.shape != (len(values),):
            raise BadInput(f"There are {len(values)} samples and labels of shape {list(classes.shape)}: give one each.")
        order = np.argsort(classes, kind="stable")
        values = values[np.ix_(order, order)]
        found, counts = np.unique(classes, return_counts=True)
        cells = tuple(f"sample {i} (class {classes[i]:g})" for i in order)
        groups = tuple((f"{value:g}", int(count)) for value, count in zip(found, counts, strict=True))
    if normalised:
        lengths = np.sqrt(np.clip(np.diagonal(values), 1e-300, None))
        values = values / np.outer(lengths, lengths)
    axis = HeatAxis("samples" if labels is None else "samples, by class", cells, groups)
    signed = bool((values < -0.02 * np.nanmax(np.abs(values))).any())
    return HeatMap(
        name,
        title,
        "The tangent kernel between pairs of samples, sorted by class: how much a gradient step on one sample moves "
        "the output on the other. Blocks along the diagonal mean that samples of a class are alike to the network.",
        "A large entry can be two large gradients rather than two alike ones; cosines take that out. The trace over "
        "outputs hides how outputs act on one another.",
        axis,
        axis,
        values,
        "cosine" if normalised else "kernel",
        diverging=signed,
        # Cosines at two times are comparable, and so are their colours.
        limits=None if not normalised else (-1.0, 1.0) if signed else (0.0, 1.0),
    )


def distance_map(distances: Any, epochs: Sequence[float] | Numbers, *, name: str = "kernel-distances") -> HeatMap:
    """Kernel distances between all pairs of recorded times.

    Args:
        distances: ``[T, T]``, as `kernel.distances` gives them.
        epochs: the times, ``[T]``.
        name: for files and links.

    Returns:
        The heat map; its cells are recorded times, evenly wide however far apart they lie.

    Raises:
        BadInput: when there is not one time for each row.
    """
    values = _numbers(distances)
    if values.shape != (len(epochs), len(epochs)):
        raise BadInput(f"Distances are [{len(epochs)}, {len(epochs)}] for as many times; got {list(values.shape)}.")
    axis = HeatAxis("epoch of the recorded times", tuple(f"{epoch:.3g}" for epoch in epochs))
    return HeatMap(
        name,
        "Kernel distance between times",
        "One minus the cosine between the tangent kernels of two recorded times. A dark square along the diagonal is a "
        "time in which the kernel rests; a bright band beside it, one in which it turns.",
        "The cells are as wide for short times as for long ones: with log-spaced records the early part looks long.",
        axis,
        axis,
        values,
        "kernel distance",
        limits=(0.0, max(float(np.nanmax(values)), 1e-12)) if np.isfinite(values).any() else None,
    )


def heat_maps(atlas: Atlas) -> list[HeatMap]:
    """The heat maps of the kernel that a survey measured along a run, on its first data set.

    Args:
        atlas: what was measured.

    Returns:
        The distances between all times, and the kernel at the first and the last time; as far as they were measured.
    """
    found: list[HeatMap] = []
    there = atlas.names()
    if "kernel_distances" in there:
        _, table = _over_time(atlas, "kernel_distances")
        _, epochs = _over_time(atlas, "kernel_distances_epochs")
        seen = np.isfinite(epochs[-1])
        found.append(distance_map(table[-1][np.ix_(seen, seen)], epochs[-1][seen]))
    if "kernel_map" in there:
        times, kernels = _over_time(atlas, "kernel_map")
        _, classes = _over_time(atlas, "kernel_map_classes")
        finite = [i for i, one in enumerate(kernels) if np.isfinite(one).any()]
        for place, i in enumerate(dict.fromkeys([finite[0], finite[-1]]) if finite else []):
            inside = np.isfinite(np.diagonal(kernels[i]))
            labels = classes[i][inside] if np.isfinite(classes[i][inside]).all() else None
            kernel = kernels[i][np.ix_(inside, inside)]
            title = f"The kernel at epoch {times[i]:.3g}, as cosines"
            found.append(kernel_map(kernel, labels, title=title, name=f"kernel-map-{place + 1}", normalised=True))
    return found


def _over_time(atlas: Atlas, name: str) -> tuple[Numbers, Numbers]:
    """Times ``[T]``, and what was measured at them on the first data set, ``[T, ...]``."""
    labelled = atlas[name]
    values = np.asarray(labelled.values, dtype=np.float64)
    times = np.asarray(labelled.coords["time"], dtype=np.float64)
    return times, values[0] if "set" in labelled.dims else values


def _numbers(given: Any) -> Numbers:
    """A tensor or an array as an array."""
    plain = given.detach().cpu().double().numpy() if hasattr(given, "detach") else given
    return np.asarray(plain, dtype=np.float64)


def _spread(material: Material, name: str) -> Spread | None:
    spread = material.spread.get(name)
    return None if spread is None or not np.isfinite(spread.values).any() else spread


def _spectrum(material: Material) -> Spread | None:
    """The kernel's eigenvalues: exact ones, or else estimated."""
    exact = _spread(material, "kernel_eigenvalues")
    return _spread(material, "sketch_eigenvalues") if exact is None else exact


def _columns(spread: Spread, word: str) -> tuple[Series, ...]:
    most = 8  # more lines than that cannot be told apart
    return tuple(
        Series(f"{word} {label}", spread.epochs, np.where(np.isfinite(column), column, np.nan), "marked", i % 6)
        for i, (label, column) in enumerate(zip(spread.labels[:most], spread.values.T[:most], strict=True))
    )


def _on(spread: Spread) -> str:
    return f" ({spread.set})" if spread.set else ""
