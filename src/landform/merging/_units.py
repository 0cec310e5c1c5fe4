"""Which units of two models become one: greedily by correlation, also within a model (Stoica et al. 2024).

The n units of both models stand side by side. Again and again the two that are most alike become one, until n are left.
What is one already is as like another as the less like of its two parts, times ``alpha``; at most ``beta n`` times two
of one model become one without any of the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_NEVER = -np.inf


@dataclass(frozen=True)
class Merged:
    """Units of two models, n each, as n merged units.

    Attributes:
        labels: for each unit of the first and then of the second the merged unit that it is part of, ``[2n]``.
        across: how many merged units have parts of both models.
        within: how often two of one model became one, for each model.
        alike: mean similarity of two units that became one; nan where none is known.
    """

    labels: Tensor
    across: int
    within: tuple[int, int]
    alike: float

    @property
    def size(self) -> int:
        """How many units each model has, and the merged one."""
        return len(self.labels) // 2

    def of(self, model: int) -> Tensor:
        """Labels of the units of one model, ``[n]``."""
        return self.labels[model * self.size : (model + 1) * self.size]

    def counts(self, model: int) -> Tensor:
        """How many units of one model each merged unit has, ``[n]``."""
        return torch.bincount(self.of(model), minlength=self.size)

    def read(self, tensor: Tensor, dim: int, model: int) -> Tensor:
        """The weights with which one model reads the merged units: each of its units is the merged one.

        Args:
            tensor: weights of the model, whose units lie along ``dim``.
            dim: which axis.
            model: 0 or 1.

        Returns:
            Of the same shape: sums over the model's units of each merged one.
        """
        return torch.zeros_like(tensor).index_add_(dim, self.of(model).to(tensor.device), tensor)


def mean(tensors: Sequence[Tensor], units: Mapping[int, Merged]) -> Tensor:
    """The weights that make merged units: of each the mean over the units that it has, of both models.

    Args:
        tensors: the weights of both models.
        units: along which axes units lie, and how they are merged; where there are none it is the mean of both models.

    Returns:
        Of the same shape.
    """
    total, many = torch.zeros_like(tensors[0]), torch.zeros_like(tensors[0])
    for model, part in enumerate(tensors):
        count = torch.ones_like(part)
        for dim, merged in units.items():
            shape = [1] * part.dim()
            shape[dim] = -1
            part = merged.read(part, dim, model)
            count = count * merged.counts(model).to(part).view(shape)
        total, many = total + part, many + count
    return total / many.clamp(min=1)  # nothing is where places of one model meet heads of the other


def by_similarity(similarity: Tensor, alpha: float, beta: float) -> Merged:
    """Merge units greedily.

    Args:
        similarity: of each of the 2n units with each, ``[2n, 2n]``, symmetric.
        alpha: factor on the similarity of what has become one, in [0, 1].
        beta: share of n up to which units of one model may become one, in [0, 1].

    Returns:
        n merged units, in the order of their first part.
    """
    given = similarity.cpu().double().numpy()
    half = len(given) // 2
    greedy = _Greedy(given.copy(), half, int(beta * half + 1e-9))
    together: list[float] = []
    for _ in range(half):
        first, second = greedy.alikest()
        both = greedy.label == first, greedy.label == second
        together.append(float(given[np.ix_(*both)].mean()))
        greedy.unite(first, second, alpha)
    return _numbered(greedy.label, (greedy.within[1], greedy.within[2]), together)


def by_order(order: Tensor, similarity: Tensor | None = None) -> Merged:
    """Merge each unit of the first model with one of the second.

    Args:
        order: unit i of the first goes with unit ``order[i]`` of the second, ``[n]``.
        similarity: of each of the 2n units with each, where it is known.

    Returns:
        The merged units, in the order of the first model's.
    """
    half = len(order)
    label = np.concatenate([np.arange(half), order.argsort().numpy()])
    together = [] if similarity is None else similarity[torch.arange(half), half + order].tolist()
    return _numbered(label, (0, 0), together)


class _Greedy:
    """Units as they become one; the best partner of each is kept and found anew only where it may have changed.

    Attributes:
        label: the first part of what each unit belongs to, ``[2n]``.
        within: how often two of one model became one, by owner.
    """

    def __init__(self, table: NDArray[np.float64], half: int, budget: int) -> None:
        both = len(table)
        np.fill_diagonal(table, _NEVER)
        self._table = table
        # Whose units a merged one has: 1 the first's, 2 the second's, 3 both.
        self._owner = np.where(np.arange(both) < half, 1, 2)
        self._left = {1: budget, 2: budget}
        self.label = np.arange(both)
        self.within = {1: 0, 2: 0}
        self._best = np.zeros(both, dtype=np.int64)
        self._value = np.zeros(both)
        self._look(np.arange(both))

    def alikest(self) -> tuple[int, int]:
        """The two that are most alike of those that may become one, the lower first."""
        one = int(self._value.argmax())
        other = int(self._best[one])
        return min(one, other), max(one, other)

    def unite(self, i: int, j: int, alpha: float) -> None:
        """Make j a part of i."""
        table, owner = self._table, self._owner
        side = int(owner[i]) if owner[i] == owner[j] and owner[i] != 3 else 0
        self.label[self.label == j] = i
        owner[i] |= owner[j]
        with np.errstate(invalid="ignore"):  # 0 times never
            merged = np.where(
                np.isneginf(table[i]) | np.isneginf(table[j]), _NEVER, alpha * np.minimum(table[i], table[j])
            )
        table[i], table[:, i] = merged, merged
        table[j], table[:, j] = _NEVER, _NEVER
        again = np.isin(self._best, (i, j))
        again[[i, j]] = True
        if side:
            self.within[side] += 1
            self._left[side] -= 1
            if not self._left[side]:
                again |= owner == side
        self._look(np.flatnonzero(again))
        rest = np.flatnonzero(~again & self._allowed(i))
        here = table[rest, i]
        better = (here > self._value[rest]) | ((here == self._value[rest]) & (i < self._best[rest]))
        self._best[rest[better]], self._value[rest[better]] = i, here[better]

    def _allowed(self, i: int) -> NDArray[np.bool_]:
        """With which others one may become one, as far as budgets go."""
        side = int(self._owner[i])
        spent = side != 3 and not self._left[side]
        return self._owner != side if spent else np.ones(len(self._owner), dtype=np.bool_)

    def _look(self, rows: NDArray[np.int64]) -> None:
        """Find the best partners of some."""
        some = self._table[rows]
        for side, left in self._left.items():
            if not left:
                some[np.ix_(self._owner[rows] == side, self._owner == side)] = _NEVER
        self._best[rows] = some.argmax(1)
        self._value[rows] = some[np.arange(len(rows)), self._best[rows]]


def _numbered(label: NDArray[np.int64], within: tuple[int, int], together: list[float]) -> Merged:
    """Give merged units numbers, in the order of their first part."""
    half = len(label) // 2
    _, labels = np.unique(label, return_inverse=True)
    across = len(np.intersect1d(labels[:half], labels[half:]))
    alike = float(np.mean(together)) if together else float("nan")
    return Merged(torch.from_numpy(labels.astype(np.int64)), across, within, alike)
