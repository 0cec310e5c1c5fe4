"""Convolutional networks of infinite width, read out from all pixels or from their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from landform.errors import BadInput
from landform.kernel.infinite._duals import Dual, chosen
from landform.kernel.infinite._pairs import Kernels, assemble, read, spread

# Tensors of a tile's size that are alive at once.
_ALIVE = 12


@dataclass(frozen=True)
class Convolution:
    """One layer of filters, followed by the activation.

    Attributes:
        size: edge of the square filters.
        stride: step of the filters.
        padding: ``"same"`` (zeros, output ``ceil(input / stride)``, the odd one at the end), ``"valid"`` (none),
            ``"circular"`` (as same, the image going round), or that many zeros at each edge.
    """

    size: int = 3
    stride: int = 1
    padding: Literal["same", "valid", "circular"] | int = "same"

    def __post_init__(self) -> None:
        if self.size < 1 or self.stride < 1:
            raise BadInput(f"Filters have size and stride 1 or more; got {self.size} and {self.stride}.")
        known = self.padding in ("same", "valid", "circular") if isinstance(self.padding, str) else self.padding >= 0
        if not known:
            raise BadInput(f"padding is same, valid, circular or a number of zeros; got {self.padding!r}.")

    def margins(self, extent: int) -> tuple[int, int]:
        """Count the pixels put before and after an axis.

        Args:
            extent: its pixels.

        Returns:
            Before and after.
        """
        if self.padding == "valid":
            return 0, 0
        if isinstance(self.padding, int):
            return self.padding, self.padding
        total = max((-(-extent // self.stride) - 1) * self.stride + self.size - extent, 0)
        return total // 2, total - total // 2


def _along(k: Tensor, axes: Sequence[int], layer: Convolution) -> Tensor:
    """Mean over a window that moves along several axes at the same offset: ``[B, ...]``."""
    for axis in axes:
        before, after = layer.margins(k.shape[axis])
        if layer.padding == "circular":
            index = torch.arange(-before, k.shape[axis] + after, device=k.device) % k.shape[axis]
            k = k.index_select(axis, index)
        elif before or after:
            pads = [0, 0] * (k.dim() - 1 - axis) + [before, after]
            k = F.pad(k, pads)
        if k.shape[axis] < layer.size:
            raise BadInput(f"Filters of size {layer.size} do not fit an image of {k.shape[axis]} pixels: pad it.")
    total: Tensor | None = None
    for offset in range(layer.size):
        part = k
        for axis in axes:
            count = (k.shape[axis] - layer.size) // layer.stride + 1
            taken = slice(offset, offset + (count - 1) * layer.stride + 1, layer.stride)
            part = part[(slice(None),) * axis + (taken,)]
        total = part if total is None else total + part
    assert total is not None
    return total / layer.size


def convolutional(
    x: Tensor,
    y: Tensor | None = None,
    *,
    layers: Sequence[Convolution] = (Convolution(),),
    pooling: Literal["flatten", "mean"] = "flatten",
    activation: str | Dual = "relu",
    sigma_w: float = math.sqrt(2),
    sigma_b: float = 0.0,
    readout: tuple[float, float] | None = None,
    memory: float = 2**28,
    dtype: torch.dtype | None = None,
) -> Kernels:
    """NNGP and NTK of filters, activations and a dense read-out (Novak et al. 2019; Arora et al. 2019).

    Flattened pixels need the covariances of equal pixels only: ``n m H W`` numbers, in tiles. Their mean needs all
    pairs of pixels, ``(H W)^2`` numbers a pair of images.

    Args:
        x: images ``[n, C, H, W]``, differentiable.
        y: a second set ``[m, C, H, W]``; x again if not given.
        layers: of filters.
        pooling: ``"flatten"``, or ``"mean"`` for global average pooling.
        activation: as in `dense`.
        sigma_w: spread of the filters, over ``sqrt(C size^2)``.
        sigma_b: spread of the biases.
        readout: ``(sigma_w, sigma_b)`` of the dense layer; as the others if not given.
        memory: bytes that a tile's tensors may take beside inputs and result (autograd keeps more).
        dtype: to compute in, float64 by default.

    Returns:
        Both kernels, ``[n, m]``.

    Raises:
        BadInput: when inputs or settings make no sense, or not even one pair fits the memory.
    """
    if not layers:
        raise BadInput("A convolutional network has one layer of filters at least; use dense for none.")
    if pooling not in ("flatten", "mean"):
        raise BadInput(f"pooling is flatten or mean; got {pooling!r}.")
    given, phi = x.dtype, chosen(activation)
    images, other = read(x, y, 4, dtype, "images [n, channels, height, width]")
    w, b = spread("sigma_w", sigma_w) ** 2, spread("sigma_b", sigma_b) ** 2
    end = (w, b) if readout is None else (spread("readout", readout[0]) ** 2, spread("readout", readout[1]) ** 2)
    full = pooling == "mean"

    def variances(a: Tensor) -> list[Tensor]:
        k = a.square().mean(1)
        rows: list[Tensor] = []
        for number, layer in enumerate(layers):
            k = phi(k, k, k)[0] if number else k
            k = w * _along(_along(k, (1,), layer), (2,), layer) + b
            rows.append(k)
        return rows

    own = variances(images)
    theirs = own if other is None else variances(other)
    right = images if other is None else other
    channels, height, width = images.shape[1:]
    largest = max([height * width, *(k[0].numel() for k in own)])
    a_pair = largest ** (2 if full else 1) * images.element_size() * _ALIVE
    edge = math.isqrt(int(memory / a_pair))
    if edge < 1:
        raise BadInput(f"One pair of images takes {a_pair / 2**20:.0f} MB: give memory={a_pair}, or smaller images.")

    def tile(i: slice, j: slice) -> Tensor:
        left, far = images[i], right[j]
        n, m = len(left), len(far)
        # Rows beside rows and columns beside columns: [n m, H, H', W, W'], or [n m, H, W] of equal pixels.
        k = torch.einsum("nchw,mcuv->nmhuwv" if full else "nchw,mchw->nmhw", left, far).flatten(0, 1) / channels
        ntk = torch.zeros_like(k)
        for number, layer in enumerate(layers):
            derivative: Tensor | None = None
            if number:
                k, derivative = _dual_at(k, own[number - 1][i], theirs[number - 1][j], full, phi)
                ntk = ntk * derivative
            k, ntk = (_windows(part, layer, full) for part in (k, ntk))
            k = w * k + b
            ntk = w * ntk + k
        value, derivative = _dual_at(k, own[-1][i], theirs[-1][j], full, phi)
        nngp = end[0] * value.flatten(1).mean(1) + end[1]
        tangent = nngp + end[0] * (ntk * derivative).flatten(1).mean(1)
        return torch.stack([nngp.view(n, m), tangent.view(n, m)])

    both = assemble(len(images), None if other is None else len(other), min(edge, 256), tile).to(given)
    return Kernels(both[0], both[1])


def _windows(k: Tensor, layer: Convolution, full: bool) -> Tensor:
    rows, columns = ((1, 2), (3, 4)) if full else ((1,), (2,))
    return _along(_along(k, rows, layer), columns, layer)


def _dual_at(k: Tensor, own: Tensor, theirs: Tensor, full: bool, phi: Dual) -> tuple[Tensor, Tensor]:
    """Duals at all kept pairs of pixels, from the pixels' variances ``[n, H, W]`` and ``[m, H, W]``."""
    pairs = k.view(len(own), len(theirs), *k.shape[1:])
    first, second = own[:, None], theirs[None]
    if full:
        first, second = first[:, :, :, None, :, None], second[:, :, None, :, None, :]
    value, derivative = phi(pairs, first, second)
    return value.flatten(0, 1), derivative.flatten(0, 1)
