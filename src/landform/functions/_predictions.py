"""How far apart the outputs of two models are, sample by sample and on average.

Each measure is a mean over samples of a number for each, so that it can be summed batch by batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from landform.functions._contract import check_classes, two_or_many, wide

Rows: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def disagreement(a: Tensor, b: Tensor | None = None) -> Tensor:
    """Share of samples to which two models give different labels.

    Args:
        a: logits ``[N, ..., K]``; or of n models, ``[n, N, ..., K]``, where b is not given.
        b: logits ``[N, ..., K]``.

    Returns:
        A float64 scalar, or ``[n, n]`` over all pairs, on the CPU. A tie goes to the lower class.
    """
    every = two_or_many(a, b, 2, "outputs")
    check_classes(every)
    return _over(every.argmax(-1), different, b)


def softmax_distance(a: Tensor, b: Tensor | None = None) -> Tensor:
    """Root of the mean over samples of ``||p_a - p_b||^2``, p the softmax.

    Args:
        a: logits ``[N, ..., K]``; or of n models, ``[n, N, ..., K]``, where b is not given.
        b: logits ``[N, ..., K]``.

    Returns:
        A float64 scalar in [0, sqrt(2)], or ``[n, n]`` over all pairs, on the CPU.
    """
    every = two_or_many(a, b, 2, "outputs")
    check_classes(every)
    return _over(wide(every).softmax(-1), squares, b).sqrt()


def output_distance(a: Tensor, b: Tensor | None = None) -> Tensor:
    """Root of the mean over samples of ``||f_a - f_b||^2``, of the outputs as they are.

    Args:
        a: outputs ``[N, ..., K]``; or of n models, ``[n, N, ..., K]``, where b is not given.
        b: outputs ``[N, ..., K]``.

    Returns:
        A float64 scalar, or ``[n, n]`` over all pairs, on the CPU.
    """
    return _over(wide(two_or_many(a, b, 2, "outputs")), squares, b).sqrt()


def symmetric_kl(a: Tensor, b: Tensor | None = None) -> Tensor:
    """Mean over samples of ``KL(p_a || p_b) + KL(p_b || p_a)``, p the softmax, in nats.

    Both directions are summed (Jeffreys), not averaged.

    Args:
        a: logits ``[N, ..., K]``; or of n models, ``[n, N, ..., K]``, where b is not given.
        b: logits ``[N, ..., K]``.

    Returns:
        A float64 scalar, or ``[n, n]`` over all pairs, on the CPU.
    """
    every = two_or_many(a, b, 2, "outputs")
    check_classes(every)
    return _over(wide(every).log_softmax(-1), divergence, b)


def logit_cosine(a: Tensor, b: Tensor | None = None, *, centred: bool = False) -> Tensor:
    """Mean over samples of the cosine between two models' outputs.

    Args:
        a: outputs ``[N, ..., K]``; or of n models, ``[n, N, ..., K]``, where b is not given.
        b: outputs ``[N, ..., K]``.
        centred: take each sample's mean output away first, which a softmax does not see.

    Returns:
        A float64 scalar in [-1, 1], or ``[n, n]`` over all pairs, on the CPU. A sample whose outputs are all zero has
        no direction and counts as 0.
    """
    every = wide(two_or_many(a, b, 2, "outputs"))
    if centred:
        every = every - every.mean(-1, keepdim=True)
    return _over(every, cosine, b)


# ------------------------------------------------------------------------------------------------ sample by sample


def different(first: Tensor, second: Tensor) -> Tensor:
    """Ones where two labels differ.

    Args:
        first: labels ``[...]``.
        second: likewise.

    Returns:
        ``[...]``, float64.
    """
    return wide(first != second)


def squares(first: Tensor, second: Tensor) -> Tensor:
    """Squared distances along the last axis.

    Args:
        first: ``[..., K]``.
        second: likewise.

    Returns:
        ``[...]``.
    """
    return (first - second).square().sum(-1)


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """Symmetric Kullback-Leibler divergence.

    Args:
        first: logarithms of probabilities, ``[..., K]``.
        second: likewise.

    Returns:
        ``[...]``.
    """
    return ((first.exp() - second.exp()) * (first - second)).sum(-1)


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Cosines along the last axis; 0 where one is zero.

    Args:
        first: ``[..., K]``.
        second: likewise.

    Returns:
        ``[...]``.
    """
    # Unit vectors before the product, or small outputs would underflow.
    one, other = (torch.nn.functional.normalize(t, dim=-1, eps=1e-300) for t in (first, second))
    return (one * other).sum(-1).clamp(-1, 1)


def _over(every: Tensor, rows: Rows, b: Tensor | None) -> Tensor:
    """Mean of the rows for two, or for all pairs of n; one against the rest at a time, so that memory is n's."""
    if b is not None:
        return rows(every[0], every[1]).mean().cpu()
    n = len(every)
    found = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        found[i, i:] = rows(every[i : i + 1], every[i:]).flatten(1).mean(1).cpu()
    return found + found.triu(1).T
