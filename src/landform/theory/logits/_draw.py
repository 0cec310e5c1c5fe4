"""One draw of the model: its Gauss-Newton matrix in factored form, spectrum, and gradient."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from scipy import linalg
from torch import Tensor

from landform.errors import BadInput
from landform.theory.logits._model import LogitModel, probabilities_of


@dataclass(frozen=True)
class Cosines:
    """Mean cosines between logit gradients of different inputs.

    Attributes:
        same_logit_same_class: q_SLSC, for the logit of the inputs' own class.
        same_logit: q_SL.
        different_logit: q_DL.
    """

    same_logit_same_class: float
    same_logit: float
    different_logit: float


@dataclass(frozen=True)
class LogitDraw:
    """A draw. Vectors are held in r = min(D, how many there are) coordinates of the space that they span.

    Attributes:
        model: what it is drawn from.
        probabilities: softmax of the logits, ``[N, C]``.
        labels: ``[N]``.
        means: mean gradient of each logit c_k, ``[C, r]``.
        gradients: gradient of each logit for each input, ``[N, C, r]``.
    """

    model: LogitModel
    probabilities: Tensor
    labels: Tensor
    means: Tensor = field(repr=False)
    gradients: Tensor = field(repr=False)

    @property
    def factor(self) -> Tensor:
        """F with ``G = F.T F``, ``[N C, r]``: rows ``sqrt(p_k / N) (dz_k - sum_j p_j dz_j)``."""
        p = self.probabilities.unsqueeze(2)
        centred = self.gradients - (p * self.gradients).sum(1, keepdim=True)
        return (centred * (p / len(p)).sqrt()).flatten(0, 1)

    @property
    def gradient(self) -> Tensor:
        """Gradient of the loss, ``(1/N) sum (p_k - y_k) dz_k``, ``[r]``."""
        residuals = self.probabilities.clone()
        residuals[torch.arange(len(residuals)), self.labels] -= 1
        return torch.einsum("nk,nkr->r", residuals, self.gradients) / len(residuals)

    @cached_property
    def _gram(self) -> Tensor:
        """The Gram matrix of the factor's smaller side, never larger than the factor."""
        factor = self.factor
        return factor.T @ factor if factor.shape[0] >= factor.shape[1] else factor @ factor.T

    @cached_property
    def eigenvalues(self) -> Tensor:
        """Eigenvalues of G that need not be zero, descending, ``[min(D, N C)]``; the others of the D are zero."""
        found: Tensor = torch.linalg.eigvalsh(self._gram)
        return found.flip(0).clamp_min(0)

    def vectors(self, k: int) -> Tensor:
        """The top eigenvectors.

        Args:
            k: how many.

        Returns:
            ``[r, k]``, in the order of `eigenvalues`.
        """
        found: Tensor = self._some_vectors if k == self.model.classes else self._vectors(k)
        return found

    @cached_property
    def _some_vectors(self) -> Tensor:
        return self._vectors(self.model.classes)

    def _vectors(self, k: int) -> Tensor:
        size = len(self._gram)
        values, vectors = linalg.eigh(self._gram.numpy(), subset_by_index=(size - k, size - 1))
        top: Tensor = torch.from_numpy(np.ascontiguousarray(vectors[:, ::-1]))
        if self.gradients.shape[-1] == size:
            return top
        lengths = torch.from_numpy(values[::-1].copy()).clamp_min(1e-300).sqrt()
        lifted: Tensor = self.factor.T @ top / lengths
        return lifted

    def confinement(self, k: int | None = None) -> float:
        """Share of the gradient's square length in the top eigenvectors.

        Args:
            k: how many; C by default.

        Returns:
            The share.
        """
        g = self.gradient
        inside = self.vectors(self.model.classes if k is None else k).T @ g
        return float(inside.square().sum() / g.square().sum())

    def alignment(self, k: int | None = None) -> Tensor:
        """Share of each top eigenvector in the span of the mean gradients c_k.

        Args:
            k: how many; C - 1 by default.

        Returns:
            ``[k]``.
        """
        basis = torch.linalg.qr(self.means.T)[0]
        top = self.vectors(self.model.classes)[:, :-1] if k is None else self.vectors(k)
        shares: Tensor = (basis.T @ top).square().sum(0)
        return shares

    @property
    def trace(self) -> float:
        """Tr G."""
        return float(self.factor.square().sum())

    @property
    def frobenius(self) -> float:
        """``||G||_F``."""
        return float(self.eigenvalues.norm())

    @property
    def ratio(self) -> float:
        """``Tr G / ||G||_F``."""
        return self.trace / self.frobenius

    def cosines(self) -> Cosines:
        """Measure q_SLSC, q_SL and q_DL, as `landform.curvature.logit_cosines` does for a network.

        Returns:
            The three means.

        Raises:
            BadInput: when no two inputs are of one class.
        """
        units = self.gradients / self.gradients.norm(dim=2, keepdim=True)
        n, c = units.shape[:2]
        other = ~torch.eye(n, dtype=torch.bool)
        same_class = (self.labels[:, None] == self.labels) & other
        if not bool(same_class.any()):
            raise BadInput("No two of the inputs are of one class: draw more.")
        # [n, n] for each logit at a time: all pairs of logits at once would be C times as many.
        same = torch.stack([units[:, k] @ units[:, k].T for k in range(c)])
        own = same[self.labels, torch.arange(n)]
        total = units.sum((0, 1)).square().sum() - units.sum(1).square().sum()
        different = (total - same[:, other].sum()) / (c * (c - 1) * n * (n - 1))
        return Cosines(float(own[same_class].mean()), float(same[:, other].mean()), float(different))


