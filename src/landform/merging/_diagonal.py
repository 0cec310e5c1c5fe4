"""The diagonal of the Fisher information: squares of the gradients of single samples, coordinate by coordinate.

With f the outputs of a sample, J their Jacobian by the parameters and ``p(y | f)`` the model's distribution,

``F_j = mean over samples of E over y of (d log p(y | f) / d theta_j)^2``.

For cross-entropy and mean squares the expectation is that of the Gauss-Newton matrix ``J' H J``, and ``H = S S'`` has
few columns: as many gradients of each sample give it exactly. Where there are too many, columns are drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.merging._layers import double
from landform.per_sample import Blocks, Direct, Lookup, Outer, Part, count, sample_gradients

Kind: TypeAlias = Literal["true", "empirical", "sampled"]

# Gradients of each sample up to which the true Fisher is taken exactly.
FEW = 16
# Numbers of gradients that are formed at a time.
_FORMED = 2**24


@dataclass(frozen=True)
class FisherDiagonal:
    """The diagonal of a Fisher information matrix, without weight decay.

    Attributes:
        values: ``[P]``, float64, 0 or more.
        how: ``"exact"``, ``"empirical"`` or ``"sampled"``.
        gradients: of each sample that it took: its cost in gradients of the full data, roughly.
    """

    values: Tensor
    how: str
    gradients: int


def fisher_diagonal(
    landscape: Landscape,
    point: Tensor,
    *,
    kind: Kind = "true",
    draws: int = 1,
    seed: int = 0,
    buffers: Mapping[str, Tensor] | None = None,
) -> FisherDiagonal:
    """Take the diagonal of the Fisher information at a point.

    Args:
        landscape: the landscape.
        point: ``[P]``.
        kind: ``"true"`` (over the model's own distribution: exactly where 16 gradients of each sample or fewer will do,
            else sampled), ``"empirical"`` (with the data's targets), or ``"sampled"`` (with targets drawn from the
            model).
        draws: gradients of each sample, where they are drawn.
        seed: for drawing.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The diagonal.

    Raises:
        BadInput: when the model's distribution is not known, or samples are not independent.
    """
    if kind not in ("true", "empirical", "sampled"):
        raise BadInput(f"There is no Fisher of kind {kind!r}: give 'true', 'empirical' or 'sampled'.")
    if draws < 1:
        raise BadInput(f"draws is {draws}: give at least 1.")
    if kind != "empirical" and landscape._loss_name not in _COLUMNS:
        raise BadInput(
            f"The distribution behind the loss {landscape._loss_name} is not known, so its true Fisher is not: take "
            "kind='empirical'."
        )
    landscape.layout.check(point)
    made = torch.Generator().manual_seed(seed)
    told: list[tuple[str, int]] = []
    samples = 0

    def cotangents(outputs: Tensor, targets: Any) -> Tensor:
        if kind == "empirical":
            found, how = _slopes(landscape, outputs, targets), "empirical"
        elif kind == "true" and outputs[0].numel() <= FEW:
            found, how = _COLUMNS[landscape._loss_name](outputs, targets), "exact"
        else:
            drawn = [_DRAWN[landscape._loss_name](outputs, targets, made) for _ in range(draws)]
            found, how = torch.stack(drawn) / math.sqrt(draws), "sampled"
        told.append((how, len(found)))
        return found

    total: dict[str, Tensor] = {}
    for k, parts, targets in sample_gradients(landscape, point, cotangents, buffers=buffers):
        samples += count(targets) if k == 0 else 0
        for name, part in parts.items():
            squares = _squares(part)
            total[name] = total[name] + squares if name in total else squares
    shapes = {slot.name: slot.shape for slot in landscape.layout.slots}
    like = next(iter(total.values()), point)
    whole = {
        name: total[name].reshape(shape)
        if name in total
        else torch.zeros(shape, dtype=double(like), device=like.device)  # nothing used it
        for name, shape in shapes.items()
    }
    how, taken = told[0]
    return FisherDiagonal(landscape.layout.join(whole) / samples, how, taken)


def _squares(part: Part) -> Tensor:
    """Sum over samples and gradients of the squares of each coordinate, ``[p]``, in pieces of bounded memory."""
    if isinstance(part, Blocks):
        return torch.cat([_squares(one) for one in part.parts])
    if isinstance(part, Direct):
        return part.gradients.to(double(part.gradients)).square().sum((0, 1))
    wide = double(part.cotangents)
    if isinstance(part, Outer) and part.inputs.shape[1] == 1:
        # One outer product a sample: its squares are the outer product of squares.
        squares = [t[..., 0, :].to(wide).square() for t in (part.cotangents, part.inputs)]
        formed = squares[0].sum(1).T @ squares[1]
        return (formed.T if part.turned else formed).flatten()
    step = max(1, _FORMED // (part.size * part.cotangents.shape[1]))
    total = torch.zeros(part.size, dtype=wide, device=part.cotangents.device)
    for start in range(0, len(part.cotangents), step):
        total += _cut(part, slice(start, start + step)).rows().to(wide).square().sum((0, 1))
    return total


def _cut(part: Outer | Lookup, which: slice) -> Outer | Lookup:
    """Some of the samples."""
    if isinstance(part, Outer):
        return replace(part, inputs=part.inputs[which], cotangents=part.cotangents[which])
    return replace(part, indices=part.indices[which], cotangents=part.cotangents[which])


# ---------------------------------------------------------------------------- cotangents of the outputs [B, ...]


def _slopes(landscape: Landscape, outputs: Tensor, targets: Any) -> Tensor:
    """The gradient of each sample's own loss by its outputs, ``[1, B, ...]``."""
    if landscape._loss_name in _COLUMNS and not bool((targets == -100).any()):  # a mean over samples: all at once
        together = outputs.detach().requires_grad_()
        with torch.enable_grad():
            value = landscape._loss(together, targets) * len(outputs)
        return torch.autograd.grad(value, together)[0].unsqueeze(0)
    found = torch.zeros_like(outputs)
    for number in range(len(outputs)):
        one = outputs[number : number + 1].detach().requires_grad_()
        own = targets[number : number + 1] if isinstance(targets, Tensor) else targets
        with torch.enable_grad():
            value = landscape._loss(one, own)
        if value.requires_grad and bool(value.isfinite()):  # a sample none of whose labels count has no loss
            (found[number : number + 1],) = torch.autograd.grad(value, one)
    return found.unsqueeze(0)


