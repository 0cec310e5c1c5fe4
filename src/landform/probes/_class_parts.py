"""A probe of the Gauss-Newton matrix by class: outliers predicted by class means beside those measured."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landform.curvature import class_parts
from landform.landscape import Landscape
from landform.probes._moment import Moment
from landform.probes._probe import Probe, Value

_PARTS = ("class", "cross", "own", "within")


def _class_parts(moment: Moment, *, tol: float, seed: int) -> dict[str, Value]:
    """Outliers as class and logit means predict them and as measured, and the share of each part in the trace."""
    if not bool(torch.isfinite(moment.point).all()) or not bool(torch.isfinite(moment.reading.loss)):
        classes = moment.landscape.outputs(moment.point, buffers=moment.buffers).shape[-1]
        gap, parts = torch.full((classes,), math.nan), torch.full((len(_PARTS),), math.nan)
        return _values(gap, gap, gap, gap, parts)
    found = class_parts(moment.landscape, moment.point, tol=tol, seed=seed, buffers=moment.buffers)
    assert found.measured is not None
    shares = torch.tensor([found.shares[name] for name in _PARTS], dtype=torch.float64)
    return _values(found.predicted, found.between, found.measured.values, found.inside, shares)


def _values(predicted: Tensor, between: Tensor, measured: Tensor, inside: Tensor, shares: Tensor) -> dict[str, Value]:
    ranks = {"rank": list(range(1, len(measured) + 1))}
    return {
        "class_predicted": Value(predicted[: len(measured)], ("rank",), ranks),
        "class_between": Value(between[: len(measured)], ("rank",), ranks),
        "class_measured": Value(measured, ("rank",), ranks),
        "class_inside": Value(inside, ("rank",), ranks),
        "class_shares": Value(shares, ("part",), {"part": list(_PARTS)}),
    }


def _why_not(landscape: Landscape) -> str | None:
    if landscape._loss_name != "cross-entropy" or not landscape.has_labels:
        return "parts by class are those of cross-entropy with labels"
    if landscape.batchnorm == "batch":
        return "its samples share BatchNorm's statistics"
    return None


class_parts_ = Probe(
    "class_parts",
    _class_parts,
    settings={"tol": 0.01, "seed": 0},
    times=6,
    doc="outliers of the Gauss-Newton matrix as class means predict them and as measured; shares of its parts",
    cost=100.0,
    applies=_why_not,
)
