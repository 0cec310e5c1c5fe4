"""What an operator stands on: one point of one landscape, and its loop over batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.layout import Layout


class Passes(Protocol):
    """A loop over batches that can be entered anywhere."""

    def __call__(self, leaves: Mapping[str, Tensor], start: int) -> Iterator[tuple[Any, Any]]:
        """Run the model over all batches from number ``start`` on; gives (outputs, targets) of each."""


@dataclass(frozen=True)
class Ground:
    """A point, the batches, and the loss.

    Attributes:
        point: where, ``[P]``, on the device and in the type of the landscape.
        layout: which slice of it is which parameter.
        passes: the loop over batches; a batch has as many samples as targets.
        loss: (outputs, targets) to the mean over the batch.
        loss_name: what the loss is called: ``"cross-entropy"``, ``"mse"``, or another.
        weight_decay: the declared part ``weight_decay / 2 * ||point||^2`` of the loss.
        samples: a batch's targets to its number of samples.
        coupled: whether the outputs of a sample depend on the other samples of its batch.
    """

    point: Tensor
    layout: Layout
    passes: Passes
    loss: Callable[[Any, Any], Tensor]
    loss_name: str
    weight_decay: float = 0.0
    samples: Callable[[Any], int] = len
    coupled: bool = False

    def __post_init__(self) -> None:
        """Refuse what is not one finite point."""
        self.layout.check(self.point)
        if self.point.dim() != 1:
            raise BadInput(
                f"Curvature is taken at one point [{self.layout.size}]; got a tensor of shape {list(self.point.shape)}."
            )
        bad = ~torch.isfinite(self.point)
        if bool(bad.any()):
            first = int(bad.nonzero()[0])
            inside = next(slot.name for slot in self.layout.slots if slot.start <= first < slot.stop)
            raise BadInput(
                f"The point holds NaN or infinity in {int(bad.sum())} of its {self.layout.size} numbers, first in "
                f"{inside}: curvature is taken at a finite point."
            )
