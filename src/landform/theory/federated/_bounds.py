"""The theorems' bounds, with the constants that are in them; hidden constants are left out where they multiply."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landform.errors import BadInput


def contraction_bound(
    least: float, *, local_lr: float, local_steps: int, clients: int, server_lr: float = 1.0
) -> float:
    """Factor by which a round shrinks the squared residual at least: ``1 - eta_g eta_l lambda K / (2 N)``.

    Args:
        least: smallest eigenvalue lambda of H-infinity.
        local_lr: learning rate of the clients, for the sum of squares over their samples, halved.
        local_steps: steps of a round.
        clients: how many clients there are.
        server_lr: by which the server multiplies the mean of what the clients moved by.

    Returns:
        The factor; below 1. It holds for rates small enough, which the theorem asks for.
    """
    return 1 - server_lr * local_lr * least * local_steps / (2 * clients)


def rounds_bound(
    least: float, share: float, *, local_lr: float, local_steps: int, clients: int, server_lr: float = 1.0
) -> float:
    """Rounds after which at most a share of the squared residual is left, by that bound.

    Args:
        least: smallest eigenvalue lambda of H-infinity.
        share: of the squared residual.
        local_lr: learning rate of the clients.
        local_steps: steps of a round.
        clients: how many clients there are.
        server_lr: of the server.

    Returns:
        The number of rounds.

    Raises:
        BadInput: when the share is none.
    """
    if not 0 < share < 1:
        raise BadInput(f"The share of the residual that is left is {share}: give a number between 0 and 1.")
    factor = contraction_bound(least, local_lr=local_lr, local_steps=local_steps, clients=clients, server_lr=server_lr)
    if not 0 < factor < 1:
        raise BadInput(f"The bound's factor is {factor:.3g}: give smaller rates, with which a round shrinks the loss.")
    return math.log(share) / math.log(factor)


def generalisation_bound(limit: Tensor, targets: Tensor) -> float:
    """Leading term of the bound on the population loss: ``sqrt(2 y H^-1 y / n)``.

    The theorem adds ``O(sqrt(log(n / (lambda delta)) / n))`` with a constant of its own; the loss is one between 0 and
    1 that changes no faster than the prediction.

    Args:
        limit: H-infinity of the training inputs, ``[n, n]``.
        targets: y, ``[n]``.

    Returns:
        The term.
    """
    y = targets.to(torch.float64).reshape(-1)
    solved = torch.linalg.solve(limit.to(torch.float64), y)
    return math.sqrt(max(0.0, 2 * float(y @ solved) / len(y)))
