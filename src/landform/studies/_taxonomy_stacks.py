"""Many small networks trained as one program where each has labels, ends or masks of its own.

The training loop takes one data set for a whole stack. Here it goes through the numbers of the samples instead, and a
network looks up what belongs to them: the inputs, which all share, and its own labels, which it holds as a buffer. So
networks that learn other labels, curves between other ends and networks with other weights cut off are stacks all the
same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from landform import paths
from landform.landscape import Landscape
from landform.layout import Layout
from landform.stacked import Function, Stacked, stack
from landform.training import Recipe, Trained, train_many

# Runs that are one stack, at most: more no longer stay in the cache.
_TOGETHER = 32


@dataclass(frozen=True)
class Shared:
    """What networks of a stack have in common; copies of a network share it too.

    Attributes:
        inputs: all inputs, ``[N, ...]``.
        function: the network as a function of its parameters; None for networks that are trained as they are.
    """

    inputs: Tensor
    function: Function | None = None

    def __deepcopy__(self, memo: Mapping[int, Any]) -> Self:
        return self


class Own(nn.Module):
    """A network that looks up its inputs and its own labels, and gives the loss.

    Attributes:
        net: the network.
        targets: its labels, ``[N]``.
    """

    targets: Tensor

    def __init__(self, net: nn.Module, targets: Tensor, shared: Shared) -> None:
        """Take the parts.

        Args:
            net: the network.
            targets: its labels, ``[N]``.
            shared: what it shares with others.
        """
        super().__init__()
        self.net = net
        self.register_buffer("targets", targets)
        self._shared = shared

    def forward(self, samples: Tensor) -> Tensor:
        """Cross-entropy of some samples.

        Args:
            samples: their numbers, ``[B]``.

        Returns:
            A scalar.
        """
        return F.cross_entropy(self.net(_rows(self._shared.inputs, samples)), _labels(self.targets, samples))


Mix: TypeAlias = "Callable[[Parts], Callable[[str], Tensor]]"


class Parts(nn.Module):
    """A network made of several points, tensor by tensor: one is trained, the others are held.

    Attributes:
        targets: its labels, ``[N]``.
        free: the point that is trained, by tensor.
    """

    targets: Tensor

    def __init__(
        self, layout: Layout, mix: Mix, free: Tensor, held: Sequence[Tensor], targets: Tensor, shared: Shared
    ) -> None:
        """Take the points.

        Args:
            layout: of the network.
            mix: called at each step, gives what makes a tensor of the network from those of the points.
            free: where training begins, ``[P]``.
            held: the others, ``[P]`` each.
            targets: its labels, ``[N]``.
            shared: what it shares with others, the function among it.
        """
        super().__init__()
        # Names of tensors have dots in them, and a module's own have none.
        self._names = {name: f"tensor{place}" for place, name in enumerate(layout.names)}
        views = layout.views(free)
        self.free = nn.ParameterDict({key: nn.Parameter(views[name].clone()) for name, key in self._names.items()})
        for place, point in enumerate(held):
            for name, view in layout.views(point).items():
                self.register_buffer(f"held{place}_{self._names[name]}", view.clone())
        self.register_buffer("targets", targets)
        self._mix = mix
        self._shared = shared

    def held(self, place: int, key: str) -> Tensor:
        """One tensor of a held point."""
        found: Tensor = getattr(self, f"held{place}_{key}")
        return found

    def forward(self, samples: Tensor) -> Tensor:
        """Cross-entropy of some samples.

        Args:
            samples: their numbers, ``[B]``.

        Returns:
            A scalar.
        """
        make = self._mix(self)
        tensors = {name: make(key) for name, key in self._names.items()}
        inputs, targets = _rows(self._shared.inputs, samples), _labels(self.targets, samples)
        assert self._shared.function is not None
        loss: Tensor = self._shared.function(tensors, {}, lambda net: F.cross_entropy(net(inputs), targets))
        return loss


def bend(parts: Parts) -> Callable[[str], Tensor]:
    """A point of a Bezier curve of one bend, which is trained, between two ends, which are held.

    ``(1 - t)^2 a + 2 t (1 - t) bend + t^2 b`` with t uniform in [0, 1], one t for the whole stack.
    """
    t = float(torch.rand(1))
    return lambda key: (1 - t) ** 2 * parts.held(0, key) + t**2 * parts.held(1, key) + 2 * t * (1 - t) * parts.free[key]


def pruned(parts: Parts) -> Callable[[str], Tensor]:
    """Weights times the mask that is held, 0 for those that are cut off."""
    return lambda key: parts.free[key] * parts.held(0, key)


def train_own(
    nets: Sequence[nn.Module], inputs: Tensor, targets: Sequence[Tensor], recipes: Sequence[Recipe], device: str
) -> list[Trained]:
    """Train networks of one architecture on the same inputs with labels of their own.

    Args:
        nets: the networks; they end up trained.
        inputs: ``[N, ...]``, where they are trained.
        targets: each one's labels, ``[N]``.
        recipes: one for each.
        device: where to train.

    Returns:
        What came of each.
    """
    shared = Shared(inputs)
    return _trained([Own(net, own, shared) for net, own in zip(nets, targets, strict=True)], recipes, inputs, device)


def bends(
    landscape: Landscape,
    ends: Sequence[tuple[Tensor, Tensor]],
    begin: Sequence[Tensor],
    targets: Sequence[Tensor],
    inputs: Tensor,
    recipe: Recipe,
    steps: int,
    seed: int = 0,
) -> Tensor:
    """Train the bends of many Bezier curves (Garipov et al. 2018), each of which minimises ``E_t L(curve(t))``.

    With BatchNorm they are trained one by one by `lf.paths.curve`, which knows what to do with its statistics.

    Args:
        landscape: whose network.
        ends: two points for each curve, ``[P]`` each.
        begin: where each bend begins, ``[P]``.
        targets: labels of each curve, ``[N]``.
        inputs: ``[N, ...]``, where curves are trained.
        recipe: how, but for epochs and seed.
        steps: how many steps.
        seed: of the batches and of t; the same for each, as each is a curve of its own.

    Returns:
        The bends, ``[curves, P]``.
    """
    if any(isinstance(module, _BatchNorm) for module in landscape._model.modules()):
        found = []
        for (a, b), start, own in zip(ends, begin, targets, strict=True):
            here = landscape.on((inputs, own))
            curve = paths.curve(here, a, b, steps=steps, begin=start, recipe=recipe, seed=seed, positions=3, refine=0)
            found.append(curve.nodes[1].cpu())
        return torch.stack(found)
    layout = landscape.layout
    shared = Shared(inputs, Function(landscape._model, layout, device=landscape.device, dtype=landscape.dtype))
    nets = [
        Parts(layout, bend, start.cpu(), (a.cpu(), b.cpu()), own, shared)
        for (a, b), start, own in zip(ends, begin, targets, strict=True)
    ]
    whole = replace(recipe, epochs=steps / recipe.steps_per_epoch(len(inputs)), seed=seed)
    trained = _trained(nets, [whole] * len(nets), inputs, str(landscape.device))
    return torch.stack([each.point for each in trained])


def retrain(
    net: nn.Module,
    points: Sequence[Tensor],
    masks: Sequence[Tensor],
    targets: Tensor,
    inputs: Tensor,
    recipes: Sequence[Recipe],
    device: str,
) -> Tensor:
    """Train pruned networks again, what was cut off staying so.

    Args:
        net: the network, whose structure they have.
        points: where each begins, ``[P]``.
        masks: what each keeps, 0 and 1, ``[P]``.
        targets: the labels, ``[N]``.
        inputs: ``[N, ...]``.
        recipes: one for each.
        device: where to train.

    Returns:
        Where they end, ``[n, P]``, with zeros where they are cut.
    """
    layout = Layout.of(net)
    shared = Shared(inputs, Function(net, layout, device=inputs.device, dtype=inputs.dtype))
    nets = [Parts(layout, pruned, p, (m,), targets, shared) for p, m in zip(points, masks, strict=True)]
    trained = _trained(nets, recipes, inputs, device)
    return torch.stack([each.point * mask for each, mask in zip(trained, masks, strict=True)])


def _trained(nets: Sequence[nn.Module], recipes: Sequence[Recipe], inputs: Tensor, device: str) -> list[Trained]:
    """Train modules that give their loss from numbers of samples, as stacks that stay in the cache."""
    samples = torch.arange(len(inputs))
    found: list[Trained] = []
    for start in range(0, len(nets), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        found += train_many(nets[part], (samples, samples), recipes[part], loss=_as_it_is, device=device)
    return found


def _as_it_is(loss: Tensor, samples: Tensor) -> Tensor:
    return loss


def _rows(tensor: Tensor, at: Tensor) -> Tensor:
    """``tensor[at]``, of a stack for each of its members."""
    if not isinstance(at, Stacked):
        return tensor.index_select(0, at)
    raw = at.raw
    return stack(tensor.index_select(0, raw.reshape(-1)).view(*raw.shape, *tensor.shape[1:]))


def _labels(targets: Tensor, at: Tensor) -> Tensor:
    """``targets[at]``, where in a stack each has its own."""
    if not isinstance(at, Stacked) or not isinstance(targets, Stacked):
        return _rows(targets, at)
    return stack(targets.raw.gather(1, at.raw))
