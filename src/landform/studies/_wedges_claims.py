"""What the wedge picture says, held against the study's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from landform.studies._claim import Claim
from landform.studies._emergent_numbers import by_seed
from landform.studies._held import Given, graded, hold, said, small
from landform.studies._parts import Found
from landform.studies._wedges_protocol import WedgesProtocol
from landform.theory import wedges

_FORT = "Fort & Jastrzebski 2019"
Part = Mapping[str, Any]
# A barrier below this is none.
_NONE = 0.02


def claims_of_wedges(protocol: WedgesProtocol, found: Found, scale: str) -> list[Claim]:
    """Hold each claim against what was measured.

    Args:
        protocol: the study's.
        found: by kind of part.
        scale: its name.

    Returns:
        The claims.
    """
    settings = {
        "scale": scale,
        "data": protocol.subject.data,
        "model": protocol.subject.model,
        "threshold": protocol.threshold,
        "steps": protocol.steps,
    }
    every = (*_toy(found), *_connected(found), *_apart(protocol, found), *_tunnels(protocol, found), *_cycles(found))
    return [hold(given, settings) for given in every]


def _toy(found: Found) -> list[Given]:
    laws = (
        ("toy-planes", "random planes meet a wedge from d = D - n on, with a loss of L_0 sqrt(1 - d/s) below",
         "mean difference of the lowest loss to one wedge from that law, over the loss without a plane",
         lambda case: [(p["one"] - p["one_law"]) / case["start"] for p in case["planes"]]),
        ("toy-line", "the line between optima of two wedges has a barrier of 0.5 sqrt(s (1 - s/D))",
         "relative difference of the simulated barrier from the law",
         lambda case: [case["line"] / case["line_law"] - 1]),
        ("toy-tunnel", "a tunnel is L sqrt(D/s) wide along a random line",
         "relative difference of the simulated half-width from the law",
         lambda case: [case["tunnel"] / case["tunnel_law"] - 1]),
        ("toy-common", "m wedges have D (1 - s/D)^m dimensions in common",
         "relative difference of the simulated dimension from the law",
         lambda case: [a / b - 1 for a, b in zip(case["common"], case["common_law"], strict=True)]),
    )  # fmt: skip
    given = [
        Given(
            id, f"{_FORT}, section 2 (laws derived here)", statement, definition, "within 0.05",
            by_seed(found, "toy", _over_cases(take)),
            small(0.05, 0.15, "law and simulation differ by {:.1%}"),
        )
        for id, statement, definition, take in laws
    ]  # fmt: skip
    return [
        *given,
        Given(
            "toy-middle", "ours, after the notes",
            "bringing down the loss of the middle alone does not find the connector, the loss of the whole way does",
            "barrier left over that of the straight line, when the middle alone is brought down (0 where the common "
            "part is taken)",
            "well above 0",
            by_seed(found, "toy", lambda part: float(np.mean([c["middle"] / c["line"] for c in part["cases"]]))),
            said(0.3, 0.1, "{:.0%} of the barrier is left"),
        ),
    ]  # fmt: skip


def _connected(found: Found) -> list[Given]:
    return [
        Given(
            "pair", f"{_FORT}, section 3; Garipov et al. 2018",
            "two optima that a barrier parts are joined by a curve of low loss",
            "loss barrier on a trained curve over that on the straight line",
            "near 0",
            by_seed(found, "optima", lambda p: _over(max(0.0, p["curve"]), p["straight"][0])),
            small(0.1, 0.5, "{:.0%} of the barrier is left"),
            "there is no barrier to begin with",
        ),
        Given(
            "connector", f"{_FORT}, abstract",
            "low-loss subspaces connect a set of optima, not only a pair",
            "mean loss over the connector of the most optima, less theirs, over that of the plain simplex",
            "near 0",
            by_seed(found, "optima", lambda part: joined(part["joined"][-1], "mean")),
            small(0.1, 0.5, "{:.0%} of the loss is left"),
            "there is no loss between the optima to begin with",
        ),
        Given(
            "equal", f"{_FORT}: wedges of one kind",
            "barriers between independent optima are about equal",
            "standard deviation over mean of the loss barriers of all pairs",
            "well below 1",
            by_seed(found, "optima", _spread),
            small(0.35, 0.7, "they vary by {:.0%}"),
            "there is no barrier to begin with",
        ),
        Given(
            "midpoint", f"{_FORT}, section 3; ours",
            "the middle's loss, brought down at right angles to the line, is enough",
            "highest loss above the ends on the way over a middle trained alone, less that on the curve, over the "
            "straight barrier",
            "near 0, where the toy says that a barrier is left",
            by_seed(found, "optima", lambda p: _over(max(0.0, p["midpoint"] - max(0.0, p["curve"])), p["straight"][0])),
            small(0.1, 0.5, "{:.0%} of the barrier is left"),
            "there is no barrier to begin with",
        ),
    ]  # fmt: skip


def _apart(protocol: WedgesProtocol, found: Found) -> list[Given]:
    return [
        Given(
            "angles", f"{_FORT}: the toy",
            "optima of independent starts are at right angles, seen from the origin",
            "mean angle in degrees",
            "90",
            by_seed(found, "optima", lambda part: float(np.mean(part["angles"]))),
            lambda value: (graded(-abs(value - 90), -5.0, -20.0), f"the mean angle is {value:.1f} degrees"),
        ),
        Given(
            "radial", f"{_FORT}, section 3",
            "tunnels of low loss extend along the radius, and are narrow across",
            "length of low loss along the radius, over that along the arc towards another optimum (both ways taken "
            "alike), at the tunnels' threshold",
            "well above 1",
            by_seed(found, "optima", lambda part: radial(part, protocol.threshold)),
            said(1.5, 1.0, "they are {:.1f} times as long as wide"),
        ),
        Given(
            "functions", f"{_FORT}; Fort, Hu & Lakshminarayanan 2019",
            "optima of one wedge say much the same, those of different wedges do not",
            "share of test labels on which snapshots of the smallest cycles differ, over that of independent optima",
            "well below 1",
            _same_function(found),
            small(0.6, 0.9, "they differ on {:.2f} as many labels"),
        ),
    ]  # fmt: skip


def _tunnels(protocol: WedgesProtocol, found: Found) -> list[Given]:
    wider = {
        "learning rate": "a larger learning rate", "L2": "more L2", "batch size": "a smaller batch",
        "dropout": "more dropout", "width": "a wider network",
    }  # fmt: skip
    given = [
        Given(
            f"tunnel-{knob.replace(' ', '-')}", f"{_FORT}, section 4",
            f"{wider[knob]} leads to wider tunnels",
            "width over the norm of the weights at the last value of the knob over that at the first (raw and "
            "filter-normalised widths are in the table)",
            "above 1",
            by_seed(found, "tunnels", lambda part, knob=knob: widened(part, knob, "relative")),  # type: ignore[misc]
            said(1.1, 1.0, "the tunnel is {:.2f} times as wide"),
            "a network lies above the threshold",
        )
        for knob in protocol.knobs
    ]  # fmt: skip
    return [
        *given,
        Given(
            "together", f"{_FORT}, abstract",
            "learning rate, width and L2 act in similar ways, by the large-scale curvature of where they lead",
            "share of these knobs whose last value has less large-scale curvature than the first",
            "1",
            by_seed(found, "tunnels", flattened),
            said(0.99, 0.5, "{:.0%} of the knobs make it flatter"),
        ),
    ]  # fmt: skip


def _cycles(found: Found) -> list[Given]:
    return [
        Given(
            "cycle-barrier", f"{_FORT}, section 5",
            "cycles of a small learning rate stay in one tunnel, those of a large one change it",
            "barrier between consecutive snapshots with the largest cycles less that with the smallest",
            "above 0",
            by_seed(found, "cycles", lambda part: _barrier(part, -1) - _barrier(part, 0)),
            said(0.05, 0.01, "the barrier grows by {:.2f}"),
        ),
        Given(
            "swa", f"{_FORT}, section 5; Izmailov et al. 2018",
            "the mean of snapshots is better than they are, where they share a tunnel",
            "mean test error of the snapshots less that of their mean, cycles with barriers below 0.02",
            "above 0",
            by_seed(found, "cycles", _averaged),
            said(0.001, -0.001, "the mean is better by {:.2%}"),
            "snapshots of all cycles have barriers between them",
        ),
        Given(
            "ensembles", f"{_FORT}, section 5; Garipov et al. 2018",
            "an ensemble gains more from snapshots of large cycles, which differ as functions",
            "share of labels on which consecutive snapshots differ, the largest cycles less the smallest",
            "above 0",
            by_seed(found, "cycles", lambda part: _differ(part, -1) - _differ(part, 0)),
            said(0.01, 0.0, "they differ on {:.1%} more labels"),
        ),
        Given(
            "fit", f"{_FORT}, section 2; Li et al. 2018",
            "losses in random planes of a network follow the toy's square-root law",
            "root of the mean squared difference of the losses from the fitted law, over the loss at the start",
            "near 0",
            by_seed(found, "planes", lambda part: fitted(part)[1]),
            small(0.05, 0.15, "it is off by {:.1%}"),
        ),
    ]  # fmt: skip


def joined(told: Mapping[str, float], which: str) -> float:
    """What is left of the loss between optima on a trained connector.

    Args:
        told: of the connector.
        which: ``"mean"`` or ``"highest"``.

    Returns:
        The share; nan where there was none.
    """
    plain = told[f"plain_{which}"] - told["ends"]
    return max(0.0, told[which] - told["ends"]) / plain if plain > _NONE else math.nan


def radial(part: Part, threshold: float = 1.0) -> float:
    """Length of low loss along the radius over that along the arc.

    Args:
        part: of optima.
        threshold: the loss that ends it.

    Returns:
        The ratio, both lengths in units of the optimum's norm; outwards is compared with one way along the arc.
    """
    scales, degrees = part["scales"], part["degrees"]
    here = scales.index(1.0)
    out = crossing(scales[here:], part["radial"][here:], threshold) - 1
    inwards = 1 - crossing(scales[here::-1], part["radial"][here::-1], threshold)
    across = math.radians(crossing(degrees, part["angular"], threshold))
    return 0.5 * (out + inwards) / across if across > 0 else math.nan


def crossing(x: Sequence[float], losses: Sequence[float | None], threshold: float) -> float:
    """Where a curve of losses first passes a threshold, between two places in a line.

    Args:
        x: places, in the order in which they are passed.
        losses: there.
        threshold: the loss.

    Returns:
        The place; the last where none is above.
    """
    values = [math.inf if loss is None else loss for loss in losses]
    for i, value in enumerate(values):
        if value > threshold:
            if not i:
                return float(x[0])
            rise = value - values[i - 1]
            share = 0.0 if math.isinf(rise) else (threshold - values[i - 1]) / rise
            return float(x[i - 1] + share * (x[i] - x[i - 1]))
    return float(x[-1])


def widened(part: Part, knob: str, unit: str) -> float:
    """Width of the tunnel at the last value of a knob over that at the first.

    Args:
        part: of tunnels.
        knob: which.
        unit: ``"raw"``, ``"relative"`` or ``"filter"``.

    Returns:
        The ratio; nan where one of them is not known.
    """
    told = part["knobs"].get(knob, ())
    first, last = (told[0][unit], told[-1][unit]) if told else (None, None)
    return last / first if first and last else math.nan


def flattened(part: Part) -> float:
    """Share of learning rate, width and L2 that make the large-scale curvature less."""
    known = [
        told[-1]["large"] < told[0]["large"]
        for knob, told in part["knobs"].items()
        if knob in ("learning rate", "L2", "width") and told[0]["large"] and told[-1]["large"]
    ]
    return sum(known) / len(known) if known else math.nan


def fitted(part: Part) -> tuple[float, float]:
    """The toy's wedge that random planes of a network are like.

    Args:
        part: of planes.

    Returns:
        Short directions s, and how far the law is off, over the loss at the start.
    """
    found = wedges.fit_wedge(part["parameters"], part["dimensions"], part["losses"])
    return found.short, found.residual


def _over_cases(take: Callable[[Part], Sequence[float]]) -> Callable[[Part], float]:
    return lambda part: float(np.mean([abs(v) for case in part["cases"] for v in take(case)]))


def _over(value: float, straight: float) -> float:
    return value / straight if straight > _NONE else math.nan


def _spread(part: Part) -> float:
    heights = np.array(part["straight"])
    return float(heights.std() / heights.mean()) if heights.mean() > _NONE else math.nan


def _barrier(part: Part, which: int) -> float:
    heights = part["runs"][which]["barriers"]
    return math.nan if heights is None else float(np.mean(heights))


def _differ(part: Part, which: int) -> float:
    apart = part["runs"][which]["apart"]
    return math.nan if apart is None else float(np.mean(apart))


def _averaged(part: Part) -> float:
    gains = [
        float(np.mean(run["errors"]) - run["mean"])
        for run in part["runs"]
        if run["barriers"] is not None and np.mean(run["barriers"]) < _NONE
    ]
    return float(np.mean(gains)) if gains else math.nan


def _same_function(found: Found) -> list[float]:
    within = by_seed(found, "cycles", lambda part: _differ(part, 0))
    across = by_seed(found, "optima", lambda part: float(np.mean(part["apart"])))
    return [a / b if b > 0 else math.nan for a, b in zip(within, across, strict=False)]
