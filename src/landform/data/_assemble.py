"""From raw samples to a data set: subset, normalise, spoil labels, and write down what was done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landform.data._labels import check_labels, noisy_labels, random_labels
from landform.data._options import Options
from landform.data._types import JSON, Dataset, Split
from landform.errors import BadInput


@dataclass(frozen=True)
class Raw:
    """Samples as they lie on disk.

    Attributes:
        read: gives the inputs at some positions (None: all), so that only what is kept need be decoded.
        targets: all targets.
        lengths: how many steps of each input are there, counted from the right; None for whole inputs.
    """

    read: Callable[[Tensor | None], Tensor]
    targets: Tensor
    lengths: Tensor | None = None

    @classmethod
    def of(cls, inputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> Raw:
        """Wrap inputs that are in memory already.

        Args:
            inputs: one input a sample.
            targets: the targets.
            lengths: see the class.

        Returns:
            The samples.
        """
        return cls(lambda kept: inputs if kept is None else inputs[kept], targets, lengths)


@dataclass(frozen=True)
class Scaling:
    """How inputs are normalised: ``(x / unit - mean) / std``.

    Attributes:
        unit: the largest raw value where that is fixed (255 for pixels), else 1.
        channels: the axis of the inputs that has its own mean and std at each position; None for one of each.
    """

    unit: float = 1.0
    channels: int | None = None


def assemble(
    name: str,
    options: Options,
    own: Mapping[str, Any],
    *,
    train: Raw,
    test: Raw,
    classes: int | None,
    scaling: Scaling | None,
    source: Mapping[str, Any],
) -> Dataset:
    """Make a data set.

    Args:
        name: what `load` calls it.
        options: the common options.
        own: the set's own options, in plain JSON.
        train: the training samples.
        test: the test samples.
        classes: how many classes there are; None for regression.
        scaling: how to normalise; None leaves the inputs alone (indices of characters).
        source: what else there is to say of where the numbers come from, in plain JSON.

    Returns:
        The data set.

    Raises:
        BadInput: when labels are out of range, a split is empty, or an option does not suit the set.
    """
    for split, what in ((train, "training"), (test, "test")):
        if len(split.targets) == 0:
            raise BadInput(f"The {what} split of {name} is empty: check the files.")
        if classes is not None:
            check_labels(split.targets, classes, f"the {what} split of {name}")
    if classes is None and (options.label_noise or options.random_labels or options.mixup):
        raise BadInput(
            f"{name} is a regression task: label_noise, random_labels and mixup need classes; leave them out."
        )

    if options.only is not None:
        train, test = (_among(name, split, classes, options.only) for split in (train, test))
        classes = len(options.only)

    transform: dict[str, JSON] = {"options": {**own, **options.to_json()}, "source": dict(source)}
    kept = options.keep(train.targets, classes)
    inputs, lengths, targets = train.read(kept), train.lengths, train.targets
    held_out = test.read(None)
    if kept is not None:
        targets, lengths = targets[kept], None if lengths is None else lengths[kept]
        transform["subset"] = {"kept": len(kept), "of": len(train.targets)}
    if options.augment is not None and inputs.ndim != 4:
        raise BadInput(f"augment changes images [C, H, W], but the inputs of {name} are {list(inputs.shape[1:])}.")
    if options.mixup and scaling is None:
        raise BadInput(f"mixup takes averages of inputs, which those of {name} do not have: leave it out.")
    if scaling is not None:
        mean, std = moments(inputs, scaling, lengths)
        inputs, held_out = (
            normalised(raw, scaling, mean, std, sizes) for raw, sizes in ((inputs, lengths), (held_out, test.lengths))
        )
        transform["normalise"] = {
            "unit": scaling.unit,
            "mean": [float(value) for value in mean],
            "std": [float(value) for value in std],
        }
    spoilt = _spoil(targets, classes, options)
    if spoilt is not targets:
        transform["labels"] = {"changed": int((spoilt != targets).sum()), "of": targets.numel()}
    return Dataset(
        name=name,
        train=Split(inputs, spoilt, lengths),
        test=Split(held_out, test.targets, test.lengths),
        classes=classes,
        transform=transform,
        augment=options.augment,
        mixup=float(options.mixup),
    )


def _among(name: str, split: Raw, classes: int | None, chosen: tuple[int, ...]) -> Raw:
    """The samples of some classes, which are numbered anew."""
    if classes is None or split.targets.ndim != 1:
        raise BadInput(f"only chooses by labels, and {name} has not one for each sample: leave it out.")
    if max(chosen) >= classes:
        raise BadInput(f"only asks for class {max(chosen)}, and those of {name} are 0 to {classes - 1}.")
    renumbered = torch.full((classes,), -1)
    renumbered[torch.tensor(chosen)] = torch.arange(len(chosen))
    targets = renumbered[split.targets]
    held = (targets >= 0).nonzero()[:, 0]
    if not len(held):
        raise BadInput(f"A split of {name} has no sample of the classes {list(chosen)}: give others.")
    lengths = None if split.lengths is None else split.lengths[held]
    return Raw(lambda kept: split.read(held if kept is None else held[kept]), targets[held], lengths)


def present(lengths: Tensor, steps: int) -> Tensor:
    """Which steps of right-aligned sequences are there.

    Args:
        lengths: how many of each, ``[N]``.
        steps: how many there is room for.

    Returns:
        True where the sequence is, False in the padding at its left, ``[N, steps]``.
    """
    return torch.arange(steps, device=lengths.device) >= (steps - lengths)[:, None]


def moments(inputs: Tensor, scaling: Scaling, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of inputs in units of ``scaling.unit``, padding left out.

    Args:
        inputs: ``[N, ...]``; ``[N, T, C]`` where there are lengths.
        scaling: which axis has its own.
        lengths: how many steps of each input are there.

    Returns:
        Mean and deviation (1 where nothing varies), each ``[C]`` or ``[1]``, in float64.
    """
    if lengths is not None:
        rows = inputs[present(lengths, inputs.shape[1])].T  # [C, all steps]
    elif scaling.channels is None:
        rows = inputs.reshape(1, -1)
    else:
        rows = inputs.movedim(scaling.channels, 0).flatten(1)
    if inputs.dtype == torch.uint8:
        # exact, and without a float64 copy of all pixels
        levels = torch.arange(256, dtype=torch.float64)
        counts = torch.stack([torch.bincount(row, minlength=256) for row in rows]).double()
        weights = counts / counts.sum(1, keepdim=True)
        mean = weights @ levels
        variance = (weights * (levels - mean[:, None]).square()).sum(1)
    else:
        rows = rows.double()
        mean, variance = rows.mean(1), rows.var(1, correction=0)
    std = variance.sqrt() / scaling.unit
    return mean / scaling.unit, torch.where(std > 1e-12, std, torch.ones_like(std))


def normalised(inputs: Tensor, scaling: Scaling, mean: Tensor, std: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Shift and scale inputs; padding stays zero.

    Args:
        inputs: ``[N, ...]``.
        scaling: the unit and which axis has its own mean and deviation.
        mean: ``[C]`` or ``[1]``, in units.
        std: the same.
        lengths: how many steps of each input are there.

    Returns:
        float32 inputs of the same shape.
    """
    shape = [1] * inputs.ndim
    if scaling.channels is not None:
        shape[scaling.channels] = -1
    shift, scale = ((value * scaling.unit).reshape(shape).float() for value in (mean, std))
    scaled = inputs.to(torch.float32, copy=True, memory_format=torch.contiguous_format).sub_(shift).div_(scale)
    if lengths is not None:
        scaled.masked_fill_(~present(lengths, inputs.shape[1])[:, :, None], 0)
    return scaled


def _spoil(targets: Tensor, classes: int | None, options: Options) -> Tensor:
    if classes is None or not (options.random_labels or options.label_noise):
        return targets
    if options.random_labels:
        return random_labels(targets, classes, options.seed)
    return noisy_labels(targets, options.label_noise, classes, options.seed)
