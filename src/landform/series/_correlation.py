"""How strongly curves move together, against what two curves with a trend show in any case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landform.errors import BadInput

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Correlations:
    """Rank correlations of all pairs of m curves.

    Attributes:
        names: of the curves.
        rho: Spearman's rank correlation of the values, ``[m, m]``.
        chance: share of trend-keeping shuffles whose correlation is at least as strong, ``[m, m]``: small only where
            the curves agree in more than that both go up or down.
        steps: Spearman's rank correlation of the changes from each time to the next, ``[m, m]``.
        steps_chance: share of shuffles of the changes whose correlation is at least as strong, ``[m, m]``.
        count: how many times each pair has in common, ``[m, m]``.
        shuffles: how many were drawn.
        seed: of the shuffles.
    """

    names: tuple[str, ...]
    rho: Numbers
    chance: Numbers
    steps: Numbers
    steps_chance: Numbers
    count: NDArray[np.int64]
    shuffles: int
    seed: int


def correlations(
    curves: Mapping[str, Sequence[float] | Numbers], *, shuffles: int = 999, seed: int = 0
) -> Correlations:
    """Correlate curves over the same times, all pairs.

    Two curves that both fall have a rank correlation near 1, whatever drives them. So beside it stands how often
    chance does as well: the *changes* of one curve from time to time are put into another order, which keeps its
    start, its end and its trend, and the correlation is taken again. The correlation of the changes themselves tells
    whether the curves move at the same times.

    Args:
        curves: values by name, ``[n]`` each, over the same ascending times; nan leaves a time out of its pairs.
        shuffles: how many to draw for each pair.
        seed: of the shuffles.

    Returns:
        The correlations; pairs with fewer than four times in common, or with a flat curve, have nan.

    Raises:
        BadInput: when the curves differ in length, or there is none.
    """
    table = {name: np.asarray(values, dtype=np.float64) for name, values in curves.items()}
    if not table or len({values.shape for values in table.values()}) != 1:
        shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in table.items()) or "none"
        raise BadInput(f"Curves to correlate have one value for each of the same times; got {shapes}.")
    names = tuple(table)
    m = len(names)
    found = {key: np.full((m, m), np.nan) for key in ("rho", "chance", "steps", "steps_chance")}
    count = np.zeros((m, m), dtype=np.int64)
    for i, first in enumerate(names):
        for j, second in enumerate(names[: i + 1]):
            known = np.isfinite(table[first]) & np.isfinite(table[second])
            count[i, j] = count[j, i] = known.sum()
            if known.sum() < 4:
                continue
            generator = np.random.default_rng([seed, i, j])
            pair = _pair(table[first][known], table[second][known], shuffles, generator)
            for key, value in zip(found, pair, strict=True):
                found[key][i, j] = found[key][j, i] = value
    return Correlations(names, **found, count=count, shuffles=shuffles, seed=seed)


def spearman(first: Numbers, second: Numbers) -> Numbers:
    """Spearman's rank correlation: Pearson's of the ranks, equal values sharing their mean rank.

    Args:
        first: ``[..., n]``.
        second: ``[..., n]``.

    Returns:
        ``[...]``; nan where one of them is flat.
    """
    from scipy.stats import rankdata

    a, b = rankdata(first, axis=-1), rankdata(second, axis=-1)
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    power = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(power > 0, (a * b).sum(-1) / power, np.nan))


def _pair(a: Numbers, b: Numbers, shuffles: int, generator: np.random.Generator) -> tuple[float, float, float, float]:
    rho, steps = float(spearman(a, b)), float(spearman(np.diff(a), np.diff(b)))
    order = generator.permuted(np.tile(np.arange(len(a) - 1), (shuffles, 1)), axis=1)
    changes = np.diff(a)[order]  # [shuffles, n - 1]
    walks = np.concatenate([np.full((shuffles, 1), a[0]), a[0] + changes.cumsum(1)], axis=1)
    return rho, _chance(rho, spearman(walks, b)), steps, _chance(steps, spearman(changes, np.diff(b)))


def _chance(value: float, drawn: Numbers) -> float:
    """Share of draws at least as strong; the value itself counts as one of them."""
    if not np.isfinite(value):
        return float("nan")
    return float((1 + (np.abs(drawn) >= abs(value) - 1e-12).sum()) / (1 + len(drawn)))
