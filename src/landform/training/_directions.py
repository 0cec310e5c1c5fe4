"""Directions of planes: held, of few numbers, or products of Hadamard matrices that are never held."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from landform.store import checksum
from landform.training._plane import Plane

# Hadamard matrices up to this size are multiplied with; larger ones are products of these.
_FACTOR = 128


@dataclass(frozen=True)
class Dense(Plane):
    """Directions that are held, shared by planes that differ in signs.

    Attributes:
        rows: the directions, ``[d, P]``.
        signs: of each weight in each plane, ``[K, P]``, or ``[1, 1]`` for none.
    """

    rows: Tensor
    signs: Tensor

    def lift(self, coordinates: Tensor) -> Tensor:
        """``M z``; see `Plane.lift`."""
        return (coordinates @ self.rows).mul_(self.signs)

    def pull(self, vectors: Tensor) -> Tensor:
        """``M.T g``; see `Plane.pull`."""
        return (vectors * self.signs) @ self.rows.T

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Move the directions; planes that share them still do."""
        return replace(self, rows=self.rows.to(device, dtype), signs=self.signs.to(device, dtype))

    @classmethod
    def side_by_side(cls, planes: Sequence[Self]) -> Self:
        """Put planes together that share their directions."""
        first = planes[0]
        return replace(first, signs=torch.cat([one.signs.expand(1, first.size) for one in planes]))

    @property
    def alike(self) -> tuple[object, ...]:
        """The directions."""
        return "dense", self.rows.data_ptr(), self.rows.shape

    def describe(self) -> dict[str, Any]:
        """What ``run.json`` says; directions of one's own are told by a short hash."""
        if self.seed is not None:
            return super().describe()
        return {**super().describe(), "checksum": f"{checksum(self.rows.cpu()):08x}"}

    @property
    def _dtype(self) -> torch.dtype:
        return self.rows.dtype


@dataclass(frozen=True)
class Sparse(Plane):
    """Columns of few numbers.

    Attributes:
        places: where they are, ``[K, d, q]``.
        signs: which sign they have, ``[K, d, q]``; their size is ``1 / sqrt(q)``.
    """

    places: Tensor
    signs: Tensor

    def lift(self, coordinates: Tensor) -> Tensor:
        """``M z``; see `Plane.lift`."""
        k = len(coordinates)
        values = (coordinates / math.sqrt(self.places.shape[2])).unsqueeze(2) * self.signs
        whole = torch.zeros(k * self.size, dtype=values.dtype, device=values.device)
        return whole.index_add_(0, self._flat, values.view(-1)).view(k, self.size)

    def pull(self, vectors: Tensor) -> Tensor:
        """``M.T g``; see `Plane.pull`."""
        found = vectors.reshape(-1).index_select(0, self._flat).view(self.places.shape)
        return found.mul_(self.signs).sum(2) / math.sqrt(self.places.shape[2])

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Move the directions."""
        return replace(self, places=self.places.to(device), signs=self.signs.to(device, dtype))

    @classmethod
    def side_by_side(cls, planes: Sequence[Self]) -> Self:
        """Put planes of one dimension together."""
        places = [one.places + k * one.size for k, one in enumerate(planes)]
        return replace(planes[0], places=torch.cat(places), signs=torch.cat([one.signs for one in planes]))

    @property
    def alike(self) -> tuple[object, ...]:
        """Size and dimension."""
        return "sparse", self.size, self.dimension

    @property
    def _flat(self) -> Tensor:
        return self.places.view(-1)

    @property
    def _dtype(self) -> torch.dtype:
        return self.signs.dtype


@dataclass(frozen=True)
class Fastfood(Plane):
    """``M = c [H G_b Pi_b H B_b]_b``: blocks of n rows, n the power of two from d on, cut to d columns and P rows.

    H is the orthonormal Hadamard matrix, B_b random signs, Pi_b a permutation, G_b Gaussian. All columns of a block
    have one length, ``sqrt(mean G_b^2)``, and c makes that of all blocks together 1 (but for the rows that are cut off
    at the end: the error is about ``sqrt(n) / P``).

    Attributes:
        signs: B, ``[K, blocks, n]``.
        order: Pi, ``[K, blocks, n]``.
        back: its inverse.
        gains: c G, ``[K, blocks, n]``.
    """

    signs: Tensor
    order: Tensor
    back: Tensor
    gains: Tensor

    def lift(self, coordinates: Tensor) -> Tensor:
        """``M z``; see `Plane.lift`."""
        k, blocks, n = self.signs.shape
        z = F.pad(coordinates, (0, n - self.dimension)).unsqueeze(1)
        mixed = torch.gather(_hadamard(z * self.signs), 2, self.order).mul_(self.gains)
        return _hadamard(mixed).reshape(k, blocks * n)[:, : self.size]

    def pull(self, vectors: Tensor) -> Tensor:
        """``M.T g``; see `Plane.pull`."""
        k, blocks, n = self.signs.shape
        whole = F.pad(vectors, (0, blocks * n - self.size)).view(k, blocks, n)
        mixed = torch.gather(_hadamard(whole).mul_(self.gains), 2, self.back)
        return _hadamard(mixed).mul_(self.signs).sum(1)[:, : self.dimension]

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Move the directions."""
        return replace(
            self,
            signs=self.signs.to(device, dtype),
            order=self.order.to(device),
            back=self.back.to(device),
            gains=self.gains.to(device, dtype),
        )

    @classmethod
    def side_by_side(cls, planes: Sequence[Self]) -> Self:
        """Put planes of one dimension together."""
        return replace(
            planes[0],
            signs=torch.cat([one.signs for one in planes]),
            order=torch.cat([one.order for one in planes]),
            back=torch.cat([one.back for one in planes]),
            gains=torch.cat([one.gains for one in planes]),
        )

    @property
    def alike(self) -> tuple[object, ...]:
        """Size and dimension."""
        return "fastfood", self.size, self.dimension

    @property
    def _dtype(self) -> torch.dtype:
        return self.signs.dtype


def _hadamard(x: Tensor) -> Tensor:
    """Multiply along the last axis by the orthonormal Hadamard matrix of its size, a power of two."""
    n = x.shape[-1]
    done = 1
    flat: Tensor = x
    while done < n:
        factor = min(_FACTOR, n // done)
        matrix = _hadamard_matrix(factor, x.dtype, x.device)
        # H of n is the Kronecker product of the factors' matrices, each along an axis of its own.
        flat = matrix @ flat.reshape(-1, factor, done) if done > 1 else flat.reshape(-1, factor) @ matrix
        done *= factor
    return flat.reshape(x.shape)


@lru_cache(maxsize=32)
def _hadamard_matrix(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < n:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)]) / math.sqrt(2)
    return matrix.to(device, dtype)
