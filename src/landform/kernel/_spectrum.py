"""What the eigenvalues of a kernel say, and how well it is aligned with the labels."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.kernel._form import check_form, decompose, symmetric
from landform.kernel._targets import targets_of

# A mean that is taken off leaves so much, relative to what was there.
_ROUNDING = 1e-13


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of a kernel of samples with themselves.

    Attributes:
        values: descending, ``[N]``, float64; N is n for a trace kernel and n K for a full one. Those below rounding are
            zero.
        vectors: one a column, ``[N, N]``; None where they were not asked for.
    """

    values: Tensor
    vectors: Tensor | None = field(default=None, repr=False)

    @property
    def effective_rank(self) -> float:
        """Exponential of the entropy of ``eigenvalue / sum`` (Roy & Vetterli 2007), from 1 to N."""
        shares = self.values / self.values.sum()
        return float(torch.special.entr(shares).sum().exp())

    @property
    def participation(self) -> float:
        """``(sum eigenvalue)^2 / sum eigenvalue^2``: how many equal eigenvalues would do the same."""
        return float(self.values.sum() ** 2 / self.values.square().sum())

    @property
    def rank(self) -> int:
        """How many eigenvalues are above rounding."""
        return int((self.values > 0).sum())

    @property
    def condition(self) -> float:
        """Largest eigenvalue over the least; infinite where the least is zero."""
        return float(self.values[0] / self.values[-1])

    def top_mass(self, k: int, *, power: float = 2.0) -> float:
        """Share of the k largest eigenvalues in the sum of all.

        Args:
            k: how many.
            power: of the eigenvalues; 2, as Tsilivis & Kempe 2022 take it, makes it a share of the squared Frobenius
                norm, 1 a share of the trace.

        Returns:
            The share, in [0, 1].

        Raises:
            BadInput: when k is not from 1 to N.
        """
        if not 1 <= k <= len(self.values):
            raise BadInput(f"k is {k}: give from 1 to {len(self.values)}.")
        powers = self.values**power
        return float(powers[:k].sum() / powers.sum())


@dataclass(frozen=True)
class LabelEnergy:
    """How the labels spread over the eigenvectors of a kernel.

    Attributes:
        shares: share of the squared length of the targets along each eigenvector, largest eigenvalue first, ``[N]``.
        cumulative: their running sum, ``[N]``.
        values: the eigenvalues, ``[N]``.
    """

    shares: Tensor
    cumulative: Tensor
    values: Tensor

    @property
    def chance(self) -> Tensor:
        """Running share of a target without any direction, ``k / N``, to compare with, ``[N]``."""
        count = len(self.values)
        return torch.arange(1, count + 1, dtype=torch.float64, device=self.values.device) / count

    def needed(self, share: float) -> int:
        """How many eigenvectors hold a share of the labels.

        Args:
            share: in (0, 1].

        Returns:
            The least k whose `cumulative` reaches it.

        Raises:
            BadInput: when the share is outside (0, 1].
        """
        if not 0 < share <= 1:
            raise BadInput(f"share is {share}: give one above 0 and at most 1.")
        reached = self.cumulative >= share - 1e-12
        return int(reached.double().argmax()) + 1 if bool(reached.any()) else len(self.values)


def spectrum(kernel: Tensor, *, vectors: bool = False) -> Spectrum:
    """Eigenvalues of a kernel, in float64.

    Args:
        kernel: ``[n, n]``, or ``[n, n, K, K]``, taken as the matrix ``[n K, n K]``.
        vectors: whether to keep the eigenvectors.

    Returns:
        The spectrum.

    Raises:
        BadInput: when the kernel is not finite, symmetric, positive and other than zero.
    """
    values, basis = decompose(kernel)
    if float(values[0]) == 0.0:
        raise BadInput("The kernel is zero, and so has no spectrum to speak of.")
    return Spectrum(values, basis if vectors else None)


def effective_rank(kernel: Tensor | Spectrum) -> float:
    """Effective rank of a kernel: the exponential of the entropy of its spectrum (Roy & Vetterli 2007).

    Args:
        kernel: ``[n, n]`` or ``[n, n, K, K]``, or its spectrum.

    Returns:
        From 1 to N.
    """
    return (kernel if isinstance(kernel, Spectrum) else spectrum(kernel)).effective_rank


