"""Which operation uses which parameter, and what goes in and comes out of it.

Every call of torch inside is seen before it runs, whether a module makes it or plain code, so that attention, residual
and shared layers need no rule of their own: only the operations a weight goes into do.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from landform.per_sample._recurrent import RECURRENT


@dataclass(frozen=True)
class Place:
    """Where in the parameters a tensor lies.

    Attributes:
        name: the parameter.
        start: its first row.
        stop: after its last row.
        turned: whether the tensor is the transpose of those rows.
    """

    name: str
    start: int
    stop: int
    turned: bool = False


@dataclass(frozen=True)
class Use:
    """One call of an operation that has a rule.

    Attributes:
        kind: ``"dense"``, ``"convolution"`` or ``"lookup"``.
        weight: where its weight lies; None if that is no parameter with a rule.
        bias: where its bias lies, likewise.
        settings: of the call.
        output: shape of what it gives for one sample.
        inputs: shape of what goes in for one sample.
    """

    kind: str
    weight: Place | None
    bias: Place | None
    settings: Mapping[str, Any]
    output: tuple[int, ...]
    inputs: tuple[int, ...]


def _opened(function: Any) -> Callable[..., Any]:
    """A function of torch.nn.functional without its first lines, which hand the whole call on at once."""
    body = function.__code__
    names = dict(function.__globals__)
    for guard in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"):
        names[guard] = lambda *_: False
    opened = types.FunctionType(body, names, function.__name__, function.__defaults__, function.__closure__)
    opened.__kwdefaults__ = function.__kwdefaults__
    return opened


def _group_norm(given: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Laid out row by row first: vmap cannot ask for any other order."""
    return torch.group_norm(given.contiguous(), *_group_norm_settings(*args, **kwargs))


def _group_norm_settings(
    groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> tuple[Any, ...]:
    return groups, weight, bias, eps


_OPENED: dict[Any, Callable[..., Any]] = {
    F.group_norm: _group_norm,
    F.multi_head_attention_forward: _opened(F.multi_head_attention_forward),
    **RECURRENT,
}
_QUIET = {"__get__", "size", "dim", "is_floating_point", "numel", "stride", "is_complex", "ndimension", "element_size"}


@dataclass
class Watch(TorchFunctionMode):
    """A mode under which uses of parameters are noted.

    Attributes:
        places: which tensor, by id, is which parameter with a rule.
        shifts: zeros to add to what each use gives, ``None`` while looking only: their gradients are the cotangents.
        uses: what was seen.
        inputs: what went into each.
        foreign: parameters that something without a rule uses too.
    """

    places: dict[int, Place]
    shifts: list[Tensor] | None = None
    uses: list[Use] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)
    _alive: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _OPENED:
            with self:
                return _OPENED[func](*args, **kwargs)
        use = _READERS[func](self._place, args, kwargs) if func in _READERS else None
        if use is not None and self._place(use[-1]) is None:
            return self._used(use, func(*args, **kwargs))
        result = _unheard(args, kwargs) if func is F.embedding else func(*args, **kwargs)
        if getattr(func, "__name__", "") in _QUIET and func not in _TURNS:
            return result
        touched = [place for t in pytree.tree_leaves((args, kwargs)) if (place := self._place(t)) is not None]
        if touched and not self._seen_through(func, args, kwargs, touched[0], result):
            self.foreign.update(place.name for place in touched)
        return result

    def _place(self, tensor: Any) -> Place | None:
        return self.places.get(id(tensor)) if isinstance(tensor, Tensor) else None

    def _used(self, use: tuple[str, Place | None, Place | None, Mapping[str, Any], Tensor], result: Tensor) -> Tensor:
        kind, weight, bias, settings, inputs = use
        number = len(self.uses)
        self.uses.append(Use(kind, weight, bias, settings, tuple(result.shape), tuple(inputs.shape)))
        self.inputs.append(inputs.detach())
        return result if self.shifts is None else result + self.shifts[number]

    def _seen_through(self, func: Any, args: Any, kwargs: Any, place: Place, result: Any) -> bool:
        """Whether what came out is a parameter still: its transpose, or some of its rows."""
        if func in _TURNS and _turns(func, args, kwargs):
            self._call(result, Place(place.name, place.start, place.stop, not place.turned))
            return True
        if func in _CUTS and not place.turned and _axis(args, kwargs) == 0:
            start = place.start
            for piece in result:
                self._call(piece, Place(place.name, start, start + len(piece)))
                start += len(piece)
            return True
        return False

    def _call(self, tensor: Tensor, place: Place) -> None:
        self.places[id(tensor)] = place
        self._alive.append(tensor)  # an id is a name only while its tensor lives