def _counting(outputs: Tensor, targets: Any) -> Tensor:
    """The share of each position of a sample in its mean, ``[B, ...]``: 0 where the label does not count."""
    shape = outputs.shape[:-1]
    counts = torch.ones(shape, dtype=outputs.dtype, device=outputs.device)
    if isinstance(targets, Tensor) and targets.shape == shape and not targets.is_floating_point():
        counts = (targets != -100).to(outputs)
    each = counts.flatten(1).sum(1).clamp(min=1) if counts.dim() > 1 else counts.new_ones(len(counts))
    return counts / each.reshape(-1, *[1] * (counts.dim() - 1))


def _of_classes(outputs: Tensor, targets: Any) -> Tensor:
    """Columns ``sqrt(p_c) (p - e_c)`` of the softmax, one for each class and position, ``[K, B, ...]``."""
    p = outputs.softmax(-1)
    classes = p.shape[-1]
    share = _counting(outputs, targets).unsqueeze(-1)
    each = (p.unsqueeze(-2) - torch.eye(classes, dtype=p.dtype, device=p.device)) * (p * share).sqrt().unsqueeze(-1)
    columns = each.movedim(-2, 0)  # [classes, B, *positions, classes]
    return _apart(columns, outputs.shape[1:-1])


def _of_outputs(outputs: Tensor, targets: Any) -> Tensor:
    """Columns ``sqrt(2 / K) e_k`` of the mean over K outputs of squares, ``[K, B, ...]``."""
    size = outputs[0].numel()
    units = torch.eye(size, dtype=outputs.dtype, device=outputs.device) * math.sqrt(2 / size)
    return units.reshape(size, 1, *outputs.shape[1:]).expand(size, *outputs.shape)


def _apart(columns: Tensor, positions: torch.Size) -> Tensor:
    """One column for each position: ``[C, B, *positions, C]`` to ``[C * positions, B, *positions, C]``."""
    places = positions.numel()
    if places == 1:
        return columns
    flat = columns.reshape(*columns.shape[:2], places, columns.shape[-1])
    alone = torch.eye(places, dtype=flat.dtype, device=flat.device)
    spread = torch.einsum("cbtk,ut->ucbtk", flat, alone)
    return spread.reshape(-1, *columns.shape[1:])


def _drawn_class(outputs: Tensor, targets: Any, made: torch.Generator) -> Tensor:
    """``p - e_y`` with y drawn from p, ``[B, ...]``; positions are weighted so that it is unbiased."""
    p = outputs.softmax(-1)
    drawn = torch.multinomial(p.flatten(0, -2).cpu().double(), 1, generator=made).reshape(p.shape[:-1])
    one = torch.nn.functional.one_hot(drawn, p.shape[-1]).to(p)
    return (p - one) * _counting(outputs, targets).sqrt().unsqueeze(-1)


def _drawn_sign(outputs: Tensor, targets: Any, made: torch.Generator) -> Tensor:
    """``sqrt(2 / K) s`` with signs s, ``[B, ...]``."""
    signs = torch.randint(0, 2, outputs.shape, generator=made, dtype=torch.int8) * 2 - 1
    return signs.to(outputs) * math.sqrt(2 / outputs[0].numel())


_COLUMNS: dict[str, Callable[[Tensor, Any], Tensor]] = {"cross-entropy": _of_classes, "mse": _of_outputs}
_DRAWN: dict[str, Callable[[Tensor, Any, torch.Generator], Tensor]] = {
    "cross-entropy": _drawn_class,
    "mse": _drawn_sign,
}
