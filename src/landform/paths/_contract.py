"""What the measures accept, and what they say when given something else."""

from __future__ import annotations

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.layout import Layout

# Bytes of points that are made at a time.
MEMORY = 2**28


def one_point(landscape: Landscape, point: Tensor, name: str) -> Tensor:
    """Look at a point.

    Args:
        landscape: what it is a point of.
        point: ``[P]``.
        name: what to call it, such as ``"first"``.

    Returns:
        The point where and as the landscape computes.

    Raises:
        BadInput: when it is no point of this landscape, or holds NaN or infinity.
    """
    layout = landscape.layout
    if isinstance(point, Tensor) and point.dim() == 1 and point.is_floating_point() and len(point) != layout.size:
        ends = [slot for slot in layout.slots if slot.start <= len(point) < slot.stop]
        where = f" (it would end in {ends[0].name} {list(ends[0].shape)})" if ends else ""
        raise BadInput(
            f"The {name} point has {len(point)} numbers, but this landscape's model {layout.size}{where}: a path joins "
            "points of one layout."
        )
    layout.check(point)
    if point.dim() != 1:
        raise BadInput(f"The {name} point has shape {list(point.shape)}: a barrier lies between two points [P].")
    if not bool(torch.isfinite(point).all()):
        bad = int((~torch.isfinite(point)).nonzero()[0])
        slot = next(slot for slot in layout.slots if slot.start <= bad < slot.stop)
        raise BadInput(
            f"The {name} point holds NaN or infinity, first in {slot.name}: look whether its run has diverged."
        )
    return point.detach().to(landscape.device, landscape.dtype)


def many_points(landscape: Landscape, points: Tensor, least: int) -> Tensor:
    """Look at a set of points.

    Args:
        landscape: what they are points of.
        points: ``[n, P]``.
        least: how many there have to be.

    Returns:
        The points where and as the landscape computes.

    Raises:
        BadInput: when they are no points of this landscape, too few, or one holds NaN or infinity.
    """
    landscape.layout.check(points)
    if points.dim() != 2 or len(points) < least:
        raise BadInput(f"The points have shape {list(points.shape)}: give at least {least} as [n, P].")
    return torch.stack([one_point(landscape, point, f"{_nth(i)}") for i, point in enumerate(points)])


def one_layout(first: Layout, second: Layout, names: tuple[str, str]) -> None:
    """Refuse two layouts that differ.

    Args:
        first: of one run.
        second: of another.
        names: what the runs are called.

    Raises:
        BadInput: when they do; the message names the first tensor that differs.
    """
    a, b = ({slot.name: slot.shape for slot in layout.slots} for layout in (first, second))
    for name in [*a, *b]:
        if a.get(name) != b.get(name):
            told = [
                f"{list(one[name])} in {run}" if name in one else f"not there in {run}"
                for one, run in zip((a, b), names, strict=True)
            ]
            raise BadInput(
                f"The runs are of different models: {name} is {' and '.join(told)}; a path joins points of one layout."
            )
    if first.names != second.names:
        raise BadInput(f"The runs {names[0]} and {names[1]} hold the same tensors in another order: train one model.")


def at_least(name: str, value: int, least: int) -> None:
    """Refuse a count that is too small.

    Args:
        name: of the argument.
        value: what was given.
        least: the smallest that makes sense.

    Raises:
        BadInput: when it is no whole number, or less.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BadInput(f"{name} is {value!r}: give a whole number, at least {least}.")


def _nth(i: int) -> str:
    return ("first", "second", "third")[i] if i < 3 else f"{i + 1}th"
