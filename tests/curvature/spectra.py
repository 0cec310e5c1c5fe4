"""Matrices whose spectrum is known, as operators."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from landform.layout import Layout


class Dense:
    """A matrix as an operator: the least that the estimators need."""

    symmetric = True
    name = "matrix"

    def __init__(self, matrix: Tensor, layout: Layout | None = None) -> None:
        self.matrix, self.layout = matrix, layout
        self.size, self.dtype, self.device = len(matrix), matrix.dtype, matrix.device
        self.products = 0

    def __matmul__(self, vectors: Tensor) -> Tensor:
        self.products += 1 if vectors.dim() == 1 else vectors.shape[1]
        return self.matrix @ vectors

    def dense(self) -> Tensor:
        return self.matrix


def with_spectrum(values: np.ndarray, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """A symmetric matrix of these eigenvalues in random directions."""
    draw = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(len(values), len(values), generator=draw, dtype=torch.float64))
    matrix = (rotation * torch.from_numpy(np.asarray(values, dtype=np.float64))) @ rotation.T
    return (0.5 * (matrix + matrix.T)).to(dtype)


def bulk(outliers: list[float], size: int = 300, width: float = 0.1, seed: int = 0) -> np.ndarray:
    """Some outliers beside a bulk around zero."""
    rest = np.random.default_rng(seed).normal(size=size - len(outliers)) * width
    return np.concatenate([outliers, rest])


SPECTRA = {
    "outliers": bulk([8.0, 5.0, 3.0, 2.0, 1.5, -2.5]),
    "clustered": bulk([5.0, 4.98, 4.9, 2.0, 1.99, -3.0]),
    "indefinite": bulk([4.0, -4.2, 3.0, -3.3, 2.0, -2.1], width=0.5),
    "rank-deficient": np.concatenate([[6.0, 4.0, 3.0, 2.0, 1.0, -1.0, -2.0, -3.0], np.zeros(292)]),
    "decaying": 10.0 / (1 + np.arange(300)) ** 1.5,
}