_Tensor: Any = Tensor
_TURNS = {torch.t, Tensor.t, _Tensor.T.__get__, _Tensor.mT.__get__, torch.transpose, Tensor.transpose}
_CUTS = {torch.chunk, Tensor.chunk, torch.split, Tensor.split}


def _turns(func: Any, args: Any, kwargs: Any) -> bool:
    if args[0].dim() != 2:
        return False
    if func not in (torch.transpose, Tensor.transpose):
        return True
    return {d % 2 for d in (*args[1:], *kwargs.values())} == {0, 1}


def _axis(args: Any, kwargs: Any) -> int:
    return int(kwargs.get("dim", args[2] if len(args) > 2 else 0))


_LOOKUP = ("input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse")

# What each operation was given: (kind, weight, bias, settings, inputs), or None where no parameter is in its place.

Read = tuple[str, Place | None, Place | None, Mapping[str, Any], Tensor]
Find = Callable[[Any], Place | None]


def _linear(find: Find, args: Any, kwargs: Any) -> Read | None:
    inputs, weight, bias = _named(args, kwargs, ("input", "weight", "bias"))
    return _dense(inputs, weight, find(weight), bias, find(bias))


def _addmm(find: Find, args: Any, kwargs: Any) -> Read | None:
    if len(args) != 3 or kwargs:
        return None
    bias, inputs, weight = args
    place = find(weight)
    return _dense(inputs, weight, place and _turned(place), bias, find(bias)) if place else None


def _matmul(find: Find, args: Any, kwargs: Any) -> Read | None:
    inputs, weight = _named(args, kwargs, ("input", "other"))
    place = find(weight)
    return _dense(inputs, weight, _turned(place), None, None) if place is not None else None


def _turned(place: Place) -> Place:
    return Place(place.name, place.start, place.stop, not place.turned)


def _dense(inputs: Any, weight: Any, place: Place | None, bias: Any, shift: Place | None) -> Read | None:
    if (place is None and shift is None) or not isinstance(weight, Tensor) or weight.dim() != 2:
        return None
    if bias is not None and bias.dim() != 1:
        return None
    return "dense", place, shift, {}, inputs


def _convolution(find: Find, args: Any, kwargs: Any) -> Read | None:
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    inputs, weight, bias, stride, padding, dilation, groups = _named(args, kwargs, names)
    place, shift = find(weight), find(bias)
    if (place is None and shift is None) or inputs.dim() != weight.dim() or (place is not None and place.turned):
        return None
    axes = weight.dim() - 2
    settings = {
        "kernel": tuple(weight.shape[2:]),
        "stride": _each(1 if stride is None else stride, axes),
        "padding": padding if isinstance(padding, str) else _each(0 if padding is None else padding, axes),
        "dilation": _each(1 if dilation is None else dilation, axes),
        "groups": 1 if groups is None else groups,
    }
    return "convolution", place, shift, settings, inputs


def _lookup(find: Find, args: Any, kwargs: Any) -> Read | None:
    indices, weight, silent, max_norm, _, scaled, _ = _named(args, kwargs, _LOOKUP)
    place = find(weight)
    if place is None or place.turned or max_norm is not None or scaled:
        return None
    count = place.stop - place.start
    padding = None if silent is None or silent == -1 else silent % count
    return "lookup", place, None, {"count": count, "silent": padding}, indices


def _unheard(args: Any, kwargs: Any) -> Tensor:
    """A lookup whose padding gets no gradient, also from a table that every sample has anew: vmap forgets that."""
    indices, table, silent, *rest = _named(args, kwargs, _LOOKUP)
    if silent is None or silent == -1 or rest[0] is not None:
        return F.embedding(*args, **kwargs)
    found = F.embedding(indices, table)
    return torch.where((indices == silent % table.shape[0]).unsqueeze(-1), found.detach(), found)


def _named(args: Any, kwargs: Any, names: tuple[str, ...]) -> list[Any]:
    return [args[i] if i < len(args) else kwargs.get(name) for i, name in enumerate(names)]


def _each(value: Any, axes: int) -> tuple[int, ...]:
    many = tuple(value) if isinstance(value, tuple | list) else (value,)
    return many if len(many) == axes else many * axes


_READERS: dict[Any, Callable[[Find, Any, Any], Read | None]] = {
    F.linear: _linear,
    torch.addmm: _addmm,
    torch.matmul: _matmul,
    Tensor.matmul: _matmul,
    Tensor.__matmul__: _matmul,
    torch.mm: _matmul,
    Tensor.mm: _matmul,
    F.conv1d: _convolution,
    F.conv2d: _convolution,
    F.conv3d: _convolution,
    F.embedding: _lookup,
}
