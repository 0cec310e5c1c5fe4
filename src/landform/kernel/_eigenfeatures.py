"""Functions along the eigenvectors of a kernel, and how they change with the input (Tsilivis & Kempe 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.kernel._form import check_form, decompose
from landform.kernel._targets import targets_of

Kernel: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""A function of inputs ``[n, ...]`` and ``[m, ...]`` that returns their kernel, ``[n, m]``."""


@dataclass(frozen=True)
class Eigenfeatures:
    """A kernel predictor taken apart: ``f = sum_i f_i``, ``f_i(x) = K(x, X) v_i v_i' Y / eigenvalue_i``.

    Attributes:
        values: eigenvalues of K(X, X), descending, ``[n]``; those below rounding are zero and have no feature.
        vectors: one a column, ``[n, n]``.
        weights: ``v_i' Y``, ``[n, C]``.
        inputs: X, ``[n, ...]``.
    """

    values: Tensor
    vectors: Tensor = field(repr=False)
    weights: Tensor = field(repr=False)
    inputs: Tensor = field(repr=False)
    _kernel: Kernel = field(repr=False)

    @property
    def rank(self) -> int:
        """How many features there are."""
        return int((self.values > 0).sum())

    def features(self, x: Tensor, which: Iterable[int] | int | None = None) -> Tensor:
        """The functions along eigenvectors, at some inputs; differentiable by the inputs.

        Args:
            x: ``[m, ...]``.
            which: numbers of the features, 0 that of the largest eigenvalue; all by default.

        Returns:
            ``[m, k, C]``.
        """
        chosen = self._chosen(which)
        # [m, k]: K(x, X) v_i / eigenvalue_i is the eigenvector carried on from X to x (Nystroem).
        carried = self._cross(x) @ (self.vectors[:, chosen] / self.values[chosen])
        return carried.unsqueeze(2) * self.weights[chosen]

    def predict(self, x: Tensor, which: Iterable[int] | int | None = None) -> Tensor:
        """The sum of some features: the predictor truncated to them; differentiable by the inputs.

        Args:
            x: ``[m, ...]``.
            which: as for `features`; all make the ridgeless kernel predictor.

        Returns:
            ``[m, C]``.
        """
        chosen = self._chosen(which)
        return self._cross(x) @ ((self.vectors[:, chosen] / self.values[chosen]) @ self.weights[chosen])

    def gradients(self, x: Tensor, which: Iterable[int] | int | None = None) -> Tensor:
        """Input-space gradients of the features, one backward pass for each of them.

        Args:
            x: ``[m, ...]``.
            which: as for `features`.

        Returns:
            ``d f_i / d x``, ``[m, k, C, ...]``.

        Raises:
            BadInput: when the kernel cannot be differentiated by its first inputs.
        """
        chosen = self._chosen(which)
        leaf = x.detach().clone().requires_grad_()
        with torch.enable_grad():
            carried = self._cross(leaf) @ (self.vectors[:, chosen] / self.values[chosen])
            if not carried.requires_grad:
                raise BadInput(
                    "The kernel has no gradient by its first inputs: give a function made of differentiable operations "
                    "on them, without detach or no_grad."
                )
            # Each row depends on its own input alone, so the gradient of a sum over rows is that of each.
            columns = carried.sum(0).unbind()
            found = [torch.autograd.grad(c, leaf, retain_graph=i + 1 < len(columns))[0] for i, c in enumerate(columns)]
        slopes = torch.stack(found, dim=1).unsqueeze(2)  # [m, k, 1, ...]
        return slopes * self.weights[chosen].reshape(1, *self.weights[chosen].shape, *[1] * (x.dim() - 1)).to(slopes)

    def _cross(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor) or x.shape[1:] != self.inputs.shape[1:]:
            got = f"shape {list(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise BadInput(f"Inputs have the shape [m, {', '.join(map(str, self.inputs.shape[1:]))}]; got {got}.")
        found = self._kernel(x, self.inputs)
        if found.shape != (len(x), len(self.inputs)):
            raise BadInput(
                f"The kernel of {len(x)} and {len(self.inputs)} inputs has shape {list(found.shape)}: it must be "
                f"[{len(x)}, {len(self.inputs)}], such as a trace kernel is."
            )
        return found.to(self.values)

    def _chosen(self, which: Iterable[int] | int | None) -> Tensor:
        numbers = list(range(self.rank)) if which is None else [which] if isinstance(which, int) else list(which)
        if not numbers or min(numbers) < 0 or max(numbers) >= self.rank:
            raise BadInput(
                f"The features are numbered 0..{self.rank - 1} (eigenvalues below rounding have none); got "
                f"{numbers if len(numbers) < 8 else [*numbers[:8], '...']}."
            )
        return torch.tensor(numbers, device=self.values.device)


def eigenfeatures(kernel: Kernel, inputs: Tensor, targets: Tensor, *, classes: int | None = None) -> Eigenfeatures:
    """Take the ridgeless predictor of a kernel apart along its eigenvectors.

    Args:
        kernel: any function of two sets of inputs that returns their kernel ``[n, m]``; for `Eigenfeatures.gradients`
            it has to be differentiable by the first.
        inputs: X, ``[n, ...]``.
        targets: labels ``[n]``, or numbers ``[n]`` or ``[n, C]``.
        classes: how many classes there are, where the labels do not show all of them.

    Returns:
        The features.

    Raises:
        BadInput: when the kernel of the inputs with themselves is no ``[n, n]``, symmetric and positive.
    """
    with torch.no_grad():
        own = check_form(kernel(inputs, inputs))
    if own.shape != (len(inputs), len(inputs)):
        raise BadInput(
            f"The kernel of {len(inputs)} inputs with themselves has shape {list(own.shape)}: eigenfeatures take a "
            f"kernel [{len(inputs)}, {len(inputs)}], such as a trace kernel."
        )
    wanted = targets_of(own, targets, classes).values
    values, vectors = decompose(own)
    return Eigenfeatures(values, vectors, vectors.T @ wanted, inputs.detach(), kernel)
