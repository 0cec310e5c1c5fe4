"""Loss and error at some positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


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
