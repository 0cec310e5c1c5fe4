"""Small convolutional networks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from torch import nn

from landform.models._checks import image, one_of, whole, widths
from landform.models._layers import NORMS, Activation, Init, Layers, Norm, Parametrisation, norm2d


def small_cnn(
    *,
    inputs: Sequence[int],
    classes: int,
    width: int | Sequence[int] = 12,
    downsample: Literal["stride", "max", "mean"] = "stride",
    head: Literal["mean", "flatten"] = "mean",
    norm: Norm = "none",
    activation: Activation = "relu",
    seed: int = 0,
    parametrisation: Parametrisation = "standard",
    init: Init = "he",
) -> nn.Sequential:
    """3 x 3 convolutions that each halve the image, then a dense readout; ``[B, C, H, W] -> [B, classes]``.

    Args:
        inputs: channels, height and width of one image, at least 8 x 8.
        classes: how many outputs.
        width: channels of the first of three layers, the others having twice as many, or a tuple with the channels
            of every layer. 12 is the same as ``(12, 24, 24)``.
        downsample: how a layer halves the image: ``"stride"`` of the convolution, or pooling over 2 x 2 by ``"max"``
            or ``"mean"`` behind the activation. A map of one pixel is not halved further.
        head: what the readout reads: the ``"mean"`` over the last map, or the map ``"flatten"``-ed.
        norm: ``"none"``, ``"batch"`` or ``"group"``, before the activation; convolutions have biases with none only.
        activation: ``"relu"``, ``"tanh"`` or ``"gelu"``.
        seed: of the initialisation.
        parametrisation: ``"standard"`` or ``"ntk"``.
        init: ``"he"`` (normal, gain / sqrt(fan_in), biases zero) or ``"torch"`` (PyTorch's own).

    Returns:
        The model, with layers ``conv1``, ``conv2``, ... and ``readout``.

    Raises:
        BadInput: when an option makes no sense.
    """
    layers = Layers(seed=seed, parametrisation=parametrisation, init=init, activation=activation)
    one_of("downsample", downsample, ("stride", "max", "mean"))
    one_of("head", head, ("mean", "flatten"))
    one_of("norm", norm, NORMS)
    into, *side = image(inputs, model="small_cnn")
    classes = whole("classes", classes)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for i, out in enumerate(_channels(width), start=1):
        halve = min(side) > 1
        stride = 2 if halve and downsample == "stride" else 1
        parts[f"conv{i}"] = layers.conv(into, out, stride=stride, gain=1.0 if i == 1 else None, bias=norm == "none")
        if norm != "none":
            parts[f"norm{i}"] = norm2d(norm, out)
        parts[f"activation{i}"] = layers.activation()
        if halve and downsample != "stride":
            parts[f"pool{i}"] = nn.MaxPool2d(2) if downsample == "max" else nn.AvgPool2d(2)
        if halve:
            side = [-(-s // 2) if downsample == "stride" else s // 2 for s in side]
        into = out
    if head == "mean":
        parts["mean"] = nn.AdaptiveAvgPool2d(1)
        side = [1, 1]
    parts["flatten"] = nn.Flatten()
    parts["readout"] = layers.linear(into * side[0] * side[1], classes)
    return nn.Sequential(parts)


def _channels(width: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(width, Sequence):
        return widths("width", width)
    first = whole("width", width)
    return first, 2 * first, 2 * first
