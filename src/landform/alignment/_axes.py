"""What makes two axes the same: reading operations one by one ties terms to one another.

Operations say which axes are permuted together (`unify`), which cannot be permuted (`fix`), which fall into parts
(`cut`) and which into blocks (`factor`). What nobody has constrained at the end is a symmetry. `settle` makes one
permutation of a family where the axes it is over are gone, `blend` where numbers are mixed along them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from landform.alignment._terms import (
    FIXED,
    FREE,
    PROD,
    SUM,
    Axis,
    concat,
    contexts,
    find,
    fixed,
    free,
    leaves,
    nodes,
    times,
)


def narrow(leaf: Axis, keep: Collection[int]) -> None:
    """Make one permutation of a family, but for each index of the axes whose ids are kept."""
    leaf = find(leaf)
    now = contexts(leaf)
    dropped = [axis for axis in now if id(axis) not in keep]
    if not dropped:
        return
    leaf.per = [axis for axis in now if id(axis) in keep]
    gone = [cut for cut in leaf.cuts if any(cut[0] is part for axis in dropped for part in axis.parts)]
    leaf.cuts = [cut for cut in leaf.cuts if cut not in gone]
    for _, within in gone:
        unify(within, leaf)


def settle(axes: Sequence[Axis]) -> None:
    """Make one permutation of each family of a tensor whose own axes the tensor does not have."""
    here = {id(node) for axis in axes for node in nodes(axis)}
    for axis in axes:
        for leaf in list(leaves(axis)):
            if leaf.per:
                narrow(leaf, here)


def blend(mixed: Sequence[Axis], others: Sequence[Axis]) -> None:
    """Say that numbers along some axes of a tensor are mixed, as by a norm, though the axes stay.

    Families on other axes cannot be permuted differently along them.

    Args:
        mixed: the axes that are mixed.
        others: the other axes of the tensor.
    """
    inside = {id(node) for axis in mixed for node in nodes(axis)}
    for axis in others:
        for leaf in list(leaves(axis)):
            if leaf.per:
                narrow(leaf, {id(context) for context in contexts(leaf)} - inside)


def restrict(axis: Axis, part: Axis) -> Axis:
    """What a term is where another axis of the tensor is cut down to one of its parts."""
    axis = find(axis)
    if axis.kind == FIXED:
        return axis
    if find(part).kind == PROD:
        for factor in find(part).parts:
            axis = restrict(axis, factor)
        return find(axis)
    if axis.kind != FREE:
        parts = [restrict(one, part) for one in axis.parts]
        same = all(find(a) is find(b) for a, b in zip(parts, axis.parts, strict=True))
        return axis if same else concat(parts) if axis.kind == SUM else times(parts)
    now = contexts(axis)
    context = next((c for c in now if c.kind == SUM and any(one is part for one in c.parts)), None)
    if context is None:
        return axis
    for place, within in axis.cuts:
        if place is part:
            return find(within)
    if any(place is one for place, _ in axis.cuts for c in now if c is not context for one in c.parts):
        # Cut along two axes, what it is in each part could be found in two ways: only the second is kept.
        narrow(axis, {id(c) for c in now if not any(place is one for place, _ in axis.cuts for one in c.parts)})
        return restrict(axis, part)
    others = [restrict(c, part) for c in now if c is not context]
    found = free(axis.size, [*others, part] if part.size > 1 else others)
    axis.cuts.append((part, found))
    return found


def fix(axis: Axis, why: str) -> None:
    """Say that no place of an axis moves."""
    axis = find(axis)
    if axis.kind == FREE:
        axis.kind, axis.why = FIXED, why
        for _, within in axis.cuts:
            fix(within, why)
    elif axis.kind != FIXED:
        for part in axis.parts:
            fix(part, why)


def cut(axis: Axis, at: int) -> tuple[Axis, Axis]:
    """Part an axis in two.

    Args:
        axis: the axis.
        at: where the second part begins, inside.

    Returns:
        Both parts.
    """
    axis = find(axis)
    if axis.kind == FIXED:
        return fixed(at, axis.why), fixed(axis.size - at, axis.why)
    if axis.kind == FREE:
        parts = free(at, axis.per), free(axis.size - at, axis.per)
        _bind(axis, Axis(axis.size, SUM, parts))
        return parts
    if axis.kind == PROD:
        _part_outer(axis, at)
        axis = find(axis)
    before: list[Axis] = []
    behind = list(axis.parts)
    while behind and at >= behind[0].size:
        at -= behind[0].size
        before.append(behind.pop(0))
    if at:
        left, right = cut(behind.pop(0), at)
        before, behind = [*before, left], [right, *behind]
    return concat(before), concat(behind)


def pieces(axis: Axis, sizes: Sequence[int]) -> list[Axis]:
    """Part an axis into pieces of given sizes, which add up to its own."""
    found: list[Axis] = []
    rest = axis
    for size in sizes[:-1]:
        if not size or size == rest.size:
            found.append(rest if size else fixed(0))
            rest = rest if not size else fixed(0)
        else:
            piece, rest = cut(rest, size)
            found.append(piece)
    return [*found, rest]


def expand(axis: Axis) -> Axis:
    """Write a product whose outer factor is a sum as a sum of products, so that families come apart."""
    axis = find(axis)
    if axis.kind == PROD:
        axis.parts = times(axis.parts).parts
    if axis.kind != PROD or find(axis.parts[0]).kind != SUM:
        return axis
    outer, inner = find(axis.parts[0]), axis.parts[1:]
    axis.link = Axis(axis.size, SUM, [times([part, *(restrict(i, part) for i in inner)]) for part in outer.parts])
    return axis.link


def _part_outer(axis: Axis, at: int) -> None:
    """Part the outer factor of a product so that it comes apart as a sum, with no block across ``at``."""
    axis.parts = times(axis.parts).parts
    outer = find(axis.parts[0])
    if outer.kind != SUM:
        inner = axis.size // outer.size
        sizes = [at // inner, 1 if at % inner else 0, outer.size - at // inner - (1 if at % inner else 0)]
        kept = [size for size in sizes if size]
        parts = pieces(outer, kept)
        if outer.kind == FIXED:  # what stays is the same everywhere, but for families over it
            outer.kind, outer.parts = SUM, parts
    expand(axis)


def factor(axis: Axis, inner: int) -> tuple[Axis, Axis]:
    """See an axis as blocks of ``inner`` places.

    Args:
        axis: the axis.
        inner: size of a block; divides the axis's own, else nothing of it can move.

    Returns:
        The blocks, and the places in a block.
    """
    axis = find(axis)
    if inner == 1:
        return axis, fixed(1)
    if inner == axis.size:
        return fixed(1), axis
    if axis.kind == FREE:
        outside = free(axis.size // inner, axis.per)
        inside = free(inner, [*axis.per, outside])
        _bind(axis, times([outside, inside]))
        return outside, inside
    if axis.kind == PROD:
        axis.parts = times(axis.parts).parts
        tail: list[Axis] = []
        for number in range(len(axis.parts) - 1, -1, -1):
            part = axis.parts[number]
            left = inner // times(tail).size
            if left == 1:
                return times(axis.parts[: number + 1]), times(tail)
            if left % part.size == 0:
                tail.insert(0, part)
            elif part.size % left == 0:
                outside, inside = factor(part, left)
                return times([*axis.parts[:number], outside]), times([inside, *tail])
            else:
                break
        return _no_blocks(axis, inner)
    if axis.kind == FIXED:
        return fixed(axis.size // inner, axis.why), fixed(inner, axis.why)
    return _factor_sum(axis, inner)


def _factor_sum(axis: Axis, inner: int) -> tuple[Axis, Axis]:
    """Blocks of a sum: the places inside are a family over the parts, unless they are the same in all."""
    parts = list(axis.parts)
    if any(part.size % inner for part in parts):
        parts = pieces(axis, [inner] * (axis.size // inner))
    both = [factor(part, inner) for part in parts]
    outside = concat([out for out, _ in both])
    return outside, family(outside, [out for out, _ in both], [inside for _, inside in both])


def family(whole: Axis, parts: Sequence[Axis], values: Sequence[Axis]) -> Axis:
    """One axis that is another one within each part of a sum.

    Args:
        whole: the sum.
        parts: its parts.
        values: what the axis is within each, all of one size.

    Returns:
        The axis; no family where all are the same.
    """
    first = find(values[0])
    if first.size == 1 or all(find(value) is first for value in values):
        return first
    per = {id(c): c for value in values for leaf in leaves(value) for c in contexts(leaf)}
    found = free(first.size, [*per.values(), whole])
    for part, value in zip(parts, values, strict=True):
        unify(restrict(found, part), value)
    return found


def _no_blocks(axis: Axis, inner: int) -> tuple[Axis, Axis]:
    why = "its blocks do not fit one another"
    fix(axis, why)
    return fixed(axis.size // inner, why), fixed(inner, why)


def _bind(unknown: Axis, term: Axis) -> None:
    """Say what an unknown is."""
    unknown.link = term
    for part, within in unknown.cuts:
        unify(within, restrict(term, part))


def unify(a: Axis, b: Axis) -> None:
    """Say that two axes are permuted together.

    Args:
        a: one.
        b: the other, of the same size.
    """
    a, b = find(a), find(b)
    if a is b or a.size == 1:
        return
    assert a.size == b.size, (a.size, b.size)
    if FIXED in (a.kind, b.kind):
        if a.kind != FIXED:
            a, b = b, a
        fix(b, a.why)
        if b.kind == FIXED and b is not a:
            b.link = a
    elif FREE in (a.kind, b.kind):
        _unify_unknown(*((a, b) if a.kind == FREE else (b, a)))
    else:
        a, b = expand(a), expand(b)
        (_unify_products if a.kind == b.kind == PROD else _unify_sums)(a, b)


def unify_all(pairs: Sequence[tuple[Axis, Axis]]) -> None:
    """Say of several pairs of axes of one tensor that they are permuted together.

    What families depend on comes first, so that they still have the axes they are families over in common.

    Args:
        pairs: axes of the same size.
    """

    def families(pair: tuple[Axis, Axis]) -> int:
        return sum(len(contexts(leaf)) for axis in pair for leaf in leaves(axis))

    for a, b in sorted(pairs, key=families):
        unify(a, b)


def _unify_unknown(a: Axis, b: Axis) -> None:
    """``a`` is an unknown."""
    if b.kind == FREE:
        keep = {id(c) for c in contexts(a)} & {id(c) for c in contexts(b)}
        narrow(a, keep)
        narrow(b, keep)
        a, b = find(a), find(b)
        if a is b:
            return
        if not a.kind == b.kind == FREE:
            unify(a, b)
            return
    else:
        keep = {id(c) for c in contexts(a)} | {id(node) for node in nodes(b)}
        for leaf in list(leaves(b)):
            narrow(leaf, keep - {id(a)})
        if find(a) is not a or find(b) is not b or a.kind != FREE:
            unify(a, b)
            return
    _bind(a, b)


def _unify_products(a: Axis, b: Axis) -> None:
    last = a.parts[-1].size, b.parts[-1].size
    inner = min(last)
    if max(last) % inner:
        fix(a, "its blocks do not fit one another")
        fix(b, "its blocks do not fit one another")
        return
    both = factor(a, inner), factor(b, inner)
    unify_all(list(zip(*both, strict=True)))


def _unify_sums(a: Axis, b: Axis) -> None:
    left = list(a.parts) if a.kind == SUM else [a]
    right = list(b.parts) if b.kind == SUM else [b]
    left.reverse()
    right.reverse()
    while left:
        one, other = left.pop(), right.pop()
        if one.size > other.size:
            one, rest = cut(one, other.size)
            left.append(rest)
        elif other.size > one.size:
            other, rest = cut(other, one.size)
            right.append(rest)
        unify(one, other)
