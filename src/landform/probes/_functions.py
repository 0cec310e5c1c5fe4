"""Probes of the function along a run: how far it is from the first record, from the last, from the one before."""

from __future__ import annotations

import math
from contextlib import suppress

from landform.functions import NoFunction, compare, units
from landform.probes._moment import Moment
from landform.probes._probe import Probe
from landform.recording import Record


def _between(moment: Moment, other: Record, name: str, *, patterns: bool) -> dict[str, float]:
    """The function at the moment against that at another record; nan where one of the two has diverged."""
    landscape = moment.landscape
    # The same quantities at all times, also where there is nothing to measure.
    keys = ["output_distance", "logit_cosine"]
    keys += ["disagreement", "softmax_distance"] if landscape.has_labels else []
    keys += ["activation_distance"] if patterns and units(landscape) else []
    found = dict.fromkeys(keys, math.nan)
    with suppress(NoFunction):
        seen = compare(landscape, other.point, moment.point, patterns=patterns, buffers=(None, moment.buffers))
        for key in keys:
            value = getattr(seen.patterns, "total", None) if key == "activation_distance" else getattr(seen, key)
            found[key] = math.nan if value is None else float(value)
    return {f"{key}_{name}": value for key, value in found.items()}


def _from_start(moment: Moment, *, patterns: bool) -> dict[str, float]:
    return _between(moment, moment.start, "from_start", patterns=patterns)


def _to_end(moment: Moment, *, patterns: bool) -> dict[str, float]:
    return _between(moment, moment.trajectory.records[-1], "to_end", patterns=patterns)


def _step(moment: Moment, *, patterns: bool) -> dict[str, float]:
    return _between(moment, moment.before, "step", patterns=patterns)


function_from_start = Probe(
    "function_from_start",
    _from_start,
    settings={"patterns": True},
    needs=("landscape", "start"),
    doc="distance of the function from that of the run's first record: labels, softmax, activation patterns",
    cost=1.0,
)
function_to_end = Probe(
    "function_to_end",
    _to_end,
    settings={"patterns": True},
    needs=("landscape", "trajectory"),
    doc="distance of the function from that of the run's last record: labels, softmax, activation patterns",
    cost=1.0,
)
function_step = Probe(
    "function_step",
    _step,
    settings={"patterns": True},
    needs=("landscape", "before"),
    doc="distance of the function from that of the record before: labels, softmax, activation patterns",
    cost=1.0,
)
