"""What is measured on a group of networks that are to be merged: plain numbers, for ``results/*.json``."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landform import alignment, functions, merging, paths
from landform.data import Split
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.layout import Layout
from landform.studies._merging_groups import Group

# What is tried of each method; the training loss chooses, the test set only judges.
CHOICES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "mean": ({},),
    "slerp": ({},),
    "karcher": ({},),
    "task_arithmetic": tuple({"scale": scale} for scale in (0.3, 0.5, 0.7, 1.0)),
    "ties": tuple({"density": d, "scale": s} for d in (0.2, 0.5) for s in (0.7, 1.0)),
    "dare": tuple({"density": d, "scale": s} for d in (0.5, 0.9) for s in (0.3, 0.5)),
    "dare_ties": tuple({"density": d, "scale": s} for d in (0.5, 0.9) for s in (0.7, 1.0)),
    "della": tuple({"density": d, "scale": s} for d in (0.5, 0.8) for s in (0.7, 1.0)),
    "breadcrumbs": tuple({"density": d, "scale": s} for d in (0.5, 0.9) for s in (0.3, 0.5)),
    "model_stock": ({},),
    "fisher": ({},),
    "regmean": tuple({"scale": s} for s in (0.9, 1.0)),
    "greedy_soup": ({},),
    "learned_soup": ({},),
    "learned_soup per tensor": ({},),
    "repair": ({},),
    "zip": tuple({"alpha": a, "beta": b} for a, b in ((0.7, 0.5), (0.3, 0.1))),
    "aligned": ({},),
    "aligned, repaired": ({},),
}
# How many places of a straight line are read.
_CUT = 11
# Factors of a sum of two task vectors that are tried.
_SCALES = (0.3, 0.5, 0.7, 1.0)


@dataclass(frozen=True)
class Judge:
    """Training and test samples of some tasks together; of each task's training samples some at most.

    Attributes:
        train: the landscape of these training samples.
        test: that of all test samples.
        labels: of the test samples, ``[N]``.
        data: what methods that look at data are given: a landscape, or one for each task.
    """

    train: Landscape
    test: Landscape
    labels: Tensor
    data: Any

    @classmethod
    def of(cls, group: Group, members: Sequence[int], device: str) -> Judge:
        """The judge of some sources of a group.

        Args:
            group: the group.
            members: which sources.
            device: where to compute.

        Returns:
            The judge.
        """
        tasks = [group.tasks[i] for i in members]
        different = [task for place, task in enumerate(tasks) if all(task is not other for other in tasks[:place])]
        looked_at = [_some(task.train, group.looked_at) for task in different]
        train, test = _joined(looked_at), _joined([_some(task.test, group.judged) for task in different])
        whole = Landscape(group.net, (train.inputs, train.targets), device=device)
        each = {
            f"task {i + 1}": Landscape(group.net, (split.inputs, split.targets), device=device)
            for i, split in enumerate(looked_at)
        }
        return cls(whole, whole.on((test.inputs, test.targets)), test.targets, each if len(each) > 1 else whole)

    def error(self, points: Tensor) -> Tensor:
        """Share of wrong labels on the test samples, ``[n]``."""
        found = self.test.error(points)
        return found.double().cpu()


def _some(split: Split, most: int) -> Split:
    if len(split) <= most:
        return split
    rows = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:most]
    return Split(split.inputs[rows], split.targets[rows])


def _joined(splits: Sequence[Split]) -> Split:
    return Split(torch.cat([s.inputs for s in splits]), torch.cat([s.targets for s in splits]))


def merges(judge: Judge, points: Tensor, base: Tensor | None, seed: int) -> dict[str, dict[str, Any]]:
    """Merge sources in every way there is.

    Args:
        judge: what chooses and what judges.
        points: the sources, ``[n, P]``.
        base: what they came from, ``[P]``, or None.
        seed: of random drops.

    Returns:
        By method: test ``error``, training ``loss``, the ``settings`` that had the least of it, and ``seconds``; a
        method that cannot merge these says ``why``.
    """
    found: dict[str, dict[str, Any]] = {}
    for title, choices in CHOICES.items():
        started = time.perf_counter()
        tried: list[tuple[float, Tensor, Mapping[str, Any]]] = []
        why = ""
        for settings in choices:
            try:
                point = _merged(title, judge, points, base, seed, settings)
            except BadInput as problem:
                why = str(problem)
                continue
            loss = float(judge.train.loss(point))
            tried.append((loss if math.isfinite(loss) else math.inf, point, settings))
        if not tried:
            found[title] = {"why": why}
            continue
        loss, point, settings = min(tried, key=lambda one: one[0])
        found[title] = {
            "error": float(judge.error(point[None])[0]),
            "loss": loss if math.isfinite(loss) else None,
            "settings": dict(settings),
            "seconds": round(time.perf_counter() - started, 3),
        }
    return found


def _merged(
    title: str, judge: Judge, points: Tensor, base: Tensor | None, seed: int, settings: Mapping[str, Any]
) -> Tensor:
    name, more = title, dict(settings)
    if title == "zip":
        return judge.train.layout.point(merging.zip_models(judge.data, *points, **more).branches[0]).to(points)
    if title == "aligned, repaired":
        name, more = "aligned", {"repair": True}
    elif title == "learned_soup per tensor":
        name, more = "learned_soup", {"per": "tensor"}
    return merging.merge(
        points, method=name, base=base, data=judge.data, layout=judge.train.layout, seed=seed, **more
    ).point


def pair(group: Group, members: tuple[int, int], seed: int, curve: int, device: str) -> dict[str, Any]:
    """Everything about two sources: what they are, what merging gives, and what could be seen beforehand.

    Args:
        group: the group.
        members: which two.
        seed: of what is drawn.
        curve: steps of training for a curve between them; 0 for none.
        device: where to compute.

    Returns:
        Plain numbers.
    """
    judge = Judge.of(group, members, device)
    points = group.points[list(members)].to(judge.train.device)
    base = None if group.base is None else group.base.to(points)
    outputs = torch.stack([judge.test.outputs(point) for point in points])
    before = merging.mergeable(judge.data, points[0], points[1], base=base, seed=seed)
    found: dict[str, Any] = {
        "members": list(members),
        "sources": judge.error(points).tolist(),
        "ensemble": 1 - float(functions.ensemble(outputs, judge.labels.to(outputs.device)).accuracy),
        "joint": float(judge.error(group.joint[None].to(points))[0]),
        "features": dict(before.features),
        "cost": before.cost,
        "advice": before.advice,
        "methods": merges(judge, points, base, seed),
        "connection": connection(judge, points, seed, curve),
    }
    return found


def connection(judge: Judge, points: Tensor, seed: int, curve: int) -> dict[str, Any]:
    """Error barriers between two points: straight, with units matched, along a curve, and layer by layer.

    A layer's barrier is that of the way on which its tensors alone go from the first point's to the second's.
    """
    a, b = points
    straight = paths.barrier(judge.train, a, b, steps=_CUT, refine=0)
    matched = alignment.align(judge.train, a, b, seed=seed).point
    layout = judge.train.layout
    layers, start = {}, float(judge.train.loss(a))
    for name, slots in _layers(layout).items():
        moved = a.clone()
        for slot in slots:
            moved[slot.start : slot.stop] = b[slot.start : slot.stop]
        middle, end = judge.train.loss(torch.stack([(a + moved) / 2, moved])).tolist()
        layers[name] = middle - (start + end) / 2
    found = {
        "straight": straight.height,
        "straight_error": straight.error_height,
        "matched": paths.barrier(judge.train, a, matched, steps=_CUT, refine=0).height,
        "ends": [float(end) for end in straight.ends],
        "curve": None,
        "layers": layers,
    }
    if curve:
        found["curve"] = paths.curve(judge.train, a, b, steps=curve, seed=seed, positions=21, refine=0).barrier.height
    return found


def _layers(layout: Layout) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for slot in layout.slots:
        found.setdefault(slot.name.rpartition(".")[0] or slot.name, []).append(slot)
    return found


def soups(group: Group, device: str) -> dict[str, list[float]]:
    """Test errors of the mean, and of the ensemble, of the first 1, 2, .. n sources, judged by the tasks of all."""
    judge = Judge.of(group, range(len(group.points)), device)
    points = group.points.to(judge.train.device)
    outputs = torch.stack([judge.test.outputs(point) for point in points])
    labels = judge.labels.to(outputs.device)
    counts = range(1, len(points) + 1)
    means = torch.stack([points[:n].mean(0) for n in counts])
    return {
        "mean": judge.error(means).tolist(),
        "ensemble": [1 - float(functions.ensemble(outputs[:n], labels).accuracy) for n in counts],
        "sources": judge.error(points).tolist(),
        "joint": [float(judge.error(group.joint[None].to(points))[0])],
    }


def convexity(landscape: Landscape, points: Tensor, seed: int, noise: float = 0.05, draws: int = 8) -> dict[str, Any]:
    """How convex the loss is over some points.

    Args:
        landscape: whose loss.
        points: ``[n, P]``.
        seed: of the noise.
        noise: its length, as a share of the point's.
        draws: how many pairs of opposite noise are read around each point.

    Returns:
        ``sets``: share of all sets of two and more points for which ``L(mean) <= mean of L``; ``around``: share of
        opposite noise around each point for which that holds; ``gain``: mean of ``mean L - L(mean)``; ``curvature``:
        the least second difference along the segments, over the squared step, with segments of length one.
    """
    generator = torch.Generator().manual_seed(seed)
    every = [c for k in range(2, len(points) + 1) for c in itertools.combinations(range(len(points)), k)]
    losses = landscape.loss(points).double().cpu()
    means = landscape.loss(torch.stack([points[list(c)].mean(0) for c in every])).double().cpu()
    gains = torch.stack([losses[list(c)].mean() for c in every]) - means
    held, total = 0, 0
    for point, loss in zip(points, losses, strict=True):
        random = torch.randn(draws, len(point), generator=generator).to(point)
        random *= noise * point.norm() / random.norm(dim=1, keepdim=True)
        there = landscape.loss(torch.cat([point + random, point - random])).double().cpu().view(2, draws).mean(0)
        held, total = held + int((loss <= there).sum()), total + draws
    least = math.inf
    for i, j in itertools.combinations(range(len(points)), 2):
        cut = paths.barrier(landscape, points[i], points[j], steps=_CUT, refine=0).losses.double()
        least = min(least, float((cut[2:] - 2 * cut[1:-1] + cut[:-2]).min()) * (_CUT - 1) ** 2)
    return {
        "sets": float((gains >= 0).double().mean()),
        "around": held / total,
        "gain": float(gains.mean()),
        "curvature": least,
    }


def directedness(group: Group, device: str) -> dict[str, Any]:
    """What task vectors ``theta_i - theta_base`` say: angles, signs, sums, negation, rank, and where a task lives.

    Returns:
        ``cosine`` and ``signs`` of pairs; ``own``: gain of a source in loss on its task; ``sum``: share of both gains
        that the sum of two vectors keeps, at the best of a few scales, None where a pair has gained nothing;
        ``negated``: rise of the loss on a task when its vector is taken away, and ``beside`` on another task;
        ``rank``: of the matrices of a vector, the share of its square in a tenth of the singular values; ``mask``:
        share of the weights that keep 95% of a task's gain, ``overlap`` of two such masks.
    """
    assert group.base is not None
    judges = [Judge.of(group, [i], device) for i in range(len(group.points))]
    base = group.base.to(judges[0].train.device)
    vectors = group.points.to(base) - base
    before = [float(judge.train.loss(base)) for judge in judges]
    own = [before[i] - float(judge.train.loss(base + vectors[i])) for i, judge in enumerate(judges)]
    pairs = list(itertools.combinations(range(len(vectors)), 2))
    wide = vectors.double()
    cosines = [float(wide[i] @ wide[j] / (wide[i].norm() * wide[j].norm())) for i, j in pairs]
    signs = [
        float((wide[i].sign() == wide[j].sign())[(wide[i] != 0) & (wide[j] != 0)].double().mean()) for i, j in pairs
    ]
    sums: list[float] = []
    beside = []
    for i, j in pairs:
        both = base + torch.tensor(_SCALES).to(base)[:, None] * (vectors[i] + vectors[j])
        after = (judges[i].train.loss(both) + judges[j].train.loss(both)).double()
        sums.append((before[i] + before[j] - float(after.min())) / gain if (gain := own[i] + own[j]) > 0 else math.nan)
        beside.append(float(judges[j].train.loss(base - vectors[i])) - before[j])
    negated = [float(judge.train.loss(base - vectors[i])) - before[i] for i, judge in enumerate(judges)]
    masks: list[Tensor] = []
    for i, judge in enumerate(judges):
        if own[i] > 0:
            masks.append(merging.localise(judge.train, base, base + vectors[i]).mask.cpu())
    overlap = [
        float((masks[i] & masks[j]).sum()) / max(1, int((masks[i] | masks[j]).sum()))
        for i, j in itertools.combinations(range(len(masks)), 2)
    ]
    return {
        "cosine": _mean(cosines),
        "signs": _mean(signs),
        "own": _mean(own),
        "sum": None if any(map(math.isnan, sums)) else _mean(sums),
        "negated": _mean(negated),
        "beside": _mean(beside),
        "rank": _mean([_top_tenth(judges[0].train.layout, vector) for vector in vectors]),
        "mask": _mean([float(mask.double().mean()) for mask in masks]),
        "overlap": _mean(overlap),
    }


def _top_tenth(layout: Layout, vector: Tensor) -> float:
    """Share of the squares of a vector's matrices that lies in the first tenth of their singular values."""
    kept = whole = 0.0
    for view in layout.views(vector).values():
        if view.dim() > 1:
            squares = torch.linalg.svdvals(view.flatten(1).double().cpu()).square()
            kept += float(squares[: max(1, round(len(squares) / 10))].sum())
            whole += float(squares.sum())
    return kept / whole if whole else math.nan


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else None
