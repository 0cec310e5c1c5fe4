"""Descent in the toy landscape, free or within a plane: the check that needs no algebra."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.theory.wedges._toy import Wedges


@dataclass(frozen=True)
class Descent:
    """Where descent ended.

    Attributes:
        point: the end, ``[D]``.
        losses: loss before each step and at the end, ``[steps + 1]``.
        wedge: the wedge nearest to the end.
    """

    point: Tensor
    losses: Tensor
    wedge: int


def descend(
    toy: Wedges,
    origin: Tensor,
    directions: Tensor | None = None,
    *,
    rate: float = 1.0,
    momentum: float = 0.0,
    steps: int = 200,
) -> Descent:
    """Go downhill on ``L^2 / 2``, which is as smooth as a parabola where the loss has a cone.

    In free space one step of rate 1 reaches the wedge. In a plane it stays with the wedge it comes to first, so that
    where wedges are many it can end above what `best_in_plane` finds.

    Args:
        toy: the landscape.
        origin: where to start, ``[D]``.
        directions: the plane through the start that it is confined to, ``[D, d]``, orthonormal; None for none.
        rate: the learning rate.
        momentum: of a heavy ball.
        steps: how many.

    Returns:
        The end.

    Raises:
        BadInput: when the start or the directions do not fit, or the rate is not above 0.
    """
    if origin.shape != (toy.dimension,) or (directions is not None and directions.shape[:1] != (toy.dimension,)):
        raise BadInput(f"The start is a point [{toy.dimension}] and the directions are [{toy.dimension}, d].")
    if not rate > 0 or not 0 <= momentum < 1 or steps < 1:
        raise BadInput("Descent takes a rate above 0, a momentum from 0 to below 1, and at least one step.")
    point = origin.clone()
    speed = torch.zeros_like(point)
    losses = []
    for _ in range(steps):
        way = toy.step(point)
        losses.append(way.norm())
        if directions is not None:
            way = directions @ (directions.T @ way)
        speed = momentum * speed + way
        point = point - rate * speed
    losses.append(toy.loss(point))
    return Descent(point, torch.stack(losses), int(toy.nearest(point)))
