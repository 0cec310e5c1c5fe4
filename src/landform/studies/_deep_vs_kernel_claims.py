"""What Fort et al. 2020 claim, as numbers, and the verdict on each.

The definitions are those of the paper where it gives any; where it gives none, ours stands in ``definition``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from landform.atlas import Atlas
from landform.series import Interval, interval
from landform.studies._claim import Claim, Verdict
from landform.studies._family import Bundle, Numbers
from landform.studies._moving import advantage, read, together
from landform.studies._protocol import Protocol

PAPER = "Fort et al. 2020"
# A barrier below this share of wrong labels is noise: Frankle et al. call runs stable below 2%.
STABLE = 0.02
# The paper's "2-3 epochs" and "3-4 epochs", with a little room for the grid of times.
BASIN, EARLY = 3.5, 4.4
_HARDLY = 0.03  # difference of two errors of which no shares are told

Judged = tuple[Interval, Verdict, str]


def claims_of(protocol: Protocol, atlases: Sequence[Atlas], scale: str) -> list[Claim]:
    """Hold the paper's claims against what was measured.

    Args:
        protocol: the study's.
        atlases: of the parents.
        scale: its name.

    Returns:
        The claims, in the paper's order.
    """
    told = protocol.to_json()
    settings = {
        "scale": scale,
        **{key: told[key] for key in ("data", "model", "recipe", "children", "onset", "kernel")},
    }
    found = []
    for name, statement, definition, expected, judge in _CLAIMS:
        value, verdict, why = judge(protocol, atlases)
        sure = math.isfinite(value.mean)
        found.append(
            Claim(
                id=name,
                paper=PAPER,
                statement=statement,
                definition=definition,
                expected=expected,
                value=value.mean if sure else None,
                interval=(value.low, value.high) if sure and math.isfinite(value.low) else None,
                seeds=value.count or len(atlases),
                verdict=verdict if sure or verdict != "reproduced" else "not measured",
                why=why,
                settings=settings,
            )
        )
    return found


# ------------------------------------------------------------------------------------------------------- each claim


def _basin(protocol: Protocol, atlases: Sequence[Atlas]) -> Judged:
    barrier = read(atlases, "children_barrier_error", "test")
    if not barrier:
        return _absent("no two children were measured")
    first = interval(barrier.at(0.0)).mean
    times = [_falls_to(barrier.epochs, row, 0.1) for row in barrier.values]
    found = interval(times)
    if not first > STABLE:
        one = "with this step there is one basin from the beginning"
        return found, "not at this scale", f"children that leave at the start are {first:.1%} apart already: {one}"
    if found.count < len(times):
        return (
            found,
            "contradicted",
            f"it has not fallen to a tenth of {first:.1%} at the last spawn time of every seed",
        )
    share = found.mean / protocol.recipe.epochs
    text = f"it falls from {first:.1%} to a tenth within {found.mean:.1f} epochs, {share:.0%} of the training"
    if found.mean <= BASIN:
        return found, *_sure(found, text, high=2 * BASIN)
    return found, "in part" if share <= 0.5 else "contradicted", text


def _threefold(protocol: Protocol, atlases: Sequence[Atlas]) -> Judged:
    green = read(atlases, "onset_linearised", "test")
    early = _early(green)
    if early is None:
        return _absent("the linearised network was not trained both from the start and from epochs 3 to 4")
    found = interval(_ratio(green.at(0.0), green.values[:, early]))
    before_end = green.mean[green.epochs < protocol.recipe.epochs]
    later = green.mean[0] / np.nanmin(before_end)
    text = f"by epoch {green.epochs[early]:.1f} the error falls by a factor of {found.mean:.1f}"
    if found.mean >= 2.7:
        return found, *_sure(found, text, low=2.0)
    if found.mean >= 2.0:
        return found, "in part", text
    text += f", and by {later:.1f} at most later on"
    if later >= 2.0:
        return found, "not at this scale", f"{text}, when this run's longer transient is over"
    return found, "contradicted", text


def _gap(protocol: Protocol, atlases: Sequence[Atlas]) -> Judged:
    green, own = read(atlases, "onset_linearised", "test"), read(atlases, "error", "test")
    early = _early(green)
    if early is None or not own:
        return _absent("there is no onset within 4 epochs")
    first, then = green.at(0.0), green.values[:, early]
    gap = first - own.at(protocol.recipe.epochs)
    if interval(gap).mean < _HARDLY:  # shares of next to nothing would say nothing of the kernel
        first_kernel, end = interval(first).mean, interval(own.at(protocol.recipe.epochs)).mean
        text = f"the initial kernel's error is {first_kernel:.1%} and the run's own at its end {end:.1%}"
        return interval([]), "not at this scale", f"{text}: there is hardly a gap to close"
    found = interval(_ratio(first - then, gap))
    text = f"{found.mean:.0%} of the gap is closed by epoch {green.epochs[early]:.1f}"
    if found.mean > 1:
        return found, "in part", f"{text}: by then the linearised network is better than the run's own end"
    if found.mean >= 2 / 3:
        return found, *_sure(found, text, low=1 / 3)
    if found.mean >= 1 / 3:
        return found, "in part", text
    return found, "not at this scale", f"{text}: this run learns its features later"


def _velocity_falls(protocol: Protocol, atlases: Sequence[Atlas]) -> Judged:
    rates = _speed(atlases)
    if not rates:
        return _absent("kernel velocity was not measured")
    within = min(5.0, 0.25 * protocol.recipe.epochs)
    late = _window(rates, 0.5 * protocol.recipe.epochs, 0.9 * protocol.recipe.epochs)
    found = interval(_ratio(_peak(rates, within), late))
    text = f"at its highest in the first {within:g} epochs it is {found.mean:.1f} times that of the second half"
    fallen = _fallen(rates.epochs, rates.mean, within, float(late.mean()))
    text += f", and half of the fall is over by epoch {fallen:.2g}" if math.isfinite(fallen) else ""
    if found.mean >= 2:
        return found, *_sure(found, text, low=1.0)
    return found, "in part" if found.mean > 1.5 else "contradicted", text


def _velocity_stays(protocol: Protocol, atlases: Sequence[Atlas]) -> Judged:
    rates = _speed(atlases)
    if not rates:
        return _absent("kernel velocity was not measured")
    epochs = protocol.recipe.epochs
    late = interval(_window(rates, 0.5 * epochs, 0.9 * epochs))
    found = interval(_ratio(_window(rates, 0.7 * epochs, 0.9 * epochs), _window(rates, 0.5 * epochs, 0.7 * epochs)))
    if not math.isfinite(found.mean):
        return _absent("there are too few times in the second half")
    if not late.mean > 0.02 * float(np.nanmax(rates.mean)):
        return found, "contradicted", "the kernel comes to rest"
    text = f"it stays above zero, and changes by a factor of {found.mean:.2f} within the second half"
    if 2 / 3 <= found.mean <= 1.5:
        return found, *_sure(found, text, low=0.5, high=2.0)
    return found, "in part", text


def _meets(protocol: Protocol, atlases: Sequence[Atlas]) -> Judged:
    green, blue = read(atlases, "onset_linearised", "test"), read(atlases, "onset_nonlinear", "test")
    own, epochs = read(atlases, "error", "test"), protocol.recipe.epochs
    if not green or not own:
        return _absent("the linearised network was not trained")
    found = interval(
        [_meets_at(green.epochs, row, end) / epochs for row, end in zip(green.values, own.at(epochs), strict=True)]
    )
    twins = zip(green.values, blue.values, strict=True) if green.values.shape == blue.values.shape else ()
    fair = interval([_meets_at(green.epochs, row, other) / epochs for row, other in twins])
    if not math.isfinite(found.mean):
        return found, "contradicted", "the linearised network never comes within 1% of the trained one"
    twin = f"at {fair.mean:.0%}" if math.isfinite(fair.mean) else "at no time"
    text = f"it meets the parent's end at {found.mean:.0%} of the training, and its nonlinear twin {twin}"
    if 0.15 <= found.mean <= 0.45:
        return found, *(_sure(found, text, high=0.6) if fair.mean <= 0.45 else ("in part", text))
    if found.mean < 0.15:
        return found, "in part", f"{text}: earlier than the paper says"
    if found.mean < 0.95:
        return found, "not at this scale", f"{text}: the transient takes a larger part of so short a training"
    return found, "contradicted", text


def _advantage(protocol: Protocol, atlases: Sequence[Atlas]) -> Judged:
    gain = advantage(atlases)
    late = gain.epochs >= 0.5 * protocol.recipe.epochs
    if not gain or not late.any():
        return _absent("blue and green were not both trained, at the start and in the second half")
    first, rest = interval(gain.at(0.0)).mean, np.nanmean(gain.values[:, late], axis=1)
    found = interval(_ratio(rest, gain.at(0.0)))
    text = f"it is {first:.1%} at the start and {np.nanmean(rest):.1%} in the second half"
    if first < STABLE:
        return found, "not at this scale", f"there is no advantage to begin with ({first:.1%})"
    if found.mean <= 0.1:
        return found, *_sure(found, text, high=0.3)
    return found, "in part" if found.mean <= 0.3 else "contradicted", text


def _distances(protocol: Protocol, atlases: Sequence[Atlas]) -> Judged:
    apart = read(atlases, "children_kernel_distance", "test")
    if not apart or apart.values.shape[1] < 2:
        return _absent("no two children were measured")
    last = interval(apart.values[:, -1])
    found = interval(_ratio(apart.values[:, -1], apart.values[:, 0]))
    if not last.mean > 0.005:
        return found, "contradicted", "children of the last spawn time end with the same kernel"
    turns = "falls" if found.mean < 1 else "rises"
    text = f"it {turns} to {found.mean:.0%} of its first value, and stays at {last.mean:.2f}"
    if found.mean < 0.9:
        return found, *_sure(found, f"{text}: children of one basin still end with different kernels", high=1.0)
    return found, "in part", text


def _together(protocol: Protocol, atlases: Sequence[Atlas]) -> Judged:
    tables = together(atlases, protocol.spawns)
    if not tables:
        return _absent("fewer than two measures have four times in common")
    pairs = np.tril_indices(len(tables[0].names), -1)
    found = interval([float(np.nanmedian(np.abs(table.rho[pairs]))) for table in tables])
    chances = [table.chance[pairs][np.isfinite(table.chance[pairs])] for table in tables]
    beyond = float(np.mean([(each < 0.05).mean() if len(each) else math.nan for each in chances]))
    text = f"the median |rho| of all pairs is {found.mean:.2f}; {beyond:.0%} of them go beyond a common trend"
    if found.mean >= 0.7 and beyond >= 0.25:
        return found, *_sure(found, text, low=0.5)
    return found, "in part" if found.mean >= 0.5 else "contradicted", text


_CLAIMS = (
    (
        "basin-fixed-early",
        "the final linearly connected basin is determined within 2-3 epochs",
        "epoch at which the barrier in test error between finished children (maximum over the straight line less the "
        "mean of its ends) is a tenth of that at spawn 0, between spawn times on a straight line",
        "2 to 3 epochs (200 in all)",
        _basin,
    ),
    (
        "kernel-improves-threefold",
        "the kernel after less than 3-4 epochs beats the initial one by a factor of 3",
        "test error of the linearised network trained from the start, over that trained from the last onset within 4 "
        "epochs (both at the end of their training)",
        "3 (error 0.6 to 0.2)",
        _threefold,
    ),
    (
        "kernel-closes-the-gap",
        "the kernel of the first epochs has most of what full training gains",
        "(linearised from the start - linearised from the last onset within 4 epochs) / (linearised from the start - "
        "the parent at its end), test errors: the threefold claim in a form that the parent's own error does not bound",
        "at least 2/3",
        _gap,
    ),
    (
        "velocity-falls",
        "the kernel's velocity falls early in training",
        "velocity S(t, t + 0.4 epochs) / dt per learning rate at its highest in the first 5 epochs (a quarter of a "
        "shorter training), a mean over three recorded times in a row, over its mean from 50% to 90% of the training",
        "well above 1 (falls within about 5 epochs)",
        _velocity_falls,
    ),
    (
        "velocity-stays",
        "after the transient the kernel moves on at constant, non-zero velocity",
        "mean velocity per learning rate over 70-90% of the training, over that of 50-70%",
        "1 (a constant), with velocity above 0",
        _velocity_stays,
    ),
    (
        "kernel-meets-training",
        "the kernel machine matches the fully trained network at 15-45% of training time",
        "first time, as a share of the training, from which on the test error of the linearised network trained from "
        "there is within 1% of the parent's at its end (purple); the fair test is against low-step training from the "
        "same time (blue), since that also lets a noisy parent come to rest",
        "15% to 45%",
        _meets,
    ),
    (
        "advantage-is-early",
        "what nonlinear training gains over the kernel is confined to the early transient",
        "nonlinear advantage (test error of linearised less that of low-step nonlinear training from the same point), "
        "mean over onsets in the second half of training, over that at the start",
        "about 0",
        _advantage,
    ),
    (
        "children-keep-apart",
        "distances between children fall with the spawn time; in one basin their kernels still keep a distance",
        "kernel distance between finished children, that of the last spawn time over that of the first",
        "below 1, and not 0",
        _distances,
    ),
    (
        "measures-move-together",
        "all these measures are strikingly correlated over training time",
        "median over all pairs of measures of |Spearman's rho| at the spawn times; beside it the share of pairs whose "
        "rho is beyond 95% of shuffles that keep each curve's start, end and steps",
        "near 1",
        _together,
    ),
)


# --------------------------------------------------------------------------------------------------------- the parts


def _absent(why: str) -> Judged:
    return interval([]), "not measured", why


def _sure(found: Interval, text: str, *, low: float = -math.inf, high: float = math.inf) -> tuple[Verdict, str]:
    """*Reproduced*, unless the seeds are so far apart that their interval leaves the bounds."""
    if found.count > 1 and (found.low < low or found.high > high):
        return "in part", f"{text}; the seeds are too far apart to settle it"
    return "reproduced", text


def _ratio(above: Numbers, below: Numbers) -> Numbers:
    """``above / below``; nan where that has no meaning."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=np.isfinite(below) & (below != 0))


