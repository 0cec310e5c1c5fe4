"""Dual functions of activations: E[phi(u) phi(v)] and E[phi'(u) phi'(v)] for jointly normal u and v.

ReLU: Cho & Saul 2009; erf: Williams 1997; GELU: by Stein's lemma, from E[Phi(u) Phi(v)] and E[n(u) n(v)].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from landform.errors import BadInput

Dual = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""``(k12, k11, k22) -> (V, V')``: covariance and variances, shapes that broadcast to that of the covariance."""

# Below this many roundings the sine of an angle, squared, is taken as zero: there its root has an infinite slope.
ROUNDINGS = 64.0


def _determinant(k12: Tensor, k11: Tensor, k22: Tensor) -> Tensor:
    return (k11 * k22 - k12.square()).clamp_min(0.0)


def relu(k12: Tensor, k11: Tensor, k22: Tensor) -> tuple[Tensor, Tensor]:
    """Duals of max(u, 0).

    V' has a kink where the two inputs are one: the slope given there is 0, the mean of both sides.

    Args:
        k12: covariances.
        k11: variances of the first.
        k22: variances of the second.

    Returns:
        V and V'.
    """
    product = k11 * k22
    det = product - k12.square()
    apart = det > ROUNDINGS * torch.finfo(det.dtype).eps * product
    root = torch.where(apart, torch.where(apart, det, 1.0).sqrt(), 0.0)
    # At variance zero the angle is free; cosine 1 keeps it and its slope finite.
    angle = torch.atan2(root, torch.where(product > 0, k12, 1.0))
    return (k12 * (math.pi - angle) + root) / (2 * math.pi), (math.pi - angle) / (2 * math.pi)


def leaky_relu(slope: float) -> Dual:
    """Duals of max(u, slope u), slope in [0, 1].

    Args:
        slope: for negative u.

    Returns:
        The dual.

    Raises:
        BadInput: when the slope is outside [0, 1].
    """
    if not 0 <= slope <= 1:
        raise BadInput(f"The slope of a leaky ReLU lies in [0, 1]; got {slope}.")

    def both(k12: Tensor, k11: Tensor, k22: Tensor) -> tuple[Tensor, Tensor]:
        value, derivative = relu(k12, k11, k22)
        rest = (1 - slope) ** 2
        return slope * k12 + rest * value, slope + rest * derivative

    return both


def linear(k12: Tensor, k11: Tensor, k22: Tensor) -> tuple[Tensor, Tensor]:
    """Duals of the identity.

    Args:
        k12: covariances.
        k11: variances of the first.
        k22: variances of the second.

    Returns:
        V and V'.
    """
    return k12, torch.ones_like(k12)


def erf(k12: Tensor, k11: Tensor, k22: Tensor) -> tuple[Tensor, Tensor]:
    """Duals of the error function.

    Args:
        k12: covariances.
        k11: variances of the first.
        k22: variances of the second.

    Returns:
        V and V'.
    """
    # (1 + 2 k11)(1 + 2 k22) - 4 k12^2, at least 1 and summed so that it stays so.
    root = (1 + 2 * (k11 + k22) + 4 * _determinant(k12, k11, k22)).sqrt()
    return 2 / math.pi * torch.atan2(2 * k12, root), 4 / math.pi / root


def gelu(k12: Tensor, k11: Tensor, k22: Tensor) -> tuple[Tensor, Tensor]:
    """Duals of u Phi(u), the exact GELU (not its tanh approximation).

    Args:
        k12: covariances.
        k11: variances of the first.
        k22: variances of the second.

    Returns:
        V and V'.
    """
    det = _determinant(k12, k11, k22)
    full = 1 + k11 + k22 + det  # det(I + K)
    root = full.sqrt()
    gates = 0.25 + torch.atan2(k12, root) / (2 * math.pi)  # E[Phi(u) Phi(v)]
    density = 1 / (2 * math.pi * root)  # E[n(u) n(v)]
    shrink = 1 / (1 + k11) + 1 / (1 + k22)
    value = k12 * gates + density * (det + k12.square() * shrink)
    return value, gates + density * k12 * (shrink + 1 / full)


ACTIVATIONS: Mapping[str, Dual] = {"relu": relu, "erf": erf, "gelu": gelu, "linear": linear}
"""Activations known by name; ``leaky_relu(slope)`` by ``"leaky_relu:slope"``."""


def dual(phi: Callable[[Tensor], Tensor], *, nodes: int = 48) -> Dual:
    """Duals of any activation, by Gauss-Hermite quadrature on ``nodes ** 2`` points.

    For smooth phi the error falls faster than any power of the nodes (48: under 1e-6 for tanh, SiLU and GELU at
    variances up to 2); a kink leaves about ``1 / nodes``. phi' comes from automatic differentiation of phi.

    Args:
        phi: elementwise and differentiable.
        nodes: points along each of the two axes.

    Returns:
        The dual, for ``activation=``.

    Raises:
        BadInput: when there are too few nodes.
    """
    if nodes < 2:
        raise BadInput(f"Quadrature needs 2 nodes at least; got {nodes}.")
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    places, shares = points.tolist(), (weights / math.sqrt(2 * math.pi)).tolist()

    def slope(u: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            at = u if u.requires_grad else u.detach().requires_grad_()
            value = phi(at)
            (derivative,) = torch.autograd.grad(value.sum(), at, create_graph=u.requires_grad)
        return (value, derivative) if u.requires_grad else (value.detach(), derivative)

    def both(k12: Tensor, k11: Tensor, k22: Tensor) -> tuple[Tensor, Tensor]:
        tiny = torch.finfo(k12.dtype).tiny
        first = k11.clamp_min(tiny).sqrt()
        along = k12 / first
        left = k22 - along.square()
        apart = left > ROUNDINGS * torch.finfo(k12.dtype).eps * k22
        across = torch.where(apart, torch.where(apart, left, 1.0).sqrt(), 0.0)
        value, derivative = torch.zeros_like(across), torch.zeros_like(across)
        for a, share in zip(places, shares, strict=True):
            here, tilt = slope(first * a)
            inner, bend = torch.zeros_like(across), torch.zeros_like(across)
            for b, weight in zip(places, shares, strict=True):
                there, turned = slope(along * a + across * b)
                inner, bend = inner + weight * there, bend + weight * turned
            value, derivative = value + share * here * inner, derivative + share * tilt * bend
        return value, derivative

    return both


def chosen(activation: str | Dual) -> Dual:
    """Read the choice of an activation.

    Args:
        activation: its name, or its dual.

    Returns:
        The dual.

    Raises:
        BadInput: when the name is unknown.
    """
    if not isinstance(activation, str):
        return activation
    if activation.startswith("leaky_relu:"):
        try:
            return leaky_relu(float(activation.partition(":")[2]))
        except ValueError as wrong:
            if isinstance(wrong, BadInput):
                raise
            raise BadInput(f"Write leaky_relu:0.1, with a number; got {activation!r}.") from None
    if activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise BadInput(
            f"Unknown activation {activation!r}: one of {known}, leaky_relu:SLOPE, or dual(phi) of your own."
        )
    return ACTIVATIONS[activation]
