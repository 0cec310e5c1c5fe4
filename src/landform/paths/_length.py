"""How long a path is: in parameters, and as a way of functions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.paths._contract import MEMORY, many_points


@dataclass(frozen=True)
class Length:
    """A length along a path, beside the distance of its ends.

    Attributes:
        along: sum of the distances of successive points.
        apart: distance of the ends.
        steps: distances of successive points, ``[n - 1]``, float64.
    """

    along: float
    apart: float
    steps: Tensor = field(repr=False)

    @property
    def detour(self) -> float:
        """Length along the path over the distance of its ends: 1 is straight; nan where the ends are one."""
        return self.along / self.apart if self.apart else math.nan


@dataclass(frozen=True)
class Lengths:
    """How long a path is.

    Attributes:
        parameters: in the Euclidean distance of points.
        outputs: in the root mean square distance of outputs.
        softmax: in the root mean square distance of probabilities; None where the outputs are no logits of classes.
        fisher: in the Fisher-Rao distance of the predicted distributions, ``2 arccos sum_k sqrt(p_k q_k)`` for each
            sample, root mean square over samples; likewise. With points close enough, its length is that of the path in
            the metric of the Fisher information, ``integral of sqrt(phi' F phi') dt``, and no path between functions is
            shorter than their distance.
        samples: how many samples, or positions in sequences, stand behind the last three.
        batchnorm: where BatchNorm's statistics came from.
    """

    parameters: Length
    outputs: Length
    softmax: Length | None
    fisher: Length | None
    samples: int
    batchnorm: str


def lengths(landscape: Landscape, points: Tensor, *, memory: float = MEMORY) -> Lengths:
    """Measure how long a path is, from points along it.

    Costs one full-data forward pass for each point; a second one where BatchNorm's statistics are recomputed.

    Args:
        landscape: whose functions the points are.
        points: along the path, ``[n, P]``, such as ``curve.points(torch.linspace(0, 1, 50))`` or those of a run; the
            closer they lie, the better are the lengths of functions, which they approach from below.
        memory: bytes of outputs that are held at a time.

    Returns:
        The lengths.

    Raises:
        BadInput: when there are fewer than two points, or one or what the model puts out there is not finite.
    """
    points = many_points(landscape, points, 2)
    first = landscape.outputs(points[0])
    classes = first.shape[-1] > 1 and (landscape._loss_name == "cross-entropy" or landscape.has_labels)
    together = max(1, int(memory / (first.numel() * first.element_size())))
    found: dict[str, list[float]] = {name: [] for name in ("outputs", "softmax", "fisher")}
    last = before = _rows(first, 0)
    for start in range(1, len(points), together):
        for i, outputs in enumerate(landscape.outputs(points[start : start + together])):
            last = _rows(outputs, start + i)
            _measure(found, before, last, classes)
            before = last
    ends: dict[str, list[float]] = {name: [] for name in found}
    _measure(ends, _rows(first, 0), last, classes)
    wide = points.cpu().double()
    steps = torch.linalg.vector_norm(wide[1:] - wide[:-1], dim=1)

    def length(name: str) -> Length:
        each = torch.tensor(found[name], dtype=torch.float64)
        return Length(float(each.sum()), ends[name][0], each)

    return Lengths(
        parameters=Length(float(steps.sum()), float(torch.linalg.vector_norm(wide[-1] - wide[0])), steps),
        outputs=length("outputs"),
        softmax=length("softmax") if classes else None,
        fisher=length("fisher") if classes else None,
        samples=len(last),
        batchnorm=landscape.batchnorm,
    )


def _rows(outputs: Tensor, place: int) -> Tensor:
    """Outputs as rows in float64, ``[samples, K]``."""
    wide = (outputs.cpu() if outputs.device.type == "mps" else outputs).double()
    if not bool(torch.isfinite(wide).all()):
        raise BadInput(f"The model puts out NaN or infinity at point {place}: there is no function to measure.")
    return wide.reshape(-1, wide.shape[-1]) if wide.dim() > 1 else wide[:, None]


def _measure(found: dict[str, list[float]], a: Tensor, b: Tensor, classes: bool) -> None:
    found["outputs"].append(float((a - b).square().sum(1).mean().sqrt()))
    if not classes:
        return
    p, q = a.softmax(1), b.softmax(1)
    found["softmax"].append(float((p - q).square().sum(1).mean().sqrt()))
    # Between unit vectors the chord |r - s| = 2 sin(angle / 2) keeps small angles that the arc cosine loses.
    chord = torch.linalg.vector_norm((a.log_softmax(1) / 2).exp() - (b.log_softmax(1) / 2).exp(), dim=1)
    angle = 2 * (chord / 2).clamp_max(1).asin()
    found["fisher"].append(float((2 * angle).square().mean().sqrt()))
