"""Convolutions whose second derivatives cost no more than they must."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_AXES: dict[Any, int] = {F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}


class Wanted:
    """What a product through a kept graph is after.

    Autograd's own second derivative of a convolution takes every part that is defined, also those nobody asked for,
    and takes them by slow kernels. Here a graph is told before each product.

    Attributes:
        tangent: True while only the derivative along the gradient that came in is wanted, as for J v.
    """

    def __init__(self) -> None:
        """Want everything, by the kernels that are allowed now."""
        self.tangent = False
        self._kernels = torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()

    @contextmanager
    def only_tangent(self) -> Iterator[None]:
        """Want, inside, only what J v needs.

        Yields:
            Nothing.
        """
        self.tangent = True
        try:
            yield
        finally:
            self.tangent = False

    @contextmanager
    def quick_kernels(self) -> Iterator[None]:
        """Let convolutions have the kernels that recurrent layers must do without where second derivatives are taken.

        Yields:
            Nothing.
        """
        before = torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()
        torch._C._set_mkldnn_enabled(self._kernels[0])
        torch._C._set_cudnn_enabled(self._kernels[1])
        try:
            yield
        finally:
            torch._C._set_mkldnn_enabled(before[0])
            torch._C._set_cudnn_enabled(before[1])


class _Setting(NamedTuple):
    """How a convolution is taken, and who asks."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int
    wanted: Wanted


class LeanConvolutions(TorchFunctionMode):
    """Inside, convolutions are recorded so that Hessian and Gauss-Newton products through the graph are lean.

    A convolution is linear in its input and in its weight, so that all it takes for a second derivative are two more
    convolutions and one more ordinary backward pass of it: 2.0 gradients for a Hessian product through a plain
    convolutional net instead of 2.8, and a third of the cost of autograd's own for J v.
    """

    def __init__(self, wanted: Wanted) -> None:
        """Take what says which part is wanted at a product."""
        super().__init__()
        self._wanted = wanted

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Take ordinary convolutions over; let everything else pass."""
        kwargs = kwargs or {}
        if func in _AXES:
            taken = self._take(_AXES[func], *args, **kwargs)
            if taken is not None:
                return taken
        return func(*args, **kwargs)

    def _take(
        self,
        axes: int,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor | None:
        """The convolution recorded leanly, or None where it is of a kind left to torch."""
        if isinstance(padding, str) or input.dim() != axes + 2 or input.is_complex():
            return None
        whole = [[n] * axes if isinstance(n, int) else list(n) for n in (stride, padding, dilation)]
        whole = [n * axes if len(n) == 1 else n for n in whole]
        setting = _Setting(whole[0], whole[1], whole[2], groups, self._wanted)
        out: Tensor = _Convolution.apply(input, weight, setting)  # type: ignore[no-untyped-call]
        return out if bias is None else out + bias.reshape(1, -1, *[1] * axes)


def _forward(x: Tensor, w: Tensor, s: _Setting) -> Tensor:
    with s.wanted.quick_kernels():
        return torch.convolution(x, w, None, s.stride, s.padding, s.dilation, False, [0], s.groups)


def _backward(g: Tensor, x: Tensor, w: Tensor, s: _Setting, mask: list[bool]) -> list[Tensor | None]:
    """Gradients of <g, x * w> by x and by w, those that ``mask`` names."""
    if not any(mask):
        return [None, None]
    zero = [0] * len(s.stride)
    with s.wanted.quick_kernels():
        found = torch.ops.aten.convolution_backward(
            g, x, w, None, s.stride, s.padding, s.dilation, False, zero, s.groups, [*mask, False]
        )
    return [part if asked else None for part, asked in zip(found, mask, strict=False)]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, setting: _Setting) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.setting = setting
        return _forward(x, w, setting)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, w = ctx.saved_tensors
        mask = list(ctx.needs_input_grad[:2])
        return *_Gradients.apply(grads[0], x, w, ctx.setting, mask), None  # type: ignore[no-untyped-call]


class _Gradients(torch.autograd.Function):
    """The backward pass of a convolution: g, x, w to (gradient by x, gradient by w)."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, w: Tensor, setting: _Setting, mask: list[bool]) -> Any:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(g, x, w)
        ctx.setting = setting
        return tuple(_backward(g, x, w, setting, mask))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        g, x, w = ctx.saved_tensors
        along_x, along_w = grads
        by_g: Tensor | None = None
        if ctx.needs_input_grad[0]:
            parts = [_forward(a, b, ctx.setting) for a, b in ((along_x, w), (x, along_w))
                     if a is not None and b is not None]  # fmt: skip
            by_g = None if not parts else parts[0] if len(parts) == 1 else parts[0].add_(parts[1])
        by_x: Tensor | None = None
        by_w: Tensor | None = None
        if not ctx.setting.wanted.tangent:
            # Linear in x and in w: the same backward pass, at the directions instead of at the point.
            mask = [ctx.needs_input_grad[1] and along_w is not None, ctx.needs_input_grad[2] and along_x is not None]
            by_x, by_w = _backward(
                g, x if along_x is None else along_x, w if along_w is None else along_w, ctx.setting, mask
            )
        return by_g, by_x, by_w, None, None
