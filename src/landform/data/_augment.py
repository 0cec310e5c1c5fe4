"""Random changes of a batch of images, made where the batch lies."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from landform.errors import BadInput

PRESETS: dict[str, dict[str, int | bool]] = {
    "flip": {"flip": True},
    "crop": {"pad": 4},
    "standard": {"flip": True, "pad": 4},
    "cutout": {"flip": True, "pad": 4, "cutout": 16},
}


@dataclass(frozen=True)
class Augment:
    """Flip, crop and cut out at random, a whole batch by one gather.

    Attributes:
        flip: mirror left and right with probability one half.
        pad: pad by so many pixels at each side and crop back at a random place; 0 does not crop.
        fill: what lies in the padding: zeros (the mean of normalised images), or the image mirrored at its edge.
        cutout: side of a square that is set to zero around a random pixel, cut at the edges; 0 for none.
    """

    flip: bool = False
    pad: int = 0
    fill: Literal["zero", "reflect"] = "zero"
    cutout: int = 0

    def __post_init__(self) -> None:
        if self.pad < 0 or self.cutout < 0:
            raise BadInput(f"Padding and cutout are counts of pixels, not negative: {self.pad} and {self.cutout}.")
        if self.fill not in ("zero", "reflect"):
            raise BadInput(f'Padding is filled with "zero" or "reflect", but {self.fill!r} was given.')

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Change a batch.

        Args:
            inputs: images, ``[B, C, H, W]``, on any device.
            generator: where the draws come from; may lie on the CPU while the images lie elsewhere.

        Returns:
            New images of the same shape.

        Raises:
            BadInput: when the inputs are no images, or too small for the padding.
        """
        if inputs.ndim != 4:
            raise BadInput(f"Augmentation takes images [B, C, H, W], but the inputs have shape {list(inputs.shape)}.")
        batch, channels, height, width = inputs.shape
        if self.pad and self.fill == "reflect" and self.pad >= min(height, width):
            raise BadInput(
                f"Images of {height}x{width} cannot be mirrored {self.pad} pixels past their edge: pad less."
            )
        if not (self.flip or self.pad or self.cutout):
            return inputs.clone()
        device = inputs.device
        rows = torch.arange(height, device=device).expand(batch, height)
        columns = torch.arange(width, device=device).expand(batch, width)
        kept: Tensor | None = None
        if self.flip:
            mirrored = _draw(2, batch, generator, device).bool()
            columns = torch.where(mirrored, width - 1 - columns, columns)
        if self.pad:
            rows = rows + _draw(2 * self.pad + 1, batch, generator, device) - self.pad
            columns = columns + _draw(2 * self.pad + 1, batch, generator, device) - self.pad
            if self.fill == "zero":
                kept = _inside(rows, height)[:, :, None] & _inside(columns, width)[:, None, :]
                rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
            else:
                rows, columns = _mirror(rows, height), _mirror(columns, width)
        places = (rows[:, :, None] * width + columns[:, None, :]).reshape(batch, 1, height * width)
        changed = inputs.flatten(2).gather(2, places.expand(-1, channels, -1)).reshape(inputs.shape)
        if self.cutout:
            spared = ~(
                self._cut(height, batch, generator, device)[:, :, None]
                & self._cut(width, batch, generator, device)[:, None, :]
            )
            kept = spared if kept is None else kept & spared
        # masked_fill and not a product: a product would turn an infinity in the padding into NaN
        return changed if kept is None else changed.masked_fill(~kept[:, None], 0)

    def _cut(self, size: int, batch: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Which rows (or columns) the square covers, ``[B, size]``."""
        start = _draw(size, batch, generator, device) - self.cutout // 2
        places = torch.arange(size, device=device)
        return (places >= start) & (places < start + self.cutout)

    def to_json(self) -> dict[str, int | bool | str]:
        """Say what it does.

        Returns:
            Its settings in plain JSON; ``Augment(**settings)`` gives it back.
        """
        return asdict(self)

    @classmethod
    def named(cls, name: str) -> Augment:
        """Look up a usual augmentation.

        Args:
            name: ``"flip"``, ``"crop"`` (padding 4), ``"standard"`` (both), ``"cutout"`` (both and a square of 16).

        Returns:
            The augmentation.

        Raises:
            BadInput: when there is none of that name.
        """
        if name not in PRESETS:
            raise BadInput(f"There is no augmentation {name!r}: choose {', '.join(PRESETS)}, or give an Augment.")
        return cls(**PRESETS[name])  # type: ignore[arg-type]


def mix(
    inputs: Tensor, targets: Tensor, alpha: float, classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix every sample of a batch with another (Zhang et al. 2018).

    ``w x + (1 - w) x'`` for inputs and targets alike, with one w a batch, drawn from Beta(alpha, alpha).

    Args:
        inputs: floating inputs, ``[B, ...]``.
        targets: class indices ``[B]``, or shares of classes ``[B, classes]``.
        alpha: strength of mixing; 0 leaves the inputs as they are.
        classes: how many classes there are.
        generator: where the draws come from; may lie on another device than the inputs.

    Returns:
        Mixed inputs, ``[B, ...]``, and shares of classes, ``[B, classes]``, in the dtype of the inputs.

    Raises:
        BadInput: when the inputs are not floating or alpha is negative.
    """
    if not inputs.is_floating_point():
        raise BadInput(f"Mixup takes averages of inputs, which {inputs.dtype} inputs do not have: set mixup to 0.")
    if not 0 <= alpha < float("inf"):
        raise BadInput(f"The strength of mixup is a number of at least 0, but {alpha} was given.")
    shares = functional.one_hot(targets, classes) if targets.ndim == 1 else targets
    shares = shares.to(inputs.dtype)
    if alpha == 0:
        return inputs, shares
    # torch draws from a Beta distribution only with its global generator, so NumPy does, from a seed drawn here
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    weight = float(numpy.random.default_rng(seed).beta(alpha, alpha))
    partner = torch.randperm(len(inputs), generator=generator, device=generator.device).to(inputs.device)
    return weight * inputs + (1 - weight) * inputs[partner], weight * shares + (1 - weight) * shares[partner]


def _draw(below: int, batch: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """A whole number for each image, ``[B, 1]``."""
    return torch.randint(below, (batch, 1), generator=generator, device=generator.device).to(device)


def _inside(places: Tensor, size: int) -> Tensor:
    return (places >= 0) & (places < size)


def _mirror(places: Tensor, size: int) -> Tensor:
    """Fold places at both edges; the edge itself is not repeated."""
    return (size - 1) - ((size - 1) - places.abs()).abs()