def drawn(model: LogitModel, seed: int, logits: Tensor | None, labels: Tensor | None, memory: float) -> LogitDraw:
    """Draw from a model; see `LogitModel.draw`.

    Args:
        model: the model.
        seed: decides the draw.
        logits: ``[N, C]``, or None.
        labels: ``[N]``, or None.
        memory: bytes that the gradients may take.

    Returns:
        The draw.

    Raises:
        BadInput: when it would take more memory.
    """
    n, c = model.samples, model.classes
    shared = c * c if model.sigma_class else 0
    count = c + shared + n * c
    need = 3 * 8 * count * min(count, model.dimension)
    if need > memory:
        raise BadInput(
            f"A draw of {count:,} gradients takes {need / 2**30:.1f} GiB, over the {memory / 2**30:.1f} allowed: give "
            "fewer samples, or memory=."
        )
    p, y = probabilities_of(model, seed, logits, labels)
    generator = torch.Generator().manual_seed((seed * 0x2545F491 + 0x9E3779B97F4A7C15) % 2**63)
    rows = _gaussian_rows(count, model.dimension, generator) / model.dimension**0.5
    means = model.sigma_c * rows[:c]
    each = model.sigma_e * rows[c + shared :].view(n, c, -1)
    each += means
    if shared:
        each += model.sigma_class * rows[c : c + shared].view(c, c, -1)[y]  # [class, logit]
    return LogitDraw(model, p, y, means, each)


def _gaussian_rows(count: int, dimension: int, generator: torch.Generator) -> Tensor:
    """Independent standard normal vectors in D dimensions, up to a rotation: ``[count, min(count, D)]``."""
    if dimension <= count:
        return torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    # Bartlett 1933: the i-th vector has i normal coordinates along those before it, and a chi length beyond them.
    rows = torch.randn(count, count, generator=generator, dtype=torch.float64).tril_(-1)
    freedom = (dimension - torch.arange(count, dtype=torch.float64)) / 2
    lengths = (2 * torch._standard_gamma(freedom, generator=generator)).sqrt()
    return rows + lengths.diag_embed()
