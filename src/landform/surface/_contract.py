"""What surfaces accept, and what they say when given something else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.layout import Layout

# Bytes of points, and of what is kept of the first layer, that are held at a time.
MEMORY = 2**28

# How far to go to both sides, or (lowest, highest), or one of these for each axis.
Extent: TypeAlias = float | Sequence[float | Sequence[float]]


def wide(numbers: Tensor) -> Tensor:
    """In float64, on the CPU.

    Args:
        numbers: any tensor.

    Returns:
        The same numbers.
    """
    return numbers.detach().cpu().to(torch.float64)


def layout_of(owner: Landscape | Layout) -> Layout:
    """The layout of a landscape, or the layout itself.

    Args:
        owner: either.

    Returns:
        The layout.

    Raises:
        BadInput: when it is neither.
    """
    if isinstance(owner, Layout):
        return owner
    if not isinstance(owner, Landscape):
        raise BadInput(f"A surface belongs to a landscape; got a {type(owner).__name__}.")
    return owner.layout


def one_point(owner: Landscape | Layout, point: Any, name: str) -> Tensor:
    """Look at a point.

    Args:
        owner: the landscape, or its layout, whose point it is.
        point: ``[P]``.
        name: what to call it, such as ``"The centre"``.

    Returns:
        The point without its graph, where and as the landscape computes.

    Raises:
        BadInput: when it is no point of this layout, or holds NaN or infinity.
    """
    layout = layout_of(owner)
    if isinstance(point, Tensor) and point.dim() == 1 and point.is_floating_point() and len(point) != layout.size:
        ends = [slot for slot in layout.slots if slot.start <= len(point) < slot.stop]
        where = f" (it would end in {ends[0].name} {list(ends[0].shape)})" if ends else ""
        raise BadInput(
            f"{name} has {len(point)} numbers, but this landscape's model {layout.size}{where}: a surface lies among "
            "points of one layout."
        )
    layout.check(point)
    if point.dim() != 1:
        raise BadInput(f"{name} has shape {list(point.shape)}: give one point [{layout.size}].")
    if not bool(torch.isfinite(point).all()):
        bad = int((~torch.isfinite(point)).nonzero()[0])
        slot = next(slot for slot in layout.slots if slot.start <= bad < slot.stop)
        raise BadInput(f"{name} holds NaN or infinity, first in {slot.name}: look whether its run has diverged.")
    found: Tensor = point.detach()
    return found.to(owner.device, owner.dtype) if isinstance(owner, Landscape) else found


def at_least(name: str, value: Any, least: int) -> int:
    """Refuse a count that is too small.

    Args:
        name: of the argument.
        value: what was given.
        least: the smallest that makes sense.

    Returns:
        The count.

    Raises:
        BadInput: when it is no whole number, or less.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BadInput(f"{name} is {value!r}: give a whole number, at least {least}.")
    return value


def counts(steps: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """How many places each axis has.

    Args:
        steps: one number for all axes, or one for each.
        axes: how many axes.

    Returns:
        ``axes`` numbers.

    Raises:
        BadInput: when there are more or fewer, or one is less than two.
    """
    each = [steps] * axes if isinstance(steps, int) else list(steps)
    if len(each) != axes:
        raise BadInput(f"steps has {len(each)} numbers for {axes} directions: give one for all, or one for each.")
    return tuple(at_least("steps", count, 2) for count in each)


def ranges(extent: Extent, axes: int) -> tuple[tuple[float, float], ...]:
    """The ends of each axis.

    Args:
        extent: how far to go to both sides, or ``(lowest, highest)``, or one of these for each axis.
        axes: how many axes.

    Returns:
        (lowest, highest) of each.

    Raises:
        BadInput: when one is no interval.
    """
    if isinstance(extent, int | float):
        each: list[Any] = [extent] * axes
    else:
        each = list(extent)
        plain = all(isinstance(end, int | float) for end in each)
        if plain and len(each) == 2 and (axes == 1 or each[0] < 0 < each[1]):
            each = [tuple(each)] * axes
    found = [(-end, end) if isinstance(end, int | float) else tuple(end) for end in each]
    good = [
        len(ends) == 2 and all(math.isfinite(end) for end in ends) and float(ends[0]) < float(ends[1]) for ends in found
    ]
    if len(found) != axes or not all(good):
        raise BadInput(
            f"extent is {extent!r}: give how far to go to both sides (more than 0), or (lowest, highest), or one of "
            f"these for each of {axes} directions."
        )
    return tuple((float(low), float(high)) for low, high in found)
