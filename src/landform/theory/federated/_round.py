"""A round of FedAvg on a kernel that does not move, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from landform.errors import BadInput


@dataclass(frozen=True)
class LazyRounds:
    """What rounds do to the residuals on a fixed kernel: ``r <- M r``.

    Attributes:
        matrix: M, ``[n, n]``, not symmetric.
        radius: its spectral radius: the factor of the slowest part of the residual, in the long run.
        kernel: the Gram matrix, ``[n, n]``.
        clients: places of each client's samples.
    """

    matrix: Tensor = field(repr=False)
    radius: float
    kernel: Tensor = field(repr=False)
    clients: tuple[Tensor, ...] = field(repr=False)

    def residuals(self, start: Tensor, rounds: int) -> Tensor:
        """Residuals at the start of every round and at the end.

        Args:
            start: predictions less targets before the first round, ``[n]``.
            rounds: how many.

        Returns:
            ``[rounds + 1, n]``.
        """
        rows = [start.to(self.matrix)]
        for _ in range(rounds):
            rows.append(self.matrix @ rows[-1])
        return torch.stack(rows)

    def losses(self, start: Tensor, rounds: int) -> Tensor:
        """The predicted curve of ``1/2 sum r^2``.

        Args:
            start: residuals before the first round, ``[n]``.
            rounds: how many.

        Returns:
            ``[rounds + 1]``.
        """
        return 0.5 * self.residuals(start, rounds).square().sum(1)


def lazy_rounds(
    kernel: Tensor,
    clients: Sequence[Tensor],
    *,
    local_lr: float | Sequence[float],
    local_steps: int,
    server_lr: float = 1.0,
    weights: Sequence[float] | None = None,
) -> LazyRounds:
    """The operator of a round where the kernel stays as it is.

    A client's K steps of full-batch descent take its own residuals to ``(I - eta H_cc)^K r_c``; what it moved by is
    ``eta sum_k (I - eta H_cc)^k`` of them in the span of its own samples' gradients. So

    ``M = I - eta_g sum_c w_c H[:, c] H_cc^-1 (I - (I - eta_c H_cc)^K) E_c``,

    written by eigenvalues, so that a singular block is no exception.

    Args:
        kernel: Gram matrix of all samples, ``[n, n]``, symmetric.
        clients: places of each client's samples; together all, each once.
        local_lr: learning rate for the sum of squares over a client's samples, halved; one, or one for each client.
            With means of squares a rate eta is ``2 eta / n_c`` here, with n_c samples and one output.
        local_steps: K.
        server_lr: eta_g.
        weights: w_c of the server's mean; equal by default, as in the paper.

    Returns:
        The operator.

    Raises:
        BadInput: when the clients do not divide the samples.
    """
    n = len(kernel)
    known = torch.cat([torch.as_tensor(places) for places in clients]).cpu() if len(clients) else torch.empty(0)
    if kernel.shape != (n, n) or not torch.equal(known.sort().values, torch.arange(n)):
        raise BadInput(f"Clients have each of the {n} samples of the kernel once: give such places.")
    rates = [float(local_lr)] * len(clients) if isinstance(local_lr, int | float) else list(local_lr)
    shares = [1 / len(clients)] * len(clients) if weights is None else list(weights)
    if len(rates) != len(clients) or len(shares) != len(clients):
        raise BadInput(f"There are {len(clients)} clients: give one learning rate and one weight for each.")
    exact = kernel.to(torch.float64)
    matrix = torch.eye(n, dtype=torch.float64, device=kernel.device)
    for places, rate, share in zip(clients, rates, shares, strict=True):
        at = torch.as_tensor(places, device=kernel.device)
        values, vectors = torch.linalg.eigh(exact[at][:, at])
        gain = torch.zeros_like(values)
        left = torch.ones_like(values)
        for _ in range(local_steps):  # rate * sum_k (1 - rate h)^k, whatever h is
            gain, left = gain + rate * left, left * (1 - rate * values)
        matrix[:, at] -= server_lr * share * exact[:, at] @ (vectors * gain) @ vectors.T
    radius = float(torch.linalg.eigvals(matrix).abs().max())
    return LazyRounds(matrix, radius, exact, tuple(torch.as_tensor(places) for places in clients))
