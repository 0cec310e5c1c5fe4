"""Random directions, of a scale that a surface can be read in (Li et al. 2018, section 4).

A Gaussian direction moves a filter of small weights relatively further than one of large weights, and in networks with
rectified or normalised units the scale of a filter means nothing. Filter normalisation gives every filter of the
direction the norm of the same filter of the centre. The authors' code draws two such directions and prints the cosine
between them; here each filter of the second is made orthogonal to the same filter of the first before both get their
norm, so that the directions are orthogonal and every filter has exactly its norm.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.layout import Layout, Part, Slot
from landform.surface._contract import at_least, layout_of, one_point
from landform.surface._directions import Directions

Scale: TypeAlias = Literal["filter", "layer", "model", "unit", "gaussian"]

_UNITS = {
    "filter": "the norms of the centre's filters",
    "layer": "the norms of the centre's layers",
    "model": "the norm of the centre",
    "unit": "L2 distance",
    "gaussian": "a Gaussian draw of variance 1 for each parameter",
}
_SCALED = {
    "filter": ", filter-normalised",
    "layer": ", layer-normalised",
    "model": ", of the centre's norm",
    "unit": ", of norm 1",
    "gaussian": ", as drawn",
}


def random(
    landscape: Landscape | Layout,
    point: Tensor | None = None,
    count: int = 2,
    *,
    scale: Scale = "filter",
    vectors: Literal["zero", "whole", "keep"] = "zero",
    part: Part | None = None,
    orthogonal: bool = True,
    seed: int = 0,
) -> Directions:
    """Draw Gaussian directions and give them a scale.

    Args:
        landscape: what they are directions of, or its layout.
        point: the point whose norms they take, ``[P]``; by default where the landscape's model is.
        count: how many.
        scale: every ``"filter"``, or every ``"layer"`` (parameter tensor), gets the norm of the same one of the point;
            ``"model"``: the whole direction gets the norm of the whole point; ``"unit"``: the norm 1; ``"gaussian"``:
            left as drawn.
        vectors: what becomes of biases and of the parameters of normalisation layers (all with fewer than two axes):
            ``"zero"`` leaves them where they are, as the authors' code does; ``"whole"`` scales each vector as one
            filter, or layer; ``"keep"`` draws them and leaves them as drawn.
        part: move these parameters alone, such as ``layout.part("layers.0")``.
        orthogonal: make the directions orthogonal, filter by filter (or by what is scaled). A filter with fewer numbers
            than there are directions has no room for that and is left as drawn; the angle says what is left.
        seed: of the draw; the same on any device and in any floating-point type, up to rounding.

    Returns:
        The directions.

    Raises:
        BadInput: when a setting is unknown, or nothing is left to move.
    """
    layout = layout_of(landscape)
    at_least("count", count, 1)
    if scale not in _UNITS:
        raise BadInput(f"The scale of random directions is {scale!r}: give {', '.join(map(repr, _UNITS))}.")
    if vectors not in ("zero", "whole", "keep"):
        raise BadInput(f"vectors is {vectors!r}: give 'zero', 'whole' or 'keep'.")
    if vectors == "whole" and scale not in ("filter", "layer"):
        raise BadInput(f"vectors='whole' scales each vector by itself, and the scale {scale!r} does not: give 'keep'.")
    if point is None:
        if not isinstance(landscape, Landscape):
            raise BadInput("A layout alone has no point to take norms from: give one, [P].")
        point = landscape.here
    point = one_point(landscape, point, "The point")
    drawn = torch.randn(count, layout.size, generator=torch.Generator().manual_seed(seed)).to(torch.float64)
    like = point.cpu().to(torch.float64)
    chosen = set(layout.names) if part is None else {slot.name for slot in part.slots}
    by_layer, tight = scale == "layer", False
    for slot in layout.slots:
        block = drawn[:, slot.start : slot.stop]
        if slot.name not in chosen or (len(slot.shape) < 2 and vectors == "zero"):
            block.zero_()
        elif scale in ("filter", "layer"):
            rows = _filters(block, slot, whole=by_layer)
            tight |= rows.shape[2] < count
            if orthogonal and rows.shape[2] >= count:
                rows = _apart(rows)
            if len(slot.shape) >= 2 or vectors == "whole":
                own = _filters(like[None, slot.start : slot.stop], slot, whole=by_layer)
                rows = _scaled(rows, torch.linalg.vector_norm(own, dim=-1))
            block.copy_(_back(rows, slot, whole=by_layer))
    if scale in ("model", "unit", "gaussian"):
        flat = _apart(drawn[:, None]) if orthogonal else drawn[:, None]
        norm = {"model": float(torch.linalg.vector_norm(like)), "unit": 1.0}.get(scale)
        drawn = (flat if norm is None else _scaled(flat, torch.full((1, 1), norm, dtype=torch.float64)))[:, 0]
    if not bool(drawn.any(1).all()):
        raise BadInput(
            "Nothing is left for the directions to move: the parameters chosen have one axis only, or are zero at the "
            "point; give vectors='keep', or the scale 'unit'."
        )
    how = f"random Gaussian{_SCALED[scale]}{_straight(scale, orthogonal and count > 1, tight)}"
    where = "" if part is None else f", in {', '.join(slot.name for slot in part.slots)} alone"
    seeded = f"{how}{where}, seed {seed}"
    return Directions(drawn.to(point), seeded, _UNITS[scale], vectors, vectors, origin=point, seed=seed)


def filter_deviation(layout: Layout, vectors: Tensor, point: Tensor) -> float:
    """How far the filters of directions are from having the norms of a point's filters.

    Args:
        layout: of the model.
        vectors: ``[k, P]``.
        point: ``[P]``.

    Returns:
        The largest relative difference, over the filters of weights with two axes or more; zero for a filter-normalised
        direction, and infinite where the point's filter is zero and the direction's is not.
    """
    own, wanted = layout.filter_norms(vectors), layout.filter_norms(point)
    worst = 0.0
    for slot in layout.slots:
        if len(slot.shape) >= 2:
            apart = (own[slot.name] - wanted[slot.name]).abs() / wanted[slot.name]
            worst = max(worst, float(apart.nan_to_num(0.0, posinf=math.inf).max()))
    return worst


def _straight(scale: Scale, orthogonal: bool, tight: bool) -> str:
    if not orthogonal:
        return ""
    level = {"filter": " filter by filter", "layer": " layer by layer"}.get(scale, "")
    return f", made orthogonal{level}{' where there is room' if tight else ''}"


def _filters(block: Tensor, slot: Slot, *, whole: bool) -> Tensor:
    """A parameter ``[k, size]`` as filters ``[k, filters, rest]``; vectors, and whole layers, are one filter."""
    if whole or len(slot.shape) < 2:
        return block.reshape(len(block), 1, -1)
    found: Tensor = block.reshape(len(block), *slot.shape).movedim(slot.filter_axis + 1, 1).flatten(2)
    return found


def _back(rows: Tensor, slot: Slot, *, whole: bool) -> Tensor:
    """The inverse of `_filters`."""
    k = len(rows)
    if whole or len(slot.shape) < 2:
        return rows.reshape(k, -1)
    shape = list(slot.shape)
    filters = shape.pop(slot.filter_axis)
    found: Tensor = rows.reshape(k, filters, *shape).movedim(1, slot.filter_axis + 1).reshape(k, -1)
    return found


def _apart(rows: Tensor) -> Tensor:
    """Make ``[k, filters, rest]`` orthogonal along k, filter by filter, each of the norm it had."""
    found: list[Tensor] = []
    norms = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    tiny = torch.finfo(rows.dtype).tiny
    for row in rows:
        left = row
        for _ in range(2):  # once leaves what rounding put in
            for before in found:
                left = left - (left * before).sum(-1, keepdim=True) * before
        found.append(left / torch.linalg.vector_norm(left, dim=-1, keepdim=True).clamp_min(tiny))
    whole: Tensor = torch.stack(found) * norms
    return whole


def _scaled(rows: Tensor, norms: Tensor) -> Tensor:
    """Give ``[k, filters, rest]`` the norms ``[1, filters]``; a filter of zeros stays one."""
    own = torch.linalg.vector_norm(rows, dim=-1)
    whole: Tensor = rows * torch.where(own > 0, norms / own, 0.0).unsqueeze(-1)
    return whole
