"""What the literature on merging says, held against the study's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from landform.series import interval
from landform.studies._claim import Claim, Verdict
from landform.studies._mergeability import predict
from landform.studies._merging_groups import MergingProtocol

Results = Mapping[str, Sequence[Mapping[str, Any]]]
# A loss barrier below this is none: there is nothing to take away.
_NONE = 0.02
# Settings whose sources learned tasks of their own.
TASKS = ("classes", "rotations", "noise")


def claims_of_merging(protocol: MergingProtocol, results: Results, scale: str) -> list[Claim]:
    """Hold each claim against what was measured.

    Args:
        protocol: the study's.
        results: by setting, one for each seed.
        scale: its name.

    Returns:
        The claims.
    """
    settings = {"scale": scale, "data": protocol.data, "model": protocol.model, "sources": protocol.sources}

    def claim(
        id: str, paper: str, statement: str, definition: str, expected: str, values: Sequence[float],
        judge: Callable[[float], tuple[Verdict, str]],
    ) -> Claim:  # fmt: skip
        known = interval(values)
        if not known.count:
            absent: Verdict = "not at this scale" if values else "not measured"
            why = "there is no barrier to begin with" if values else ""
            return Claim(id, paper, statement, definition, expected, None, None, 0, absent, why, settings)
        bounds = (known.low, known.high) if math.isfinite(known.low) else None
        verdict, why = judge(known.mean)
        other = {"reproduced": "contradicted", "contradicted": "reproduced"}.get(verdict)
        if bounds is not None and other in {judge(bound)[0] for bound in bounds}:
            verdict, why = "in part", f"{why}; the seeds are too far apart to settle it"
        return Claim(
            id, paper, statement, definition, expected, known.mean, bounds, known.count, verdict, why, settings
        )

    return [claim(*given) for given in _given(protocol, results)]


def _given(protocol: MergingProtocol, results: Results) -> list[tuple[Any, ...]]:
    survey = "Khan et al. 2024"
    forks = results.get("forks", ())
    return [
        (
            "convexity", f"{survey}: mode convexity",
            "inside one mode the loss is convex: means of its points are no worse than the points",
            "share of all sets of two and more of the ends of children that left a run at the last fork for "
            "which the training loss of the mean is at most the mean of the losses",
            "1", [each["convexity"]["sets"] for each in forks if each["convexity"]],
            lambda value: (_graded(value, 0.95, 0.75), f"it holds for {value:.0%} of the sets"),
        ),
        (
            "determinism", f"{survey}: mode determinism; Frankle et al. 2020",
            "the mode is fixed early in training",
            "share of the training after which children with another order of the data end with a tenth of the loss "
            "barrier that they have when they leave at the start",
            "early (below 0.25)", [fixed(each, "order", protocol.recipe.epochs) for each in forks],
            lambda value: _early(value, forks),
        ),
        (
            "directions", f"{survey}: mode directedness; Ilharco et al. 2023",
            "task vectors of different tasks are close to orthogonal",
            "mean cosine of two task vectors, tasks of other classes and of images turned otherwise",
            "near 0", _by_seed(results, ("classes", "rotations"), lambda each: each["directedness"]["cosine"]),
            lambda value: (_graded(-abs(value), -0.2, -0.5), f"the mean cosine is {value:.2f}"),
        ),
        (
            "sums", f"{survey}: mode directedness; Ilharco et al. 2023",
            "adding two task vectors teaches both tasks",
            "share of both tasks' gains in training loss that the sum of the vectors keeps, at the best of a few "
            "scales",
            "near 1", _by_seed(results, ("classes", "rotations"), lambda each: each["directedness"]["sum"]),
            lambda value: (_graded(value, 0.8, 0.4), f"the sum keeps {value:.0%} of the gains"),
        ),
        (
            "negation", f"{survey}: mode directedness; Ilharco et al. 2023",
            "taking a task vector away unlearns its task and leaves others as they are",
            "rise of the loss on other tasks, over the rise on the task itself, when its vector is taken away",
            "near 0", _by_seed(results, ("classes", "rotations"), _beside),
            lambda value: (
                _graded(-value, -0.25, -0.75),
                f"other tasks lose {value:.2f} of what the task itself loses",
            ),
        ),
        (
            "straight", f"{survey}: mode connectivity",
            "networks from other starts are not connected in a straight line",
            "training loss barrier on the line between two sources from other starts",
            "well above 0", _pairs(results, ("start",), lambda pair: pair["connection"]["straight"]),
            lambda value: (
                "reproduced" if value > 0.1 else "in part" if value > _NONE else "not at this scale",
                f"the barrier is {value:.2f}",
            ),
        ),
        (
            "matched", f"{survey}: mode connectivity; Ainsworth et al. 2023",
            "matching units takes the barrier away",
            "share of that barrier which is left after weight matching",
            "near 0 for wide networks", _pairs(results, ("start",), _left("matched")),
            lambda value: (_graded(-value, -0.15, -0.6), f"{value:.0%} of the barrier is left"),
        ),
        (
            "curved", f"{survey}: mode connectivity; Garipov et al. 2018",
            "there is a curve of low loss between them",
            f"share of that barrier which is left on a Bezier curve trained for {protocol.curve} steps",
            "near 0", _pairs(results, ("start",), _left("curve")),
            lambda value: (_graded(-value, -0.1, -0.5), f"{value:.0%} of the barrier is left"),
        ),
        (
            "matched-merge", "Ainsworth et al. 2023",
            "of networks from other starts, the mean of matched units is better than the plain mean",
            "test error of the plain mean less that of the matched mean",
            "well above 0", _pairs(results, ("start",), _gain("mean", "aligned")),
            lambda value: (_graded(value, 0.02, 0.0), f"matching gains {100 * value:.1f} points"),
        ),
        (
            "repaired", "Jordan et al. 2023",
            "REPAIR makes the mean of matched units better",
            "test error of the matched mean less that of the matched and repaired one",
            "above 0", _pairs(results, ("start",), _gain("aligned", "aligned, repaired")),
            lambda value: (_graded(value, 0.002, 0.0), f"REPAIR gains {100 * value:.2f} points"),
        ),
        (
            "interference", "Yadav et al. 2023",
            "of several tasks, settling signs (TIES) merges better than the mean",
            "test error, over both tasks, of the mean less that of TIES",
            "above 0", _pairs(results, ("classes", "rotations"), _gain("mean", "ties")),
            lambda value: (_graded(value, 0.002, 0.0), f"TIES gains {100 * value:.1f} points"),
        ),
        (
            "ensemble", f"{survey}: ensembling; Wortsman et al. 2022",
            "where sources share a mode their mean is about as good as their ensemble",
            "test error of the mean less that of the ensemble, of sources tuned to other wrong labels from one parent",
            "about 0", _pairs(results, ("noise",), lambda pair: pair["methods"]["mean"]["error"] - pair["ensemble"]),
            lambda value: (
                _graded(-value, -0.005, -0.02),
                f"the mean is {100 * value:+.1f} points off the ensemble",
            ),
        ),
        *_foretold(results),
    ]  # fmt: skip


def _foretold(results: Results) -> list[tuple[Any, ...]]:
    best = predict(results, "best")
    if best is None:
        return []
    naive = float(np.mean(best.by_seed["distance"]))
    return [
        (
            "mergeability", "ours",
            "what merging gives can be told beforehand, better than by the distance of the parameters",
            "rank correlation, over the pairs of a seed, of the rise of the best merge's test error with what was "
            "foretold by a fit on other seeds",
            f"above that of the distance ({naive:.2f})", best.by_seed["all"],
            lambda value: (
                "reproduced" if value > naive + 0.1 else "in part" if value > naive else "contradicted",
                f"{value:.2f}; without reading between the points {np.mean(best.by_seed['ends']):.2f}, by the "
                f"distance alone {naive:.2f}, over {len(best.truth)} pairs",
            ),
        )
    ]  # fmt: skip


def fixed(forks: Mapping[str, Any], kind: str, epochs: float) -> float:
    """When the barrier between children falls to a tenth of its first value.

    Args:
        forks: a result of the forks.
        kind: how the children differ.
        epochs: length of the training.

    Returns:
        The time as a share of the training, between forks in a line; nan where there is no barrier to begin with, 1
        where it never falls so far.
    """
    times, heights = forks["epochs"], [math.inf if h is None else max(0.0, h) for h in forks["barriers"][kind]]
    if not _NONE <= heights[0] < math.inf:
        return math.nan
    wanted = 0.1 * heights[0]
    for i, height in enumerate(heights):
        if height <= wanted:
            between = (heights[i - 1] - wanted) / (heights[i - 1] - height)
            return float(times[i - 1] + between * (times[i] - times[i - 1])) / epochs
    return 1.0


def _early(value: float, forks: Sequence[Mapping[str, Any]]) -> tuple[Verdict, str]:
    never = sum(fixed(each, "order", 1.0) == 1.0 for each in forks)
    said = f"the barrier is a tenth after {value:.0%} of the training"
    return _graded(-value, -0.25, -0.6), said + (f"; in {never} runs it never is" if never else "")


def _graded(value: float, good: float, some: float) -> Verdict:
    return "reproduced" if value >= good else "in part" if value > some else "contradicted"


def _pairs(results: Results, settings: Sequence[str], take: Callable[[Mapping[str, Any]], float | None]) -> list[float]:
    """A number of each seed, the mean over settings and pairs."""
    return _by_seed(results, settings, lambda each: _mean([take(pair) for pair in each["pairs"]]))


def _by_seed(
    results: Results, settings: Sequence[str], take: Callable[[Mapping[str, Any]], float | None]
) -> list[float]:
    every: dict[int, list[float | None]] = {}
    for setting in settings:
        for each in results.get(setting, ()):
            every.setdefault(each["seed"], []).append(take(each))
    return [found for _, values in sorted(every.items()) if (found := _mean(values)) is not None]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None


def _left(way: str) -> Callable[[Mapping[str, Any]], float | None]:
    def take(pair: Mapping[str, Any]) -> float | None:
        found = pair["connection"]
        if found[way] is None or found["straight"] < _NONE:
            return None
        return float(max(0.0, found[way]) / found["straight"])

    return take


def _gain(worse: str, better: str) -> Callable[[Mapping[str, Any]], float | None]:
    def take(pair: Mapping[str, Any]) -> float | None:
        both = [pair["methods"].get(name, {}).get("error") for name in (worse, better)]
        return None if None in both else both[0] - both[1]

    return take


def _beside(each: Mapping[str, Any]) -> float | None:
    found = each["directedness"]
    return float(found["beside"] / found["negated"]) if found["negated"] > 0 else None
