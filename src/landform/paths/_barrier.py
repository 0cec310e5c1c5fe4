"""Barriers: how far loss and error rise on a path between two points.

Frankle et al. 2020, Fort et al. 2020:

``height = max over alpha in [0, 1] of R(path(alpha)) - (R(a) + R(b)) / 2``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.paths._contract import MEMORY, one_point
from landform.paths._reading import Buffers, others, passes, read
from landform.paths._values import Values

Ends: TypeAlias = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]

# Intervals are halved so many at a time, and never below this length.
_TOGETHER = 4
_SHORTEST = 1 / 512


@dataclass(frozen=True)
class Barrier:
    """Loss and error on a path between two points.

    The height is never negative, since the ends belong to the path; where the ends differ it is at least half of their
    difference. `interior` is the same without the ends: below zero where the path dips under both. Read it beside
    `ends`: two dead networks have no barrier either.

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
        passes: forward passes over the data it took, those for BatchNorm's statistics included.
        on: the same at the same alphas on further data, by name.
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
    passes: int = 0
    on: Mapping[str, Barrier] = field(default_factory=dict, repr=False)

    @property
    def ends(self) -> tuple[float, float]:
        """Loss of the two points."""
        return float(self.losses[0]), float(self.losses[-1])

    @property
    def error_ends(self) -> tuple[float, float] | None:
        """Error of the two points; None where the targets are not labels."""
        return None if self.errors is None else (float(self.errors[0]), float(self.errors[-1]))

    @property
    def mean(self) -> float:
        """Mean loss over the path, each alpha weighted by the length of path that it stands for."""
        return float(torch.trapezoid(self.losses, self.alphas))

    @property
    def connectivity(self) -> float:
        """Mean loss of the ends minus the loss farthest from it (Yang et al. 2021, eq. 4).

        Below zero is a barrier, above zero a path that finds less loss than the ends have.
        """
        return _connectivity(self.losses)

    @property
    def error_connectivity(self) -> float | None:
        """The same for the error; None where the targets are not labels."""
        return None if self.errors is None else _connectivity(self.errors)


def barrier(
    landscape: Landscape,
    a: Tensor,
    b: Tensor,
    *,
    steps: int = 11,
    refine: int = 10,
    on: Mapping[str, Any] | None = None,
    buffers: Ends | None = None,
    memory: float = MEMORY,
) -> Barrier:
    """Read loss and error on the straight line from a to b, more closely where they are highest and where they bend.

    Costs a full-data forward pass for each alpha, many points at a time where the model allows; a second one where
    BatchNorm's statistics are recomputed.

    Args:
        landscape: what to read; BatchNorm's statistics are recomputed at every point where it says so (the default).
        a: ``[P]``.
        b: ``[P]``.
        steps: evenly spaced alphas to begin with, the ends among them.
        refine: how many more, where a narrow barrier could hide: beside the highest values, and where neighbours differ
            most from the line through them; 0 for none.
        on: further data to read at the same alphas, by name, such as ``{"test": data.test}``, or landscapes;
            BatchNorm's statistics are then those of the first landscape's data.
        buffers: buffers of both ends, which then are averaged like the points, as averaging two checkpoints does,
            instead of what the landscape does about BatchNorm.
        memory: bytes of points that are made at a time.

    Returns:
        The barrier.

    Raises:
        BadInput: when the points are not the landscape's or not finite, or there are too few steps.
    """
    a, b = one_point(landscape, a, "first"), one_point(landscape, b, "second")
    own = None
    if buffers is not None:
        here, there = ({name: tensor.to(landscape.device) for name, tensor in each.items()} for each in buffers)
        own = partial(_averaged, here, there)
    return walk(
        landscape, torch.stack([a, b]), _straight, steps=steps, refine=refine, on=on, buffers=own, memory=memory
    )


