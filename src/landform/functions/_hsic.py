"""Kernels between samples, and how alike two are: the Hilbert-Schmidt independence criterion (HSIC) and CKA.

The unbiased estimate is HSIC_1 of Song et al. 2012. With the diagonal left out and rows and columns centred
accordingly (the U-centring of Szekely and Rizzo 2014), it is a mean of products of entries, so that all pairs of many
kernels are one matrix product. Being unbiased for any number of samples from four on, it may be averaged over
mini-batches (Nguyen, Raghu and Kornblith 2021).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.functions._contract import centred, wide

Kernel: TypeAlias = Literal["linear", "rbf"]


def gram(rows: Tensor, kernel: Kernel = "linear", bandwidth: float = 1.0) -> Tensor:
    """Kernel between all pairs of samples.

    Args:
        rows: features ``[B, d]``.
        kernel: ``"linear"``, or ``"rbf"``: ``exp(-||x - y||^2 / (2 s^2))``.
        bandwidth: s as a multiple of the median distance between two samples (Kornblith et al. 2019).

    Returns:
        ``[B, B]``, float64.

    Raises:
        BadInput: when there is no such kernel, or the bandwidth is not above zero.
    """
    # Neither kernel is changed by a shift once it is centred, and without the mean less cancels.
    apart = centred(rows)
    products = wide(apart @ apart.T)
    if kernel == "linear":
        return products
    if kernel != "rbf":
        raise BadInput(f"There is no kernel {kernel!r}: give 'linear' or 'rbf'.")
    if not bandwidth > 0:
        raise BadInput(f"The bandwidth is {bandwidth}: give a number above 0, in median distances.")
    sizes = products.diagonal()
    squares = (sizes[:, None] + sizes[None] - 2 * products).clamp(min=0).fill_diagonal_(0)
    there = torch.ones_like(squares, dtype=torch.bool).triu(1)
    median = squares[there].median() if len(rows) > 1 else squares.new_ones(())
    # More than half of the samples alike: no distance to measure by but that of the rest.
    if not bool(median > 0):
        apart = squares[there & (squares > 0)]
        median = apart.median() if len(apart) else squares.new_ones(())
    return torch.exp(-squares / (2 * bandwidth**2 * median))


def centre(kernel: Tensor, unbiased: bool) -> Tensor:
    """Centre a kernel such that HSIC is a mean of products of entries.

    Args:
        kernel: ``[B, B]``.
        unbiased: leave the diagonal out; takes four samples or more.

    Returns:
        ``[B, B]``.
    """
    n = len(kernel)
    inner = kernel.clone()
    if unbiased:
        sums = inner.fill_diagonal_(0).sum(0)
        shares = (sums - sums.sum() / (2 * (n - 1))) / (n - 2)
    else:
        sums = inner.sum(0)
        shares = (sums - sums.sum() / (2 * n)) / n
    inner.sub_(shares[:, None]).sub_(shares[None])
    if unbiased:
        inner.fill_diagonal_(0)
    # A kernel that is the same everywhere leaves nothing but rounding. Its largest entry lies on its diagonal.
    rounding = 16 * torch.finfo(inner.dtype).eps * n * kernel.diagonal().max()
    flat = inner.flatten()
    return inner if bool(flat @ flat > rounding.square()) else torch.zeros_like(inner)


def products(left: Tensor, right: Tensor, unbiased: bool) -> Tensor:
    """HSIC of all pairs of centred kernels.

    Args:
        left: ``[p, B, B]``.
        right: ``[q, B, B]``.
        unbiased: how they were centred.

    Returns:
        ``[p, q]``.
    """
    n = left.shape[-1]
    return left.flatten(1) @ right.flatten(1).T / (n * (n - 3) if unbiased else (n - 1) ** 2)


def squares(centred_kernels: Tensor) -> Tensor:
    """Unbiased HSIC of each centred kernel with itself.

    Args:
        centred_kernels: ``[p, B, B]``.

    Returns:
        ``[p]``.
    """
    n = centred_kernels.shape[-1]
    rows = centred_kernels.flatten(1)
    return torch.stack([row @ row for row in rows]) / (n * (n - 3))


def similarity(across: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """CKA, of HSICs.

    Args:
        across: of all pairs, ``[p, q]``.
        left: of each with itself, ``[p]``.
        right: likewise, ``[q]``.

    Returns:
        ``[p, q]``; nan where one is constant over the samples (an unbiased estimate of zero may even be negative).
    """
    scale = left[:, None] * right[None]
    fine = (left[:, None] > 0) & (right[None] > 0)
    return torch.where(fine, across / scale.clamp(min=0).sqrt(), torch.nan)
