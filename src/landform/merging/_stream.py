"""Sources on disk, merged a block of numbers at a time."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import cycle, groupby
from typing import Any

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.merging._ahead import ahead
from landform.merging._beside import Beside, type_name
from landform.merging._layers import Layer, Sums, measure
from landform.merging._method import Asked, Method, Part
from landform.merging._places import Stored
from landform.merging._sources import merge_buffers

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
    def whole(self) -> bool:
        """Whether it is all of its tensor."""
        size = functools.reduce(operator.mul, self.shape, 1)
        return self.start == 0 and self.stop == size


@dataclass
class Streamed:
    """What is found on the way through the tensors.

    Attributes:
        layers: each merged tensor beside those of the sources.
        sums: what they were made of, by name.
        facts: what the method says of the whole.
        differing: tensors that were taken from the first source though others have other numbers there.
    """

    layers: list[Layer] = field(default_factory=list)
    sums: dict[str, Sums] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    differing: list[str] = field(default_factory=list)


class Stream:
    """The way through the tensors of sources on disk; memory holds a block of each at a time."""

    def __init__(
        self,
        method: Method,
        beside: Beside,
        asks: Callable[[str], Asked],
        *,
        report: bool = True,
        block: int = BLOCK,
        tick: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Prepare the way.

        Args:
            method: a method that needs no data.
            beside: the sources.
            asks: what is asked of the method for a tensor of a name; for all of them alike with ``per="point"``.
            report: whether to compare what is merged with the sources.
            block: numbers of each source held at a time, where the method takes blocks.
            tick: told how many bytes of the sources have been read.
        """
        self._method, self._beside, self._asks = method, beside, asks
        self._report, self._tick = report, tick
        self._block = block
        self._sound: set[tuple[str, int]] = set()
        self._known: Any = None
        self._gathered = False
        self.found = Streamed()

    def merged(self, names: Sequence[str]) -> Generator[Tensor, None, None]:
        """Merge tensors.

        Args:
            names: of the tensors, of any kind.

        Yields:
            Blocks in order, flat ``[m]``, each of the type that its tensor shall have.
        """
        if not self._gathered and self._method.gather is not None and self._asks("").per == "point":
            self._known = self._method.gather(self._parts(self._spans(self._beside.merged)), self._asks(""))
        self._gathered = True
        kinds = dict.fromkeys(self._beside.averaged, 1) | dict.fromkeys(self._beside.kept, 2)
        for kind, group in groupby(names, key=lambda name: kinds.get(name, 0)):
            yield from (self._weights, self._averages, self._firsts)[kind](list(group))

    def _weights(self, names: list[str]) -> Iterator[Tensor]:
        # A tensor in several blocks is read once for what has to be known of it and once more; small ones only once.
        for alone, group in groupby(self._spans(names), key=lambda span: "" if span.whole else span.name):
            spans = list(group)
            known = self._known
            gathers = self._method.gather is not None and self._asks(spans[0].name).per == "tensor"
            if gathers and alone:
                known = self._gather(self._parts(spans), self._asks(alone))
            sums: Sums | None = None
            for span, part in zip(spans, self._parts(spans), strict=True):
                asked = self._asks(span.name)
                if gathers and not alone:
                    known = self._gather((part,), asked)
                assert self._method.part is not None
                merged = self._method.part(part, known, asked)
                if merged.untyped_storage().data_ptr() == part.sources.untyped_storage().data_ptr():
                    merged = merged.clone()  # it lies in memory that is read into again
                if self._report:
                    own = measure(part, merged)
                    sums = own if sums is None or not alone else sums + own
                    if span.stop == _size(span.shape):
                        self._tell(span.name, sums, known, asked)
                yield self._cast(span.name, merged.reshape(-1))

    def _gather(self, parts: Any, asked: Asked) -> Any:
        assert self._method.gather is not None
        return self._method.gather(parts, asked)

    def _tell(self, name: str, sums: Sums, known: Any, asked: Asked) -> None:
        told = self._method.tell(known, asked)
        self.found.layers.append(sums.layer(name, told if asked.per == "tensor" else None))
        self.found.sums[name] = sums
        if asked.per == "point":
            self.found.facts = dict(told)

    def _averages(self, names: list[str]) -> Iterator[Tensor]:
        for name in names:
            every = [{name: _whole(source, name)} for source in self._beside.sources]
            self._tick(sum(own[name].numel() * own[name].element_size() for own in every))
            for source, own in zip(self._beside.sources, every, strict=True):
                _check(source.name, name, own[name])
            merged = merge_buffers(every, self._asks(name).weights)[name]
            yield self._cast(name, merged.reshape(-1))

    def _firsts(self, names: list[str]) -> Iterator[Tensor]:
        for name in names:
            first, *rest = (_whole(source, name) for source in self._beside.sources)
            self._tick(first.numel() * first.element_size() * (1 + len(rest)))
            if not all(torch.equal(first, other) for other in rest):
                self.found.differing.append(name)
            yield first.reshape(-1)

    def _spans(self, names: Sequence[str]) -> list[Span]:
        """Tensors in blocks; those without a number are left out."""
        spans = []
        for name in names:
            shape = self._beside.sources[0].held(name).shape
            size = _size(shape)
            step = step_of(self._method, shape, self._block)
            spans += [Span(name, shape, at, min(at + step, size)) for at in range(0, size, step)]
        return spans

    def _parts(self, spans: Sequence[Span]) -> _Parts:
        return _Parts(self._beside, tuple(spans), self._method.blocks == "rows", self._sound, self._tick)

    def _cast(self, name: str, tensor: Tensor) -> Tensor:
        wanted = self._beside.out[name].dtype
        cast = tensor.to(wanted)
        if wanted == torch.float16 and not bool(torch.isfinite(cast).all()):
            raise BadInput(f"{name} of the merge holds numbers too large for float16: give dtype='bfloat16'.")
        return cast.contiguous()


