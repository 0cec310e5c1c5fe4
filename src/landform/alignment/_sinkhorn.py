"""Sinkhorn matching: permutations trained on the loss half way between the points.

A permutation is relaxed to a doubly stochastic matrix, the limit of rows and columns being normalised in turn (Peña et
al. 2023). With ``hard`` the nearest permutation is used forwards and the relaxed one backwards, as straight-through
estimates are (Ainsworth et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from landform.alignment._assign import assignment
from landform.alignment._blocks import Block, Group, Permutations
from landform.alignment._descent import Descent
from landform.alignment._symmetries import Symmetries
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.landscape._batches import Stream


@dataclass(frozen=True)
class Sinkhorn:
    """How permutations are trained.

    Attributes:
        steps: of the optimiser (Adam), one batch each.
        lr: its learning rate.
        iterations: how often rows and columns are normalised.
        hard: whether permutations are used forwards; otherwise the relaxed ones.
        checks: how often the loss over all data is looked at; the permutations of the least are kept.
        batch_size: samples a step, for data in memory.
    """

    steps: int = 200
    lr: float = 0.05
    iterations: int = 20
    hard: bool = False
    checks: int = 10
    batch_size: int = 256

    def __post_init__(self) -> None:
        for name in ("steps", "iterations", "checks", "batch_size"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} of Sinkhorn is {getattr(self, name)}: give at least 1.")
        if not self.lr > 0:
            raise BadInput(f"lr of Sinkhorn is {self.lr}: give a positive number.")


def doubly_stochastic(logits: Tensor, iterations: int) -> Tensor:
    """Normalise rows and columns of a positive matrix in turn, by its logarithms.

    Args:
        logits: ``[..., n, n]``.
        iterations: how often.

    Returns:
        ``[..., n, n]``, whose rows sum to one, and whose columns nearly do.
    """
    for _ in range(iterations):
        logits = logits - logits.logsumexp(-2, keepdim=True)
        logits = logits - logits.logsumexp(-1, keepdim=True)
    return logits.exp()


def mixed(block: Block, grid: Tensor, groups: tuple[Group, ...], matrices: Mapping[str, Tensor]) -> Tensor:
    """Let matrices act on a grid as permutations do: ``new[.., i, ..] = sum_j M[i, j] old[.., j, ..]``.

    Args:
        block: the block.
        grid: ``[*shape]``.
        groups: those that act, what families are over before the families.
        matrices: by group, ``[*copies, size, size]``.

    Returns:
        ``[*shape]``.
    """
    letters = [chr(97 + dim) for dim in range(grid.dim())]
    for group in groups:
        for dim, name in enumerate(block.groups):
            if name == group.name:
                over = [letters[block.give(dim, one)] for one in group.per]
                out = [*letters[:dim], "Z", *letters[dim + 1 :]]
                by = "".join([*over, "Z", letters[dim]])
                grid = torch.einsum(f"{''.join(letters)},{by}->{''.join(out)}", grid, matrices[name])
    return grid


def match_by_loss(
    landscape: Landscape,
    symmetries: Symmetries,
    a: Tensor,
    b: Tensor,
    *,
    start: Permutations,
    settings: Sinkhorn,
    generator: torch.Generator,
) -> Descent:
    """Train permutations on the loss of the midpoint.

    Args:
        landscape: the landscape.
        symmetries: of its model.
        a: the one point, ``[P]``.
        b: the other, ``[P]``.
        start: permutations of the other to begin with.
        settings: how.
        generator: of the order of samples.

    Returns:
        The permutations of the least loss that was seen; the objective is the loss over all data at each check.
    """
    steps = _with_batches(landscape)
    begun = symmetries.apply(b, start)
    views = landscape.layout.views(begun), landscape.layout.views(a)
    identity = symmetries.identity()
    logits = {
        group.name: (
            math.log(max(group.size - 1, 2)) * torch.eye(group.size).expand(*group.copies, -1, -1)
        ).to(a).clone().requires_grad_()
        for group in symmetries.groups
    }  # fmt: skip
    least, chosen, history = float(landscape.loss((a + begun) / 2)), identity, []
    history.append(least)
    optimiser = torch.optim.Adam(list(logits.values()), lr=settings.lr)
    marks = {round(settings.steps * (k + 1) / settings.checks) for k in range(settings.checks)}
    best_at, batches = 0, _batches(steps, settings, generator)
    for step in range(1, settings.steps + 1):
        matrices, hard = _matrices(logits, settings)
        with torch.enable_grad():
            moved = {name: _moved(tensor, symmetries, name, matrices) for name, tensor in views[0].items()}
            between = {name: (moved[name] + tensor) / 2 for name, tensor in views[1].items()}
            outputs, targets = steps._function(between, {}, partial(steps._on_batch, next(batches)))
            loss = steps._loss(outputs, targets)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step in marks:
            _, hard = _matrices(logits, settings)
            value = float(landscape.loss((a + symmetries.apply(begun, hard)) / 2))
            history.append(value)
            if value < least:
                least, chosen, best_at = value, hard, len(history) - 1
    permutations = symmetries.compose(start, chosen)
    return Descent(permutations, tuple(history), best_at < len(history) - 1)


def _moved(tensor: Tensor, symmetries: Symmetries, name: str, matrices: Mapping[str, Tensor]) -> Tensor:
    result = tensor
    for block in symmetries.blocks[name]:
        if any(block.groups):
            result = block.put(result, mixed(block, block.take(tensor), symmetries.groups, matrices))
    return result


def _matrices(logits: Mapping[str, Tensor], settings: Sinkhorn) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What acts forwards, with the gradient of the relaxed matrices; and the permutations."""
    found: dict[str, Tensor] = {}
    orders: dict[str, Tensor] = {}
    with torch.enable_grad():
        for name, logit in logits.items():
            soft = doubly_stochastic(logit, settings.iterations)
            orders[name] = assignment(soft)
            if settings.hard:
                exact = torch.nn.functional.one_hot(orders[name], soft.shape[-1]).to(soft)
                soft = soft + (exact - soft).detach()
            found[name] = soft
    return found, orders


def _batches(landscape: Landscape, settings: Sinkhorn, generator: torch.Generator) -> Any:
    """Batches without end, in a new order each time where samples can be chosen."""
    while True:
        data = landscape._data
        if not isinstance(data, Stream):
            data = data.subset(torch.randperm(len(data), generator=generator).to(landscape.device))
        yield from data.batches(settings.batch_size)


def _with_batches(landscape: Landscape) -> Landscape:
    """The same landscape with the statistics of each batch, where BatchNorm's would have to be found anew each step."""
    if landscape.batchnorm in ("none", "batch"):
        return landscape
    data = landscape._data
    return Landscape(
        landscape._model,
        data.loader if isinstance(data, Stream) else (data.inputs, data.targets),
        loss=landscape._loss,
        batch_size=landscape._batch_size,
        device=landscape.device,
        dtype=landscape.dtype,
        batchnorm="batch",
        forward=landscape._forward,
    )
