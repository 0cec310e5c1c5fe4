"""What does not fit together is said when a landscape is made, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from landform.errors import BadInput
from landform.landscape._losses import Loss


def check_repeatable(first: Any, second: Any) -> None:
    """Refuse a model whose outputs change from one pass over a batch to the next.

    Args:
        first: its outputs.
        second: its outputs once more.

    Raises:
        BadInput: when they differ by more than rounding.
    """
    leaves, again = pytree.tree_leaves(first), pytree.tree_leaves(second)
    if len(leaves) != len(again) or not all(_agree(a, b) for a, b in zip(leaves, again, strict=True)):
        raise BadInput(
            "Two passes over the same batch differ: the model is random in evaluation mode, most likely by a dropout "
            "that is always on; switch it off."
        )


def _agree(first: Any, second: Any) -> bool:
    if not isinstance(first, Tensor):
        return True
    if not first.is_floating_point() or first.shape != second.shape:
        return torch.equal(first, second)
    return torch.allclose(first, second, rtol=1e-4, atol=1e-6, equal_nan=True)


def check_finite(samples: Tensor, what: str) -> None:
    """Refuse samples that hold NaN or infinity.

    Args:
        samples: ``[N, ...]``.
        what: what they are, for the message.

    Raises:
        BadInput: when one does; the message tells the first.
    """
    if samples.is_floating_point() and not bool(torch.isfinite(samples).all()):
        bad = (~torch.isfinite(samples)).reshape(len(samples), -1).any(1)
        raise BadInput(
            f"The {what} hold NaN or infinity in {int(bad.sum())} of {len(samples)} samples, first in sample "
            f"{int(bad.nonzero()[0])}: remove or mend them."
        )


def check_labels(outputs: Any, labels: Any) -> None:
    """Refuse labels that the model has no output for.

    Args:
        outputs: outputs of one batch, classes last.
        labels: all labels there are.

    Raises:
        BadInput: when a label lies outside 0..K-1 (-100, which cross-entropy passes over, is let be).
    """
    if not isinstance(outputs, Tensor) or not isinstance(labels, Tensor) or labels.is_floating_point():
        return
    classes = outputs.shape[-1]
    counted = labels[labels != -100]
    if counted.numel() and (int(counted.min()) < 0 or int(counted.max()) >= classes):
        raise BadInput(
            f"The labels run from {int(counted.min())} to {int(counted.max())}, but the model has {classes} outputs: "
            f"labels must lie in 0..{classes - 1}."
        )


def check_loss(name: str, loss: Loss, outputs: Any, targets: Any) -> None:
    """Refuse a loss that does not give one number.

    Args:
        name: what to call it.
        loss: the function.
        outputs: outputs of one batch.
        targets: its targets.

    Raises:
        BadInput: when it fails, or returns something else than one number.
    """
    try:
        value: Any = loss(outputs, targets)
    except BadInput:
        raise
    except Exception as why:
        raise BadInput(
            f"The loss {name} cannot be taken of the model's outputs and these targets: {first_line(why)}"
        ) from why
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise BadInput(f"The loss {name} returned {got}, not one number: it must return the mean over the batch.")


def check_buffers(given: Mapping[str, Tensor], own: Mapping[str, Tensor], points: Tensor) -> None:
    """Refuse buffers that are not the model's.

    Args:
        given: buffers by name.
        own: the model's.
        points: the points they belong to, ``[P]`` or ``[n, P]``.

    Raises:
        BadInput: when the model has none of that name, or its shape differs.
    """
    for name, buffer in given.items():
        if name not in own:
            raise BadInput(f"The model has no buffer {name}: give buffers by the names of model.named_buffers().")
        wanted = [*points.shape[:-1], *own[name].shape]
        if list(buffer.shape) != wanted:
            raise BadInput(f"The buffer {name} has shape {list(buffer.shape)}: for these points it has to be {wanted}.")


def find_device(device: str | torch.device) -> torch.device:
    """Find a device by name.

    Args:
        device: ``"auto"`` (a CUDA GPU, else MPS, else the CPU), or as torch names devices.

    Returns:
        The device.

    Raises:
        BadInput: when there is none of that name here.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as why:
        raise BadInput(f"There is no device {str(device)!r} here: {first_line(why)}") from None
    return found


def first_line(why: Exception) -> str:
    """The first line of what an exception says, as a sentence.

    Args:
        why: the exception.

    Returns:
        The sentence.
    """
    line = (str(why).strip().splitlines() or [type(why).__name__])[0][:200]
    return line if line.endswith(".") else f"{line}."
