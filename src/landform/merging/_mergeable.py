"""Can two models be merged? Measured before they are, by what is cheap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor, nn

from landform.alignment import Symmetries, align
from landform.errors import BadInput
from landform.functions import disagreement
from landform.landscape import Landscape
from landform.merging._joint import Data, tasks, together
from landform.merging._layers import double
from landform.paths import Barrier, barrier

# Work of a forward pass, in gradients.
_PASS = 1 / 3
_MEASURES = ("distance", "task", "barrier", "alignment", "gradient", "curvature", "disagreement")
# What not every model has: a base, a graph that can be followed, second derivatives, classes.
_OPTIONAL = ("task", "alignment", "curvature", "disagreement")


@dataclass(frozen=True)
class Mergeability:
    """What two points show before they are merged.

    Attributes:
        features: by name; see `mergeable`.
        costs: of each measurement, in gradients of the mean loss over the full data (a forward pass counts as a third);
            what two measurements need is counted for the first.
        advice: what to do, in one sentence.
        skipped: measurements that were not taken, each with the reason.
        barrier: loss and error on the straight line, where it was read.
        aligned: the same after weight matching, likewise.
    """

    features: Mapping[str, float]
    costs: Mapping[str, float]
    advice: str
    skipped: Mapping[str, str] = field(default_factory=dict)
    barrier: Barrier | None = field(default=None, repr=False)
    aligned: Barrier | None = field(default=None, repr=False)

    @property
    def cost(self) -> float:
        """Of all measurements, in gradients."""
        return sum(self.costs.values())

    def __str__(self) -> str:
        width = max(map(len, self.features))
        lines = [f"{name:{width}}  {value: .4g}" for name, value in self.features.items()]
        lines += [f"no {name}: {why}" for name, why in self.skipped.items()]
        return "\n".join([*lines, f"cost: {self.cost:.1f} gradients", self.advice])


def mergeable(
    landscape: Data,
    a: Tensor | nn.Module,
    b: Tensor | nn.Module,
    *,
    base: Tensor | nn.Module | None = None,
    measure: Sequence[str] | None = None,
    steps: int = 5,
    symmetries: Symmetries | None = None,
    seed: int = 0,
) -> Mergeability:
    """Measure what tells whether, and how, two points can be merged.

    Features, by measurement (all losses are of the landscape given; of several tasks, over all their samples):

    - ``"distance"``: ``distance`` ``||b - a||``, ``relative_distance`` (over the mean norm of both), ``cosine`` of the
      points.
    - ``"task"``, only with a base: ``task_cosine`` of the task vectors ``a - base`` and ``b - base``,
      ``sign_agreement`` (share of one sign among the coordinates that both change), ``magnitude_overlap`` (cosine of
      their absolute values), ``norm_ratio`` (the shorter over the longer).
    - ``"barrier"``: on ``steps`` points of the straight line, ``loss`` (mean of the ends), ``barrier``,
      ``midpoint`` (loss of the mean, less that of the ends), and ``error``, ``error_barrier`` and ``error_midpoint``
      where there are labels.
    - ``"alignment"``: after weight matching of b to a, ``alignment_gain`` (share of the distance that it takes away),
      ``moved`` (share of units), ``aligned_barrier``, ``aligned_midpoint`` and ``aligned_error_midpoint``.
    - ``"gradient"``: ``gradient_cosine`` of the gradients at both ends, ``slope`` (mean over the ends of the derivative
      of the loss towards the other end, for the whole length).
    - ``"curvature"``: ``curvature`` and ``largest_curvature``, mean and larger of ``d' H d`` at the ends with
      ``d = b - a``, and ``expected_midpoint``: the rise at the middle by the second-order expansions at both ends.
    - ``"disagreement"``: share of samples to which the ends give different labels, where there are labels.

    Args:
        landscape: the landscape, or landscapes by task.
        a: ``[P]``, or a model.
        b: likewise.
        base: the point that both began from, or None.
        measure: which measurements; if not given all that the model, the data and the points allow.
        steps: alphas of a barrier, 3 or more.
        symmetries: of the model, where they are known already.
        seed: of weight matching.

    Returns:
        The features, what each measurement cost, and a sentence of advice.

    Raises:
        BadInput: when a point is not one of the landscape's, or a measurement that was asked for by name cannot be
            taken.
    """
    if isinstance(measure, str) or (measure is not None and not measure):
        raise BadInput(f"measure is {measure!r}: give names of measurements, some of {', '.join(_MEASURES)}.")
    for name in measure or ():
        if name not in _MEASURES:
            raise BadInput(f"There is no measurement {name!r}: give some of {', '.join(_MEASURES)}.")
    where = together(landscape)
    first, second = _point(where, a, "a"), _point(where, b, "b")
    start = None if base is None else _point(where, base, "base")
    taken = _Taken(where, first, second, start, steps, symmetries, seed)
    features: dict[str, float] = {}
    costs: dict[str, float] = {}
    skipped: dict[str, str] = {}
    for name in _MEASURES if measure is None else measure:
        try:
            taken.spent = 0.0
            own = _BY_NAME[name](taken)
            costs[name] = taken.spent
        except BadInput as why:
            if measure is not None or name not in _OPTIONAL:
                raise
            skipped[name] = str(why)
            continue
        features |= own
    advice = _advice(features, len(tasks(landscape)))
    return Mergeability(features, costs, advice, skipped, taken.straight, taken.aligned)


@dataclass
class _Taken:
    """What is measured, what of it others use, and what the measurement under way has cost."""

    landscape: Landscape
    a: Tensor
    b: Tensor
    base: Tensor | None
    steps: int
    symmetries: Symmetries | None
    seed: int
    straight: Barrier | None = None
    aligned: Barrier | None = None
    spent: float = 0.0

    @cached_property
    def buffers(self) -> tuple[Mapping[str, Tensor] | None, ...]:
        """BatchNorm's statistics at both ends, where they are found anew."""
        if self.landscape.batchnorm != "recompute":
            return None, None
        self.spent += 2 * _PASS
        return tuple(self.landscape.calibrate(point) for point in (self.a, self.b))

    @cached_property
    def gradients(self) -> tuple[Tensor, ...]:
        """At both ends."""
        ends = zip((self.a, self.b), self.buffers, strict=True)
        self.spent += 2
        return tuple(_wide(self.landscape.gradient(point, buffers=own)) for point, own in ends)


