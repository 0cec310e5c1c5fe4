"""The symmetry of scale of ReLU units: what makes a unit times s, what reads it by s, and the function is the same.

Points that are the same function lie far apart by it. The point of least norm among them has for each unit as much
weight on the side that makes it as on the side that reads it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from landform.alignment._blocks import Block, Group
from landform.alignment._contract import end
from landform.alignment._find import apart, change, few
from landform.alignment._find import symmetries as find_symmetries
from landform.alignment._symmetries import Symmetries
from landform.landscape import Landscape

# What is tried: so many samples at so many points near the landscape's own.
_SAMPLES, _POINTS = 8, 2
_SWEEPS = 200


@dataclass(frozen=True)
class Balanced:
    """A point whose units have as much weight on the side that makes them as on the side that reads them.

    Attributes:
        point: the same function, with the least norm that scales of units can give, ``[P]``.
        scales: for each group whose units have a scale to choose what each was multiplied by, ``[*copies, size]``.
        fixed: groups whose units do not (their activation or a normalisation behind them sees the scale).
        before: norm of the point given.
        after: norm of ``point``.
        converged: whether the last sweep changed no scale by more than rounding.
    """

    point: Tensor
    scales: dict[str, Tensor]
    fixed: tuple[str, ...]
    before: float
    after: float
    converged: bool


# For each group the parameters that make its units, and those that read them.
Sides = tuple[frozenset[str], frozenset[str]]


def balance(landscape: Landscape, point: Tensor | nn.Module, *, symmetries: Symmetries | None = None) -> Balanced:
    """Choose the scale of every unit that has one to choose: of ReLU and other units that are homogeneous.

    Which units these are is tried out on a few samples. Behind BatchNorm or LayerNorm it is their scale and shift that
    make a unit.

    Args:
        landscape: whose model it is.
        point: ``[P]``, or a model.
        symmetries: of the model, where they are known already.

    Returns:
        The point of least norm.

    Raises:
        BadInput: when it is no point of this landscape, or holds NaN.
    """
    given, _ = end(landscape, point, "point")
    found = find_symmetries(landscape) if symmetries is None else symmetries
    sides = scalable(landscape, found)
    tensors = {name: view.cpu().double() for name, view in found.layout.views(given).items()}
    weights = _Weights(found, tensors)
    scales = {name: torch.ones(found.group(name).shape, dtype=torch.float64) for name in sides}
    largest = math.inf
    for _ in range(_SWEEPS):
        if largest < 1e-7:
            break
        largest = 0.0
        for name, both in sides.items():
            scale = weights.even(found.group(name), both)
            scales[name] = scales[name] * scale
            largest = max(largest, float(scale.log().abs().max()))
    for name, both in sides.items():
        tensors = rescaled(tensors, found, found.group(name), both, scales[name])
    result = found.layout.join(tensors).to(given)
    fixed = tuple(name for name in found.names if name not in sides)
    norms = float(given.cpu().double().norm()), float(result.cpu().double().norm())
    return Balanced(result, scales, fixed, *norms, largest < 1e-7)


def scalable(landscape: Landscape, found: Symmetries) -> dict[str, Sides]:
    """Find the groups whose units may be scaled, by trying.

    Args:
        landscape: the landscape.
        found: its symmetries.

    Returns:
        By group, the names of the parameters that make its units and of those that read them.
    """
    batch = few(next(iter(landscape._data.batches(_SAMPLES))), _SAMPLES)
    kinds = {slot.name: slot.kind for slot in found.layout.slots}
    tolerance = 1e-8 if landscape.dtype == torch.float64 else 1e-4

    def outputs(tensors: Mapping[str, Tensor]) -> Any:
        with torch.no_grad():
            return landscape._function(dict(tensors), {}, partial(landscape._on_batch, batch))[0]

    tries = []
    for seed in range(_POINTS):
        views = found.layout.views(apart(landscape.here, seed))
        tries.append((views, outputs(views)))

    def scaled(group: Group, sides: Sides) -> bool:
        """Whether nothing changes if both sides are scaled, and something does if only one is."""
        made = torch.Generator().manual_seed(1)
        seen = False
        for views, plain in tries:
            scale = (0.5 + 1.5 * torch.rand(group.shape, generator=made)).to(landscape.device, landscape.dtype)
            if not change(plain, outputs(rescaled(views, found, group, sides, scale))) < tolerance:
                return False
            one_side = rescaled(views, found, group, (sides[0], frozenset()), scale)
            seen |= change(plain, outputs(one_side)) > 100 * tolerance
        return seen

    sides: dict[str, Sides] = {}
    for group in found.groups:
        names = {tensor for tensor, _ in group.acts if tensor in kinds}
        readers = frozenset(name for name in names if (name, group.name) in found.readers)
        makers = frozenset(names - readers)
        behind = frozenset(name for name in makers if kinds[name] == "norm")
        for chosen in (makers, behind):
            if chosen and readers and not _twice(found, group) and scaled(group, (chosen, readers)):
                sides[group.name] = (chosen, readers)
                break
    return sides


def rescaled(
    tensors: Mapping[str, Tensor], found: Symmetries, group: Group, sides: Sides, scale: Tensor
) -> dict[str, Tensor]:
    """Multiply what makes units by their scale, and divide what reads them by it.

    Args:
        tensors: parameters by name.
        found: the symmetries.
        group: whose units.
        sides: the parameters that make them, and those that read them.
        scale: ``[*copies, size]``, positive.

    Returns:
        New parameters by name.
    """
    result = dict(tensors)
    for names, factor in zip(sides, (scale, 1 / scale), strict=True):
        for name in names:
            tensor = result[name].clone()
            for block in found.blocks[name]:
                if group.name in block.groups:
                    tensor = block.put(tensor, _times(block, block.take(tensor), group, factor))
            result[name] = tensor
    return result


class _Weights:
    """Squares of parameters, summed over what no group acts on: they are all that scales depend on."""

    def __init__(self, found: Symmetries, tensors: Mapping[str, Tensor]) -> None:
        self.grids: dict[str, list[tuple[Block, Tensor]]] = {}
        for name, tensor in tensors.items():
            self.grids[name] = []
            for block in found.blocks[name]:
                squares = block.take(tensor).square()
                still = [dim for dim, group in enumerate(block.groups) if group is None]
                self.grids[name].append((block, squares.sum(still, keepdim=True) if still else squares))

    def even(self, group: Group, sides: Sides) -> Tensor:
        """Find the scale that makes both sides of each unit weigh the same, and scale by it."""
        inside, outside = (self._weight(group, names) for names in sides)
        alive = (inside > 0) & (outside > 0)
        scale = torch.where(alive, (outside / inside.clamp(min=1e-300)) ** 0.25, 1.0)
        for names, factor in zip(sides, (scale.square(), scale**-2), strict=True):
            for name in names:
                self.grids[name] = [(block, _times(block, grid, group, factor)) for block, grid in self.grids[name]]
        return scale

    def _weight(self, group: Group, names: frozenset[str]) -> Tensor:
        """Squared norm of what belongs to each unit, ``[*copies, size]``."""
        total = torch.zeros(group.shape, dtype=torch.float64)
        for name in names:
            for block, grid in self.grids[name]:
                for dim, acting in enumerate(block.groups):
                    if acting == group.name:
                        at = [*(block.give(dim, one) for one in group.per), dim]
                        total += grid.movedim(at, list(range(len(at)))).reshape(*group.shape, -1).sum(-1)
        return total


def _times(block: Block, grid: Tensor, group: Group, factor: Tensor) -> Tensor:
    for dim, acting in enumerate(block.groups):
        if acting == group.name:
            grid = grid * block.spread(factor.to(grid), dim, group)
    return grid


def _twice(found: Symmetries, group: Group) -> bool:
    """Whether a group meets itself in a tensor: there it makes and reads at once."""
    return any(block.groups.count(group.name) > 1 for blocks in found.blocks.values() for block in blocks)
