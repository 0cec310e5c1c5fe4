"""The merge tree of a grid: which basins there are, how high one must climb to leave them, and into which they merge.

Flood the surface from below. At each local minimum a pool appears; where two pools meet, the one of the higher minimum
ends, merged into the other. The height from its minimum to the place where it ends is its persistence: small ones are
ripples of the sampling, large ones are valleys. What follows needs nothing but the values and which places are
neighbours (Edelsbrunner, Letscher & Zomorodian 2002, in dimension zero).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landform.errors import BadInput
from landform.surface._surface import Surface

Neighbours: TypeAlias = Literal["sides", "all"]


@dataclass(frozen=True)
class Basin:
    """A local minimum and the places that drain into it.

    Attributes:
        place: indices of the minimum in the grid.
        coordinates: where that is, in coordinates of the surface.
        value: the value there.
        saddle: the value at which it merges into a deeper basin; infinity where it never does.
        saddle_place: indices of the place where that happens.
        into: which basin of the tree it merges into; None where it never does.
        share: share of the grid's places that drain into it.
    """

    place: tuple[int, ...]
    coordinates: tuple[float, ...]
    value: float
    saddle: float
    saddle_place: tuple[int, ...] | None
    into: int | None
    share: float

    @property
    def persistence(self) -> float:
        """How high one climbs from the minimum to leave; infinity where there is nowhere deeper to go."""
        return self.saddle - self.value


@dataclass(frozen=True)
class MergeTree:
    """The basins of a grid.

    Attributes:
        basins: the most persistent first.
        labels: which basin each place drains into, downhill by the lowest neighbour, ``[...]``; -1 where the value is
            NaN.
        values: the values, ``[...]``.
        neighbours: which places count as neighbours.
        least: basins of no more persistence were merged into those that they run over into.
    """

    basins: tuple[Basin, ...]
    labels: Tensor
    values: Tensor
    neighbours: Neighbours
    least: float

    def __len__(self) -> int:
        return len(self.basins)

    @property
    def diagram(self) -> Tensor:
        """Value of each minimum and of the place where it ends, ``[basins, 2]``, the most persistent first."""
        return torch.tensor([[one.value, one.saddle] for one in self.basins], dtype=torch.float64).reshape(-1, 2)

    def below(self, level: float) -> int:
        """How many pools there are when the flood stands at a level.

        Args:
            level: a value.

        Returns:
            How many basins have begun and not ended.
        """
        return sum(one.value <= level < one.saddle for one in self.basins)

    def simplified(self, least: float) -> MergeTree:
        """Leave ripples out.

        Args:
            least: basins of no more persistence are merged into those that they run over into.

        Returns:
            A tree of the rest.

        Raises:
            BadInput: when the persistence is below zero.
        """
        if not least >= 0:
            raise BadInput(f"The least persistence is {least!r}: give zero or more.")
        kept = [i for i, one in enumerate(self.basins) if one.persistence > least]
        number = {old: new for new, old in enumerate(kept)}

        def ends(i: int) -> int:
            while i not in number:
                i = self.basins[i].into  # type: ignore[assignment]  # whatever ends, ends in another
            return number[i]

        shares = [0.0] * len(kept)
        where = torch.full((len(self.basins) + 1,), -1)
        for i, one in enumerate(self.basins):
            where[i] = ends(i)
            shares[ends(i)] += one.share
        basins = [
            replace(one, share=share, into=None if one.into is None else ends(one.into))
            for one, share in zip((self.basins[i] for i in kept), shares, strict=True)
        ]
        return replace(self, basins=tuple(basins), labels=where[self.labels], least=max(least, self.least))

    def __str__(self) -> str:
        ending = [one.persistence for one in self.basins if math.isfinite(one.persistence)]
        said = f"; out of the second most persistent one climbs {ending[0]:.4g}" if ending else ""
        return f"{len(self)} basin{'s'[: len(self) != 1]}{said}"


def merge_tree(
    grid: Surface | Tensor,
    *,
    errors: bool = False,
    maxima: bool = False,
    neighbours: Neighbours = "all",
    least: float = 0.0,
) -> MergeTree:
    """Find the basins of a surface.

    Args:
        grid: a surface, or values of any number of axes.
        errors: the shares of wrong labels in place of the losses.
        maxima: the hills in place of the basins: the values with their sign turned.
        neighbours: ``"sides"``, places that differ along one axis; ``"all"``, corners too.
        least: leave out basins of no more persistence than that; those of none are left out anyway.

    Returns:
        The tree. NaN belongs to no basin and cannot be crossed.

    Raises:
        BadInput: when there are no values, or no number among them.
    """
    if isinstance(grid, Surface):
        chosen, axes = (grid.errors if errors else grid.losses), grid.axes
        if chosen is None:
            raise BadInput("The surface has no errors, its targets are no labels: leave errors out.")
    else:
        chosen = torch.as_tensor(grid).detach().cpu().double()
        axes = tuple(torch.arange(size, dtype=torch.float64) for size in chosen.shape)
    if not chosen.dim() or not bool((~torch.isnan(chosen)).any()):
        raise BadInput("There is no number in the grid: give one with values of at least one axis.")
    if neighbours not in ("sides", "all"):
        raise BadInput(f"neighbours is {neighbours!r}: give 'sides' or 'all'.")
    values = -chosen if maxima else chosen
    basins, labels = _flooded(values.numpy(), [axis.numpy() for axis in axes], neighbours)
    return MergeTree(basins, torch.from_numpy(labels), values, neighbours, 0.0).simplified(least)


def _flooded(
    values: NDArray[np.float64], axes: Sequence[NDArray[np.float64]], neighbours: Neighbours
) -> tuple[tuple[Basin, ...], NDArray[np.int64]]:
    """Take the places in from the lowest to the highest; equal values in the order of the grid."""
    flat = values.reshape(-1)
    order = np.argsort(flat, kind="stable")
    order = order[: int((~np.isnan(flat)).sum())]
    near = _near(values.shape, neighbours)
    pool = np.full(len(flat), -1, dtype=np.int64)  # the pool that a place drained into when it was taken in
    minima: list[int] = []
    leads: list[int] = []  # for each pool, a pool that it is joined with, itself at first: the deepest in the end
    ends: dict[int, tuple[int, int]] = {}

    def lead(one: int) -> int:
        while leads[one] != one:
            leads[one] = leads[leads[one]]
            one = leads[one]
        return one

    rank = np.empty(len(flat), dtype=np.int64)
    rank[order] = np.arange(len(order))
    for place in order.tolist():
        wet = [other for other in near(place) if pool[other] >= 0]
        if not wet:
            pool[place] = len(minima)
            leads.append(len(minima))
            minima.append(place)
            continue
        pool[place] = pool[min(wet, key=rank.__getitem__)]
        met = sorted({lead(int(pool[other])) for other in wet})  # pools are numbered from the deepest on
        for one in met[1:]:
            ends[one] = (place, met[0])
            leads[one] = met[0]
    # The pool that another ends in is the deepest of those joined then, so that every one leads to a deeper one.
    climb = [flat[ends[i][0]] - flat[minima[i]] if i in ends else math.inf for i in range(len(minima))]
    ranked = sorted(range(len(minima)), key=lambda i: (-climb[i], i))
    number = {old: new for new, old in enumerate(ranked)}
    counts = np.bincount(pool[pool >= 0], minlength=len(minima))
    basins = tuple(
        Basin(
            _at(minima[i], values.shape),
            tuple(float(axis[k]) for axis, k in zip(axes, _at(minima[i], values.shape), strict=True)),
            float(flat[minima[i]]),
            float(flat[ends[i][0]]) if i in ends else math.inf,
            _at(ends[i][0], values.shape) if i in ends else None,
            number[ends[i][1]] if i in ends else None,
            float(counts[i] / len(flat)),
        )
        for i in ranked
    )
    renamed = np.array([number[i] for i in range(len(minima))] + [-1])
    return basins, renamed[pool].reshape(values.shape)


def _near(shape: Sequence[int], neighbours: Neighbours) -> Callable[[int], list[int]]:
    """A function that gives the neighbours of a place by its number."""
    steps = [
        step
        for step in np.ndindex(*(3,) * len(shape))
        if 0 < sum(abs(k - 1) for k in step) <= (1 if neighbours == "sides" else len(shape))
    ]
    moves = [tuple(k - 1 for k in step) for step in steps]

    def near(place: int) -> list[int]:
        at = _at(place, shape)
        found = []
        for move in moves:
            to = [a + m for a, m in zip(at, move, strict=True)]
            if all(0 <= t < size for t, size in zip(to, shape, strict=True)):
                found.append(int(np.ravel_multi_index(to, shape)))
        return found

    return near


def _at(place: int, shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(k) for k in np.unravel_index(place, shape))
