"""Representations layer by layer, streamed: what is kept does not grow with the number of samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.functions._contract import check_ends
from landform.functions._hsic import Kernel, centre, gram, products, similarity, squares
from landform.functions._moments import Moments
from landform.functions._walk import Own, walk
from landform.functions._watch import Layers, LayerWatch
from landform.landscape import Landscape

Features: TypeAlias = Callable[[Tensor], Tensor]
_MEMORY = 2 << 30


@dataclass(frozen=True)
class LayerCka:
    """CKA between every layer at one point and every layer at another.

    Attributes:
        layers: their names, ``[L]``.
        values: rows are layers at the first point, columns at the second, ``[L, L]``, float64, on the CPU; nan where a
            layer does not vary.
        kernel: ``"linear"`` or ``"rbf"``.
        bandwidth: of the RBF kernel, in median distances.
        tile: how many samples a mini-batch of the estimate has at most.
        samples: how many samples it is over.
    """

    layers: tuple[str, ...]
    values: Tensor
    kernel: Kernel
    bandwidth: float
    tile: int
    samples: int

    @property
    def same(self) -> Tensor:
        """Each layer with itself, ``[L]``."""
        return self.values.diagonal()


@dataclass(frozen=True)
class LayerDistances:
    """How each layer differs between two points; float64, on the CPU, from moments over all samples.

    Attributes:
        layers: their names, ``[L]``.
        cka: linear CKA, ``[L]``.
        procrustes: distance after the best rotation, ``[L]``.
        svcca: mean canonical correlation of the leading principal directions, ``[L]``.
        pwcca: the same, weighted by what each direction carries at the first point, ``[L]``.
        features: how many features each layer has, ``[L]``; below a few times as many samples svcca and pwcca are
            near 1 whatever the layers are.
        samples: how many samples.
    """

    layers: tuple[str, ...]
    cka: Tensor
    procrustes: Tensor
    svcca: Tensor
    pwcca: Tensor
    features: tuple[int, ...]
    samples: int


class Kernels:
    """What to take of a layer's output for CKA, and the sums over mini-batches."""

    def __init__(self, kernel: Kernel, bandwidth: float, tile: int, features: Features | None, lenient: bool) -> None:
        """Say which kernel, over how many samples at a time.

        Args:
            kernel: ``"linear"`` or ``"rbf"``.
            bandwidth: of the RBF kernel, in median distances.
            tile: how many samples a mini-batch has at most.
            features: turns a layer's output into features ``[B, d]``.
            lenient: pass over layers that do not have a row for each sample.
        """
        if tile < 4:
            raise BadInput(f"tile is {tile}: the unbiased estimate takes mini-batches of 4 samples or more.")
        self._kernel, self._bandwidth, self._tile = kernel, bandwidth, tile
        self._features, self._lenient = features, lenient
        self._names: tuple[str, ...] | None = None
        self._sums: list[Tensor] = []
        self.samples = 0

    @property
    def most(self) -> int:
        """Samples at a time, so that the kernels of all layers stay few."""
        return 2 * self._tile

    def take(self, output: Tensor) -> tuple[int, list[Tensor]]:
        """Centred kernels of a layer's output, mini-batch by mini-batch, of which no feature is kept."""
        rows = flat(output, self._features)
        parts = rows.tensor_split(-(-len(rows) // self._tile))
        kernels = [gram(part, self._kernel, self._bandwidth) for part in parts if len(part) >= 4]
        return len(rows), [centre(kernel, unbiased=True) for kernel in kernels]

    def add(self, first: Mapping[str, Any], second: Mapping[str, Any], samples: int) -> None:
        """Take a batch.

        Args:
            first: what was taken of each layer at the first point.
            second: and at the second.
            samples: how many samples the batch has.

        Raises:
            BadInput: when a layer was never called, or does not have a row for each sample.
        """
        names = with_rows({name: count for name, (count, _) in first.items()}, samples, self._lenient)
        if self._names is None:
            self._names = names
            self._sums = [torch.zeros(len(names), len(names)), *(torch.zeros(len(names)) for _ in range(2))]
            self._sums = [one.double() for one in self._sums]
        if names != self._names:
            raise BadInput("The model calls other layers for one batch than for another: its forward depends on them.")
        for at in range(len(first[names[0]][1])):
            left, right = (torch.stack([taken[name][1][at] for name in names]) for taken in (first, second))
            size = left.shape[-1]
            self.samples += size
            found = (products(left, right, True), squares(left), squares(right))
            for total, one in zip(self._sums, found, strict=True):
                total += size * one.cpu()

    def result(self) -> LayerCka:
        """CKA of the sums.

        Returns:
            All layers against all.

        Raises:
            BadInput: when no batch has four samples.
        """
        if self._names is None or not self.samples:
            raise BadInput(
                "The unbiased CKA takes batches of 4 samples or more: give the landscape a larger batch_size."
            )
        values = similarity(*self._sums)
        return LayerCka(self._names, values, self._kernel, self._bandwidth, self._tile, self.samples)


def layer_cka(
    landscape: Landscape,
    a: Tensor,
    b: Tensor,
    *,
    layers: Layers = "all",
    kernel: Kernel = "linear",
    bandwidth: float = 1.0,
    tile: int = 256,
    features: Features | None = None,
    buffers: Own = None,
) -> LayerCka:
    """CKA between every layer at one point and every layer at another, in one pass over the data for each.

    HSIC is estimated without bias on mini-batches and summed (Nguyen, Raghu and Kornblith 2021), so that only kernels
    between the samples of one mini-batch are held, never the features of all layers.

    Args:
        landscape: the landscape.
        a: ``[P]``.
        b: ``[P]``.
        layers: names of modules, with the wildcards of the shell, or ``"all"`` that have none inside.
        kernel: ``"linear"`` or ``"rbf"``.
        bandwidth: of the RBF kernel, as a multiple of the median distance within the mini-batch.
        tile: how many samples a mini-batch has at most.
        features: a function that turns a layer's output ``[B, ...]`` into features ``[B, d]``, such as
            ``lambda x: x.mean((2, 3))``; by default they are laid flat.
        buffers: for each point buffers to use instead of the landscape's own, or None.

    Returns:
        All layers against all.

    Raises:
        BadInput: when there is no such layer, or a point cannot be compared.
    """
    points = check_ends(landscape, a, b)
    kernels = Kernels(kernel, bandwidth, tile, features, layers == "all")
    for step in walk(landscape, points, buffers, [watch_for(landscape, layers, kernels.take)], kernels.most):
        kernels.add(step.seen[0][0], step.seen[1][0], len(step.outputs[0]))
    return kernels.result()


def layer_distances(
    landscape: Landscape,
    a: Tensor,
    b: Tensor,
    *,
    layers: Layers = "all",
    keep: float = 0.99,
    features: Features | None = None,
    buffers: Own = None,
    memory: int = _MEMORY,
) -> LayerDistances:
    """CKA, Procrustes distance and canonical correlations of each layer with itself, in one pass for each point.

    Only covariances are kept, ``(2 d)^2`` numbers for a layer of d features.

    Args:
        landscape: the landscape.
        a: ``[P]``.
        b: ``[P]``.
        layers: names of modules, with the wildcards of the shell, or ``"all"`` that have none inside.
        keep: share of the variance that the principal directions of SVCCA explain.
        features: a function that turns a layer's output ``[B, ...]`` into features ``[B, d]``, such as
            ``lambda x: x.mean((2, 3))``; by default they are laid flat.
        buffers: for each point buffers to use instead of the landscape's own, or None.
        memory: bytes that the covariances may take.

    Returns:
        One number of each kind for each layer.

    Raises:
        BadInput: when there is no such layer, the covariances do not fit, or a point cannot be compared.
    """
    points = check_ends(landscape, a, b)
    moments: dict[str, Moments] = {}
    sizes: dict[str, int] = {}

    def take(output: Tensor) -> Tensor:
        return flat(output, features).clone()

    for step in walk(landscape, points, buffers, [watch_for(landscape, layers, take)]):
        first, second = step.seen[0][0], step.seen[1][0]
        names = with_rows({name: len(rows) for name, rows in first.items()}, len(step.outputs[0]), layers == "all")
        if not moments:
            sizes = {name: first[name].shape[1] for name in names}
            _check_memory(sizes, memory)
        for name in names:
            moments.setdefault(name, Moments()).add(first[name], second[name])
    correlations = [one.canonical(keep) for one in moments.values()]
    columns = (
        [one.cka() for one in moments.values()],
        [one.procrustes() for one in moments.values()],
        [one.svcca for one in correlations],
        [one.pwcca for one in correlations],
    )
    cka, procrustes, svcca, pwcca = (torch.tensor(column, dtype=torch.float64) for column in columns)
    count = next(iter(moments.values())).count
    return LayerDistances(tuple(moments), cka, procrustes, svcca, pwcca, tuple(sizes.values()), count)


def activations(
    landscape: Landscape,
    point: Tensor,
    layers: Layers,
    *,
    features: Features | None = None,
    buffers: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Keep what layers put out for every sample: for measures of one's own, or models of different layouts.

    Args:
        landscape: the landscape.
        point: ``[P]``.
        layers: names of modules, with the wildcards of the shell, or ``"all"`` that have none inside.
        features: a function that turns a layer's output ``[B, ...]`` into features ``[B, d]``; by default it is kept
            as it is.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        By layer, ``[N, ...]``, on the landscape's device; a layer called twice has a second entry, ``name#2``.

    Raises:
        BadInput: when there is no such layer, or the point cannot be used.
    """
    points = check_ends(landscape, point)
    parts: dict[str, list[Tensor]] = {}

    def take(output: Tensor) -> Tensor:
        return (output if features is None else flat(output, features)).clone()

    for step in walk(landscape, points, [buffers], [watch_for(landscape, layers, take)]):
        taken = step.seen[0][0]
        for name in with_rows({n: len(t) for n, t in taken.items()}, len(step.outputs[0]), layers == "all"):
            parts.setdefault(name, []).append(taken[name])
    return {name: torch.cat(batches) for name, batches in parts.items()}


def watch_for(landscape: Landscape, layers: Layers, take: Callable[[Tensor], Any]) -> LayerWatch:
    """Look at some layers of a landscape's model.

    Args:
        landscape: the landscape.
        layers: which.
        take: what to keep of each output.

    Returns:
        The watch.
    """
    return LayerWatch(landscape._function.net, layers, take)


def with_rows(counts: Mapping[str, int], samples: int, lenient: bool) -> tuple[str, ...]:
    """Choose the layers that have a row for each sample.

    Args:
        counts: rows of each.
        samples: how many samples there are.
        lenient: pass over the others.

    Returns:
        Their names.

    Raises:
        BadInput: when there is none, or one that was asked for does not.
    """
    fine = tuple(name for name, count in counts.items() if count == samples)
    if not fine or (not lenient and len(fine) < len(counts)):
        odd = next((name for name in counts if name not in fine), "")
        raise BadInput(
            f"Layer {odd} puts out {counts[odd]} rows for {samples} samples: compare layers with a row for each."
            if odd
            else "None of these layers is called in the model's forward pass: name others."
        )
    return fine


def flat(output: Tensor, features: Features | None) -> Tensor:
    """Turn a layer's output into features.

    Args:
        output: ``[B, ...]``.
        features: how; None lays them flat.

    Returns:
        ``[B, d]``.
    """
    rows = output if features is None else features(output)
    if not isinstance(rows, Tensor) or not rows.dim() or len(rows) != len(output):
        raise BadInput("features= has to return a tensor with a row for each sample: one of shape [B, d].")
    return rows.reshape(len(rows), -1)


def _check_memory(sizes: Mapping[str, int], memory: int) -> None:
    needed = sum(8 * (2 * size) ** 2 for size in sizes.values())
    if needed > memory:
        widest = max(sizes, key=lambda name: sizes[name])
        raise BadInput(
            f"The covariances of these layers take {needed / 2**20:,.1f} MiB ({widest} has {sizes[widest]} features), "
            f"and {memory / 2**20:,.1f} are allowed: name fewer layers, or give features= to average over positions."
        )
