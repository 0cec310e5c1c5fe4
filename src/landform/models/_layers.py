"""The layers every model of the zoo is made of: seeded, in either parametrisation, with either initialisation.

Everything is drawn with unit variance by one generator on the CPU, in float32. The standard parametrisation multiplies
a draw by its spread when the layer is made, the NTK parametrisation in every forward pass, so that both compute the
same function at a given seed.
"""

from __future__ import annotations

import hashlib
import math
from typing import Literal

import torch
from torch import Tensor, nn

from landform.models._checks import one_of, whole
from landform.models._ntk import NTKConv2d, NTKLinear

Activation = Literal["relu", "tanh", "gelu"]
Parametrisation = Literal["standard", "ntk"]
Init = Literal["he", "torch"]
Norm = Literal["none", "batch", "group"]

# 1 / sqrt(E phi(z)^2) for a unit normal z: the spread of the weights that keeps a signal's mean square.
GAINS = {"relu": math.sqrt(2), "tanh": 1.5925374197228321, "gelu": 1.533530441195536}
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}
NORMS = ("none", "batch", "group")

BIAS_SCALE = 0.1  # beta of Jacot et al. (2018): with unit factors the biases would dominate the kernel


def norm2d(kind: str, channels: int) -> nn.Module:
    """Make a normalisation of images.

    Args:
        kind: ``"batch"``, ``"group"`` or ``"none"``.
        channels: how many channels there are.

    Returns:
        The layer. GroupNorm has the most groups, at most 8, that leave four channels or more in each: the few
        numbers of a smaller group, on a map of one pixel, would come out as little more than their signs.
    """
    if kind == "batch":
        return nn.BatchNorm2d(channels, device="cpu", dtype=torch.float32)
    if kind == "group":
        groups = next(g for g in range(min(8, max(1, channels // 4)), 0, -1) if channels % g == 0)
        return nn.GroupNorm(groups, channels, device="cpu", dtype=torch.float32)
    return nn.Identity()


def layer_norm(width: int) -> nn.LayerNorm:
    """Make a normalisation of the last dimension.

    Args:
        width: its length.

    Returns:
        The layer.
    """
    return nn.LayerNorm(width, device="cpu", dtype=torch.float32)


def _generator(seed: int) -> torch.Generator:
    """Start a stream of numbers of this room's own: data drawn from the same plain seed must not repeat the weights."""
    mixed = hashlib.blake2b(f"landform.models {seed}".encode(), digest_size=8).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(mixed, "little") >> 1)


class Layers:
    """Makes layers, each with the next numbers of one generator.

    ``init="he"``: weights normal, of variance ``gain^2 / fan_in`` (He et al. 2015), biases zero. The gain is that of
    the activation a layer reads, and 1 for a layer that reads the data or a normalised stream, so that every
    pre-activation starts with the mean square of the inputs. ``init="torch"``: weights and biases uniform in
    ``+-1 / sqrt(fan_in)``, as PyTorch's own layers begin.

    Attributes:
        gain: the activation's gain.
    """

    def __init__(self, *, seed: int, parametrisation: str, init: str, activation: str = "relu") -> None:
        self.parametrisation = one_of("parametrisation", parametrisation, ("standard", "ntk"))
        self.init = one_of("init", init, ("he", "torch"))
        self._activation = ACTIVATIONS[one_of("activation", activation, tuple(ACTIVATIONS))]
        self.gain = GAINS[activation]
        self.generator = _generator(whole("seed", seed, 0))

    def activation(self) -> nn.Module:
        """Make the activation.

        Returns:
            A layer that works out of place.
        """
        return self._activation()

    def linear(
        self, into: int, out: int, *, gain: float | None = None, shrink: float = 1.0, bias: bool = True
    ) -> nn.Module:
        """Make a dense layer.

        Args:
            into: how many features it reads.
            out: how many it gives.
            gain: what the weights' spread is multiplied by under ``init="he"``; the activation's if not given.
            shrink: the same, under any initialisation (the ends of residual branches).
            bias: whether it has one.

        Returns:
            The layer.
        """
        weight, shift, weight_scale, bias_scale = self._draw((out, into), gain, shrink, bias)
        if self.parametrisation == "ntk":
            return NTKLinear(weight, shift, weight_scale=weight_scale, bias_scale=bias_scale)
        layer = nn.Linear(into, out, bias=bias, device="meta")  # made without touching any generator
        layer.weight = nn.Parameter(weight * weight_scale)
        if shift is not None:
            layer.bias = nn.Parameter(shift * bias_scale)
        return layer

    def conv(
        self,
        into: int,
        out: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        padding: int | None = None,
        gain: float | None = None,
        shrink: float = 1.0,
        bias: bool = True,
    ) -> nn.Module:
        """Make a convolution.

        Args:
            into: how many channels it reads.
            out: how many it gives.
            kernel: side of the filters.
            stride: their step.
            padding: zeros around the image; as many as keep its size if not given.
            gain: as for `linear`.
            shrink: as for `linear`.
            bias: whether it has one.

        Returns:
            The layer.
        """
        around = kernel // 2 if padding is None else padding
        weight, shift, weight_scale, bias_scale = self._draw((out, into, kernel, kernel), gain, shrink, bias)
        if self.parametrisation == "ntk":
            return NTKConv2d(
                weight, shift, weight_scale=weight_scale, bias_scale=bias_scale, stride=stride, padding=around
            )
        layer = nn.Conv2d(into, out, kernel, stride=stride, padding=around, bias=bias, device="meta")
        layer.weight = nn.Parameter(weight * weight_scale)
        if shift is not None:
            layer.bias = nn.Parameter(shift * bias_scale)
        return layer

    def embedding(self, rows: int, width: int) -> nn.Embedding:
        """Make a table of unit normal vectors, the same in every parametrisation: it sums over one row, not many.

        Args:
            rows: how many vectors.
            width: their length.

        Returns:
            The table.
        """
        table = nn.Embedding(rows, width, device="meta")
        table.weight = nn.Parameter(self._normal((rows, width)))
        return table

    def _normal(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float32, device="cpu")

    def _uniform(self, shape: tuple[int, ...]) -> Tensor:
        unit = torch.rand(shape, generator=self.generator, dtype=torch.float32, device="cpu")
        return (2 * unit - 1) * math.sqrt(3)

    def _draw(
        self, shape: tuple[int, ...], gain: float | None, shrink: float, bias: bool
    ) -> tuple[Tensor, Tensor | None, float, float]:
        """Draw weight and bias with unit variance (a bias may be zero), and say what each is to be multiplied by."""
        fan_in = math.prod(shape[1:])
        if self.init == "torch":
            spread = 1 / math.sqrt(3 * fan_in)
            weight = self._uniform(shape)
            return weight, self._uniform(shape[:1]) if bias else None, shrink * spread, spread
        weight = self._normal(shape)
        shift = torch.zeros(shape[:1], dtype=torch.float32, device="cpu") if bias else None
        return weight, shift, (self.gain if gain is None else gain) * shrink / math.sqrt(fan_in), BIAS_SCALE
