"""Gradient descent of the linearised network, step by step, done on the kernel: any loss, with momentum and batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.kernel._form import check_form, symmetric
from landform.kernel._machine import predict
from landform.kernel._targets import starts_of, targets_of
from landform.landscape import Loss, loss_function


@dataclass(frozen=True)
class Descent:
    """Steps of gradient descent on a kernel machine.

    Attributes:
        steps: the steps whose coefficients are kept, ``[T]``.
        coefficients: ``[T, n, C]``.
        losses: mean loss of each step's batch, before the step, ``[steps]``, float64, on the CPU.
        initial: outputs at step 0 on the training samples, ``[n, C]``.
    """

    steps: tuple[int, ...]
    coefficients: Tensor = field(repr=False)
    losses: Tensor = field(repr=False)
    initial: Tensor = field(repr=False)

    def predict(self, cross: Tensor, *, initial: Tensor | None = None) -> Tensor:
        """Outputs for other samples at the steps kept.

        Args:
            cross: kernel of the other samples with the training ones, ``[m, n]`` or ``[m, n, K, K]``.
            initial: outputs at step 0 on the other samples, ``[m, C]``; zero by default.

        Returns:
            ``[T, m, C]``, float64.
        """
        return predict(cross, self.coefficients, initial)


def descend(
    kernel: Tensor,
    targets: Tensor,
    *,
    steps: int,
    lr: float | Sequence[float],
    loss: str | Loss = "cross-entropy",
    momentum: float = 0.0,
    nesterov: bool = False,
    initial: Tensor | None = None,
    batches: Sequence[Tensor] | Tensor | None = None,
    at: Iterable[int] | None = None,
    classes: int | None = None,
) -> Descent:
    """Train a kernel machine as the linearised network would be trained, without its parameters.

    A step of (stochastic) gradient descent on ``f_0 + J (theta - theta_0)`` moves theta by a combination of rows of J;
    the coefficients of all steps together are those of a kernel machine. So with the same batches this *is* the
    training of the linearised network, to rounding, at n numbers an output instead of P parameters.

    Args:
        kernel: of the training samples, ``[n, n]`` or ``[n, n, K, K]``; the full one is that of a network's training.
        targets: labels ``[n]``, or numbers ``[n]`` or ``[n, C]``.
        steps: how many.
        lr: the learning rate, or that of each step.
        loss: ``"cross-entropy"``, ``"mse"``, or any function of (outputs, targets) that returns the mean over a batch.
        momentum: as torch's SGD has it.
        nesterov: likewise.
        initial: outputs at step 0, ``[n, C]``; zero by default.
        batches: the samples of each step, ``[B]`` each; all samples by default.
        at: the steps whose coefficients are kept; the last by default.
        classes: how many classes there are, where the labels do not show all of them.

    Returns:
        Coefficients and losses.

    Raises:
        BadInput: when the parts do not fit together.
    """
    given = targets_of(check_form(kernel), targets, classes)
    _, loss_of = loss_function(loss)
    matrix = symmetric(kernel)
    start = starts_of(initial, given.values)
    n, outputs = start.shape
    kept = (steps,) if at is None else tuple(sorted(set(at)))
    rates = [float(lr)] * steps if isinstance(lr, int | float) else [float(rate) for rate in lr]
    _check(steps, rates, kept, momentum, None if batches is None else len(batches))
    wanted = targets.detach().to(start.device)
    if wanted.is_floating_point():
        wanted = given.values
    coefficients, speed = torch.zeros_like(start), torch.zeros_like(start)
    columns = (n, outputs) if kernel.dim() == 2 else (n * outputs, 1)
    blocks = matrix if kernel.dim() == 2 else matrix.reshape(n, outputs, -1)
    found: dict[int, Tensor] = {}
    losses: list[Tensor] = []
    for step in range(steps):
        if step in kept:
            found[step] = coefficients.clone()
        rows = torch.arange(n, device=start.device) if batches is None else batches[step].to(start.device)
        held = blocks if batches is None else blocks[rows]
        with torch.enable_grad():
            seen = start[rows] + (held.reshape(-1, len(matrix)) @ coefficients.reshape(columns)).reshape(-1, outputs)
            seen.requires_grad_()
            value = loss_of(seen, wanted[rows])
            (slope,) = torch.autograd.grad(value, seen)
        losses.append(value.detach())
        speed.mul_(momentum).index_add_(0, rows, slope)
        coefficients.sub_(speed, alpha=rates[step] * (momentum if nesterov else 1.0))
        if nesterov:
            coefficients.index_add_(0, rows, slope, alpha=-rates[step])
    if steps in kept:
        found[steps] = coefficients.clone()
    table = torch.stack(losses).cpu() if losses else torch.empty(0, dtype=torch.float64)
    return Descent(kept, torch.stack([found[step] for step in kept]), table, start)


def _check(steps: int, rates: list[float], kept: tuple[int, ...], momentum: float, batches: int | None) -> None:
    if steps < 0 or len(rates) != steps:
        raise BadInput(f"There are {len(rates)} learning rates for {steps} steps: give one, or one for each step.")
    if not all(0 <= rate < float("inf") for rate in rates) or not 0 <= momentum < 1:
        raise BadInput("Learning rates are finite and not negative, and momentum is from 0 to below 1.")
    if batches is not None and batches < steps:
        raise BadInput(f"There are {batches} batches for {steps} steps: give one for each step.")
    if not kept or kept[0] < 0 or kept[-1] > steps:
        raise BadInput(f"The steps to keep must lie in 0..{steps}; got {list(kept)}.")
