"""How alike two sets of activations of the same samples are, whatever their units are called."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.functions._contract import centred, check_numbers, wide
from landform.functions._hsic import Kernel, centre, gram, products, similarity
from landform.functions._moments import Canonical, Moments


def cka(a: Tensor, b: Tensor, *, kernel: Kernel = "linear", unbiased: bool = False, bandwidth: float = 1.0) -> float:
    """Centred kernel alignment (Kornblith et al. 2019).

    ``HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))``, where K and L are kernels between the samples. Not changed by a
    rotation, a shift or a scaling of either's features.

    Args:
        a: activations ``[N, ...]``; what comes after the samples counts as features.
        b: activations ``[N, ...]`` of the same samples.
        kernel: ``"linear"``, or ``"rbf"``.
        unbiased: take the unbiased estimate of HSIC, without which few samples and many features look alike whatever
            they are; it may come out a little below 0.
        bandwidth: of the RBF kernel, as a multiple of the median distance between two samples.

    Returns:
        1 for the same up to rotation, shift and scale; nan where one does not vary.

    Raises:
        BadInput: when the samples differ, are too few, or hold NaN.
    """
    left, right = _rows(a, b, 4 if unbiased else 2)
    if kernel == "linear" and not unbiased and left.shape[1] + right.shape[1] <= len(left):
        moments = Moments()
        moments.add(left, right)
        return moments.cka()
    first, second = (centre(gram(rows, kernel, bandwidth), unbiased)[None] for rows in (left, right))
    across, own, other = (products(x, y, unbiased) for x, y in ((first, second), (first, first), (second, second)))
    return float(similarity(across, own[0], other[0]))


def procrustes(a: Tensor, b: Tensor) -> float:
    """Distance of two sets of activations after the best rotation of one onto the other.

    ``min over orthogonal Q of || X / ||X|| - Y Q / ||Y|| ||``, with X and Y centred and the smaller filled up with
    zeros; its square is the Procrustes distance of Ding, Denain and Steinhardt 2021. A metric; not changed by a
    rotation, a shift or a scaling of either.

    Args:
        a: activations ``[N, ...]``.
        b: activations ``[N, ...]`` of the same samples.

    Returns:
        Between 0 and sqrt(2); nan where one does not vary. Below about 1e-7 it is rounding.

    Raises:
        BadInput: when the samples differ, are too few, or hold NaN.
    """
    x, y = (centred(wide(rows)) for rows in _rows(a, b, 2))
    scale = float(x.norm() * y.norm())
    if not scale > 0:
        return math.nan
    nuclear = float(torch.linalg.svdvals(_reduced(x).T @ _reduced(y)).sum())
    return math.sqrt(max(0.0, 2 - 2 * nuclear / scale))


def canonical(a: Tensor, b: Tensor, *, keep: float = 0.99) -> Canonical:
    """Canonical correlations of the leading principal directions: SVCCA and PWCCA.

    Not changed by a rotation, a shift or a scaling of either. With as many features as samples every correlation is 1
    whatever the activations are: give several times as many samples.

    Args:
        a: activations ``[N, ...]``.
        b: activations ``[N, ...]`` of the same samples.
        keep: share of the variance that the directions kept explain; 1 is plain CCA.

    Returns:
        The correlations, and both means of them.

    Raises:
        BadInput: when the samples differ, are too few, or hold NaN.
    """
    left, right = _rows(a, b, 2)
    moments = Moments()
    moments.add(left, right)
    return moments.canonical(keep)


def _reduced(x: Tensor) -> Tensor:
    """The same singular values and products with others in no more columns than rows: a QR of the transpose.

    The rotation left out acts on the features, which no measure here sees.
    """
    if x.shape[1] <= x.shape[0]:
        return x
    triangle: Tensor = torch.linalg.qr(x.T, mode="r").R
    return triangle.T


def _rows(a: Tensor, b: Tensor, least: int) -> tuple[Tensor, Tensor]:
    for place, one in enumerate((a, b)):
        if not isinstance(one, Tensor) or not one.is_floating_point() or one.dim() < 2:
            raise BadInput("Activations are tensors [samples, features] of floating-point numbers.")
        check_numbers(one, "activations", place)
    if len(a) != len(b):
        raise BadInput(f"The activations are of {len(a)} and {len(b)} samples: give both for the same ones.")
    if len(a) < least:
        raise BadInput(f"There are {len(a)} samples: this takes {least} or more.")
    return a.detach().flatten(1), b.detach().to(a).flatten(1)
