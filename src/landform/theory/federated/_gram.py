"""The Gram matrices of two-layer ReLU networks whose clients have moved."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landform.errors import BadInput


def limit_gram(inputs: Tensor, others: Tensor | None = None) -> Tensor:
    """The Gram matrix of an infinitely wide network at its start, H-infinity.

    ``E_w x.y 1{w.x >= 0, w.y >= 0} = x.y (pi - arccos(x.y)) / (2 pi)`` over Gaussian w.

    Args:
        inputs: of unit length, ``[n, d]``.
        others: likewise, ``[n', d]``; the same by default.

    Returns:
        ``[n, n']``, with 1/2 on the diagonal of one with itself.

    Raises:
        BadInput: when an input is not of unit length.
    """
    for x in (inputs,) if others is None else (inputs, others):
        off = float((x.norm(dim=1) - 1).abs().max()) if len(x) else 0.0
        if not off < 1e-3:
            raise BadInput(f"The Gram matrix is of inputs of unit length, and one is off by {off:.3g}: scale them.")
    cosines = inputs @ (inputs if others is None else others).T
    inside = cosines.clamp(-1, 1)
    found: Tensor = cosines * (math.pi - torch.arccos(inside)) / (2 * math.pi)
    if others is None:  # arccos near 1 takes a rounding error of a cosine to its root
        found.fill_diagonal_(0.5)
    return found


def gram(inputs: Tensor, server: Tensor, client: Tensor | None = None, others: Tensor | None = None) -> Tensor:
    """The Gram matrix H(t, k, c) of a finite network: rows by the server's weights, columns by the client's.

    ``H_ij = x_i.x_j 1/m sum_r 1{u_r.x_i >= 0} 1{w_r.x_j >= 0}``

    Args:
        inputs: of the rows, ``[n, d]``.
        server: the server's weights u, ``[m, d]``.
        client: the client's weights w, ``[m, d]``; the server's by default, of which it is symmetric.
        others: inputs of the columns, the client's own samples, ``[n', d]``; those of the rows by default.

    Returns:
        ``[n, n']``.
    """
    columns = inputs if others is None else others
    rows_on = (inputs @ server.T >= 0).to(inputs.dtype)
    columns_on = (columns @ (server if client is None else client).T >= 0).to(inputs.dtype)
    return (inputs @ columns.T) * (rows_on @ columns_on.T) / len(server)


def asymmetry(matrix: Tensor) -> float:
    """How far a square matrix is from its transpose: largest difference over largest entry.

    Args:
        matrix: ``[n, n]``.

    Returns:
        0 for a symmetric one.
    """
    most = float(matrix.abs().max())
    return float((matrix - matrix.T).abs().max()) / most if most > 0 else 0.0
