"""Kernel machines in closed form: ridge regression, every ridge and leave-one-out from one eigendecomposition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.kernel._form import as_matrix, check_form, decompose, symmetric, wide
from landform.kernel._targets import as_row, starts_of, targets_of


@dataclass(frozen=True)
class Regression:
    """Kernel ridge regression ``f(x) = f_0(x) + K(x, X) (K + ridge)^-1 (Y - f_0(X))``, for each of R ridges.

    Attributes:
        ridges: what was added to the diagonal, ``[R]``.
        coefficients: ``(K + ridge)^-1 (Y - f_0)``, ``[R, n, C]``; with ridge 0 by the pseudo-inverse.
        fitted: outputs for the training samples, ``[R, n, C]``.
        left_out: outputs for each training sample of the regression on all the others, ``[R, n, C]``; nan where these
            do not settle it (ridge 0 and a kernel without full rank).
        losses: mean squared error of `left_out`, over samples and outputs, ``[R]``.
        errors: share of wrong labels in `left_out`, ``[R]``; None where the targets are no labels.
        training_losses: mean squared error of `fitted`, ``[R]``.
        training_errors: share of wrong labels in `fitted`, ``[R]``, or None.
        freedom: effective degrees of freedom ``tr K (K + ridge)^-1``, ``[R]``.
        best: which ridge has the least left-out error (for labels; the loss decides between equals), or loss.
        rank: of the kernel, above rounding.
    """

    ridges: Tensor
    coefficients: Tensor = field(repr=False)
    fitted: Tensor = field(repr=False)
    left_out: Tensor = field(repr=False)
    losses: Tensor
    errors: Tensor | None
    training_losses: Tensor
    training_errors: Tensor | None
    freedom: Tensor
    best: int
    rank: int

    @property
    def ridge(self) -> float:
        """The best ridge."""
        return float(self.ridges[self.best])

    def predict(self, cross: Tensor, *, which: int | None = None, initial: Tensor | None = None) -> Tensor:
        """Outputs for other samples.

        Args:
            cross: kernel of the other samples with the training ones, ``[m, n]`` or ``[m, n, K, K]``.
            which: which of the ridges; the best by default.
            initial: f_0 of the other samples, ``[m, C]``; zero by default.

        Returns:
            ``[m, C]``, float64.
        """
        return predict(cross, self.coefficients[self.best if which is None else which], initial)


def ridge_path(kernel: Tensor, count: int = 25, *, low: float = 1e-8, high: float = 1e2) -> Tensor:
    """Ridges on a scale that suits a kernel: log-spaced multiples of its mean eigenvalue.

    Args:
        kernel: ``[n, n]``, or ``[n, n, K, K]``.
        count: how many.
        low: the least, as a share of the mean eigenvalue.
        high: the largest, likewise.

    Returns:
        ``[count]``, ascending, float64.

    Raises:
        BadInput: when the range is none, or the kernel has no positive trace.
    """
    if count < 1 or not 0 < low <= high:
        raise BadInput(f"A path has at least one ridge, from low above 0 to high; got {count} from {low} to {high}.")
    mean = float(symmetric(kernel).diagonal().mean())
    if not mean > 0:
        raise BadInput(f"The mean of the kernel's diagonal is {mean:.3g}: a kernel's diagonal is positive.")
    return mean * torch.logspace(torch.tensor(low).log10(), torch.tensor(high).log10(), count, dtype=torch.float64)


def regression(
    kernel: Tensor,
    targets: Tensor,
    ridges: float | Sequence[float] | Tensor = 0.0,
    *,
    initial: Tensor | None = None,
    classes: int | None = None,
) -> Regression:
    """Regress targets, or the one-hot vectors of labels, on a kernel: exactly, for all ridges at once.

    One eigendecomposition serves every ridge and the left-out predictions. A sample is left out with all of its
    outputs, also in a full kernel. Ridge 0 is the limit of training the linearised network for ever on squared loss.

    Args:
        kernel: of the training samples, ``[n, n]`` (C independent outputs share it) or ``[n, n, K, K]``.
        targets: labels ``[n]``, or numbers ``[n]`` or ``[n, C]``; a column of -1 and 1 counts as labels too.
        ridges: added to the diagonal: one or several, such as `ridge_path` gives.
        initial: what the network put out before training, ``[n, C]``; zero by default.
        classes: how many classes there are, where the labels do not show all of them.

    Returns:
        The regression.

    Raises:
        BadInput: when kernel, targets and ridges do not fit together.
    """
    path = as_row(ridges).cpu()
    if path.dim() != 1 or not path.numel() or not bool((torch.isfinite(path) & (path >= 0)).all()):
        raise BadInput(f"Ridges are one or more finite numbers, none negative; got {ridges}.")
    given = targets_of(check_form(kernel), targets, classes)
    start = starts_of(initial, given.values)
    values, vectors = decompose(kernel)
    n, outputs = given.values.shape
    wanted = given.values - start
    # In a full kernel a sample has a row for each output, and all targets are one column.
    size = 1 if kernel.dim() == 2 else outputs
    projected = vectors.T @ wanted.reshape(len(values), -1)
    rows = vectors.reshape(n, size, -1)  # [n, size, N]
    found: dict[str, list[Tensor]] = {"coefficients": [], "fitted": [], "left_out": [], "freedom": []}
    for ridge in path.tolist():
        lifted = values + ridge
        inverse = torch.where(lifted > 0, 1.0 / lifted, 0.0)
        coefficients = (vectors @ (inverse[:, None] * projected)).reshape(n, outputs)
        fitted = start + (vectors @ ((values * inverse)[:, None] * projected)).reshape(n, outputs)
        # Leaving rows S out moves their prediction by (G^-1)_SS^-1 a_S, with G = K + ridge and a = G^-1 y.
        corners = torch.einsum("niN,N,njN->nij", rows, inverse, rows)
        if bool((lifted <= 0).any()):
            left_out = torch.full_like(fitted, torch.nan)
        else:
            left_out = given.values - torch.linalg.solve(corners, coefficients.reshape(n, size, -1)).reshape(n, outputs)
        found["coefficients"].append(coefficients)
        found["fitted"].append(fitted)
        found["left_out"].append(left_out)
        found["freedom"].append((values * inverse).sum())
    table = {name: torch.stack(each) for name, each in found.items()}
    losses = (table["left_out"] - given.values).square().mean((1, 2)).cpu()
    errors = given.errors(table["left_out"])
    errors = None if errors is None else errors.cpu()
    training = given.errors(table["fitted"])
    return Regression(
        ridges=path,
        coefficients=table["coefficients"],
        fitted=table["fitted"],
        left_out=table["left_out"],
        losses=losses,
        errors=errors,
        training_losses=(table["fitted"] - given.values).square().mean((1, 2)).cpu(),
        training_errors=None if training is None else training.cpu(),
        freedom=table["freedom"].cpu(),
        best=_best(losses, errors),
        rank=int((values > 0).sum()),
    )


def predict(cross: Tensor, coefficients: Tensor, initial: Tensor | None = None) -> Tensor:
    """Outputs of a kernel machine, ``f_0(x) + K(x, X) a``.

    Args:
        cross: kernel of some samples with the training ones, ``[m, n]`` or ``[m, n, K, K]``.
        coefficients: a, ``[n, C]``, or several, ``[T, n, C]``.
        initial: f_0 of the samples, ``[m, C]`` (or ``[m]``); zero by default.

    Returns:
        ``[m, C]`` or ``[T, m, C]``, float64.

    Raises:
        BadInput: when the shapes do not fit.
    """
    check_form(cross, "kernel with the training samples")
    n, outputs = coefficients.shape[-2:]
    if cross.shape[1] != n or (cross.dim() == 4 and cross.shape[2:] != (outputs, outputs)):
        blocks = "" if cross.dim() == 2 else f", {outputs}, {outputs}"
        raise BadInput(
            f"The kernel with the training samples has shape {list(cross.shape)}: for this machine it must be "
            f"[m, {n}{blocks}], rows the new samples."
        )
    matrix = wide(as_matrix(cross)).to(coefficients.device)
    front = coefficients.shape[:-2]
    columns = coefficients if cross.dim() == 2 else coefficients.reshape(*front, n * outputs, 1)
    found = (matrix @ columns).reshape(*front, len(cross), outputs)
    return found if initial is None else found + starts_of(initial, found[(0,) * len(front)])


def _best(losses: Tensor, errors: Tensor | None) -> int:
    """The ridge of least error, between equals of least loss; nan is worst, and the last one is kept if all are."""
    worst = torch.nan_to_num(losses, nan=torch.inf)
    if errors is not None:
        share = torch.nan_to_num(errors, nan=torch.inf)
        worst = torch.where(share == share.min(), worst, torch.inf)
    return int(worst.argmin())
