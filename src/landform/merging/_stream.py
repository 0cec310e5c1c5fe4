"""Sources on disk, merged on several threads, a block of numbers on each at a time."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeVar

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.merging._beside import Beside
from landform.merging._blocks import BLOCK, Blocks, Room, Span, check_finite, read_whole, spans_of
from landform.merging._layers import Layer, Sums, measure
from landform.merging._method import Asked, Method, Part
from landform.merging._sources import merge_buffers

T = TypeVar("T")
# Beyond so many threads it is the disk that is waited for, and each holds blocks of its own.
MOST = 4


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


@dataclass(frozen=True)
class _Done:
    """A merged block, and what is to be told of it."""

    tensor: Tensor
    sums: Sums | None
    facts: Mapping[str, Any]


class Stream:
    """The way through the tensors of sources on disk; memory holds a few blocks of each at a time."""

    def __init__(
        self,
        method: Method,
        beside: Beside,
        asks: Callable[[str], Asked],
        *,
        report: bool = True,
        block: int = BLOCK,
        threads: int = 1,
        tick: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Prepare the way.

        Args:
            method: a method that needs no data.
            beside: the sources.
            asks: what is asked of the method for a tensor of a name; for all of them alike with ``per="point"``.
            report: whether to compare what is merged with the sources.
            block: numbers of each source in a block, where the method takes blocks.
            threads: on how many to work.
            tick: told how many bytes of the sources have been merged.
        """
        self._method, self._beside, self._asks = method, beside, asks
        self._report, self._tick, self._block = report, tick, block
        self._threads = min(threads, MOST)
        self._rows = method.blocks == "rows"
        self._rooms = (Room(), Room(), Room())
        self._own = threading.local()
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
            self._known = self._gather(self._spans(self._beside.merged), self._asks(""))
        self._gathered = True
        kinds = dict.fromkeys(self._beside.averaged, 1) | dict.fromkeys(self._beside.kept, 2)
        with ThreadPoolExecutor(self._threads) as pool:
            for kind, group in groupby(names, key=lambda name: kinds.get(name, 0)):
                if kind:
                    yield from (self._averages if kind == 1 else self._firsts)(list(group))
                else:
                    yield from self._weights(list(group), pool)

    def _weights(self, names: list[str], pool: ThreadPoolExecutor) -> Iterator[Tensor]:
        # A tensor in several blocks is read once for what has to be known of it and once more; small ones only once.
        for cut, group in groupby(self._spans(names), key=lambda span: "" if span.whole else span.name):
            spans = list(group)
            asked = self._asks(spans[0].name)
            here = self._method.gather is not None and asked.per == "tensor"
            known = self._gather(spans, asked) if here and cut else self._known
            work = functools.partial(self._work, known, here and not cut)
            sums: Sums | None = None
            for span, done in zip(spans, _in_order(pool, work, spans, 2 * self._threads), strict=True):
                if done.sums is not None:
                    sums = done.sums if sums is None else sums + done.sums
                    if span.last:
                        self._tell(span.name, sums, done.facts)
                        sums = None
                self._tick(
                    sum((span.stop - span.start) * one.held(span.name).dtype.itemsize for one in self._beside.every)
                )
                yield done.tensor

    def _work(self, known: Any, gathers: bool, span: Span) -> _Done:
        """Merge a block, on whichever thread."""
        if not hasattr(self._own, "room"):
            self._own.room = Room()
        part: Part = self._own.room.read(self._beside, span, self._rows)
        asked = self._asks(span.name)
        if gathers:
            assert self._method.gather is not None
            known = self._method.gather((part,), asked)
        assert self._method.part is not None
        merged = self._method.part(part, known, asked)
        sums = measure(part, merged) if self._report else None
        cast = self._cast(span.name, merged.reshape(-1))
        if cast.untyped_storage().data_ptr() == part.sources.untyped_storage().data_ptr():
            cast = cast.clone()  # it lies in memory that is read into again
        return _Done(cast, sums, self._method.tell(known, asked) if self._report else {})

    def _gather(self, spans: Sequence[Span], asked: Asked) -> Any:
        assert self._method.gather is not None
        return self._method.gather(Blocks(self._beside, tuple(spans), self._rows, self._rooms), asked)

    def _tell(self, name: str, sums: Sums, facts: Mapping[str, Any]) -> None:
        alone = self._asks(name).per == "tensor"
        self.found.layers.append(sums.layer(name, facts if alone else None))
        self.found.sums[name] = sums
        if not alone:
            self.found.facts = dict(facts)

    def _averages(self, names: list[str]) -> Iterator[Tensor]:
        for name in names:
            every = [{name: read_whole(source, name)} for source in self._beside.sources]
            self._tick(sum(own[name].nbytes for own in every))
            for source, own in zip(self._beside.sources, every, strict=True):
                check_finite(source, name, own[name])
            merged = merge_buffers(every, self._asks(name).weights)[name]
            yield self._cast(name, merged.reshape(-1))

    def _firsts(self, names: list[str]) -> Iterator[Tensor]:
        for name in names:
            first, *rest = (read_whole(source, name) for source in self._beside.sources)
            self._tick(first.nbytes * (1 + len(rest)))
            if not all(torch.equal(first, other) for other in rest):
                self.found.differing.append(name)
            yield first.reshape(-1)

    def _spans(self, names: Sequence[str]) -> list[Span]:
        return spans_of(self._beside, self._method, names, self._block)

    def _cast(self, name: str, tensor: Tensor) -> Tensor:
        wanted = self._beside.out[name].dtype
        cast = tensor.to(wanted)
        if wanted == torch.float16 and not bool(torch.isfinite(cast).all()):
            raise BadInput(f"{name} of the merge holds numbers too large for float16: give dtype='bfloat16'.")
        return cast.contiguous()


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Let every operation of torch run on the thread that asks for it.

    Operations on blocks that fit the cache are too short to be shared among threads: where these have to wait for
    cores that others use, they take many times as long. Blocks are shared instead.

    Yields:
        On how many threads torch ran.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[Span], T], items: Iterable[Span], most: int
) -> Generator[T, None, None]:
    """Call a function on several threads, a few items ahead; what it gives comes in the order of the items."""
    waiting: deque[Future[T]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
