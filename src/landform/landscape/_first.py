"""The first batch: whether model, data, forward and loss go together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from landform.errors import BadInput
from landform.landscape._batches import Tensors
from landform.landscape._checks import check_labels, check_loss, check_repeatable, first_line
from landform.landscape._terms import pairwise, samples_in

if TYPE_CHECKING:
    from landform.landscape._landscape import Landscape


def first_pass(self: Landscape) -> tuple[Any, Any]:
    """Run the model where it is on the first batch, as it is: with its own buffers.

    Args:
        self: the landscape.

    Returns:
        Outputs and targets.
    """
    batch = next(iter(self._data.batches(self._batch_size)))
    with torch.no_grad():
        result: tuple[Any, Any] = self._function(
            self.layout.views(self.here), {}, lambda net: self._forward(net, batch)
        )
    return result


def check(self: Landscape) -> None:
    """Run the first batch twice, and say what does not fit.

    Args:
        self: the landscape.

    Raises:
        BadInput: when model, data, forward and loss do not go together.
    """
    try:
        (outputs, targets), (again, _) = self._first_pass(), self._first_pass()
    except BadInput:
        raise
    except Exception as why:
        raise BadInput(
            f"The model cannot run on the first batch of the data: {first_line(why)} Check the shape and the type "
            "of the inputs, or give forward= for batches that are not (inputs, targets)."
        ) from why
    check_repeatable(outputs, again)
    if self._loss_name == "cross-entropy":
        plain = isinstance(self._data, Tensors) and self._forward is pairwise
        check_labels(outputs, self._data.targets if plain else targets)  # type: ignore[union-attr]
    check_loss(self._loss_name, self._loss, outputs, targets)
    samples_in(targets)
