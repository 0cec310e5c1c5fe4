"""What the literature on local geometry says, held against the study's numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from landform.studies._claim import Claim, Verdict
from landform.studies._emergent_protocol import EmergentProtocol
from landform.studies._held import Given, graded, hold, said, small
from landform.studies._parts import Found

_FORT = "Fort & Ganguli 2019"
_ZONE = "Fort & Scherlis 2018"
Part = Mapping[str, Any]


def claims_of_emergent(protocol: EmergentProtocol, found: Found, scale: str) -> list[Claim]:
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
        "subjects": {name: f"{subject.model} on {subject.data}" for name, subject in protocol.subjects.items()},
        "rate": protocol.rate,
        "batch_size": protocol.recipe.batch_size,
    }
    every = (*_outliers(found), *_gradients(found), *_later(found), *_zone(found), *_planes(found))
    return [hold(given, settings) for given in (*every, *_model(found), *_dynamics(found))]


def _outliers(found: Found) -> list[Given]:
    return [
        Given(
            "outliers", f"{_FORT}, section 2",
            "the Hessian has as many large positive eigenvalues as there are classes, or one fewer",
            "eigenvalues before the largest gap among those around C, in the midst of training, mean over networks",
            "C, or by the algebra of softmax C - 1 (here less C)",
            by_seed(found, "along", lambda part: middle(part)["outliers"] - part["classes"]),
            lambda value: (graded(-abs(value + 0.5), -1.0, -2.0), f"there are C {value:+.1f}"),
        ),
        Given(
            "classes", f"{_FORT}; Papyan 2020",
            "the outliers come from the classes",
            "share of the top C - 1 eigenvalues of the Gauss-Newton matrix that the means of class and logit alone "
            "make, in the midst of training",
            "near 1",
            by_seed(found, "along", _between),
            said(0.7, 0.4, "means of class and logit make {:.0%} of the outliers"),
        ),
        Given(
            "q-start", f"{_FORT}, figure 1",
            "logit gradients of one logit cluster, most within a class, and those of other logits do not, at the start",
            "the lesser of q_SLSC - q_SL and q_SL - |q_DL|, mean over networks",
            "above 0",
            by_seed(found, "along", lambda part: order(part["looks"][0]["q"])),
            said(0.01, 0.0, "the lesser difference is {:.3f}"),
        ),
        Given(
            "q-later", f"{_FORT}, figure 1",
            "the same at the end of training",
            "the lesser of q_SLSC - q_SL and q_SL - |q_DL|, mean over networks",
            "above 0",
            by_seed(found, "along", lambda part: order(part["looks"][-1]["q"])),
            said(0.01, 0.0, "the lesser difference is {:.3f}"),
        ),
        Given(
            "q-grows", "ours, after the notes",
            "training draws the logit gradients of one class together",
            "q_SLSC at the end less that at the start, mean over networks",
            "above 0",
            by_seed(found, "along", lambda part: part["looks"][-1]["q"][0] - part["looks"][0]["q"][0]),
            said(0.05, 0.0, "q_SLSC grows by {:.2f}"),
        ),
    ]  # fmt: skip


def _gradients(found: Found) -> list[Given]:
    return [
        Given(
            "confined-full", "Gur-Ari et al. 2018; ours",
            "full-batch descent below the edge of stability leaves the top eigenvectors",
            "share of the full gradient in the top C eigenvectors, full-batch runs where 2 / lr is above the largest "
            "eigenvalue, after the start",
            "near 0, where the paper says most of it is confined",
            by_seed(found, "grid", lambda part: confined(part, batches=(0,), stable=True)),
            small(0.1, 0.3, "{:.2f} of the gradient is in them"),
        ),
        Given(
            "confined-noise", f"{_FORT}, section 2; Gur-Ari et al. 2018",
            "the gradient of stochastic descent with a large step lies in the top eigenvectors",
            "the same share, batches, the largest learning rate, early and in the midst of training",
            "above 0.4",
            by_seed(found, "grid", lambda part: confined(part, rate=-1, until=0.5)),
            said(0.4, 0.2, "{:.2f} of the gradient is in them"),
        ),
        Given(
            "confined-step", "ours, after the notes",
            "the larger the learning rate, the more of the gradient lies in the top eigenvectors",
            "the share with the largest learning rate less that with the smallest, batches, after the start",
            "above 0",
            by_seed(found, "grid", lambda part: confined(part, rate=-1) - confined(part, rate=0)),
            said(0.1, 0.0, "the share grows by {:.2f}"),
        ),
        Given(
            "confined-batch", "ours, after the notes",
            "the smaller the batch, the more of the gradient lies in the top eigenvectors",
            "the share with the smallest batch less that of full-batch descent, after the start, all learning rates",
            "above 0",
            by_seed(found, "grid", lambda part: confined(part, batches=(_least(part),)) - confined(part, batches=(0,))),
            said(0.1, 0.0, "the share grows by {:.2f}"),
        ),
    ]  # fmt: skip


def _later(found: Found) -> list[Given]:
    return [
        Given(
            "hump", f"{_FORT}, section 2",
            "training passes through a place of higher curvature",
            "largest ratio of the largest eigenvalue to that at an earlier time, mean over networks",
            "well above 1",
            by_seed(found, "along", lambda part: rise(largest(part))),
            said(1.3, 1.05, "the largest eigenvalue rises to {:.2f} times what it was before"),
        ),
        Given(
            "flatter", f"{_FORT}, section 2",
            "and comes to flatter ones",
            "highest largest eigenvalue over that at the end, mean over networks",
            "well above 1",
            by_seed(found, "along", lambda part: max(largest(part)) / largest(part)[-1]),
            said(2.0, 1.2, "the largest eigenvalue ends at 1 / {:.1f} of its highest"),
        ),
        Given(
            "freezing", f"{_FORT}, section 3",
            "the variance of the logits grows, until probabilities are frozen",
            "variance of the logits of a sample at the end over that at the start, mean over networks",
            "well above 1",
            by_seed(found, "along", lambda p: p["looks"][-1]["logit_variance"] / p["looks"][0]["logit_variance"]),
            said(3.0, 1.5, "the variance grows {:.1f} times"),
        ),
    ]  # fmt: skip


def _zone(found: Found) -> list[Given]:
    return [
        Given(
            "goldilocks", _ZONE,
            "random points have an excess of positive curvature in a thick shell, where common starts lie",
            "radius with the largest Tr / ||H||_F of the Hessian in ten random directions, over Xavier's, geometric "
            "mean over networks",
            "between 1 and 2",
            [math.exp(value) for value in by_seed(found, "zone", lambda part: math.log(part["best"]))],
            _near_start,
        ),
        Given(
            "shell", _ZONE,
            "outside of the shell as many directions curve down as up",
            "share of positive eigenvalues at the best radius less that at the smallest and the largest (their mean)",
            "up to 0.5",
            by_seed(found, "zone", _shell),
            said(0.25, 0.1, "the share falls by {:.2f}"),
        ),
    ]  # fmt: skip


def _planes(found: Found) -> list[Given]:
    return [
        Given(
            "plane-radius", f"{_FORT}, section 2; {_ZONE}",
            "random planes are trained well from within the shell, and worse from outside",
            "test accuracy in planes through points at up to Xavier's radius less that through the largest, mean over "
            "dimensions",
            "above 0",
            by_seed(found, "planes", _inside),
            said(0.05, 0.0, "the accuracy falls by {:.2f}"),
        ),
        Given(
            "intrinsic", "Li et al. 2018",
            "a random plane of few dimensions reaches nine tenths of the accuracy",
            "d_int90 through Xavier's radius, over the number of parameters",
            "well below 1",
            by_seed(found, "planes", lambda part: intrinsic(part, "radius 1") / part["parameters"]),
            small(0.1, 0.5, "d_int90 is {:.1%} of the parameters"),
            "no plane reached nine tenths of the accuracy",
        ),
        Given(
            "burn-in", "Larsen et al. 2022",
            "some free training first makes the dimension smaller",
            "d_int90 after the longest burn-in, over that without",
            "below 1",
            by_seed(found, "planes", _burnt),
            small(0.7, 1.0, "d_int90 is {:.2f} times what it is without"),
            "no plane reached nine tenths of the accuracy",
        ),
        Given(
            "projections", "Li et al. 2018",
            "sparse and fast projections do what dense ones do",
            "mean difference, whatever its sign, of the accuracy in unit, sparse and fastfood planes from that in "
            "orthonormal ones, over dimensions",
            "near 0",
            by_seed(found, "planes", _kinds),
            small(0.05, 0.12, "the accuracy differs by {:.3f}"),
        ),
    ]  # fmt: skip


def _model(found: Found) -> list[Given]:
    return [
        Given(
            "model-outliers", f"{_FORT}, section 3",
            "random logit gradients alone make the outliers",
            "eigenvalues before the largest gap of the random model, C = 10",
            "C - 1 = 9",
            by_seed(found, "model", lambda part: part["outliers"]),
            lambda value: (graded(-abs(value - 9), -0.5, -1.5), f"there are {value:.1f}"),
        ),
        Given(
            "model-share", f"{_FORT}, section 3",
            "and the confinement of the gradient",
            "share of the random model's gradient in its top ten eigenvectors, D = 1,000, N = 300, deviation 15",
            "0.65 +- 0.1",
            by_seed(found, "model", lambda part: part["share"]),
            lambda value: (graded(-abs(value - 0.65), -0.1, -0.25), f"it is {value:.2f}"),
        ),
        Given(
            "model-spread", "ours, after the notes",
            "at fixed lengths of the gradients, the largest eigenvalue falls as logits spread",
            "share of the steps of the logits' deviation at which the random model's largest eigenvalue falls",
            "1",
            by_seed(found, "model", lambda part: float(np.mean(np.diff(part["largest"]) < 0))),
            said(0.99, 0.7, "it falls at {:.0%} of the steps"),
        ),
        Given(
            "model-network", f"{_FORT}, section 3",
            "the random model, fitted to a network, has its outliers",
            "mean over the top C - 1 of predicted over measured eigenvalue of the Gauss-Newton matrix, in the midst of "
            "training, geometric mean over networks",
            "near 1",
            [math.exp(value) for value in by_seed(found, "along", _predicted)],
            lambda value: (
                graded(-_off(value, 1.0, 1.0), -math.log(1.4), -math.log(2.5)),
                f"they are {value:.2f} times the measured ones",
            ),
        ),
    ]  # fmt: skip


def _dynamics(found: Found) -> list[Given]:
    return [
        Given(
            "sharpening", "Cohen et al. 2021",
            "full-batch descent sharpens as long as it is stable",
            "highest sharpness over that at the start, with the smallest learning rate",
            "well above 1",
            by_seed(found, "edge", lambda part: max(part["runs"][0]["sharpness"]) / part["runs"][0]["sharpness"][0]),
            said(1.5, 1.1, "the sharpness grows {:.1f} times"),
        ),
        Given(
            "edge", "Cohen et al. 2021",
            "and then hovers at the edge of stability",
            "sharpness over 2 / lr in the last third of runs that reach nine tenths of it",
            "just above 1",
            by_seed(found, "edge", at_the_edge),
            lambda value: (graded(-abs(value - 1.05), -0.15, -0.4), f"it is {value:.2f} of the edge"),
            "no run reached the edge of stability",
        ),
        Given(
            "catapult", "Lewkowycz et al. 2020",
            "a step up to twice as large as is stable throws descent to a flatter place, where the loss falls",
            "share of the runs with 1 to 2 times the stable learning rate whose loss first rises above its start, then "
            "ends below, with a sharpness below 2 / lr (or at most a tenth above)",
            "1",
            by_seed(found, "edge", thrown),
            said(0.75, 0.25, "{:.0%} of the runs do"),
        ),
        Given(
            "few-directions", "Antognini & Sohl-Dickstein 2018",
            "a run seems to live in few directions, and so does a random walk",
            "share of the variance of 32 even points of a run in its first two main components, mean over networks",
            "as for a random walk, 0.76, or more",
            by_seed(found, "along", lambda part: sum(part["shape"]["shares"][:2])),
            said(0.76, 0.6, "two components have {:.0%}, and those of a random walk 76%"),
        ),
    ]  # fmt: skip


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
    """The lesser of q_SLSC - q_SL and q_SL - |q_DL|."""
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
            down = not run["diverged"] and losses[-1] < part["start_loss"]
            flat = down and run["sharpness"][-1] * run["lr"] / 2 <= 1.1
            taken.append(flat and max(losses) > 1.05 * part["start_loss"])
    return sum(taken) / len(taken) if taken else math.nan


def _near_start(value: float) -> tuple[Verdict, str]:
    return graded(-_off(value, 1.0, 2.0), 0.0, -math.log(2)), f"it is largest at {value:.2f} of Xavier's radius"


def _off(value: float, low: float, high: float) -> float:
    """How far a number is from a range, as a logarithm; the end of an interval need not be above 0."""
    return max(0.0, math.log(low / max(value, 1e-9)), math.log(max(value, 1e-9) / high))


def _shell(part: Part) -> float:
    positive = part["positive"]
    return float(max(positive) - 0.5 * (positive[0] + positive[-1]))


def _between(part: Part) -> float:
    told, count = middle(part)["classes"], part["classes"] - 1
    pairs = zip(told["between"][:count], told["measured"][:count], strict=True)
    return float(np.mean([b / m for b, m in pairs]))


def _predicted(part: Part) -> float:
    """Mean logarithm of the predicted over the measured eigenvalue, of as many outliers as are predicted."""
    told = middle(part)["model"]
    if "outliers" not in told:
        return math.nan
    count = part["classes"] - 1
    pairs = zip(told["outliers"][:count], told["spectrum"][:count], strict=False)
    logs = [math.log(p / m) for p, m in pairs if m > 0]
    return sum(logs) / len(logs) if logs else math.nan


def _least(part: Part) -> int:
    return min(int(run["batch"]) for run in part["runs"] if run["batch"])


def _inside(part: Part) -> float:
    radii = {float(line.split()[1]): np.array(each) for line, each in part["accuracy"].items() if "radius" in line}
    within = [each for radius, each in radii.items() if radius <= 1]
    return float((np.mean(within, axis=0) - radii[max(radii)]).mean())


def _burnt(part: Part) -> float:
    steps = max((int(steps) for steps in part["burnt"]), default=None)
    return math.nan if steps is None else intrinsic(part, f"burn-in {steps}") / intrinsic(part, "radius 1")


def _kinds(part: Part) -> float:
    own = np.array(part["accuracy"]["radius 1"])
    others = [np.array(each) for line, each in part["accuracy"].items() if line.startswith("kind")]
    return float(np.mean([np.abs(each - own) for each in others]))
