"""Barriers between all pairs of a set of points, many points of many lines at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.paths._barrier import height
from landform.paths._contract import MEMORY
from landform.paths._reading import passes, read
from landform.paths._values import Values


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
        passes: forward passes over the data it took, those for BatchNorm's statistics included.
    """

    heights: Tensor
    error_heights: Tensor | None
    losses: Tensor
    errors: Tensor | None
    alphas: Tensor
    batchnorm: str
    passes: int = 0


def barrier_matrix(landscape: Landscape, points: Tensor, *, steps: int = 11, memory: float = MEMORY) -> BarrierMatrix:
    """Read the barriers between all pairs of points, many points of many lines at a time.

    Each point is read once, whatever the number of its lines: ``n + n (n - 1) / 2 (steps - 2)`` full-data forward
    passes, and as many for BatchNorm's statistics where they are recomputed. Where many points run as one program,
    the first layer is worked out for the n points alone.

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
    finite = torch.isfinite(points).all(1).cpu()
    kept = finite.nonzero()[:, 0]
    pairs = torch.combinations(torch.arange(len(kept)))
    own = torch.eye(len(kept), dtype=torch.float64)
    first, second = own[pairs.repeat_interleave(steps - 2, 0)].unbind(1)
    shares = alphas[1:-1].repeat(len(pairs))[:, None]
    ends = landscape.read(points)
    inner = Values(torch.empty(0), None if ends.error is None else torch.empty(0))
    if len(pairs):  # a point that is not finite would spoil what is worked out together with it
        (inner,) = read([landscape], points[kept.to(points.device)], torch.lerp(first, second, shares), memory=memory)
    errors = (
        None if ends.error is None or inner.errors is None else _table(kept[pairs], finite, ends.error, inner.errors)
    )
    return BarrierMatrix(
        heights=_table(kept[pairs], finite, ends.loss, inner.losses),
        error_heights=errors,
        losses=ends.loss,
        errors=ends.error,
        alphas=alphas,
        batchnorm=landscape.batchnorm,
        passes=passes([landscape], len(points) + len(shares)),
    )


def _table(pairs: Tensor, finite: Tensor, ends: Tensor, inner: Tensor) -> Tensor:
    """Heights of all pairs, ``[n, n]``, from what was read at the ends ``[n]`` and between them."""
    table = torch.full((len(ends), len(ends)), torch.nan, dtype=torch.float64)
    table[finite, finite] = 0.0
    for (i, j), line in zip(pairs.tolist(), inner.reshape(len(pairs), len(inner) // max(len(pairs), 1)), strict=True):
        table[i, j] = table[j, i] = height(torch.cat([ends[i : i + 1], line, ends[j : j + 1]]))
    return table
