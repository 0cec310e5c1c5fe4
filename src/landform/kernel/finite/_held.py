"""The gradients of one layer for many samples, held in the form whose Gram matrix is cheapest.

Each form holds what it needs of n samples, K gradients each, and adds the inner products between its own and another's
samples to a block of the kernel. A block is ``[n, K, m, K]`` for ``"full"``, ``[n, m]`` for ``"trace"`` (the sum over
the outputs) and ``[K, n, m]`` for ``"each"``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from landform.per_sample import Direct, Lookup, Outer, Simple

Reduce = Literal["full", "trace", "each"]


@dataclass(frozen=True)
class Held:
    """What a layer keeps of n samples; each form says what its tensors are.

    Attributes:
        tensors: one row a sample each.
        ones: whether a bias goes with the weight: an input that is always 1.
    """

    tensors: tuple[Tensor, ...]
    ones: bool
    name: ClassVar[str]

    @classmethod
    def of(cls, part: Simple, ones: bool) -> Held | None:
        """Bring a layer's gradients into this form, or say by None that they do not have it."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.tensors[0])

    def part(self, rows: slice) -> Self:
        """Some of the samples, as a view."""
        return type(self)(tuple(t[rows] for t in self.tensors), self.ones)

    def room(self, samples: int) -> Self:
        """Empty room of the same form for as many samples."""
        return type(self)(tuple(t.new_empty(samples, *t.shape[1:]) for t in self.tensors), self.ones)

    def put(self, first: int, other: Self) -> None:
        """Copy what another holds into the samples from a number on."""
        for own, new in zip(self.tensors, other.tensors, strict=True):
            own[first : first + len(new)] = new

    def add(self, other: Self, block: Tensor, reduce: Reduce) -> None:
        """Add the inner products with another's gradients to a block of the kernel."""
        raise NotImplementedError


class Rows(Held):
    """The gradients themselves: of the weight ``[n, K, p]``, and of the bias ``[n, K, o]`` where there is one."""

    name = "per-sample gradients"

    @classmethod
    def of(cls, part: Simple, ones: bool) -> Rows:
        """Form them."""
        if ones and isinstance(part, Outer):
            return cls((part.rows(), part.cotangents.sum(2)), ones)
        return cls((part.rows(),), ones)

    def add(self, other: Held, block: Tensor, reduce: Reduce) -> None:
        """One product for each."""
        for left, right in zip(self.tensors, other.tensors, strict=True):
            if reduce == "full":
                n, each, size = left.shape
                product = left.reshape(n * each, size) @ right.reshape(-1, size).T
                block += product.view(n, each, len(right), each)
            elif reduce == "trace":
                block.addmm_(left.flatten(1), right.flatten(1).T)
            else:
                block += left.transpose(0, 1) @ right.permute(1, 2, 0)


class Dense(Held):
    """Inputs ``[n, i]`` and cotangents ``[n, K, o]`` of a layer used at one position: a product of two Grams."""

    name = "inputs x cotangents"

    @classmethod
    def of(cls, part: Simple, ones: bool) -> Dense:
        """Take them as they are."""
        assert isinstance(part, Outer)
        return cls((part.inputs[:, 0], part.cotangents[:, :, 0]), ones)

    def add(self, other: Held, block: Tensor, reduce: Reduce) -> None:
        """``(a a' [+ 1]) * (d d')``."""
        (a, d), (b, e) = self.tensors, other.tensors
        _hadamard(_gram(a, b, self.ones), d, e, block, reduce)


