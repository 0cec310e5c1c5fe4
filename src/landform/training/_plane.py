"""What a plane through the space of points can do: the directions M of ``theta = theta_0 + M z``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plane(ABC):
    """Directions of a plane of dimension d in the space of points of P numbers, or of K planes side by side.

    It holds no origin: a model's own point is one. `plane` makes one, `planes` many, `plane_of` one of directions of
    one's own.

    Attributes:
        size: P.
        dimension: d.
        kind: how the directions were made.
        seed: of the draw; None for directions of one's own.
        number: which of the planes of this seed.
    """

    size: int
    dimension: int
    kind: str
    seed: int | None
    number: int

    @abstractmethod
    def lift(self, coordinates: Tensor) -> Tensor:
        """``M z`` in each of K planes.

        Args:
            coordinates: ``[K, d]``.

        Returns:
            ``[K, P]``.
        """

    @abstractmethod
    def pull(self, vectors: Tensor) -> Tensor:
        """``M.T g`` in each of K planes.

        Args:
            vectors: ``[K, P]``.

        Returns:
            ``[K, d]``.
        """

    @abstractmethod
    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Move the directions.

        Args:
            device: where to.
            dtype: the floating-point type.

        Returns:
            The same plane there.
        """

    @classmethod
    @abstractmethod
    def side_by_side(cls, planes: Sequence[Any]) -> Self:
        """Put planes together, so that the products of all are one.

        Args:
            planes: planes of one kind and size that `alike` gives the same answer for.

        Returns:
            One plane of all.
        """

    @property
    @abstractmethod
    def alike(self) -> tuple[object, ...]:
        """Planes for which this is the same can be put side by side."""

    def matrix(self) -> Tensor:
        """The directions themselves.

        Returns:
            M, ``[P, d]``.
        """
        parts = [self.lift(unit.unsqueeze(0))[0] for unit in torch.eye(self.dimension, dtype=self._dtype)]
        return torch.stack(parts, dim=1)

    def describe(self) -> dict[str, Any]:
        """What ``run.json`` says of the plane.

        Returns:
            Plain values.
        """
        return {"kind": self.kind, "dimension": self.dimension, "seed": self.seed, "number": self.number}

    @property
    @abstractmethod
    def _dtype(self) -> torch.dtype:
        """Type of the directions."""
