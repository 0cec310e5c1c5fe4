"""In which units inputs are moved, and within which bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from landform.data import Dataset
from landform.errors import BadInput


@dataclass(frozen=True)
class Space:
    """The inputs as an adversary sees them; one number for all of an input, or one for each channel.

    Attributes:
        unit: how far an input moves for an eps of 1: ``1 / std`` where data were normalised, so that eps counts what
            pixels counted before (in [0, 1] for the images of ``lf.data``).
        low: the least that an input may hold; None for no bound.
        high: the most; None for no bound.
    """

    unit: tuple[float, ...] = (1.0,)
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse units and bounds that cannot be."""
        if not self.unit or not all(value > 0 for value in self.unit):
            raise BadInput(f"The unit of a space is one positive number, or one for each channel; got {self.unit}.")
        bounded = self.low is not None and self.high is not None
        if bounded and not all(a <= b for a, b in zip(self.low or (), self.high or (), strict=False)):
            raise BadInput(f"The bounds of a space are {self.low} and {self.high}: low must be below high.")

    @classmethod
    def of(cls, data: Any) -> Self:
        """Read units and bounds from data.

        Args:
            data: one of ``lf.data``: the units are those before normalisation; the bounds 0 and 1 in these units where
                the numbers have a fixed range (pixels), and else the range of the training inputs, channel by channel
                for images. Or inputs ``[N, ...]``, as they are.

        Returns:
            The space.

        Raises:
            BadInput: when the data hold no numbers that can be moved a little.
        """
        if isinstance(data, Space):
            return cls(data.unit, data.low, data.high)
        inputs = data.train.inputs if isinstance(data, Dataset) else data
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or not inputs.numel():
            raise BadInput("An attack moves inputs a little: give data whose inputs are floating-point numbers.")
        if isinstance(data, Dataset) and data.train.lengths is not None:
            raise BadInput(f"The sequences of {data.name} have unequal lengths: their padding cannot be attacked.")
        told: Any = data.transform.get("normalise") if isinstance(data, Dataset) else None
        means, stds = (told["mean"], told["std"]) if told else ([0.0], [1.0])
        unit = tuple(1.0 / std for std in stds)
        if told and told["unit"] != 1.0:
            low = tuple((0.0 - m) / s for m, s in zip(means, stds, strict=True))
            high = tuple((1.0 - m) / s for m, s in zip(means, stds, strict=True))
            return cls(unit, low, high)
        rows = inputs.movedim(1, 0).flatten(1) if inputs.dim() == 4 else inputs.reshape(1, -1)
        return cls(unit, tuple(rows.amin(1).tolist()), tuple(rows.amax(1).tolist()))

    def tensors(self, inputs: Tensor, lead: int = 1) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Unit and bounds, shaped to go with inputs.

        Args:
            inputs: ``[*, ...]``.
            lead: how many axes stand before those of one input.

        Returns:
            Unit, low and high; what is not bounded is None.
        """
        shape = inputs.shape[lead:]

        def made(values: tuple[float, ...]) -> Tensor:
            row = torch.tensor(values, dtype=inputs.dtype, device=inputs.device)
            if len(values) == 1:
                return row
            if len(shape) == 3 and shape[0] == len(values):
                return row[:, None, None]
            if shape and shape[-1] == len(values):
                return row
            raise BadInput(f"The space has {len(values)} channels, and an input has shape {list(shape)}.")

        return (
            made(self.unit),
            None if self.low is None else made(self.low),
            None if self.high is None else made(self.high),
        )