@dataclass(frozen=True)
class _Parts:
    """Blocks of tensors of every source, read anew each time one goes through them; the one given lasts until the next.

    Attributes:
        beside: the sources.
        spans: the blocks.
        rows: whether they are whole rows, and keep their shape.
        sound: name and start of those that were found to hold no NaN.
        tick: told of bytes read the first time.
    """

    beside: Beside
    spans: tuple[Span, ...]
    rows: bool
    sound: set[tuple[str, int]]
    tick: Callable[[int], None]

    def __iter__(self) -> Iterator[Part]:
        with closing(ahead(self._read())) as read:
            for part, span in read:
                if (span.name, span.start) not in self.sound:
                    self._first_seen(part, span)
                yield part

    def _first_seen(self, part: Part, span: Span) -> None:
        for source, tensor in zip(self.beside.sources, part.sources, strict=True):
            _check(source.name, part.name, tensor)
        if part.base is not None and self.beside.base is not None:
            _check(self.beside.base.name, part.name, part.base)
        self.sound.add((span.name, span.start))
        self.tick(sum((span.stop - span.start) * one.held(span.name).dtype.itemsize for one in self.beside.every))

    def _read(self) -> Iterator[tuple[Part, Span]]:
        n = len(self.beside.sources)
        longest = max((span.stop - span.start for span in self.spans), default=0)
        rooms = cycle([_Room(len(self.beside.every), longest) for _ in range(3)])  # as many as `ahead` holds
        for span in self.spans:
            rows = next(rooms).fill(self.beside.every, span)
            shape = span.shape if span.whole else (span.stop - span.start,)
            if not span.whole and self.rows:
                shape = (-1, *span.shape[1:])
            base = rows[n].view(shape) if self.beside.base is not None else None
            yield Part(span.name, rows[:n].view(n, *shape), base, span.start), span


class _Room:
    """Memory for a block of each source, used again and again."""

    def __init__(self, rows: int, longest: int) -> None:
        self._rows, self._longest = rows, longest
        self._held: dict[torch.dtype, Tensor] = {}

    def fill(self, sources: Sequence[Stored], span: Span) -> Tensor:
        """Read a block of every source, ``[rows, m]``, float32 or float64."""
        count = span.stop - span.start
        types = [source.held(span.name).dtype for source in sources]
        work = torch.float64 if torch.float64 in types else torch.float32
        result = self._room(work, self._rows * self._longest)[: self._rows * count].view(self._rows, count)
        for source, dtype, row in zip(sources, types, result, strict=True):
            own = source.own(span.name)
            place = row if dtype == work else self._room(dtype, self._longest)[:count]
            source.files[own].read(own, span.start, place)
            if place is not row:
                row.copy_(place)
        return result

    def _room(self, dtype: torch.dtype, count: int) -> Tensor:
        if dtype not in self._held or len(self._held[dtype]) < count:
            self._held[dtype] = torch.empty(count, dtype=dtype)
        return self._held[dtype]


def step_of(method: Method, shape: Sequence[int], block: int) -> int:
    """How many numbers of a tensor are taken at a time.

    Args:
        method: the method, which says where a tensor may be cut.
        shape: of the tensor.
        block: how many it may be.

    Returns:
        The count, at least 1.
    """
    size = _size(shape)
    if method.blocks == "whole" or (method.blocks == "rows" and len(shape) < 2):
        return max(size, 1)
    if method.blocks == "rows":
        row = _size(shape[1:])
        return max(1, row * max(1, block // max(row, 1)))
    return block


def combined(sums: Mapping[str, Sums], name: str) -> Layer:
    """Describe several tensors as one.

    Args:
        sums: of each.
        name: for all of them.

    Returns:
        The description.
    """
    return functools.reduce(operator.add, sums.values()).layer(name)


def _whole(source: Stored, name: str) -> Tensor:
    held = source.held(name)
    tensor = torch.empty(held.size, dtype=held.dtype)
    own = source.own(name)
    source.files[own].read(own, 0, tensor)
    return tensor.view(held.shape)


def _check(source: str, name: str, tensor: Tensor) -> None:
    # One sum is quicker than a look at each number, and only a finite sum proves that all are.
    if bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all()):
        return
    bad = tensor[~torch.isfinite(tensor)].reshape(-1)[0]
    raise BadInput(
        f"{source} holds {float(bad)} in {name} ({type_name(tensor.dtype)}): look whether its training has diverged, "
        "or leave it out."
    )


def _size(shape: Sequence[int]) -> int:
    return functools.reduce(operator.mul, shape, 1)
