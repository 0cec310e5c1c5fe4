"""The edge of stability, with the threshold of the optimiser in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from torch import Tensor

from landform.curvature._contract import Symmetric, check_vector
from landform.curvature._eigenpairs import Eigenpairs, eigenpairs
from landform.errors import BadInput
from landform.layout import Layout

Optimizer: TypeAlias = Literal["sgd", "adam", "adamw"]


@dataclass(frozen=True)
class Stability:
    """Whether small deviations grow under the optimiser, were the loss quadratic and the gradient exact.

    Attributes:
        sharpness: largest eigenvalue of the Hessian, for Adam of the preconditioned Hessian
            ``D^-1/2 H D^-1/2`` with D the optimiser's own denominator.
        error: bound on its error.
        threshold: the largest sharpness at which the step is stable.
        ratio: sharpness over threshold; above 1 deviations grow.
        stable: whether it is at most 1.
        optimizer: which rule, in words.
        lr: the learning rate.
        pairs: the eigenpairs; for Adam of the preconditioned Hessian.
        converged: whether the sharpness reached its tolerance.
        products: products spent.
    """

    sharpness: float
    error: float
    threshold: float
    ratio: float
    stable: bool
    optimizer: str
    lr: float
    pairs: Eigenpairs = field(repr=False)
    converged: bool
    products: int


class Preconditioned:
    """``D^-1/2 H D^-1/2`` with a positive diagonal D, as an operator.

    It has the eigenvalues of ``D^-1 H``, which is what Adam's step sees, and is symmetric.
    """

    symmetric = True

    def __init__(self, operator: Symmetric, denominator: Tensor) -> None:
        """Wrap an operator.

        Args:
            operator: H.
            denominator: the diagonal of D, ``[P]``.

        Raises:
            BadInput: when the denominator is not positive everywhere.
        """
        denominator = check_vector("denominator", denominator, operator)
        if not bool((denominator > 0).all()):
            raise BadInput("The preconditioner must be positive everywhere: give sqrt(exp_avg_sq) + eps with eps > 0.")
        self._operator = operator
        self._scale = denominator.rsqrt()
        self.size, self.dtype, self.device = operator.size, operator.dtype, operator.device
        self.layout: Layout | None = getattr(operator, "layout", None)
        self.name = f"preconditioned {getattr(operator, 'name', 'operator')}"
        self.products = 0

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """Multiply ``[P]`` or ``[P, k]``."""
        scale = self._scale if vectors.dim() == 1 else self._scale.unsqueeze(1)
        self.products += 1 if vectors.dim() == 1 else vectors.shape[1]
        result: Tensor = scale * (self._operator @ (scale * vectors))
        return result

    def dense(self) -> Tensor:
        """The matrix, ``[P, P]``."""
        return self._scale.unsqueeze(1) * self._operator.dense() * self._scale


def threshold(
    optimizer: Optimizer, lr: float, *, momentum: float = 0.0, nesterov: bool = False, beta1: float = 0.9
) -> float:
    """The sharpness above which a step of the optimiser is unstable on a quadratic.

    Gradient descent: 2 / lr. Heavy ball: (2 + 2 m) / lr. Nesterov: (2 + 2 m) / ((1 + 2 m) lr) (Cohen et al. 2021,
    appendix B). Adam, on the preconditioned Hessian: (2 + 2 beta1) / ((1 - beta1) lr), 38 / lr for 0.9 (Cohen et al.
    2022). Decoupled weight decay (AdamW) moves the threshold by a share lr x decay, which is left out.

    Args:
        optimizer: "sgd", "adam" or "adamw".
        lr: learning rate.
        momentum: of sgd, as torch has it (no dampening).
        nesterov: whether it is Nesterov's.
        beta1: of Adam.

    Returns:
        The threshold.

    Raises:
        BadInput: when a setting is out of range.
    """
    if optimizer not in ("sgd", "adam", "adamw"):
        raise BadInput(f"The stability threshold of {optimizer!r} is not known: give 'sgd', 'adam' or 'adamw'.")
    if not lr > 0:
        raise BadInput(f"lr is {lr}: give a positive learning rate.")
    if not 0 <= momentum < 1 or not 0 <= beta1 < 1:
        raise BadInput("Momentum and beta1 must be at least 0 and less than 1.")
    if optimizer == "sgd":
        return (2 + 2 * momentum) / ((1 + 2 * momentum if nesterov else 1.0) * lr)
    return (2 + 2 * beta1) / ((1 - beta1) * lr)


def adam_denominator(
    exp_avg_sq: Tensor, *, step: int, beta2: float = 0.999, eps: float = 1e-8, beta1: float = 0.9
) -> Tensor:
    """What Adam divides its first moment by, both bias corrections included.

    Args:
        exp_avg_sq: the second moment, ``[P]``.
        step: steps taken so far, at least 1.
        beta2: decay of the second moment.
        eps: added to the root.
        beta1: decay of the first moment.

    Returns:
        ``(1 - beta1^t) (sqrt(exp_avg_sq / (1 - beta2^t)) + eps)``, ``[P]``.

    Raises:
        BadInput: when no step was taken.
    """
    if step < 1:
        raise BadInput(f"step is {step}: before Adam's first step there is no denominator; give at least 1.")
    root = (exp_avg_sq / (1 - beta2**step)).sqrt()
    return (1 - beta1**step) * (root + eps)


def stability(
    operator: Symmetric,
    *,
    lr: float,
    optimizer: Optimizer = "sgd",
    momentum: float = 0.0,
    nesterov: bool = False,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    state: Mapping[str, Tensor] | None = None,
    step: int | None = None,
    tol: float = 1e-2,
    start: Tensor | None = None,
    max_products: int | None = None,
    seed: int = 0,
) -> Stability:
    """Hold the sharpness against the threshold of the optimiser in use.

    Args:
        operator: the Hessian of what is trained, weight decay included where the gradient has it.
        lr: learning rate.
        optimizer: "sgd", "adam" or "adamw".
        momentum: of sgd.
        nesterov: of sgd.
        betas: of Adam.
        eps: of Adam.
        state: for Adam, the optimiser's state: ``exp_avg_sq`` ``[P]``, as a record keeps it.
        step: for Adam, how many steps were taken, for the bias corrections.
        tol: relative error of the sharpness.
        start: eigenvectors found at a neighbouring time (those of `Stability.pairs`).
        max_products: give up after so many.
        seed: of the start.

    Returns:
        The verdict. With mini-batches the threshold is an upper bound: noise makes steps unstable earlier.

    Raises:
        BadInput: when Adam's state is missing.
    """
    limit = threshold(optimizer, lr, momentum=momentum, nesterov=nesterov, beta1=betas[0])
    seen: Symmetric = operator
    words = "gradient descent"
    if optimizer == "sgd" and momentum:
        words = "Nesterov momentum" if nesterov else "heavy ball"
    elif optimizer != "sgd":
        if state is None or "exp_avg_sq" not in state or step is None:
            raise BadInput("Adam's stability needs its second moment: give state={'exp_avg_sq': ...} [P] and step=.")
        second = check_vector("exp_avg_sq", state["exp_avg_sq"], operator)
        seen = Preconditioned(operator, adam_denominator(second, step=step, beta1=betas[0], beta2=betas[1], eps=eps))
        words = optimizer
    pairs = eigenpairs(seen, 1, tol=tol, start=start, max_products=max_products, seed=seed)
    top = float(pairs.values[0])
    return Stability(
        sharpness=top,
        error=float(pairs.errors[0]),
        threshold=limit,
        ratio=top / limit,
        stable=top <= limit,
        optimizer=words,
        lr=lr,
        pairs=pairs,
        converged=pairs.converged,
        products=pairs.products,
    )
