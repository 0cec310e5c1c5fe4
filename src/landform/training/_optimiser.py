"""Optimisers on points: one update for K models, each with its own rate, momentum and decay.

The arithmetic is that of `torch.optim`, in the same order, so that one model trained here and in a loop of one's own
agrees to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from landform.training._recipe import Recipe


@dataclass
class Optimiser:
    """The state of K optimisers of one kind.

    Attributes:
        recipes: one for each model.
        state: named tensors ``[K, P]``; as torch names them (``momentum_buffer``, ``exp_avg``, ``exp_avg_sq``).
    """

    recipes: Sequence[Recipe]
    state: dict[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def state_names(recipe: Recipe) -> tuple[str, ...]:
        """Which tensors an optimiser keeps."""
        if recipe.optimizer == "sgd":
            return ("momentum_buffer",) if recipe.momentum else ()
        return ("exp_avg", "exp_avg_sq")

    def __post_init__(self) -> None:
        """Spread what differs between the models over columns, ``[K, 1]``."""
        self._momentum = _column([recipe.momentum for recipe in self.recipes])
        self._decay = _column([recipe.weight_decay for recipe in self.recipes])

    def target(self, k: int, out: Tensor) -> tuple[Tensor, bool]:
        """Where the gradients of the first k models go.

        Heavy-ball momentum takes them straight into its buffer, decayed beforehand: a pass over memory less.

        Args:
            k: how many models.
            out: room for gradients, ``[K, P]``.

        Returns:
            Where to, ``[k, P]``, and whether they are added to what is there.
        """
        recipe, momentum = self.recipes[0], _part(self._momentum, k, out)
        if recipe.optimizer != "sgd" or recipe.nesterov or not _any(momentum) or _any(_part(self._decay, k, out)):
            return out[:k], False
        return self.state["momentum_buffer"][:k].mul_(momentum), True

    def update_(
        self, points: Tensor, gradients: Tensor, rates: Sequence[float], step: int, *, added: bool = False
    ) -> None:
        """Take one step, in place.

        Args:
            points: ``[K, P]``, changed.
            gradients: ``[K, P]``, changed too.
            rates: the learning rate of each model.
            step: how many steps each has taken before.
            added: whether the gradients were added to the momentum already; see `target`.
        """
        k = len(points)
        recipe, rate = self.recipes[0], _part(_column(rates), k, points)
        if added:
            _add(points, gradients, -rate)
            return
        decay, momentum = _part(self._decay, k, points), _part(self._momentum, k, points)
        if recipe.optimizer == "adamw":
            if _any(decay):
                points.mul_(1 - rate * decay)
        elif _any(decay):
            _add(gradients, points, decay)
        if recipe.optimizer == "sgd":
            if _any(momentum):
                buffer = self.state["momentum_buffer"][:k]
                buffer.mul_(momentum).add_(gradients)
                if recipe.nesterov:
                    _add(gradients, buffer, momentum)
                else:
                    gradients = buffer
            _add(points, gradients, -rate)
        else:
            self._adam(points, gradients, rate, step + 1)

    def _adam(self, points: Tensor, gradients: Tensor, rate: float | Tensor, step: int) -> None:
        """Kingma & Ba 2015, algorithm 1."""
        first, second = (self.state[name][: len(points)] for name in ("exp_avg", "exp_avg_sq"))
        (beta1, beta2), eps = self.recipes[0].betas, self.recipes[0].eps
        first.lerp_(gradients, 1 - beta1)
        second.mul_(beta2).addcmul_(gradients, gradients, value=1 - beta2)
        root = second.sqrt().div_(math.sqrt(1 - beta2**step)).add_(eps)
        size = rate / (1 - beta1**step)
        if isinstance(size, Tensor):
            points.addcmul_(first / root, size, value=-1)
        else:
            points.addcdiv_(first, root, value=-size)


def _column(values: Sequence[float]) -> float | list[float]:
    """One number if all are equal, else the list."""
    return values[0] if len(set(values)) == 1 else list(values)


def _part(values: float | list[float], k: int, like: Tensor) -> float | Tensor:
    """What the first k models need: a number, or a column ``[k, 1]``."""
    if not isinstance(values, list):
        return values
    part = values[:k]
    if len(set(part)) == 1:
        return part[0]
    return torch.tensor(part, dtype=like.dtype, device=like.device).unsqueeze(1)


def _any(value: float | Tensor) -> bool:
    return isinstance(value, Tensor) or value != 0


def _add(target: Tensor, source: Tensor, factor: float | Tensor) -> None:
    """``target += factor * source``."""
    if isinstance(factor, Tensor):
        target.addcmul_(source, factor)
    else:
        target.add_(source, alpha=factor)
