"""Losses and gradients of K models, each on its own batch: the part of training that variations replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from landform.stacked import Function, Stacked, stack
from landform.training._noise import seed_of


class Gradients(Protocol):
    """Gives the losses of K models and writes their gradients."""

    def __call__(
        self, points: Tensor, buffers: Mapping[str, Tensor], inputs: Tensor, targets: Tensor, step: int, out: Tensor
    ) -> Tensor:
        """Write gradients into ``out``.

        Args:
            points: ``[K, P]``.
            buffers: each model's buffers, ``[K, *shape]``; layers write their running statistics into them.
            inputs: ``[K, B, ...]``.
            targets: ``[K, B, ...]``.
            step: the step, which seeds dropout.
            out: where the gradients go, ``[K, P]``.

        Returns:
            The mean loss of each, ``[K]``.
        """


class Plain:
    """The gradient of the loss itself, of all models as one program or one by one."""

    def __init__(
        self, function: Function, loss: object, *, stacked: bool, seeds: Sequence[int], smoothing: float = 0.0
    ) -> None:
        """Take what is differentiated.

        Args:
            function: the model, in training mode.
            loss: of (outputs, targets).
            stacked: whether all models run as one program.
            seeds: each model's seed, for dropout.
            smoothing: label smoothing, for cross-entropy.
        """
        self.function, self.stacked, self.seeds = function, stacked, tuple(seeds)
        self.loss = _smoothed(smoothing) if smoothing else loss
        self.random = _draws(function)
        self._made: dict[tuple[object, ...], tuple[list[Tensor], list[Tensor], dict[str, Tensor]]] = {}

    def __call__(
        self, points: Tensor, buffers: Mapping[str, Tensor], inputs: Tensor, targets: Tensor, step: int, out: Tensor
    ) -> Tensor:
        """Write gradients into ``out`` and return the losses; see `Gradients`."""
        if self.stacked:
            leaves, places, given = self._handles(points, out)
            self._seed(self.seeds[: len(points)], step)
            outputs = self.function.many(given, buffers, lambda net: net(stack(inputs)))
            loss = self.loss(outputs, stack(targets))  # type: ignore[operator]
            losses: Tensor = loss.raw if isinstance(loss, Stacked) else loss.expand(len(points))
            _write(losses.sum(), leaves, places)
            return losses.detach()
        each: list[Tensor] = []
        for k, point in enumerate(points):
            leaves, places, given = self._handles(point, out[k])
            self._seed(self.seeds[k : k + 1], step)
            own = {name: buffer[k] for name, buffer in buffers.items()}
            x = inputs[k]
            value = self.loss(self.function(given, own, lambda net, x=x: net(x)), targets[k])  # type: ignore[misc,operator]
            _write(value, leaves, places)
            each.append(value.detach().reshape(()))
        return torch.stack(each)

    def _handles(self, points: Tensor, out: Tensor) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
        """Leaves of autograd in the points' memory, and where their gradients go; made once, not at each step."""
        key = (points.data_ptr(), out.data_ptr(), points.shape)
        if key not in self._made:
            layout = self.function.layout
            leaves = {name: view.detach().requires_grad_() for name, view in layout.views(points).items()}
            given = {name: stack(leaf) if self.stacked else leaf for name, leaf in leaves.items()}
            self._made[key] = list(leaves.values()), list(layout.views(out).values()), given
        return self._made[key]

    def _seed(self, seeds: tuple[int, ...], step: int) -> None:
        if self.random:
            torch.manual_seed(seed_of(seeds, "dropout", step))


def _write(loss: Tensor, leaves: list[Tensor], places: list[Tensor]) -> None:
    """Differentiate, and copy each gradient to its place: one concatenation measured three times slower."""
    found = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    torch._foreach_copy_(places, list(found))


def _smoothed(smoothing: float) -> object:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.dim() > 2:
            outputs, targets = outputs.flatten(0, -2), targets.flatten()
        return F.cross_entropy(outputs, targets, label_smoothing=smoothing)

    return loss


def _draws(function: Function) -> bool:
    """Whether the model draws random numbers: it has a dropout that is on."""
    dropouts = torch.nn.modules.dropout._DropoutNd
    return any(
        (isinstance(m, dropouts) and m.p > 0) or getattr(m, "dropout", 0) not in (0, 0.0, None)
        for m in function.net.modules()
    )
