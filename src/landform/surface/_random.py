"""Random directions, scaled so that they mean something, and at right angles to each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.layout import Slot
from landform.surface._contract import at_least, one_point
from landform.surface._directions import Directions, Treatment, check

Scale: TypeAlias = Literal["filter", "layer", "model", "unit", "gaussian"]
Orthogonal: TypeAlias = Literal["within", "before", "after", "no"]

SCALES = {
    "filter": ("filter-normalised", "norm of each filter"),
    "layer": ("normalised layer by layer", "norm of each layer"),
    "model": ("of the norm of the weights", "norm of the weights"),
    "unit": ("of norm one", "L2 distance"),
    "gaussian": ("not normalised", "standard deviation of every weight"),
}
_ORTHOGONAL = {
    "within": "orthogonal within what is scaled",
    "before": "orthogonalised before scaling",
    "after": "orthogonalised after scaling",
    "no": "not orthogonalised",
}


def random(
    landscape: Landscape,
    point: Tensor | None = None,
    count: int = 2,
    *,
    scale: Scale = "filter",
    biases: Treatment = "zero",
    norms: Treatment = "zero",
    orthogonal: Orthogonal = "within",
    only: str | tuple[str, ...] = (),
    seed: int = 0,
) -> Directions:
    """Gaussian directions, filter-normalised unless told otherwise (Li et al. 2018, section 4).

    A network with rectifiers computes the same when one layer is scaled up and the next one down, so that a step of one
    length means much in one network and nothing in another; scaling each filter of a direction to the norm of the same
    filter of the point takes that away.

    Two random directions are nearly orthogonal, and scaling bends them further. ``"within"`` makes them orthogonal
    inside each filter, so that they are exactly orthogonal and exactly filter-normalised; what is too small for that, a
    filter of one number, is left, and the angle that remains is reported. ``"before"`` orthogonalises and scales then:
    norms are exact, the angle is not. ``"after"`` does so the other way round: the angle is exact, the filters of the
    later directions are not.

    Args:
        landscape: whose points they move.
        point: whose norms they get, ``[P]``, and where the grid is centred; the model's own by default.
        count: how many.
        scale: ``"filter"``; ``"layer"``, the norm of each parameter; ``"model"``, the norm of the point; ``"unit"``,
            norm one; ``"gaussian"``, none.
        biases: ``"zero"``, they do not move (as in the authors' code); ``"whole"``, each bias vector counts as one
            filter; ``"keep"``, the Gaussian as drawn. Parameters of one axis that are neither count as biases. For the
            scales beyond ``"layer"`` whatever moves is scaled together.
        norms: the same for scales and shifts of normalisation layers.
        orthogonal: when they are made so.
        only: names of layers, with the wildcards of `Layout.part`; the other layers stay where they are.
        seed: decides what is drawn, the same on every device.

    Returns:
        The directions.

    Raises:
        BadInput: when a choice is unknown, or nothing is left to move.
    """
    layout = landscape.layout
    here = one_point(landscape, landscape.here if point is None else point, "The centre")
    at_least("count", count, 1)
    _known("The scale of random directions", scale, SCALES)
    _known("orthogonal", orthogonal, _ORTHOGONAL)
    for name, treatment in (("biases", biases), ("norms", norms)):
        _known(name, treatment, ("zero", "whole", "keep"))
    names = (only,) if isinstance(only, str) else tuple(only)
    moved = {slot.name for slot in layout.part(*names).slots}
    still = [s for s in layout.slots if s.name not in moved or _treatment(s, biases, norms) == "zero"]
    like = here.cpu().double()
    rows = torch.randn(count, layout.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for slot in still:
        rows[:, slot.start : slot.stop] = 0
    if orthogonal == "before":
        rows = _apart(rows)
    for slot in layout.slots if scale in ("filter", "layer") else ():
        if slot not in still and _treatment(slot, biases, norms) == "whole":
            block, whole = rows[:, slot.start : slot.stop], scale == "layer"
            filters = _filters(block, slot, whole)
            filters = _apart(filters) if orthogonal == "within" else filters
            wanted = torch.linalg.vector_norm(_filters(like[None, slot.start : slot.stop], slot, whole), dim=-1)
            block.copy_(_back(_scaled(filters, wanted), slot, whole))
    if scale in ("model", "unit", "gaussian"):
        rows = _apart(rows) if orthogonal == "within" else rows
        if scale != "gaussian":
            length = torch.linalg.vector_norm(like) if scale == "model" else torch.ones((), dtype=torch.float64)
            rows = _scaled(rows, length)
    if orthogonal == "after":
        rows = _apart(rows)
    if not bool(rows.any(1).all()):
        raise BadInput(
            "Nothing is left for the directions to move: what they may move has one axis only, or is zero at the "
            "centre; give biases='keep' and norms='keep', or another centre."
        )
    said, unit = SCALES[scale]
    where = f" in {', '.join(names)}" if names else ""
    side = f", {_ORTHOGONAL[orthogonal]}" if count > 1 else ""
    how = f"random Gaussian{where}, {said}{side}, seed {seed}"
    return check(Directions(rows.to(here), how, unit, biases, norms, origin=here, seed=seed))


def filter_deviation(landscape: Landscape, directions: Directions, point: Tensor) -> float:
    """How far the filters of some directions are from the norms of a point's filters.

    Args:
        landscape: whose points they are.
        directions: what to look at.
        point: ``[P]``.

    Returns:
        The largest relative difference, over the filters that move.
    """
    layout = landscape.layout
    wanted = layout.filter_norms(point.detach().cpu().double())
    worst = 0.0
    for name, norms in layout.filter_norms(directions.vectors.detach().cpu().double()).items():
        moving = (norms > 0) & (wanted[name] > 0)
        if bool(moving.any()):
            worst = max(worst, float((norms / wanted[name] - 1).abs()[moving].max()))
    return worst


def _treatment(slot: Slot, biases: Treatment, norms: Treatment) -> Treatment:
    if slot.kind == "norm":
        return norms
    return biases if slot.kind == "bias" or len(slot.shape) < 2 else "whole"


def _filters(block: Tensor, slot: Slot, whole: bool) -> Tensor:
    """A parameter ``[k, size]`` as ``[k, filters, rest]``; vectors, and whole layers, are one filter."""
    if whole or len(slot.shape) < 2:
        return block.reshape(len(block), 1, -1)
    return block.reshape(len(block), *slot.shape).movedim(1 + slot.filter_axis, 1).flatten(2)


def _back(filters: Tensor, slot: Slot, whole: bool) -> Tensor:
    """The inverse of `_filters`."""
    if whole or len(slot.shape) < 2:
        return filters.reshape(len(filters), -1)
    rest = [size for axis, size in enumerate(slot.shape) if axis != slot.filter_axis]
    return filters.reshape(*filters.shape[:2], *rest).movedim(1, 1 + slot.filter_axis).reshape(len(filters), -1)


def _apart(rows: Tensor) -> Tensor:
    """Make ``[k, ..., d]`` orthogonal along k over the last axis, each of the norm it had, as far as there is room."""
    found: list[Tensor] = []
    for row in rows:
        size = torch.linalg.vector_norm(row, dim=-1)
        if len(found) >= row.shape[-1]:  # as many directions as numbers: nothing would be left
            found.append(row)
            continue
        left = row
        for _ in range(2):  # once more, for what rounding left
            for other in found:
                own = other.square().sum(-1, keepdim=True)
                left = left - (left * other).sum(-1, keepdim=True) / torch.where(own > 0, own, 1.0) * other
        found.append(_scaled(left, size))
    return torch.stack(found)


def _scaled(rows: Tensor, norms: Tensor) -> Tensor:
    """Give ``[..., d]`` these norms; what is zero stays zero."""
    own: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return rows * torch.where(own > 0, norms / torch.where(own > 0, own, 1.0), 0.0).unsqueeze(-1)


def _known(name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise BadInput(f"{name} is {value!r}: give {', '.join(map(repr, choices))}.")
