"""What an attack climbs for each sample, and when a sample is lost."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from landform.attacks._attack import Objective
from landform.errors import BadInput
from landform.landscape import Loss, loss_function, mse

Each = Callable[[Tensor, Tensor], Tensor]


def logistic(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean of ``log(1 + exp(-y f))`` for labels y of -1 and 1.

    Args:
        outputs: ``[B]`` or ``[B, 1]``.
        targets: -1 and 1, ``[B]`` or ``[B, 1]``.

    Returns:
        The mean, a scalar.
    """
    return F.softplus(-outputs.reshape(-1) * targets.reshape(-1).to(outputs)).mean()


def loss_of_each(loss: str | Loss) -> Each:
    """The loss of each sample, for a loss that is the mean over samples.

    Args:
        loss: a name (``"cross-entropy"``, ``"mse"``, ``"logistic"``), or a function of (outputs, targets).

    Returns:
        A function of (outputs, targets) that gives ``[B]``.
    """
    mean = logistic if loss == "logistic" else loss_function(loss)[1]
    if loss == "cross-entropy":
        return _cross_entropies
    if mean is logistic:
        return lambda outputs, targets: F.softplus(-outputs.reshape(-1) * targets.reshape(-1).to(outputs))
    if mean is mse:
        return _squares
    return lambda outputs, targets: torch.stack([mean(o[None], t[None]) for o, t in zip(outputs, targets, strict=True)])


def _cross_entropies(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of outputs ``[B, ..., K]``: the mean over what a sample holds."""
    labels = targets.dim() < outputs.dim()
    flat = outputs.flatten(0, -2), targets.flatten() if labels else targets.flatten(0, -2)
    return F.cross_entropy(*flat, reduction="none").reshape(len(outputs), -1).mean(1)


def _squares(outputs: Tensor, targets: Tensor) -> Tensor:
    if targets.dim() < outputs.dim() and not targets.is_floating_point():
        targets = F.one_hot(targets, outputs.shape[-1])
    return (outputs - targets.to(outputs)).square().reshape(len(outputs), -1).mean(1)


def signs_of(outputs: Tensor, targets: Tensor) -> bool:
    """Whether targets are -1 and 1 for one output."""
    one = outputs.dim() == 1 or (outputs.dim() == 2 and outputs.shape[1] == 1)
    return one and targets.numel() == len(outputs) and bool((targets.abs() == 1).all())


def labels_of(outputs: Tensor, targets: Tensor) -> bool:
    """Whether targets are labels of the outputs."""
    return (
        outputs.dim() == 2 and outputs.shape[1] > 1 and targets.shape == outputs.shape[:1]
    ) and not targets.is_floating_point()


def lost(outputs: Tensor, targets: Tensor) -> Tensor | None:
    """Which samples are told wrongly.

    Args:
        outputs: ``[B, K]``, or ``[B]`` or ``[B, 1]`` for labels of -1 and 1.
        targets: labels ``[B]``.

    Returns:
        ``[B]`` of bool; None where the targets are no labels. An output of exactly 0 is no answer, and wrong.
    """
    if labels_of(outputs, targets):
        return outputs.argmax(1) != targets
    if signs_of(outputs, targets):
        return outputs.reshape(-1) * targets.reshape(-1).to(outputs) <= 0
    return None


def margins(outputs: Tensor, targets: Tensor) -> Tensor:
    """How far the best wrong class lies above the right one, ``[B]``."""
    if signs_of(outputs, targets):
        return -outputs.reshape(-1) * targets.reshape(-1).to(outputs)
    if not labels_of(outputs, targets):
        raise BadInput("The margin is that of a label over other classes, and these targets are no labels: climb loss.")
    own = outputs.gather(1, targets[:, None])[:, 0]
    return outputs.scatter(1, targets[:, None], -torch.inf).amax(1) - own


def climbed(objective: Objective, each: Each) -> Each:
    """What is climbed under an objective.

    Args:
        objective: its name.
        each: the loss of each sample.

    Returns:
        A function of (outputs, targets) that gives ``[B]``.
    """
    return margins if objective == "margin" else each
