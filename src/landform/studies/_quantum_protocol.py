"""What is trained and looked at in the study of quantum networks over patches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from landform import models
from landform.data import Dataset, Split
from landform.errors import BadInput
from landform.studies._loaded import loaded
from landform.studies._quantum_classical import PatchMLP
from landform.training import Recipe

Aggregation: TypeAlias = Literal["mean", "sum", "root"]


@dataclass(frozen=True)
class QuantumVariant:
    """What of a network and its training is varied.

    Attributes:
        patches: how many.
        depth: layers of a block.
        aggregation: of the patches' read-outs.
        rate: the learning rate.
        classical: a network of dense layers over each patch, with about as many parameters.
    """

    patches: int
    depth: int
    aggregation: Aggregation
    rate: float
    classical: bool = False

    @property
    def name(self) -> str:
        """A short name, for files and tables."""
        kind = "classical" if self.classical else f"d{self.depth}"
        return f"{kind}-P{self.patches}-{self.aggregation}-lr{self.rate:g}"


@dataclass(frozen=True)
class QuantumProtocol:
    """What the study does.

    Attributes:
        data: name of a set of grey images.
        data_options: its options.
        classes: labels from 0 on that are kept.
        side: side that images are brought to by bilinear interpolation; 0 leaves them.
        model_options: of the quantum network, but for what is varied.
        recipe: how networks are trained, but for the seed and the learning rate.
        depth: layers of a block where something else is varied.
        patches: how many patches there are, in turn.
        fitted: from how many patches on powers are fitted.
        depths: layers of a block, in turn.
        falling: learning rates that fall with them, as the paper's do, one for each.
        deep_on: patches of networks of several depths, and of the network that is looked at closely.
        summed: patches of networks whose read-outs are summed, or over the root of their number.
        controlled: patches of the classical networks.
        closely: epochs of least running loss of which the whole loss is read; the least is looked at.
        probes: random vectors of the spectral density.
        products: Hessian products for each.
        steps: places along each side of the plane.
        kernel: training samples of the tangent kernel.
        qubits: widths of circuits whose gradients are drawn.
        layers: layers of their blocks.
        draws: random circuits a seed, a square number.
        seeds: how often all of it is done.
    """

    data: str
    classes: int
    model_options: Mapping[str, Any]
    recipe: Recipe
    depth: int
    patches: tuple[int, ...]
    depths: tuple[int, ...]
    falling: tuple[float, ...]
    data_options: Mapping[str, Any] = field(default_factory=dict)
    side: int = 0
    fitted: int = 4
    deep_on: int = 4
    summed: tuple[int, ...] = (4, 9)
    controlled: tuple[int, ...] = (4, 9)
    closely: int = 8
    probes: int = 1
    products: int = 60
    steps: int = 15
    kernel: int = 64
    qubits: tuple[int, ...] = (2, 4, 6, 8, 10)
    layers: tuple[int, ...] = (1, 4, 16)
    draws: int = 144
    seeds: int = 3

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise BadInput(f"seeds is {self.seeds}: give at least one.")
        if self.depth not in self.depths or len(self.depths) != len(self.falling):
            raise BadInput(f"depths are {self.depths}: have {self.depth} among them, and a falling rate for each.")
        if self.deep_on not in self.patches or len([p for p in self.patches if p >= self.fitted]) < 2:
            raise BadInput(
                f"patches are {self.patches}: have {self.deep_on} among them, and two of at least {self.fitted}."
            )

    @property
    def usual(self) -> QuantumVariant:
        """What the others are varied from."""
        return QuantumVariant(self.deep_on, self.depth, "mean", self.recipe.lr)

    def variants(self) -> list[QuantumVariant]:
        """Everything that is trained, the longest first."""
        usual = self.usual
        found = [replace(usual, patches=count) for count in self.patches]
        found += [replace(usual, depth=depth) for depth in self.depths]
        found += [replace(usual, depth=depth, rate=rate) for depth, rate in zip(self.depths, self.falling, strict=True)]
        sums: tuple[Aggregation, ...] = ("sum", "root")
        found += [replace(usual, patches=count, aggregation=how) for how in sums for count in self.summed]
        found += [replace(usual, patches=count, classical=True) for count in self.controlled]
        return sorted(dict.fromkeys(found), key=lambda v: (v.classical, -v.depth * (v.patches + 10)))

    def dataset(self) -> Dataset:
        """The images of the labels that are kept."""
        found = loaded(self.data, self.data_options)
        if found.classes is None or found.train.inputs.dim() != 4 or found.train.inputs.shape[1] != 1:
            raise BadInput(f"{found.name} is no set of labelled grey images [1, side, side]: the study needs one.")
        if self.classes > found.classes:
            raise BadInput(f"{found.name} has {found.classes} classes, and {self.classes} are asked for.")
        return replace(found, train=self._kept(found.train), test=self._kept(found.test), classes=self.classes)

    def net(self, data: Dataset, variant: QuantumVariant, seed: int) -> nn.Module:
        """A network with the initial weights of a seed; angles are those of the pixels before they were normalised."""
        options = {**self.model_options, **_angles(data)}
        shape = tuple(data.train.inputs.shape[1:])
        quantum = models.quantum_patches(
            inputs=shape, classes=self.classes, depth=variant.depth, patches=variant.patches,
            aggregation=variant.aggregation, seed=seed, **options,
        )  # fmt: skip
        return PatchMLP(quantum, seed) if variant.classical else quantum

    def recipe_of(self, variant: QuantumVariant, seed: int) -> Recipe:
        """How a variant is trained."""
        return replace(self.recipe, lr=variant.rate, seed=seed)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        return {
            "data": {"name": self.data, "options": dict(self.data_options)},
            "model_options": dict(self.model_options),
            "recipe": self.recipe.to_json(),
            **{name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()},
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> QuantumProtocol:
        """Read what `to_json` wrote."""
        plain: dict[str, Any] = {
            name: tuple(told[name]) if isinstance(told[name], list) else told[name] for name in _PLAIN
        }
        return cls(
            data=told["data"]["name"],
            data_options=told["data"]["options"],
            model_options=told["model_options"],
            recipe=Recipe.from_json(told["recipe"]),
            **plain,
        )

    def _kept(self, split: Split) -> Split:
        rows = split.targets < self.classes
        inputs = split.inputs[rows]
        if self.side:
            size = (self.side, self.side)
            inputs = nn.functional.interpolate(inputs, size, mode="bilinear", align_corners=False)
        return Split(inputs, split.targets[rows])


_PLAIN = (
    "classes", "depth", "patches", "depths", "falling", "side", "fitted", "deep_on", "summed", "controlled", "closely",
    "probes", "products", "steps", "kernel", "qubits", "layers", "draws", "seeds",
)  # fmt: skip


def _angles(data: Dataset) -> dict[str, float]:
    """The model's ``angle`` and ``shift`` that make ``2 pi / 8`` of a white pixel and 0 of a black one."""
    normal = data.transform.get("normalise")
    mean, std = 0.0, 1.0
    if isinstance(normal, Mapping):
        means, stds = normal["mean"], normal["std"]
        assert isinstance(means, Sequence)
        assert isinstance(stds, Sequence)
        mean, std = float(str(means[0])), float(str(stds[0]))
    full = 2 * math.pi / 8
    return {"angle": full * std, "shift": full * mean}


def power(x: Sequence[float], y: Sequence[float]) -> float:
    """Exponent of the power of x that comes nearest to y, by least squares of the logarithms.

    Args:
        x: above zero.
        y: as many; one that is not above zero leaves no exponent.

    Returns:
        The exponent, or nan.
    """
    if len(x) < 2 or min(y) <= 0:
        return math.nan
    return slope([math.log(value) for value in x], [math.log(value) for value in y])


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of the line of least squares.

    Args:
        x: where.
        y: as many values.

    Returns:
        The slope.
    """
    a, b = (torch.tensor(values, dtype=torch.float64) for values in (x, y))
    a = a - a.mean()
    found: Tensor = (a * (b - b.mean())).sum() / a.square().sum()
    return float(found)
