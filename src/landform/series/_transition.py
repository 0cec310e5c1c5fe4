"""When a curve changes over: the time of its transition, with an interval, for one curve or several jointly.

A curve is taken for a step with soft edges in logarithmic time, ``y(t) = a + b / (1 + exp(-(x(t) - x_0) / w))`` with
``x(t) = log(1 + t / unit)``: a first level, a second one, and a time in between. A curve that falls fast and then
stays, and one that rises fast and then stays, both have such a step; a straight line in log time has none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landform.errors import BadInput

Numbers = NDArray[np.float64]

# Candidates for the middle of the step and for its width; the middle is refined to a thousandth of the span.
_MIDDLES, _WIDTHS = 201, 24
# 90% of a step is over so many widths after its middle.
_OVER = math.log(9.0)


@dataclass(frozen=True)
class Transition:
    """The transition of one curve.

    Attributes:
        time: when half of the change is done.
        low: earliest time that fits about as well (95%).
        high: latest.
        over: when 90% of the change is done.
        before: level before.
        after: level after.
        explained: share of the curve's variance that the step explains.
        count: how many times there were.
        found: whether there is a transition to speak of: the step explains at least half of the variance, and its
            interval is less than the whole span.
    """

    time: float
    low: float
    high: float
    over: float
    before: float
    after: float
    explained: float
    count: int
    found: bool


@dataclass(frozen=True)
class Joint:
    """The common transition of several curves.

    Attributes:
        time: when half of the change is done, in all of them.
        low: earliest time that fits about as well (95%).
        high: latest.
        over: median over the curves of when 90% of the change is done.
        each: the transition of each curve by itself.
        used: names of the curves that have one, and were taken together.
    """

    time: float
    low: float
    high: float
    over: float
    each: Mapping[str, Transition]
    used: tuple[str, ...]


def transition(times: Sequence[float] | Numbers, values: Sequence[float] | Numbers, *, unit: float = 0.4) -> Transition:
    """Find when a curve changes over.

    For each middle and width of the step the two levels are found by least squares; the interval holds the middles
    whose sum of squares is within ``1 + F / (n - 4)`` of the least, with F the 95% point of the F distribution (1 and
    n - 4 degrees of freedom). Neighbouring values of a curve are not independent, so read the interval as the least
    there is to doubt.

    Args:
        times: ``[n]``, ascending from 0 on.
        values: ``[n]``; nan is left out.
        unit: time that makes up the scale of ``log(1 + t / unit)``; the time between the first records will do.

    Returns:
        The transition; with fewer than six values, or a curve that is flat, one of nan that was not found.

    Raises:
        BadInput: when times and values do not fit together.
    """
    x, y = _clean(times, values, unit)
    if len(y) < 6 or np.ptp(y) <= 1e-12 * max(1.0, float(np.abs(y).max())):
        return Transition(*(math.nan,) * 6, math.nan, len(y), found=False)
    middles, squares, fits = _profile(x, y)
    best = int(squares.argmin())
    low, high = _within(middles, squares, len(y) - 4)
    width, before, step = fits[best]
    explained = 1.0 - float(squares[best]) / float(((y - y.mean()) ** 2).sum())
    narrow = high - low < 0.9 * (middles[-1] - middles[0])
    after = before + step
    return Transition(
        _time(middles[best], unit),
        _time(low, unit),
        _time(high, unit),
        _time(middles[best] + _OVER * width, unit),
        float(before),
        float(after),
        explained,
        len(y),
        found=bool(explained >= 0.5 and narrow),
    )


def joint_transition(
    curves: Mapping[str, tuple[Sequence[float] | Numbers, Sequence[float] | Numbers]], *, unit: float = 0.4
) -> Joint:
    """Find when several curves change over together.

    Each curve has levels and a width of its own; the middle is common. Curves without a transition of their own are
    left out; each of the others counts by its own noise (log-likelihood of normal residuals).

    Args:
        curves: (times, values) by name; the times may differ.
        unit: as for `transition`.

    Returns:
        The common transition; of nan where no curve has one.
    """
    each = {name: transition(*curve, unit=unit) for name, curve in curves.items()}
    used = tuple(name for name, found in each.items() if found.found)
    if not used:
        return Joint(math.nan, math.nan, math.nan, math.nan, each, ())
    clean = {name: _clean(*curves[name], unit) for name in used}
    first = max(float(x[0]) for x, _ in clean.values())
    last = min(float(x[-1]) for x, _ in clean.values())
    middles = np.linspace(first, last, 5 * _MIDDLES)
    deviance = np.zeros(len(middles))
    for x, y in clean.values():
        own, squares, _ = _profile(x, y)
        # A curve that the step fits to rounding would outvote all others.
        floor = 1e-4 * float(((y - y.mean()) ** 2).sum())
        deviance += (len(y) - 4) * np.log(np.interp(middles, own, squares) + floor)
    best = int(deviance.argmin())
    near = middles[deviance - deviance[best] <= 3.84]  # chi-squared with one degree of freedom
    over = float(np.median([each[name].over for name in used]))
    return Joint(
        _time(middles[best], unit), _time(float(near[0]), unit), _time(float(near[-1]), unit), over, each, used
    )


def _clean(times: Sequence[float] | Numbers, values: Sequence[float] | Numbers, unit: float) -> tuple[Numbers, Numbers]:
    """Log times and values, without gaps."""
    t, y = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if t.ndim != 1 or t.shape != y.shape:
        raise BadInput(f"There are times of shape {list(t.shape)} for values of {list(y.shape)}: give one for each.")
    if not unit > 0:
        raise BadInput(f"unit is {unit}: give a time above 0.")
    known = np.isfinite(t) & np.isfinite(y)
    t, y = t[known], y[known]
    if len(t) and (t[0] < 0 or bool((np.diff(t) <= 0).any())):
        raise BadInput("Times must ascend from 0 or later: sort them, and give one value for each.")
    return np.log1p(t / unit), y


def _profile(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers, list[tuple[float, float, float]]]:
    """Least sum of squares for each middle, and the width, first level and step that reach it."""
    middles = np.linspace(x[0], x[-1], _MIDDLES)
    # From a sudden step between two records to one that takes the whole span.
    widths = np.geomspace(float(np.diff(x).min()) / 10, float(x[-1] - x[0]) / 4, _WIDTHS)
    z = (x[None, None, :] - middles[:, None, None]) / widths[None, :, None]
    s = 1.0 / (1.0 + np.exp(-np.clip(z, -60, 60)))  # [M, W, n]
    centred = s - s.mean(-1, keepdims=True)
    power = (centred**2).sum(-1)
    slope = (centred * (y - y.mean())).sum(-1) / np.maximum(power, 1e-300)
    slope = np.where(power > 1e-12, slope, 0.0)
    squares = ((y - y.mean() - slope[..., None] * centred) ** 2).sum(-1)  # [M, W]
    place = squares.argmin(1)
    fits = []
    for i, j in enumerate(place):
        step = float(slope[i, j])
        fits.append((float(widths[j]), float(y.mean() - step * s[i, j].mean()), step))
    return middles, squares[np.arange(len(middles)), place], fits


def _within(middles: Numbers, squares: Numbers, freedom: int) -> tuple[float, float]:
    """First and last middle that fit about as well as the best."""
    from scipy.stats import f

    limit = squares.min() * (1.0 + float(f.ppf(0.95, 1, freedom)) / freedom) + 1e-300
    near = middles[squares <= limit]
    return float(near[0]), float(near[-1])


def _time(x: float, unit: float) -> float:
    return float(unit * np.expm1(x))
