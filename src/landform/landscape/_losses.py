"""Losses by name, and the share of wrong labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from landform.errors import BadInput
from landform.stacked import Stacked

Loss: TypeAlias = Callable[[Any, Any], Tensor]


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the softmax over the last axis.

    Args:
        outputs: logits ``[B, ..., K]``.
        targets: labels ``[B, ...]``, or probabilities ``[B, ..., K]``.

    Returns:
        The mean, a scalar.
    """
    if outputs.dim() > 2:
        targets = targets.flatten(0, -1 if targets.dim() < outputs.dim() else -2)
        outputs = outputs.flatten(0, -2)
    return F.cross_entropy(outputs, targets)


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared difference, over samples and outputs; labels stand for their one-hot vectors.

    Args:
        outputs: ``[B, ...]``.
        targets: the same shape, or labels of one axis less.

    Returns:
        The mean, a scalar.

    Raises:
        BadInput: when the shapes differ.
    """
    if targets.dim() < outputs.dim() and not targets.is_floating_point():
        targets = F.one_hot(targets, outputs.shape[-1])
    if targets.shape != outputs.shape:  # broadcast, they would give a number that means nothing
        raise BadInput(
            f"The loss mse cannot be taken of outputs {list(outputs.shape)} and targets {list(targets.shape)}: give "
            "both the same shape."
        )
    targets = targets if targets.is_floating_point() else targets.to(outputs.dtype)
    return F.mse_loss(outputs, targets)


_NAMED: dict[str, Loss] = {"cross-entropy": cross_entropy, "mse": mse}


def loss_function(loss: str | Loss) -> tuple[str, Loss]:
    """Find a loss by name, or take a callable as it is.

    Args:
        loss: a name, or a function of (outputs, targets) that returns the mean over the batch.

    Returns:
        Its name and the function.

    Raises:
        BadInput: when the name is unknown.
    """
    if callable(loss):
        return getattr(loss, "__qualname__", type(loss).__qualname__), loss
    if loss not in _NAMED:
        raise BadInput(f"There is no loss named {loss!r}: give {' or '.join(map(repr, _NAMED))}, or a function.")
    return loss, _NAMED[loss]


def wrong(outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Tell which labels are predicted wrongly.

    Args:
        outputs: logits ``[B, ..., K]``, of one model or of n as one.
        targets: labels ``[B, ...]``; -100, which cross-entropy passes over, is neither right nor wrong.

    Returns:
        Ones where the largest logit is not the label's, ``[B, ...]`` or ``[n, B, ...]``, a tie going to the lower
        class; and how many labels count.

    Raises:
        BadInput: when the targets are not labels of the outputs.
    """
    labels = isinstance(targets, Tensor) and isinstance(outputs, Tensor) and not targets.is_floating_point()
    if not labels or outputs.shape[:-1] != targets.shape or outputs.dim() < 2 or outputs.shape[-1] < 2:
        raise BadInput(
            "The error is the share of wrong labels, and these targets are not labels, one for each row of two or more "
            "outputs: measure the loss."
        )
    logits = outputs.raw if isinstance(outputs, Stacked) else outputs
    counts = targets != -100
    # Arg-max takes many times as long where classes do not lie side by side: it is asked where there are ties or nan.
    top = logits.amax(-1, keepdim=True)
    if int((logits == top).sum()) == top.numel():
        last = logits.shape[-1] - 1
        places = targets.clamp(0, last).expand(logits.shape[:-1])[..., None]
        missed = (logits.gather(-1, places) < top)[..., 0] | (targets > last)
    else:
        missed = logits.argmax(-1) != targets
    return (missed & counts).to(logits.dtype), counts.sum()