def walk(
    landscape: Landscape,
    nodes: Tensor,
    weigh: Callable[[Tensor], Tensor],
    *,
    steps: int,
    refine: int,
    on: Mapping[str, Any] | None = None,
    buffers: Callable[[Tensor], Buffers] | None = None,
    memory: float = MEMORY,
) -> Barrier:
    """Read loss and error on any path.

    Args:
        landscape: what to read.
        nodes: what its points are mixed of, ``[k, P]``.
        weigh: how much of each at some alphas: from ``[n]`` to ``[n, k]``.
        steps: evenly spaced alphas to begin with.
        refine: how many more, where a higher value may hide.
        on: further data, by name.
        buffers: gives the buffers at some alphas, instead of what the landscape does about them.
        memory: bytes of points that are made at a time.

    Returns:
        The barrier.

    Raises:
        BadInput: when there are too few steps.
    """
    if steps < 3 or refine < 0:
        raise BadInput(f"steps is {steps} and refine {refine}: give at least 3 alphas, and 0 or more to refine.")
    further = others(landscape, on)
    landscapes = [landscape, *further.values()]

    def read_at(alphas: Tensor) -> list[Values]:
        own = None if buffers is None else lambda part: buffers(alphas[part])
        return read(landscapes, nodes, weigh(alphas), buffers=own, memory=memory)

    alphas = torch.linspace(0, 1, steps, dtype=torch.float64)
    known = read_at(alphas)
    while (left := steps + refine - len(alphas)) > 0:
        more = _doubtful(alphas, known[0], most=min(left, _TOGETHER))
        if not len(more):
            break
        new = read_at(more)
        alphas = torch.cat([alphas, more])
        order = alphas.argsort()
        alphas = alphas[order]
        known = [Values.join(pair, order) for pair in zip(known, new, strict=True)]
    spent = passes(landscapes, len(alphas), buffers=buffers is not None)
    settled = "averaged" if buffers is not None else landscape.batchnorm
    rest = {name: _of(alphas, values, settled, 0) for name, values in zip(further, known[1:], strict=True)}
    return _of(alphas, known[0], settled, spent, rest)


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


def _straight(alphas: Tensor) -> Tensor:
    return torch.stack([1 - alphas, alphas], 1)


def height(values: Tensor, *, inside: bool = False) -> float:
    """Highest value minus the mean of the ends; infinite where a value is, or is not a number.

    Args:
        values: ``[n]``, along a path.
        inside: whether to leave the ends out of the maximum.

    Returns:
        The height.
    """
    seen = torch.where(values.isnan(), torch.inf, values)
    top = seen[1:-1].max() if inside else seen.max()
    return float(top - (values[0] + values[-1]) / 2)


def _of(alphas: Tensor, values: Values, batchnorm: str, spent: int, on: Mapping[str, Barrier] | None = None) -> Barrier:
    losses, errors = values.losses, values.errors
    top = int(torch.where(losses.isnan(), torch.inf, losses).argmax())
    error_top = None if errors is None else int(errors.argmax())
    places = [top] if error_top is None else [top, error_top]
    return Barrier(
        height=height(losses),
        error_height=None if errors is None else height(errors),
        interior=height(losses, inside=True),
        error_interior=None if errors is None else height(errors, inside=True),
        at=float(alphas[top]),
        error_at=None if error_top is None else float(alphas[error_top]),
        alphas=alphas,
        losses=losses,
        errors=errors,
        resolution=max(_gap(alphas, place) for place in places),
        batchnorm=batchnorm,
        passes=spent,
        on=on or {},
    )


def _averaged(first: Buffers, second: Buffers, alphas: Tensor) -> Buffers:
    """Buffers mixed as the points are; those that count, such as batches seen, are the first's."""
    return {
        name: interpolate(tensor.flatten(), second[name].flatten(), alphas).reshape(-1, *tensor.shape)
        if tensor.is_floating_point()
        else tensor.expand(len(alphas), *tensor.shape)
        for name, tensor in first.items()
    }


def _doubtful(alphas: Tensor, values: Values, most: int) -> Tensor:
    """Middles of the intervals where a higher value may hide, most doubtful first.

    An interval is judged by how far the values beside it lie off the straight line through their own neighbours, in
    units of the curve's range, and by whether the highest value stands at one of its ends.
    """
    doubt = torch.zeros(len(alphas) - 1, dtype=torch.float64)
    for seen in (values.losses,) if values.errors is None else (values.losses, values.errors):
        span = float(seen.max() - seen.min())
        if not 0 < span < float("inf"):
            continue
        left, right = alphas[1:-1] - alphas[:-2], alphas[2:] - alphas[1:-1]
        line = (seen[:-2] * right + seen[2:] * left) / (left + right)
        bend = torch.zeros_like(seen)
        bend[1:-1] = (seen[1:-1] - line).abs() / span
        own = torch.maximum(bend[:-1], bend[1:])
        top = int(seen.argmax())
        own[max(top - 1, 0) : top + 1] += 1.0
        doubt = torch.maximum(doubt, own)
    wide = (alphas[1:] - alphas[:-1]) > _SHORTEST
    doubt = torch.where(wide, doubt, 0.0)
    chosen = doubt.argsort(descending=True)[:most]
    chosen = chosen[doubt[chosen] > 1e-3]
    return (alphas[chosen] + alphas[chosen + 1]) / 2


def _connectivity(values: Tensor) -> float:
    off = (values[0] + values[-1]) / 2 - values
    return float(off[off.abs().nan_to_num(torch.inf).argmax()])


def _gap(alphas: Tensor, place: int) -> float:
    near = alphas[max(place - 1, 0) : place + 2]
    return float((near[1:] - near[:-1]).max())
