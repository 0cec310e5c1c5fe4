"""The landscape of the adversarial loss: at each point, of the worst inputs for that point."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from landform.attacks._attack import Attack
from landform.attacks._climb import climb, random_start
from landform.attacks._space import Space
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.stacked import Stacked, stack


def worst_case(landscape: Landscape, attack: Attack, *, within: Any) -> Landscape:
    """The same landscape with each batch attacked at the very point where it is read.

    ``max over |u| <= eps of L(theta; x + unit u)``, as far as the attack finds it: the last place of one climb, so
    that the loss is the same function every time. Its gradient is that at the adversarial examples, held where they
    are (Danskin), and so is what its Hessian takes for the second derivative. A loss costs as many gradients more as
    the attack has steps; several points still run as one program.

    Args:
        landscape: the model, its loss and the samples, in memory.
        attack: what is done; one restart, and the loss is what is climbed.
        within: the data that the samples are of, for units and bounds (see `Space.of`), or a `Space`.

    Returns:
        A landscape; BatchNorm's statistics stay those of the samples as they are.

    Raises:
        BadInput: when the attack has restarts or climbs something else, or batches are not plain pairs.
    """
    inputs, targets = getattr(landscape._data, "inputs", None), getattr(landscape._data, "targets", None)
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor) or not inputs.is_floating_point():
        raise BadInput("An attack needs samples of floating-point numbers in memory: give the landscape such a pair.")
    if attack.restarts > 1 or attack.objectives != ("loss",):
        raise BadInput("The worst-case landscape takes one climb of the loss: give restarts=1 and objective='loss'.")
    space, loss, plain = Space.of(within), landscape._loss, landscape._forward

    def forward(net: nn.Module, batch: Any) -> tuple[Any, Any]:
        if any(module.training for module in net.modules()):  # BatchNorm is looking at its samples
            return plain(net, batch)
        x, y = batch
        with torch.no_grad():
            first, _ = plain(net, batch)
        many = first.count if isinstance(first, Stacked) else 0
        x = x.expand(many, *x.shape) if many else x
        lead = 2 if many else 1

        def slope(moved: Tensor) -> Tensor:
            leaf = moved.detach().requires_grad_()
            with torch.enable_grad():
                outputs, aims = plain(net, (stack(leaf) if many else leaf, y))
                value = loss(outputs, aims)
                total = value.raw.sum() if isinstance(value, Stacked) else value
                (found,) = torch.autograd.grad(total, leaf)
            return found.detach()

        start = None
        if attack.start == "random":
            start = random_start(x[0] if many else x, attack, torch.Generator().manual_seed(attack.seed))
            start = start.expand_as(x) if many else start
        moved = climb(slope, x.detach(), attack, space, start=start, lead=lead).detach()
        return plain(net, (stack(moved) if many else moved, y))

    return Landscape(
        landscape._model,
        (inputs, targets),
        loss=loss if landscape._loss_name not in ("cross-entropy", "mse") else landscape._loss_name,
        batch_size=landscape._batch_size,
        device=landscape.device,
        dtype=landscape.dtype,
        batchnorm=None if landscape.batchnorm == "none" else landscape.batchnorm,
        forward=forward,
        weight_decay=landscape.weight_decay,
    )
