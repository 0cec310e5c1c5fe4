"""What operations do to the axes of tensors: shapes, numbers one by one, sums over axes.

Each rule is told one call and says what the axes of its result are; on the way it says which axes have to be permuted
together and which cannot be. Products, normalisation and pooling have theirs in `_products`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from landform.alignment._axes import blend, family, fix, pieces, restrict, unify_all
from landform.alignment._axes import factor as blocks
from landform.alignment._terms import SUM, Axis, alias, concat, contexts, find, fixed, free, leaves, nodes, times

Axes: TypeAlias = list[Axis]


@dataclass(frozen=True)
class Call:
    """One call of an operation.

    Attributes:
        name: of the operation, without what marks it as working in place.
        args: what it was given, by name.
        outs: the tensors it gave.
        of: the axes of a tensor.
        read: told (tensor, axis, other axes that matter) of what a product sums over.
    """

    name: str
    args: dict[str, Any]
    outs: list[Tensor]
    of: Callable[[Tensor], Axes]
    read: Callable[[Tensor, int], None]

    def axes(self, name: str) -> Axes:
        """Axes of an argument."""
        return list(self.of(self.args[name]))

    def tensors(self) -> list[Tensor]:
        """All tensors it was given."""
        return [leaf for leaf in pytree.tree_leaves(self.args) if isinstance(leaf, Tensor)]


Rule: TypeAlias = Callable[[Call], list[Axes]]


def one_by_one(call: Call) -> list[Axes]:
    """Numbers are taken one by one: all tensors have the same axes, those of one place broadcast."""
    shape = tuple(call.outs[0].shape)
    result: list[Axis | None] = [None] * len(shape)
    pairs: list[tuple[Axis, Axis]] = []
    for tensor in call.tensors():
        for place, axis in enumerate(reversed(call.of(tensor)), start=1):
            if axis.size != shape[-place]:
                continue
            known = result[-place]
            if known is None:
                result[-place] = axis
            else:
                pairs.append((known, axis))
    unify_all(pairs)
    whole = [free(size) if axis is None else axis for axis, size in zip(result, shape, strict=True)]
    return [whole] * len(call.outs)


def _softmax(call: Call) -> list[Axes]:
    axes = list(call.of(call.tensors()[0]))
    if axes:
        dim = call.args["dim"] % len(axes)
        blend([axes[dim]], axes[:dim] + axes[dim + 1 :])
    return [axes] * len(call.outs)


def _reshape(call: Call) -> list[Axes]:
    return [reshaped(call.of(call.tensors()[0]), call.outs[0].shape)]


def reshaped(axes: Sequence[Axis], shape: Sequence[int]) -> Axes:
    """Axes of a tensor that is laid out in another shape.

    Args:
        axes: as they were.
        shape: the new shape.

    Returns:
        The new axes.
    """
    if 0 in shape:
        return [fixed(size) for size in shape]
    old, new = list(axes), list(shape)
    result: Axes = []
    while old or new:
        chain, sizes = [old.pop(0)] if old else [], [new.pop(0)] if new else []
        while times(chain).size != _product(sizes):
            if times(chain).size < _product(sizes):
                chain.append(old.pop(0))
            else:
                sizes.append(new.pop(0))
        rest = times(chain)
        behind: Axes = []
        for size in reversed(sizes[1:]):
            rest, inner = blocks(rest, size)
            behind.insert(0, inner)
        result += [rest, *behind] if sizes else []
    return result


def _product(sizes: Sequence[int]) -> int:
    found = 1
    for size in sizes:
        found *= size
    return found


def _transpose(call: Call) -> list[Axes]:
    axes = call.of(call.tensors()[0])
    if call.name == "permute":
        return [[axes[dim] for dim in call.args["dims"]]]
    if len(axes) < 2:
        return [list(axes)]
    one, other = (0, 1) if call.name == "t" else (call.args["dim0"], call.args["dim1"])
    axes = list(axes)
    axes[one], axes[other] = axes[other], axes[one]
    return [axes]


def _squeeze(call: Call) -> list[Axes]:
    return [_fitted([a for a in call.of(call.tensors()[0]) if a.size != 1], call.outs[0].shape)]


def _fitted(wide: Sequence[Axis], shape: Sequence[int]) -> Axes:
    """Axes of more than one place, in order, among those of one."""
    rest = list(wide)
    return [fixed(1) if size == 1 else rest.pop(0) for size in shape]


def _expand(call: Call) -> list[Axes]:
    axes = call.of(call.tensors()[0])
    shape = call.outs[0].shape
    front = len(shape) - len(axes)
    padded = [fixed(1)] * front + list(axes)
    return [[axis if axis.size == size else free(size) for axis, size in zip(padded, shape, strict=True)]]


def _repeat(call: Call) -> list[Axes]:
    axes, counts = call.axes("self"), call.args["repeats"]
    padded = [fixed(1)] * (len(counts) - len(axes)) + axes
    return [[times([free(count), axis]) for count, axis in zip(counts, padded, strict=True)]]


def _select(call: Call) -> list[Axes]:
    axes = call.axes("self")
    dim = call.args["dim"] % len(axes)
    at = call.args["index"] % axes[dim].size
    axes = taken(axes, dim, at, at + 1)
    return [axes[:dim] + axes[dim + 1 :]]


def taken(axes: Axes, dim: int, start: int, stop: int) -> Axes:
    """Axes of the part of a tensor from one index on to another.

    Args:
        axes: of the whole tensor.
        dim: along which axis.
        start: the first index.
        stop: after the last.

    Returns:
        The axes of the part.
    """
    whole = find(axes[dim])
    if (start, stop) == (0, whole.size):
        return axes
    sizes = [start, stop - start, whole.size - stop]
    if not sizes[1]:
        return [fixed(0) if d == dim else axis for d, axis in enumerate(axes)]
    told = [
        d != dim
        and any(context is whole for leaf in leaves(axis) for context in contexts(leaf))
        and all(node is not whole for node in nodes(axis))  # an axis that has it itself is told by its own
        for d, axis in enumerate(axes)
    ]
    part = pieces(whole, [s for s in sizes if s])[1 if start else 0]
    axes = [_within(axis, whole, part) if told[d] else axis for d, axis in enumerate(axes)]
    return [part if d == dim else axis for d, axis in enumerate(axes)]


def _within(axis: Axis, whole: Axis, part: Axis) -> Axis:
    """Restrict an axis step by step down to a part of a sum in sums."""
    at = find(whole)
    while at.kind == SUM and at is not part:
        step = next((one for one in at.parts if one is part or _holds(one, part)), None)
        if step is None:
            return axis
        axis = restrict(axis, step)
        if step is part:
            break
        at = find(step)
    return axis


def _holds(axis: Axis, part: Axis) -> bool:
    axis = find(axis)
    return axis is part or any(one is part or _holds(one, part) for one in axis.parts)


def _slice(call: Call) -> list[Axes]:
    axes = call.axes("self")
    dim = call.args["dim"] % len(axes)
    size = axes[dim].size
    start, stop, step = slice(call.args["start"], call.args["end"], call.args["step"]).indices(size)
    if step != 1:
        return [_stay(axes, [dim], "it is gone through in steps", call.outs[0].shape)]
    return [taken(axes, dim, start, max(start, stop))]


def _stay(axes: Axes, dims: Sequence[int], why: str, shape: Sequence[int]) -> Axes:
    """Axes that cannot move, and what becomes of them."""
    axes = list(axes)
    for dim in dims:
        fix(axes[dim], why)
        axes[dim] = fixed(shape[dim], why)
    return axes


def _split(call: Call) -> list[Axes]:
    axes = call.axes("self")
    dim = call.args.get("dim", 0) % len(axes)
    found: list[Axes] = []
    start = 0
    unbound = call.name == "unbind"
    for out in call.outs:
        stop = start + (1 if unbound else out.shape[dim])
        part = taken(axes, dim, start, stop)
        found.append(part[:dim] + part[dim + 1 :] if unbound else part)
        start = stop
    return found


def _cat(call: Call) -> list[Axes]:
    given = [t for t in call.args["tensors"] if t.dim() != 1 or len(t)]  # an empty vector stands for nothing
    every = [list(call.of(tensor)) for tensor in given]
    if call.name == "stack":
        dim = call.args["dim"] % (len(every[0]) + 1)
        every = [[*axes[:dim], fixed(1), *axes[dim:]] for axes in every]
    dim = call.args["dim"] % len(every[0])
    every = [axes for axes in every if axes[dim].size]
    parts = [alias(axes[dim]) for axes in every]
    joined = concat(parts)
    dims = range(len(every[0]))
    return [[joined if d == dim else family(joined, parts, [axes[d] for axes in every]) for d in dims]]


def _pad(call: Call) -> list[Axes]:
    axes, pad = call.axes("self"), list(call.args["pad"])
    for back in range(len(pad) // 2):
        before, after = pad[2 * back], pad[2 * back + 1]
        dim = len(axes) - 1 - back
        start, stop = max(0, -before), axes[dim].size - max(0, -after)
        axes = taken(axes, dim, start, stop)
        axes[dim] = concat([free(max(0, before)), axes[dim], free(max(0, after))])
    return [axes]


def _gone(call: Call) -> list[Axes]:
    """Sums and the like: some axes go, and the order along them does not matter."""
    axes = call.axes(call_first(call))
    given = call.args.get("dim")
    dims = range(len(axes)) if given is None or given == [] else [given] if isinstance(given, int) else given
    gone = {dim % len(axes) for dim in dims} if axes else set()
    keep = call.args.get("keepdim", False)
    left = [fixed(1) if d in gone else axis for d, axis in enumerate(axes) if keep or d not in gone]
    if call.name in _WINNERS and given is not None:
        for dim in gone:
            fix(axes[dim], f"{call.name} tells its places apart")
    return [left] * len(call.outs)


def call_first(call: Call) -> str:
    """Name of the first argument that is a tensor."""
    return next(name for name, value in call.args.items() if isinstance(value, Tensor))


def _along(call: Call) -> list[Axes]:
    """The order along one axis matters."""
    axes = call.axes(call_first(call))
    if axes:
        given = call.args.get("dim", call.args.get("dims", call.args.get("dimension", -1)))
        dims = range(len(axes)) if given is None or given == [] else [given] if isinstance(given, int) else given
        axes = _stay(axes, [d % len(axes) for d in dims], f"{call.name} goes along it", call.outs[0].shape)
    return [axes] * len(call.outs)


def _halves(call: Call) -> list[Axes]:
    axes = call.axes("self")
    dim = call.args["dim"] % len(axes)
    half = axes[dim].size // 2
    left, right = taken(axes, dim, 0, half), taken(axes, dim, half, 2 * half)
    unify_all(list(zip(left, right, strict=True)))
    return [left]


def _index(call: Call) -> list[Axes]:
    """Places picked by numbers: the axes they are picked from stay."""
    axes = call.axes("self")
    indices = list(call.args["indices"])
    picked = [d for d, index in enumerate(indices) if index is not None]
    for dim in picked:
        fix(axes[dim], "its places are picked by number")
    for dim in picked:
        for axis in call.of(indices[dim]):
            fix(axis, "its places pick others by number")
    left = [axis for d, axis in enumerate(axes) if d not in picked]
    shape = call.outs[0].shape
    new = len(shape) - len(left)
    together = picked == list(range(picked[0], picked[-1] + 1)) if picked else True
    at = picked[0] if together and picked else 0
    middle = [fixed(size, "its places are picked by number") for size in shape[at : at + new]]
    return [left[:at] + middle + left[at:]]


def _index_select(call: Call) -> list[Axes]:
    axes = call.axes("self")
    return [_stay(axes, [call.args["dim"] % len(axes)], "its places are picked by number", call.outs[0].shape)]


def _lookup(call: Call) -> list[Axes]:
    rows, width = call.axes("weight")
    fix(rows, "its rows are picked by number")
    indices = call.axes("indices")
    for axis in indices:
        fix(axis, "its places pick others by number")
    return [[*indices, width]]


def _new(call: Call) -> list[Axes]:
    """Numbers all alike, in whatever shape."""
    return [[free(size) for size in out.shape] for out in call.outs]


def everywhere(names: str, rule: Rule) -> dict[str, Rule]:
    """One rule for several operations, their names between spaces."""
    return dict.fromkeys(names.split(), rule)


def _words(names: str) -> frozenset[str]:
    return frozenset(names.split())


_WINNERS = _words("argmax argmin max min median mode")
_REDUCTIONS = (
    "sum mean prod amax amin aminmax var std var_mean std_mean logsumexp linalg_vector_norm norm any all count_nonzero "
    "nansum argmax argmin max min median mode"
)
_POINTWISE = _words(
    "clone copy _to_copy detach alias lift_fresh contiguous fill zero dropout masked_fill where exp _prelu_kernel add "
    "sub mul div rsub hardswish log_sigmoid_forward floor_divide relu6 _conj positive pow to native_dropout"
)
VIEWS = _words(
    "view _unsafe_view reshape _reshape_alias t transpose permute squeeze unsqueeze expand select slice split "
    "split_with_sizes unsafe_split unsafe_split_with_sizes unsafe_chunk chunk unbind detach alias lift_fresh"
)
SHAPES: dict[str, Rule] = {
    **everywhere("view _unsafe_view reshape _reshape_alias", _reshape),
    **everywhere("t transpose permute", _transpose),
    **everywhere("squeeze unsqueeze", _squeeze),
    **everywhere("select", _select),
    **everywhere("slice", _slice),
    **everywhere("split split_with_sizes unsafe_split unsafe_split_with_sizes unsafe_chunk chunk unbind", _split),
    **everywhere("cat stack", _cat),
    **everywhere("constant_pad_nd", _pad),
    **everywhere("expand", _expand),
    **everywhere("repeat", _repeat),
    **everywhere(_REDUCTIONS, _gone),
    **everywhere("cumsum cumprod sort topk flip roll logcumsumexp cummax cummin argsort", _along),
    **everywhere("_softmax _log_softmax _safe_softmax", _softmax),
    **everywhere("glu", _halves),
    **everywhere("index", _index),
    **everywhere("index_select", _index_select),
    **everywhere("embedding", _lookup),
    **everywhere("zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty empty", _new),
}


def is_pointwise(packet: Any, name: str) -> bool:
    """Whether an operation takes numbers one by one, by what torch says of it."""
    if name in _POINTWISE:
        return True
    plain = getattr(torch.ops.aten, name, packet)
    return any(torch.Tag.pointwise in getattr(p, o).tags for p in (packet, plain) for o in p.overloads())
