"""What the study of the taxonomy of landscapes trains and measures, at each scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeAlias

from torch import nn

from landform import models
from landform.data import Dataset
from landform.errors import BadInput
from landform.studies._loaded import loaded
from landform.training import Recipe

Begin: TypeAlias = Literal["linear", "random"]

# How `lf.paths.curve` trains bends too.
_CURVE = Recipe(batch_size=128, optimizer="adam", lr=0.01, schedule="cosine")


@dataclass(frozen=True)
class Block:
    """Part of a grid: all combinations of a few values of each knob.

    Attributes:
        widths: of the network.
        batch_sizes: samples of a batch: the temperature, small is hot.
        amounts: training samples of each class; None for all there are.
        noises: shares of wrong labels.
    """

    widths: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    amounts: tuple[int | None, ...] = (None,)
    noises: tuple[float, ...] = (0.0,)

    def cells(self) -> Iterator[Cell]:
        """All combinations."""
        for width in self.widths:
            for amount in self.amounts:
                for batch_size in self.batch_sizes:
                    yield from (Cell(width, batch_size, amount, noise) for noise in self.noises)


@dataclass(frozen=True)
class Cell:
    """One setting, trained with every seed.

    Attributes:
        width: of the network.
        batch_size: samples of a batch.
        amount: training samples of each class; None for all there are.
        noise: share of wrong labels.
    """

    width: int
    batch_size: int
    amount: int | None
    noise: float


@dataclass(frozen=True)
class Pruning:
    """The grid of pruned networks: trained densely, cut once, trained again (Zhou et al. 2023).

    Attributes:
        width: of the dense network.
        batch_size: of both trainings.
        epochs: how long the dense network is trained before it is cut: the temperature, few are hot.
        densities: shares of each weight matrix that are kept, the largest: the load.
        again: epochs of the second training.
    """

    width: int
    batch_size: int
    epochs: tuple[float, ...]
    densities: tuple[float, ...]
    again: float


@dataclass(frozen=True)
class TaxonomyProtocol:
    """What is trained in the study of the taxonomy.

    Attributes:
        data: name of a data set with classes.
        data_options: its options.
        model: name of a model that has a ``width``.
        model_options: its other options.
        recipe: how a network is trained, but for batch size and seed.
        blocks: the grid, as a union of blocks.
        pruning: the second grid; None leaves it out.
        seeds: how many networks of each cell; those that follow one another are joined in pairs by curves.
        curve: how the bend of a curve is trained, but for epochs and seed.
        steps: of a curve. It is read after these, and again after as many more; the latter is what counts.
        begin: where bends begin: ``"linear"``, in the middle, or ``"random"``, a fresh start, as in the released code.
        samples: training samples that Hessians are of.
        mixed: batches of 128 that similarity is measured on, made by mixup.
        apart: whether each batch size is a unit of work of its own, for networks too large to gain from stacks.
    """

    data: str
    model: str
    recipe: Recipe
    blocks: tuple[Block, ...]
    data_options: Mapping[str, Any] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=dict)
    pruning: Pruning | None = None
    seeds: int = 4
    curve: Recipe = _CURVE
    steps: int = 300
    begin: Begin = "linear"
    samples: int = 200
    mixed: int = 5
    apart: bool = False

    def __post_init__(self) -> None:
        if self.seeds < 2:
            raise BadInput(f"seeds is {self.seeds}: connectivity and similarity take 2 networks of a cell or more.")
        if self.steps < 1 or not self.blocks:
            raise BadInput("The taxonomy takes a grid, and at least one step for its curves.")
        if self.begin not in ("linear", "random"):
            raise BadInput(f"begin is {self.begin!r}: give 'linear' or 'random'.")

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Numbers of the networks that curves join."""
        return tuple((i, i + 1) for i in range(0, self.seeds - 1, 2))

    def cells(self) -> tuple[Cell, ...]:
        """All cells, each once."""
        return tuple(dict.fromkeys(cell for block in self.blocks for cell in block.cells()))

    def dataset(self, amount: int | None, noise: float = 0.0) -> Dataset:
        """The data of a cell; with more noise more labels are wrong, and those of less noise among them.

        Args:
            amount: training samples of each class; None for all.
            noise: share of wrong labels.

        Returns:
            The data set.

        Raises:
            BadInput: when it has no classes.
        """
        options = dict(self.data_options)
        if amount is not None:
            options["per_class"] = amount
        if noise:
            options["label_noise"] = noise
        found = loaded(self.data, options)
        if found.classes is None:
            raise BadInput(f"{found.name} has no classes, and the taxonomy counts errors: give data with labels.")
        return found

    def net(self, data: Dataset, width: int, seed: int) -> nn.Module:
        """A fresh network.

        Args:
            data: what it is for.
            width: its width.
            seed: of its weights.

        Returns:
            The network.
        """
        assert data.classes is not None
        inputs, options = tuple(data.train.inputs.shape[1:]), dict(self.model_options)
        return models.build(self.model, inputs=inputs, classes=data.classes, seed=seed, width=width, **options)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "data": {"name": self.data, "options": dict(self.data_options)},
            "model": {"name": self.model, "options": dict(self.model_options)},
            "recipe": self.recipe.to_json(),
            "blocks": [{name: list(values) for name, values in asdict(block).items()} for block in self.blocks],
            "pruning": None if self.pruning is None else asdict(self.pruning),
            "networks": self.seeds,  # not called seeds: a study cannot be gone on with by adding some
            "curve": self.curve.to_json(),
            "steps": self.steps,
            "begin": self.begin,
            "samples": self.samples,
            "mixed": self.mixed,
            "apart": self.apart,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> TaxonomyProtocol:
        """Read what `to_json` wrote."""
        cut = told["pruning"]
        return cls(
            data=told["data"]["name"],
            data_options=told["data"]["options"],
            model=told["model"]["name"],
            model_options=told["model"]["options"],
            recipe=Recipe.from_json(told["recipe"]),
            blocks=tuple(Block(**{name: tuple(values) for name, values in block.items()}) for block in told["blocks"]),
            pruning=None if cut is None else _pruning(cut),
            seeds=told["networks"],
            curve=Recipe.from_json(told["curve"]),
            steps=told["steps"],
            begin=told["begin"],
            samples=told["samples"],
            mixed=told["mixed"],
            apart=told["apart"],
        )


