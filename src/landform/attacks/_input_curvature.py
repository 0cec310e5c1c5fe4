"""How the loss bends when inputs move: the largest curvature of each sample's own loss by its input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from landform.attacks._against import function_of
from landform.attacks._judge import loss_of_each
from landform.attacks._space import Space
from landform.derivatives import second_order_safe
from landform.errors import BadInput
from landform.landscape import Landscape

# Below this share of a curvature its error does not matter.
_ENOUGH = 1e-2


@dataclass(frozen=True)
class InputCurvature:
    """Slope and curvature of each sample's loss by its input, in units of a `Space`.

    Attributes:
        values: largest eigenvalue of the Hessian by the input, ``[N]``, float64.
        errors: bound on the error of each (the residual of its vector), ``[N]``.
        slopes: norm of the gradient by the input, ``[N]``.
        converged: share of the samples whose error is below a hundredth of the value, or below a millionth.
        products: products with the Hessians of all samples at once.
    """

    values: Tensor = field(repr=False)
    errors: Tensor = field(repr=False)
    slopes: Tensor = field(repr=False)
    converged: float
    products: int

    @property
    def mean(self) -> float:
        """Mean of the curvatures."""
        return float(self.values.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean, over samples."""
        return float(self.values.std()) / math.sqrt(len(self.values)) if len(self.values) > 1 else math.nan


def input_curvature(
    landscape: Landscape,
    point: Tensor,
    *,
    within: Any,
    steps: int = 20,
    buffers: Mapping[str, Tensor] | None = None,
    seed: int = 0,
) -> InputCurvature:
    """Largest input-space curvature of every sample, by Lanczos for all samples of a batch at once.

    Samples do not touch one another, so one product with the Hessian of the summed loss is one for each of them. On
    networks with kinks this is the curvature of the smooth piece that a sample lies in: that of the softmax alone.

    Args:
        landscape: the model, its loss and the samples, in memory.
        point: ``[P]``.
        within: the data that the samples are of, for units (see `Space.of`), or a `Space`.
        steps: products with each Hessian at most; the size of an input is enough for any.
        buffers: buffers to use instead of the landscape's own.
        seed: of the first vectors.

    Returns:
        The curvatures.
    """
    if steps < 1:
        raise BadInput(f"steps is {steps}: give at least 1.")
    function, inputs, targets = function_of(landscape, point, buffers)
    name = landscape._loss_name
    each = loss_of_each(name if name in ("cross-entropy", "mse") else landscape._loss)
    space, size = Space.of(within), landscape._batch_size
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    products = 0
    for first in range(0, len(inputs), size):
        x, y = inputs[first : first + size], targets[first : first + size]
        unit = space.tensors(x)[0]
        with second_order_safe(), torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(each(function(leaf), y).sum(), leaf, create_graph=True)

            def product(v: Tensor, leaf: Tensor = leaf, slope: Tensor = slope, unit: Tensor = unit) -> Tensor:
                if not slope.requires_grad:  # linear in its input
                    return torch.zeros_like(v)
                vector = unit * v.reshape(slope.shape).to(slope)
                (found,) = torch.autograd.grad(slope, leaf, vector, retain_graph=True, materialize_grads=True)
                return (unit * found).flatten(1).to(v)

            start = torch.randn(x.flatten(1).shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            kind = torch.float32 if x.device.type == "mps" else torch.float64
            values, errors, spent = _largest(product, start.to(x.device, kind), steps)
        products += spent
        norms = torch.linalg.vector_norm((slope.detach() * unit).flatten(1), dim=1)
        columns.append((values.cpu().double(), errors.cpu().double(), norms.cpu().double()))
    values, errors, norms = (torch.cat(column) for column in zip(*columns, strict=True))
    fine = (errors <= _ENOUGH * values.abs()) | (errors <= 1e-6)
    return InputCurvature(values, errors, norms, float(fine.double().mean()), products)


def _largest(product: Any, start: Tensor, steps: int) -> tuple[Tensor, Tensor, int]:
    """Largest eigenvalues of B symmetric matrices at once, with residuals: Lanczos, orthogonalised in full."""
    samples, width = start.shape
    count = min(steps, width)
    basis = torch.zeros(count, samples, width, dtype=start.dtype, device=start.device)
    alphas = torch.zeros(samples, count, dtype=start.dtype, device=start.device)
    betas = torch.zeros(samples, count, dtype=start.dtype, device=start.device)
    q = start / torch.linalg.vector_norm(start, dim=1, keepdim=True)
    for i in range(count):
        basis[i] = q
        w = product(q)
        alphas[:, i] = (q * w).sum(1)
        for _ in range(2):
            w = w - torch.einsum("kb,kbd->bd", torch.einsum("kbd,bd->kb", basis[: i + 1], w), basis[: i + 1])
        betas[:, i] = torch.linalg.vector_norm(w, dim=1)
        # A space that is exhausted goes on with nothing: its rows and columns are zero.
        q = torch.where(betas[:, i : i + 1] > 1e-10, w / betas[:, i : i + 1].clamp_min(1e-30), 0.0)
        betas[:, i] = torch.where(betas[:, i] > 1e-10, betas[:, i], 0.0)
    small = torch.diag_embed(alphas) + torch.diag_embed(betas[:, :-1], 1) + torch.diag_embed(betas[:, :-1], -1)
    values, vectors = torch.linalg.eigh(small.cpu())
    return values[:, -1], (betas[:, -1].cpu() * vectors[:, -1, -1].abs()), count
