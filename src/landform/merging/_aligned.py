"""A mean of networks whose units were brought into one order, and the mean whose inner activations were mended."""

from __future__ import annotations

import torch
from torch import Tensor

from landform.alignment import align, align_many, repair, symmetries
from landform.landscape import Landscape
from landform.merging._joint import Data, buffers_at, shares, together, weighed
from landform.merging._layers import double
from landform.merging._method import Asked, Method, Whole
from landform.merging._settings import choice, flag


def _aligned(data: Data, points: Tensor, base: Tensor | None, asked: Asked) -> Whole:
    landscape, weights = together(data), shares(asked.weights)
    settings = asked.settings
    found = symmetries(landscape)
    if settings["to"] == "first" or len(points) == 2:
        moved = [points[0]]
        for point in points[1:]:
            one = align(landscape, points[0], point, method=settings["match"], symmetries=found, seed=asked.seed)
            moved.append(one.point)
        every = torch.stack(moved)
    else:
        every = align_many(landscape, points, method=settings["match"], symmetries=found, seed=asked.seed).points
    facts = {
        "groups": len(found.groups),
        "before": _spread(points),
        "after": _spread(every),
    }
    if not settings["repair"]:
        point = weighed(every, weights)
        return Whole(point, facts, buffers_at(landscape, point))
    mended = _mended(landscape, every, weights)
    return Whole(mended.point, {**facts, **mended.facts}, mended.buffers)


def _repaired(data: Data, points: Tensor, base: Tensor | None, asked: Asked) -> Whole:
    return _mended(together(data), points, shares(asked.weights))


def _too_many(asked: Asked) -> str:
    if asked.settings["repair"] and asked.count != 2:
        return (
            f"REPAIR mends the way between two points, and there are {asked.count} sources: give two, or leave "
            "repair=False."
        )
    return ""


def _mended(landscape: Landscape, points: Tensor, weights: Tensor) -> Whole:
    """REPAIR between two points."""
    done = repair(landscape, points[0], points[1], at=float(weights[1]))
    facts = {"repaired": done.layers, "collapse": done.collapse, "unshifted": done.unshifted, "passes": done.passes}
    return Whole(done.point, facts, done.buffers if landscape.batchnorm == "recompute" else {})


def _spread(points: Tensor) -> float:
    """Root mean square distance of the points from their mean."""
    return float((points - points.mean(0)).to(double(points)).square().sum(1).mean().sqrt())


ALIGNED = Method(
    name="aligned",
    doc="The mean of the sources with their units brought into one order, on wish with REPAIR.",
    paper="Ainsworth et al. 2023; Crisostomi et al. 2024 for many; Jordan et al. 2023 for REPAIR",
    settings={
        "match": choice("weights", "'weights' or 'activations'", "weights", "activations"),
        "to": choice("universe", "one order for all ('universe'), or that of the 'first'", "universe", "first"),
        "repair": flag(False, "mend the inner activations of the mean of two"),
    },
    whole=_aligned,
    wrong=_too_many,
)
REPAIR = Method(
    name="repair",
    doc="The mean of two sources as they are, each inner unit given the mean and spread between those it has at them.",
    paper="Jordan et al. 2023",
    whole=_repaired,
    most=2,
)
