"""What is trained, freed and looked at in the study of networks freed of convolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch.nn import functional

from landform.data import Dataset, Split
from landform.errors import BadInput
from landform.studies._emergent_protocol import Subject
from landform.training import Recipe

_PLAIN = ("relax", "after", "every", "pooled", "train", "validation", "test", "held", "alphas", "seeds")


@dataclass(frozen=True)
class NeedleProtocol:
    """What the study of freed networks does.

    Attributes:
        subject: the convolutional network and its data; its samples are those of curvature, barriers and training
            errors.
        recipe: how everything is trained, but for the epochs and the seed.
        relax: epochs after which the convolutional network is freed; the first is 0.
        after: for how many epochs it is then trained.
        every: epochs between looks.
        pooled: side of the blocks of pixels that are averaged beforehand; 1 leaves the images as they are.
        train: training samples.
        validation: samples on which times are selected.
        test: test samples.
        held: which split of the data set the samples for validation are from.
        alphas: places on every straight line, the ends among them.
        seeds: how often all of it is done.
    """

    subject: Subject
    recipe: Recipe
    relax: tuple[float, ...]
    after: float
    every: float
    pooled: int = 1
    train: int = 1000
    validation: int = 500
    test: int = 1000
    held: Literal["train", "test"] = "train"
    alphas: int = 9
    seeds: int = 5

    def __post_init__(self) -> None:
        if self.seeds < 1 or min(self.train, self.validation, self.test, self.pooled) < 1:
            raise BadInput("Give at least one seed, and samples to train on, to select on and to test on.")
        if len(self.relax) < 3 or self.relax[0] != 0 or list(self.relax) != sorted(set(self.relax)):
            raise BadInput(f"The relax times are {self.relax}: give three or more, ascending from 0.")
        if not 0 < self.every <= self.after:
            raise BadInput(f"Looks are {self.every:g} epochs apart for {self.after:g} epochs: have one at least.")
        if self.held not in ("train", "test"):
            raise BadInput(f"Samples for validation are held from {self.held!r}: give 'train' or 'test'.")

    @property
    def total(self) -> float:
        """Epochs of the longest training; the convolutional network's and the plain one's own."""
        return self.relax[-1] + self.after

    def looks(self, until: float) -> tuple[float, ...]:
        """When a run is looked at.

        Args:
            until: its last epoch.

        Returns:
            Epochs from 0 to the last; early ones besides, since most happens there.
        """
        count = int(until / self.every)
        times = {0.0, *(f * self.every for f in (0.1, 0.3)), *(i * self.every for i in range(1, count + 1)), until}
        return tuple(sorted(time for time in times if time <= until))

    def load(self) -> tuple[Dataset, Split]:
        """The data.

        Returns:
            The data set, with as many training and test samples as asked for, and the samples for validation.

        Raises:
            BadInput: when there are too few.
        """
        found = self.subject.dataset()
        need = {"train": self.train, "test": self.test}
        need[self.held] += self.validation
        parts: dict[str, Split] = {}
        for name, split in (("train", found.train), ("test", found.test)):
            if len(split) < need[name]:
                raise BadInput(f"{found.name} has {len(split)} samples to {name}, and {need[name]} are needed.")
            rows = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[: need[name]]
            inputs = split.inputs[rows]
            if self.pooled > 1:
                inputs = functional.avg_pool2d(inputs, self.pooled)
            parts[name] = Split(inputs, split.targets[rows])
        whole = parts[self.held]
        kept = need[self.held] - self.validation
        parts[self.held] = Split(whole.inputs[:kept], whole.targets[:kept])
        held = Split(whole.inputs[kept:], whole.targets[kept:])
        own = {"pooled": self.pooled, "held": self.held, **need}
        told: dict[str, Any] = {**found.transform, "needle": own}
        return replace(found, train=parts["train"], test=parts["test"], transform=told), held

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        told = {name: getattr(self, name) for name in _PLAIN}
        return {
            "subject": self.subject.to_json(),
            "recipe": self.recipe.to_json(),
            **{name: list(value) if isinstance(value, tuple) else value for name, value in told.items()},
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> NeedleProtocol:
        """Read what `to_json` wrote."""
        plain: dict[str, Any] = {
            name: tuple(told[name]) if isinstance(told[name], list) else told[name] for name in _PLAIN
        }
        return cls(subject=Subject.from_json(told["subject"]), recipe=Recipe.from_json(told["recipe"]), **plain)
