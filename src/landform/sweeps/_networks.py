"""landform's own train function: small networks by name, those alike trained as one stack, and measured."""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from landform import curvature, data, models
from landform.data import Dataset
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.layout import Layout
from landform.training import Recipe, train_many

# Parameters of all networks of a stack, and networks in it, beyond which nothing is gained: what is trained should stay
# in a core's cache, and the bookkeeping of a step is small beside its arithmetic by then.
_NUMBERS, _MOST = 2**18, 128
# Options of a data set that a recipe has too: the training set itself is changed, and so is what is measured on it.
_OF_DATA = ("per_class", "fraction", "label_noise", "random_labels", "mixup", "augment")


@dataclass(frozen=True)
class Networks:
    """Trains networks of `landform.models` on a data set of `landform.data`, many at once, and measures them.

    Settings of a sweep are told apart by name: options of the data set (``per_class``, ``label_noise``, ...), fields of
    a `Recipe` (``lr``, ``batch_size``, ``weight_decay``, ...), and options of the model (``width``, ``depth``, ...). A
    seed decides the initial weights and the order of the data. The measures go by the names that tables of networks
    have (`landform.diagnosis.read_table`): errors and accuracies in percent.

    Attributes:
        model: name of a model.
        data: name of a data set.
        recipe: how they are trained, but for what the sweep sets.
        model_options: options of the model, likewise.
        data_options: options of the data set, likewise.
        curvature: whether the largest eigenvalue and the trace of the training loss's Hessian are measured, one network
            after the other.
        together: how many are trained as one stack, at most; None for as many as a core's cache holds.
        keep: whether the trained weights are kept, as the array ``point``.
        device: where to train and to measure.
    """

    model: str = "mlp"
    data: str = "digits"
    recipe: Recipe = field(default_factory=Recipe)
    model_options: Mapping[str, Any] = field(default_factory=dict)
    data_options: Mapping[str, Any] = field(default_factory=dict)
    curvature: bool = False
    together: int | None = None
    keep: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.model not in models.names():
            raise BadInput(f"There is no model {self.model!r}: choose from {', '.join(models.names())}.")
        if self.together is not None and self.together < 1:
            raise BadInput(f"together is {self.together}: give at least 1.")

    def to_json(self) -> dict[str, Any]:
        """Describe it in plain values; how many are trained together decides the last bits, so it is told."""
        return {
            "model": {"name": self.model, "options": dict(self.model_options)},
            "data": {"name": self.data, "options": dict(self.data_options)},
            "recipe": self.recipe.to_json(),
            "curvature": self.curvature,
            "together": self.together,
            "keep": self.keep,
        }

    def __call__(self, *, seed: int = 0, **settings: Any) -> dict[str, Any]:
        """Train and measure one network.

        Args:
            seed: of its initial weights and of the order of its data.
            **settings: see the class.

        Returns:
            The measures.
        """
        return self.many([settings], [seed])[0]

    def groups(self, settings: Sequence[Mapping[str, Any]]) -> list[list[int]]:
        """Sort cells into those that are trained together.

        Args:
            settings: of each cell.

        Returns:
            Numbers of the cells of each group.

        Raises:
            BadInput: when a setting has no meaning here.
        """
        alike: dict[str, list[int]] = {}
        for place, one in enumerate(settings):
            recipe, of_model, of_data = self._parts(one)
            alike.setdefault(json.dumps([of_model, of_data, recipe.shared], sort_keys=True), []).append(place)
        found: list[list[int]] = []
        for places in alike.values():
            count = -(-len(places) // self.size(settings[places[0]]))
            edges = [round(k * len(places) / count) for k in range(count + 1)]
            found += [places[a:b] for a, b in itertools.pairwise(edges)]
        return found

    def size(self, settings: Mapping[str, Any]) -> int:
        """How many networks of these settings are trained as one stack, at most.

        Args:
            settings: of one of them.

        Returns:
            At least one.
        """
        if self.together is not None:
            return self.together
        _, of_model, of_data = self._parts(settings)
        net = self._build(_dataset(self.data, json.dumps(of_data, sort_keys=True)), of_model, 0)
        return max(1, min(_MOST, _NUMBERS // max(1, Layout.of(net).size)))

    def _build(self, dataset: Dataset, of_model: Mapping[str, Any], seed: int) -> nn.Module:
        inputs = tuple(dataset.train.inputs.shape[1:])
        return models.build(self.model, inputs=inputs, classes=dataset.classes or 1, seed=seed, **of_model)

    def many(self, settings: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> list[dict[str, Any]]:
        """Train and measure networks that `groups` has put together.

        Args:
            settings: of each.
            seeds: of each.

        Returns:
            The measures of each.
        """
        parts = [self._parts(one) for one in settings]
        _, of_model, of_data = parts[0]
        dataset = _dataset(self.data, json.dumps(of_data, sort_keys=True))
        nets = [self._build(dataset, of_model, seed) for seed in seeds]
        recipes = [replace(recipe, seed=seed) for (recipe, _, _), seed in zip(parts, seeds, strict=True)]
        loss = "mse" if dataset.classes is None else "cross-entropy"
        starts = torch.stack([Layout.of(net).point(net) for net in nets])
        trained = train_many(nets, dataset, recipes, loss=loss, device=self.device)
        points = torch.stack([one.point for one in trained])
        landscape = Landscape(nets[0], dataset, loss=loss, device=self.device)
        found = self._measure(landscape, dataset, points, starts)
        if self.keep:
            for one, point in zip(found, points, strict=True):
                one["point"] = point.clone()
        return found

    def _parts(self, settings: Mapping[str, Any]) -> tuple[Recipe, dict[str, Any], dict[str, Any]]:
        """The recipe, the options of the model and those of the data set that settings ask for."""
        of_recipe: dict[str, Any] = {}
        of_model, of_data = dict(self.model_options), dict(self.data_options)
        known = _model_options(self.model)
        recipes = {one.name for one in fields(Recipe)} - {"seed"}
        for name, value in settings.items():
            if name in _OF_DATA:
                of_data[name] = value
            elif name in recipes:
                of_recipe[name] = tuple(value) if isinstance(value, list) else value
            elif name in known:
                of_model[name] = value
            else:
                raise BadInput(
                    f"{name!r} is no setting of the {self.model} or its training: give an option of the model "
                    f"({', '.join(known)}), of the data ({', '.join(_OF_DATA)}), or a field of a Recipe."
                )
        return replace(self.recipe, **of_recipe), of_model, of_data

    def _measure(self, landscape: Landscape, dataset: Dataset, points: Tensor, starts: Tensor) -> list[dict[str, Any]]:
        """Measure trained networks; one that diverged has nan where there is no number."""
        train, test = landscape.read(points), landscape.on(dataset.test).read(points)
        columns: dict[str, list[float]] = {"train_loss": train.loss.tolist(), "test_loss": test.loss.tolist()}
        if train.error is not None and test.error is not None:
            columns["train_error"] = (100 * train.error).tolist()
            columns["test_accuracy"] = (100 * (1 - test.error)).tolist()
        columns["gradient_norm"] = landscape.gradient(points).double().norm(dim=1).tolist()
        columns["from_start"] = (points - starts).double().norm(dim=1).tolist()
        parameters, samples = points.shape[1], len(dataset.train)
        found: list[dict[str, Any]] = [
            {"parameters": parameters, "samples": samples, **{name: values[k] for name, values in columns.items()}}
            for k in range(len(points))
        ]
        if self.curvature:
            for one, point in zip(found, points, strict=True):
                one.update(_curvature(landscape, point))
        return found


def _curvature(landscape: Landscape, point: Tensor) -> dict[str, Any]:
    if not bool(torch.isfinite(point).all()):
        return {"hessian_top": float("nan"), "hessian_trace": float("nan")}
    hessian = landscape.hessian(point)
    top = curvature.eigenpairs(hessian, 1)
    return {"hessian_top": float(top.values[0]), "hessian_trace": float(curvature.trace(hessian).value)}


def _model_options(name: str) -> list[str]:
    maker = getattr(models, name)
    return [option for option in inspect.signature(maker).parameters if option not in ("inputs", "classes", "seed")]


@lru_cache(maxsize=4)
def _dataset(name: str, options: str) -> Dataset:
    return data.load(name, **json.loads(options))
