"""Losses and gradients of K models, each on its own batch: the part of training that variations replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from landform.landscape import Loss
from landform.stacked import Function, Stacked, stack
from landform.training._noise import seed_of


class Gradients(Protocol):
    """Gives the losses of K models and writes their gradients."""

    def __call__(
        self,
        points: Tensor,
        buffers: Mapping[str, Tensor],
        inputs: Tensor,
        targets: Tensor,
        step: int,
        out: Tensor,
        *,
        add: bool = False,
    ) -> Tensor:
        """Write gradients into ``out``.

        Args:
            points: ``[K, P]``.
            buffers: each model's buffers, ``[K, *shape]``; layers write their running statistics into them.
            inputs: ``[K, B, ...]``.
            targets: ``[K, B, ...]``.
            step: the step, which seeds dropout.
            out: where the gradients go, ``[K, P]``.
            add: add them to what is there.

        Returns:
            The mean loss of each, ``[K]``.
        """


class Plain:
    """The gradient of the loss itself, of all models as one program or one by one."""

    def __init__(
        self,
        function: Function,
        loss: object,
        *,
        stacked: bool,
        seeds: Sequence[int],
        smoothing: float = 0.0,
        precision: str = "full",
    ) -> None:
        """Take what is differentiated.

        Args:
            function: the model, in training mode.
            loss: of (outputs, targets).
            stacked: whether all models run as one program.
            seeds: each model's seed, for dropout.
            smoothing: label smoothing, for cross-entropy.
            precision: of the products; see `Recipe`.
        """
        self._coarse = precision == "bfloat16"
        self.function, self.stacked, self.seeds = function, stacked, tuple(seeds)
        self.loss = smoothed(smoothing) if smoothing else loss
        self._made: dict[tuple[object, ...], tuple[list[Tensor], list[Tensor], dict[str, Tensor]]] = {}

    def __call__(
        self,
        points: Tensor,
        buffers: Mapping[str, Tensor],
        inputs: Tensor,
        targets: Tensor,
        step: int,
        out: Tensor,
        *,
        add: bool = False,
    ) -> Tensor:
        """Write gradients into ``out`` and return the losses; see `Gradients`."""
        if self.stacked:
            leaves, places, given = self._handles(points, out)
            self._seed(self.seeds[: len(points)], step, points.device)
            outputs = self.function.many(given, buffers, lambda net: self._outputs(net, stack(inputs)))
            loss = self.loss(outputs, stack(targets))  # type: ignore[operator]
            losses: Tensor = loss.raw if isinstance(loss, Stacked) else loss.expand(len(points))
            _write(losses.sum(), leaves, places, add)
            return losses.detach()
        each: list[Tensor] = []
        for k, point in enumerate(points):
            leaves, places, given = self._handles(point, out[k])
            self._seed(self.seeds[k : k + 1], step, points.device)
            own = {name: buffer[k] for name, buffer in buffers.items()}
            x = inputs[k]
            outputs = self.function(given, own, lambda net, x=x: self._outputs(net, x))  # type: ignore[misc]
            value = self.loss(outputs, targets[k])  # type: ignore[operator]
            _write(value, leaves, places, add)
            each.append(value.detach().reshape(()))
        return torch.stack(each)

    def slopes(
        self, points: Tensor, buffers: Mapping[str, Tensor], inputs: Tensor, targets: Tensor, step: int
    ) -> Tensor:
        """Gradient of each model's loss by its inputs, of the very function that the step differentiates by weights.

        Dropout draws what it will draw in the step, and BatchNorm takes the batch's statistics; what layers write into
        the buffers given is lost to whoever gives copies.

        Args:
            points: ``[K, P]``.
            buffers: each model's buffers, ``[K, *shape]``.
            inputs: ``[K, B, ...]``.
            targets: ``[K, B, ...]``.
            step: the step, which seeds dropout.

        Returns:
            ``[K, B, ...]``.
        """
        layout = self.function.layout
        with torch.enable_grad():
            leaf = inputs.detach().requires_grad_()
            if self.stacked:
                given = {name: stack(view) for name, view in layout.views(points.detach()).items()}
                self._seed(self.seeds[: len(points)], step, points.device)
                outputs = self.function.many(given, buffers, lambda net: self._outputs(net, stack(leaf)))
                loss = self.loss(outputs, stack(targets))  # type: ignore[operator]
                total = loss.raw.sum() if isinstance(loss, Stacked) else loss * len(points)
            else:
                losses: list[Tensor] = []
                for k, point in enumerate(points.detach()):
                    self._seed(self.seeds[k : k + 1], step, points.device)
                    own = {name: buffer[k] for name, buffer in buffers.items()}
                    x = leaf[k]
                    outputs = self.function(layout.views(point), own, lambda net, x=x: self._outputs(net, x))  # type: ignore[misc]
                    losses.append(self.loss(outputs, targets[k]).reshape(()))  # type: ignore[operator]
                total = torch.stack(losses).sum()
            (found,) = torch.autograd.grad(total, leaf)
        return found

    def _outputs(self, net: nn.Module, x: Any) -> Any:
        """Outputs in the type of the points, of products in the precision asked for."""
        if not self._coarse:
            return net(x)
        with torch.autocast(x.device.type, torch.bfloat16):
            outputs = net(x)
        return tree_map_only(torch.Tensor, lambda t: t.float() if t.dtype is torch.bfloat16 else t, outputs)

    def _handles(self, points: Tensor, out: Tensor) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
        """Leaves of autograd in the points' memory, and where their gradients go; made once, not at each step."""
        key = (points.data_ptr(), out.data_ptr(), points.shape)
        if key not in self._made:
            layout = self.function.layout
            leaves = {name: view.detach().requires_grad_() for name, view in layout.views(points).items()}
            given = {name: stack(leaf) if self.stacked else leaf for name, leaf in leaves.items()}
            self._made[key] = list(leaves.values()), list(layout.views(out).values()), given
        return self._made[key]

    def _seed(self, seeds: tuple[int, ...], step: int, device: torch.device) -> None:
        """Seed the generators a model draws from; `torch.manual_seed` takes a hundred times as long, and seeds all."""
        seed = seed_of(seeds, "dropout", step)
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif device.type == "mps":
            torch.mps.manual_seed(seed)


def _write(loss: Tensor, leaves: list[Tensor], places: list[Tensor], add: bool) -> None:
    """Differentiate, and bring each gradient to its place: one concatenation measured three times slower."""
    found = list(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))
    if add:
        torch._foreach_add_(places, found)
    else:
        torch._foreach_copy_(places, found)


def smoothed(smoothing: float) -> Loss:
    """Cross-entropy with a share of each label spread over all classes.

    Args:
        smoothing: the share.

    Returns:
        A loss of (outputs, targets).
    """

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.dim() > 2:
            outputs, targets = outputs.flatten(0, -2), targets.flatten()
        return F.cross_entropy(outputs, targets, label_smoothing=smoothing)

    return loss
