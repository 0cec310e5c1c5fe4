"""Numbers that claims about emergent geometry are made of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from landform.studies._parts import Found

Part = Mapping[str, Any]


def by_seed(found: Found, kind: str, take: Callable[[Part], float]) -> list[float]:
    """A number of each seed, the mean over subjects; nan where none has one.

    Args:
        found: by kind of part.
        kind: which.
        take: the number of a part.

    Returns:
        One for each seed there is.
    """
    every: dict[int, list[float]] = {}
    for part in found.get(kind, ()):
        every.setdefault(part["seed"], []).append(take(part))
    known = [[value for value in values if math.isfinite(value)] for _, values in sorted(every.items())]
    return [sum(values) / len(values) if values else math.nan for values in known]


def middle(part: Part) -> Mapping[str, Any]:
    """The look at the midst of a run, in logarithmic time."""
    found: Mapping[str, Any] = part["looks"][len(part["looks"]) // 2]
    return found


def largest(part: Part) -> list[float]:
    """The largest eigenvalue along a run."""
    return [each["eigenvalues"][0] for each in part["looks"]]


def rise(values: Sequence[float]) -> float:
    """The largest ratio of a value to an earlier one."""
    return max((b / a for a, b in itertools.combinations(values, 2)), default=math.nan)


def order(q: Sequence[float]) -> float:
    """The lesser of ``q_SLSC - q_SL`` and ``q_SL - |q_DL|``."""
    return min(q[0] - q[1], q[1] - abs(q[2]))


def confined(
    part: Part,
    *,
    batches: Sequence[int] | None = None,
    rate: int | None = None,
    stable: bool = False,
    until: float = 1.0,
    which: str = "full",
) -> float:
    """Mean share of the gradient in the top eigenvectors over some runs of a grid, after the start.

    Args:
        part: the grid.
        batches: of which batch sizes, 0 for full-batch; all but full-batch if not given.
        rate: which of the learning rates, by number; all if not given.
        stable: only where the largest eigenvalue is below 2 / lr.
        until: up to which share of the run.
        which: ``"full"`` for the full gradient, ``"mini"`` for those of mini-batches.

    Returns:
        The share; nan where there is none.
    """
    rates = sorted({run["rate"] for run in part["runs"]})
    taken = [
        each[which]
        for run in part["runs"]
        if (run["batch"] in batches if batches is not None else run["batch"])
        and (rate is None or run["rate"] == rates[rate])
        for each in run["looks"][1:]
        if each["step"] <= until * max(one["step"] for one in run["looks"])
        and (not stable or each["eigenvalues"][0] * run["lr"] < 2)
    ]
    known = [value for value in taken if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def intrinsic(part: Part, line: str, share: float = 0.9) -> float:
    """Dimension at which planes reach a share of the free network's accuracy, between two in a line over its logarithm.

    Args:
        part: the planes.
        line: which of them, such as ``"radius 1"``.
        share: of the accuracy.

    Returns:
        The dimension; the smallest where that reaches it already, nan where none does.
    """
    wanted = share * part["free"]["accuracy"]
    dimensions, reached = part["dimensions"], part["accuracy"][line]
    for i, (d, accuracy) in enumerate(zip(dimensions, reached, strict=True)):
        if accuracy >= wanted:
            if not i:
                return float(d)
            between = (wanted - reached[i - 1]) / (accuracy - reached[i - 1])
            return float(math.exp(math.log(dimensions[i - 1]) + between * math.log(d / dimensions[i - 1])))
    return math.nan


def at_the_edge(part: Part) -> float:
    """Sharpness over 2 / lr, in the last third of the runs that began below it and reach nine tenths of it."""
    taken = []
    for run in part["runs"]:
        ratios = [value * run["lr"] / 2 for value in run["sharpness"]]
        last = [r for step, r in zip(run["steps"], ratios, strict=True) if step >= 2 / 3 * run["loss_steps"][-1]]
        if run["rate"] < 1 and not run["diverged"] and max(ratios) >= 0.9 and last:
            taken.append(sum(last) / len(last))
    return sum(taken) / len(taken) if taken else math.nan


def thrown(part: Part) -> float:
    """Share of the runs with 1 to 2 times the stable learning rate that are catapulted and come down."""
    taken = []
    for run in part["runs"]:
        if 1 < run["rate"] < 2:
            losses = [math.inf if loss is None else loss for loss in run["losses"]]
            down = not run["diverged"] and losses[-1] < run["start"]
            flat = down and run["sharpness"][-1] * run["lr"] / 2 <= 1.1
            taken.append(flat and max(losses) > 1.05 * run["start"])
    return sum(taken) / len(taken) if taken else math.nan


def shell(part: Part) -> float:
    """Share of positive curvature at the best radius less that at the smallest and the largest."""
    positive = part["positive"]
    return float(max(positive) - 0.5 * (positive[0] + positive[-1]))


def between(part: Part) -> float:
    """Share of the outliers of the Gauss-Newton matrix that the means of class and logit make."""
    told, count = middle(part)["classes"], part["classes"] - 1
    pairs = zip(told["between"][:count], told["measured"][:count], strict=True)
    return float(np.mean([b / m for b, m in pairs]))


def predicted(part: Part) -> float:
    """Mean logarithm of the predicted over the measured eigenvalue, of as many outliers as are predicted."""
    told = middle(part)["model"]
    if "outliers" not in told:
        return math.nan
    count = part["classes"] - 1
    pairs = zip(told["outliers"][:count], told["spectrum"][:count], strict=False)
    logs = [math.log(p / m) for p, m in pairs if m > 0]
    return sum(logs) / len(logs) if logs else math.nan


def noisier(part: Part) -> float:
    """Share with the smallest batch less that of full-batch descent."""
    least = min(int(run["batch"]) for run in part["runs"] if run["batch"])
    return confined(part, batches=(least,)) - confined(part, batches=(0,))


def inside(part: Part) -> float:
    """Accuracy in planes from within Xavier's radius less that from the largest radius."""
    radii = {float(line.split()[1]): np.array(each) for line, each in part["accuracy"].items() if "radius" in line}
    within = [each for radius, each in radii.items() if radius <= 1]
    return float((np.mean(within, axis=0) - radii[max(radii)]).mean())


def burnt(part: Part) -> float:
    """Dimension after the longest burn-in that does not reach nine tenths of the accuracy itself, over that without."""
    short = [int(steps) for steps, accuracy in part["burnt"].items() if accuracy < 0.9 * part["free"]["accuracy"]]
    return intrinsic(part, f"burn-in {max(short)}") / intrinsic(part, "radius 1") if short else math.nan


def kinds(part: Part) -> float:
    """Mean difference of the accuracy in planes of other kinds."""
    own = np.array(part["accuracy"]["radius 1"])
    others = [np.array(each) for line, each in part["accuracy"].items() if line.startswith("kind")]
    return float(np.mean([np.abs(each - own) for each in others]))
