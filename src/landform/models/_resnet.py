"""Residual networks for small images (He et al. 2016, section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from landform.models._checks import image, one_of, whole
from landform.models._layers import NORMS, Activation, Init, Layers, Norm, Parametrisation, norm2d

Shortcut = Literal["conv", "pad"]


def resnet20(
    *,
    inputs: Sequence[int],
    classes: int,
    width: int = 16,
    norm: Norm = "batch",
    shortcut: Shortcut = "conv",
    activation: Activation = "relu",
    seed: int = 0,
    parametrisation: Parametrisation = "standard",
    init: Init = "he",
) -> ResNet:
    """Three stages of three blocks with ``width``, 2 and 4 times as many channels; ``[B, C, H, W] -> [B, classes]``.

    At width 16 with BatchNorm on CIFAR-10: 272,474 parameters, or 269,722 with ``shortcut="pad"``.

    Args:
        inputs: channels, height and width of one image, at least 8 x 8.
        classes: how many outputs.
        width: channels of the first stage.
        norm: ``"batch"``, ``"group"`` or ``"none"``. With none, convolutions have biases and the last convolution of
            each of the L blocks is ``1 / sqrt(L)`` times as large at the start, so that the signal's mean square
            grows by a constant factor whatever the depth.
        shortcut: how a block that changes shape passes its input on: ``"conv"`` (a 1 x 1 convolution, the paper's
            option B) or ``"pad"`` (every second pixel, zeros for the new channels, option A).
        activation: ``"relu"``, ``"tanh"`` or ``"gelu"``.
        seed: of the initialisation.
        parametrisation: ``"standard"`` or ``"ntk"``.
        init: ``"he"`` (normal, gain / sqrt(fan_in), biases zero) or ``"torch"`` (PyTorch's own).

    Returns:
        The model.

    Raises:
        BadInput: when an option makes no sense.
    """
    layers = Layers(seed=seed, parametrisation=parametrisation, init=init, activation=activation)
    channels, _, _ = image(inputs, model="resnet20")
    width = whole("width", width)
    return ResNet(layers, channels, classes, (width, 2 * width, 4 * width), 3, norm, shortcut)


def resnet18(
    *,
    inputs: Sequence[int],
    classes: int,
    width: int = 64,
    norm: Norm = "batch",
    shortcut: Shortcut = "conv",
    activation: Activation = "relu",
    seed: int = 0,
    parametrisation: Parametrisation = "standard",
    init: Init = "he",
) -> ResNet:
    """Four stages of two blocks with ``width``, 2, 4 and 8 times as many channels; ``[B, C, H, W] -> [B, classes]``.

    The form used on CIFAR: a 3 x 3 first convolution and no first pooling. At width 64 with BatchNorm on CIFAR-10:
    11,173,962 parameters.

    Args:
        inputs: channels, height and width of one image, at least 8 x 8.
        classes: how many outputs.
        width: channels of the first stage.
        norm: as for `resnet20`.
        shortcut: as for `resnet20`.
        activation: ``"relu"``, ``"tanh"`` or ``"gelu"``.
        seed: of the initialisation.
        parametrisation: ``"standard"`` or ``"ntk"``.
        init: ``"he"`` (normal, gain / sqrt(fan_in), biases zero) or ``"torch"`` (PyTorch's own).

    Returns:
        The model.

    Raises:
        BadInput: when an option makes no sense.
    """
    layers = Layers(seed=seed, parametrisation=parametrisation, init=init, activation=activation)
    channels, _, _ = image(inputs, model="resnet18")
    width = whole("width", width)
    return ResNet(layers, channels, classes, tuple(k * width for k in (1, 2, 4, 8)), 2, norm, shortcut)


class ResNet(nn.Module):
    """A first convolution, stages of blocks, the mean over the image, a readout.

    Attributes:
        conv, norm, activation: the entry.
        blocks: all blocks in order.
        readout: the last layer.
    """

    def __init__(
        self,
        layers: Layers,
        channels: int,
        classes: int,
        stages: tuple[int, ...],
        depth: int,
        norm: str,
        shortcut: str,
    ) -> None:
        super().__init__()
        one_of("norm", norm, NORMS)
        one_of("shortcut", shortcut, ("conv", "pad"))
        self.conv = layers.conv(channels, stages[0], gain=1.0, bias=norm == "none")
        self.norm = norm2d(norm, stages[0])
        self.activation = layers.activation()
        shrink = 1 / math.sqrt(depth * len(stages)) if norm == "none" else 1.0
        self.blocks = nn.Sequential()
        into = stages[0]
        for i, out in enumerate(stages):
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                self.blocks.append(Block(layers, into, out, stride, norm, shortcut, shrink))
                into = out
        self.readout = layers.linear(into, whole("classes", classes))

    def forward(self, x: Tensor) -> Tensor:
        """Classify images.

        Args:
            x: ``[B, C, H, W]``.

        Returns:
            ``[B, classes]``.
        """
        maps: Tensor = self.blocks(self.activation(self.norm(self.conv(x))))
        logits: Tensor = self.readout(maps.mean((2, 3)))
        return logits


class Block(nn.Module):
    """``activation(shortcut(x) + norm(conv(activation(norm(conv(x))))))``.

    Attributes:
        conv1, norm1, activation, conv2, norm2: the branch.
        shortcut: the way past it.
    """

    def __init__(
        self, layers: Layers, into: int, out: int, stride: int, norm: str, shortcut: str, shrink: float
    ) -> None:
        super().__init__()
        bias = norm == "none"
        self.conv1 = layers.conv(into, out, stride=stride, bias=bias)
        self.norm1 = norm2d(norm, out)
        self.activation = layers.activation()
        self.conv2 = layers.conv(out, out, shrink=shrink, bias=bias)
        self.norm2 = norm2d(norm, out)
        self.shortcut: nn.Module
        if stride == 1 and into == out:
            self.shortcut = nn.Identity()
        elif shortcut == "pad":
            self.shortcut = Pad(stride, out - into)
        else:
            self.shortcut = nn.Sequential(layers.conv(into, out, 1, stride=stride, bias=bias), norm2d(norm, out))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: ``[B, into, H, W]``.

        Returns:
            ``[B, out, H', W']``.
        """
        branch = self.norm2(self.conv2(self.activation(self.norm1(self.conv1(x)))))
        y: Tensor = self.activation(self.shortcut(x) + branch)
        return y


class Pad(nn.Module):
    """Every ``stride``-th pixel, and ``channels`` further channels of zeros."""

    def __init__(self, stride: int, channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Apply the shortcut.

        Args:
            x: ``[B, C, H, W]``.

        Returns:
            ``[B, C + channels, ceil(H / stride), ceil(W / stride)]``.
        """
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.channels))
