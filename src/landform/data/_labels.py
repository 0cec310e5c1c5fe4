"""Labels: their range, wrong ones put in on purpose, and subsets with every class in its share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landform.data._random import seeded
from landform.errors import BadInput


def check_labels(targets: Tensor, classes: int, where: str) -> None:
    """Refuse labels that are not class indices.

    Args:
        targets: the labels, any shape.
        classes: how many classes there are.
        where: what holds the labels, for the message.

    Raises:
        BadInput: when a label is no integer in ``0..classes-1``.
    """
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise BadInput(f"Labels are integers 0..{classes - 1}, but those of {where} are {targets.dtype}.")
    if targets.numel() == 0:
        return
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise BadInput(
            f"A label of {where} is {wrong}, outside 0..{classes - 1}: the data set has {classes} classes; check the "
            "file or give the right number of classes."
        )


def noisy_labels(targets: Tensor, fraction: float, classes: int, seed: int) -> Tensor:
    """Replace a share of the labels by other classes, drawn uniformly.

    With the same seed, the labels changed by a smaller fraction are among those changed by a larger one, and are
    changed to the same classes.

    Args:
        targets: class indices, any shape.
        fraction: which share becomes wrong, in 0..1; the nearest whole number of labels is changed.
        classes: how many classes there are.
        seed: decides which labels change and to what.

    Returns:
        New labels of the same shape and dtype, on the same device.

    Raises:
        BadInput: when the fraction or a label is out of range, or there is no other class to change to.
    """
    if not 0 <= fraction <= 1:
        raise BadInput(f"The share of noisy labels is between 0 and 1, but {fraction} was given.")
    check_labels(targets, classes, "the targets")
    if fraction > 0 and classes < 2:
        raise BadInput("Label noise needs at least 2 classes, so that there is a wrong one to choose.")
    count = math.floor(fraction * targets.numel() + 0.5)
    if count == 0:
        return targets.clone()
    generator = seeded("label noise", seed)
    changed = torch.randperm(targets.numel(), generator=generator)[:count]
    shifts = torch.randint(1, classes, (targets.numel(),), generator=generator)[:count]
    noisy = targets.flatten().clone()
    changed, shifts = changed.to(targets.device), shifts.to(targets.device, targets.dtype)
    noisy[changed] = (noisy[changed] + shifts) % classes
    return noisy.reshape(targets.shape)


def random_labels(targets: Tensor, classes: int, seed: int) -> Tensor:
    """Draw every label anew, uniformly over the classes.

    Args:
        targets: class indices, any shape; only shape, dtype and device matter.
        classes: how many classes there are.
        seed: decides the labels.

    Returns:
        Labels that know nothing of the inputs.
    """
    drawn = torch.randint(classes, tuple(targets.shape), generator=seeded("random labels", seed))
    return drawn.to(targets.device, targets.dtype)


def balanced(targets: Tensor, per_class: int | None, fraction: float | None, classes: int, seed: int) -> Tensor:
    """Choose samples so that every class keeps its count or its share.

    With the same seed a smaller choice lies within a larger one.

    Args:
        targets: class indices, ``[N]``.
        per_class: how many samples of each class, or None.
        fraction: which share of each class (at least one sample), or None.
        classes: how many classes there are.
        seed: decides which samples.

    Returns:
        Chosen positions in ascending order, ``[n]``.

    Raises:
        BadInput: when a class has too few samples.
    """
    chosen = []
    for label in range(classes):
        members = (targets == label).nonzero().flatten().cpu()
        if fraction is not None:
            count = min(len(members), max(1, math.floor(fraction * len(members) + 0.5)))
        else:
            count = len(members) if per_class is None else per_class
            if count > len(members):
                raise BadInput(
                    f"per_class={per_class} is more than the {len(members)} samples of class {label}: ask for fewer."
                )
        chosen.append(members[torch.randperm(len(members), generator=seeded("subset", seed, label))[:count]])
    return torch.cat(chosen).sort().values
