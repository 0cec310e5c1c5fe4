"""Probes of what lies around a record: the plane through it, and how wide its tunnel is."""

from __future__ import annotations

import math

import torch

from landform import surface
from landform.probes._moment import Moment
from landform.probes._probe import Probe, Value

_UNITS: tuple[surface.Unit, ...] = ("raw", "relative", "filter")


def _plane_around(moment: Moment, *, steps: int, extent: float, seed: int, scale: str) -> dict[str, Value | float]:
    """Loss and error on a random plane through the record; nan where the run has diverged."""
    landscape, point = moment.landscape, moment.point
    names = ["around_loss", *(["around_error"] if landscape.has_labels else [])]
    at = [float(alpha) for alpha in (torch.arange(steps) - (steps - 1) / 2) * (2 * extent / (steps - 1))]
    grids = [torch.full((steps, steps), math.nan, dtype=torch.float64) for _ in names]
    norms = torch.full((2,), math.nan, dtype=torch.float64)
    angle = math.nan
    if bool(torch.isfinite(point).all()):
        basis = surface.random(landscape, point, scale=scale, seed=seed)  # type: ignore[arg-type]
        found = surface.plane(landscape, center=point, directions=basis, extent=extent, steps=steps)
        grids = [found.losses, *([] if found.errors is None else [found.errors])]
        norms, angle = basis.norms.cpu(), basis.angle
    told: dict[str, Value | float] = {
        name: Value(grid, ("alpha", "beta"), {"alpha": at, "beta": at}) for name, grid in zip(names, grids, strict=True)
    }
    return {**told, "around_norms": Value(norms, ("axis",)), "around_angle": angle}


def _tunnel_width(
    moment: Moment, *, share: float, threshold: float | None, cuts: int, reach: float, tol: float, seed: int
) -> dict[str, Value | float]:
    """Widths of the tunnel around the record in three units; nan where the record itself lies above the threshold."""
    landscape, point = moment.landscape, moment.point
    widths = torch.full((len(_UNITS), cuts), math.nan, dtype=torch.float64)
    level = float(landscape.loss(moment.start.point)) * share if threshold is None else threshold
    # A point above the threshold is in no tunnel of that height, and one that is not finite in none at all.
    if bool(torch.isfinite(point).all()) and float(landscape.loss(point)) <= level:
        found = surface.tunnel(landscape, point, threshold=level, count=cuts, reach=reach, tol=tol, seed=seed)
        widths = torch.stack([found.widths(unit) for unit in _UNITS])
    return {"tunnel_width": Value(widths, ("unit", "cut"), {"unit": _UNITS}), "tunnel_threshold": level}


plane_around = Probe(
    "plane_around",
    _plane_around,
    settings={"steps": 15, "extent": 1.0, "seed": 0, "scale": "filter"},
    times=3,
    needs=("landscape",),
    doc="loss and error on a random filter-normalised plane through the record",
    cost=75.0,
)
tunnel_width = Probe(
    "tunnel_width",
    _tunnel_width,
    settings={"share": 0.5, "threshold": None, "cuts": 6, "reach": 10.0, "tol": 1e-2, "seed": 0},
    times=8,
    needs=("landscape", "start"),
    doc="how far random straight lines lead before the loss passes a share of the first record's, in three units",
    cost=140.0,
)
