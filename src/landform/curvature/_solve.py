"""Inverse products by conjugate gradients."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from landform.curvature._contract import (
    Symmetric,
    check_count,
    check_operator,
    check_tolerance,
    check_vector,
    dot,
    norm,
    product,
)
from landform.errors import BadInput


@dataclass(frozen=True)
class Solution:
    """An approximate solution of ``(H + damping) x = b``.

    Attributes:
        vector: x, ``[P]``; where negative curvature was met, the best before it.
        residual: ``||b - (H + damping) x|| / ||b||``, by a product of its own.
        curvature: the least ``p'(H + damping) p / p'p`` along the way; not positive where it stopped for that.
        converged: whether the residual is within the tolerance.
        products: products spent, that for the residual included.
        damping: what was added to the diagonal.
        tol: the relative residual asked for.
        status: in a sentence, how it ended.
    """

    vector: Tensor = field(repr=False)
    residual: float
    curvature: float
    converged: bool
    products: int
    damping: float
    tol: float
    status: str


def solve(
    operator: Symmetric,
    target: Tensor,
    *,
    damping: float = 0.0,
    tol: float = 1e-3,
    start: Tensor | None = None,
    max_products: int | None = None,
) -> Solution:
    """Solve ``(H + damping) x = b`` by conjugate gradients (Hestenes & Stiefel 1952).

    Args:
        operator: a symmetric operator; positive definite with the damping, or the solver says so and stops.
        target: b, ``[P]``.
        damping: added to the diagonal.
        tol: relative residual asked for.
        start: a first guess, ``[P]``.
        max_products: give up after so many; by default 10 times the size, at most 500.

    Returns:
        The solution; where it was not reached, `converged` and `status` say so.

    Raises:
        BadInput: when a vector does not fit the operator, or the damping is negative.
    """
    check_operator(operator)
    check_tolerance(tol)
    if not 0 <= damping < float("inf"):
        raise BadInput(f"damping is {damping}: give 0 or a positive number.")
    most = max_products if max_products is not None else max(2, min(10 * operator.size, 500))
    check_count("max_products", most, 2)
    b = check_vector("right-hand side", target, operator)
    size = norm(b)
    x = torch.zeros_like(b) if start is None else check_vector("start", start, operator).clone()
    spent = 0
    rest = b.clone()
    if start is not None:
        rest -= product(operator, x) + damping * x
        spent += 1
    towards = rest.clone()
    square = dot(rest, rest)
    least = float("inf")
    why = ""
    while square**0.5 > 0.5 * tol * size and not why:
        if spent >= most - 1:
            why = f"stopped after {most} products: raise max_products, damping or tol"
            break
        image = product(operator, towards) + damping * towards
        spent += 1
        along = dot(towards, image)
        least = min(least, along / dot(towards, towards))
        if along <= 0:
            why = (
                f"met the curvature {least:.3g}, so the operator is not positive definite: add more damping, or use "
                "the Gauss-Newton matrix"
            )
            break
        step = square / along
        x.add_(towards, alpha=step)
        rest.add_(image, alpha=-step)
        before, square = square, dot(rest, rest)
        towards.mul_(square / before).add_(rest)
    true = norm(b - product(operator, x) - damping * x) / size if size else 0.0
    spent += 1
    done = true <= tol
    status = f"Solved to {true:.2g} with {spent} products." if done else f"Residual {true:.2g}; {why or 'rounding'}."
    return Solution(x, true, least, done, spent, damping, tol, status)
