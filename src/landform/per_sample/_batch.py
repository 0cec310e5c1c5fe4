"""Batches of any make, whose tensors have the samples first."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from landform.errors import BadInput


def count(batch: Any) -> int:
    """How many samples a batch holds: the length of its first tensor.

    Args:
        batch: tensors, or tuples, lists and dicts of them.

    Returns:
        The number of samples.

    Raises:
        BadInput: when there is no tensor, or no sample.
    """
    for leaf in pytree.tree_leaves(batch):
        if isinstance(leaf, Tensor) and leaf.dim():
            if len(leaf) == 0:
                raise BadInput(f"The batch holds no samples: its first tensor is of shape {list(leaf.shape)}.")
            return len(leaf)
    raise BadInput(
        f"There is no tensor with a row for each sample in a {type(batch).__name__}: batches are tensors, or tuples, "
        "lists and dicts of them."
    )


def cut(batch: Any, which: slice) -> Any:
    """Some of the samples of a batch.

    Args:
        batch: tensors, or tuples, lists and dicts of them; what is not as long as the batch goes along as it is.
        which: the samples.

    Returns:
        A batch of the same make, in views.
    """
    held = count(batch)
    return pytree.tree_map_only(Tensor, lambda t: t[which] if t.dim() and len(t) == held else t, batch)


def axes(batch: Any) -> Any:
    """Where each leaf of a batch has its samples: 0, or None where it has none."""
    held = count(batch)
    return pytree.tree_map(lambda t: 0 if isinstance(t, Tensor) and t.dim() and len(t) == held else None, batch)
