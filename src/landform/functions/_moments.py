"""Means and covariances of two sets of features, gathered batch by batch, and what follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.functions._contract import wide


@dataclass(frozen=True)
class Canonical:
    """Canonical correlations between two sets of features.

    Attributes:
        correlations: descending, in [0, 1], ``[min(kept)]``, float64, on the CPU.
        svcca: their mean (Raghu et al. 2017).
        pwcca: their mean, each weighted by how much of the first features its direction carries (Morcos, Raghu and
            Bengio 2018); not symmetric.
        kept: how many principal directions were kept of each.
    """

    correlations: Tensor
    svcca: float
    pwcca: float
    kept: tuple[int, int]


class Moments:
    """Second moments of features X ``[M, p]`` and Y ``[M, q]``, seen in batches.

    Batches are centred on their own means and joined as Chan, Golub and LeVeque 1983 do, so that a large mean costs no
    digits. Everything is in float64.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.count = 0
        self._mean: Tensor | None = None
        self._peak: Tensor | None = None
        self._scatter: Tensor | None = None
        self._split = 0

    def add(self, first: Tensor, second: Tensor) -> None:
        """Take a batch.

        Args:
            first: ``[B, p]``.
            second: ``[B, q]``.
        """
        both = wide(torch.cat((first, second), 1))
        mean = both.mean(0)
        apart = both - mean
        peak = both.abs().amax(0)
        if self._mean is None or self._scatter is None or self._peak is None:
            self.count, self._split = len(both), first.shape[1]
            self._mean, self._scatter, self._peak = mean, apart.T @ apart, peak
            return
        self._peak = torch.maximum(self._peak, peak)
        total = self.count + len(both)
        shift = mean - self._mean
        self._scatter += apart.T @ apart + torch.outer(shift, shift) * (self.count * len(both) / total)
        self._mean = self._mean + shift * (len(both) / total)
        self.count = total

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Scatter matrices of centred features: ``X'X`` ``[p, p]``, ``Y'Y`` ``[q, q]``, ``X'Y`` ``[p, q]``."""
        assert self._scatter is not None
        assert self._peak is not None
        # A feature that moves by no more than rounding does not move.
        rounding = 8 * torch.finfo(self._scatter.dtype).eps * self._peak
        real = (self._scatter.diagonal() > self.count * rounding.square()).to(self._scatter.dtype)
        scatter, at = self._scatter * real[:, None] * real[None], self._split
        return scatter[:at, :at], scatter[at:, at:], scatter[:at, at:]

    def cka(self) -> float:
        """Linear CKA, ``||X'Y||^2 / (||X'X|| ||Y'Y||)``; nan where one does not vary."""
        xx, yy, xy = self.parts
        scale = float(xx.norm() * yy.norm())
        return float(xy.square().sum()) / scale if scale > 0 else math.nan

    def procrustes(self) -> float:
        """Distance after the best rotation, as `landform.functions.procrustes` defines it."""
        xx, yy, xy = self.parts
        scale = math.sqrt(float(xx.trace() * yy.trace()))
        if not scale > 0:
            return math.nan
        return math.sqrt(max(0.0, 2 - 2 * float(torch.linalg.svdvals(xy).sum()) / scale))

    def canonical(self, keep: float = 0.99) -> Canonical:
        """Canonical correlations of the leading principal directions.

        Args:
            keep: share of the variance that the directions kept explain.

        Returns:
            The correlations and their means.
        """
        xx, yy, xy = self.parts
        (left, spread), (right, other) = _principal(xx, keep, self.count), _principal(yy, keep, self.count)
        kept = (len(spread), len(other))
        if not all(kept):
            return Canonical(torch.zeros(0, dtype=torch.float64), math.nan, math.nan, kept)
        inner = (left.T @ xy @ right) / spread.sqrt()[:, None] / other.sqrt()[None]
        turn, correlations, _ = torch.linalg.svd(inner, full_matrices=False)
        correlations = correlations.clamp(0, 1)
        # Inner products of the canonical variates with each feature: W' S^(1/2) V'.
        carried = ((turn.T * spread.sqrt()[None]) @ left.T).abs().sum(1)
        weighted = float((carried * correlations).sum() / carried.sum())
        return Canonical(correlations.cpu(), float(correlations.mean()), weighted, kept)


def _principal(scatter: Tensor, keep: float, count: int) -> tuple[Tensor, Tensor]:
    """Leading eigenvectors and eigenvalues, descending, that explain a share of the trace."""
    if not 0 < keep <= 1:
        raise BadInput(f"keep is {keep}: give the share of the variance to keep, above 0 and at most 1.")
    values, vectors = torch.linalg.eigh(scatter)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    # What rounding alone can make of a zero is no direction.
    real = int((values > max(count, len(values)) * torch.finfo(values.dtype).eps * values[0]).sum())
    if not real or not bool(values[0] > 0):
        return vectors[:, :0], values[:0]
    shares = values.cumsum(0) / values.sum()
    wanted = min(real, int((shares < keep * (1 - 1e-12)).sum()) + 1)
    return vectors[:, :wanted], values[:wanted]
