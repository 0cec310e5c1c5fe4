"""Tensors a piece at a time, so that what is computed on the way stays in a core's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor

from landform.merging._method import Asked, Part

# Numbers of each source in a piece. Random drops are drawn in pieces of the same length.
PIECE = 2**16

Function: TypeAlias = Callable[[Part, Any, Asked], Tensor]


def pieces(part: Part, *, rows: bool = False) -> Iterator[tuple[slice, Part]]:
    """Cut a part.

    Args:
        part: the part.
        rows: whether to cut between rows only, which then keep their shape.

    Yields:
        Where a piece lies in the part, flat, and the piece: ``[n, m]``, or ``[n, rows, *rest]``.
    """
    n, shape = len(part.sources), part.sources.shape[1:]
    size = shape.numel()
    if size <= PIECE or (rows and len(shape) < 2):
        yield slice(0, size), part
        return
    row = shape[1:].numel() if rows else 1
    step = max(1, PIECE // row) * row
    sources, base = part.sources.reshape(n, size), None if part.base is None else part.base.reshape(size)
    for start in range(0, size, step):
        here = slice(start, min(start + step, size))
        form = (-1, *shape[1:]) if rows else (-1,)
        own = None if base is None else base[here].view(form)
        yield here, Part(part.name, sources[:, here].view(n, *form), own, part.start + start)


def piecewise(function: Function, *, rows: bool = False) -> Function:
    """Make a method's ``part`` go through a tensor in pieces.

    Args:
        function: what merges a piece, each number (or row) by itself.
        rows: whether it needs whole rows.

    Returns:
        What merges a part.
    """

    def merged(part: Part, known: Any, asked: Asked) -> Tensor:
        if part.sources[0].numel() <= PIECE:
            return function(part, known, asked)
        result = torch.empty_like(part.sources[0], memory_format=torch.contiguous_format)
        flat = result.view(-1)
        for here, piece in pieces(part, rows=rows):
            flat[here] = function(piece, known, asked).view(-1)
        return result

    return merged
