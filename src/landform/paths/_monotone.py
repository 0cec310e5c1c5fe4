"""Whether the loss falls all the way on the straight line from a run's start to its end.

Goodfellow et al. 2015 saw that it does; Lucas et al. 2021 say by how much it does not: a line is Delta-monotonic if the
loss nowhere rises by more than Delta, ``Delta = max over s < t of L(t) - L(s)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landform.landscape import Landscape
from landform.paths._barrier import Barrier, barrier

# Rises below this share of the curve's range are rounding.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Monotonicity:
    """How the loss goes from start to end on a straight line.

    Attributes:
        monotone: whether it never rises, but for rounding.
        rise: the most it rises from any alpha to a later one, Delta; 0 where it never does.
        share: rise over the range of the losses on the line, from 0 to 1; infinite where a loss is not finite.
        total: all rises together.
        error_monotone: whether the error never rises; None where the targets are not labels.
        error_rise: the most the error rises; likewise.
        line: loss and error on the line, alpha 0 being the start.
    """

    monotone: bool
    rise: float
    share: float
    total: float
    error_monotone: bool | None
    error_rise: float | None
    line: Barrier


def monotonicity(
    landscape: Landscape,
    start: Tensor,
    end: Tensor,
    *,
    steps: int = 50,
    refine: int = 0,
    on: Mapping[str, Any] | None = None,
) -> Monotonicity:
    """Test whether the loss falls all the way from a start to an end.

    Args:
        landscape: what to read; BatchNorm's statistics are recomputed at every point where it says so (the default).
        start: such as a run's first point, ``[P]``.
        end: such as its last, ``[P]``.
        steps: evenly spaced alphas, the ends among them.
        refine: how many more, where the line bends.
        on: further data to read at the same alphas, by name.

    Returns:
        How monotone it is.
    """
    line = barrier(landscape, start, end, steps=steps, refine=refine, on=on)
    rise, total, span = _rise(line.losses)
    errors = None if line.errors is None else _rise(line.errors)
    return Monotonicity(
        monotone=math.isfinite(rise) and rise <= _ROUNDING * span,
        rise=rise,
        share=math.inf if math.isinf(rise) else rise / span if span > 0 else 0.0,
        total=total,
        error_monotone=None if errors is None else errors[0] == 0,
        error_rise=None if errors is None else errors[0],
        line=line,
    )


def _rise(values: Tensor) -> tuple[float, float, float]:
    """The highest rise, all rises together, and the range; infinite where a value is, or is not a number."""
    seen = torch.where(values.isnan(), torch.inf, values)
    if not bool(torch.isfinite(seen).all()):
        return float("inf"), float("inf"), float("inf")
    steps = (seen[1:] - seen[:-1]).clamp_min(0)
    highest = float((seen - seen.cummin(0).values).max())
    return highest, float(steps.sum()), float(seen.max() - seen.min())
