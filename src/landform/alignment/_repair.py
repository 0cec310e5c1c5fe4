"""REPAIR: give every unit of a point between two others the mean and the spread that it has at these.

Half way between two networks the inner activations of units that do not agree fully cancel: their variance collapses,
layer upon layer (Jordan et al. 2023). Each unit is rescaled and shifted so that its pre-activation has over the data

    mean = (1 - t) mean_a + t mean_b,   spread = (1 - t) spread_a + t spread_b.

That is an affine map of each unit, which its weights and bias take in. Layers are corrected from the first to the last,
each where those before it are corrected. What goes into BatchNorm needs no correction: there it is enough to find the
statistics anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from landform.alignment._contract import end
from landform.alignment._find import symmetries as find_symmetries
from landform.alignment._symmetries import Symmetries
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.models import NTKConv2d, NTKLinear

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd, NTKLinear, NTKConv2d)


@dataclass(frozen=True)
class Repaired:
    """A point between two others, corrected.

    Attributes:
        point: ``[P]``.
        buffers: the buffers that belong to it, with BatchNorm's statistics found anew.
        at: where between the two, 0 for the first and 1 for the second.
        layers: the layers that were corrected, in the order of the forward pass.
        collapse: for each of them the variance of its units before its own correction, over the variance they should
            have; the mean over units.
        unshifted: those of them that have no bias: their units have the spread they should have, not the mean.
        passes: forward passes over the data it took.
    """

    point: Tensor
    buffers: dict[str, Tensor]
    at: float
    layers: tuple[str, ...]
    collapse: dict[str, float]
    unshifted: tuple[str, ...]
    passes: int


class Spread:
    """Mean and standard deviation of each unit, gathered batch by batch, in float64 (Chan, Golub and LeVeque 1983)."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.count = 0
        self.mean: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, rows: Tensor) -> None:
        """Take a batch ``[N, n]``."""
        rows = rows.to(torch.float32 if rows.device.type == "mps" else torch.float64)
        mean, count = rows.mean(0), len(rows)
        squares = (rows - mean).square().sum(0)
        if self.mean is None or self._squares is None:
            self.count, self.mean, self._squares = count, mean, squares
            return
        total, shift = self.count + count, mean - self.mean
        self._squares = self._squares + squares + shift.square() * (self.count * count / total)
        self.mean, self.count = self.mean + shift * (count / total), total

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each unit, ``[n]`` each."""
        assert self.mean is not None
        assert self._squares is not None
        return self.mean, (self._squares / self.count).sqrt()


def repair(
    landscape: Landscape,
    a: Tensor | nn.Module,
    b: Tensor | nn.Module,
    *,
    at: float = 0.5,
    symmetries: Symmetries | None = None,
) -> Repaired:
    """Correct the point ``a + at (b - a)`` so that its units keep mean and spread; align ``b`` to ``a`` first.

    Corrected are dense and convolutional layers whose outputs are inner units, but those that go straight into
    BatchNorm; layers whose weights are frozen or tied to others are left.

    Args:
        landscape: the landscape, over whose data means and spreads are taken.
        a: the first point, ``[P]``, or a model.
        b: the second, with units in the order of the first's.
        at: where between them, in [0, 1].
        symmetries: of the model, where they are known already.

    Returns:
        The corrected point, and its buffers.

    Raises:
        BadInput: when a point is not one of this landscape, or holds NaN.
    """
    if not 0 <= at <= 1:
        raise BadInput(f"at is {at}: give a place between the points, from 0 to 1.")
    ends = [end(landscape, given, name)[0] for given, name in ((a, "a"), (b, "b"))]
    found = find_symmetries(landscape) if symmetries is None else symmetries
    point = ends[0] + at * (ends[1] - ends[0])
    calls = _layers(landscape, found)
    layers = list(calls)
    goals: dict[str, tuple[Tensor, Tensor]] = {}
    passes = 0
    if layers:
        moments = [_measured(landscape, one, layers) for one in ends]
        passes = 2
        for name in layers:
            (mean, spread), (other_mean, other_spread) = (own[name] for own in moments)
            goals[name] = (1 - at) * mean + at * other_mean, (1 - at) * spread + at * other_spread
    collapse: dict[str, float] = {}
    for name in layers:
        now = _measured(landscape, point, [name], stop=calls[name] == 1)[name]
        point, collapse[name] = _corrected(landscape, point, name, now, goals[name])
        passes += 1
    unshifted = tuple(name for name in layers if f"{name}.bias" not in landscape.layout.names)
    return Repaired(point, landscape.calibrate(point), at, tuple(layers), collapse, unshifted, passes)


class _Enough(Exception):
    """What is measured has been seen."""


def _layers(landscape: Landscape, found: Symmetries) -> dict[str, int]:
    """The layers to correct, in the order in which they are called, and how often they are."""
    net = landscape._function.net
    tied = {*(found.layout.tied or {}), *(found.layout.tied or {}).values()}
    wanted = {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, _LAYERS)
        and not (_out(module) and getattr(module, "groups", 1) > 1)
        and f"{name}.weight" in found.fixed
        and not found.fixed[f"{name}.weight"][_out(module)]
        and f"{name}.weight" not in tied
    }
    called: dict[str, int] = {}
    gave: dict[int, str] = {}
    kept: list[Any] = []
    normed: set[str] = set()
    handles = []

    def after(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            called[name] = called.get(name, 0) + 1
            gave[id(output)] = name
            kept.append(output)

        return hook

    def before(module: nn.Module, inputs: Any) -> None:
        if id(inputs[0]) in gave:
            normed.add(gave[id(inputs[0])])

    for name, module in wanted.items():
        handles.append(module.register_forward_hook(after(name)))
    handles += [m.register_forward_pre_hook(before) for m in net.modules() if isinstance(m, _BatchNorm)]
    try:
        batch = next(iter(landscape._data.batches(2)))
        with torch.no_grad():
            landscape._function(landscape.layout.views(landscape.here), {}, partial(landscape._on_batch, batch))
    finally:
        for handle in handles:
            handle.remove()
    return {name: count for name, count in called.items() if name not in normed}


def _measured(
    landscape: Landscape, point: Tensor, layers: Sequence[str], stop: bool = False
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and spread of the units of some layers over the data; the forward pass may stop behind the first."""
    modules = dict(landscape._function.net.named_modules())
    spreads = {name: Spread() for name in layers}

    def hook(name: str) -> Any:
        def take(module: nn.Module, inputs: Any, output: Tensor) -> None:
            axis = 1 if not isinstance(module, nn.Linear | NTKLinear) else -1
            spreads[name].add(output.detach().movedim(axis, -1).flatten(0, -2))
            if stop:
                raise _Enough

        return take

    handles = [modules[name].register_forward_hook(hook(name)) for name in layers]
    try:
        ((block, own),) = landscape._blocks(point, None)
        with torch.no_grad():
            for batch in landscape._data.batches(landscape._batch_size):
                try:
                    landscape._function(landscape.layout.views(block), own, partial(landscape._on_batch, batch))
                except _Enough:
                    continue
    finally:
        for handle in handles:
            handle.remove()
    return {name: spread.moments for name, spread in spreads.items()}