def label_energy(kernel: Tensor | Spectrum, targets: Tensor, *, centred: bool = False) -> LabelEnergy:
    """How much of the labels lies in the top eigenvectors: what the kernel learns soon (Arora et al. 2019).

    Args:
        kernel: ``[n, n]`` or ``[n, n, K, K]``, or its spectrum with vectors.
        targets: labels ``[n]``, or numbers ``[n]`` or ``[n, C]``.
        centred: whether to take each output's mean over the samples off the targets first.

    Returns:
        Shares along the eigenvectors; in a group of equal eigenvalues only their sum has a meaning.

    Raises:
        BadInput: when the targets do not fit, are all zero, or the spectrum has no vectors.
    """
    found = kernel if isinstance(kernel, Spectrum) else spectrum(kernel, vectors=True)
    basis = found.vectors
    if basis is None:
        raise BadInput("This spectrum was taken without vectors: give spectrum(kernel, vectors=True).")
    like = basis
    if isinstance(kernel, Tensor):
        like = kernel
    elif isinstance(targets, Tensor) and targets.dim() and len(targets) and not len(basis) % len(targets):
        outputs = len(basis) // len(targets)  # the spectrum of a full kernel has a row for each
        like = basis if outputs == 1 else basis.new_zeros(len(targets), 0, outputs, outputs)
    y = targets_of(like, targets).values
    y = y - y.mean(0, keepdim=True) if centred else y
    columns = y if like.dim() == 2 else y.reshape(-1, 1)
    shares = (basis.T @ columns.to(basis.device)).square().sum(1)
    total = float(shares.sum())
    if total == 0.0:
        raise BadInput("The targets are all zero (or all alike, where centred), and so lie in no direction.")
    shares = shares / total
    return LabelEnergy(shares, shares.cumsum(0), found.values)


def alignment(kernel: Tensor, targets: Tensor, *, centred: bool = True) -> float:
    """Alignment of a kernel with the labels, ``<K, T> / (||K|| ||T||)`` (Cristianini et al. 2001; Cortes et al. 2012).

    T is the kernel of the labels: ``T = Y Y'`` for a trace kernel, with one-hot rows Y 1 where two labels agree, and
    ``T = y y'`` for a full one, y being all of Y as one vector.

    Args:
        kernel: ``[n, n]``, or ``[n, n, K, K]``.
        targets: labels ``[n]``, or numbers ``[n]`` or ``[n, C]``.
        centred: whether to take the mean over samples off both (for each output apart), so that what all samples share
            does not count. Without it a kernel of all ones has an alignment of 0.32 with ten classes.

    Returns:
        The cosine, in [0, 1] for a positive kernel.

    Raises:
        BadInput: when kernel and targets do not fit, or one is zero (once centred, where it is).
    """
    matrix = symmetric(check_form(kernel))
    y = targets_of(kernel, targets).values
    before = float(torch.linalg.matrix_norm(matrix)), float(y.square().sum())
    if centred:
        y = y - y.mean(0, keepdim=True)
        matrix = _centred(matrix, len(kernel))
    columns = y if kernel.dim() == 2 else y.reshape(-1, 1)
    inner = float((columns * (matrix @ columns)).sum())
    after = float(torch.linalg.matrix_norm(matrix)), float(torch.linalg.matrix_norm(columns.T @ columns))
    if after[0] <= _ROUNDING * before[0] or after[1] <= _ROUNDING * before[1]:
        raise BadInput(
            "The kernel or the targets are zero"
            + (", once their mean is taken off:" if centred else ":")
            + " there is "
            "no direction to compare."
        )
    return inner / (after[0] * after[1])


def _centred(matrix: Tensor, n: int) -> Tensor:
    """Take the mean over samples off rows and columns, for each output apart."""
    blocks = matrix.reshape(n, -1, n, matrix.shape[1] // n)
    blocks = blocks - blocks.mean(0, keepdim=True)
    blocks = blocks - blocks.mean(2, keepdim=True)
    return blocks.reshape(matrix.shape)
