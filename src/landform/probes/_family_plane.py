"""The probe of the plane through two children of a record and the run's end, with the ways that led there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landform import surface
from landform.errors import BadInput, Damaged
from landform.probes._moment import Moment
from landform.probes._probe import Probe, Value
from landform.recording import Trajectory

# Points of a way that are drawn.
_LONGEST = 60


def _family_plane(moment: Moment, *, steps: int, margin: float) -> dict[str, Value | float]:
    """Loss and error on the plane through the record and the ends of its first two children, and their ways on it."""
    landscape = moment.landscape
    names = ["family_plane_loss"] + (["family_plane_error"] if landscape.has_labels else [])
    axes = ("family_alpha", "family_beta")
    empty: dict[str, Value | float] = {name: Value(torch.full((steps, steps), math.nan), axes) for name in names}
    empty |= {f"family_plane_{axis}s": Value(torch.full((steps,), math.nan), (axis,)) for axis in axes}
    gap = torch.full((3, _LONGEST, 2), math.nan)
    empty |= {"family_plane_ways": Value(gap, ("way", "point", "coordinate")), "family_plane_share": math.nan}
    first, second = moment.children[:2]
    start, ends = moment.record.point, [child.records[-1].point for child in (first, second)]
    if not all(bool(torch.isfinite(point).all()) for point in (start, *ends)):
        return empty
    called = ("where they leave", "one child", "another")
    try:
        basis = surface.through(landscape, start, *ends, names=called)
    except BadInput:  # children that have not come apart span no plane
        return empty
    ways = [_sound(moment.trajectory), _sound(first), _sound(second)]
    vectors = basis.vectors.double().cpu()
    marks = torch.cat([(way.double() - start.double()) @ vectors.T for way in ways])  # the directions are orthonormal
    low, high = marks.amin(0), marks.amax(0)
    more = margin * (high - low).max()
    extent = tuple((float(a - more), float(b + more)) for a, b in zip(low, high, strict=True))
    seen = surface.plane(landscape, directions=basis, extent=extent, steps=steps)
    placed = [seen.project(way) for way in ways]
    found = dict(empty)
    found["family_plane_loss"] = Value(seen.losses, axes)
    if seen.errors is not None and "family_plane_error" in found:
        found["family_plane_error"] = Value(seen.errors, axes)
    for axis, values in zip(axes, (seen.alphas, seen.betas), strict=True):
        found[f"family_plane_{axis}s"] = Value(values, (axis,))
    for i, each in enumerate(placed):
        gap[i, : len(each.coordinates)] = each.coordinates.float()
    found["family_plane_ways"] = Value(gap, ("way", "point", "coordinate"))
    whole = torch.cat([each.distances for each in placed]).square().sum()
    off = torch.cat([each.residuals for each in placed]).square().sum()
    found["family_plane_share"] = float(1 - off / whole) if float(whole) else 1.0
    return found


def _sound(run: Trajectory) -> Tensor:
    """Points of a run, no more than are drawn, without damaged ones and those that are not finite."""
    places = torch.linspace(0, len(run) - 1, min(len(run), _LONGEST)).round().long().tolist()
    points = []
    for place in dict.fromkeys(places):
        try:
            point = run.records[place].point
        except Damaged:
            continue
        if bool(torch.isfinite(point).all()):
            points.append(point)
    return torch.stack(points)


family_plane = Probe(
    "family_plane",
    _family_plane,
    settings={"steps": 21, "margin": 0.15},
    times="children",
    needs=("landscape", "children", "trajectory"),
    doc="loss and error on the plane through a record and the ends of two of its children, with their ways on it",
    cost=150.0,
)
