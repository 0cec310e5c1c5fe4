"""Which samples a kernel is taken between."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from landform.errors import BadInput
from landform.landscape import Landscape, check_finite
from landform.per_sample import count, cut


class Samples:
    """Samples in memory, any of which can be taken.

    Attributes:
        batch: all of them as one batch, as the landscape's forward takes it.
    """

    def __init__(self, batch: Any) -> None:
        """Take the batch."""
        self.batch = batch
        self._count = count(batch)

    def __len__(self) -> int:
        return self._count

    def part(self, which: slice) -> Any:
        """Some of them, as a batch."""
        return cut(self.batch, which)


def samples_of(landscape: Landscape, x: Any, what: str, targets: bool) -> Samples:
    """Read the samples a user gives.

    Args:
        landscape: gives the data where there are none.
        x: inputs, a pair of inputs and targets, a batch, or None.
        what: what to call them.
        targets: whether targets are needed.

    Returns:
        The samples, on the landscape's device.

    Raises:
        BadInput: when they are none of these.
    """
    if x is None:
        batches = list(landscape._data.batches(2**62))
        if len(batches) == 1:
            return Samples(batches[0])
        return Samples(pytree.tree_map(_together, *batches))
    if isinstance(x, Tensor):
        x = (x, None)
    moved = pytree.tree_map_only(Tensor, lambda t: _moved(t, landscape), x)
    if not any(isinstance(leaf, Tensor) and leaf.dim() and len(leaf) for leaf in pytree.tree_leaves(moved)):
        raise BadInput(f"{what} holds no samples: give inputs [n, ...], a pair (inputs, targets), or a batch.")
    for leaf in pytree.tree_leaves(moved):
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            check_finite(leaf, what)
    pair = moved if isinstance(moved, tuple | list) and len(moved) == 2 else ()
    if len(pair) == 2 and all(isinstance(t, Tensor) and t.dim() for t in pair) and len(pair[0]) != len(pair[1]):
        raise BadInput(f"{what} has {len(pair[0])} inputs and {len(pair[1])} targets: give one target for each input.")
    if targets and isinstance(moved, tuple | list) and len(moved) == 2 and moved[1] is None:
        raise BadInput(f"kind='loss' needs targets: give {what} as a pair (inputs, targets).")
    return Samples(moved)


def _together(*each: Any) -> Any:
    return torch.cat(each) if isinstance(each[0], Tensor) and each[0].dim() else each[0]


def _moved(tensor: Tensor, landscape: Landscape) -> Tensor:
    return tensor.to(landscape.device, landscape.dtype if tensor.is_floating_point() else None)
