"""Adversarial training: the same loop, on inputs that an adversary has moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from landform.attacks import Attack, Space, climb, random_start
from landform.training._gradients import Plain
from landform.training._noise import generator


class Adversarial:
    """Gradients of ``(1 - share) L(x) + share L(x + u)``, with u the last place of an attack on the batch.

    The adversary climbs the loss that is trained, of the network as it is in the step: in training mode, with the
    batch's own statistics and the step's dropout; the running statistics do not see its tries.
    """

    def __init__(self, inside: Plain, attack: Attack, share: float, space: Space, seeds: Sequence[int]) -> None:
        """Take what is trained and who is against it.

        Args:
            inside: gives losses and gradients.
            attack: on every batch.
            share: of the loss that is adversarial; at 1 the clean batch is not looked at.
            space: units and bounds of the inputs.
            seeds: each run's, for random starts.
        """
        self.inside, self.attack, self.share, self.space, self.seeds = inside, attack, share, space, tuple(seeds)
        self._spare = torch.empty(0)

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
        moved = self.moved(points, buffers, inputs, targets, step)
        if self.share == 1.0:
            return self.inside(points, buffers, moved, targets, step, out, add=add)
        if self._spare.shape != out.shape:
            self._spare = torch.empty_like(out)
        if not add:
            out.zero_()
        total: Tensor | None = None
        for x, weight in ((inputs, 1.0 - self.share), (moved, self.share)):
            losses = weight * self.inside(points, buffers, x, targets, step, self._spare)
            out.add_(self._spare, alpha=weight)
            total = losses if total is None else total + losses
        assert total is not None
        return total

    def moved(
        self, points: Tensor, buffers: Mapping[str, Tensor], inputs: Tensor, targets: Tensor, step: int
    ) -> Tensor:
        """Where the adversary moves the batches.

        Args:
            points: ``[K, P]``.
            buffers: each model's, ``[K, *shape]``; not written into.
            inputs: ``[K, B, ...]``.
            targets: ``[K, B, ...]``.
            step: the step.

        Returns:
            ``[K, B, ...]``.
        """
        start = None
        if self.attack.start == "random":
            drawn = [
                random_start(x, self.attack, generator(seed, "adversary", self.attack.seed, step))
                for x, seed in zip(inputs, self.seeds, strict=False)
            ]
            start = torch.stack(drawn)

        def slope(x: Tensor) -> Tensor:
            own = {name: buffer.clone() for name, buffer in buffers.items()}
            return self.inside.slopes(points, own, x, targets, step)

        return climb(slope, inputs, self.attack, self.space, start=start, lead=2)
