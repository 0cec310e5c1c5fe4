"""Training points that are mixtures of nodes: the one way in which curves, stars and simplices are trained.

A path is ``phi = sum_k w_k node_k`` with weights w drawn anew at each step, some nodes fixed (what is joined) and some
free. What is minimised is ``E_w L(phi(w))`` (Garipov et al. 2018, eq. 2), by landform's own training loop: the nodes
are the parameters of a module that runs the landscape's model at phi.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.training import Recipe, train

# Draws mixing weights, ``[draws, fixed + free]``, from torch's own generator, which the loop seeds at every step.
Draw: TypeAlias = Callable[[], Tensor]
Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True)
class Descent:
    """What came of training nodes.

    Attributes:
        free: the free nodes, ``[F, P]``, where the landscape computes.
        losses: loss of each step's batch at each step's mixtures, before the step, ``[steps]``.
    """

    free: Tensor
    losses: Tensor


def descend(
    landscape: Landscape,
    fixed: Tensor,
    free: Tensor,
    draw: Draw,
    *,
    steps: int,
    recipe: Recipe,
    seed: int,
    held: Tensor | None = None,
    progress: Progress | None = None,
) -> Descent:
    """Minimise the expected loss of mixtures over the free nodes.

    Dropout is off, as on the landscape. Where BatchNorm's statistics are recomputed they are, while training, those of
    each batch, as in any training.

    Args:
        landscape: whose loss, weight decay included; its data have to be in memory.
        fixed: nodes that stay, ``[f, P]``.
        free: where the others begin, ``[F, P]``.
        draw: draws weights ``[draws, f + F]``.
        steps: how many steps.
        recipe: batch size, optimiser, learning rate and its schedule over these steps.
        seed: decides the order of the data and the weights drawn.
        held: directions along which the free nodes stay where they begin, orthonormal, ``[P, k]``.
        progress: called with (steps done, steps in all).

    Returns:
        The nodes trained.

    Raises:
        BadInput: when the landscape's data are not in memory, or the training diverges.
    """
    samples = torch.arange(len(in_memory(landscape)[0]))  # the loop shuffles their numbers: any forward= may run them
    for name in ("label_smoothing", "label_noise", "weight_decay"):
        if getattr(recipe, name):
            raise BadInput(
                f"The recipe's {name} belongs to a training: a path has the landscape's loss, so leave it 0."
            )
    per_epoch = recipe.steps_per_epoch(len(samples))
    own = replace(recipe, epochs=steps / per_epoch, seed=seed)
    net = Mixture(landscape, fixed, free, draw, held)
    with _batch_statistics(landscape):
        found = train(
            net,
            (samples, samples),
            own,
            loss=_as_it_is,
            device=landscape.device,
            dtype=landscape.dtype,
            progress=progress,
        )
    if found.diverged:
        raise BadInput(
            f"The path diverged within {steps} steps (learning rate {recipe.lr:g}): give a recipe with a smaller one."
        )
    with torch.no_grad():
        return Descent(net.nodes().clone(), found.losses)


class Mixture(nn.Module):
    """A landscape's model at random mixtures of nodes.

    Attributes:
        free: the nodes that are trained, ``[F, P]``.
    """

    def __init__(
        self, landscape: Landscape, fixed: Tensor, free: Tensor, draw: Draw, held: Tensor | None = None
    ) -> None:
        """Take what is mixed.

        Args:
            landscape: whose model and loss.
            fixed: nodes that stay, ``[f, P]``.
            free: where the others begin, ``[F, P]``.
            draw: draws weights.
            held: orthonormal directions along which the free nodes do not move, ``[P, k]``.
        """
        super().__init__()
        self.free = nn.Parameter(free.detach().clone())
        self._shared = _Shared(landscape, in_memory(landscape), fixed, free.detach(), draw, held)

    def nodes(self) -> Tensor:
        """The free nodes, ``[F, P]``, without what they may have moved along held directions."""
        held, begin = self._shared.held, self._shared.begin
        if held is None:
            return self.free
        return self.free - (self.free - begin) @ held @ held.T

    def forward(self, samples: Tensor) -> Tensor:
        """Loss at the mixtures drawn.

        Args:
            samples: numbers of the samples of a batch, ``[B]``.

        Returns:
            The mean loss over the batch and the mixtures, weight decay included, a scalar.
        """
        landscape, fixed = self._shared.landscape, self._shared.fixed
        batch = tuple(tensor.index_select(0, samples) for tensor in self._shared.data)
        weights = self._shared.draw().to(fixed)
        points = weights[:, : len(fixed)] @ fixed + weights[:, len(fixed) :] @ self.nodes()
        losses: list[Tensor] = []
        for point in points:
            outputs, targets = landscape._function(
                landscape.layout.views(point), {}, partial(landscape._on_batch, batch)
            )
            losses.append(landscape._loss(outputs, targets) + 0.5 * landscape.weight_decay * point.square().sum())
        return torch.stack(losses).mean()


def _as_it_is(loss: Tensor, samples: Tensor) -> Tensor:
    return loss


def in_memory(landscape: Landscape) -> tuple[Tensor, Tensor]:
    """Inputs and targets of a landscape.

    Args:
        landscape: whose data.

    Returns:
        ``[N, ...]`` each.

    Raises:
        BadInput: when they are a stream.
    """
    data = landscape._data
    if isinstance(data, Sized):
        return data.inputs, data.targets
    raise BadInput("A path is trained on data in memory: give the landscape a pair of tensors or one of lf.data.")


@dataclass(frozen=True)
class _Shared:
    """What copies of a mixture have in common."""

    landscape: Landscape
    data: tuple[Tensor, Tensor]
    fixed: Tensor
    begin: Tensor
    draw: Draw
    held: Tensor | None

    def __deepcopy__(self, memo: Mapping[int, Any]) -> Self:
        return self


@contextmanager
def _batch_statistics(landscape: Landscape) -> Iterator[None]:
    """Let BatchNorm use the statistics of each batch, where the landscape recomputes them at each point."""
    norms = [module for module in landscape._function.net.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    try:
        if landscape.batchnorm == "recompute":
            for norm in norms:
                norm.train()
                norm.track_running_stats = False
        yield
    finally:
        for norm, (training, tracking) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = training, tracking
