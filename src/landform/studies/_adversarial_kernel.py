"""Adversarial examples from the tangent kernel alone, and the kernel in adversarial training (Tsilivis & Kempe 2022).

Three parts for each seed: the predictor of an infinitely wide network taken apart along the eigenvectors of its kernel;
networks of growing width attacked with its examples; and the kernel of networks trained without an adversary and with
two, with the linear expansion trained on from several times. See `docs/adversarial-kernel.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landform import models
from landform.data import Dataset, Split
from landform.engine import Unit
from landform.errors import BadInput
from landform.studies._adversarial_kernel_claims import claims_of_adversarial_kernel
from landform.studies._adversarial_kernel_dynamics import dynamics
from landform.studies._adversarial_kernel_parts import closed, transfer
from landform.studies._adversarial_landscape import raw
from landform.studies._claim import Claim
from landform.studies._loaded import loaded
from landform.studies._parts import Asked, Made, conduct, write_part
from landform.training import Recipe

NAME = "adversarial-kernel"
QUESTION = "what does the tangent kernel tell of adversarial examples? (Tsilivis & Kempe 2022)"
SCHEMA = 1
PARTS: Mapping[str, Callable[..., dict[str, Any]]] = {"dynamics": dynamics, "transfer": transfer, "closed": closed}


@dataclass(frozen=True)
class KernelProtocol:
    """What is attacked, what is trained, and when its kernel is looked at.

    Attributes:
        data: name of a data set of labelled images.
        data_options: its options.
        positive: classes told from the others.
        negative: the others; all classes together make the third part's task.
        samples: training samples of the kernel machine.
        tested: test samples.
        depth: hidden layers of the infinitely wide network.
        eps: radius of the attacks (Linf), of inputs in [0, 1].
        features: how many eigenfeatures are looked at, the first ones and then further and further apart.
        widths: of the networks that the kernel's examples are tried on.
        few: training samples of these networks.
        edge: pixels along the edge of their inputs, grey; 0 leaves images as they are.
        steps: of their gradient descent.
        rate: its step, as a share of the largest at which gradient descent on the kernel converges.
        model: name of the model of the third part.
        model_options: its options.
        recipe: how it is trained, but for its adversary and its seed.
        adversary: gradient steps of PGD in training.
        paired: whether it is trained to tell the two groups apart, or every class.
        kernels: samples of the kernels that are compared.
        looks: how many times of a training the kernel is looked at, evenly spaced.
        onsets: epochs at which the network is replaced by its linear expansion.
        top: eigenvalues that count as the top.
        seeds: how often all of it is done.
    """

    data: str
    model: str
    recipe: Recipe
    data_options: Mapping[str, Any]
    model_options: Mapping[str, Any]
    positive: tuple[int, ...]
    negative: tuple[int, ...]
    samples: int = 1000
    tested: int = 400
    depth: int = 1
    eps: float = 0.1
    features: int = 36
    widths: tuple[int, ...] = (128, 1024, 8192)
    few: int = 300
    edge: int = 0
    steps: int = 300
    rate: float = 0.5
    adversary: int = 4
    paired: bool = False
    kernels: int = 30
    looks: int = 21
    onsets: tuple[float, ...] = (0.0, 1.0, 4.0, 12.0)
    top: int = 20
    seeds: int = 5

    def __post_init__(self) -> None:
        """Refuse what cannot be compared."""
        if self.seeds < 1 or self.looks < 4 or not self.widths or list(self.widths) != sorted(self.widths):
            raise BadInput(
                f"seeds is {self.seeds}, looks {self.looks} and widths {self.widths}: give at least 1, at least 4, and "
                "ascending widths."
            )
        if not self.positive or not self.negative or set(self.positive) & set(self.negative):
            raise BadInput("The two groups of classes share some, or one is empty: give two that can be told apart.")
        if not self.onsets or max(self.onsets) >= self.recipe.epochs or min(self.onsets) < 0:
            raise BadInput(f"Onsets lie within the {self.recipe.epochs:g} epochs of training; got {self.onsets}.")
        if self.top >= self.samples:
            raise BadInput(f"top is {self.top}, of {self.samples} eigenvalues: give fewer.")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        named["recipe"] = self.recipe.to_json()
        return {key: list(value) if isinstance(value, tuple) else value for key, value in named.items()}

    def dataset(self) -> Dataset:
        """The data, with inputs in [0, 1]."""
        found = raw(loaded(self.data, self.data_options))
        if found.classes is None or found.train.inputs.dim() != 4:
            raise BadInput(f"{found.name} is no set of labelled images: give one, such as digits with flat=False.")
        return found

    def pair(self, data: Dataset, seed: int, samples: int, *, small: bool = False) -> tuple[Split, Split]:
        """Samples of the two groups, drawn by a seed, with labels -1 and 1 ``[N, 1]``.

        Args:
            data: the data.
            seed: decides which.
            samples: how many for training.
            small: bring images to ``edge`` pixels, in grey.

        Returns:
            Training and test samples, flat, in float64.
        """
        made = []
        for split, most in ((data.train, samples), (data.test, self.tested)):
            signs = self._signs(split).double()
            rows = signs.nonzero()[:, 0]
            chosen = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:most]]
            inputs = split.inputs[chosen].double()
            if small and self.edge:
                inputs = F.adaptive_avg_pool2d(inputs.mean(1, keepdim=True), self.edge)
            made.append(Split(inputs.flatten(1), signs[chosen, None]))
        return made[0], made[1]

    def learnt(self, data: Dataset) -> Dataset:
        """The data that the network of the third part is trained on.

        Args:
            data: the data.

        Returns:
            All of it; or the samples of the two groups, whose labels are 0 and 1.
        """
        if not self.paired:
            return data
        parts = []
        for split in (data.train, data.test):
            signs = self._signs(split)
            held = signs != 0
            parts.append(Split(split.inputs[held], (signs[held] > 0).long()))
        return replace(data, train=parts[0], test=parts[1], classes=2)

    def _signs(self, split: Split) -> Tensor:
        """1 for samples of the first group, -1 for those of the second, 0 for others ``[N]``."""
        first, second = (torch.isin(split.targets, torch.tensor(group)) for group in (self.positive, self.negative))
        return first.long() - second.long()

    def net(self, data: Dataset, seed: int) -> nn.Module:
        """The network of the third part, with the initial weights of a seed."""
        assert data.classes is not None
        shape = tuple(data.train.inputs.shape[1:])
        return models.build(self.model, inputs=shape, classes=data.classes, seed=seed, **self.model_options)

    def numbers(self, rank: int) -> list[int]:
        """Which eigenfeatures are looked at, from 0.

        Args:
            rank: how many there are.

        Returns:
            The first half of them one after the other, the others log-spaced to the last.
        """
        first = list(range(min(self.features // 2, rank)))
        rest = torch.logspace(0, 1, self.features - len(first), base=rank / max(1, len(first)), dtype=torch.float64)
        return sorted({*first, *(min(rank - 1, int(len(first) * float(r))) for r in rest)})

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> KernelProtocol:
        """Read what `to_json` wrote."""
        plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
        options = told["model_options"].items()
        plain["model_options"] = {key: tuple(value) if isinstance(value, list) else value for key, value in options}
        return cls(**{**plain, "recipe": Recipe.from_json(told["recipe"])})


_EVEN, _ODD = (0, 2, 4, 6, 8), (1, 3, 5, 7, 9)

SCALES: Mapping[str, KernelProtocol] = {
    "small": KernelProtocol(
        data="digits",
        data_options={"flat": False},
        positive=_EVEN,
        negative=_ODD,
        samples=600,
        model="mlp",
        model_options={"width": 64, "depth": 2, "init": "torch"},
        recipe=Recipe(epochs=30, batch_size=50, lr=0.2, momentum=0.0),
    ),
    # Seconds: shows what the page looks like, and proves nothing.
    "tiny": KernelProtocol(
        data="digits",
        data_options={"flat": False, "per_class": 8},
        positive=_EVEN,
        negative=_ODD,
        samples=60,
        tested=40,
        features=8,
        widths=(16, 64),
        few=30,
        steps=20,
        model="mlp",
        model_options={"width": 12, "depth": 1, "init": "torch"},
        recipe=Recipe(epochs=4, batch_size=20, lr=0.2, momentum=0.0),
        adversary=2,
        kernels=8,
        looks=5,
        onsets=(0.0, 2.0),
        top=5,
        seeds=2,
    ),
    # Planes and cars, as the paper.
    "medium": KernelProtocol(
        data="cifar10",
        data_options={"per_class": 500},
        positive=(0,),
        negative=(1,),
        samples=1000,
        tested=400,
        eps=8 / 255,
        few=500,
        edge=16,
        steps=800,
        model="small_cnn",
        model_options={"width": (16, 32, 64), "init": "torch"},
        recipe=Recipe(epochs=40, batch_size=50, lr=0.05, momentum=0.9),
        paired=True,
        kernels=48,
        onsets=(0.0, 2.0, 10.0),
    ),
}


def adversarial_kernel(out: str | Path, **asked: Unpack[Asked[KernelProtocol]]) -> list[Claim]:
    """Attack, train, look at the kernel, and hold the claims against the numbers; goes on where it was stopped.

    The scales are ``"small"`` (digits, minutes), ``"medium"`` (CIFAR-10, planes and cars, less than an hour), or
    ``"tiny"``, to see in seconds what comes out.

    Args:
        out: folder for the results, ``claims.json`` and the report.
        **asked: ``scale``, ``seeds`` and whatever else `Asked` tells of.

    Returns:
        The claims.

    Raises:
        BadInput: when something given does not fit, or another study lies in the folder.
    """
    return conduct(ADVERSARIAL_KERNEL, out, **asked)


def _part(folder: Path, protocol: KernelProtocol, device: str, part: str, seed: int) -> None:
    found = PARTS[part](protocol, protocol.dataset(), seed, device)
    write_part(folder, f"{part}-{seed}", {"kind": part, "subject": protocol.data, "seed": seed, **found})


def _wanted(protocol: KernelProtocol, folder: Path, device: str) -> list[Unit]:
    found = []
    for part in PARTS:
        for seed in range(protocol.seeds):
            arguments = {"folder": folder, "protocol": protocol, "device": device, "part": part, "seed": seed}
            found.append(Unit(f"{part}-{seed}", _part, arguments))
    return found


def _sentence(chosen: KernelProtocol) -> str:
    data = chosen.dataset()
    return f"Attacking by the kernel of {data.name}, and following kernels in training"


# It finds parts of the kinds ``closed``, ``transfer`` and ``dynamics``, one for each seed.
ADVERSARIAL_KERNEL = Made(
    NAME, SCHEMA, SCALES, KernelProtocol.from_json, _sentence, _wanted, claims_of_adversarial_kernel
)
