"""LeNet-5 in its modern form."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import nn

from landform.models._checks import image, one_of, whole
from landform.models._layers import Activation, Init, Layers, Parametrisation


def lenet(
    *,
    inputs: Sequence[int],
    classes: int,
    width: int = 6,
    activation: Activation = "relu",
    pool: Literal["max", "mean"] = "max",
    seed: int = 0,
    parametrisation: Parametrisation = "standard",
    init: Init = "he",
) -> nn.Sequential:
    """Two 5 x 5 convolutions with pooling and three dense layers (LeCun et al. 1998); ``[B, C, H, W] -> [B, classes]``.

    At width 6 the channels are 6 and 16 and the dense layers 120 and 84: 62,006 parameters on CIFAR-10 and 44,426 on
    28 x 28 grey images. Other widths scale all four.

    Args:
        inputs: channels, height and width of one image, at least 16 x 16 (the convolutions do not pad).
        classes: how many outputs.
        width: channels of the first convolution.
        activation: ``"relu"``, ``"tanh"`` or ``"gelu"``.
        pool: ``"max"`` or ``"mean"`` over 2 x 2.
        seed: of the initialisation.
        parametrisation: ``"standard"`` or ``"ntk"``.
        init: ``"he"`` (normal, gain / sqrt(fan_in), biases zero) or ``"torch"`` (PyTorch's own).

    Returns:
        The model, with layers ``conv1``, ``conv2``, ``dense1``, ``dense2`` and ``readout``.

    Raises:
        BadInput: when an option makes no sense.
    """
    layers = Layers(seed=seed, parametrisation=parametrisation, init=init, activation=activation)
    one_of("pool", pool, ("max", "mean"))
    channels, *side = image(inputs, model="lenet", least=16)
    classes = whole("classes", classes)
    first = whole("width", width)
    second = round(first * 16 / 6)
    height, across = (((s - 4) // 2 - 4) // 2 for s in side)
    sizes = (second * height * across, 20 * first, 14 * first)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (into, out) in enumerate(((channels, first), (first, second)), start=1):
        parts[f"conv{i}"] = layers.conv(into, out, 5, padding=0, gain=1.0 if i == 1 else None)
        parts[f"activation{i}"] = layers.activation()
        parts[f"pool{i}"] = nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2)
    parts["flatten"] = nn.Flatten()
    for i, (into, out) in enumerate(pairwise(sizes), start=1):
        parts[f"dense{i}"] = layers.linear(into, out)
        parts[f"activation{i + 2}"] = layers.activation()
    parts["readout"] = layers.linear(sizes[-1], classes)
    return nn.Sequential(parts)
