"""The population matrix Sigma by blocks: its bulk, its spikes, and where the gradient lies in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from landform.theory.logits._model import LogitModel

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Blocks:
    """Eigenvalues and eigenvectors of the blocks ``S = diag(p) - p p.T``, one an input, and what inputs share.

    What is shared is put as ``F = [sigma_c 1_g x I]`` over groups g of inputs: all of them, and with a class part each
    class. A spike a of Sigma is where ``M(a) = F.T T (a - sigma_e^2 T)^-1 F`` has the eigenvalue 1.

    Attributes:
        model: the model.
        residuals: ``p - y``, ``[N, C]``.
        values: eigenvalues of the blocks, ``[N, C]``.
        vectors: eigenvectors of the blocks, in columns, ``[N, C, C]``.
        labels: ``[N]``.
    """

    model: LogitModel
    residuals: Tensor
    values: Tensor
    vectors: Tensor
    labels: Tensor

    @classmethod
    def of(cls, model: LogitModel, p: Tensor, labels: Tensor) -> Self:
        """Take the blocks apart.

        Args:
            model: the model.
            p: probabilities, ``[N, C]``.
            labels: ``[N]``.

        Returns:
            The blocks.
        """
        values, vectors = torch.linalg.eigh(torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1))
        residuals = p.clone()
        residuals[torch.arange(len(p)), labels] -= 1
        return cls(model, residuals, values.clamp_min(0), vectors, labels)

    @property
    def population(self) -> Numbers:
        """``sigma_e^2 t``, descending, ``[N C]``."""
        flat = (self.model.sigma_e**2 * self.values).flatten().sort(descending=True).values
        return np.asarray(flat.numpy())

    def spikes(self) -> tuple[Numbers, Numbers]:
        """Eigenvalues of Sigma beyond the bulk's population, and the gradient's share along the direction of each.

        Returns:
            The spikes, descending, ``[r]``, and the shares ``[r]``, of the expected square length of the gradient.
        """
        top = float(self.population[0])
        bound = self._trace_shared() + top
        if bound <= top:
            return np.zeros(0), np.zeros(0)
        low = top * (1 + 1e-6) + 1e-12 * bound
        count = int((self._eigenvalues(low) > 1).sum())
        found = [self._where(j, low, bound) for j in range(count)]
        return np.array(found), np.array(self._shares(found))

    def critical(self, above: float) -> float:
        """Length sigma_c at which the largest spike is as large as asked for; nan with a class part.

        Args:
            above: the spike.

        Returns:
            The length.
        """
        if self.model.sigma_class or not self.model.sigma_c or above <= 0:
            return math.nan
        return float(self.model.sigma_c / math.sqrt(self._eigenvalues(above)[0]))

    def moments(self) -> tuple[float, float]:
        """``tr Sigma`` and ``tr Sigma^2``."""
        noise = self.model.sigma_e**2
        first = noise * float(self.values.sum()) + self._trace_shared()
        # tr (T Omega)^2 with Omega = noise + F F.T
        inside = self._shared(self.values)
        second = noise**2 * float(self.values.square().sum()) + 2 * noise * float(
            self._shared(self.values.square()).trace()
        )
        return first, second + float((inside @ inside).trace())

    def _where(self, j: int, low: float, high: float) -> float:
        return float(optimize.brentq(lambda a: self._eigenvalues(a)[j] - 1, low, high * (1 + 1e-9), rtol=1e-10))

    def _shares(self, spikes: Sequence[float]) -> list[float]:
        """``<b, xi>^2 / |b|^2`` with xi a spike's direction and ``b = Omega^(1/2) (p - y)``.

        ``x = Omega^(1/2) xi`` solves ``Omega T x = a x``, so ``x = (a - sigma_e^2 T)^-1 F q`` with q the eigenvector of
        M(a), and ``|xi|^2 = x.T T x / a``.
        """
        noise, c = self.model.sigma_e**2, self.model.classes
        whole = noise * float(self.residuals.square().sum()) + float(self._summed().square().sum())
        found, at, vectors = [], math.nan, torch.empty(0)
        for j, spike in enumerate(spikes):
            if not abs(spike - at) <= 1e-6 * spike:  # equal spikes share the vectors of one decomposition
                at = spike
                vectors = torch.linalg.eigh(self._shared(self.values / (at - noise * self.values)))[1]
            q = vectors[:, -1 - j]
            lift = self.model.sigma_c * q[:c].expand(len(self.labels), c)
            if self.model.sigma_class:
                lift = lift + self.model.sigma_class * q[c:].view(c, c)[self.labels]
            within = (self.vectors.transpose(1, 2) @ lift.unsqueeze(2)).squeeze(2) / (at - noise * self.values)
            x = (self.vectors @ within.unsqueeze(2)).squeeze(2)
            square = float((self.values * within.square()).sum()) / at
            found.append(float((self.residuals * x).sum()) ** 2 / square / whole)
        return found

    def _summed(self) -> Tensor:
        """``F.T (p - y)``."""
        c = self.model.classes
        parts = [self.model.sigma_c * self.residuals.sum(0)]
        if self.model.sigma_class:
            by_class = torch.zeros(c, c, dtype=torch.float64).index_add_(0, self.labels, self.residuals)
            parts.append(self.model.sigma_class * by_class.flatten())
        return torch.cat(parts)

    def _trace_shared(self) -> float:
        """``tr F.T T F``."""
        return (self.model.sigma_c**2 + self.model.sigma_class**2) * float(self.values.sum())

    def _eigenvalues(self, spike: float) -> Numbers:
        """Eigenvalues of M(a), descending; each falls as a grows."""
        found = torch.linalg.eigvalsh(self._shared(self.values / (spike - self.model.sigma_e**2 * self.values)))
        return np.asarray(found.flip(0).numpy())

    def _shared(self, weights: Tensor) -> Tensor:
        """``F.T R F`` for R of the blocks' eigenvectors with these eigenvalues, ``[C, C]``, or of size C + C^2."""
        c = self.model.classes
        by_input = (self.vectors * weights.unsqueeze(1)) @ self.vectors.transpose(1, 2)
        total = by_input.sum(0)
        if not self.model.sigma_class:
            return self.model.sigma_c**2 * total
        by_class = torch.zeros(c, c, c, dtype=torch.float64).index_add_(0, self.labels, by_input)
        both = self.model.sigma_c * self.model.sigma_class * by_class.flatten(0, 1)  # [C C, C], class slow
        corner = self.model.sigma_class**2 * torch.block_diag(*by_class)  # type: ignore[no-untyped-call]
        top = torch.cat([self.model.sigma_c**2 * total, both.T], dim=1)
        return torch.cat([top, torch.cat([both, corner], dim=1)])
