"""Parameters of many points that are mixtures of few: layers that read the data are worked out for the few alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from landform.stacked import Stacked


class Mixed(Stacked):
    """n tensors that are mixtures of k.

    Attributes:
        raw: the n tensors, ``[n, *shape]``.
        weights: ``[n, k]``.
        nodes: the k tensors, ``[k, *shape]``.
    """

    weights: Tensor
    nodes: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor, weights: Tensor, nodes: Tensor) -> Mixed:
        """Take mixtures that are worked out, and what they are mixed of."""
        made: Mixed = Tensor._make_wrapper_subclass(
            cls, raw.shape[1:], dtype=raw.dtype, device=raw.device, requires_grad=False
        )
        made.raw, made.weights, made.nodes = raw, weights, nodes
        return made

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Carry a layer that reads plain data out for the nodes and mix what comes; all else as for any stack."""
        layer = _LAYERS.get(func)
        if layer is not None and len(args) > 1 and not isinstance(args[0], Stacked) and isinstance(args[1], Mixed):
            result = layer(func, *args, **(kwargs or {}))
            if result is not None:
                return result
        return super().__torch_function__(func, types, args, kwargs)


def _linear(func: Any, x: Tensor, weight: Mixed, bias: Tensor | None = None) -> Stacked | None:
    """``[n, o, b]`` from ``[k, o, b]``, seen as ``[n, b, o]``, as the rule of a stack has it."""
    k, o, i = weight.nodes.shape
    if not _pays(weight, bias, i):
        return None
    columns = x.reshape(-1, i).t()
    base = weight.nodes.reshape(k * o, i) @ columns
    if isinstance(bias, Mixed):
        base = base.view(k, o, -1).add_(bias.nodes.unsqueeze(2))
    y = (weight.weights @ base.view(k, -1)).view(weight.count, o, -1).transpose(1, 2)
    return Stacked(y if x.dim() == 2 else y.reshape(weight.count, *x.shape[:-1], o))


def _convolution(func: Any, x: Tensor, weight: Mixed, bias: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
    """``[b, n, c, ...]`` from ``[b, k, c, ...]``, seen with n in front."""
    groups = args[3] if len(args) > 3 else kwargs.get("groups", 1)
    k, c = weight.nodes.shape[:2]
    if groups != 1 or x.dim() != weight.dim() or not _pays(weight, bias, weight.nodes[0, 0].numel()):
        return None
    shift = bias.nodes.reshape(-1) if isinstance(bias, Mixed) else None
    base = func(x, weight.nodes.reshape(-1, *weight.shape[1:]), shift, *args, **kwargs)
    y = weight.weights @ base.reshape(len(base), k, -1)
    return Stacked(y.view(len(base), weight.count, c, *base.shape[2:]).transpose(0, 1))


_LAYERS: dict[Any, Callable[..., Any]] = {
    F.linear: _linear,
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), _convolution),
}


def _pays(weight: Mixed, bias: Any, inputs: int) -> bool:
    """Whether mixing what k nodes put out is less work than n layers of so many inputs."""
    k, n = len(weight.nodes), weight.count
    return (bias is None or isinstance(bias, Mixed)) and k * (inputs + n) < n * inputs
