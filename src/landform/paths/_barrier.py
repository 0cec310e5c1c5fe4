"""Barriers: how far loss and error rise on the straight line between two points.

Frankle et al. 2020, Fort et al. 2020:

``height = max over alpha in [0, 1] of R((1 - alpha) a + alpha b) - (R(a) + R(b)) / 2``
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape

Ends: TypeAlias = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]

# Bytes of points that are made at a time.
_MEMORY = 2**28


@dataclass(frozen=True)
class Barrier:
    """Loss and error on the straight line between two points.

    The height is never negative, since the ends belong to the line; where the ends differ it is at least half of their
    difference. `interior` is the same without the ends: below zero where the line dips under both.

    Attributes:
        height: of the loss.
        error_height: of the share of wrong labels; None where the targets are not labels.
        interior: highest loss strictly between the ends, minus the mean of the ends; negative in a common valley.
        error_interior: the same for the error.
        at: alpha of the highest loss.
        error_at: alpha of the highest error.
        alphas: where it was read, ``[n]``, ascending from 0 (the first point) to 1.
        losses: mean loss there, ``[n]``, float64.
        errors: error there, ``[n]``; None likewise.
        resolution: distance to the alphas beside the highest loss, or error if that is farther.
        batchnorm: where BatchNorm's statistics came from.
    """

    height: float
    error_height: float | None
    interior: float
    error_interior: float | None
    at: float
    error_at: float | None
    alphas: Tensor = field(repr=False)
    losses: Tensor = field(repr=False)
    errors: Tensor | None = field(repr=False)
    resolution: float
    batchnorm: str


@dataclass(frozen=True)
class BarrierMatrix:
    """Barriers between all pairs of n points.

    Attributes:
        heights: of the loss, ``[n, n]``, symmetric with a diagonal of zeros, float64, on the CPU.
        error_heights: of the error, likewise; None where the targets are not labels.
        losses: of the points themselves, ``[n]``.
        errors: of the points themselves, ``[n]``, or None.
        alphas: where every line was read, ``[m]``.
        batchnorm: where BatchNorm's statistics came from.
    """

    heights: Tensor
    error_heights: Tensor | None
    losses: Tensor
    errors: Tensor | None
    alphas: Tensor
    batchnorm: str


def barrier(
    landscape: Landscape,
    a: Tensor,
    b: Tensor,
    *,
    steps: int = 11,
    refine: int = 10,
    buffers: Ends | None = None,
) -> Barrier:
    """Read loss and error on the straight line from a to b, more closely where they are highest and where they bend.

    Args:
        landscape: what to read; BatchNorm's statistics are recomputed at every point where it says so (the default).
        a: ``[P]``.
        b: ``[P]``.
        steps: evenly spaced alphas to begin with, the ends among them.
        refine: how many more, where a narrow barrier could hide: beside the highest values, and where neighbours differ
            most from the line through them; 0 for none.
        buffers: buffers of both ends, which then are averaged like the points, as averaging two checkpoints does,
            instead of what the landscape does about BatchNorm.

    Returns:
        The barrier.

    Raises:
        BadInput: when the points are not the landscape's or not finite, or there are too few steps.
    """
    for name, point in (("first", a), ("second", b)):
        landscape.layout.check(point)
        if point.dim() != 1:
            raise BadInput(f"The {name} point has shape {list(point.shape)}: a barrier lies between two points [P].")
        if not bool(torch.isfinite(point).all()):
            raise BadInput(f"The {name} point holds NaN or infinity: look whether its run has diverged.")
    if steps < 3 or refine < 0:
        raise BadInput(f"steps is {steps} and refine {refine}: give at least 3 alphas, and 0 or more to refine.")
    known = _read(landscape, a, b, torch.linspace(0, 1, steps, dtype=torch.float64), buffers)
    left = refine
    while left > 0:
        more = _doubtful(*known, most=min(left, 4))
        left -= len(more)
        if not len(more):
            break
        known = _merge(known, _read(landscape, a, b, more, buffers))
    alphas, losses, errors = known
    top, error_top = (
        int(torch.where(losses.isnan(), torch.inf, losses).argmax()),
        None if errors is None else int(errors.argmax()),
    )
    places = [top] if error_top is None else [top, error_top]
    return Barrier(
        height=_height(losses),
        error_height=None if errors is None else _height(errors),
        interior=_height(losses, inside=True),
        error_interior=None if errors is None else _height(errors, inside=True),
        at=float(alphas[top]),
        error_at=None if error_top is None else float(alphas[error_top]),
        alphas=alphas,
        losses=losses,
        errors=errors,
        resolution=max(_gap(alphas, place) for place in places),
        batchnorm="averaged" if buffers is not None else landscape.batchnorm,
    )


def barrier_matrix(landscape: Landscape, points: Tensor, *, steps: int = 11, memory: float = _MEMORY) -> BarrierMatrix:
    """Read the barriers between all pairs of points, many points of many lines at a time.

    Args:
        landscape: what to read.
        points: ``[n, P]``, at least two.
        steps: evenly spaced alphas on every line, the ends among them.
        memory: bytes of points that are made at a time.

    Returns:
        The barriers; a point that is not finite has barriers of nan.

    Raises:
        BadInput: when there are too few points or steps.
    """
    landscape.layout.check(points)
    if points.dim() != 2 or len(points) < 2:
        raise BadInput(f"The points have shape {list(points.shape)}: give at least two as [n, P].")
    if steps < 3:
        raise BadInput(f"steps is {steps}: give at least 3 alphas.")
    points = points.detach().to(landscape.device, landscape.dtype)
    alphas = torch.linspace(0, 1, steps, dtype=torch.float64)
    ends = landscape.read(points)
    pairs = list(itertools.combinations(range(len(points)), 2))
    inner = [(i, j, float(alpha)) for i, j in pairs for alpha in alphas[1:-1]]
    together = max(1, int(memory / (points.shape[1] * points.element_size())))
    losses: list[Tensor] = []
    errors: list[Tensor] = []
    for start in range(0, len(inner), together):
        block = inner[start : start + together]
        first, second = (points[torch.tensor([each[k] for each in block])] for k in (0, 1))
        share = torch.tensor([each[2] for each in block], dtype=points.dtype, device=points.device)
        reading = landscape.read(first.lerp_(second, share[:, None]))
        losses.append(reading.loss)
        if reading.error is not None:
            errors.append(reading.error)
    return BarrierMatrix(
        heights=_table(pairs, ends.loss, torch.cat(losses).reshape(len(pairs), -1)),
        error_heights=None
        if ends.error is None
        else _table(pairs, ends.error, torch.cat(errors).reshape(len(pairs), -1)),
        losses=ends.loss,
        errors=ends.error,
        alphas=alphas,
        batchnorm=landscape.batchnorm,
    )


def interpolate(a: Tensor, b: Tensor, alphas: Tensor) -> Tensor:
    """Points on the straight line between two, ``(1 - alpha) a + alpha b``; the ends are a and b to the bit.

    Args:
        a: ``[P]``.
        b: ``[P]``.
        alphas: ``[n]``.

    Returns:
        ``[n, P]``.
    """
    share = alphas.to(a.device, a.dtype)[:, None]
    return torch.lerp(a.expand(len(alphas), -1), b.to(a.device, a.dtype).expand(len(alphas), -1), share)


def _read(
    landscape: Landscape, a: Tensor, b: Tensor, alphas: Tensor, buffers: Ends | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Loss and error at some alphas."""
    a, b = (point.detach().to(landscape.device, landscape.dtype) for point in (a, b))
    own = None
    if buffers is not None:
        first, second = buffers
        own = {
            name: interpolate(first[name].flatten(), second[name].flatten(), alphas).reshape(-1, *first[name].shape)
            if first[name].is_floating_point()
            else first[name].expand(len(alphas), *first[name].shape)
            for name in first
        }
    reading = landscape.read(interpolate(a, b, alphas), buffers=own)
    return alphas, reading.loss, reading.error


