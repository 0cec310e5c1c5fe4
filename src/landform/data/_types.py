"""What a data set is: tensors for training and for testing, and everything that was done to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from torch import Tensor

from landform.data._augment import Augment
from landform.data._labels import check_labels
from landform.errors import BadInput

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


@dataclass(frozen=True, eq=False)
class Split:
    """The samples of one half of a data set.

    Attributes:
        inputs: one input a sample, ``[N, ...]``.
        targets: class indices ``[N]`` (int64), numbers to predict ``[N]`` or ``[N, K]`` (floating), or for sequences
            a class a position ``[N, T]``.
        lengths: how many steps of each input are there, ``[N]``; the others, at the left, are padding. None where all
            inputs are whole.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None

    def __post_init__(self) -> None:
        for what, tensor in (("targets", self.targets), ("lengths", self.lengths)):
            if tensor is not None and (tensor.ndim == 0 or len(tensor) != len(self.inputs)):
                count = len(tensor) if tensor.ndim else "a single number"
                raise BadInput(
                    f"A split has {len(self.inputs)} inputs but its {what} are {count}: give one for each input."
                )

    def __len__(self) -> int:
        return len(self.inputs)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Split:
        """Move the tensors.

        Args:
            device: where to; None leaves them where they are.
            dtype: what to turn the floating ones into; None leaves them.

        Returns:
            The same samples elsewhere.
        """

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)

        return Split(moved(self.inputs), moved(self.targets), None if self.lengths is None else self.lengths.to(device))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory.

    Attributes:
        name: what `landform.data.load` calls it.
        train: the samples to train on.
        test: the samples to test on; never touched by label noise.
        classes: how many classes there are; None for regression.
        transform: everything that was done to the numbers and will be done in training: where from, how normalised,
            which subset, what noise, in plain JSON. ``load(name, **transform["options"])`` does
            it again.
        augment: what training does to a batch of inputs; None for nothing.
        mixup: strength of mixup in training; 0 for none.
    """

    name: str
    train: Split
    test: Split
    classes: int | None
    transform: Mapping[str, JSON] = field(default_factory=dict)
    augment: Augment | None = None
    mixup: float = 0.0

    def __post_init__(self) -> None:
        if self.classes is not None:
            for split, what in ((self.train, "training"), (self.test, "test")):
                check_labels(split.targets, self.classes, f"the {what} split of {self.name}")

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Dataset:
        """Move the tensors of both splits.

        Args:
            device: where to; None leaves them where they are.
            dtype: what to turn the floating ones into; None leaves them.

        Returns:
            The same data set elsewhere.
        """
        return replace(self, train=self.train.to(device, dtype), test=self.test.to(device, dtype))

    def fingerprint(self) -> str:
        """Name the content.

        Returns:
            20 hex digits that depend on every number of both splits and on the transform, not on the device.
        """
        sponge = hashlib.blake2b(digest_size=10)
        sponge.update(json.dumps(dict(self.transform), sort_keys=True).encode())
        for split in (self.train, self.test):
            for tensor in (split.inputs, split.targets, split.lengths):
                if tensor is None:
                    sponge.update(b"none")
                    continue
                plain = tensor.detach().cpu().contiguous()
                sponge.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
                sponge.update(plain.reshape(-1).view(torch.uint8).numpy().data)
        return sponge.hexdigest()
