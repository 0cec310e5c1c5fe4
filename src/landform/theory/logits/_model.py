"""The parameters of the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from landform.errors import BadInput

if TYPE_CHECKING:
    from landform.theory.logits._draw import LogitDraw


@dataclass(frozen=True)
class LogitModel:
    """Random logit gradients: ``dz_k / dW = c_k + E_k`` for each of N inputs, C logits, D parameters.

    Vectors are Gaussian, of independent coordinates: the mean gradients c_k of variance ``sigma_c^2 / D``, what is left
    of each input ``sigma_e^2 / D``. Logits are independent normal numbers, labels uniform. A third part that inputs of
    one class share is not in the paper, and 0 unless asked for: it is what makes q_SLSC larger than q_SL.

    Attributes:
        dimension: D.
        classes: C.
        samples: N.
        sigma_c: length of the mean gradient of a logit.
        sigma_e: length of what is left of an input's.
        sigma_z: standard deviation of the logits.
        sigma_class: length of what inputs of one class share beyond the mean.
    """

    dimension: int = 1000
    classes: int = 10
    samples: int = 300
    sigma_c: float = 1.0
    sigma_e: float = 0.7
    sigma_z: float = 15.0
    sigma_class: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no such model."""
        sizes = {"dimension": (self.dimension, 1), "classes": (self.classes, 2), "samples": (self.samples, 1)}
        for name, (value, least) in sizes.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BadInput(f"The model's {name} is {value!r}: give a whole number of at least {least}.")
        for name in ("sigma_c", "sigma_e", "sigma_z", "sigma_class"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadInput(f"The model's {name} is {getattr(self, name)!r}: give a finite number of at least 0.")

    @property
    def same_logit(self) -> float:
        """q_SL: expected cosine between gradients of one logit for two inputs of any class."""
        return (self.sigma_c**2 + self.sigma_class**2 / self.classes) / self.square_length

    @property
    def same_logit_same_class(self) -> float:
        """q_SLSC: the same for two inputs of one class."""
        return (self.sigma_c**2 + self.sigma_class**2) / self.square_length

    @property
    def square_length(self) -> float:
        """Expected square length of a logit gradient, ``sigma_c^2 + sigma_class^2 + sigma_e^2``."""
        return self.sigma_c**2 + self.sigma_class**2 + self.sigma_e**2

    def draw(
        self,
        seed: int = 0,
        *,
        logits: Tensor | None = None,
        labels: Tensor | None = None,
        memory: float = 2**31,
    ) -> LogitDraw:
        """Draw logits, labels and gradients.

        The C (N + 1) vectors are held in coordinates of the space they span, of at most D dimensions, by Bartlett's
        triangular form where D is larger than they are many: what they are in D dimensions up to a rotation, at a cost
        that does not grow with D.

        Args:
            seed: decides the draw.
            logits: measured logits ``[N, C]`` to be taken in place of Gaussian ones.
            labels: labels ``[N]`` to be taken in place of uniform ones.
            memory: bytes that the gradients may take.

        Returns:
            The draw.

        Raises:
            BadInput: when logits or labels have another shape, or it takes more memory.
        """
        from landform.theory.logits._draw import drawn

        return drawn(self, seed, logits, labels, memory)


def probabilities_of(
    model: LogitModel, seed: int, logits: Tensor | None, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Draw logits and labels, or take those given.

    Args:
        model: the model.
        seed: decides the draw.
        logits: ``[N, C]``, or None.
        labels: ``[N]``, or None.

    Returns:
        Probabilities ``[N, C]``, float64, and labels ``[N]``.

    Raises:
        BadInput: when they have another shape.
    """
    generator = torch.Generator().manual_seed(seed)
    n, c = model.samples, model.classes
    z = model.sigma_z * torch.randn(n, c, generator=generator, dtype=torch.float64)
    y = torch.randint(0, c, (n,), generator=generator)
    if logits is not None:
        if logits.shape != (n, c):
            raise BadInput(f"The logits are [N, C] = [{n}, {c}]; got {list(logits.shape)}.")
        z = logits.detach().cpu().double()
    if labels is not None:
        if labels.shape != (n,) or labels.is_floating_point() or not bool(((labels >= 0) & (labels < c)).all()):
            raise BadInput(f"The labels are whole numbers 0..{c - 1}, [N] = [{n}]; got {list(labels.shape)}.")
        y = labels.detach().cpu().long()
    return torch.softmax(z, dim=1), y
