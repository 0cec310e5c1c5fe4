"""The first probes: where the run is, how far it has come, how steep it is there.

The functions of points come first; time enters only in the probes below them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from landform.landscape import Landscape
from landform.probes._moment import Moment
from landform.probes._probe import Probe


def norm_of(point: Tensor) -> Tensor:
    """Euclidean norm ``||a||``, summed in float64.

    Args:
        point: ``[P]``, or several, ``[n, P]``.

    Returns:
        A float64 scalar, or ``[n]``, on the CPU.
    """
    norm: Tensor = torch.linalg.vector_norm(_exact(point), dim=-1)
    return norm


def distance_between(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance ``||b - a||``, taken in float64.

    Args:
        a: ``[P]``.
        b: ``[P]``, or several, ``[n, P]``.

    Returns:
        A float64 scalar, or ``[n]``, on the CPU.
    """
    return norm_of(_exact(b) - _exact(a))


def cosine_between(u: Tensor, v: Tensor) -> Tensor:
    """Cosine ``<u, v> / (||u|| ||v||)`` of two directions; nan where one is zero.

    Args:
        u: ``[P]``.
        v: ``[P]``.

    Returns:
        A float64 scalar in [-1, 1], on the CPU.
    """
    u, v = _exact(u), _exact(v)
    return (u @ v / (norm_of(u) * norm_of(v))).clamp(-1, 1)


def _exact(point: Tensor) -> Tensor:
    return point.detach().to("cpu").to(torch.float64)


def _loss(moment: Moment) -> dict[str, Tensor]:
    return {"loss": moment.reading.loss}


def _error(moment: Moment) -> dict[str, Tensor]:
    found = moment.reading.error
    assert found is not None  # `_without_labels` has seen to it
    return {"error": found}


def _without_labels(landscape: Landscape) -> str | None:
    return None if landscape.has_labels else "its targets are not labels, so there is no error"


def _gradient_norm(moment: Moment) -> dict[str, Tensor]:
    return {"gradient_norm": norm_of(moment.gradient)}


def _distance(moment: Moment) -> dict[str, Tensor]:
    start = moment.start.point
    far = distance_between(start, moment.point)
    return {"distance": far, "relative_distance": far / norm_of(start)}


def _parameter_norm(moment: Moment) -> dict[str, Tensor]:
    return {"parameter_norm": norm_of(moment.point)}


def _step_cosine(moment: Moment) -> dict[str, Tensor]:
    here = _exact(moment.point)
    arrived, leaves = here - _exact(moment.before.point), _exact(moment.after.point) - here
    return {"step_cosine": cosine_between(arrived, leaves)}


loss = Probe("loss", _loss, doc="mean loss over the data, weight decay included", cost=0.4)
error = Probe("error", _error, doc="share of wrong labels", cost=0.4, applies=_without_labels)
gradient_norm = Probe("gradient_norm", _gradient_norm, doc="norm of the full-data gradient, ||dL/dw||")
distance = Probe(
    "distance",
    _distance,
    needs=("start",),
    doc="distance from the run's first record, ||w - w0||, and relative to its norm, ||w - w0|| / ||w0||",
    cost=0.0,
)
parameter_norm = Probe("parameter_norm", _parameter_norm, needs=(), doc="norm of the parameters, ||w||", cost=0.0)
step_cosine = Probe(
    "step_cosine",
    _step_cosine,
    needs=("before", "after"),
    doc="cosine between the displacement from the record before and the one to the record after",
    cost=0.0,
)
