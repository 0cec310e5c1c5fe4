"""Methods that follow from the angles between points: their coefficients come from inner products alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from landform.merging._layers import gram
from landform.merging._linear import mix, no_shares, shares
from landform.merging._method import Asked, Method, Part, Parts
from landform.merging._pieces import pieces, piecewise
from landform.merging._settings import choice, flag, number, whole


@dataclass(frozen=True)
class Blend:
    """A linear combination.

    Attributes:
        coefficients: of the sources, or of their deltas, ``[n]``.
        deltas: whether of deltas, added to the base.
        facts: what was found on the way.
    """

    coefficients: tuple[float, ...]
    deltas: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


def products(parts: Parts, count: int, deltas: bool) -> Tensor:
    """Inner products of sources, or of their deltas.

    Args:
        parts: the parts.
        count: of sources.
        deltas: whether of deltas.

    Returns:
        ``[n, n]``, float64.
    """
    total = torch.zeros(count, count, dtype=torch.float64)
    for part in parts:
        for _, piece in pieces(part):
            total += gram((piece.deltas if deltas else piece.sources).reshape(count, -1))
    return total


def arc(cosine: float, t: float) -> tuple[float, float]:
    """Coefficients of the place t on the great circle through two vectors (Shoemake 1985).

    Args:
        cosine: of the angle between them.
        t: 0 for the first, 1 for the second.

    Returns:
        ``sin((1 - t) a) / sin a`` and ``sin(t a) / sin a``.
    """
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def karcher_mean(cosines: Tensor, weights: Tensor, steps: int, tolerance: float) -> tuple[Tensor, int, float]:
    """The point of the unit sphere whose weighted squared angles to unit vectors sum to the least.

    The mean lies in the span of the vectors, so it is found as coefficients: each step goes along the mean of the
    directions towards the vectors, ``sum_i w_i (a_i / sin a_i) (u_i - cos a_i m)``.

    Args:
        cosines: Gram matrix of the unit vectors, ``[n, n]``, float64.
        weights: that sum to one, ``[n]``.
        steps: the most.
        tolerance: length of the step, in radians, at which it ends.

    Returns:
        Coefficients ``[n]``, steps taken, and the last step's length; NaN where no mean is defined, because vectors
        point opposite ways.
    """
    length = (weights @ cosines @ weights).clamp(min=0).sqrt()
    if length < 1e-7:
        return weights, 0, math.nan
    mean, step = weights / length, math.inf
    for taken in range(1, steps + 1):
        towards = (cosines @ mean).clamp(-1, 1)
        if float(towards.min()) < -1 + 1e-12:
            return weights, taken, math.nan
        angles = towards.arccos()
        pull = weights / torch.sinc(angles / math.pi)  # a / sin a, 1 where a is 0
        tangent = pull - (pull @ towards) * mean
        step = math.sqrt(max(0.0, float(tangent @ cosines @ tangent)))
        if step <= tolerance:
            return mean, taken, step
        mean = math.cos(step) * mean + math.sin(step) / step * tangent
        mean = mean / (mean @ cosines @ mean).sqrt()
    return mean, steps, step


def _blended(part: Part, known: Blend, asked: Asked) -> Tensor:
    if known.deltas:
        assert part.base is not None
        return part.base + mix(part.deltas, known.coefficients)
    return mix(part.sources, known.coefficients)


def _slerp(parts: Parts, asked: Asked) -> Blend:
    deltas, t = asked.settings["of"] == "deltas", asked.settings["t"]
    t = shares(asked.weights)[1] if t is None else t
    found = products(parts, 2, deltas)
    norms = found.diagonal().sqrt()
    cosine = float(found[0, 1] / norms.prod()) if bool(norms.all()) else math.nan
    straight = ""
    if math.isnan(cosine):
        straight = "one of them is zero"
    elif abs(cosine) > asked.settings["parallel"]:
        straight = "they are nearly parallel" if cosine > 0 else "they point nearly opposite ways"
    coefficients = (1 - t, t) if straight else arc(cosine, t)
    degrees = math.degrees(math.acos(min(1.0, max(-1.0, cosine)))) if not math.isnan(cosine) else math.nan
    way = f"straight, as {straight}" if straight else "along the arc"
    return Blend(coefficients, deltas, {"t": t, "degrees": degrees, "way": way})


def _karcher(parts: Parts, asked: Asked) -> Blend:
    deltas = asked.settings["of"] == "deltas"
    found = products(parts, asked.count, deltas)
    norms = found.diagonal().sqrt()
    weights = torch.tensor(asked.weights, dtype=torch.float64) * (norms > 0)  # zero has no direction
    if not bool(weights.sum() > 0):
        return Blend((0.0,) * asked.count, deltas, {"way": "none, as all are zero"})
    weights = weights / weights.sum()
    scale = torch.where(norms > 0, norms, 1.0)
    cosines = found / scale / scale.unsqueeze(1)
    mean, taken, step = karcher_mean(cosines, weights, asked.settings["steps"], asked.settings["tolerance"])
    if math.isnan(step):
        return Blend(tuple(weights.tolist()), deltas, {"way": "straight, as some point opposite ways"})
    converged = step <= asked.settings["tolerance"]
    norm = float(weights @ norms)
    facts = {"way": "over the sphere", "norm": norm, "steps": taken, "converged": converged}
    return Blend(tuple((norm * mean / scale).tolist()), deltas, facts)


def _model_stock(parts: Parts, asked: Asked) -> Blend:
    count = asked.count
    found = products(parts, count, True)
    norms = found.diagonal().sqrt()
    scale = torch.where(norms > 0, norms, 1.0)
    cosines = (found / scale / scale.unsqueeze(1)).clamp(-1, 1)  # 0 with a delta that is zero
    cosine = float((cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1)))
    below = 1 + (count - 1) * cosine
    ratio = count * cosine / below if abs(below) > 1e-12 else 0.0
    if asked.settings["clip"]:
        ratio = min(1.0, max(0.0, ratio))
    return Blend((ratio / count,) * count, True, {"cosine": cosine, "ratio": ratio})


def _told(known: Blend, asked: Asked) -> Mapping[str, Any]:
    return known.facts


def _no_directions(asked: Asked) -> str:
    if asked.settings["of"] == "deltas" and not asked.based:
        return "Deltas are from a base: give base=, or of='points'."
    if min(asked.weights) < 0:
        return f"The weights {asked.weights} are not all at least 0: a mean over the sphere needs such."
    return no_shares(asked)


def _no_place(asked: Asked) -> str:
    if asked.settings["t"] is not None and len(set(asked.weights)) > 1:
        return "slerp is given both weights and t: give one of them."
    return _no_directions(asked)


_OF = choice("points", "whether the points themselves or their deltas from the base are turned", "points", "deltas")

SLERP = Method(
    "slerp",
    "Along the great circle between two points, each with its own norm.",
    "Shoemake 1985",
    settings={
        "t": number(None, "where between the two, from 0 to 1; by the weights if not given", 0, 1),
        "of": _OF,
        "parallel": number(0.9995, "cosine beyond which it goes straight", 0, 1),
    },
    part=piecewise(_blended),
    gather=_slerp,
    tell=_told,
    wrong=_no_place,
    least=2,
    most=2,
)
KARCHER = Method(
    "karcher",
    "The mean of several directions over the sphere, with the mean of their norms.",
    "Karcher 1977; Buss and Fillmore 2001",
    settings={
        "of": _OF,
        "steps": whole(200, "the most steps", 1),
        "tolerance": number(1e-9, "length of a step, in radians, at which it ends", 0, above=True),
    },
    part=piecewise(_blended),
    gather=_karcher,
    tell=_told,
    wrong=_no_directions,
)
MODEL_STOCK = Method(
    "model_stock",
    "From the base towards the mean, as far as the angle between the deltas says, layer by layer.",
    "Jang et al. 2024",
    base=True,
    settings={"clip": flag(True, "keep the ratio in [0, 1] where deltas point away from one another")},
    part=piecewise(_blended),
    gather=_model_stock,
    tell=_told,
    per="tensor",
    weighted=False,
    least=2,
)
