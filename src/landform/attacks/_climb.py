"""The climb itself: steps along the gradient by the inputs, projected back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from landform.attacks._attack import Attack
from landform.attacks._space import Space


def climb(
    slope: Callable[[Tensor], Tensor],
    inputs: Tensor,
    attack: Attack,
    space: Space,
    *,
    start: Tensor | None = None,
    lead: int = 1,
) -> Tensor:
    """Take the steps of an attack: ``u <- project(u + step direction(grad))``, at ``x + unit u``.

    Args:
        slope: gives the gradient of what is climbed by the inputs, of their shape; of each input only its direction
            counts. It is called once for each step, at the place where the step begins.
        inputs: ``[*, ...]``.
        attack: the steps.
        space: units and bounds; an input that lies outside of the bounds may go back, and no further out.
        start: where to begin, ``u`` in units, of the shape of the inputs; at the inputs themselves by default.
        lead: how many axes stand before those of one input: 1, or 2 for the batches of several models.

    Returns:
        The last place, of the shape of the inputs.
    """
    unit, low, high = space.tensors(inputs, lead)
    least = None if low is None else ((low - inputs) / unit).clamp_max(0.0)
    most = None if high is None else ((high - inputs) / unit).clamp_min(0.0)

    def placed(u: Tensor) -> Tensor:
        u = _into_ball(u, attack, lead)
        # The bounds hold the input itself, so that going back to them never leaves the ball.
        u = u if least is None else torch.maximum(u, least)
        return u if most is None else torch.minimum(u, most)

    u = torch.zeros_like(inputs) if start is None else placed(start)
    x = inputs + unit * u
    for _ in range(attack.steps):
        u = placed(u + attack.length * _direction(slope(x) * unit, attack, lead))
        x = inputs + unit * u
    return x


def random_start(inputs: Tensor, attack: Attack, generator: torch.Generator, lead: int = 1) -> Tensor:
    """A place drawn evenly from the ball.

    Args:
        inputs: ``[*, ...]``, for the shape.
        attack: the ball.
        generator: on the CPU, so that every device draws the same.
        lead: how many axes stand before those of one input.

    Returns:
        In units, of the shape of the inputs.
    """
    if attack.norm == "linf":
        drawn = torch.rand(inputs.shape, generator=generator, dtype=torch.float64)
        return ((2 * drawn - 1) * attack.eps).to(inputs)
    drawn = torch.randn(inputs.shape, generator=generator, dtype=torch.float64)
    numbers = drawn[(0,) * lead].numel() if drawn.numel() else 1
    share = torch.rand(inputs.shape[:lead], generator=generator, dtype=torch.float64) ** (1.0 / numbers)
    return (attack.eps * _spread(share, inputs, lead) * drawn / _lengths(drawn, lead)).to(inputs)


def random_edge(inputs: Tensor, attack: Attack, generator: torch.Generator) -> Tensor:
    """A random place as far out as the ball goes: signs for Linf, a direction for L2.

    Args:
        inputs: ``[B, ...]``, for the shape.
        attack: the ball.
        generator: on the CPU.

    Returns:
        In units, of the shape of the inputs.
    """
    drawn = torch.randn(inputs.shape, generator=generator, dtype=torch.float64)
    if attack.norm == "linf":
        return (attack.eps * drawn.sign()).to(inputs)
    return (attack.eps * drawn / _lengths(drawn, 1)).to(inputs)


def _direction(slope: Tensor, attack: Attack, lead: int) -> Tensor:
    if attack.norm == "linf":
        return slope.sign()
    # Scaled first, as the square of a small gradient may be nothing.
    slope = slope / slope.abs().flatten(lead).amax(-1).clamp_min(torch.finfo(slope.dtype).tiny).reshape(
        *slope.shape[:lead], *[1] * (slope.dim() - lead)
    )
    return slope / _lengths(slope, lead).clamp_min(1e-12)


def _into_ball(u: Tensor, attack: Attack, lead: int) -> Tensor:
    if attack.norm == "linf":
        return u.clamp(-attack.eps, attack.eps)
    lengths = _lengths(u, lead)
    return torch.where(lengths > attack.eps, u * (attack.eps / lengths.clamp_min(1e-30)), u)


def _lengths(u: Tensor, lead: int) -> Tensor:
    return _spread(torch.linalg.vector_norm(u.flatten(lead), dim=-1), u, lead)


def _spread(values: Tensor, like: Tensor, lead: int) -> Tensor:
    return values.reshape(*like.shape[:lead], *[1] * (like.dim() - lead))
