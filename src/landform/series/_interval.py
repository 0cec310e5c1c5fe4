"""A mean over seeds, and how well it is known."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from landform.errors import BadInput


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its confidence interval.

    Attributes:
        mean: of the values; nan where there is none.
        standard_error: of the mean; nan for fewer than two values.
        low: lower end of the interval; nan likewise.
        high: upper end.
        count: how many values there were.
        level: how sure the interval is.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    count: int
    level: float = 0.95


def interval(values: Iterable[float], *, level: float = 0.95) -> Interval:
    """Mean of a few independent values, with Student's interval.

    ``mean +- t_{n-1} s / sqrt(n)``; exact for normal values, and with two or three of them as wide as it must be.

    Args:
        values: one for each seed; nan is left out.
        level: how sure the interval shall be.

    Returns:
        The interval.

    Raises:
        BadInput: when the level is no share between 0 and 1.
    """
    if not 0 < level < 1:
        raise BadInput(f"level is {level}: give a share between 0 and 1, such as 0.95.")
    from scipy.stats import t

    known = np.asarray([value for value in values if math.isfinite(value)], dtype=np.float64)
    count = len(known)
    mean = float(known.mean()) if count else math.nan
    if count < 2:
        return Interval(mean, math.nan, math.nan, math.nan, count, level)
    error = float(known.std(ddof=1)) / math.sqrt(count)
    reach = float(t.ppf(0.5 + level / 2, count - 1)) * error
    return Interval(mean, error, mean - reach, mean + reach, count, level)
