"""Training of the linearised network by squared loss, at any time, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.kernel._form import check_form, decompose
from landform.kernel._machine import predict
from landform.kernel._targets import Targets, as_row, starts_of, targets_of


@dataclass(frozen=True)
class Flow:
    """Gradient flow ``df/dt = -rate K (f - Y)`` of a linear model from its initial outputs.

    Attributes:
        values: eigenvalues of the kernel, descending, ``[N]``.
        rate: what the time is multiplied by.
        initial: outputs at time 0 on the training samples, ``[n, C]``.
    """

    values: Tensor
    rate: float
    initial: Tensor = field(repr=False)
    _vectors: Tensor = field(repr=False)
    _targets: Targets = field(repr=False)

    @property
    def half_lives(self) -> Tensor:
        """Time in which the part of the residual along each eigenvector halves, ``[N]``; infinite where it stays."""
        return torch.log(torch.tensor(2.0, dtype=torch.float64)) / (self.rate * self.values)

    def coefficients(self, times: float | Sequence[float] | Tensor) -> Tensor:
        """What the kernel with the training samples is multiplied by, ``K^-1 (1 - exp(-rate K t)) (Y - f_0)``.

        Args:
            times: one or T times, infinity among them if wanted.

        Returns:
            ``[T, n, C]``.
        """
        t = _times(times).to(self.values.device)[:, None]
        # 1 - exp(-x) over the eigenvalue is rate t where x is small: expm1 keeps its digits.
        grown = self.rate * torch.where(self.values > 0, self.values * t, 0.0)
        where_flat = torch.where(torch.isinf(t), 0.0, self.rate * t)  # the pseudo-inverse, for ever
        factors = torch.where(self.values > 0, -torch.expm1(-grown) / self.values.clamp_min(1e-300), where_flat)
        return self._along(factors)

    def fitted(self, times: float | Sequence[float] | Tensor) -> Tensor:
        """Outputs for the training samples.

        Args:
            times: one or T times.

        Returns:
            ``[T, n, C]``.
        """
        t = _times(times).to(self.values.device)[:, None]
        grown = self.rate * torch.where(self.values > 0, self.values * t, 0.0)
        return self.initial + self._along(-torch.expm1(-grown))

    def predict(
        self, cross: Tensor, times: float | Sequence[float] | Tensor, *, initial: Tensor | None = None
    ) -> Tensor:
        """Outputs for other samples.

        Args:
            cross: kernel of the other samples with the training ones, ``[m, n]`` or ``[m, n, K, K]``.
            times: one or T times.
            initial: outputs at time 0 on the other samples, ``[m, C]``; zero by default.

        Returns:
            ``[T, m, C]``, float64.
        """
        return predict(cross, self.coefficients(times), initial)

    def losses(self, times: float | Sequence[float] | Tensor) -> Tensor:
        """Mean squared error on the training samples, over samples and outputs.

        Args:
            times: one or T times.

        Returns:
            ``[T]``, on the CPU.
        """
        return (self.fitted(times) - self._targets.values).square().mean((1, 2)).cpu()

    def errors(self, times: float | Sequence[float] | Tensor) -> Tensor | None:
        """Share of wrong labels on the training samples.

        Args:
            times: one or T times.

        Returns:
            ``[T]``, on the CPU; None where the targets are no labels.
        """
        found = self._targets.errors(self.fitted(times))
        return None if found is None else found.cpu()

    def _along(self, factors: Tensor) -> Tensor:
        """Multiply the first residual's part along each eigenvector, ``[T, N]`` to ``[T, n, C]``."""
        wanted = self._targets.values - self.initial
        projected = self._vectors.T @ wanted.reshape(len(self.values), -1)
        found = self._vectors @ (factors.unsqueeze(2) * projected)
        return found.reshape(len(factors), *wanted.shape)


def gradient_flow(
    kernel: Tensor,
    targets: Tensor,
    *,
    initial: Tensor | None = None,
    rate: float | None = None,
    classes: int | None = None,
) -> Flow:
    """Follow gradient flow on squared loss at any time, by one eigendecomposition.

    Time is that of ``d theta / dt = -grad L``: gradient descent with learning rate lr is at time ``steps * lr``, as
    long as ``lr`` is small beside the flow's shortest half life.

    Args:
        kernel: of the training samples, ``[n, n]`` or ``[n, n, K, K]``.
        targets: labels ``[n]``, or numbers ``[n]`` or ``[n, C]``.
        initial: outputs at time 0, ``[n, C]``; zero by default.
        rate: what the time is multiplied by; by default ``2 / (n C)``, that of the loss ``"mse"``, which is the mean
            over samples and outputs. With 1 the flow is ``f_t = K(x, X) K^-1 (1 - exp(-K t)) Y``.
        classes: how many classes there are, where the labels do not show all of them.

    Returns:
        The flow.

    Raises:
        BadInput: when kernel and targets do not fit together.
    """
    given = targets_of(check_form(kernel), targets, classes)
    start = starts_of(initial, given.values)
    if rate is not None and not 0 < rate < float("inf"):
        raise BadInput(f"rate is {rate}: give a positive number.")
    values, vectors = decompose(kernel)
    return Flow(values, 2.0 / given.values.numel() if rate is None else float(rate), start, vectors, given)


def _times(times: float | Sequence[float] | Tensor) -> Tensor:
    given = as_row(times)
    if given.dim() != 1 or not given.numel() or not bool((given >= 0).all()):
        raise BadInput(f"Times are one or more numbers, none negative; got {times}.")
    return given
