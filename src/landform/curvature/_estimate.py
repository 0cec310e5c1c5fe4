"""A number with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error.

    Attributes:
        value: the estimate.
        standard_error: its standard error; 0 where it is exact, nan where there is nothing to tell it from.
    """

    value: float
    standard_error: float

    @property
    def relative(self) -> float:
        """The standard error as a share of the value."""
        return self.standard_error / abs(self.value) if self.value else math.inf


def over_probes(each: Tensor, *, exact: bool = False) -> Estimate:
    """Mean over independent probes.

    Args:
        each: what each probe gives, ``[n]``.
        exact: whether there is no error.

    Returns:
        The mean and its standard error.
    """
    if exact:
        return Estimate(float(each.mean()), 0.0)
    error = float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else math.nan
    return Estimate(float(each.mean()), error)


def ratio(above: Tensor, below: Tensor, *, exact: bool = False) -> Estimate:
    """Ratio of two means over independent probes.

    Args:
        above: the numerator of each probe, ``[n]``.
        below: the denominator of each probe, ``[n]``.
        exact: whether there is no error.

    Returns:
        The ratio, with a standard error by the delta method.
    """
    value = float(above.mean() / below.mean())
    if exact:
        return Estimate(value, 0.0)
    if len(above) < 2:
        return Estimate(value, math.nan)
    spread = float((above - value * below).std() / abs(float(below.mean())))
    return Estimate(value, spread / math.sqrt(len(above)))
