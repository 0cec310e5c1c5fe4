"""What is trained and looked at in the study of federated averaging in the kernel regime."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.studies._emergent_protocol import Subject
from landform.training import Recipe


@dataclass(frozen=True)
class FederatedProtocol:
    """What the study of federated averaging does.

    Attributes:
        samples: of the two-layer networks, of unit length.
        inputs: their dimension.
        clients: that divide them, sorted by target.
        rate: learning rate of a client, for the sum of squares over its samples, halved.
        rounds: of the runs that are held against prediction.
        steps: local steps K of these.
        widths: of the networks, ascending.
        scaled_steps: local steps of the runs that tell how the rate scales.
        scaled_clients: their numbers of clients.
        scaled_width: their width.
        share: of the loss at the start, which they are to reach.
        gap_samples: training samples of the runs whose generalisation gap is measured.
        gap_noise: shares of labels that are drawn at random.
        gap_width: width of the networks.
        gap_spread: standard deviation of their initial weights.
        gap_rounds: how many rounds, of the largest of ``steps``.
        zoo: networks that are trained federally, by name.
        zoo_recipe: how a client trains.
        zoo_steps: local steps.
        zoo_clients: numbers of clients.
        zoo_alpha: of the Dirichlet division.
        zoo_budget: local steps with K = 1; more local steps have fewer rounds.
        zoo_least: rounds on top of that.
        levels: training loss that each network is to reach, by name.
        seeds: how often all of it is done.
    """

    zoo: Mapping[str, Subject]
    zoo_recipe: Recipe
    levels: Mapping[str, float]
    samples: int = 40
    inputs: int = 10
    clients: int = 4
    rate: float = 0.3
    rounds: int = 60
    steps: tuple[int, ...] = (1, 5, 20)
    widths: tuple[int, ...] = (512, 2048, 8192)
    scaled_steps: tuple[int, ...] = (1, 2, 5, 10, 20)
    scaled_clients: tuple[int, ...] = (2, 4, 8)
    scaled_width: int = 2048
    share: float = 0.1
    gap_samples: int = 200
    gap_noise: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    gap_width: int = 512
    gap_spread: float = 0.1
    gap_rounds: int = 60
    zoo_steps: tuple[int, ...] = (1, 5, 20)
    zoo_clients: tuple[int, ...] = (4, 16)
    zoo_alpha: float = 0.3
    zoo_budget: int = 150
    zoo_least: int = 20
    seeds: int = field(default=5)

    def __post_init__(self) -> None:
        if set(self.zoo) != set(self.levels):
            raise BadInput("Give a loss to reach for each network of the zoo, by the same names.")
        if self.seeds < 1 or min(len(self.widths), len(self.steps), len(self.zoo_steps), len(self.zoo_clients)) < 2:
            raise BadInput("Give at least one seed, two widths, and two numbers of local steps and of clients.")
        if self.steps[0] != 1 or list(self.widths) != sorted(self.widths):
            raise BadInput("Local steps begin with 1, of which there is no asymmetry, and widths ascend.")
        if any(self.samples % count for count in (self.clients, *self.scaled_clients)):
            raise BadInput(f"Each number of clients divides the {self.samples} samples: give such numbers.")

    def rounds_of(self, steps: int) -> int:
        """Rounds of the scaling runs with so many local steps."""
        return 20 + math.ceil(160 / steps)

    def zoo_rounds(self, steps: int) -> int:
        """Rounds of the zoo with so many local steps."""
        return self.zoo_least + math.ceil(self.zoo_budget / steps)

    def drawn(self, seed: int) -> tuple[Tensor, Tensor]:
        """Samples of unit length, and signs by a random plane, ``[n, d]`` and ``[n, 1]``."""
        made = torch.Generator().manual_seed(seed)
        x = torch.randn(self.samples, self.inputs, generator=made)
        x = x / x.norm(dim=1, keepdim=True)
        signs = torch.where(x @ torch.randn(self.inputs, generator=made) > 0, 1.0, -1.0)
        return x, signs[:, None]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        return {
            "zoo": {name: subject.to_json() for name, subject in self.zoo.items()},
            "zoo_recipe": self.zoo_recipe.to_json(),
            "levels": dict(self.levels),
            **{name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()},
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> FederatedProtocol:
        """Read what `to_json` wrote."""
        plain: dict[str, Any] = {
            name: tuple(told[name]) if isinstance(told[name], list) else told[name] for name in _PLAIN
        }
        return cls(
            zoo={name: Subject.from_json(subject) for name, subject in told["zoo"].items()},
            zoo_recipe=Recipe.from_json(told["zoo_recipe"]),
            levels=told["levels"],
            **plain,
        )


_PLAIN = (
    "samples", "inputs", "clients", "rate", "rounds", "steps", "widths", "scaled_steps", "scaled_clients",
    "scaled_width", "share", "gap_samples", "gap_noise", "gap_width", "gap_spread", "gap_rounds", "zoo_steps",
    "zoo_clients", "zoo_alpha", "zoo_budget", "zoo_least", "seeds",
)  # fmt: skip


def two_layer(inputs: int, width: int, seed: int, spread: float = 1.0) -> nn.Sequential:
    """The network of the analysis, ``sum_r a_r relu(u_r x) / sqrt(m)``: signs a are frozen.

    Args:
        inputs: dimension d of the inputs.
        width: m.
        seed: of weights and signs.
        spread: standard deviation of the weights.

    Returns:
        The network; outputs are ``[B, 1]``.
    """
    made = torch.Generator().manual_seed(seed)
    inner = nn.Linear(inputs, width, bias=False, device="meta").to_empty(device="cpu")
    outer = nn.Linear(width, 1, bias=False, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        inner.weight.copy_(spread * torch.randn(width, inputs, generator=made))
        outer.weight.copy_((2.0 * torch.randint(0, 2, (1, width), generator=made) - 1) / math.sqrt(width))
    outer.weight.requires_grad_(False)
    return nn.Sequential(inner, nn.ReLU(), outer)


def summed(outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of the analysis, ``1/2 sum (f - y)^2``.

    Args:
        outputs: ``[B, 1]``.
        targets: likewise.

    Returns:
        A scalar.
    """
    return 0.5 * (outputs - targets).square().sum()


def averaged(outputs: Tensor, targets: Tensor) -> Tensor:
    """The same as a mean over samples, as is usual outside of the analysis.

    Args:
        outputs: ``[B, 1]``.
        targets: likewise.

    Returns:
        A scalar.
    """
    return 0.5 * (outputs - targets).square().mean()


def reached(losses: list[float | None], level: float) -> float | None:
    """When a curve of losses first falls to a level, in a line between the logarithms.

    Args:
        losses: at 0, 1, 2 and so on; None where one is not finite.
        level: above zero.

    Returns:
        The place; None where it does not.
    """
    for place, loss in enumerate(losses):
        if loss is None:
            return None
        if loss <= level:
            before = losses[place - 1] if place else None
            if before is None or loss <= 0:
                return float(place)
            return place - 1 + math.log(before / level) / math.log(before / loss)
    return None
