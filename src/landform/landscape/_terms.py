"""What a landscape asks of one batch: the forward pass, how many samples, which of them are wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from landform.errors import BadInput
from landform.landscape._losses import wrong
from landform.stacked import Stacked

Forward: TypeAlias = Callable[[nn.Module, Any], tuple[Any, Any]]


def pairwise(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    """The usual forward: a batch is (inputs, targets)."""
    try:
        inputs, targets = batch
    except (TypeError, ValueError):
        raise BadInput(
            f"A batch is a {type(batch).__name__}, not a pair (inputs, targets): give forward=, a function of (model, "
            "batch) that returns (outputs, targets)."
        ) from None
    return model(inputs), targets


def samples_in(batch: Any) -> int:
    """How many samples a batch, or its targets, hold: the length of the first tensor."""
    for leaf in pytree.tree_leaves(batch):
        if isinstance(leaf, Tensor) and leaf.dim():
            return len(leaf)
    raise BadInput(
        f"There is no tensor with a row for each sample in a {type(batch).__name__}: batches, and the targets that "
        "forward= returns, are tensors or tuples, lists and dicts of them."
    )


def errors(outputs: Any, targets: Any) -> Tensor:
    """Share of wrong labels in a batch: a scalar, or one for each of n models."""
    missed, counted = wrong(outputs, targets)
    missed = missed if missed.device.type == "mps" else missed.double()  # a count over a count, exact
    return missed.flatten(1).sum(1) / counted if isinstance(outputs, Stacked) else missed.sum() / counted


def front(outputs: Any, block: Tensor) -> Tensor:
    """Outputs with the points in front, ``[k, B, ...]``."""
    if isinstance(outputs, Stacked):
        return outputs.raw
    if not isinstance(outputs, Tensor):
        raise BadInput(f"The model puts out a {type(outputs).__name__}: give a forward= that returns one tensor.")
    if block.dim() == 1:
        return outputs.unsqueeze(0)
    return outputs.expand(len(block), *outputs.shape)