class Separable(Held):
    """Gradients ``w_ko M_o``: cotangents over positions that differ between the outputs by a factor only.

    So it is in the last layers before a pooled read-out. Holds w ``[n, K, o]`` and M ``[n, o, i]``.
    """

    name = "separable"

    @classmethod
    def of(cls, part: Simple, ones: bool) -> Separable | None:
        """Find the factors, or None where the cotangents have none."""
        assert isinstance(part, Outer)
        samples, each, steps, tall = part.cotangents.shape
        d = part.cotangents.transpose(2, 3)  # as a convolution leaves them in memory
        flat = d.reshape(samples, each, tall * steps)
        mixes = torch.randn(2, each, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(d)
        # A mix of the outputs has the common pattern, and where it is largest it tells each output's factor.
        mixed = (mixes @ flat).view(samples, 2, tall, steps)
        pattern, again = mixed[:, 0], mixed[:, 1]
        top = pattern.abs().argmax(2, keepdim=True)
        largest = pattern.gather(2, top)
        factors = d.gather(3, top.unsqueeze(1).expand(-1, each, -1, 1))[..., 0]
        weights = factors / torch.where(largest == 0, 1, largest).transpose(1, 2)
        # Another mix, drawn at random, would have another pattern if any output had.
        expected = (mixes[1:] @ weights).transpose(1, 2) * pattern
        if not bool((again - expected).abs().amax() <= 64 * torch.finfo(d.dtype).eps * again.abs().amax()):
            return None
        summed = pattern @ part.inputs
        if ones:
            summed = torch.cat([summed, pattern.sum(2, keepdim=True)], -1)
        return cls((weights, summed), ones)

    def add(self, other: Held, block: Tensor, reduce: Reduce) -> None:
        """``sum over o of w_ko w'_lo (M_o . M'_o)``."""
        (w, left), (v, right) = self.tensors, other.tensors
        grams = left.transpose(0, 1) @ right.permute(1, 2, 0)  # [o, n, m]
        if reduce == "trace":
            block += ((w.permute(2, 0, 1) @ v.permute(2, 1, 0)) * grams).sum(0)
        elif reduce == "each":
            block += torch.einsum("nko,mko,onm->knm", w, v, grams)
        else:
            n, each, _ = w.shape
            weighted = w.permute(2, 0, 1)[:, :, None, :] * grams.unsqueeze(-1)  # [o, n, m, k]
            pairs = weighted.permute(2, 1, 3, 0).reshape(len(v), n * each, -1)  # [m, n k, o]
            block += (pairs @ v.transpose(1, 2)).view(len(v), n, each, each).permute(1, 2, 0, 3)


class Pairs(Held):
    """Inputs ``[n, T, i]`` and cotangents ``[n, T, K, o]`` at several positions: Grams of all pairs of positions.

    For a table the inputs are the rows looked up, ``[n, T]``, and their Gram says where they are the same.
    """

    name = "pairs of positions"

    @classmethod
    def of(cls, part: Simple, ones: bool) -> Pairs:
        """Take them as they are."""
        if isinstance(part, Lookup):
            return cls((part.indices, part.heard.transpose(1, 2)), ones)
        assert isinstance(part, Outer)
        return cls((part.inputs, part.cotangents.transpose(1, 2)), ones)

    def add(self, other: Held, block: Tensor, reduce: Reduce) -> None:
        """``sum over t, s of (a_t b_s' [+ 1]) * (d_t e_s')``."""
        (a, d), (b, e) = self.tensors, other.tensors
        for t in range(a.shape[1]):
            for s in range(b.shape[1]):
                if a.dim() == 2:
                    similar = (a[:, t, None] == b[None, :, s]).to(block.dtype)
                else:
                    similar = _gram(a[:, t], b[:, s], self.ones)
                _hadamard(similar, d[:, t], e[:, s], block, reduce)


def _gram(a: Tensor, b: Tensor, ones: bool) -> Tensor:
    return torch.addmm(a.new_ones(()), a, b.T) if ones else a @ b.T


def _hadamard(similar: Tensor, d: Tensor, e: Tensor, block: Tensor, reduce: Reduce) -> None:
    """Add ``similar [n, m] * (d [n, K, o] . e [m, K, o])`` to a block."""
    n, each, tall = d.shape
    if reduce == "full":
        products = (d.reshape(n * each, tall) @ e.reshape(-1, tall).T).view(n, each, len(e), each)
        block.addcmul_(products, similar[:, None, :, None])
    elif reduce == "trace":
        block.addcmul_(d.reshape(n, -1) @ e.reshape(len(e), -1).T, similar)
    else:
        block.addcmul_(d.transpose(0, 1) @ e.permute(1, 2, 0), similar)


@dataclass(frozen=True)
class Cost:
    """What a form takes for n samples against m, K gradients each.

    Attributes:
        flops: multiplications and additions.
        fixed: numbers held for a sample whatever K.
        each: numbers held for each of its K gradients.
    """

    flops: float
    fixed: int
    each: int


def costs(part: Simple, ones: bool, n: int, m: int, reduce: Reduce) -> dict[type[Held], Cost]:
    """Count what each form that fits a layer takes; forming gradients is counted for the n samples once.

    Args:
        part: the layer's gradients for a few samples.
        ones: whether a bias goes with it.
        n: samples.
        m: samples to pair them with.
        reduce: what the kernel is reduced to.

    Returns:
        The cost of each form.
    """
    pairs = float(n * m)
    if isinstance(part, Direct):
        k, p = part.gradients.shape[1:]
        return {Rows: Cost(_rows(pairs, k, p, reduce), 0, p)}
    _, k, steps, tall = part.cotangents.shape
    each = {"full": k * k, "trace": k, "each": k}[reduce]
    if isinstance(part, Lookup):
        return {
            Rows: Cost(_rows(pairs, k, part.size, reduce) + n * k * part.size, 0, part.size),
            Pairs: Cost(steps * steps * pairs * (2 * each * tall + 8 * each + 30), steps, steps * tall),
        }
    wide = part.inputs.shape[2] + ones
    forming = 2.0 * n * steps * wide * tall
    found: dict[type[Held], Cost] = {
        Rows: Cost(k * forming + _rows(pairs, k, wide * tall, reduce), 0, wide * tall),
    }
    if steps == 1:
        found[Dense] = Cost(pairs * (2 * wide + 2 * each * tall), wide, tall)
        return found
    # Products of single positions are small, and pass over the block each time: hence the last terms.
    found[Pairs] = Cost(
        steps * steps * pairs * (2 * wide + 2 * each * tall + 8 * each + 30), steps * wide, steps * tall
    )
    if k > 1 and Separable.of(part, ones) is not None:
        combining = tall * each * (2 if reduce == "full" else 3)
        found[Separable] = Cost(forming + pairs * (2 * tall * wide + combining), tall * wide, tall)
    return found


def _rows(pairs: float, k: int, p: int, reduce: Reduce) -> float:
    return 2 * pairs * p * (k * k if reduce == "full" else k)
