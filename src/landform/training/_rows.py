"""Rows of numbers that grow by one at each step, in few large tensors."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 1024


class Rows:
    """Losses of K runs at each step; a row may be shorter, as long as some runs have not joined.

    A small tensor kept at each step would lie wherever the allocator had just put it, in the midst of what a step of a
    large model frees again: the memory then comes apart into pieces too small for the next step, and grows at each.
    """

    def __init__(self, width: int) -> None:
        """Begin with none.

        Args:
            width: K.
        """
        self._width = width
        self._blocks: list[Tensor] = []
        self._count = 0
        self.last = 0

    def __len__(self) -> int:
        """How many rows there are."""
        return self._count

    def add(self, row: Tensor) -> None:
        """Add a row.

        Args:
            row: ``[k]``, at most K numbers; copied.
        """
        place = self._count % _BLOCK
        if place == 0 and self._count // _BLOCK == len(self._blocks):
            self._blocks.append(torch.zeros(_BLOCK, self._width, dtype=row.dtype, device=row.device))
        self._blocks[self._count // _BLOCK][place, : len(row)] = row
        self._count += 1
        self.last = len(row)

    def table(self) -> Tensor:
        """All rows.

        Returns:
            ``[rows, K]``, zero where a row was shorter.
        """
        if not self._count:
            return torch.empty(0, self._width)
        return torch.cat(self._blocks)[: self._count]

    def clear(self) -> None:
        """Begin anew, in the same memory."""
        for block in self._blocks:
            block.zero_()
        self._count = self.last = 0