def _point(landscape: Landscape, given: Tensor | nn.Module, name: str) -> Tensor:
    point = landscape.layout.point(given) if isinstance(given, nn.Module) else given
    landscape.layout.check(point)
    if point.dim() != 1:
        raise BadInput(f"{name} is {list(point.shape)}: give one point [{landscape.layout.size}].")
    if not bool(point.isfinite().all()):
        raise BadInput(f"{name} holds NaN or infinity: look whether its run has diverged.")
    return point.detach().to(landscape.device, landscape.dtype)


def _cosine(a: Tensor, b: Tensor) -> float:
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale > 0 else 0.0


def _wide(point: Tensor) -> Tensor:
    return point.to(double(point))


def _distance(taken: _Taken) -> dict[str, float]:
    a, b = _wide(taken.a), _wide(taken.b)
    apart, length = float((b - a).norm()), float(a.norm() + b.norm()) / 2
    return {
        "distance": apart,
        "relative_distance": apart / length if length > 0 else 0.0,
        "cosine": _cosine(a, b),
    }


def _task(taken: _Taken) -> dict[str, float]:
    if taken.base is None:
        raise BadInput("'task' compares what two points added to a base: give base=, the point that both began from.")
    base = _wide(taken.base)
    one, other = _wide(taken.a) - base, _wide(taken.b) - base
    both = (one != 0) & (other != 0)
    same = (one.sign() == other.sign()) & both
    norms = sorted((float(one.norm()), float(other.norm())))
    return {
        "task_cosine": _cosine(one, other),
        "sign_agreement": float(same.sum()) / max(1, int(both.sum())),
        "magnitude_overlap": _cosine(one.abs(), other.abs()),
        "norm_ratio": norms[0] / norms[1] if norms[1] > 0 else 1.0,
    }


def _barrier(taken: _Taken) -> dict[str, float]:
    found = taken.straight = barrier(taken.landscape, taken.a, taken.b, steps=taken.steps, refine=0)
    features = {"loss": sum(found.ends) / 2, "barrier": found.height, "midpoint": _middle(found, found.losses)}
    if found.errors is not None and found.error_ends is not None and found.error_height is not None:
        features |= {
            "error": sum(found.error_ends) / 2,
            "error_barrier": found.error_height,
            "error_midpoint": _middle(found, found.errors),
        }
    taken.spent += found.passes * _PASS
    return features


def _middle(found: Barrier, values: Tensor) -> float:
    nearest = int((found.alphas - 0.5).abs().argmin())
    return float(values[nearest] - (values[0] + values[-1]) / 2)


