"""One forward pass, seen operation by operation: which axes of which tensors are permuted together.

A dispatch mode sees every operation of torch below modules, functions and autograd, so that residual streams, shared
weights and attention need no rule of their own: a few dozen operations do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from landform.alignment._axes import fix, settle, unify_all
from landform.alignment._products import PRODUCTS
from landform.alignment._rules import SHAPES, VIEWS, Axes, Call, Rule, is_pointwise, one_by_one
from landform.alignment._terms import Axis, fixed, free, moves
from landform.derivatives import second_order_safe
from landform.errors import BadInput

Unknown: TypeAlias = Literal["refuse", "hold"]

_RULES: dict[str, Rule] = {**SHAPES, **PRODUCTS}


@dataclass
class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode under which the axes of all tensors are followed.

    Attributes:
        unknown: what to do at an operation without a rule: ``"refuse"``, or ``"hold"`` all axes that go into it.
        axes: of each tensor seen, by its id.
        reads: what products sum over: the number of the product, which factor, along which axis, the axes of the
            tensor then, and a number that is the same where the other factor is the same tensor.
        summed: axes of a parameter, or of what is made of it alone, that a product sums over: the parameter's name, and
            the axis.
        held: operations that were not understood, and held.
    """

    unknown: Unknown = "refuse"
    axes: dict[int, Axes] = field(default_factory=dict)
    reads: list[tuple[int, int, int, Axes, int]] = field(default_factory=list)
    summed: list[tuple[str, Axis]] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    _products: int = 0
    _sites: dict[tuple[int, ...], int] = field(default_factory=dict)
    _alive: list[Tensor] = field(default_factory=list)
    _live: set[int] = field(default_factory=set)
    _fed: set[int] = field(default_factory=set)
    _made_of: dict[int, str] = field(default_factory=dict)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled; to be told so, torch would first import its compiler, which takes seconds."""
        return False

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def parameters(self, tensors: Mapping[str, Tensor]) -> None:
        """Begin with tensors whose axes may all move."""
        for name, tensor in tensors.items():
            self._made_of[id(tensor)] = name
            first = free(tensor.shape[0]) if tensor.dim() else None
            rest = [free(size, [first] if first is not None else ()) for size in tensor.shape[1:]]
            self._know(tensor, [] if first is None else [first, *rest], live=True)

    def inputs(self, batch: Any) -> None:
        """Begin with tensors whose axes stay."""
        for leaf in pytree.tree_leaves(batch):
            if isinstance(leaf, Tensor):
                self._know(leaf, [fixed(size, "it is an axis of the inputs") for size in leaf.shape], live=True)
                self._fed.add(_storage(leaf))

    def outputs(self, result: Any) -> None:
        """End with tensors whose axes stay."""
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, Tensor):
                for axis in self.of(leaf):
                    fix(axis, "it is an axis of the outputs")

    def of(self, tensor: Tensor) -> Axes:
        """Axes of a tensor; one that is not known yet is a constant of the model."""
        if id(tensor) not in self.axes:
            self._know(tensor, _by_value(tensor), live=False)
        return self.axes[id(tensor)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        outs = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
        if outs:
            self._follow(func, args, kwargs, outs)
        return result

    def _follow(self, func: Any, args: Any, kwargs: Any, outs: list[Tensor]) -> None:
        schema = func._schema
        space, _, called = schema.name.partition("::")
        written = schema.is_mutable and schema.arguments and _is_written(schema.arguments[0])
        name = called.removesuffix("_") if written else called
        passed = dict(zip([a.name for a in schema.arguments], args, strict=False)) | kwargs
        named = {a.name: passed.get(a.name, a.default_value) for a in schema.arguments}
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name in PRODUCTS:
            self._products += 1
        live = any(_storage(tensor) in self._live for tensor in given)
        if not live and not written and name not in VIEWS:
            for out in outs:
                self._know(out, [free(s) for s in out.shape] if "empty" in name else _by_value(out), live=False)
            return
        target = args[0] if written else given[0] if name in VIEWS else None
        call = Call(name, named, outs, self._used(target), lambda tensor, axis: self._read(given, tensor, axis))
        found = self._apply(func, space, call)
        made_of = {self._made_of.get(id(tensor)) for tensor in given if _storage(tensor) in self._live}
        fed = any(_storage(tensor) in self._fed for tensor in given)
        for out, axes in zip(outs, found, strict=True):
            settle(axes)
            if written and out is args[0]:
                own = self.of(out)
                unify_all([(a, b) for a, b in zip(own, axes, strict=True) if a.size == b.size])
                settle(own)
                if not live:
                    for axis, by_value in zip(own, _by_value(out), strict=True):
                        if not moves(by_value):
                            fix(axis, by_value.why)
            else:
                self._know(out, axes, live=live)
            if len(made_of) == 1 and not fed and (origin := next(iter(made_of))) is not None:
                self._made_of[id(out)] = origin
            if live:
                self._live.add(_storage(out))
            if fed:
                self._fed.add(_storage(out))

    def _apply(self, func: Any, space: str, call: Call) -> list[Axes]:
        rule = _RULES.get(call.name) if space == "aten" else None
        if rule is None and space == "aten" and is_pointwise(func.overloadpacket, call.name):
            rule = one_by_one
        if rule is not None and not any(a.is_out for a in func._schema.arguments):
            return rule(call)
        moving = [axis for tensor in call.tensors() for axis in self.of(tensor) if moves(axis)]
        if moving and self.unknown == "refuse":
            raise BadInput(
                f"The operation {func._schema.name} has no rule for what a permutation of units does to it: replace "
                "it by plain operations, or give unknown='hold' to leave the units that go into it where they are."
            )
        if moving and call.name not in self.held:
            self.held.append(call.name)
        for axis in moving:
            fix(axis, f"it goes into {func._schema.name}, which has no rule")
        return [[fixed(size, f"it comes out of {func._schema.name}") for size in out.shape] for out in call.outs]

    def _used(self, target: Any) -> Callable[[Tensor], Axes]:
        """Axes of what goes into one call: a constant has no ties to where else it is used, unless it is written."""
        fresh: dict[int, Axes] = {}

        def of(tensor: Tensor) -> Axes:
            if tensor is target or _storage(tensor) in self._live:
                return self.of(tensor)
            if id(tensor) not in fresh:
                fresh[id(tensor)] = _by_value(tensor)
            return fresh[id(tensor)]

        return of

    def _read(self, given: Sequence[Tensor], tensor: Tensor, axis: int) -> None:
        if id(tensor) in self._made_of:
            self.summed.append((self._made_of[id(tensor)], self.of(tensor)[axis]))
        if _storage(tensor) in self._fed:
            place = next(i for i, one in enumerate(given) if one is tensor)
            # The same weight read again and again, as through time, makes one reading.
            others = tuple(one.data_ptr() for one in given if one is not tensor)
            site = self._sites.setdefault((*others, axis), len(self._sites))
            self.reads.append((self._products - 1, place, axis, list(self.of(tensor)), site))

    def _know(self, tensor: Tensor, axes: Axes, live: bool) -> None:
        self.axes[id(tensor)] = axes
        self._alive.append(tensor)  # an id is a name only while its tensor lives
        if live:
            self._live.add(_storage(tensor))


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write and not argument.is_out


def _by_value(tensor: Tensor) -> Axes:
    """Axes of a constant: those along which all numbers are the same may move."""
    axes: list[Axis] = []
    for dim, size in enumerate(tensor.shape):
        alike = size > 1 and bool((tensor == tensor.narrow(dim, 0, 1)).all())
        axes.append(free(size) if alike else fixed(size, "it is an axis of a constant of the model"))
    return axes


@contextmanager
def plainly() -> Iterator[None]:
    """Run what is inside by plain operations, without gradients: no fused attention, no fused recurrent layers."""
    quick = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), second_order_safe():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(quick)