def _speed(atlases: Sequence[Atlas]) -> Bundle:
    """Kernel velocity per learning rate, or plain where the rate is not known."""
    rates = read(atlases, "kernel_velocity_per_lr", "test")
    return rates if rates else read(atlases, "kernel_velocity", "test")


def _early(green: Bundle) -> int | None:
    """The last onset within the paper's 3-4 epochs, which is not the start."""
    near = np.flatnonzero((green.epochs > 0) & (green.epochs <= EARLY))
    return int(near[-1]) if len(near) else None


def _falls_to(epochs: Numbers, values: Numbers, share: float) -> float:
    """When a curve first reaches a share of its first value, between its times on a straight line; nan if never."""
    known = np.isfinite(values)
    t, y = epochs[known], values[known]
    for i in range(1, len(y)):
        if y[i] <= share * y[0]:
            return float(t[i - 1] + (t[i] - t[i - 1]) * (y[i - 1] - share * y[0]) / (y[i - 1] - y[i]))
    return math.nan


def _window(one: Bundle, low: float, high: float) -> Numbers:
    """Mean over some time, for each seed."""
    inside = one.values[:, (one.epochs >= low) & (one.epochs <= high)]
    if not np.isfinite(inside).any(1).all():
        return np.full(len(one.values), np.nan)
    return np.asarray(np.nanmean(inside, axis=1))