def _alignment(taken: _Taken) -> dict[str, float]:
    done = align(taken.landscape, taken.a, taken.b, symmetries=taken.symmetries, seed=taken.seed)
    found = taken.aligned = barrier(taken.landscape, taken.a, done.point, steps=taken.steps, refine=0)
    features = {
        "alignment_gain": 1 - done.after / done.before if done.before > 0 else 0.0,
        "moved": done.moved,
        "aligned_barrier": found.height,
        "aligned_midpoint": _middle(found, found.losses),
    }
    if found.errors is not None:
        features["aligned_error_midpoint"] = _middle(found, found.errors)
    taken.spent += found.passes * _PASS
    return features


def _gradient(taken: _Taken) -> dict[str, float]:
    one, other = taken.gradients
    away = _wide(taken.b) - _wide(taken.a)
    return {
        "gradient_cosine": _cosine(one, other),
        "slope": float(one @ away - other @ away) / 2,
    }


def _curvature(taken: _Taken) -> dict[str, float]:
    away = taken.b - taken.a
    bends, rises = [], []
    ends = zip((taken.a, taken.b), taken.buffers, taken.gradients, (away, -away), strict=True)
    for point, own, gradient, towards in ends:
        hessian = taken.landscape.hessian(point, check=False, buffers=own)
        bends.append(float(_wide(towards) @ _wide(hessian @ towards)))
        rises.append(float(gradient @ _wide(towards)) / 2 + bends[-1] / 8)
        taken.spent += hessian.gradients
    return {
        "curvature": sum(bends) / 2,
        "largest_curvature": max(bends),
        "expected_midpoint": sum(rises) / 2,
    }


def _disagreement(taken: _Taken) -> dict[str, float]:
    if not taken.landscape.has_labels:
        raise BadInput("'disagreement' compares labels, and the targets are none: measure without it.")
    ends = zip((taken.a, taken.b), taken.buffers, strict=True)
    outputs = [taken.landscape.outputs(point, buffers=own) for point, own in ends]
    taken.spent += 2 * _PASS
    return {"disagreement": float(disagreement(*outputs))}


_BY_NAME: dict[str, Callable[[_Taken], dict[str, float]]] = {
    "distance": _distance,
    "task": _task,
    "barrier": _barrier,
    "alignment": _alignment,
    "gradient": _gradient,
    "curvature": _curvature,
    "disagreement": _disagreement,
}


def _advice(features: Mapping[str, float], count: int) -> str:
    """One sentence: the cheapest way of merging that the features let one expect to work."""
    error = "error_midpoint" in features
    unit = "error" if error else "loss"
    straight = features.get("error_midpoint", features.get("midpoint"))
    aligned = features.get("aligned_error_midpoint", features.get("aligned_midpoint"))
    little = 0.01 if error else 0.1 * abs(features.get("loss", 0.0)) + 0.01

    def rise(value: float) -> str:
        return f"{100 * value:+.1f} points of error" if error else f"{value:+.3g} of loss"

    if straight is None and aligned is None:
        return f"Nothing was read between the points: measure 'barrier' to learn what their mean gives in {unit}."
    if straight is not None and straight <= little:
        if features.get("sign_agreement", 1.0) < 0.5 and count > 1:
            return (
                f"Half way costs {rise(straight)}, but the tasks pull {100 * (1 - features['sign_agreement']):.0f} % "
                "of the weights in opposite directions: merge with method='ties' and compare with method='mean'."
            )
        return f"Half way costs {rise(straight)}: merge with method='mean'."
    if aligned is not None and (straight is None or aligned < straight) and aligned <= little:
        return f"Half way costs {rise(aligned)} once units are matched: merge with method='aligned'."
    if aligned is not None and (straight is None or aligned < 0.75 * straight):
        before = "" if straight is None else f" instead of {rise(straight)}"
        return (
            f"Matching units leaves {rise(aligned)}{before} half way: merge with method='aligned' and repair=True, or "
            "keep the last layers of both with zip_models(stop_at=...)."
        )
    at_best = straight if straight is not None else aligned
    assert at_best is not None
    matched = "" if aligned is None else " and matching units helps little"
    if "task_cosine" in features:
        return (
            f"Half way costs {rise(at_best)}{matched}: try method='task_arithmetic' or 'ties' from the base with a "
            "smaller scale, or keep both models and average their outputs."
        )
    return (
        f"Half way costs {rise(at_best)}{matched}: keep the last layers of both with zip_models(stop_at=...), or keep "
        "both models and average their outputs."
    )
