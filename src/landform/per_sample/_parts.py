"""The gradients of single samples, held without being formed where that is cheaper.

The gradient of a dense layer's weight for one sample is a sum of outer products of cotangents and inputs over the
positions t (of a sequence, of a picture): ``sum over t of d_t a_t'``. A convolution is the same over patches. A lookup
in a table is the same with one-hot inputs. B samples have K gradients each, one for every cotangent of the outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Outer:
    """Gradients ``sum over t of d_t a_t'``.

    Attributes:
        inputs: ``[B, T, i]``; the same for all K.
        cotangents: ``[B, K, T, o]``.
        turned: whether the parameter is ``[i, o]`` instead of ``[o, i]``.
    """

    inputs: Tensor
    cotangents: Tensor
    turned: bool = False

    @property
    def size(self) -> int:
        """How many numbers one gradient has."""
        return self.cotangents.shape[3] * self.inputs.shape[2]

    def squares(self) -> Tensor:
        """Squared norms, ``[B, K]``."""
        a, d = self.inputs, self.cotangents
        steps, wide, tall = a.shape[1], a.shape[2], d.shape[3]
        if steps == 1:
            return d[:, :, 0].square().sum(-1) * a[:, 0].square().sum(-1).unsqueeze(1)
        if steps * (wide + tall) < wide * tall:
            return ((d @ d.transpose(-1, -2)) * (a @ a.transpose(-1, -2)).unsqueeze(1)).sum((-1, -2))
        return self.rows().square().sum(-1)

    def rows(self) -> Tensor:
        """The gradients themselves, ``[B, K, o i]``."""
        samples, each, steps, tall = self.cotangents.shape
        # One product a sample with all K in it: far larger, and so nearer the speed of the machine, than K products.
        stacked = self.cotangents.transpose(2, 3).reshape(samples, each * tall, steps)
        formed = (stacked @ self.inputs).reshape(samples, each, tall, -1)
        return (formed.transpose(2, 3) if self.turned else formed).flatten(2)

    def total(self, weights: Tensor) -> Tensor:
        """Weighted sums over samples, ``[w, K, o i]`` for weights ``[w, B]``."""
        samples, each, steps, tall = self.cotangents.shape
        flat = self.inputs.reshape(samples * steps, -1)
        found = []
        for row in weights:
            weighted = (self.cotangents * row[:, None, None, None]).permute(1, 3, 0, 2)
            formed = (weighted.reshape(each * tall, samples * steps) @ flat).reshape(each, tall, -1)
            found.append((formed.transpose(1, 2) if self.turned else formed).flatten(1))
        return torch.stack(found)


@dataclass(frozen=True)
class Lookup:
    """Gradients of a table of rows: each position adds its cotangent to the row it looked up.

    Attributes:
        indices: ``[B, T]``.
        cotangents: ``[B, K, T, o]``.
        count: how many rows the table has.
        silent: a row whose gradient is left out (padding), or None.
    """

    indices: Tensor
    cotangents: Tensor
    count: int
    silent: int | None = None

    @property
    def size(self) -> int:
        """How many numbers one gradient has."""
        return self.count * self.cotangents.shape[3]

    @cached_property
    def heard(self) -> Tensor:
        """The cotangents, zero where the silent row was looked up, ``[B, K, T, o]``."""
        if self.silent is None:
            return self.cotangents
        return self.cotangents * (self.indices != self.silent)[:, None, :, None]

    def squares(self) -> Tensor:
        """Squared norms, ``[B, K]``."""
        same = self.indices.unsqueeze(-1) == self.indices.unsqueeze(-2)
        return ((self.heard @ self.heard.transpose(-1, -2)) * same.unsqueeze(1)).sum((-1, -2))

    def rows(self) -> Tensor:
        """The gradients themselves, ``[B, K, count o]``."""
        samples, each, _, wide = self.cotangents.shape
        table = self.cotangents.new_zeros(samples, each, self.count, wide)
        table.scatter_add_(2, self.indices[:, None, :, None].expand_as(self.cotangents), self.heard)
        return table.flatten(2)

    def total(self, weights: Tensor) -> Tensor:
        """Weighted sums over samples, ``[w, K, count o]`` for weights ``[w, B]``."""
        _, each, _, wide = self.cotangents.shape
        found = self.cotangents.new_zeros(len(weights), each, self.count, wide)
        for i, row in enumerate(weights):
            weighted = (self.heard * row[:, None, None, None]).transpose(0, 1).flatten(1, 2)
            found[i].index_add_(1, self.indices.flatten(), weighted)
        return found.flatten(2)


@dataclass(frozen=True)
class Direct:
    """Gradients as they are.

    Attributes:
        gradients: ``[B, K, p]``.
    """

    gradients: Tensor

    @property
    def size(self) -> int:
        """How many numbers one gradient has."""
        return self.gradients.shape[2]

    def squares(self) -> Tensor:
        """Squared norms, ``[B, K]``."""
        return self.gradients.square().sum(-1)

    def rows(self) -> Tensor:
        """The gradients themselves, ``[B, K, p]``."""
        return self.gradients

    def total(self, weights: Tensor) -> Tensor:
        """Weighted sums over samples, ``[w, K, p]`` for weights ``[w, B]``."""
        return torch.einsum("wb,bkp->wkp", weights, self.gradients)


@dataclass(frozen=True)
class Blocks:
    """Gradients in blocks of rows, as of a projection whose weight is used a third at a time.

    Attributes:
        parts: one for each block, in order.
    """

    parts: tuple[Outer | Lookup | Direct, ...]

    @property
    def size(self) -> int:
        """How many numbers one gradient has."""
        return sum(part.size for part in self.parts)

    def squares(self) -> Tensor:
        """Squared norms, ``[B, K]``."""
        return torch.stack([part.squares() for part in self.parts]).sum(0)

    def rows(self) -> Tensor:
        """The gradients themselves, ``[B, K, p]``."""
        return torch.cat([part.rows() for part in self.parts], -1)

    def total(self, weights: Tensor) -> Tensor:
        """Weighted sums over samples, ``[w, K, p]`` for weights ``[w, B]``."""
        return torch.cat([part.total(weights) for part in self.parts], -1)


Simple = Outer | Lookup | Direct
Part = Simple | Blocks


def joined(parts: list[Simple]) -> Simple:
    """Add up the gradients that several uses of one parameter give.

    Args:
        parts: of the same parameter.

    Returns:
        Their sum: a layer called several times is one with more positions.
    """
    if len(parts) == 1:
        return parts[0]
    outer = [part for part in parts if isinstance(part, Outer)]
    if len(outer) == len(parts) and len({p.turned for p in outer}) == 1:
        turned = outer[0].turned
        return Outer(torch.cat([p.inputs for p in outer], 1), torch.cat([p.cotangents for p in outer], 2), turned)
    lookups = [part for part in parts if isinstance(part, Lookup)]
    if len(lookups) == len(parts):
        return Lookup(
            torch.cat([p.indices for p in lookups], 1), torch.cat([p.heard for p in lookups], 2), lookups[0].count
        )
    return Direct(torch.stack([part.rows() for part in parts]).sum(0))


def gram(left: Part, right: Part) -> Tensor:
    """Inner products of the gradients of samples, K of each.

    Args:
        left: of B samples.
        right: of B' samples, of the same parameter.

    Returns:
        ``[B, K, B', K']``.
    """
    if isinstance(left, Outer) and isinstance(right, Outer) and left.inputs.shape[1] == right.inputs.shape[1] == 1:
        entering = left.inputs[:, 0] @ right.inputs[:, 0].T
        leaving: Tensor = torch.tensordot(left.cotangents[:, :, 0], right.cotangents[:, :, 0], ([2], [2]))
        return leaving * entering[:, None, :, None]
    products: Tensor = torch.tensordot(left.rows(), right.rows(), ([2], [2]))
    return products
