"""What is trained and looked at in the study of emergent geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from landform import models
from landform.data import Dataset, Split
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.studies._loaded import loaded
from landform.training import Recipe


@dataclass(frozen=True)
class Subject:
    """A network on a data set, and how closely it is looked at.

    Attributes:
        data: name of a data set of labelled samples.
        model: name of a model.
        data_options: options of the one.
        model_options: options of the other.
        samples: how many training samples curvature is measured on, at most.
        looks: how many times of a run are looked at.
    """

    data: str
    model: str
    data_options: Mapping[str, Any] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=dict)
    samples: int = 1000
    looks: int = 8

    def dataset(self) -> Dataset:
        """The data."""
        found = loaded(self.data, self.data_options)
        if found.classes is None or found.train.targets.is_floating_point():
            raise BadInput(f"{found.name} has no classes: the study looks at the gradients of logits by class.")
        return found

    def net(self, data: Dataset, seed: int) -> nn.Module:
        """A network with the initial weights of a seed."""
        assert data.classes is not None
        shape = tuple(data.train.inputs.shape[1:])
        return models.build(self.model, inputs=shape, classes=data.classes, seed=seed, **self.model_options)

    def some(self, data: Dataset) -> Split:
        """The training samples that are looked at, always the same."""
        return some(data.train, self.samples)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "data": {"name": self.data, "options": dict(self.data_options)},
            "model": {"name": self.model, "options": dict(self.model_options)},
            "samples": self.samples,
            "looks": self.looks,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Subject:
        """Read what `to_json` wrote."""
        return cls(
            told["data"]["name"],
            told["model"]["name"],
            told["data"]["options"],
            told["model"]["options"],
            told["samples"],
            told["looks"],
        )


@dataclass(frozen=True)
class EmergentProtocol:
    """What the study of emergent geometry does.

    Learning rates are in units of ``2 / lambda_1`` at the start, above which full-batch descent is unstable there.

    Attributes:
        subjects: the networks whose runs are followed, by name.
        recipe: how they are trained, but for the seed and the learning rate.
        rate: their learning rate.
        grid_on: subjects that are trained with several learning rates and batch sizes.
        rates: those learning rates.
        batches: those batch sizes; 0 takes all samples at once.
        grid_steps: for how many steps.
        minis: mini-batches whose gradients are held against the top eigenvectors.
        modelled: samples for the random model of logit gradients, and for the cosines.
        radii: multiples of Xavier's radius at which random points are looked at.
        draws: random points a seed.
        planes_on: the subject that is trained in random planes.
        plane_recipe: how.
        dimensions: of the planes.
        plane_radii: multiples of Xavier's radius that the planes go through.
        burn_in: steps of free training before the plane, for planes through points on the way.
        edge_on: the subject of full-batch descent on the squared error.
        edge_rates: its learning rates; those above 1 begin beyond the edge of stability.
        edge_options: further options of its model for learning rates below 1: from a small start there is more to
            sharpen.
        edge_steps: for how many steps.
        seeds: how often all of it is done.
    """

    subjects: Mapping[str, Subject]
    recipe: Recipe
    grid_on: tuple[str, ...]
    planes_on: str
    edge_on: str
    plane_recipe: Recipe
    rate: float = 0.3
    rates: tuple[float, ...] = (0.1, 0.3, 0.9)
    batches: tuple[int, ...] = (16, 64, 0)
    grid_steps: int = 400
    minis: int = 6
    modelled: int = 200
    radii: tuple[float, ...] = (0.03, 0.1, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0, 20.0)
    draws: int = 2
    dimensions: tuple[int, ...] = (3, 10, 30, 100, 300)
    plane_radii: tuple[float, ...] = (0.1, 0.5, 1.0, 1.5, 2.5)
    burn_in: tuple[int, ...] = (3, 10)
    edge_rates: tuple[float, ...] = (0.05, 0.15, 0.4, 1.3, 1.7, 2.5)
    edge_options: Mapping[str, Any] = field(default_factory=lambda: {"init": "torch"})
    edge_steps: int = 1200
    seeds: int = 4

    def __post_init__(self) -> None:
        if self.seeds < 1 or not self.subjects:
            raise BadInput(f"seeds is {self.seeds}, for {len(self.subjects)} subjects: give at least one of each.")
        unknown = {*self.grid_on, self.planes_on, self.edge_on} - set(self.subjects)
        if unknown:
            raise BadInput(f"There is no subject {sorted(unknown)[0]!r}: there are {', '.join(self.subjects)}.")
        if 1.0 not in self.plane_radii:
            raise BadInput("Planes of other kinds and after burn-in go through Xavier's radius: have 1 in plane_radii.")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        told = {name: getattr(self, name) for name in _PLAIN}
        return {
            "subjects": {name: subject.to_json() for name, subject in self.subjects.items()},
            "recipe": self.recipe.to_json(),
            "plane_recipe": self.plane_recipe.to_json(),
            "edge_options": dict(self.edge_options),
            **{name: list(value) if isinstance(value, tuple) else value for name, value in told.items()},
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> EmergentProtocol:
        """Read what `to_json` wrote."""
        plain: dict[str, Any] = {
            name: tuple(told[name]) if isinstance(told[name], list) else told[name] for name in _PLAIN
        }
        return cls(
            subjects={name: Subject.from_json(each) for name, each in told["subjects"].items()},
            recipe=Recipe.from_json(told["recipe"]),
            plane_recipe=Recipe.from_json(told["plane_recipe"]),
            edge_options=told["edge_options"],
            **plain,
        )


_PLAIN = (
    "grid_on", "planes_on", "edge_on", "rate", "rates", "batches", "grid_steps", "minis", "modelled", "radii", "draws",
    "dimensions", "plane_radii", "burn_in", "edge_rates", "edge_steps", "seeds",
)  # fmt: skip


def some(split: Split, most: int) -> Split:
    """As many samples, always the same.

    Args:
        split: to take from.
        most: how many at most.

    Returns:
        The samples; all of them where they are no more.
    """
    if len(split) <= most:
        return split
    rows = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:most].sort().values
    return replace(split, inputs=split.inputs[rows], targets=split.targets[rows])


def seen(subject: Subject, data: Dataset, net: nn.Module, device: str) -> Landscape:
    """The landscape of the samples that are looked at.

    Args:
        subject: whose.
        data: its data.
        net: its network.
        device: where to compute.

    Returns:
        The landscape.
    """
    split = subject.some(data)
    return Landscape(net, (split.inputs, split.targets), device=device)


def finite(values: Tensor) -> list[float | None]:
    """Numbers for JSON, which has no place for those that are not finite.

    Args:
        values: ``[n]``.

    Returns:
        The numbers; None where one is not finite.
    """
    return [value if abs(value) < float("inf") else None for value in values.double().tolist()]
