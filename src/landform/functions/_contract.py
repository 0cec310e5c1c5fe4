"""What the measures accept, and what they say when given something else."""

from __future__ import annotations

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape


class NoFunction(BadInput):
    """A point, or what the model puts out there, holds NaN or infinity: there is no function to compare."""


def wide(numbers: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none.

    Args:
        numbers: any tensor.

    Returns:
        The same numbers.
    """
    return (numbers.cpu() if numbers.device.type == "mps" else numbers).to(torch.float64)


def two_or_many(a: Tensor, b: Tensor | None, least: int, what: str) -> Tensor:
    """Put what is to be compared into one tensor.

    Args:
        a: of the first of two, or of n where b is None.
        b: of the second.
        least: how many axes each has at least.
        what: what they are, for the message.

    Returns:
        ``[2, ...]`` or ``[n, ...]``.

    Raises:
        BadInput: when they do not have the same shape, or hold NaN or infinity.
    """
    given = (a,) if b is None else (a, b)
    if not all(isinstance(one, Tensor) and one.is_floating_point() for one in given):
        raise BadInput(f"The {what} to compare are tensors of floating-point numbers.")
    if b is not None and a.shape != b.shape:
        raise BadInput(
            f"The {what} have shapes {list(a.shape)} and {list(b.shape)}: give both for the same samples, in one shape."
        )
    every = a if b is None else torch.stack((a, b.to(a)))
    if every.dim() < least + 1:
        front = "n, " if b is None else ""
        raise BadInput(
            f"The {what} have shape {list(a.shape)}: give [{front}samples, ...] with {least} axes or more"
            f"{' for each, or two tensors' if b is None else ''}."
        )
    if not every.numel():
        raise BadInput(f"The {what} are empty: give at least one sample.")
    for place, one in enumerate(every):
        check_numbers(one, what, place)
    return every


def check_numbers(numbers: Tensor, what: str, place: int) -> None:
    """Refuse NaN and infinity.

    Args:
        numbers: any tensor.
        what: what they are, for the message.
        place: of which of those compared, from 0.

    Raises:
        NoFunction: when there is any.
    """
    # The sum is finite only if every entry is, or so large that it is no use either.
    if not bool(torch.isfinite(numbers.sum())) and not bool(torch.isfinite(numbers).all()):
        bad = int((~torch.isfinite(numbers)).sum())
        raise NoFunction(
            f"The {what} of number {place} hold NaN or infinity in {bad} of {numbers.numel()} places: leave it out, "
            "as it is no function."
        )


def check_classes(outputs: Tensor) -> None:
    """Refuse outputs that have no largest among several.

    Args:
        outputs: ``[..., K]``.

    Raises:
        BadInput: when K is less than two.
    """
    if outputs.shape[-1] < 2:
        raise BadInput("The outputs have one class, so that nothing can be told apart: give logits of two or more.")


def check_points(landscape: Landscape, points: Tensor, least: int = 1) -> None:
    """Refuse a set of points that cannot be compared as functions.

    Args:
        landscape: what they are points of.
        points: ``[n, P]``.
        least: how many it takes.

    Raises:
        BadInput: when the shape is another, there are too few, or one holds NaN or infinity.
    """
    landscape.layout.check(points)
    if points.dim() != 2 or len(points) < least:
        raise BadInput(f"Give a set of {least} points or more, [n, {landscape.layout.size}]; got {list(points.shape)}.")
    for place, point in enumerate(points):
        _check_finite(landscape, point, f"Point {place}")


def check_ends(landscape: Landscape, a: Tensor, b: Tensor | None = None) -> Tensor:
    """Put two points together.

    Args:
        landscape: what they are points of.
        a: ``[P]``.
        b: ``[P]``; None where there is only one.

    Returns:
        ``[2, P]`` or ``[1, P]``, where and as the landscape computes.

    Raises:
        BadInput: when one is no point of this landscape, or holds NaN or infinity.
    """
    size = landscape.layout.size
    ends = {"The point": a} if b is None else {"Point a": a, "Point b": b}
    for name, point in ends.items():
        if not isinstance(point, Tensor) or point.dim() != 1 or not point.is_floating_point():
            got = f"shape {list(point.shape)}" if isinstance(point, Tensor) else f"a {type(point).__name__}"
            raise BadInput(f"{name} has to be a 1-D tensor of {size} floating-point numbers; got {got}.")
        if len(point) != size:
            raise BadInput(
                f"{name} has {len(point)} numbers, but this landscape's model {size}"
                f"{_ends_in(landscape, len(point))}: compare points of one layout."
            )
        _check_finite(landscape, point, name)
    return torch.stack([point.detach().to(landscape.device, landscape.dtype) for point in ends.values()])


def centred(rows: Tensor) -> Tensor:
    """Take the mean over samples away.

    Args:
        rows: ``[N, d]``.

    Returns:
        ``[N, d]``; a feature that moves by no more than rounding does not move at all.
    """
    apart = rows - rows.mean(0)
    rounding = 8 * torch.finfo(rows.dtype).eps * rows.abs().amax(0)
    return apart * (apart.abs().amax(0) > rounding)


def _check_finite(landscape: Landscape, point: Tensor, name: str) -> None:
    if bool(torch.isfinite(point).all()):
        return
    bad = int((~torch.isfinite(point)).nonzero()[0])
    slot = next(slot for slot in landscape.layout.slots if slot.start <= bad < slot.stop)
    raise NoFunction(
        f"{name} holds NaN or infinity, first in {slot.name}: a run that diverged has no function to compare; leave "
        "it out."
    )


def _ends_in(landscape: Landscape, size: int) -> str:
    """Where a shorter point would end: often the first tensor that differs."""
    slots = [slot for slot in landscape.layout.slots if slot.start <= size < slot.stop]
    return f" (it would end in {slots[0].name} {list(slots[0].shape)})" if slots else ""