def _merge(
    one: tuple[Tensor, Tensor, Tensor | None], two: tuple[Tensor, Tensor, Tensor | None]
) -> tuple[Tensor, Tensor, Tensor | None]:
    alphas = torch.cat([one[0], two[0]])
    order = alphas.argsort()
    errors = None if one[2] is None or two[2] is None else torch.cat([one[2], two[2]])[order]
    return alphas[order], torch.cat([one[1], two[1]])[order], errors


def _doubtful(alphas: Tensor, losses: Tensor, errors: Tensor | None, most: int) -> Tensor:
    """Middles of the intervals where a higher value may hide, most doubtful first.

    An interval is judged by how far the values beside it lie off the straight line through their own neighbours, in
    units of the curve's range, and by whether the highest value stands at one of its ends.
    """
    doubt = torch.zeros(len(alphas) - 1, dtype=torch.float64)
    for values in (losses,) if errors is None else (losses, errors):
        span = float(values.max() - values.min())
        if not 0 < span < float("inf"):
            continue
        left, right = alphas[1:-1] - alphas[:-2], alphas[2:] - alphas[1:-1]
        line = (values[:-2] * right + values[2:] * left) / (left + right)
        bend = torch.zeros_like(values)
        bend[1:-1] = (values[1:-1] - line).abs() / span
        own = torch.maximum(bend[:-1], bend[1:])
        top = int(values.argmax())
        own[max(top - 1, 0) : top + 1] += 1.0
        doubt = torch.maximum(doubt, own)
    wide = (alphas[1:] - alphas[:-1]) > 1 / 512
    doubt = torch.where(wide, doubt, 0.0)
    chosen = doubt.argsort(descending=True)[:most]
    chosen = chosen[doubt[chosen] > 1e-3]
    return (alphas[chosen] + alphas[chosen + 1]) / 2


def _height(values: Tensor, *, inside: bool = False) -> float:
    """Highest value minus the mean of the ends; infinite where a value is, or is not a number."""
    seen = torch.where(values.isnan(), torch.inf, values)
    top = seen[1:-1].max() if inside else seen.max()
    return float(top - (values[0] + values[-1]) / 2)


def _gap(alphas: Tensor, place: int) -> float:
    near = alphas[max(place - 1, 0) : place + 2]
    return float((near[1:] - near[:-1]).max())


def _table(pairs: list[tuple[int, int]], ends: Tensor, lines: Tensor) -> Tensor:
    """Heights of all pairs, ``[n, n]``, from what was read at the ends ``[n]`` and between them ``[pairs, m]``."""
    table = torch.zeros(len(ends), len(ends), dtype=torch.float64)
    for (i, j), line in zip(pairs, lines, strict=True):
        table[i, j] = table[j, i] = _height(torch.cat([ends[i : i + 1], line, ends[j : j + 1]]))
    return table
