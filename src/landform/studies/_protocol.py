"""What a study trains and when it looks, at each scale."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from landform.errors import BadInput
from landform.training import Recipe


@dataclass(frozen=True)
class Protocol:
    """What is trained, when children leave it, and when and how closely it is looked at.

    Attributes:
        data: name of a data set.
        data_options: its options.
        model: name of a model.
        model_options: its options; the seed of a run is that of its initial weights too.
        recipe: how the parents are trained, but for the seed.
        spawns: spawn times, in epochs.
        children: how many for each.
        onsets: times from which the linearised network is trained.
        onset: settings of the probe that does so.
        records: how many times of a parent are recorded besides, log-spaced, and as many evenly spaced.
        kernel: samples of the kernels that are compared.
        curvature: how many times the Hessian is looked at; 0 for none.
        closely: samples of a set, at most, for what costs much: the Hessian, and comparisons of functions.
        seeds: how many parents.
    """

    data: str
    model: str
    recipe: Recipe
    spawns: tuple[float, ...]
    onsets: tuple[float, ...]
    data_options: Mapping[str, Any] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=dict)
    children: int = 2
    onset: Mapping[str, Any] = field(default_factory=dict)
    records: int = 16
    kernel: int = 64
    curvature: int = 6
    closely: int = 2000
    seeds: int = 3

    def __post_init__(self) -> None:
        if self.seeds < 1 or self.children < 2:
            raise BadInput(f"seeds is {self.seeds} and children {self.children}: give at least 1 and 2.")
        last = self.recipe.epochs
        if not self.spawns or max(self.spawns) >= last or not self.onsets or max(self.onsets) > last:
            raise BadInput(
                f"Spawn times and onsets lie within the {last:g} epochs of training, and there is one of each."
            )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        told = {
            "data": {"name": self.data, "options": dict(self.data_options)},
            "model": {"name": self.model, "options": dict(self.model_options)},
            "recipe": self.recipe.to_json(),
            "spawns": list(self.spawns),
            "children": self.children,
            "onsets": list(self.onsets),
            "onset": dict(self.onset),
            "records": self.records,
            "kernel": self.kernel,
            "curvature": self.curvature,
            "closely": self.closely,
            "seeds": self.seeds,
        }
        plain: dict[str, Any] = json.loads(json.dumps(told))
        return plain

    def using(self, **changes: Any) -> Protocol:
        """The same with some parts changed; None changes nothing.

        Args:
            **changes: parts by name.

        Returns:
            A new protocol.
        """
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


def protocol_of(described: Mapping[str, Any]) -> Protocol:
    """Read a protocol from what a study keeps of itself.

    Args:
        described: the content of its ``study.json``.

    Returns:
        The protocol.
    """
    told = described["protocol"]
    return Protocol(
        data=told["data"]["name"],
        data_options=told["data"]["options"],
        model=told["model"]["name"],
        model_options=told["model"]["options"],
        recipe=Recipe.from_json(told["recipe"]),
        spawns=tuple(told["spawns"]),
        onsets=tuple(told["onsets"]),
        children=told["children"],
        onset=told["onset"],
        records=told["records"],
        kernel=told["kernel"],
        curvature=told["curvature"],
        closely=told.get("closely", 50_000),
        seeds=told["seeds"],
    )
