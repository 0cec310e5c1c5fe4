"""How a merge lies to its sources, tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landform.merging._method import Part

# Coordinates taken at a time: in float64 they should stay in a core's cache.
_CHUNK = 2**15
# And in their own type.
_PIECE = 2**15

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Layer:
    """One tensor of a merge beside those of its sources.

    A delta is what separates a tensor from that of the base, or from the mean of the sources where there is no base.

    Attributes:
        name: of the parameter.
        size: how many numbers it holds.
        norms: of each source's delta, ``[n]``.
        norm: of the merged delta.
        cosines: of the merged delta with each source's, ``[n]``; NaN where one of them is zero.
        between: mean cosine of the deltas of two sources; NaN for a single source.
        agreement: among the coordinates that any source moved, the share that all sources which moved them moved to the
            same side; NaN where none moved any.
        changed: share of the coordinates in which the merge differs from the base, or, by more than rounding, from the
            mean.
        facts: what the method says of this tensor.
    """

    name: str
    size: int
    norms: tuple[float, ...]
    norm: float
    cosines: tuple[float, ...]
    between: float
    agreement: float
    changed: float
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sums:
    """What a `Layer` is computed from; sums of two tensors are those of both together.

    Attributes:
        size: coordinates.
        gram: inner products of the deltas, ``[n, n]``, float64.
        cross: of each with the merged delta, ``[n]``, float64.
        square: of the merged delta's norm.
        moved: coordinates that any source moved.
        agreed: those of them moved to one side.
        changed: coordinates in which the merge differs.
    """

    size: int
    gram: Tensor
    cross: Tensor
    square: float
    moved: int
    agreed: int
    changed: int

    def __add__(self, other: Sums) -> Sums:
        """Both tensors together."""
        return Sums(
            self.size + other.size,
            self.gram + other.gram,
            self.cross + other.cross,
            self.square + other.square,
            self.moved + other.moved,
            self.agreed + other.agreed,
            self.changed + other.changed,
        )

    def layer(self, name: str, facts: Mapping[str, Any] | None = None) -> Layer:
        """Describe the tensor.

        Args:
            name: of the parameter.
            facts: what the method says of it.

        Returns:
            The description.
        """
        norms = self.gram.diagonal().clamp(min=0).sqrt()
        norm = math.sqrt(max(0.0, self.square))
        cosines = (self.cross / (norms * norm)).clamp(-1, 1)  # 0 / 0 is NaN
        return Layer(
            name,
            self.size,
            tuple(norms.tolist()),
            norm,
            tuple(cosines.tolist()),
            mean_cosine(self.gram),
            self.agreed / self.moved if self.moved else math.nan,
            self.changed / self.size if self.size else 0.0,
            facts or {},
        )


def measure(part: Part, merged: Tensor) -> Sums:
    """Compare a merged tensor with those of the sources: products within pieces in their own type, sums in float64.

    Args:
        part: the tensor of every source.
        merged: ``[*shape]``.

    Returns:
        The sums.
    """
    n = len(part.sources)
    sources, result = part.sources.reshape(n, -1), merged.reshape(-1)
    base = None if part.base is None else part.base.reshape(-1)
    if sources.device.type == "cpu":
        rows = [*sources, result.to(sources.dtype)]
        return _measure([row.numpy() for row in rows], None if base is None else base.numpy())
    wide = double(sources)
    gram, cross = (torch.zeros(shape, dtype=wide, device=sources.device) for shape in ((n, n), (n,)))
    square = gram.new_zeros(())
    moved, agreed, changed = (torch.zeros((), dtype=torch.long, device=gram.device) for _ in range(3))
    for start in range(0, sources.shape[1], _CHUNK):
        here = slice(start, start + _CHUNK)
        own = sources[:, here]
        origin = own.mean(0) if base is None else base[here]
        deltas, delta = own - origin, result[here] - origin
        up, down = deltas.amax(0) > 0, deltas.amin(0) < 0
        moved += (up | down).count_nonzero()
        agreed += (up ^ down).count_nonzero()
        if base is None:  # the mean is known up to rounding
            changed += (delta.abs() > 4 * torch.finfo(own.dtype).eps * own.abs().amax(0)).count_nonzero()
        else:
            changed += delta.count_nonzero()
        deltas, delta = deltas.to(wide), delta.to(wide)
        gram += deltas @ deltas.T
        cross += deltas @ delta
        square += delta @ delta
    counts = [int(value) for value in (moved, agreed, changed)]
    return Sums(sources.shape[1], gram.cpu().double(), cross.cpu().double(), float(square), *counts)


def _measure(rows: list[Array], base: Array | None) -> Sums:
    """The same on the CPU: numpy compares and counts many times quicker than torch, and all fits the cache."""
    *sources, merged = rows
    n, size, dtype = len(sources), len(merged), merged.dtype
    length = min(size, _PIECE)
    deltas = np.empty((n + 1, length), dtype)
    mean, other = np.empty(length, dtype), np.empty(length, dtype)
    up, down, either = (np.empty(length, bool) for _ in range(3))
    products = np.zeros((n + 1, n + 1))
    moved = agreed = changed = 0
    for start in range(0, size, _PIECE):
        here, m = slice(start, start + _PIECE), min(_PIECE, size - start)
        if m < length:  # the last piece
            deltas, length = np.empty((n + 1, m), dtype), m
            mean, other, up, down, either = (array[:m] for array in (mean, other, up, down, either))
        own = [source[here] for source in sources]
        if base is None:
            np.add(own[0], own[-1], out=mean) if n > 1 else np.copyto(mean, own[0])
            for source in own[1:-1]:
                np.add(mean, source, out=mean)
            np.multiply(mean, dtype.type(1 / n), out=mean)
        origin = mean if base is None else base[here]
        for delta, row in zip(deltas, [*own, merged[here]], strict=True):
            np.subtract(row, origin, out=delta)
        np.greater(deltas[0], 0, out=up)
        np.less(deltas[0], 0, out=down)
        for delta in deltas[1:n]:
            np.logical_or(up, np.greater(delta, 0, out=either), out=up)
            np.logical_or(down, np.less(delta, 0, out=either), out=down)
        moved += int(np.count_nonzero(np.logical_or(up, down, out=either)))
        agreed += int(np.count_nonzero(np.logical_xor(up, down, out=either)))
        if base is None:  # the mean is known up to rounding
            np.abs(own[0], out=mean)
            for source in own[1:]:
                np.maximum(mean, np.abs(source, out=other), out=mean)
            np.multiply(mean, dtype.type(4 * np.finfo(dtype).eps), out=mean)
            np.greater(np.abs(deltas[n], out=other), mean, out=either)
        else:
            np.not_equal(deltas[n], 0, out=either)
        changed += int(np.count_nonzero(either))
        both = torch.from_numpy(deltas)  # numpy's own product of few long rows is slow
        products += (both @ both.T).numpy()
    found = torch.from_numpy(products)
    return Sums(size, found[:n, :n], found[:n, n], float(found[n, n]), moved, agreed, changed)


def gram(rows: Tensor) -> Tensor:
    """Inner products in float64, a piece at a time, whatever type the rows have.

    Args:
        rows: ``[n, p]``.

    Returns:
        ``[n, n]``, on the CPU.
    """
    total = torch.zeros(len(rows), len(rows), dtype=double(rows), device=rows.device)
    for start in range(0, rows.shape[1], _CHUNK):
        piece = rows[:, start : start + _CHUNK].to(total.dtype)
        total += piece @ piece.T
    return total.cpu().double()


def mean_cosine(gram: Tensor) -> float:
    """Mean cosine of pairs of vectors, of those that are not zero.

    Args:
        gram: their inner products, ``[n, n]``.

    Returns:
        The mean; NaN where there is no pair.
    """
    there = gram.diagonal() > 0
    count = int(there.sum())
    if count < 2:
        return math.nan
    norms = gram.diagonal()[there].sqrt()
    cosines = (gram[there][:, there] / norms / norms.unsqueeze(1)).clamp(-1, 1)
    return float((cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1)))


def double(like: Tensor) -> torch.dtype:
    """The widest type there is where a tensor lies.

    Args:
        like: the tensor.

    Returns:
        float64, but float32 on MPS.
    """
    return torch.float32 if like.device.type == "mps" else torch.float64
