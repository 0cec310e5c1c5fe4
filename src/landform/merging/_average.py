"""Averages along a run: SWA, LAWA, EMA."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.layout import Layout
from landform.merging._ask import ask, nearest
from landform.merging._linear import MEAN
from landform.merging._merge import Merge, walked
from landform.merging._sources import Buffers, Sources, read_sources
from landform.recording import Trajectory

How: TypeAlias = Literal["swa", "lawa", "ema"]

# How many points LAWA takes, and what share of EMA's weight stays at each, where nobody says.
_LAST, _DECAY = 6, 0.9
# What a point is called in a record's file.
_POINT = "point"


def average(
    points: Trajectory | Sequence[Tensor] | Tensor,
    *,
    how: How = "swa",
    since: float | None = None,
    until: float | None = None,
    every: float | None = None,
    last: int | None = None,
    decay: float | None = None,
    half_life: float | None = None,
    data: Landscape | None = None,
    layout: Layout | None = None,
    buffers: Sequence[Buffers] | None = None,
) -> Merge:
    """Average the points of a run.

    A run is read a tensor at a time from its files, each of which is verified first; memory holds one tensor of every
    point.

    Args:
        points: a run, or points ``[n, P]`` in the order of time. Times are in epochs, or places from 0.
        how: ``"swa"``: the mean of the points since a time (Izmailov et al. 2018); ``"lawa"``: the mean of the last few
            (Kaddour 2022); ``"ema"``: from each point to the next the average keeps the share ``decay`` of itself and
            takes the rest from the point; it begins as the first.
        since: the earliest time; for ``"swa"`` three quarters of the way to the end if not given.
        until: the latest time; the end if not given.
        every: how far two points have to be apart, counted back from the end; 1 for ``"lawa"`` and any distance for the
            others if not given.
        last: how many points ``"lawa"`` takes, 6 if not given, or as many as there are.
        decay: of ``"ema"``, in [0, 1), at each point; 0.9 if not given.
        half_life: of ``"ema"``, instead of a decay: the time after which a point counts half; right for points that lie
            unevenly in time.
        data: to find BatchNorm's statistics anew; without it those of the records are averaged.
        layout: of points that are given as they are.
        buffers: of such points.

    Returns:
        The average. Deltas are from the last point: ``norm`` is how far the average lies from the end.

    Raises:
        BadInput: when there are not two points to average, or a setting belongs to another way.
        Damaged: when a record's file is.
    """
    if how not in ("swa", "lawa", "ema"):
        raise BadInput(
            f"There is no average {how!r}{nearest(str(how), ('swa', 'lawa', 'ema'))}: give swa, lawa or ema."
        )
    if not isinstance(points, Trajectory | Tensor | Sequence) or isinstance(points, str):
        raise BadInput(f"points is a {type(points).__name__}: give a run, lf.Trajectory(folder), or points [n, P].")
    for name, value, owner in (("last", last, "lawa"), ("decay", decay, "ema"), ("half_life", half_life, "ema")):
        if value is not None and how != owner:
            raise BadInput(f"{name} belongs to {owner!r}, and how is {how!r}: leave it out, or give how={owner!r}.")
    times = list(points.epochs) if isinstance(points, Trajectory) else [float(i) for i in range(len(points))]
    chosen = _chosen(times, how, since, until, every, last)
    weights = [1.0] * len(chosen)
    if how == "ema":
        weights = _fading([times[i] for i in chosen], decay, half_life)
    sources = _sources(points, chosen, layout, buffers)
    names = [f"the point at {times[i]:g}" for i in chosen]
    asked = ask(MEAN, names, base=True, weights=weights)
    settings: dict[str, Any] = {"since": since, "until": until, "every": every}
    if how != "swa":
        settings |= {"last": last} if how == "lawa" else {"decay": decay, "half_life": half_life}
    facts = {"points": f"{len(chosen)} from {times[chosen[0]]:g} to {times[chosen[-1]]:g}"}
    if data is not None and (not isinstance(data, Landscape) or data.layout.size != len(sources.room)):
        raise BadInput("data is no landscape of this run's model: give lf.Landscape(model, data).")
    found = walked(MEAN, sources, asked, data)
    return replace(found, method=how, settings=settings, facts={**facts, **found.facts})


def _chosen(
    times: Sequence[float],
    how: How,
    since: float | None,
    until: float | None,
    every: float | None,
    last: int | None,
) -> list[int]:
    """Places of the points to average, in order."""
    for name, value in (("since", since), ("until", until), ("every", every)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value)):
            raise BadInput(f"{name} is {value!r}: give a time, a number.")
    if last is not None and (isinstance(last, bool) or not isinstance(last, int) or last < 2):
        raise BadInput(f"last is {last!r}: give a whole number of at least 2.")
    end = min([times[-1] if times else 0.0, *([] if until is None else [until])])
    begin = since if since is not None else 0.75 * end if how == "swa" else -math.inf
    apart = every if every is not None else 1.0 if how == "lawa" else 0.0
    found: list[int] = []
    for i in reversed(range(len(times))):
        if begin <= times[i] <= end and (not found or times[found[-1]] - times[i] >= apart * (1 - 1e-9)):
            found.append(i)
    if how == "lawa":
        found = found[: last or _LAST]
    if len(found) < 2:
        told = f", at least {apart:g} apart," if apart else ""
        raise BadInput(
            f"There are {len(times)} points, of which {len(found)} lie{told} from {max(begin, 0):g} to {end:g}: an "
            "average takes two or more; give an earlier since= or a smaller every=."
        )
    return found[::-1]


def _fading(times: Sequence[float], decay: float | None, half_life: float | None) -> list[float]:
    """Weights of an exponential moving average that begins as the first point; they sum to one."""
    if decay is not None and half_life is not None:
        raise BadInput("Both decay and half_life are given: give one of them.")
    for name, value, most in (("decay", decay, 1.0), ("half_life", half_life, math.inf)):
        fits = value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < most)
        if not fits or (name == "half_life" and value == 0):
            raise BadInput(f"{name} is {value!r}: give a number {'in [0, 1)' if most == 1 else 'above 0'}.")
    weights = [1.0]
    for before, now in itertools.pairwise(times):
        keep = 2 ** (-(now - before) / half_life) if half_life is not None else _DECAY if decay is None else decay
        weights = [keep * weight for weight in weights] + [1 - keep]
    return weights


def _sources(
    points: Trajectory | Sequence[Tensor] | Tensor,
    chosen: Sequence[int],
    layout: Layout | None,
    buffers: Sequence[Buffers] | None,
) -> Sources:
    if not isinstance(points, Trajectory):
        whole = read_sources(points, None, layout, buffers)
        own = tuple(whole.buffers[i] for i in chosen) if whole.buffers else ()
        rows = tuple(whole.points[i] for i in chosen)
        return Sources(rows, rows[-1], whole.layout, own)
    if layout is not None or buffers is not None:
        raise BadInput("A run knows its layout and its buffers: leave layout= and buffers= out.")
    room = torch.empty(0)
    seen: list[Tensor] = []
    held: list[Mapping[str, Any]] = []
    for i in chosen:
        record = points.records[i]
        if not len(room):
            room = torch.empty(points.layout.size, dtype=record.file.entries[_POINT].dtype)
        record.read_point(room)  # the checksum is verified here; what is mapped is not
        seen.append(record.file.map(_POINT))
        held.append(record.buffers)
    return Sources(tuple(seen), seen[-1], points.layout, tuple(held), record.dtype)
