"""Trained curves between two points: Bezier curves of any degree and polygonal chains.

Garipov et al. 2018: ``phi(t)`` runs from a to b over free bends, which minimise ``E_t L(phi(t))`` with t uniform in
[0, 1]. What barrier is left depends on the number of steps and on where the bends began: both stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.paths._barrier import Barrier, barrier, walk
from landform.paths._begin import Begin, begin_at
from landform.paths._contract import at_least, one_point
from landform.paths._mixture import Draw, Progress, descend
from landform.training import Cosine, Recipe

Kind: TypeAlias = Literal["bezier", "chain"]

# How bends are trained unless told otherwise: measured on small networks, not the paper's.
RECIPE = Recipe(batch_size=128, optimizer="adam", lr=0.01, schedule=Cosine())


@dataclass(frozen=True)
class Leg:
    """What a curve was like after some of its steps.

    Attributes:
        steps: how many it had had.
        height: barrier of the loss along it.
        error_height: of the error; None where the targets are not labels.
    """

    steps: int
    height: float
    error_height: float | None


@dataclass(frozen=True)
class Curve:
    """A trained curve between two points.

    Attributes:
        kind: ``"bezier"`` or ``"chain"``.
        nodes: its nodes, the two ends first and last, ``[k, P]``.
        barrier: loss and error along it.
        straight: along the straight line between the ends.
        steps: how many steps the bends were trained for.
        begin: where the bends began: ``"linear"`` (on the straight line), ``"random"`` (as the model's layers
            initialise themselves), or ``"given"``.
        seed: of the batches, of the t drawn, and of random bends.
        recipe: how the bends were trained.
        losses: loss of each step's batch at the step's t, before the step, ``[steps]``.
        earlier: what it was like after fewer steps, where it was trained in several legs.
        reading: how densely it was read.
    """

    kind: Kind
    nodes: Tensor = field(repr=False)
    barrier: Barrier
    straight: Barrier
    steps: int
    begin: str
    seed: int
    recipe: Recipe = field(repr=False)
    losses: Tensor = field(repr=False)
    earlier: tuple[Leg, ...] = ()
    reading: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _landscape: Landscape = field(kw_only=True, repr=False)

    def points(self, ts: Tensor) -> Tensor:
        """Points of the curve.

        Args:
            ts: positions in [0, 1], ``[n]``.

        Returns:
            ``[n, P]``.
        """
        return mixing(self.kind, len(self.nodes))(ts).to(self.nodes) @ self.nodes

    def more(self, steps: int | None = None, *, progress: Progress | None = None) -> Curve:
        """Go on training from where the curve is, with the schedule anew, and keep on record what it was like.

        Args:
            steps: how many more; by default as many as there were, for a result with twice the steps.
            progress: called with (steps done, steps in all).

        Returns:
            Another curve.
        """
        before = Leg(self.steps, self.barrier.height, self.barrier.error_height)
        begun = replace(self, earlier=(*self.earlier, before))
        return _trained(begun, self.steps if steps is None else steps, progress)

    @property
    def ratio(self) -> float:
        """Barrier of the loss along the curve over that along the straight line; nan where there is none."""
        return self.barrier.height / self.straight.height if self.straight.height else math.nan

    def __str__(self) -> str:
        legs = [*self.earlier, Leg(self.steps, self.barrier.height, self.barrier.error_height)]
        told = ", ".join(f"{_told(leg.height, leg.error_height)} after {leg.steps} steps" for leg in legs)
        straight = _told(self.straight.height, self.straight.error_height)
        bends = len(self.nodes) - 2
        return (
            f"{self.kind} of {bends} bend{'s' * (bends != 1)}, begun {self.begin}, seed {self.seed}: barrier {told}; "
            f"straight {straight}"
        )


def curve(
    landscape: Landscape,
    a: Tensor,
    b: Tensor,
    *,
    kind: Kind = "bezier",
    bends: int = 1,
    steps: int = 1000,
    begin: Begin | Tensor = "linear",
    recipe: Recipe | None = None,
    draws: int = 1,
    seed: int = 0,
    positions: int = 41,
    refine: int = 20,
    on: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Curve:
    """Train a curve of low loss between two points.

    Args:
        landscape: whose mean loss along the curve is minimised, weight decay included; its data have to be in memory.
        a: one end, ``[P]``.
        b: the other, ``[P]``.
        kind: ``"bezier"``, of degree ``bends + 1``, or ``"chain"``, of ``bends + 1`` straight pieces.
        bends: how many points between the ends are free.
        steps: how many steps they are trained for.
        begin: where they begin: ``"linear"``, evenly on the straight line; ``"random"``, as the model's own layers
            initialise themselves; or points ``[bends, P]``.
        recipe: batch size, optimiser, learning rate and its schedule; Adam at 0.01 falling in a cosine by default. Its
            epochs and seed are not looked at.
        draws: how many t are drawn for a batch.
        seed: of the batches, of t, and of random bends.
        positions: at how many even t the curve and the straight line are read, the ends among them.
        refine: at how many more, where a higher value may hide.
        on: further data to read the barriers on, by name.
        progress: called with (steps done, steps in all).

    Returns:
        The curve, with its barrier and the straight one.

    Raises:
        BadInput: when the points are not the landscape's, or the training diverges.
    """
    a, b = one_point(landscape, a, "first"), one_point(landscape, b, "second")
    at_least("bends", bends, 1)
    at_least("steps", steps, 0)
    at_least("draws", draws, 1)
    if kind not in ("bezier", "chain"):
        raise BadInput(f"There is no curve of the kind {kind!r}: give 'bezier' or 'chain'.")
    free, begun = begin_at(landscape, a, b, bends, begin, seed)
    reading: dict[str, Any] = {"steps": positions, "refine": refine, "on": on}
    straight = barrier(landscape, a, b, **reading)
    start = Curve(
        kind,
        torch.cat([a[None], free, b[None]]),
        straight,
        straight,
        0,
        begun,
        seed,
        recipe or RECIPE,
        torch.empty(0),
        reading={**reading, "draws": draws},
        _landscape=landscape,
    )
    return _trained(start, steps, progress)


def mixing(kind: Kind, nodes: int) -> Callable[[Tensor], Tensor]:
    """How much of each node a curve has.

    Args:
        kind: ``"bezier"``: ``(k choose i) t^i (1 - t)^(k - i)``; ``"chain"``: straight pieces of equal length in t.
        nodes: how many, the ends among them.

    Returns:
        A function of positions ``[n]`` that gives weights ``[n, nodes]``, each row of sum one.
    """
    k = nodes - 1

    def bezier(ts: Tensor) -> Tensor:
        t = ts.double()[:, None]
        i = torch.arange(nodes, dtype=torch.float64)
        many = torch.tensor([math.comb(k, j) for j in range(nodes)], dtype=torch.float64)
        return many * t**i * (1 - t) ** (k - i)

    def chain(ts: Tensor) -> Tensor:
        return (1 - (ts.double()[:, None] * k - torch.arange(nodes, dtype=torch.float64)).abs()).clamp_min(0)

    return bezier if kind == "bezier" else chain


def _trained(curve: Curve, steps: int, progress: Progress | None) -> Curve:
    at_least("steps", steps, 0)
    landscape, weigh, nodes = curve._landscape, mixing(curve.kind, len(curve.nodes)), curve.nodes
    reading = dict(curve.reading)
    draws = reading.pop("draws")
    losses = curve.losses
    if steps:
        found = descend(
            landscape,
            nodes[[0, -1]],
            nodes[1:-1],
            _ends_first(weigh, draws),
            steps=steps,
            recipe=curve.recipe,
            seed=curve.seed + curve.steps,  # another leg draws anew
            progress=progress,
        )
        nodes = torch.cat([nodes[:1], found.free.to(nodes), nodes[-1:]])
        losses = torch.cat([losses, found.losses])
    seen = walk(landscape, nodes, weigh, **reading)
    return replace(curve, nodes=nodes, barrier=seen, steps=curve.steps + steps, losses=losses)


def _ends_first(weigh: Callable[[Tensor], Tensor], draws: int) -> Draw:
    """Weights at uniform t, with those of the two ends in front, as the mixture holds its nodes."""

    def draw() -> Tensor:
        weights = weigh(torch.rand(draws))
        return torch.cat([weights[:, :1], weights[:, -1:], weights[:, 1:-1]], 1)

    return draw


def _told(height: float, error: float | None) -> str:
    return f"{height:.4g}" if error is None else f"{height:.4g} (error {error:.4g})"
