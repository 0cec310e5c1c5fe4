"""Loss and error at positions along a path, a bounded number of points at a time, on several data sets at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from landform.landscape import Landscape
from landform.paths._contract import MEMORY

Buffers: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True)
class Values:
    """Loss and error at some positions.

    Attributes:
        losses: ``[n]``, float64, on the CPU.
        errors: likewise; None where the targets are not labels.
    """

    losses: Tensor
    errors: Tensor | None

    @staticmethod
    def join(parts: Sequence[Values], order: Tensor | None = None) -> Values:
        """Put parts one behind the other, in another order where one is given."""
        losses = torch.cat([part.losses for part in parts])
        errors = [part.errors for part in parts if part.errors is not None]
        joined = torch.cat(errors) if errors else None
        if order is None:
            return Values(losses, joined)
        return Values(losses[order], None if joined is None else joined[order])


def others(landscape: Landscape, on: Mapping[str, Any] | None) -> dict[str, Landscape]:
    """The further landscapes that are read at the same points.

    Args:
        landscape: the first.
        on: landscapes, or data to put the first one on, by name.

    Returns:
        Landscapes by name.
    """
    return {name: one if isinstance(one, Landscape) else landscape.on(one) for name, one in (on or {}).items()}


def read(
    landscapes: Sequence[Landscape],
    points: Callable[[slice], tuple[Tensor, Buffers | None]],
    count: int,
    *,
    memory: float = MEMORY,
) -> list[Values]:
    """Read several landscapes at the same points.

    Where BatchNorm's statistics are recomputed, that is done once for all, from the data of the first landscape.

    Args:
        landscapes: what to read.
        points: makes the points ``[k, P]`` of a slice of the positions, with their buffers or None.
        count: how many positions there are.
        memory: bytes of points that are made at a time.

    Returns:
        What was read on each.
    """
    first = landscapes[0]
    size = torch.finfo(first.dtype).bits // 8 * first.layout.size
    together = max(1, int(memory / size))
    found: list[list[Values]] = [[] for _ in landscapes]
    for start in range(0, count, together):
        block, own = points(slice(start, min(start + together, count)))
        if own is None and len(landscapes) > 1 and first.batchnorm == "recompute":
            own = first.calibrate(block)
        for landscape, parts in zip(landscapes, found, strict=True):
            reading = landscape.read(block, buffers=own)
            parts.append(Values(reading.loss, reading.error))
    return [Values.join(parts) for parts in found]


def passes(landscapes: Sequence[Landscape], points: int, *, buffers: bool = False) -> int:
    """Forward passes over the data that reading so many points takes, those for BatchNorm's statistics included.

    Args:
        landscapes: what is read.
        points: at how many points.
        buffers: whether buffers are given.

    Returns:
        How many passes.
    """
    again = landscapes[0].batchnorm == "recompute" and not buffers
    return points * (len(landscapes) + again)
