"""The kernel machine of cross-entropy, by Newton's method: it has no closed form, so it says whether it converged."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from landform.errors import BadInput
from landform.kernel._form import check_form, decompose
from landform.kernel._machine import predict
from landform.kernel._targets import starts_of, targets_of

# A step is kept if the loss falls by this share of what its slope promises (Armijo).
_ENOUGH = 1e-4
# At the minimum the slope of the loss is that of the penalty; what is left of both is at most this share of either.
_BALANCE = 1e-3


@dataclass(frozen=True)
class Classifier:
    """Minimum of ``mean cross-entropy(f) + ridge / 2 ||f - f_0||_K^2`` over ``f = f_0 + K(., X) a``.

    Attributes:
        coefficients: a, ``[n, C]``.
        logits: f on the training samples, ``[n, C]``.
        loss: mean cross-entropy there.
        penalty: ``ridge / 2 <a, K a>``.
        error: share of wrong labels there; None where the targets are probabilities.
        ridge: the ridge.
        gradient: norm of the gradient in the kernel's own space, relative to that at ``a = 0``.
        iterations: Newton steps.
        products: products with the Hessian.
        separable: whether f tells all training samples apart, so that without a ridge the loss has no minimum.
        converged: whether the gradient is as small as asked and there is a minimum.
        status: in a sentence, how it ended.
    """

    coefficients: Tensor = field(repr=False)
    logits: Tensor = field(repr=False)
    loss: float
    penalty: float
    error: float | None
    ridge: float
    gradient: float
    iterations: int
    products: int
    separable: bool
    converged: bool
    status: str

    def predict(self, cross: Tensor, *, initial: Tensor | None = None) -> Tensor:
        """Logits of other samples.

        Args:
            cross: kernel of the other samples with the training ones, ``[m, n]`` or ``[m, n, C, C]``.
            initial: f_0 of the other samples, ``[m, C]``; zero by default.

        Returns:
            ``[m, C]``, float64.
        """
        return predict(cross, self.coefficients, initial)


def classifier(
    kernel: Tensor,
    labels: Tensor,
    ridge: float,
    *,
    initial: Tensor | None = None,
    classes: int | None = None,
    tol: float = 1e-8,
    max_iterations: int = 100,
) -> Classifier:
    """Fit a kernel machine by cross-entropy: what linearised training on cross-entropy tends to.

    The problem is written in the kernel's own features (its eigenvectors times the roots of their eigenvalues) and
    solved by Newton's method, each step by conjugate gradients preconditioned by the eigenvalues, with a line search.

    Args:
        kernel: of the training samples, ``[n, n]`` (C outputs share it) or ``[n, n, C, C]``.
        labels: ``[n]``, or probabilities ``[n, C]``.
        ridge: weight of the penalty; with the mean loss, so ``ridge * n`` is that of a sum. At 0 there is a minimum
            only where the kernel cannot tell all samples apart.
        initial: what the network put out before training, ``[n, C]``; zero by default.
        classes: how many classes there are, where the labels do not show all of them.
        tol: gradient at which it stops, relative to that at the start; with a ridge it must also be within a thousandth
            of the penalty's own, which a small ridge makes much smaller.
        max_iterations: Newton steps at most.

    Returns:
        The machine; where it did not converge, `converged` and `status` say so.

    Raises:
        BadInput: when kernel and labels do not fit together.
    """
    if not 0 <= ridge < float("inf") or not 0 < tol < 1 or max_iterations < 1:
        raise BadInput(
            f"ridge is {ridge}, tol {tol}, max_iterations {max_iterations}: give a ridge of 0 or more, a tolerance "
            "between 0 and 1, and at least one iteration."
        )
    given = targets_of(check_form(kernel), labels, classes)
    y = given.values
    if y.shape[1] < 2 or not bool(((y >= 0).all(1) & ((y.sum(1) - 1).abs() < 1e-6)).all()):
        raise BadInput("Cross-entropy takes labels [n], or probabilities [n, C] of two classes or more that sum to 1.")
    start = starts_of(initial, y)
    values, vectors = decompose(kernel)
    rank = int((values > 0).sum())
    values, vectors = values[:rank], vectors[:, :rank]
    problem = _Problem(vectors * values.sqrt(), values, y, start, ridge)
    w = torch.zeros(rank, y.numel() // len(vectors), dtype=torch.float64, device=y.device)
    products = iterations = 0
    objective, gradient, logits = problem.look(w)
    first = float(gradient.norm())
    stuck = False

    def settled() -> bool:
        """Small beside the start, and beside the two parts that balance at the minimum."""
        norm = float(gradient.norm())
        return norm <= tol * first and (ridge == 0 or norm <= _BALANCE * ridge * float(w.norm()))

    while not settled() and iterations < max_iterations and not stuck:
        forcing = min(0.1, (float(gradient.norm()) / first) ** 0.5)
        step, spent = problem.newton(logits, gradient, forcing)
        products += spent
        iterations += 1
        slope = float((step * gradient).sum())
        length = 1.0
        while True:
            candidate = w + length * step
            found = problem.look(candidate)
            # Near the minimum the loss is flat to rounding: there a smaller gradient will do.
            better = found[0] <= objective + _ENOUGH * length * slope
            if better or (found[0] <= objective + 1e-14 * abs(objective) and found[1].norm() < gradient.norm()):
                w, (objective, gradient, logits) = candidate, found
                break
            length *= 0.5
            if length < 1e-10:
                stuck = True
                break
    relative = float(gradient.norm()) / first if first else 0.0
    added = logits - start
    separable = given.labels is not None and bool((_margins(added, given.labels) > 0).all())
    done = settled() and (ridge > 0 or not separable)
    error = given.errors(logits)
    coefficients = (vectors @ (w / values.sqrt()[:, None])).reshape(y.shape)
    penalty = 0.5 * ridge * float(w.square().sum())
    loss = objective - penalty
    return Classifier(
        coefficients, logits, loss, penalty, None if error is None else float(error), ridge, relative, iterations,
        products, separable, done, _status(done, separable and not ridge, loss, relative, iterations, stuck),
    )  # fmt: skip


class _Problem:
    """The loss in the kernel's features: logits ``f_0 + F w``, with F ``[N, r]`` and w ``[r, columns]``."""

    def __init__(self, features: Tensor, values: Tensor, targets: Tensor, start: Tensor, ridge: float) -> None:
        self.features, self.values, self.targets, self.start, self.ridge = features, values, targets, start, ridge

    def look(self, w: Tensor) -> tuple[float, Tensor, Tensor]:
        """Objective, gradient ``[r, columns]``, and logits ``[n, C]``."""
        logits = self.start + self._forth(w)
        loss = float(-(self.targets * F.log_softmax(logits, 1)).sum(1).mean())
        objective = loss + 0.5 * self.ridge * float(w.square().sum())
        slope = (logits.softmax(1) - self.targets) / len(logits)
        return objective, self._back(slope) + self.ridge * w, logits

    def newton(self, logits: Tensor, gradient: Tensor, forcing: float) -> tuple[Tensor, int]:
        """Newton's step by preconditioned conjugate gradients, to a relative residual; and the products it took."""
        p = logits.softmax(1)
        bend = float((p * (1 - p)).mean()) / len(p)
        scale = self.ridge + bend * self.values[:, None]
        step = torch.zeros_like(gradient)
        rest = -gradient
        reduced = rest / scale
        towards = reduced.clone()
        square = float((rest * reduced).sum())
        aim, spent = forcing**2 * square, 0
        while square > aim and spent < 20 * len(self.values):
            moved = self._forth(towards)
            moved = p * (moved - (p * moved).sum(1, keepdim=True)) / len(p)
            image = self._back(moved) + self.ridge * towards
            spent += 1
            along = float((towards * image).sum())
            if along <= 0:  # flat to rounding in this direction
                break
            step += square / along * towards
            rest -= square / along * image
            reduced = rest / scale
            before, square = square, float((rest * reduced).sum())
            towards = reduced + square / before * towards
        return (step if spent else reduced), spent

    def _forth(self, w: Tensor) -> Tensor:
        return (self.features @ w).reshape(self.targets.shape)

    def _back(self, outputs: Tensor) -> Tensor:
        return self.features.T @ outputs.reshape(len(self.features), -1)


def _margins(logits: Tensor, labels: Tensor) -> Tensor:
    """How far the label's logit lies above the highest of the others, ``[n]``."""
    own = logits.gather(1, labels[:, None])[:, 0]
    return own - logits.scatter(1, labels[:, None], -torch.inf).max(1).values


def _status(done: bool, endless: bool, loss: float, gradient: float, iterations: int, stuck: bool) -> str:
    if done:
        return f"Converged to a gradient of {gradient:.2g} of the first in {iterations} Newton steps."
    if endless:
        return (
            f"The kernel tells all samples apart, so without a ridge the loss falls for ever; it is {loss:.2g} after "
            f"{iterations} Newton steps: give a ridge above 0, or stop training at a time."
        )
    why = "the line search found no better point" if stuck else "raise max_iterations, the ridge or tol"
    return f"The gradient is still {gradient:.2g} of the first after {iterations} Newton steps: {why}."
