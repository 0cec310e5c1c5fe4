"""What is merged: groups of networks that differ in one honest way."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landform import data as data_room
from landform import models
from landform.data import Dataset, Split
from landform.errors import BadInput
from landform.layout import Layout
from landform.studies._loaded import loaded
from landform.training import Recipe, train, train_many

# Labels that a source of the setting "noise" gets wrong, each source its own.
_NOISE = 0.3
# The farthest that images are turned, in degrees; far enough to be another task, and no other digit.
_TURN = 75.0
# Rank of the adapters, and how much larger their step is than that of all weights.
_RANK, _ADAPTED = 4, 3.0


@dataclass(frozen=True)
class MergingProtocol:
    """What is trained in the study of merging.

    Attributes:
        data: name of a data set of images.
        data_options: its options.
        model: name of a model.
        model_options: its options.
        recipe: how a source is trained from a random start.
        tune: how one is trained from the common parent.
        parent: epochs of the parent of the tasks.
        sources: how many in a group, an even number: they are merged in pairs, and all together.
        forks: epochs at which children leave a run, for determinism.
        fork_lr: the learning rate of that run; the larger, the longer children part ways.
        curve: steps of training for a curve between two sources.
        text: sequences of characters that each source of the setting ``"text"`` learns; 0 leaves that setting out.
        looked_at: training samples of a task that merging looks at, at most: who merges has few, and reads them often.
        judged: test samples of a task that judge, at most.
        seeds: how often all of it is done.
    """

    data: str
    model: str
    recipe: Recipe
    tune: Recipe
    data_options: Mapping[str, Any]
    model_options: Mapping[str, Any]
    parent: float = 5.0
    sources: int = 4
    forks: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0)
    fork_lr: float = 0.06
    curve: int = 200
    text: int = 0
    looked_at: int = 1000
    judged: int = 10_000
    seeds: int = 5

    def __post_init__(self) -> None:
        if self.seeds < 1 or self.sources < 2 or self.sources % 2:
            raise BadInput(f"seeds is {self.seeds} and sources {self.sources}: give at least 1, and an even number.")
        if not self.forks or min(self.forks) < 0 or max(self.forks) >= self.recipe.epochs:
            raise BadInput(f"Children leave a run within its {self.recipe.epochs:g} epochs: give such times as forks.")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "data": {"name": self.data, "options": dict(self.data_options)},
            "model": {"name": self.model, "options": dict(self.model_options)},
            "recipe": self.recipe.to_json(),
            "tune": self.tune.to_json(),
            "parent": self.parent,
            "sources": self.sources,
            "forks": list(self.forks),
            "fork_lr": self.fork_lr,
            "curve": self.curve,
            "text": self.text,
            "looked_at": self.looked_at,
            "judged": self.judged,
            "seeds": self.seeds,
        }

    def dataset(self) -> Dataset:
        """The data."""
        found = loaded(self.data, self.data_options)
        if found.classes is None or found.train.inputs.dim() != 4:
            raise BadInput(f"{found.name} is no set of labelled images: the study of merging turns images.")
        return found

    def net(self, seed: int) -> nn.Module:
        """A network with the initial weights of a seed."""
        data = self.dataset()
        assert data.classes is not None
        shape = tuple(data.train.inputs.shape[1:])
        return models.build(self.model, inputs=shape, classes=data.classes, seed=seed, **self.model_options)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> MergingProtocol:
        """Read what `to_json` wrote."""
        return cls(
            data=told["data"]["name"],
            data_options=told["data"]["options"],
            model=told["model"]["name"],
            model_options=told["model"]["options"],
            recipe=Recipe.from_json(told["recipe"]),
            tune=Recipe.from_json(told["tune"]),
            parent=told["parent"],
            sources=told["sources"],
            forks=tuple(told["forks"]),
            fork_lr=told["fork_lr"],
            curve=told["curve"],
            text=told["text"],
            looked_at=told.get("looked_at", 1000),
            judged=told.get("judged", 10_000),
            seeds=told["seeds"],
        )


@dataclass(frozen=True)
class Group:
    """Networks to be merged.

    Attributes:
        points: the sources, ``[n, P]``.
        base: what they came from, ``[P]``; None where each came from elsewhere.
        joint: one network trained on what all of them saw, ``[P]``.
        tasks: what each is to be judged by; the same set for all where they learned the same task.
        net: a network of this architecture.
        looked_at: training samples of a task that merging looks at, at most.
        judged: test samples of a task that judge, at most.
    """

    points: Tensor
    base: Tensor | None
    joint: Tensor
    tasks: tuple[Dataset, ...]
    net: nn.Module
    looked_at: int = 1000
    judged: int = 10_000

    @property
    def one_task(self) -> bool:
        """Whether all sources learned the same."""
        return all(task is self.tasks[0] for task in self.tasks)


@dataclass(frozen=True)
class Setting:
    """A way in which the networks of a group differ.

    Attributes:
        title: in a few words.
        make: trains a group: of a protocol, its data, a seed, and a device.
    """

    title: str
    make: Callable[[MergingProtocol, Dataset, int, str], Group]


def _seeds(protocol: MergingProtocol, seed: int, count: int) -> list[Recipe]:
    return [replace(protocol.recipe, seed=1000 * seed + i) for i in range(count)]


def _other_order(protocol: MergingProtocol, data: Dataset, seed: int, device: str) -> Group:
    first = protocol.net(seed)
    base = Layout.of(first).point(first)
    recipes = _seeds(protocol, seed, protocol.sources + 1)
    trained = train_many([copy.deepcopy(first) for _ in recipes], data, recipes, device=device)
    points = torch.stack([each.point for each in trained])
    return Group(points[:-1], base, points[-1], (data,) * protocol.sources, first)


def _other_start(protocol: MergingProtocol, data: Dataset, seed: int, device: str) -> Group:
    recipes = _seeds(protocol, seed, protocol.sources + 1)
    nets = [protocol.net(1000 * seed + i) for i in range(len(recipes))]
    points = torch.stack([each.point for each in train_many(nets, data, recipes, device=device)])
    return Group(points[:-1], None, points[-1], (data,) * protocol.sources, nets[0])


def _disjoint_data(protocol: MergingProtocol, data: Dataset, seed: int, device: str) -> Group:
    first = protocol.net(seed)
    base = Layout.of(first).point(first)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
    shares = [replace(data, train=_rows(data.train, part)) for part in order.chunk(protocol.sources)]
    recipes = _seeds(protocol, seed, protocol.sources + 1)
    # As many steps as the joint one: a source sees its share several times.
    longer = [replace(recipe, epochs=recipe.epochs * protocol.sources) for recipe in recipes[:-1]]
    points = [
        train(copy.deepcopy(first), share, recipe, device=device).point
        for share, recipe in zip([*shares, data], [*longer, recipes[-1]], strict=True)
    ]
    return Group(torch.stack(points[:-1]), base, points[-1], (data,) * protocol.sources, first)


def _classes(data: Dataset, count: int, seed: int) -> list[Dataset]:
    assert data.classes is not None
    parts = torch.arange(data.classes).chunk(count)
    if len(parts) < count:
        raise BadInput(f"{data.name} has {data.classes} classes: they make no {count} tasks.")
    return [
        replace(data, train=_labelled(data.train, part), test=_labelled(data.test, part), augment=None)
        for part in parts
    ]


def _rotations(data: Dataset, count: int, seed: int) -> list[Dataset]:
    angles = [_TURN * i / (count - 1) for i in range(count)]
    return [
        replace(data, train=_turned(data.train, angle), test=_turned(data.test, angle), augment=None)
        for angle in angles
    ]


def _noisy(data: Dataset, count: int, seed: int) -> list[Dataset]:
    assert data.classes is not None
    found = []
    for i in range(count):
        labels = data_room.noisy_labels(data.train.targets, _NOISE, data.classes, 1000 * seed + i)
        found.append(replace(data, train=replace(data.train, targets=labels)))
    return found


def _parent(protocol: MergingProtocol, data: Dataset, seed: int, device: str) -> nn.Module:
    """A network trained on half of the data."""
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
    half = replace(data, train=_rows(data.train, order[: len(order) // 2]))
    parent = protocol.net(seed)
    train(parent, half, replace(protocol.recipe, epochs=protocol.parent, seed=seed), device=device)
    return parent


def _tasks(
    make: Callable[[Dataset, int, int], list[Dataset]], *, judged_by: Callable[[Dataset, Dataset], Dataset]
) -> Callable[[MergingProtocol, Dataset, int, str], Group]:
    """A maker of groups whose sources are tuned to tasks of their own, from one parent trained on half of the data."""

    def group(protocol: MergingProtocol, data: Dataset, seed: int, device: str) -> Group:
        parent = _parent(protocol, data, seed, device)
        base = Layout.of(parent).point(parent)
        tasks = make(data, protocol.sources, seed)
        recipe = replace(protocol.tune, seed=seed)
        points = [train(copy.deepcopy(parent), task, recipe, device=device).point for task in tasks]
        joint = train(copy.deepcopy(parent), _joined(data, tasks), recipe, device=device).point
        return Group(torch.stack(points), base, joint, tuple(judged_by(data, task) for task in tasks), parent)

    return group


def _adapters(protocol: MergingProtocol, data: Dataset, seed: int, device: str) -> Group:
    """As the setting of rotations, but tuned by low-rank adapters of every layer (Hu et al. 2022)."""
    parent = _parent(protocol, data, seed, device)
    base = Layout.of(parent).point(parent)
    tasks = _rotations(data, protocol.sources, seed)
    recipe = replace(protocol.tune, seed=seed, lr=_ADAPTED * protocol.tune.lr)
    points = []
    for place, task in enumerate([*tasks, _joined(data, tasks)]):
        net = copy.deepcopy(parent)
        adapt(net, _RANK, 1000 * seed + place)
        train(net, task, recipe, device=device)
        points.append(base + _change(net, parent))
    return Group(torch.stack(points[:-1]), base, points[-1], tuple(tasks), parent)


class Adapter(nn.Module):
    """A layer whose weights stay, plus a product of two thin matrices that is trained: ``W + B A``."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int, made: torch.Generator) -> None:
        """Put an adapter on a layer.

        Args:
            layer: the layer; its parameters are frozen.
            rank: of the product.
            made: draws A; B begins at zero.
        """
        super().__init__()
        self.layer = layer.requires_grad_(False)
        inner = layer.weight[0].numel()
        self.a = nn.Parameter(torch.randn(rank, inner, generator=made).to(layer.weight) / math.sqrt(inner))
        self.b = nn.Parameter(torch.zeros(len(layer.weight), rank).to(layer.weight))

    @property
    def change(self) -> Tensor:
        """What is added to the weights, of their shape."""
        return (self.b @ self.a).view(self.layer.weight.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layer with the changed weights."""
        weight = self.layer.weight + self.change
        if isinstance(self.layer, nn.Linear):
            return F.linear(x, weight, self.layer.bias)
        found: Tensor = self.layer._conv_forward(x, weight, self.layer.bias)
        return found


def adapt(net: nn.Module, rank: int, seed: int) -> None:
    """Freeze a network and put an adapter on each dense and convolutional layer, in place.

    Args:
        net: the network.
        rank: of the adapters.
        seed: of their beginning, at which the function is that of the network.
    """
    made = torch.Generator().manual_seed(seed)
    net.requires_grad_(False)
    for name, layer in list(net.named_modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            home, _, key = name.rpartition(".")
            setattr(net.get_submodule(home), key, Adapter(layer, rank, made))


def _change(net: nn.Module, parent: nn.Module) -> Tensor:
    """The change that adapters make, as a vector of the parent's layout."""
    layout = Layout.of(parent)
    found = torch.zeros_like(layout.point(parent))
    views = layout.views(found)
    with torch.no_grad():
        for name, layer in net.named_modules():
            if isinstance(layer, Adapter):
                views[f"{name}.weight"].copy_(layer.change)
    return found


def _texts(protocol: MergingProtocol, data: Dataset, seed: int, device: str) -> Group:
    """A character transformer tuned to parts of a text, from a parent that has read a little of each."""
    text = data_room.characters(length=64)
    assert text.classes is not None
    parts = torch.arange(len(text.train)).chunk(protocol.sources)
    if min(map(len, parts)) < protocol.text:
        raise BadInput(f"The text has {len(text.train)} sequences: too few for {protocol.sources} x {protocol.text}.")
    tasks = []
    for part in parts:
        rows = part[: protocol.text]
        cut = len(rows) - max(1, len(rows) // 5)
        tasks.append(replace(text, train=_rows(text.train, rows[:cut]), test=_rows(text.train, rows[cut:])))
    together = _joined(text, tasks)
    options = {"inputs": (64,), "classes": text.classes, "width": 64, "depth": 2}
    parent = models.build("transformer", **options, seed=seed)  # type: ignore[arg-type]
    recipe = Recipe(epochs=protocol.parent, batch_size=32, optimizer="adamw", lr=3e-3, schedule="cosine", seed=seed)
    order = torch.randperm(len(together.train), generator=torch.Generator().manual_seed(seed))
    train(parent, replace(text, train=_rows(together.train, order[: len(order) // 2])), recipe, device=device)
    base = Layout.of(parent).point(parent)
    tune = replace(recipe, epochs=protocol.tune.epochs, lr=1e-3)
    points = [train(copy.deepcopy(parent), task, tune, device=device).point for task in (*tasks, together)]
    return Group(torch.stack(points[:-1]), base, points[-1], tuple(tasks), parent)


SETTINGS: Mapping[str, Setting] = {
    "order": Setting("one start, another order of the data", _other_order),
    "start": Setting("another start", _other_start),
    "data": Setting("one start, disjoint data", _disjoint_data),
    "classes": Setting("one parent, tasks of other classes", _tasks(_classes, judged_by=lambda data, task: task)),
    "rotations": Setting("one parent, images turned otherwise", _tasks(_rotations, judged_by=lambda data, task: task)),
    "noise": Setting("one parent, other wrong labels", _tasks(_noisy, judged_by=lambda data, task: data)),
    "adapters": Setting("one parent, images turned otherwise, tuned by low-rank adapters", _adapters),
    "text": Setting("one parent, other parts of a text", _texts),
}


def settings_of(protocol: MergingProtocol) -> tuple[str, ...]:
    """Names of the settings that a protocol has.

    Args:
        protocol: the protocol.

    Returns:
        The names.
    """
    return tuple(name for name in SETTINGS if name != "text" or protocol.text)


def _rows(split: Split, rows: Tensor) -> Split:
    return replace(split, inputs=split.inputs[rows], targets=split.targets[rows])


def _labelled(split: Split, classes: Tensor) -> Split:
    return _rows(split, torch.isin(split.targets, classes).nonzero()[:, 0])


def _turned(split: Split, degrees: float) -> Split:
    """The images turned around their middle."""
    if not degrees:
        return split
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = split.inputs.new_tensor([[c, -s, 0.0], [s, c, 0.0]]).expand(len(split.inputs), -1, -1)
    grid = F.affine_grid(turn, list(split.inputs.shape), align_corners=False)
    turned = F.grid_sample(split.inputs, grid, padding_mode="border", align_corners=False)
    return replace(split, inputs=turned)


def _joined(data: Dataset, tasks: Sequence[Dataset]) -> Dataset:
    inputs = torch.cat([task.train.inputs for task in tasks])
    targets = torch.cat([task.train.targets for task in tasks])
    return replace(data, train=Split(inputs, targets))
