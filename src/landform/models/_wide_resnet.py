"""Wide residual networks (Zagoruyko and Komodakis 2016)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from landform.errors import BadInput
from landform.models._checks import image, one_of, probability, whole
from landform.models._layers import NORMS, Activation, Init, Layers, Norm, Parametrisation, norm2d


def wide_resnet(
    *,
    inputs: Sequence[int],
    classes: int,
    width: int = 16,
    depth: int = 16,
    widen: int = 4,
    norm: Norm = "batch",
    dropout: float = 0.0,
    activation: Activation = "relu",
    seed: int = 0,
    parametrisation: Parametrisation = "standard",
    init: Init = "he",
) -> WideResNet:
    """Three stages of pre-activation blocks, ``widen`` times as wide as usual; ``[B, C, H, W] -> [B, classes]``.

    ``depth=28, widen=10`` is WRN-28-10.

    Args:
        inputs: channels, height and width of one image, at least 8 x 8.
        classes: how many outputs.
        width: channels of the first convolution; the stages have ``widen`` times 1, 2 and 4 times as many.
        depth: 6 n + 4, for n blocks a stage: 10, 16, 22, 28, 40, ...
        widen: the k of WRN-depth-k.
        norm: ``"batch"``, ``"group"`` or ``"none"``; with none, biases and smaller branches as for `resnet20`.
        dropout: share of a branch's inner features dropped in training.
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
    one_of("norm", norm, NORMS)
    channels, _, _ = image(inputs, model="wide_resnet")
    if whole("depth", depth) < 10 or (depth - 4) % 6:
        raise BadInput(f"depth of wide_resnet is {depth}: give 6 n + 4 for n blocks a stage, such as 10, 16, 22 or 28.")
    width, wide = whole("width", width), whole("widen", widen) * whole("width", width)
    stages = (width, wide, 2 * wide, 4 * wide)
    return WideResNet(layers, channels, classes, stages, (depth - 4) // 6, norm, probability("dropout", dropout))


class WideResNet(nn.Module):
    """A first convolution, three stages of blocks, normalisation and activation, the mean over the image, a readout.

    Attributes:
        conv: the entry.
        blocks: all blocks in order.
        norm, activation: behind the last block.
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
        dropout: float,
    ) -> None:
        super().__init__()
        self.conv = layers.conv(channels, stages[0], gain=1.0, bias=norm == "none")
        shrink = 1 / math.sqrt(depth * (len(stages) - 1)) if norm == "none" else 1.0
        self.blocks = nn.Sequential()
        into = stages[0]
        for i, out in enumerate(stages[1:]):
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                self.blocks.append(PreBlock(layers, into, out, stride, norm, dropout, shrink))
                into = out
        self.norm = norm2d(norm, into)
        self.activation = layers.activation()
        self.readout = layers.linear(into, whole("classes", classes))

    def forward(self, x: Tensor) -> Tensor:
        """Classify images.

        Args:
            x: ``[B, C, H, W]``.

        Returns:
            ``[B, classes]``.
        """
        maps: Tensor = self.activation(self.norm(self.blocks(self.conv(x))))
        logits: Tensor = self.readout(maps.mean((2, 3)))
        return logits


class PreBlock(nn.Module):
    """``shortcut + conv(activation(norm(conv(activation(norm(x))))))``.

    A block that changes shape has a 1 x 1 convolution as shortcut, which reads ``activation(norm(x))``.

    Attributes:
        norm1, activation, conv1, norm2, dropout, conv2: the branch.
        shortcut: the convolution past it, or None.
    """

    shortcut: nn.Module | None

    def __init__(
        self, layers: Layers, into: int, out: int, stride: int, norm: str, dropout: float, shrink: float
    ) -> None:
        super().__init__()
        bias = norm == "none"
        self.norm1 = norm2d(norm, into)
        self.activation = layers.activation()
        self.conv1 = layers.conv(into, out, stride=stride, bias=bias)
        self.norm2 = norm2d(norm, out)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = layers.conv(out, out, shrink=shrink, bias=bias)
        same = stride == 1 and into == out
        self.shortcut = None if same else layers.conv(into, out, 1, stride=stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: ``[B, into, H, W]``.

        Returns:
            ``[B, out, H', W']``.
        """
        ready = self.activation(self.norm1(x))
        branch = self.conv2(self.dropout(self.activation(self.norm2(self.conv1(ready)))))
        y: Tensor = (x if self.shortcut is None else self.shortcut(ready)) + branch
        return y
