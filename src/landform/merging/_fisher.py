"""Fisher merging: a mean in which each source counts, coordinate by coordinate, as much as it knows of it.

``theta_j = sum over i of w_i F_ij theta_ij / sum over i of w_i F_ij``, with F_i the diagonal of the Fisher information
of source i at itself: the maximum of a product of Gaussians (Matena and Raffel 2022, eq. 4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from landform.merging._diagonal import fisher_diagonal
from landform.merging._joint import Data, buffers_at, each, shares, together, weighed
from landform.merging._method import Asked, Method, Whole
from landform.merging._settings import choice, number, whole


def _merge(data: Data, points: Tensor, base: Tensor | None, asked: Asked) -> Whole:
    landscapes, weights = each(data, len(points)), shares(asked.weights)
    settings = asked.settings
    found: list[Tensor] = []
    how: list[str] = []
    cost = 0
    for landscape, point in zip(landscapes, points, strict=True):
        own = fisher_diagonal(landscape, point, kind=settings["fisher"], draws=settings["draws"], seed=asked.seed)
        found.append(own.values)
        how.append(own.how)
        cost += own.gradients
    fishers = torch.stack(found)
    mean = fishers.mean()
    if settings["normalise"] == "norm":
        norms = fishers.norm(dim=1, keepdim=True)
        fishers = torch.where(norms > 0, fishers / norms, fishers)
        mean = fishers.mean()
    floor = settings["floor"] * mean
    under = int((fishers < floor).sum()) / fishers.numel()
    fishers = fishers.clamp(min=float(floor)) * weights.to(fishers)[:, None]
    total = fishers.sum(0)
    plain = weighed(points, weights).to(fishers)
    above = (fishers * points.to(fishers)).sum(0)
    merged = torch.where(total > 0, above / torch.where(total > 0, total, 1.0), plain).to(points)
    facts = {
        "fisher": how[0],
        "floored": under,
        "traces": tuple(float(one.sum()) for one in found),
        "gradients": cost,
    }
    return Whole(merged, facts, buffers_at(together(data), merged))


FISHER = Method(
    name="fisher",
    doc="A mean in which each source counts by its Fisher information, coordinate by coordinate.",
    paper="Matena and Raffel 2022",
    settings={
        "fisher": choice(
            "true",
            "'true' (over the model's own labels: exact where these are few), 'empirical' or 'sampled'",
            "true",
            "empirical",
            "sampled",
        ),
        "draws": whole(1, "labels drawn for each sample, where they are", 1),
        "floor": number(
            1e-6, "least Fisher information of a coordinate, as a share of the mean over coordinates and sources", 0
        ),
        "normalise": choice(
            "none", "'norm' divides each source's Fisher information by its Euclidean norm", "none", "norm"
        ),
    },
    whole=_merge,
)
