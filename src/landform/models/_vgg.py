"""VGG-11."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from landform.models._checks import image, one_of, whole
from landform.models._layers import NORMS, Activation, Init, Layers, Norm, Parametrisation, norm2d

_STAGES = ((1,), (2,), (4, 4), (8, 8), (8, 8))  # channels over the width; a pooling ends each stage


def vgg11(
    *,
    inputs: Sequence[int],
    classes: int,
    width: int = 64,
    norm: Norm = "none",
    activation: Activation = "relu",
    seed: int = 0,
    parametrisation: Parametrisation = "standard",
    init: Init = "he",
) -> nn.Sequential:
    """Configuration A of Simonyan and Zisserman (2015) with one dense layer; ``[B, C, H, W] -> [B, classes]``.

    At width 64 on CIFAR-10: 9,225,610 parameters without normalisation.

    Args:
        inputs: channels, height and width of one image, at least 8 x 8. Of the five poolings, those that would meet
            a map of one pixel are left out (below 32 x 32).
        classes: how many outputs.
        width: channels of the first convolution; the last have 8 times as many.
        norm: ``"none"``, ``"batch"`` or ``"group"``, before the activation; convolutions have biases with none only.
        activation: ``"relu"``, ``"tanh"`` or ``"gelu"``.
        seed: of the initialisation.
        parametrisation: ``"standard"`` or ``"ntk"``.
        init: ``"he"`` (normal, gain / sqrt(fan_in), biases zero) or ``"torch"`` (PyTorch's own).

    Returns:
        The model, with layers ``conv1`` to ``conv8`` and ``readout``.

    Raises:
        BadInput: when an option makes no sense.
    """
    layers = Layers(seed=seed, parametrisation=parametrisation, init=init, activation=activation)
    one_of("norm", norm, NORMS)
    into, height, across = image(inputs, model="vgg11")
    classes = whole("classes", classes)
    width = whole("width", width)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    i = 0
    for stage, channels in enumerate(_STAGES, start=1):
        for out in (c * width for c in channels):
            i += 1
            parts[f"conv{i}"] = layers.conv(into, out, gain=1.0 if i == 1 else None, bias=norm == "none")
            if norm != "none":
                parts[f"norm{i}"] = norm2d(norm, out)
            parts[f"activation{i}"] = layers.activation()
            into = out
        if min(height, across) > 1:
            parts[f"pool{stage}"] = nn.MaxPool2d(2)
            height, across = height // 2, across // 2
    parts["flatten"] = nn.Flatten()
    parts["readout"] = layers.linear(into * height * across, classes)
    return nn.Sequential(parts)