def _pruning(told: Mapping[str, Any]) -> Pruning:
    lists: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    return Pruning(**lists)


_BATCHES = (16, 32, 64, 128, 256, 512)
_WIDTHS = (4, 6, 8, 12, 16, 32, 64, 128)
_DIGITS = Recipe(epochs=100, lr=0.05, momentum=0.9)

SCALES: Mapping[str, TaxonomyProtocol] = {
    "small": TaxonomyProtocol(
        data="digits",
        model="mlp",
        # torch's own initialisation leaves fewer dead units in networks of four
        model_options={"depth": 2, "init": "torch"},
        recipe=_DIGITS,
        blocks=(
            Block(_WIDTHS, _BATCHES, amounts=(100, 70, 40, 20)),
            Block(_WIDTHS, _BATCHES, amounts=(100,), noises=(0.1,)),
            Block((32,), _BATCHES, amounts=(100,), noises=(0.2, 0.4)),
        ),
        pruning=Pruning(32, 16, epochs=(1, 2, 5, 20, 50), densities=(0.02, 0.04, 0.06, 0.1, 0.2, 0.5), again=40),
    ),
    # Seconds: shows what the page looks like, and proves nothing.
    "tiny": TaxonomyProtocol(
        data="digits",
        model="mlp",
        model_options={"depth": 2, "init": "torch"},
        recipe=replace(_DIGITS, epochs=12.0),
        blocks=(
            Block((4, 8, 16, 32), (16, 64, 256), amounts=(100,)),
            Block((4, 8, 16, 32), (16, 64, 256), amounts=(100,), noises=(0.1,)),
        ),
        pruning=Pruning(16, 64, epochs=(1, 4), densities=(0.1, 0.5), again=4),
        seeds=2,
        steps=30,
    ),
    "medium": TaxonomyProtocol(
        data="cifar10",
        # So few that the wider half of the networks reaches a loss of nothing.
        data_options={"per_class": 100},
        model="small_cnn",
        recipe=Recipe(epochs=60, lr=0.05, momentum=0.9, precision="bfloat16"),
        blocks=(Block((2, 4, 8, 16, 32, 64), (16, 32, 64, 128, 256, 512)),),
        seeds=2,
        curve=replace(_CURVE, precision="bfloat16"),
        steps=1500,
        apart=True,
    ),
    # The grid of the paper; 845 trainings, for a cluster.
    "paper": TaxonomyProtocol(
        data="cifar10",
        model="resnet18",
        recipe=Recipe(epochs=150, lr=0.05, momentum=0.9, weight_decay=5e-4),
        blocks=(
            Block(
                (2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128),
                (16, 24, 32, 44, 64, 92, 128, 180, 256, 364, 512, 724, 1024),
            ),
        ),
        seeds=5,
        curve=Recipe(batch_size=128, lr=0.01, momentum=0.9, schedule="cosine"),
        steps=9800,
        apart=True,
    ),
}
