"""Causal transformers over characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landform.errors import BadInput
from landform.models._checks import probability, shape, whole
from landform.models._layers import Activation, Init, Layers, Parametrisation, layer_norm


def transformer(
    *,
    inputs: Sequence[int],
    classes: int,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    tied: bool = False,
    dropout: float = 0.0,
    activation: Activation = "gelu",
    seed: int = 0,
    parametrisation: Parametrisation = "standard",
    init: Init = "he",
) -> Transformer:
    """Predict each next symbol from those before it, as GPT-2 does; whole numbers ``[B, T] -> [B, T, classes]``.

    Pre-norm blocks; each dense layer of a block has 4 ``width`` inner units. The last layer of each of the 2 ``depth``
    residual branches is ``1 / sqrt(2 depth)`` times as large at the start.

    Args:
        inputs: ``(T,)``, the longest text the model reads (it has a learned vector for each position).
        classes: how many symbols there are.
        width: length of the residual stream's vectors.
        depth: how many blocks.
        heads: of attention in each block; must divide ``width``.
        tied: whether the readout shares the embedding's weights; the final vectors are then divided by
            ``sqrt(width)``, because embeddings are unit normal, and the readout has no bias.
        dropout: share dropped in training, of the embeddings, the attention and the ends of the branches.
        activation: ``"relu"``, ``"tanh"`` or ``"gelu"``.
        seed: of the initialisation.
        parametrisation: ``"standard"`` or ``"ntk"``; embeddings are unit normal in both.
        init: ``"he"`` (normal, gain / sqrt(fan_in), biases zero) or ``"torch"`` (PyTorch's own).

    Returns:
        The model.

    Raises:
        BadInput: when an option makes no sense.
    """
    layers = Layers(seed=seed, parametrisation=parametrisation, init=init, activation=activation)
    (context,) = shape(inputs, model="transformer", axes=("longest text",))
    width, heads = whole("width", width), whole("heads", heads)
    if width % heads:
        raise BadInput(f"width {width} of transformer cannot be shared by {heads} heads: give a multiple of {heads}.")
    dropped = probability("dropout", dropout)
    return Transformer(layers, context, whole("classes", classes), width, whole("depth", depth), heads, tied, dropped)


class Transformer(nn.Module):
    """Embeddings, blocks, LayerNorm, readout.

    Attributes:
        symbols, positions: the embeddings.
        blocks: all blocks in order.
        norm: behind the last block.
        readout: the last layer.
    """

    def __init__(
        self,
        layers: Layers,
        context: int,
        classes: int,
        width: int,
        depth: int,
        heads: int,
        tied: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.context = context
        self.symbols = layers.embedding(classes, width)
        self.positions = layers.embedding(context, width)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        shrink = 1 / math.sqrt(2 * depth)
        self.blocks = nn.Sequential(*(TransformerBlock(layers, width, heads, dropout, shrink) for _ in range(depth)))
        self.norm = layer_norm(width)
        self.scale = 1 / math.sqrt(width) if tied else 1.0
        self.readout: nn.Module
        if tied:
            shared = nn.Linear(width, classes, bias=False, device="meta")
            shared.weight = self.symbols.weight
            self.readout = shared
        else:
            self.readout = layers.linear(width, classes, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Predict the next symbol at every position.

        Args:
            x: symbols, whole numbers ``[B, T]``.

        Returns:
            Logits ``[B, T, classes]``; those at t depend on ``x[:, :t + 1]`` only.

        Raises:
            BadInput: when the text is longer than the context, or not ``[B, T]``.
        """
        if x.dim() != 2 or x.shape[1] > self.context:
            raise BadInput(
                f"This transformer reads whole numbers [batch, T], T <= {self.context}; got {list(x.shape)}."
            )
        places = torch.arange(x.shape[1], device=x.device)
        stream = self.blocks(self.dropout(self.symbols(x) + self.positions(places)))
        logits: Tensor = self.readout(self.norm(stream) * self.scale)
        return logits


class TransformerBlock(nn.Module):
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))``.

    Attributes:
        norm1, attention: the first branch.
        norm2, expand, activation, contract: the second.
    """

    def __init__(self, layers: Layers, width: int, heads: int, dropout: float, shrink: float) -> None:
        super().__init__()
        self.norm1 = layer_norm(width)
        self.attention = Attention(layers, width, heads, dropout, shrink)
        self.norm2 = layer_norm(width)
        self.expand = layers.linear(width, 4 * width, gain=1.0)
        self.activation = layers.activation()
        self.contract = layers.linear(4 * width, width, shrink=shrink)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: ``[B, T, width]``.

        Returns:
            ``[B, T, width]``.
        """
        x = x + self.dropout(self.attention(self.norm1(x)))
        y: Tensor = x + self.dropout(self.contract(self.activation(self.expand(self.norm2(x)))))
        return y


class Attention(nn.Module):
    """Causal attention with several heads.

    Attributes:
        project: queries, keys and values in one layer.
        contract: what puts the heads together.
    """

    def __init__(self, layers: Layers, width: int, heads: int, dropout: float, shrink: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropped = dropout
        self.project = layers.linear(width, 3 * width, gain=1.0)
        self.contract = layers.linear(width, width, gain=1.0, shrink=shrink)

    def forward(self, x: Tensor) -> Tensor:
        """Let each position attend to itself and to those before it.

        Args:
            x: ``[B, T, width]``.

        Returns:
            ``[B, T, width]``.
        """
        batch, length, width = x.shape
        query, key, value = (
            part.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.project(x).chunk(3, dim=-1)
        )
        dropped = self.dropped if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropped, is_causal=True)
        y: Tensor = self.contract(mixed.transpose(1, 2).reshape(batch, length, width))
        return y
