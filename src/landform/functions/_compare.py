"""How two points differ as functions: everything that one pass over the data for each can tell."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from landform.functions._contract import check_ends, check_points, wide
from landform.functions._errors import Average, Ensemble, ErrorOverlap, averageable, ensemble, overlap_of
from landform.functions._errors import error_overlap as _error_overlap
from landform.functions._hsic import Kernel
from landform.functions._layerwise import Features, Kernels, LayerCka, watch_for
from landform.functions._moments import Canonical, Moments
from landform.functions._patterns import PatternDistance, Tally, pattern_distances, units
from landform.functions._predictions import (
    cosine,
    different,
    disagreement,
    divergence,
    logit_cosine,
    output_distance,
    softmax_distance,
    squares,
    symmetric_kl,
)
from landform.functions._walk import Own, walk
from landform.functions._watch import Layers, LayerWatch, UnitWatch
from landform.landscape import Landscape

# Outputs beyond which their covariances are not taken.
_WIDE = 2048


@dataclass(frozen=True)
class Comparison:
    """How two points differ as functions.

    What is None has no meaning for this model and these targets: labels where there are no classes, patterns where
    there are no piecewise-linear units, covariances of more than 2,048 outputs.

    Attributes:
        output_distance: root mean square over samples of the difference of the outputs.
        logit_cosine: mean over samples of the cosine between the outputs.
        disagreement: share of samples with another label.
        softmax_distance: root mean square over samples of the difference of the probabilities.
        symmetric_kl: mean over samples of the divergence of the probabilities, both directions summed, in nats.
        overlap: of the wrong samples.
        ensemble: what averaging the two gains.
        cka: linear CKA of the outputs, over all samples.
        procrustes: distance of the outputs after the best rotation.
        canonical: canonical correlations of the outputs.
        patterns: normalised Hamming distance of the activation patterns, in all and by layer.
        layers: CKA of all layers against all, where layers were asked for.
        samples: how many samples.
        batchnorm: where BatchNorm's statistics came from.
    """

    output_distance: float
    logit_cosine: float
    disagreement: float | None
    softmax_distance: float | None
    symmetric_kl: float | None
    overlap: ErrorOverlap | None
    ensemble: Ensemble | None
    cka: float | None
    procrustes: float | None
    canonical: Canonical | None
    patterns: PatternDistance | None
    layers: LayerCka | None
    samples: int
    batchnorm: str


@dataclass(frozen=True)
class Comparisons:
    """How n points differ as functions, pair by pair; float64, on the CPU.

    Attributes:
        output_distance: root mean square over samples of the difference of the outputs, ``[n, n]``.
        logit_cosine: mean over samples of the cosine between the outputs, ``[n, n]``.
        disagreement: share of samples with another label, ``[n, n]``; None where there are no classes.
        softmax_distance: root mean square over samples of the difference of the probabilities, likewise.
        symmetric_kl: mean over samples of the divergence of the probabilities, likewise.
        overlap: of the wrong samples; None where the targets are not labels.
        ensemble: what averaging gains, all together and by pairs; likewise.
        cka: linear CKA of the outputs, ``[n, n]``; None for more than 2,048 outputs.
        patterns: normalised Hamming distance of the activation patterns, where asked for.
        samples: how many samples.
        batchnorm: where BatchNorm's statistics came from.
    """

    output_distance: Tensor
    logit_cosine: Tensor
    disagreement: Tensor | None
    softmax_distance: Tensor | None
    symmetric_kl: Tensor | None
    overlap: ErrorOverlap | None
    ensemble: Ensemble | None
    cka: Tensor | None
    patterns: PatternDistance | None
    samples: int
    batchnorm: str


class _Sums:
    """Sums over samples of what is measured sample by sample."""

    def __init__(self, classes: bool, labels: bool, average: Average) -> None:
        self._classes, self._labels, self._average = classes, labels, average
        self._totals: dict[str, float] = {}
        self.rows = 0
        self._given: list[Tensor] = []
        self._joint: list[Tensor] = []
        self._true: list[Tensor] = []
        self.moments: Moments | None = Moments()

    def add(self, a: Tensor, b: Tensor, targets: object) -> None:
        """Take a batch of outputs ``[B, ..., K]``."""
        left, right = wide(a).flatten(0, -2), wide(b).flatten(0, -2)
        self.rows += len(left)
        found = {"output_distance": squares(left, right), "logit_cosine": cosine(left, right)}
        if self._classes:
            p, q = left.log_softmax(-1), right.log_softmax(-1)
            found["disagreement"] = different(a.flatten(0, -2).argmax(-1), b.flatten(0, -2).argmax(-1))
            found["softmax_distance"] = squares(p.exp(), q.exp())
            found["symmetric_kl"] = divergence(p, q)
        for name, rows in found.items():
            self._totals[name] = self._totals.get(name, 0.0) + float(rows.sum())
        if left.shape[1] > _WIDE:
            self.moments = None
        if self.moments is not None:
            self.moments.add(left, right)
        if self._labels and isinstance(targets, Tensor):
            labels = targets.flatten().to(left.device)
            counts = labels != -100
            both = torch.stack((left, right))[:, counts]
            self._given.append(both.argmax(-1))
            self._joint.append(averageable(both, self._average).sum(0).argmax(-1))
            self._true.append(labels[counts])

    def mean(self, name: str) -> float | None:
        return self._totals[name] / self.rows if name in self._totals else None

    def overlap(self) -> ErrorOverlap | None:
        return overlap_of(torch.cat(self._given, 1), torch.cat(self._true)) if self._given else None

    def ensemble(self) -> Ensemble | None:
        if not self._given:
            return None
        given, joint, true = torch.cat(self._given, 1), torch.cat(self._joint), torch.cat(self._true)
        members = wide(given == true).mean(1).cpu()
        together = wide(joint == true).mean().cpu()
        gain = together - members.mean()
        pairs = torch.stack((torch.stack((0 * gain, gain)), torch.stack((gain, 0 * gain))))
        return Ensemble(members, together, pairs, self._average, len(true))


def compare(
    landscape: Landscape,
    a: Tensor,
    b: Tensor,
    *,
    layers: Layers | None = None,
    kernel: Kernel = "linear",
    bandwidth: float = 1.0,
    tile: int = 256,
    features: Features | None = None,
    patterns: bool = True,
    pooling: bool = False,
    average: Average = "softmax",
    keep: float = 0.99,
    buffers: Own = None,
) -> Comparison:
    """Compare two points as functions.

    Costs one full-data forward pass for each; everything is summed batch by batch. BatchNorm's statistics belong to
    each point as the landscape has it.

    Args:
        landscape: the landscape.
        a: ``[P]``.
        b: ``[P]``.
        layers: layers to take CKA of, all against all: names of modules, with the wildcards of the shell, or
            ``"all"`` that have none inside. None takes none.
        kernel: of that CKA, ``"linear"`` or ``"rbf"``.
        bandwidth: of the RBF kernel, as a multiple of the median distance within a mini-batch.
        tile: how many samples a mini-batch of that CKA has at most.
        features: a function that turns a layer's output ``[B, ...]`` into features ``[B, d]``; by default flat.
        patterns: whether to compare activation patterns, where the model has any.
        pooling: whether the winners of max-pooling count as pieces.
        average: what an ensemble averages, ``"softmax"`` or ``"logits"``.
        keep: share of the variance that the canonical correlations look at.
        buffers: for each point buffers to use instead of the landscape's own, or None.

    Returns:
        Everything that these passes tell.

    Raises:
        BadInput: when a point is of another layout or holds NaN, or a layer does not exist.
    """
    points = check_ends(landscape, a, b)
    averageable(torch.zeros(1, 2), average)
    watches: list[LayerWatch | UnitWatch] = []
    kernels = None
    if layers is not None:
        kernels = Kernels(kernel, bandwidth, tile, features, layers == "all")
        watches.append(watch_for(landscape, layers, kernels.take))
    tally = Tally(2)
    if patterns:
        watches.append(UnitWatch(landscape._function.net, pooling))
    sums: _Sums | None = None
    samples = 0
    for step in walk(landscape, points, buffers, watches, None if kernels is None else kernels.most):
        first, second = step.outputs
        sums = sums or _Sums(_classes(landscape, first), landscape.has_labels, average)
        sums.add(first, second, step.targets)
        samples += len(first)
        if kernels is not None:
            kernels.add(step.seen[0][0], step.seen[1][0], len(first))
        if patterns:
            tally.add([seen[-1] for seen in step.seen], len(first))
    assert sums is not None  # a landscape has at least one batch
    moments = sums.moments
    return Comparison(
        output_distance=(sums.mean("output_distance") or 0.0) ** 0.5,
        logit_cosine=sums.mean("logit_cosine") or 0.0,
        disagreement=sums.mean("disagreement"),
        softmax_distance=None if (far := sums.mean("softmax_distance")) is None else far**0.5,
        symmetric_kl=sums.mean("symmetric_kl"),
        overlap=sums.overlap(),
        ensemble=sums.ensemble(),
        cka=None if moments is None else moments.cka(),
        procrustes=None if moments is None else moments.procrustes(),
        canonical=None if moments is None else moments.canonical(keep),
        patterns=None if tally.empty else tally.pair(),
        layers=None if kernels is None else kernels.result(),
        samples=samples,
        batchnorm=landscape.batchnorm,
    )


def compare_all(
    landscape: Landscape,
    points: Tensor,
    *,
    patterns: bool = False,
    pooling: bool = False,
    average: Average = "softmax",
) -> Comparisons:
    """Compare n points as functions, pair by pair.

    Costs one full-data forward pass for each point, many points at a time where the model allows, and holds the
    outputs of all; patterns cost one more.

    Args:
        landscape: the landscape.
        points: ``[n, P]``.
        patterns: whether to compare activation patterns, where the model has any.
        pooling: whether the winners of max-pooling count as pieces.
        average: what an ensemble averages, ``"softmax"`` or ``"logits"``.

    Returns:
        Matrices over all pairs.

    Raises:
        BadInput: when the points are of another layout, one holds NaN, or there are fewer than two.
    """
    check_points(landscape, points, 2)
    averageable(torch.zeros(1, 2), average)
    outputs = landscape.outputs(points)
    classes = _classes(landscape, outputs)
    labels = _targets(landscape, points[:1]) if landscape.has_labels else None
    hamming = pattern_distances(landscape, points, pooling=pooling) if patterns and units(landscape) else None
    return Comparisons(
        output_distance=output_distance(outputs),
        logit_cosine=logit_cosine(outputs),
        disagreement=disagreement(outputs) if classes else None,
        softmax_distance=softmax_distance(outputs) if classes else None,
        symmetric_kl=symmetric_kl(outputs) if classes else None,
        overlap=None if labels is None else _error_overlap(outputs, labels),
        ensemble=None if labels is None else ensemble(outputs, labels, average=average),
        cka=_cka_of_all(outputs) if outputs.shape[-1] <= _WIDE else None,
        patterns=hamming,
        samples=outputs.shape[1],
        batchnorm=landscape.batchnorm,
    )


def _classes(landscape: Landscape, outputs: Tensor) -> bool:
    """Whether the outputs are logits of classes."""
    return outputs.shape[-1] > 1 and (landscape._loss_name == "cross-entropy" or landscape.has_labels)


def _targets(landscape: Landscape, points: Tensor) -> Tensor:
    """All labels, through the model once more: a forward of the user's own may make them."""
    return torch.cat([step.targets for step in walk(landscape, points)])


def _cka_of_all(outputs: Tensor) -> Tensor:
    """Linear CKA of all pairs of outputs ``[n, N, ..., K]``, from covariances of one against the rest."""
    n = len(outputs)
    rows = wide(outputs).flatten(1, -2)
    rows = rows - rows.mean(1, keepdim=True)
    found = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        found[i, i:] = (rows[i].T @ rows[i:]).square().flatten(1).sum(1).cpu()
    own = found.diagonal().sqrt()
    whole = found + found.triu(1).T
    return torch.where(own > 0, 1.0, torch.nan)[:, None] * whole / (own[:, None] * own[None])
