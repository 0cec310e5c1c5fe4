"""How much of a gradient lies in an eigenspace, and how much two eigenspaces have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from landform.curvature._contract import wide
from landform.curvature._eigenpairs import Eigenpairs
from landform.errors import BadInput


@dataclass(frozen=True)
class Confinement:
    """Share of vectors' squared length in the span of the first 1, 2, ..., k directions.

    Attributes:
        shares: share in each direction, ``[k]``, or ``[n, k]`` for n vectors.
        dimension: P; a random direction would hold a share of about k / P.
    """

    shares: Tensor
    dimension: int

    @property
    def total(self) -> Tensor:
        """Share in all k directions, a scalar or ``[n]``."""
        return self.shares.sum(-1)

    @property
    def cumulative(self) -> Tensor:
        """Share in the first 1, 2, ..., k directions, ``[k]`` or ``[n, k]``."""
        return self.shares.cumsum(-1)


def confinement(vectors: Tensor, directions: Eigenpairs | Tensor) -> Confinement:
    """Measure how much of gradients (full, or of mini-batches) lies in a subspace.

    Args:
        vectors: one gradient ``[P]``, or several ``[n, P]``.
        directions: eigenpairs, or a matrix ``[P, k]`` whose columns span the subspace.

    Returns:
        The shares ``(u_i . g)^2 / ||g||^2``; nan for a gradient that is zero.

    Raises:
        BadInput: when the sizes differ.
    """
    basis = _orthonormal(directions)
    if vectors.dim() not in (1, 2) or vectors.shape[-1] != basis.shape[0]:
        raise BadInput(f"The gradients have shape {list(vectors.shape)}, but the directions are [{basis.shape[0]}, k].")
    rows = wide(vectors.to(basis.device))
    inside = (rows @ basis).square()
    shares = inside / rows.square().sum(-1, keepdim=True)
    return Confinement(shares.cpu(), basis.shape[0])


def overlap(a: Eigenpairs | Tensor, b: Eigenpairs | Tensor) -> float:
    """Overlap of two subspaces, ``tr(P P') / sqrt(tr P tr P')`` with the orthogonal projectors on them.

    Args:
        a: eigenpairs, or a matrix ``[P, k]``.
        b: the same, of any number of columns.

    Returns:
        A number in [0, 1]: 1 where they are the same, about ``sqrt(k k') / P`` where they are random.

    Raises:
        BadInput: when the sizes differ.
    """
    left, right = _orthonormal(a), _orthonormal(b)
    if left.shape[0] != right.shape[0]:
        raise BadInput(f"The two subspaces lie in spaces of {left.shape[0]:,} and {right.shape[0]:,} dimensions.")
    shared = float((left.T @ right.to(left.device)).square().sum())
    return shared / math.sqrt(left.shape[1] * right.shape[1])


def _orthonormal(directions: Eigenpairs | Tensor) -> Tensor:
    columns = directions.vectors if isinstance(directions, Eigenpairs) else directions
    if columns.dim() == 1:
        columns = columns.unsqueeze(1)
    if columns.dim() != 2 or columns.shape[1] > columns.shape[0]:
        raise BadInput(f"Directions are a matrix [P, k] with k at most P; got {list(columns.shape)}.")
    columns = wide(columns)
    gram = columns.T @ columns
    if bool((gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).abs().max() < 1e-10):
        return columns
    basis: Tensor
    basis, triangle = torch.linalg.qr(columns)
    weakest = float(triangle.diagonal().abs().min())
    if not weakest > 1e-7 * float(triangle.diagonal().abs().max()):
        raise BadInput("The directions are linearly dependent, or not finite: give columns that span k dimensions.")
    return basis
