"""Random probes of what an operator does outside a known subspace.

With orthonormal Q and R = (1 - QQ') H (1 - QQ'), the trace is tr(Q'HQ) + tr(R), the diagonal diag(H - R) + diag(R),
and the first terms are exact. Signs v give x = v * (R v), whose mean is diag(R) and whose sum has the variance
2 (||R||_F^2 - sum diag(R)^2) (Hutchinson 1990). Both terms of it are estimated from the same products: the first by
the mean of ||R v||^2, the second by products of different probes. Where a few eigenvalues dominate, this is far
steadier than the sample variance of the probes (whose own relative variance is 14/n there, against 2/n).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from landform.curvature._contract import Symmetric, product, wide
from landform.curvature._draws import signs
from landform.curvature._estimate import Estimate
from landform.layout import Layout

# Numbers of draws below this belong to Krylov starts.
_FIRST = 1_000_000


@dataclass(frozen=True)
class Known:
    """A subspace on which the operator is known.

    Attributes:
        vectors: orthonormal, ``[P, r]``.
        images: their products, ``[P, r]``.
    """

    vectors: Tensor
    images: Tensor
    inner: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Take the products that are needed again and again."""
        inner = wide(self.vectors.T @ self.images)
        object.__setattr__(self, "inner", (0.5 * (inner + inner.T)).to(self.vectors.dtype))

    def outside(self, vector: Tensor, image: Tensor) -> Tensor:
        """``(1 - QQ') H (1 - QQ') v`` from v and H v, ``[P]``.

        Args:
            vector: v, ``[P]``.
            image: H v, ``[P]``.

        Returns:
            The product with the rest of the operator.
        """
        rest = image - self.images @ (self.vectors.T @ vector)
        return rest - self.vectors @ (self.vectors.T @ rest)

    def diagonal(self) -> Tensor:
        """Diagonal of the known part H - R, ``[P]``."""
        return 2 * (self.vectors * self.images).sum(1) - (self.vectors * (self.vectors @ self.inner)).sum(1)

    @property
    def trace(self) -> float:
        """tr(Q'HQ)."""
        return float(self.inner.diagonal().double().sum() if self.inner.device.type != "mps" else self.inner.trace())

    @property
    def squares(self) -> float:
        """``||H||_F^2 - ||R||_F^2``."""
        return 2 * float(wide(self.images).square().sum()) - float(wide(self.inner).square().sum())


class Probes:
    """Signs, the products of them, and what these say.

    Attributes:
        known: the subspace that is known, or None.
        count: probes so far.
        products: products spent.
    """

    def __init__(self, operator: Symmetric, seed: int, known: Known | None = None, *, entries: bool = True) -> None:
        """Start without a probe.

        Args:
            operator: the operator.
            seed: of the signs.
            known: where it is known.
            entries: whether to keep each entry's spread, for errors of the diagonal.
        """
        self.operator, self.seed, self.known = operator, seed, known
        self.count = self.products = 0
        self.totals: list[float] = []
        self.lengths: list[float] = []
        self._entries = entries
        self._sum = torch.zeros(operator.size, dtype=operator.dtype, device=operator.device)
        self._squares = torch.zeros_like(self._sum) if entries else None
        self._square_total = 0.0
        layout = getattr(operator, "layout", None)
        self.layout: Layout | None = layout
        self._slots: list[list[float]] = []

    def vector(self, number: int) -> Tensor:
        """The signs of this number, ``[P]``."""
        H = self.operator
        return signs(H.size, self.seed, _FIRST + number, dtype=H.dtype, device=H.device)

    def draw(self, image: Tensor | None = None) -> Tensor:
        """Take one more probe.

        Args:
            image: its product with the operator, where it was taken before.

        Returns:
            The product with the operator, ``[P]``.
        """
        signs_ = self.vector(self.count)
        if image is None:
            image = product(self.operator, signs_)
            self.products += 1
        rest = image if self.known is None else self.known.outside(signs_, image)
        entries = signs_ * rest
        self.totals.append(float(wide(entries).sum()))
        self.lengths.append(float(wide(rest).square().sum()))
        self._sum += entries
        if self._squares is not None:
            self._squares.addcmul_(entries, entries)
        self._square_total += self.lengths[-1]  # entries are rest but for signs
        if self.layout is not None:
            squares = wide(rest).square()
            self._slots.append([float(squares[slot.start : slot.stop].sum()) for slot in self.layout.slots])
        self.count += 1
        return image

    @property
    def rest_squares(self) -> float:
        """Estimate of ``||R||_F^2``."""
        return sum(self.lengths) / self.count

    @property
    def variance(self) -> float:
        """Estimate of the variance of one probe's trace."""
        whole, n = self.rest_squares, self.count
        if n < 2:
            return 2 * whole
        diagonal = (float(wide(self._sum).square().sum()) - self._square_total) / (n * (n - 1))
        return 2 * max(0.0, whole - max(0.0, diagonal))

    def trace(self) -> Estimate:
        """The trace of the whole operator, with its standard error."""
        exact = 0.0 if self.known is None else self.known.trace
        return Estimate(exact + sum(self.totals) / self.count, math.sqrt(self.variance / self.count))

    def squares(self) -> Estimate:
        """The squared Frobenius norm of the whole operator, with its standard error."""
        exact = 0.0 if self.known is None else self.known.squares
        mean = self.rest_squares
        if self.count < 2:
            return Estimate(exact + mean, math.nan)
        spread = sum((one - mean) ** 2 for one in self.lengths) / (self.count - 1)
        return Estimate(exact + mean, math.sqrt(spread / self.count))

    def diagonal(self) -> tuple[Tensor, Tensor]:
        """The diagonal and the standard error of each entry, ``[P]`` and ``[P]``."""
        mean = self._sum / self.count
        spread = torch.full_like(mean, math.nan)
        if self._squares is not None and self.count > 1:
            spread = ((self._squares / self.count - mean**2).clamp_min(0) / (self.count - 1)).sqrt()
        return (mean if self.known is None else mean + self.known.diagonal()), spread

    def by_slot(self) -> list[Estimate]:
        """Trace of each parameter's diagonal block; the standard error is an upper bound."""
        assert self.layout is not None
        diagonal = wide(self.diagonal()[0])
        n = self.count
        found: list[Estimate] = []
        for i, slot in enumerate(self.layout.slots):
            # A block's variance is ||R_a:||^2 + ||R_aa||^2 - 2 sum diag^2, and R_aa is part of the rows R_a:.
            rows = sum(row[i] for row in self._slots) / n
            part = slice(slot.start, slot.stop)
            own = (float(wide(self._sum[part]).square().sum()) - n * rows) / (n * (n - 1)) if n > 1 else 0.0
            error = math.sqrt(2 * max(0.0, rows - max(0.0, own)) / n)
            found.append(Estimate(float(diagonal[part].sum()), error))
        return found
