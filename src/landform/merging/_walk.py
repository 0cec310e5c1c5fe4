"""The one way through the parts of sources, in memory or in files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.merging._layers import Sums, measure
from landform.merging._method import Asked, Method, Part, Parts


@dataclass(frozen=True)
class Step:
    """One tensor, merged.

    Attributes:
        name: of the parameter.
        tensor: merged, ``[*shape]``, of the type of the part.
        sums: what the report needs, or None where none was asked for.
        facts: what the method says, of this tensor with ``per="tensor"``, of the whole point with ``per="point"``.
    """

    name: str
    tensor: Tensor
    sums: Sums | None
    facts: Mapping[str, Any]


def walk(method: Method, parts: Parts, asked: Asked, *, report: bool = True) -> Iterator[Step]:
    """Merge part after part; only one is held.

    Args:
        method: a method that needs no data.
        parts: of the sources; gone through once, and before that as often as the method has to with ``per="point"``.
        asked: of the method.
        report: whether to compare what was merged with the sources: a second reading of every number.

    Yields:
        The merged tensors, in the order of the parts.

    Raises:
        BadInput: when a source holds NaN or infinity, before anything is yielded of its tensor.
    """
    if method.part is None:
        raise BadInput(f"{method.name} looks at data: it merges points in memory, with data=, not tensor by tensor.")
    sound = Sound(parts, asked)
    known: Any = None
    if method.gather is not None and asked.per == "point":
        known = method.gather(sound, asked)
    for part in sound:
        if method.gather is not None and asked.per == "tensor":
            known = method.gather((part,), asked)
        merged = method.part(part, known, asked)
        sums = measure(part, merged) if report else None
        yield Step(part.name, merged, sums, method.tell(known, asked))


class Sound:
    """Parts that are looked at for NaN and infinity the first time they pass."""

    def __init__(self, parts: Parts, asked: Asked) -> None:
        """Stand before parts.

        Args:
            parts: the parts.
            asked: with the names of the sources.
        """
        self._parts, self._names = parts, asked.names
        self._seen: set[str] = set()

    def __iter__(self) -> Iterator[Part]:
        """The parts."""
        for part in self._parts:
            if part.name not in self._seen:
                self._seen.add(part.name)
                for name, tensor in zip((*self._names, "the base"), (*part.sources, part.base), strict=False):
                    if tensor is not None and not _finite(tensor):
                        raise BadInput(
                            f"{name[:1].upper()}{name[1:]} holds NaN or infinity in {part.name}: look whether its run "
                            "has diverged, or leave it out."
                        )
            yield part


def _finite(tensor: Tensor) -> bool:
    # One sum is quicker than a look at each number, and only a finite sum proves that all are.
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())
