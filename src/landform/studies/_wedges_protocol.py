"""What is trained and looked at in the study of wedges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from landform.errors import BadInput
from landform.studies._emergent_protocol import Subject
from landform.training import Recipe

# What a knob changes: the recipe, or the model.
KNOBS: Mapping[str, str] = {
    "learning rate": "lr",
    "L2": "weight_decay",
    "batch size": "batch_size",
    "dropout": "dropout",
    "width": "width",
}
_PLAIN = ("optima", "connected", "steps", "threshold", "lines", "cycle_lrs", "cycles", "period", "dimensions", "shorts",
          "big", "wedges", "seeds")  # fmt: skip


@dataclass(frozen=True)
class WedgesProtocol:
    """What the study of wedges does.

    Attributes:
        subject: the network and its data.
        recipe: how it is trained, but for the seed.
        knobs: what is turned: by name (``"learning rate"``, ``"L2"``, ``"batch size"``, ``"dropout"``, ``"width"``),
            the values from the one that should make the narrowest tunnel on.
        optima: networks from other starts.
        connected: how many of them connectors join.
        steps: of training for a connector.
        threshold: the loss that makes the wall of a tunnel.
        lines: along which tunnels are measured.
        cycle_lrs: largest learning rates of cyclic runs.
        cycles: how many cycles each has.
        period: epochs of one.
        dimensions: of random planes, to which the toy is fitted.
        plane_recipe: how is trained in them.
        big: dimensions of the toy.
        shorts: in how many of them its wedges are short.
        wedges: how many wedges it has.
        seeds: how often all of it is done.
    """

    subject: Subject
    recipe: Recipe
    plane_recipe: Recipe
    knobs: Mapping[str, tuple[float, ...]] = field(
        default_factory=lambda: {
            "learning rate": (0.02, 0.1, 0.3),
            "L2": (0.0, 1e-3, 5e-3),
            "batch size": (256, 64, 16),
            "dropout": (0.0, 0.2, 0.4),
            "width": (16, 48, 144),
        }
    )
    optima: int = 6
    connected: tuple[int, ...] = (2, 3, 6)
    steps: int = 300
    threshold: float = 1.0
    lines: int = 8
    cycle_lrs: tuple[float, ...] = (0.01, 0.05, 0.2, 0.6)
    cycles: int = 4
    period: float = 4.0
    dimensions: tuple[int, ...] = (10, 30, 100, 300)
    big: int = 1000
    shorts: tuple[int, ...] = (50, 200)
    wedges: int = 12
    seeds: int = 4

    def __post_init__(self) -> None:
        unknown = set(self.knobs) - set(KNOBS)
        if unknown:
            raise BadInput(f"There is no knob {sorted(unknown)[0]!r}: give some of {', '.join(KNOBS)}.")
        if self.wedges < 3 or max(self.shorts) >= self.big:
            raise BadInput("The toy has three wedges or more, which are short in fewer than all dimensions.")
        if self.seeds < 1 or self.optima < 2 or any(len(values) < 2 for values in self.knobs.values()):
            raise BadInput("Give at least one seed, two optima, and two values of each knob.")
        if not self.connected or min(self.connected) < 2 or max(self.connected) > self.optima:
            raise BadInput(f"Connectors join from 2 to all {self.optima} optima: give such numbers.")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        told = {name: getattr(self, name) for name in _PLAIN}
        return {
            "subject": self.subject.to_json(),
            "recipe": self.recipe.to_json(),
            "plane_recipe": self.plane_recipe.to_json(),
            "knobs": {name: list(values) for name, values in self.knobs.items()},
            **{name: list(value) if isinstance(value, tuple) else value for name, value in told.items()},
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> WedgesProtocol:
        """Read what `to_json` wrote."""
        plain: dict[str, Any] = {
            name: tuple(told[name]) if isinstance(told[name], list) else told[name] for name in _PLAIN
        }
        return cls(
            subject=Subject.from_json(told["subject"]),
            recipe=Recipe.from_json(told["recipe"]),
            plane_recipe=Recipe.from_json(told["plane_recipe"]),
            knobs={name: tuple(values) for name, values in told["knobs"].items()},
            **plain,
        )