def _corrected(
    landscape: Landscape,
    point: Tensor,
    name: str,
    now: tuple[Tensor, Tensor],
    goal: tuple[Tensor, Tensor],
) -> tuple[Tensor, float]:
    """Fold the affine map of a layer's units into its weights; and the variance they had over what they should have."""
    module = landscape._function.net.get_submodule(name)
    (mean, spread), (wanted_mean, wanted_spread) = now, goal
    rounding = 1e-6 * (mean.abs() + wanted_spread)
    alive = spread > rounding  # a unit that does not vary cannot be made to by a factor
    factor = torch.where(alive, wanted_spread / spread.clamp(min=1e-300), 1.0)
    tensors: Mapping[str, Tensor] = landscape.layout.views(point)
    changed = dict(tensors)
    weight = changed[f"{name}.weight"]
    shape = [1] * weight.dim()
    shape[_out(module)] = -1
    changed[f"{name}.weight"] = weight * factor.to(weight).view(shape)
    if f"{name}.bias" in changed:
        scale = getattr(module, "bias_scale", 1.0)
        bias = changed[f"{name}.bias"].to(mean) * scale
        changed[f"{name}.bias"] = ((factor * (bias - mean) + wanted_mean) / scale).to(weight)
    known = wanted_spread > rounding
    ratio = (spread[known] / wanted_spread[known]).square()
    return landscape.layout.join(changed), float(ratio.mean()) if len(ratio) else 1.0


def _out(module: nn.Module) -> int:
    """Which axis of the weight counts the units that a layer makes."""
    return int(bool(getattr(module, "transposed", False)))
