"""The k-th largest magnitude, exactly, of numbers that are seen only in pieces.

Magnitudes of floating-point numbers are in the order of their bits read as whole numbers. So a first pass counts the
highest 16 bits, which tells in which bin the k-th largest lies; each further pass counts the next 16 bits within that
bin: two passes for float32, four for float64, and nothing is sorted or kept. Few numbers are simply held.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landform.merging._method import Part, Parts

_DIGIT = 16
_BINS = 2**_DIGIT
# Numbers taken at a time.
_CHUNK = 2**18
# Up to so many numbers of a source are held together and looked at directly: tables of counts cost more.
_FEW = 2**17
_WHOLE = {torch.float32: torch.int32, torch.float64: torch.int64}


@dataclass
class _Search:
    """Where the number of a rank may still lie.

    Attributes:
        rank: from 1, the largest, among the numbers that begin with ``prefix``.
        prefix: the bits known so far.
    """

    rank: int
    prefix: int = 0

    def narrow(self, counts: Tensor) -> None:
        """Find the next digit, by how many numbers have each, ``[bins]``."""
        above = counts.flip(0).cumsum(0)
        digit = int((above < self.rank).sum())  # bins from the top that hold too few
        self.rank -= int(above[digit - 1]) if digit else 0
        self.prefix = (self.prefix << _DIGIT) | (_BINS - 1 - digit)


def largest(parts: Parts, ranks: Callable[[int, int], Sequence[int]]) -> list[tuple[float, ...]]:
    """Find magnitudes by rank among the deltas of each source, over all parts together.

    Args:
        parts: the parts, gone through twice (float32) or four times (float64).
        ranks: of the place of a source and the count of its numbers, the ranks wanted: from 1, the largest.

    Returns:
        For each source the magnitudes of these ranks; infinite where there are no numbers.
    """
    few = _few(parts)
    if few is not None:
        size = few.shape[1]
        wanted = [ranks(row, size) for row in range(len(few))]
        return [
            tuple(float(own.kthvalue(size - rank + 1).values) if size else math.inf for rank in some)
            for own, some in zip(few, wanted, strict=True)
        ]
    return _by_digits(parts, ranks)


def _few(parts: Parts) -> Tensor | None:
    """All magnitudes, ``[n, size]`` on the CPU, or None if they are too many to hold."""
    held: list[Tensor] = []
    size = 0
    for part in parts:
        size += part.sources[0].numel()
        if size > _FEW:
            return None
        held.append(part.deltas.flatten(1).abs() if part.sources.dim() > 1 else part.deltas.abs().unsqueeze(1))
    return torch.cat(held, dim=1).cpu()


def _by_digits(parts: Parts, ranks: Callable[[int, int], Sequence[int]]) -> list[tuple[float, ...]]:
    searches: list[list[_Search]] = []
    digit, digits, dtype = 0, 1, torch.float32
    while digit < digits:
        counts: dict[tuple[int, int], Tensor] = {}
        size, count = 0, 0
        for part in parts:
            dtype = part.sources.dtype
            digits = torch.finfo(dtype).bits // _DIGIT
            size, count = size + part.sources[0].numel(), len(part.sources)
            for row, piece in _magnitudes(part):
                wanted = {search.prefix for search in searches[row]} if digit else {0}
                for prefix in wanted:
                    found = _count(piece, digit, digits, prefix)
                    counts[row, prefix] = counts[row, prefix] + found if (row, prefix) in counts else found
        if not digit:
            searches = [[_Search(rank) for rank in ranks(row, size)] for row in range(count)]
        tables = {key: value.cpu() for key, value in counts.items()}
        for row, own in enumerate(searches):
            for search in own:
                search.narrow(tables[row, search.prefix])
        digit += 1
    return [tuple(_number(search.prefix, dtype) for search in own) for own in searches]


def _magnitudes(part: Part) -> Iterator[tuple[int, Tensor]]:
    """The bits of the deltas' magnitudes, each with the place of its source, a piece at a time."""
    base = None if part.base is None else part.base.reshape(-1)
    for row, source in enumerate(part.sources):
        flat = source.reshape(-1)
        for start in range(0, len(flat), _CHUNK):
            piece = flat[start : start + _CHUNK]
            delta = piece if base is None else piece - base[start : start + _CHUNK]
            yield row, delta.abs().view(_WHOLE[delta.dtype])


def _count(bits: Tensor, digit: int, digits: int, prefix: int) -> Tensor:
    shift = _DIGIT * (digits - 1 - digit)
    if digit:
        bits = bits[(bits >> (shift + _DIGIT)) == prefix] >> shift & (_BINS - 1)
    else:
        bits = bits >> shift
    return torch.bincount(bits, minlength=_BINS)


def _number(bits: int, dtype: torch.dtype) -> float:
    return float(torch.tensor(bits, dtype=_WHOLE[dtype]).view(dtype))
