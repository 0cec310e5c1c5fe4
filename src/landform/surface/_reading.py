"""Loss and error at many places of a grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from landform.landscape import Landscape
from landform.surface._contract import MEMORY
from landform.surface._surface import points_at


@dataclass(frozen=True)
class Values:
    """What was read at n places.

    Attributes:
        losses: ``[n]``, float64, on the CPU.
        errors: ``[n]``, likewise; None without labels.
        how: how they were read, in words.
        passes: forward passes over the data that it took.
    """

    losses: Tensor
    errors: Tensor | None
    how: str
    passes: int


def read(
    landscape: Landscape,
    centre: Tensor,
    directions: Tensor,
    coordinates: Tensor,
    *,
    memory: float = MEMORY,
    progress: Callable[[int, int], None] | None = None,
) -> Values:
    """Read a landscape at ``centre + coordinates @ directions``.

    Args:
        landscape: what to read.
        centre: ``[P]``, where and as the landscape computes.
        directions: ``[k, P]``, likewise.
        coordinates: ``[n, k]``, float64.
        memory: bytes of points that are made at a time.
        progress: called with (places read, places in all).

    Returns:
        The values, in the order of the coordinates.
    """
    return plainly(landscape, centre, directions, coordinates, memory=memory, progress=progress)


def plainly(
    landscape: Landscape,
    centre: Tensor,
    directions: Tensor,
    coordinates: Tensor,
    *,
    memory: float = MEMORY,
    progress: Callable[[int, int], None] | None = None,
) -> Values:
    """Read every place as the landscape reads points: the values that any quicker way is held against.

    Args:
        landscape: what to read.
        centre: ``[P]``.
        directions: ``[k, P]``.
        coordinates: ``[n, k]``.
        memory: bytes of points that are made at a time.
        progress: called with (places read, places in all).

    Returns:
        The values.
    """
    total = len(coordinates)
    together = max(1, min(total, int(memory / (centre.element_size() * len(centre)))))
    together = min(together, max(1, total // 20)) if progress else together
    losses: list[Tensor] = []
    errors: list[Tensor] = []
    for start in range(0, total, together):
        reading = landscape.read(points_at(centre, directions, coordinates[start : start + together]))
        losses.append(reading.loss)
        if reading.error is not None:
            errors.append(reading.error)
        if progress:
            progress(min(start + together, total), total)
    return Values(
        torch.cat(losses),
        torch.cat(errors) if errors else None,
        landscape.explain(),
        total * (1 + (landscape.batchnorm == "recompute")),
    )
