"""Tensors of sources on disk, read a block of numbers at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.merging._ahead import ahead
from landform.merging._beside import Beside, type_name
from landform.merging._method import Method, Part
from landform.merging._places import Stored

# Numbers of each source that are held at a time. Random drops are drawn in pieces of which this is a multiple.
BLOCK = 2**20


@dataclass(frozen=True)
class Span:
    """A block of a tensor.

    Attributes:
        name: of the tensor.
        shape: of the tensor.
        start: first number.
        stop: one past the last.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def last(self) -> bool:
        """Whether the tensor ends with it."""
        return self.stop == math.prod(self.shape)

    @property
    def whole(self) -> bool:
        """Whether it is all of its tensor."""
        return self.start == 0 and self.last


def spans_of(beside: Beside, method: Method, names: Sequence[str], block: int) -> list[Span]:
    """Cut tensors into blocks; those without a number are left out.

    Args:
        beside: the sources.
        method: the method, which says where a tensor may be cut.
        names: of the tensors.
        block: how many numbers a block may have.

    Returns:
        The blocks in order.
    """
    found = []
    for name in names:
        shape = beside.sources[0].held(name).shape
        size, step = math.prod(shape), step_of(method, shape, block)
        found += [Span(name, shape, at, min(at + step, size)) for at in range(0, size, step)]
    return found


def step_of(method: Method, shape: Sequence[int], block: int) -> int:
    """How many numbers of a tensor are taken at a time.

    Args:
        method: the method, which says where a tensor may be cut.
        shape: of the tensor.
        block: how many it may be.

    Returns:
        The count, at least 1.
    """
    if method.blocks == "whole" or (method.blocks == "rows" and len(shape) < 2):
        return max(math.prod(shape), 1)
    if method.blocks == "rows":
        row = math.prod(shape[1:])
        return max(1, row * max(1, block // max(row, 1)))
    return block


class Room:
    """Memory for a block of each source, used again and again."""

    def __init__(self) -> None:
        """Take none yet."""
        self._held: dict[torch.dtype, Tensor] = {}

    def read(self, beside: Beside, span: Span, rows: bool) -> Part:
        """Read a block of every source.

        Args:
            beside: the sources.
            span: the block.
            rows: whether it consists of whole rows, and keeps their shape.

        Returns:
            The block, float32 or float64, in memory that the next one will lie in.

        Raises:
            BadInput: when it holds NaN or infinity.
        """
        count, every, n = span.stop - span.start, beside.every, len(beside.sources)
        types = [source.held(span.name).dtype for source in every]
        work = torch.float64 if torch.float64 in types else torch.float32
        result = self._room(work, len(every) * count).view(len(every), count)
        for source, dtype, row in zip(every, types, result, strict=True):
            own = source.own(span.name)
            place = row if dtype == work else self._room(dtype, count)
            source.files[own].read(own, span.start, place)
            if place is not row:
                row.copy_(place)
            check_finite(source, span.name, row)
        shape = span.shape if span.whole else (-1, *span.shape[1:]) if rows else (count,)
        return Part(
            span.name,
            result[:n].view(n, *shape),
            result[n].view(shape) if beside.base is not None else None,
            span.start,
        )

    def _room(self, dtype: torch.dtype, count: int) -> Tensor:
        if dtype not in self._held or len(self._held[dtype]) < count:
            self._held[dtype] = torch.empty(count, dtype=dtype)
        return self._held[dtype][:count]


@dataclass(frozen=True)
class Blocks:
    """Blocks of every source, read anew each time one goes through them; the part given lasts until the next.

    Attributes:
        beside: the sources.
        spans: the blocks.
        rows: whether they are whole rows, and keep their shape.
        rooms: three, as many blocks as there are at a time while they are read ahead.
    """

    beside: Beside
    spans: tuple[Span, ...]
    rows: bool
    rooms: tuple[Room, ...]

    def __iter__(self) -> Iterator[Part]:
        """The parts; the next is read while one is used."""
        with closing(ahead(self._read())) as read:
            yield from read

    def _read(self) -> Iterator[Part]:
        for span, room in zip(self.spans, cycle(self.rooms), strict=False):
            yield room.read(self.beside, span, self.rows)


def read_whole(source: Stored, name: str) -> Tensor:
    """Read a tensor that is small.

    Args:
        source: where it lies.
        name: of the tensor.

    Returns:
        The tensor, of its own type.
    """
    held, own = source.held(name), source.own(name)
    tensor = torch.empty(held.size, dtype=held.dtype)
    source.files[own].read(own, 0, tensor)
    return tensor.view(held.shape)


def check_finite(source: Stored, name: str, tensor: Tensor) -> None:
    """Refuse NaN and infinity.

    Args:
        source: where the tensor lies.
        name: of the tensor.
        tensor: some of its numbers.

    Raises:
        BadInput: when there is one.
    """
    # One sum is quicker than a look at each number, and only a finite sum proves that all are.
    if bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all()):
        return
    bad = float(tensor[~torch.isfinite(tensor)].reshape(-1)[0])
    raise BadInput(
        f"{source.name} holds {bad} in {name} ({type_name(source.held(name).dtype)}): look whether its training has "
        "diverged, or leave it out."
    )
