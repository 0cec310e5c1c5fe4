"""Axes of tensors as terms.

Every axis of a tensor is a term over unknowns: an unknown stands for a permutation of so many places. Axes that fall
into parts behind one another are sums, axes that are blocks of blocks are products, the outer part first.

An unknown may be a *family*: one permutation for each index of other axes (``per``), as the places inside the heads of
attention are permuted differently in each head. A family has a meaning only in tensors that have those axes too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

FREE, FIXED, SUM, PROD = "free", "fixed", "sum", "prod"


class Axis:
    """A term: an unknown permutation, places that stay, a sum of terms or a product of terms.

    Attributes:
        size: how many places.
        kind: ``"free"``, ``"fixed"``, ``"sum"`` or ``"prod"``.
        parts: of a sum, in order; of a product, the outer first.
        why: of places that stay, the reason.
        per: of an unknown, the axes for each index of which there is a permutation of its own.
        link: the term it was found to be; `find` follows it.
        cuts: of a family, what it is within a part of one of its axes.
    """

    __slots__ = ("cuts", "kind", "link", "parts", "per", "size", "why")

    def __init__(
        self, size: int, kind: str = FREE, parts: Sequence[Axis] = (), why: str = "", per: Sequence[Axis] = ()
    ) -> None:
        self.size, self.kind, self.why = size, kind, why
        self.parts, self.per = list(parts), list(per)
        self.link: Axis | None = None
        self.cuts: list[tuple[Axis, Axis]] = []


def free(size: int, per: Sequence[Axis] = ()) -> Axis:
    """An unknown; a single place is no unknown."""
    return Axis(size, FREE, per=per) if size > 1 else fixed(size)


def fixed(size: int, why: str = "") -> Axis:
    """Places that stay where they are."""
    return Axis(size, FIXED, why=why)


def alias(axis: Axis) -> Axis:
    """The same axis as a part of its own: an axis can be a part of a sum twice."""
    other = Axis(axis.size, axis.kind)
    other.link = axis
    return other


def find(axis: Axis) -> Axis:
    """What an axis was found to be."""
    while axis.link is not None:
        if axis.link.link is not None:
            axis.link = axis.link.link
        axis = axis.link
    return axis


def concat(parts: Sequence[Axis]) -> Axis:
    """Axes behind one another."""
    kept = [part for part in parts if part.size]
    if len(kept) == 1:
        return kept[0]
    return Axis(sum(part.size for part in kept), SUM, kept) if kept else fixed(0)


def times(factors: Sequence[Axis]) -> Axis:
    """Blocks of blocks, the outer first."""
    kept: list[Axis] = []
    size = 1
    for factor in factors:
        size *= factor.size
        term = find(factor)
        if term.kind == PROD:
            kept.extend(times(term.parts).parts)
        elif factor.size != 1:
            kept.append(factor)  # not what it was found to be: parts of a sum are told apart by themselves
    if len(kept) == 1:
        return kept[0]
    return Axis(size, PROD, kept) if kept else fixed(size)


def leaves(axis: Axis) -> Iterator[Axis]:
    """All unknowns and fixed places of a term."""
    axis = find(axis)
    if axis.kind in (FREE, FIXED):
        yield axis
    else:
        for part in axis.parts:
            yield from leaves(part)


def nodes(axis: Axis) -> Iterator[Axis]:
    """Every term inside a term, itself first."""
    axis = find(axis)
    yield axis
    for part in axis.parts:
        yield from nodes(part)


def contexts(leaf: Axis) -> list[Axis]:
    """The axes for each index of which a family has a permutation of its own: no products, no single places."""
    found: dict[int, Axis] = {}

    def look(axis: Axis) -> None:
        axis = find(axis)
        if axis is leaf or axis.size == 1:
            return
        if axis.kind == PROD:
            for factor in axis.parts:
                look(factor)
        else:
            found[id(axis)] = axis

    for axis in leaf.per:
        look(axis)
    return list(found.values())


def moves(axis: Axis) -> bool:
    """Whether any place of an axis may still move."""
    return any(leaf.kind == FREE for leaf in leaves(axis))


def reason(axis: Axis) -> str:
    """Why the first place that stays does so."""
    return next((leaf.why for leaf in leaves(axis) if leaf.kind == FIXED and leaf.why), "")
