"""Multi-layer perceptrons."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from torch import nn

from landform.errors import BadInput
from landform.models._checks import one_of, probability, shape, whole, widths
from landform.models._layers import Activation, Init, Layers, Parametrisation, layer_norm


def mlp(
    *,
    inputs: Sequence[int],
    classes: int,
    width: int | Sequence[int] = 64,
    depth: int | None = None,
    activation: Activation = "relu",
    norm: Literal["none", "layer"] = "none",
    dropout: float = 0.0,
    bias: bool = True,
    seed: int = 0,
    parametrisation: Parametrisation = "standard",
    init: Init = "he",
) -> nn.Sequential:
    """Dense layers, each followed by normalisation, activation and dropout as asked; ``[B, *inputs] -> [B, classes]``.

    Args:
        inputs: shape of one input, flattened on entry.
        classes: how many outputs.
        width: units of every hidden layer, or a tuple with one number for each.
        depth: how many hidden layers, when ``width`` is one number; 3 if not given, 0 for a linear model.
        activation: ``"relu"``, ``"tanh"`` or ``"gelu"``.
        norm: ``"none"``, or ``"layer"`` for LayerNorm before each activation.
        dropout: share of the hidden units dropped in training.
        bias: whether the dense layers have biases.
        seed: of the initialisation.
        parametrisation: ``"standard"`` or ``"ntk"``.
        init: ``"he"`` (normal, gain / sqrt(fan_in), biases zero) or ``"torch"`` (PyTorch's own).

    Returns:
        The model, with layers ``dense1``, ``dense2``, ... and ``readout``.

    Raises:
        BadInput: when an option makes no sense.
    """
    layers = Layers(seed=seed, parametrisation=parametrisation, init=init, activation=activation)
    one_of("norm", norm, ("none", "layer"))
    dropped = probability("dropout", dropout)
    into = math.prod(shape(inputs, model="mlp"))
    classes = whole("classes", classes)
    parts: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for i, out in enumerate(_hidden(width, depth), start=1):
        parts[f"dense{i}"] = layers.linear(into, out, gain=1.0 if i == 1 else None, bias=bias)
        if norm == "layer":
            parts[f"norm{i}"] = layer_norm(out)
        parts[f"activation{i}"] = layers.activation()
        if dropped:
            parts[f"dropout{i}"] = nn.Dropout(dropped)
        into = out
    parts["readout"] = layers.linear(into, classes, gain=None if len(parts) > 1 else 1.0, bias=bias)
    return nn.Sequential(parts)


def _hidden(width: int | Sequence[int], depth: int | None) -> tuple[int, ...]:
    if isinstance(width, Sequence):
        hidden = widths("width", width)
        if depth is not None and depth != len(hidden):
            raise BadInput(
                f"depth is {depth} but width names {len(hidden)} hidden layers: give one width for each layer, "
                "or one width and a depth."
            )
        return hidden
    return (whole("width", width),) * (3 if depth is None else whole("depth", depth, 0))
