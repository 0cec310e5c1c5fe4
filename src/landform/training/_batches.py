"""The batches of K runs: each run's own order, labels and augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from landform.data import Dataset, mix, noisy_labels
from landform.errors import BadInput
from landform.training._noise import generator, order, seed_of
from landform.training._recipe import Recipe


@dataclass
class Batches:
    """Batches of K runs over one training set.

    Attributes:
        inputs: all inputs, ``[N, ...]``.
        targets: all targets, ``[N, ...]``, or each run's own ``[K, N]`` where labels are noisy.
        data: the data set, for its augmentation, mixup and classes.
        recipes: one for each run.
    """

    inputs: Tensor
    targets: Tensor
    data: Dataset
    recipes: Sequence[Recipe]
    _epoch: int = -1
    _orders: Tensor = field(default_factory=lambda: torch.empty(0))

    @classmethod
    def of(cls, data: Dataset, recipes: Sequence[Recipe], device: torch.device, dtype: torch.dtype) -> Batches:
        """Put the training split on the device, with each run's label noise."""
        inputs, targets = data.train.inputs, data.train.targets
        if len(inputs) == 0:
            raise BadInput(f"The training split of {data.name} is empty.")
        if any(recipe.label_noise for recipe in recipes):
            if data.classes is None:
                raise BadInput(f"label_noise needs labels, and {data.name} has none.")
            rows = [noisy_labels(targets, r.label_noise, data.classes, _label_seed(r)) for r in recipes]
            targets = torch.stack(rows)
        return cls(_move(inputs, device, dtype), _move(targets, device, dtype), data, recipes)

    def of_runs(self, group: range) -> Batches:
        """The batches of some of the runs alone."""
        part = slice(group.start, group.stop)
        some = Batches(self.inputs, self.targets, self.data, self.recipes[part])
        if self.own_targets:  # without noise, theirs are the same
            some.targets = self.targets[part] if some.own_targets else self.targets[group.start]
        return some

    @property
    def own_targets(self) -> bool:
        """Whether each run has labels of its own."""
        return any(recipe.label_noise for recipe in self.recipes)

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""
        return self.recipes[0].steps_per_epoch(len(self.inputs))

    def at(self, step: int, active: int) -> tuple[Tensor, Tensor]:
        """The batches of one step.

        Args:
            step: the step, from 0.
            active: how many of the runs, from the first.

        Returns:
            Inputs ``[active, B, ...]`` and targets ``[active, B, ...]``.
        """
        samples, size = len(self.inputs), self.recipes[0].batch_size
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            rows = [order(samples, recipe.seed, epoch) for recipe in self.recipes]
            self._orders, self._epoch = torch.stack(rows).to(self.inputs.device), epoch
        at = self._orders[:active, place * size : (place + 1) * size]
        inputs = _rows(self.inputs, at)
        if self.own_targets:
            targets = torch.stack([own[rows] for own, rows in zip(self.targets, at, strict=False)])
        else:
            targets = _rows(self.targets, at)
        return self._augmented(inputs, targets, step)

    def _augmented(self, inputs: Tensor, targets: Tensor, step: int) -> tuple[Tensor, Tensor]:
        augment = self.data.augment
        strengths = [self.data.mixup if r.mixup is None else r.mixup for r in self.recipes[: len(inputs)]]
        if augment is None and not any(strengths):
            return inputs, targets
        rows: list[tuple[Tensor, Tensor]] = []
        for x, y, recipe, alpha in zip(inputs, targets, self.recipes, strengths, strict=False):
            noise = generator(recipe.seed, "augment", step)
            if augment is not None:
                x = augment(x, noise)
            if alpha:
                if self.data.classes is None:
                    raise BadInput(f"mixup needs labels, and {self.data.name} has none.")
                x, y = mix(x, y, alpha, self.data.classes, noise)
            rows.append((x, y))
        return torch.stack([x for x, _ in rows]), torch.stack([y for _, y in rows])


def _label_seed(recipe: Recipe) -> int:
    return seed_of(recipe.seed if recipe.label_seed is None else recipe.label_seed, "labels")


def _rows(tensor: Tensor, at: Tensor) -> Tensor:
    """``tensor[at]``, several times quicker for small rows."""
    return tensor.index_select(0, at.reshape(-1)).view(*at.shape, *tensor.shape[1:])


def _move(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return tensor.to(device, dtype if tensor.is_floating_point() else None)