def _peak(one: Bundle, until: float) -> Numbers:
    """The highest mean over three times in a row (or all there are) up to some time, for each seed."""
    inside = one.values[:, one.epochs <= until]
    peaks = np.full(len(inside), np.nan)
    for seed, row in enumerate(inside):
        if len(known := row[np.isfinite(row)]):
            some = min(3, len(known))
            peaks[seed] = np.convolve(known, np.full(some, 1 / some), "valid").max()
    return peaks


def _fallen(epochs: Numbers, values: Numbers, until: float, level: float) -> float:
    """When a curve is first halfway down from its highest value up to some time to a level; nan if never."""
    known = np.isfinite(values)
    t, y = epochs[known], values[known]
    if not (early := t <= until).any():
        return math.nan
    top = int(np.argmax(np.where(early, y, -np.inf)))
    down = np.flatnonzero(y[top:] <= (y[top] + level) / 2)
    return float(t[top + down[0]]) if len(down) else math.nan


def _meets_at(epochs: Numbers, green: Numbers, goal: float | Numbers) -> float:
    """When green comes within 1% of its goal for good, between its times on a straight line; nan if never."""
    above = green - goal - 0.01
    known = np.isfinite(above)
    t, y = epochs[known], above[known]
    if not len(y) or y[-1] > 0:
        return math.nan
    place = len(y) - 1
    while place > 0 and y[place - 1] <= 0:
        place -= 1
    if place == 0:
        return float(t[0])
    return float(t[place - 1] + (t[place] - t[place - 1]) * y[place - 1] / (y[place - 1] - y[place]))
