"""Bringing the features of one grid in line with those of another: noisy labels or other data shift them all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

# Full strength would trust that two grids hold the same mixture of networks; 40 rows of each are half of the trust.
_STRENGTH = 0.75
_HALF = 40.0
_FEWEST = 12
# A part of a grid - two widths of thirteen, say - is narrower than the whole, and must stay as it is.
_NARROW, _WIDE = 0.8, 0.9


def levelled(asked: Numbers, seen: Numbers, asked_flat: NDArray[np.bool_], seen_flat: NDArray[np.bool_]) -> Numbers:
    """Move each feature of some networks towards the quantile that it would have among others.

    Networks that are trained to zero loss and those that are not are moved apart from one another: label noise does to
    the one what it does not do to the other, and moves some from the one to the other. How far they are moved follows
    from how many there are, and from whether they are about as diverse as those seen.

    Args:
        asked: features, ``[rows, features]``; NaN where unknown.
        seen: features of the others, ``[others, features]``.
        asked_flat: which rows are trained to zero loss.
        seen_flat: which of the others.

    Returns:
        Features, ``[rows, features]``.
    """
    moved = asked.copy()
    for flat in (False, True):
        here, there = asked[asked_flat == flat], seen[seen_flat == flat]
        if len(here) < 2 or len(there) < _FEWEST:
            continue
        some = (np.isfinite(here).sum(0) > 1) & (np.isfinite(there).sum(0) > 1)
        some[some] = _breadth(there[:, some]) > 0  # what hardly varies says nothing of how diverse they are
        if not some.any():
            continue
        breadth = np.minimum(_breadth(here[:, some]) / _breadth(there[:, some]), 1.0)
        trust = float(np.clip((breadth.mean() - _NARROW) / (_WIDE - _NARROW), 0.0, 1.0))
        trust *= len(here) / (len(here) + _HALF) * len(there) / (len(there) + _HALF)
        for column in np.flatnonzero(some):
            here[:, column] += _STRENGTH * trust * (_placed(here[:, column], there[:, column]) - here[:, column])
        moved[asked_flat == flat] = here
    return moved


def _breadth(values: Numbers) -> Numbers:
    found: Numbers = np.nanpercentile(values, 80, axis=0) - np.nanpercentile(values, 20, axis=0)
    return found


def _placed(values: Numbers, among: Numbers) -> Numbers:
    """What values of the same rank are among others."""
    from scipy.stats import rankdata

    placed = np.full(len(values), np.nan)
    known = np.isfinite(values)
    ranks = (rankdata(values[known]) - 0.5) / known.sum()
    placed[known] = np.quantile(among[np.isfinite(among)], ranks)
    return placed
