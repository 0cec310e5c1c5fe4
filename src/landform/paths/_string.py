"""Minimum-energy paths: a string of points that slides down the landscape at right angles to itself.

The string method (E, Ren & Vanden-Eijnden 2002): every point follows minus the gradient, less its part along the
string, and the points are spread evenly along the string again. At rest the gradient points along the string
everywhere: its highest point is a saddle. As in AutoNEB (Draxler et al. 2018), points are put in where the loss between
two is higher than at them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.paths._barrier import Barrier, barrier, walk
from landform.paths._begin import Begin, begin_at
from landform.paths._contract import at_least, one_point

Progress = Callable[[int, int], None]

# A gap between two points is filled where the loss in it rises above both by this share of the barrier so far.
_RISE = 0.1


@dataclass(frozen=True)
class MinimumEnergyPath:
    """A path of least loss between two points.

    Attributes:
        nodes: points along it, the two ends first and last, ``[k, P]``; straight pieces join them.
        losses: loss at the nodes, ``[k]``, float64.
        barrier: loss and error along it, read between the nodes too.
        straight: along the straight line between the ends.
        top: which node is highest.
        across: norm of the gradient at right angles to the path at each node between the ends, ``[k - 2]``; zero on a
            minimum-energy path.
        begin: where it began: ``"linear"``, ``"random"`` or ``"given"``.
        rounds: how many times the nodes moved and points were put in.
        steps: how many steps a round had.
        gradients: full-data gradients it took.
        seed: of random nodes.
    """

    nodes: Tensor = field(repr=False)
    losses: Tensor = field(repr=False)
    barrier: Barrier
    straight: Barrier
    top: int
    across: Tensor = field(repr=False)
    begin: str
    rounds: int
    steps: int
    gradients: int
    seed: int

    def points(self, ts: Tensor) -> Tensor:
        """Points of the path.

        Args:
            ts: positions in [0, 1] as shares of its length, ``[n]``.

        Returns:
            ``[n, P]``.
        """
        return along(self.nodes, ts)


def minimum_energy_path(
    landscape: Landscape,
    a: Tensor,
    b: Tensor,
    *,
    nodes: int = 7,
    rounds: int = 3,
    steps: int = 100,
    lr: float = 0.1,
    most: int = 25,
    begin: Begin | Tensor = "linear",
    seed: int = 0,
    positions: int = 41,
    refine: int = 20,
    on: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> MinimumEnergyPath:
    """Let a string between two points slide down to a path of least loss.

    Costs ``rounds * steps`` full-data gradients for each node between the ends, many nodes at a time where the model
    allows.

    Args:
        landscape: whose loss, weight decay included.
        a: one end, ``[P]``; the path is that between two valleys where both ends are minima.
        b: the other, ``[P]``.
        nodes: how many points the string has to begin with, the ends among them.
        rounds: how many times it slides; before each but the first, points are put in where the loss between two rises
            above both.
        steps: how many steps it slides in a round.
        lr: their size: each node moves by ``-lr`` times its gradient at right angles to the string.
        most: never more points than this.
        begin: where the nodes between begin: ``"linear"``, ``"random"``, or points ``[nodes - 2, P]``.
        seed: of random nodes.
        positions: at how many even positions path and straight line are read, the ends among them.
        refine: at how many more, where a higher value may hide.
        on: further data to read the barriers on, by name.
        progress: called with (steps done, steps in all).

    Returns:
        The path, with its barrier and the straight one.

    Raises:
        BadInput: when the points are not the landscape's, a setting makes no sense, or the string diverges.
    """
    a, b = one_point(landscape, a, "first"), one_point(landscape, b, "second")
    at_least("nodes", nodes, 3)
    at_least("rounds", rounds, 1)
    at_least("steps", steps, 0)
    at_least("most", most, nodes)
    if not lr > 0:
        raise BadInput(f"lr is {lr}: give a step above 0.")
    free, begun = begin_at(landscape, a, b, nodes - 2, begin, seed)
    string = torch.cat([a[None], free, b[None]])
    spent = 0
    for turn in range(rounds):
        if turn:
            string = _filled(landscape, string, most)
        for step in range(steps):
            pull = _across(string, landscape.gradient(string[1:-1]))
            string = torch.cat([string[:1], string[1:-1] - lr * pull, string[-1:]])
            string = along(string, torch.linspace(0, 1, len(string)))
            spent += len(string) - 2
            if progress is not None:
                progress(turn * steps + step + 1, rounds * steps)
        if not bool(torch.isfinite(string).all()):
            raise BadInput(f"The string diverged with steps of lr = {lr:g}: give a smaller one.")
    last = landscape.gradient(string[1:-1])
    seen = walk(landscape, string, partial(_shares, string), steps=positions, refine=refine, on=on)
    losses = landscape.loss(string)
    return MinimumEnergyPath(
        nodes=string,
        losses=losses,
        barrier=seen,
        straight=barrier(landscape, a, b, steps=positions, refine=refine, on=on),
        top=int(losses.argmax()),
        across=torch.linalg.vector_norm(_across(string, last).cpu().double(), dim=1),
        begin=begun,
        rounds=rounds,
        steps=steps,
        gradients=spent + len(string) - 2,
        seed=seed,
    )


def along(nodes: Tensor, ts: Tensor) -> Tensor:
    """Points of a polygon at shares of its length; the ends are the nodes' to the bit.

    Args:
        nodes: ``[k, P]``.
        ts: ``[n]``, in [0, 1].

    Returns:
        ``[n, P]``.
    """
    return _shares(nodes, ts).to(nodes) @ nodes


def _shares(nodes: Tensor, ts: Tensor) -> Tensor:
    """How much of each node there is at shares of a polygon's length, ``[n, k]``."""
    steps = torch.linalg.vector_norm(nodes[1:] - nodes[:-1], dim=1).cpu().double()
    places = torch.cat([steps.new_zeros(1), steps.cumsum(0)])
    if not 0 < float(places[-1]) < float("inf"):  # all nodes are one point, or are not finite
        places = torch.linspace(0, 1, len(nodes), dtype=torch.float64)
    ts = ts.double().cpu()
    piece = torch.searchsorted(places, ts * places[-1], right=True).sub(1).clamp(0, len(nodes) - 2)
    gap = places[piece + 1] - places[piece]
    share = torch.where(gap > 0, (ts * places[-1] - places[piece]) / gap, 0.0).clamp(0, 1)
    share = torch.where(ts >= 1, 1.0, share)
    weights = torch.zeros(len(ts), len(nodes), dtype=torch.float64)
    weights.scatter_(1, piece[:, None], 1 - share[:, None])
    return weights.scatter_(1, piece[:, None] + 1, share[:, None])


def _across(string: Tensor, gradients: Tensor) -> Tensor:
    """The part of gradients at right angles to a string, ``[k - 2, P]``."""
    tangents = string[2:] - string[:-2]
    tangents = tangents / torch.linalg.vector_norm(tangents, dim=1, keepdim=True).clamp_min(1e-30)
    across: Tensor = gradients - (gradients * tangents).sum(1, keepdim=True) * tangents
    return across


def _filled(landscape: Landscape, string: Tensor, most: int) -> Tensor:
    """Put a point into the middle of the gaps in which the loss rises most, where it does."""
    middles = (string[1:] + string[:-1]) / 2
    losses = landscape.loss(torch.cat([string, middles]))
    at, between = losses[: len(string)], losses[len(string) :]
    rises = between - torch.maximum(at[1:], at[:-1])
    height = float(at.max() - (at[0] + at[-1]) / 2)
    order = rises.argsort(descending=True)[: max(most - len(string), 0)]
    chosen = {int(k) for k in order if float(rises[k]) > _RISE * max(height, 0.0)}
    rows: list[Tensor] = []
    for k, point in enumerate(string):
        rows.append(point)
        if k in chosen:
            rows.append(middles[k])
    return torch.stack(rows)
