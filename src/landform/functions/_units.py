"""Piecewise-linear units: on which piece each of them is, caught wherever a model uses one.

A `TorchFunctionMode` sees modules and plain calls alike (``nn.ReLU``, ``F.relu``, ``torch.relu``, ``x.relu_()``). The
piece is found from the input, before the call, so that units that work in place do no harm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Planes of a unit: bits that together tell its piece, each of the input's shape (a pooling's: of its output's).
Planes: TypeAlias = list[Tensor]
Pieces: TypeAlias = Callable[..., Planes]


class UnitMode(TorchFunctionMode):
    """Catch the pieces of every piecewise-linear unit while it is on."""

    def __init__(self, found: Callable[[str, Planes], None], pooling: bool) -> None:
        """Say where what is caught goes.

        Args:
            found: told the kind of each unit, in the order of the calls, and its planes.
            pooling: whether the winners of max-pooling are caught too.
        """
        super().__init__()
        self._found, self._pooling = found, pooling

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the call, and look at it if it is a unit."""
        kwargs = kwargs or {}
        if func in _KINDS:
            kind, pieces = _KINDS[func]
            self._found(kind, pieces(*args, **kwargs))
        elif self._pooling and func in _POOLS:
            self._found("max_pool", _winners(*_POOLS[func], *args, **kwargs))
        return func(*args, **kwargs)


def _sign(x: Tensor, *_: Any, **__: Any) -> Planes:
    return [x > 0]


def _above(x: Tensor, threshold: float, *_: Any, **__: Any) -> Planes:
    return [x > threshold]


def _hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0, *_: Any, **__: Any) -> Planes:
    return [x > min_val, x >= max_val]


def _relu6(x: Tensor, *_: Any, **__: Any) -> Planes:
    return [x > 0, x >= 6]


def _hardsigmoid(x: Tensor, *_: Any, **__: Any) -> Planes:
    return [x > -3, x >= 3]


def _clamp(x: Tensor, min: Any = None, max: Any = None, **__: Any) -> Planes:
    return [*([] if min is None else [x > min]), *([] if max is None else [x >= max])]


def _clamp_max(x: Tensor, max: Any, **__: Any) -> Planes:
    return [x >= max]


def _shrink(x: Tensor, lambd: float = 0.5, *_: Any, **__: Any) -> Planes:
    return [x > lambd, x < -lambd]


def _winners(pool: Callable[..., Any], axes: int, x: Tensor, *args: Any, **kwargs: Any) -> Planes:
    """Which input won each window, as the bits of its position."""
    kwargs = {**kwargs, "return_indices": True}
    at: Tensor = pool(x, *args, **kwargs)[1]
    bits = max(1, math.ceil(math.log2(math.prod(x.shape[-axes:]))))
    return [(at >> bit) & 1 == 1 for bit in range(bits)]


def _everywhere(*names: str) -> list[Any]:
    """Torch functions by name, wherever torch has them, in place or not."""
    homes = (torch, Tensor, F, torch._C._nn)
    return [f for name in names for home in homes for end in ("", "_") if (f := getattr(home, name + end, None))]


# Kinks where the input is zero; a slope of its own on either side.
_SIGNS = ("relu", "leaky_relu", "prelu", "rrelu", "abs", "absolute")
_OTHERS: dict[str, Pieces] = {
    "hardtanh": _hardtanh,
    "relu6": _relu6,
    "threshold": _above,
    "hardsigmoid": _hardsigmoid,
    "hardshrink": _shrink,
    "softshrink": _shrink,
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": _above,
    "clamp_max": _clamp_max,
}
_KINDS: dict[Any, tuple[str, Pieces]] = {
    function: (name, pieces)
    for name, pieces in {**dict.fromkeys(_SIGNS, _sign), **_OTHERS}.items()
    for function in _everywhere(name)
}
_POOLS: dict[Any, tuple[Callable[..., Any], int]] = {
    function: (getattr(F, name), axes)
    for axes in (1, 2, 3)
    for name in (f"max_pool{axes}d", f"adaptive_max_pool{axes}d")
    for function in _everywhere(name)
}
