"""Exact traces by as many backward passes as there are outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from landform.curvature._contract import wide
from landform.curvature._piecewise import why_not_piecewise_linear
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.per_sample import sample_gradients

Of: TypeAlias = Literal["gauss-newton", "hessian"]

_MOST_OUTPUTS = 1024


@dataclass(frozen=True)
class ExactTrace:
    """A trace without random vectors.

    Attributes:
        value: the trace, declared weight decay included, as in the landscape's operators.
        layers: trace of each parameter's diagonal block, by name; they sum to the trace.
        of: whose trace it is.
        backward_passes: full-data backward passes that it took.
        samples: how many samples there were.
    """

    value: float
    layers: Mapping[str, float] = field(repr=False)
    of: Of
    backward_passes: int
    samples: int


def exact_trace(
    landscape: Landscape, point: Tensor, *, of: Of = "gauss-newton", buffers: Mapping[str, Tensor] | None = None
) -> ExactTrace:
    """Trace of the Gauss-Newton matrix, or of the Hessian where the two agree.

    With the Hessian of each sample's loss over its outputs as a sum of s_c s_c.T, the trace of G is the mean over
    samples of the summed squared norms of the gradients along s_c: one backward pass for each c (C - 1 for the
    cross-entropy of C classes, whose matrix diag(p) - pp.T has one direction without curvature).

    Args:
        landscape: the landscape.
        point: ``[P]``.
        of: "gauss-newton", always; "hessian" only where the network is piecewise linear in every single parameter
            (ReLU, no LayerNorm, no shared weights), which is read off its graph.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The trace.

    Raises:
        BadInput: when the two traces differ and the Hessian's is asked for; the message says why they do.
    """
    if of not in ("gauss-newton", "hessian"):
        raise BadInput(f"of is {of!r}: give 'gauss-newton' or 'hessian'.")
    if of == "hessian":
        _refuse_bent(landscape, point, buffers)
    signs: list[Tensor] = []

    def cotangents(outputs: Tensor, targets: Any) -> Tensor:
        along, sign = output_factors(landscape, outputs, targets)
        signs[:] = [sign]
        return along

    totals = dict.fromkeys(landscape.layout.names, 0.0)
    samples, passes = 0, 0
    for k, gradients, _ in sample_gradients(landscape, point, cotangents, buffers=buffers):
        if k == 0:
            samples += len(signs[0][0])
        passes = max(passes, k + 1)
        for name, gradient in gradients.items():
            totals[name] += float((signs[0][k].double().cpu() * gradient.squares()[:, 0].cpu().double()).sum())
    layers = {s.name: totals[s.name] / samples + landscape.weight_decay * s.size for s in landscape.layout.slots}
    return ExactTrace(sum(layers.values()), layers, of, passes, samples)


def output_factors(landscape: Landscape, outputs: Tensor, targets: Any) -> tuple[Tensor, Tensor]:
    """Factor the Hessian of each sample's loss over its outputs into a sum of signed squares.

    Args:
        landscape: whose loss.
        outputs: ``[B, ...]``.
        targets: of the batch.

    Returns:
        The factors ``[K, B, ...]``, those that vanish for every sample left out, and their signs ``[K, B]``.

    Raises:
        BadInput: when a sample has too many outputs, or its loss depends on other samples.
    """
    size = outputs[0].numel()
    if size > _MOST_OUTPUTS:
        raise BadInput(
            f"One sample has {size:,} outputs, and an exact trace takes a backward pass for each: "
            "estimate it by trace(landscape.gauss_newton(point))."
        )
    with torch.enable_grad():
        leaf = wide(outputs.detach()).requires_grad_()
        kept = targets
        if isinstance(kept, Tensor) and kept.is_floating_point():
            kept = kept.to(leaf.dtype)
        value = landscape._loss(leaf, kept) * len(leaf)
        (slope,) = torch.autograd.grad(value, leaf, create_graph=True)
        flat = slope.flatten(1)
        if not flat.requires_grad:
            raise BadInput("The loss is linear in the outputs: its Gauss-Newton matrix is zero.")
        if len(flat) > 1:
            (across,) = torch.autograd.grad(flat[0].sum(), leaf, retain_graph=True)
            if bool(across[1:].abs().max() > 1e-9 * across.abs().max()):
                raise BadInput("The loss of one sample depends on others, so no trace by single samples exists.")
        rows = [torch.autograd.grad(flat[:, j].sum(), leaf, retain_graph=True)[0].flatten(1) for j in range(size)]
    values, vectors = torch.linalg.eigh(torch.stack(rows, 1).cpu())  # [B, D], [B, D, D]
    largest = values.abs().max().clamp_min(1e-300)
    kept_ = values.abs().amax(0) > 1e-12 * largest
    factors = (vectors * values.abs().sqrt().unsqueeze(1)).permute(2, 0, 1)[kept_]
    along = factors.to(outputs.device, outputs.dtype).reshape(-1, *outputs.shape)
    return along, values.sign().T[kept_]


def piecewise_linear(landscape: Landscape, point: Tensor, *, buffers: Mapping[str, Tensor] | None = None) -> str | None:
    """Tell what keeps the trace of the Hessian from being that of the Gauss-Newton matrix.

    Args:
        landscape: the landscape.
        point: ``[P]``.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        None where they agree (piecewise linear in every single parameter), else the reason, as part of a sentence.
    """
    landscape.layout.check(point)
    point = point.to(landscape.device, landscape.dtype)
    own = landscape._own_buffers(point, buffers)
    leaves = {name: view.detach().requires_grad_() for name, view in landscape.layout.views(point).items()}
    outputs, _ = next(iter(landscape._passes(point, own, leaves)))
    if not isinstance(outputs, Tensor):
        return f"the outputs are a {type(outputs).__name__}, not one tensor"
    return why_not_piecewise_linear(outputs, leaves)


def _refuse_bent(landscape: Landscape, point: Tensor, buffers: Mapping[str, Tensor] | None) -> None:
    why = piecewise_linear(landscape, point, buffers=buffers)
    if why is not None:
        raise BadInput(
            f"The traces of the Hessian and of the Gauss-Newton matrix differ here, because {why}: estimate the "
            "Hessian's by trace(landscape.hessian(point)), or ask for of='gauss-newton'."
        )
