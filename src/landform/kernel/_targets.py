"""What a kernel is held against: labels, or numbers to be regressed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from landform.errors import BadInput
from landform.kernel._form import outputs_of, wide


@dataclass(frozen=True)
class Targets:
    """Targets as numbers, and as labels where they are.

    Attributes:
        values: ``[n, C]``, float64; labels as one-hot rows.
        labels: ``[n]`` where the targets are labels, or one column of -1 and 1 (as 0 and 1); else None.
    """

    values: Tensor
    labels: Tensor | None

    def errors(self, outputs: Tensor) -> Tensor | None:
        """Share of wrong labels.

        Args:
            outputs: ``[..., n, C]``.

        Returns:
            ``[...]``, float64; nan where outputs are; None where the targets are not labels.
        """
        if self.labels is None:
            return None
        found = (outputs[..., 0] > 0).long() if outputs.shape[-1] == 1 else outputs.argmax(-1)
        share = (found != self.labels).double().mean(-1)
        return torch.where(torch.isfinite(outputs).flatten(-2).all(-1), share, torch.nan)


def targets_of(kernel: Tensor, given: Any, classes: int | None = None) -> Targets:
    """Read the targets that belong to the rows of a kernel.

    Args:
        kernel: ``[n, m]``, or ``[n, m, K, K]``.
        given: labels ``[n]`` (whole numbers), or numbers ``[n]`` or ``[n, C]``.
        classes: how many classes there are; by default as many as the kernel has outputs, or the largest label says.

    Returns:
        The targets, on the kernel's device.

    Raises:
        BadInput: when they do not fit.
    """
    n, outputs = len(kernel), outputs_of(kernel)
    if not isinstance(given, Tensor) or given.dim() not in (1, 2) or len(given) != n:
        got = f"shape {list(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
        raise BadInput(
            f"Targets are a tensor of {n} labels, or numbers [{n}] or [{n}, C], as the kernel's rows; got {got}."
        )
    place = "cpu" if kernel.device.type == "mps" else kernel.device
    given = given.detach().to(place)
    full = kernel.dim() == 4
    if not given.is_floating_point():
        if given.dim() != 1:
            raise BadInput(f"Labels are one whole number for each sample, [{n}]; got shape {list(given.shape)}.")
        labels = given.long()
        count = classes or (outputs if full else int(labels.max()) + 1)
        if int(labels.min()) < 0 or int(labels.max()) >= count:
            raise BadInput(
                f"The labels run from {int(labels.min())} to {int(labels.max())}: they must lie in 0..{count - 1}."
            )
        found = Targets(F.one_hot(labels, count).double(), labels)
    else:
        if not bool(torch.isfinite(given).all()):
            raise BadInput("The targets hold NaN or infinity: remove or mend those samples.")
        values = wide(given).reshape(n, -1)
        signs = values.shape[1] == 1 and bool((values.abs() == 1).all())
        found = Targets(values, (values[:, 0] > 0).long() if signs else None)
    if full and found.values.shape[1] != outputs:
        raise BadInput(
            f"The kernel has {outputs} outputs for each sample and the targets {found.values.shape[1]}: give as many, "
            "or the trace kernel."
        )
    return found


def starts_of(given: Any, values: Tensor) -> Tensor:
    """Read what a network put out before it was trained.

    Args:
        given: ``[n, C]`` or ``[n]``, or None for zero.
        values: the targets, ``[n, C]``.

    Returns:
        ``[n, C]``, float64.

    Raises:
        BadInput: when it does not fit.
    """
    if given is None:
        return torch.zeros_like(values)
    if not isinstance(given, Tensor) or given.numel() != values.numel() or len(given) != len(values):
        got = f"shape {list(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
        raise BadInput(f"Initial outputs have the shape of the targets, {list(values.shape)}; got {got}.")
    return wide(given).to(values.device).reshape(values.shape)


def as_row(given: float | Sequence[float] | Tensor) -> Tensor:
    """Read one number or several.

    Args:
        given: a number, or a row of numbers.

    Returns:
        ``[T]``, float64.
    """
    found = torch.as_tensor(given, dtype=torch.float64)
    return found.reshape(1) if found.dim() == 0 else found
