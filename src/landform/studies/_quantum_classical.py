"""The classical control: a small network of dense layers over each patch, in the quantum networks' place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landform.models import QuantumPatches


class PatchMLP(nn.Module):
    """Patches, positional bias, scale and aggregation of a quantum network; each patch has one hidden layer of its own.

    Read-outs lie between -1 and 1, by a hyperbolic tangent, as expectations do. The hidden layer is as wide as
    makes the parameters come nearest to the quantum network's.
    """

    places: Tensor

    def __init__(self, like: QuantumPatches, seed: int) -> None:
        """Take the quantum network's place; ``seed`` decides the initial weights."""
        super().__init__()
        count, pixels = like.places.shape
        self.height, self.pool, self.angle, self.shift = like.height, like.pool, like.angle, like.shift
        self.factor, self.classes = like.factor, like.classes
        wanted = sum(p.numel() for p in like.parameters()) - like.position.numel()
        self.width = max(1, round((wanted / count - self.classes) / (pixels + 1 + self.classes)))
        self.register_buffer("places", like.places.clone(), persistent=False)
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int, fan: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float32) * fan**-0.5)

        self.position = nn.Parameter(torch.zeros_like(like.position))
        self.hidden = normal(count, pixels, self.width, fan=pixels)
        self.bias = nn.Parameter(torch.zeros(count, 1, self.width))
        self.out = normal(count, self.width, self.classes, fan=self.width)
        self.out_bias = nn.Parameter(torch.zeros(count, 1, self.classes))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of images ``[B, 1, H, W]`` or ``[B, H * W]``."""
        images = inputs.reshape(-1, 1, self.height, self.height)
        if self.pool > 1:
            images = nn.functional.avg_pool2d(images, self.pool)
        pixels = self.angle * images.flatten(1) + self.shift + self.position
        x = pixels[:, self.places].transpose(0, 1)  # [P, B, pixels]
        hidden = torch.tanh(x @ self.hidden + self.bias)
        read = torch.tanh(hidden @ self.out + self.out_bias)
        return self.factor * read.sum(0)
