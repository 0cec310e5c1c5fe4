"""Many models in one order of units: a universe in which each is permuted once.

Aligned pair by pair, three models do not agree: from the first to the second to the third is another way than straight.
Here each model has one permutation into a common order, and each in turn is matched to all the others as they lie there
(MergeMany of Ainsworth et al. 2023; the cycle consistency of Crisostomi et al. 2024), until nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import torch
from torch import Tensor, nn

from landform.alignment._activations import Correlations, Table, correlate, first_side
from landform.alignment._contract import end, seeded
from landform.alignment._descent import descend, movable
from landform.alignment._find import symmetries as find_symmetries
from landform.alignment._symmetries import Symmetries
from landform.alignment._weights import match_weights
from landform.errors import BadInput
from landform.landscape import Landscape


@dataclass(frozen=True)
class Universe:
    """Several points in one order of units.

    Attributes:
        points: all of them, permuted, ``[n, P]``: each the function it was.
        permutations: of each, by group, ``[*copies, size]``; the first point's units stay where they are.
        objective: at the start and after each round over the models: for ``"weights"`` the mean squared distance of two
            points, for ``"activations"`` the mean correlation of matched units of two models.
        converged: whether the last round changed nothing.
        method: how units were matched.
        symmetries: the groups of units.
    """

    points: Tensor
    permutations: tuple[dict[str, Tensor], ...]
    objective: tuple[float, ...]
    converged: bool
    method: str
    symmetries: Symmetries = field(repr=False)

    @property
    def mean(self) -> Tensor:
        """The mean of the points, ``[P]``."""
        return self.points.mean(0)

    def between(self, i: int, j: int) -> dict[str, Tensor]:
        """The permutation that brings the units of point j, as given, into the order of point i, as given.

        By way of a third model it is the same.

        Args:
            i: number of a point.
            j: number of another.

        Returns:
            By group, ``[*copies, size]``.
        """
        return self.symmetries.compose(self.permutations[j], self.symmetries.invert(self.permutations[i]))


def align_many(
    landscape: Landscape,
    points: Tensor | Sequence[Tensor | nn.Module],
    *,
    method: str = "weights",
    symmetries: Symmetries | None = None,
    rounds: int = 100,
    sweeps: int = 100,
    seed: int = 0,
) -> Universe:
    """Permute the units of several points into one common order.

    Args:
        landscape: whose model they are.
        points: ``[n, P]``, or a sequence of points and models, two or more.
        method: ``"weights"`` or ``"activations"``, as for `align`; the latter takes a pass over the data for each of
            the n (n - 1) ordered pairs.
        symmetries: of the model, where they are known already.
        rounds: the most rounds over the models.
        sweeps: the most sweeps over the groups for each model in each round.
        seed: of the orders of models and groups.

    Returns:
        The points in one order.

    Raises:
        BadInput: when there are fewer than two, or one is no point of this landscape.
    """
    if method not in ("weights", "activations"):
        raise BadInput(f"There is no method {method!r} for many models: give 'weights' or 'activations'.")
    if len(points) < 2:
        raise BadInput(f"There is {len(points)} point: give two or more to bring into one order.")
    ends = [end(landscape, point, f"Point {number}") for number, point in enumerate(points)]
    given = torch.stack([point for point, _ in ends])
    found = find_symmetries(landscape) if symmetries is None else symmetries
    tables: dict[tuple[int, int], list[Table]] = {}
    if method == "activations":
        for i, j in combinations(range(len(given)), 2):
            own = [ends[number][1] or None for number in (i, j)]
            tables[i, j] = correlate(landscape, found, (given[i], given[j]), (own[0], own[1]))
            tables[j, i] = [(names, _turned(table)) for names, table in tables[i, j]]
    matching = _Matching(found, given, tables, sweeps, seeded(seed))
    for i in range(1, len(given)):  # each to those before it
        matching.match(i, range(i), fresh=True)
    history = [matching.value()]
    converged = False
    while not converged and len(history) <= rounds:
        order = torch.randperm(len(given), generator=matching.made).tolist()
        converged = True
        for i in order:
            if matching.match(i, [j for j in range(len(given)) if j != i]):
                converged = False
        history.append(matching.value())
    back = found.invert(matching.every[0])
    every = tuple(found.compose(own, back) for own in matching.every)
    moved = torch.stack([found.apply(point, own) for point, own in zip(given, every, strict=True)])
    return Universe(moved, every, tuple(history), converged, method, found)


class _Matching:
    """Permutations as they are, and each point matched to others by what is known."""

    def __init__(
        self,
        found: Symmetries,
        given: Tensor,
        tables: dict[tuple[int, int], list[Table]],
        sweeps: int,
        made: torch.Generator,
    ) -> None:
        self.found, self.given, self.tables, self.sweeps, self.made = found, given, tables, sweeps, made
        self.every = [found.identity() for _ in given]

    def match(self, i: int, others: Sequence[int], fresh: bool = False) -> bool:
        """Match a point to others where they lie now; tell whether that changed anything."""
        total = torch.stack([self.found.apply(self.given[j], self.every[j]) for j in others]).sum(0)
        views = self.found.layout.views(total), self.found.layout.views(self.given[i])
        only, start = None, None if fresh else self.every[i]
        if self.tables:
            matcher = Correlations(self.found, self._seen_by(i, others), self.every[i])
            groups = [group for group in movable(self.found) if group.name in matcher.read]
            start = descend(matcher, groups, self.sweeps, self.made).permutations
            only = [name for name in self.found.names if name not in matcher.read]
        new = match_weights(
            self.found, *views, start=start, sweeps=self.sweeps, generator=self.made, only=only
        ).permutations
        changed = any(not torch.equal(new[name], self.every[i][name]) for name in new)
        self.every[i] = new
        return changed

    def _seen_by(self, i: int, others: Sequence[int]) -> list[Table]:
        """Correlations of others, permuted, with a point."""
        return [
            (names, first_side(names, table).permute(table, self.found.groups, self.every[j]))
            for j in others
            for names, table in self.tables[j, i]
        ]

    def value(self) -> float:
        """How near the points are to one another, over pairs."""
        count = len(self.given)
        if self.tables:
            pairs = [
                Correlations(self.found, self._seen_by(i, [j]), self.every[i]).value()
                for i, j in combinations(range(count), 2)
            ]
            return sum(pairs) / len(pairs)
        moved = (
            torch.stack([self.found.apply(p, own) for p, own in zip(self.given, self.every, strict=True)])
            .cpu()
            .double()
        )
        apart = count * moved.square().sum() - moved.sum(0).square().sum()
        return max(0.0, float(apart)) * 2 / (count * (count - 1))


def _turned(table: Tensor) -> Tensor:
    """The same correlations seen from the other model."""
    half = table.dim() // 2
    return table.permute(*range(half, 2 * half), *range(half))
