"""Vanilla recurrent networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.models._checks import one_of, positive, shape, whole
from landform.models._layers import Init, Layers, Parametrisation


def rnn(
    *,
    inputs: Sequence[int],
    classes: int,
    width: int = 64,
    depth: int = 1,
    activation: Literal["tanh", "relu"] = "tanh",
    masked: bool = False,
    recurrent_scale: float = 1.0,
    seed: int = 0,
    parametrisation: Parametrisation = "standard",
    init: Init = "he",
) -> RNN:
    """Classify a sequence from the last state of ``h_t = activation(W h_{t-1} + U x_t + b)``.

    ``[B, T, C] -> [B, classes]`` for any T. Sequences of unequal length are right-aligned: padded on the left, so
    that all end at the last step.

    Args:
        inputs: ``(T, C)``, steps and channels of one sequence.
        classes: how many outputs.
        width: length of the state.
        depth: how many recurrent layers stand on each other.
        activation: ``"tanh"`` or ``"relu"``.
        masked: whether the last channel says if a step is present: where it is 0 the state is held, so that padding
            changes nothing whatever numbers it holds. It is not read as a feature.
        recurrent_scale: what the spread of W is multiplied by. At 1 with ``init="he"`` its entries have the variance
            at which gradients neither vanish nor explode: 1 / width for tanh, 2 / width for ReLU.
        seed: of the initialisation.
        parametrisation: ``"standard"`` or ``"ntk"``.
        init: ``"he"`` (normal, gain / sqrt(fan_in), biases zero) or ``"torch"`` (uniform, +-1 / sqrt(fan_in)).

    Returns:
        The model.

    Raises:
        BadInput: when an option makes no sense.
    """
    one_of("activation of rnn", activation, ("tanh", "relu"))
    layers = Layers(seed=seed, parametrisation=parametrisation, init=init, activation=activation)
    _, channels = shape(inputs, model="rnn", axes=("steps", "channels"))
    if masked and channels < 2:
        raise BadInput("A masked rnn reads its last channel as the mask: give inputs with at least 2 channels.")
    scale = positive("recurrent_scale", recurrent_scale)
    return RNN(
        layers,
        channels,
        whole("classes", classes),
        whole("width", width),
        whole("depth", depth),
        masked,
        scale,
    )


class RNN(nn.Module):
    """Recurrent layers and a readout of the last state.

    Attributes:
        cells: one for each layer.
        masked: whether the last channel is a mask.
        readout: the last layer.
    """

    def __init__(
        self, layers: Layers, channels: int, classes: int, width: int, depth: int, masked: bool, scale: float
    ) -> None:
        super().__init__()
        self.masked = masked
        first = channels - 1 if masked else channels
        self.cells = nn.ModuleList(Cell(layers, width if i else first, width, scale) for i in range(depth))
        self.readout = layers.linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify sequences.

        Args:
            x: ``[B, T, C]``.

        Returns:
            ``[B, classes]``.

        Raises:
            BadInput: when it is not ``[B, T, C]``, or has no step.
        """
        if x.dim() != 3 or not x.shape[1]:
            raise BadInput(f"This rnn reads sequences [batch, T, channels], T >= 1; got {list(x.shape)}.")
        present: Sequence[Tensor] | None = None
        if self.masked:
            present = (x[:, :, -1:] != 0).unbind(1)
            x = x[:, :, :-1]
        states: Sequence[Tensor] = ()
        for i, cell in enumerate(self.cells):
            states = cell(torch.stack(list(states), 1) if i else x, present)
        logits: Tensor = self.readout(states[-1])
        return logits


class Cell(nn.Module):
    """One recurrent layer.

    Attributes:
        input: U and b.
        recurrent: W.
        activation: the activation.
    """

    def __init__(self, layers: Layers, into: int, width: int, scale: float) -> None:
        super().__init__()
        self.activation = layers.activation()
        self.input = layers.linear(into, width, gain=1.0)
        critical = math.sqrt(2) if isinstance(self.activation, nn.ReLU) else 1.0
        self.recurrent = layers.linear(width, width, gain=critical, shrink=scale, bias=False)

    def forward(self, x: Tensor, present: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Run through time, from a state of zeros.

        Args:
            x: ``[B, T, into]``.
            present: for each step whether it is there, ``[B, 1]``; all are if not given.

        Returns:
            The T states, ``[B, width]`` each.
        """
        driven = self.input(x).unbind(1)
        state = torch.zeros_like(driven[0])
        states: list[Tensor] = []
        for t, drive in enumerate(driven):
            new = self.activation(drive + self.recurrent(state))
            state = new if present is None else torch.where(present[t], new, state)
            states.append(state)
        return states
