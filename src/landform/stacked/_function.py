"""A module as a function of its trainable parameters and buffers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

import landform.stacked._rules  # noqa: F401  (registers the rules)
from landform.errors import BadInput
from landform.layout import Layout
from landform.stacked._tensor import Stacked, stack


class Function:
    """A model's forward pass as a function of tensors given from outside.

    The model itself is left alone: its structure is copied once, without the trainable parameters, which are left as
    shapes only, so that a parameter which is not given cannot be used by mistake.

    Attributes:
        layout: the trainable parameters.
        net: the copied structure, in evaluation mode until told otherwise.
        buffers: the model's buffers at the time of copying, by name; one shared by modules by its first name.
        persistent: names of those that belong to the model's state.
    """

    def __init__(self, model: nn.Module, layout: Layout, *, device: torch.device, dtype: torch.dtype) -> None:
        """Copy the structure of ``model``.

        Args:
            model: the model.
            layout: its layout.
            device: where it will run.
            dtype: the floating-point type it will run in.
        """
        self.layout = layout
        trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        hollow = {id(p): nn.Parameter(torch.empty_like(p, device="meta")) for p in trainable.values()}
        self.net: nn.Module = _copied(model, dict(hollow))
        for module in self.net.modules():
            for key, parameter in module._parameters.items():
                if parameter is not None and not parameter.is_meta:
                    moved = _cast(parameter.detach(), device, dtype)
                    module._parameters[key] = nn.Parameter(moved, requires_grad=False)
        self.net.eval()
        owner_of = {**{name: name for name in layout.names}, **(layout.tied or {})}
        self._places: list[tuple[dict[str, Any], str, str]] = []
        self._recurrent = [m for m in self.net.modules() if isinstance(m, nn.RNNBase)]
        self.buffers: dict[str, Tensor] = {}
        self.persistent: set[str] = set()
        for prefix, module in self.net.named_modules(remove_duplicate=False):
            dot = f"{prefix}." if prefix else ""
            for key in module._parameters:
                if dot + key in owner_of:
                    self._places.append((module._parameters, key, owner_of[dot + key]))
        first_name: dict[int, str] = {}  # a buffer that two modules share is one, as in named_buffers()
        for prefix, module in self.net.named_modules():
            for key, tensor in module._buffers.items():
                if tensor is not None:
                    name = first_name.setdefault(id(tensor), f"{prefix}.{key}" if prefix else key)
                    self._places.append((module._buffers, key, name))
                    if key not in module._non_persistent_buffers_set:
                        self.persistent.add(name)
                    if name not in self.buffers:
                        self.buffers[name] = _cast(tensor, device, dtype)
        for home, key, name in self._places:
            if name in self.buffers:
                home[key] = self.buffers[name]

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        run: Callable[[nn.Module], Any],
    ) -> Any:
        """Run something with the model at one point.

        Args:
            parameters: the trainable parameters by name, as `Layout.views` gives them.
            buffers: buffers by name; those not given are the model's own. What a layer writes into a buffer is written
                into the tensor given here.
            run: what to do with the model, such as ``lambda net: net(x)``.

        Returns:
            What ``run`` returns.
        """
        with self._filled({**self.buffers, **buffers, **parameters}, buffers):
            return run(self.net)

    def many(
        self,
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        run: Callable[[nn.Module], Any],
    ) -> Any:
        """Run something with the model at n points at once.

        Args:
            parameters: the trainable parameters by name, ``[n, *shape]``, or `Stacked` already.
            buffers: buffers by name, likewise; those not given are the model's own, shared by all.
            run: what to do with the model; tensors that differ between the points are `Stacked`.

        Returns:
            What ``run`` returns, with `Stacked` tensors in it.
        """
        given = (*buffers.items(), *parameters.items())
        stacked = {name: t if isinstance(t, Stacked) else stack(t) for name, t in given}
        with self._filled({**self.buffers, **stacked}, buffers):
            return run(self.net)

    @contextmanager
    def _filled(self, tensors: Mapping[str, Tensor], written: Mapping[str, Tensor]) -> Iterator[None]:
        before = [(home, key, home[key]) for home, key, _ in self._places]
        flat = [module._flat_weights for module in self._recurrent]
        try:
            for home, key, name in self._places:
                home[key] = tensors[name]
            for module in self._recurrent:
                module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
            yield
            for home, key, name in self._places:
                if name in written and home[key] is not tensors[name]:
                    _follow(tensors[name], home[key])
        finally:
            for home, key, tensor in before:
                home[key] = tensor
            for module, weights in zip(self._recurrent, flat, strict=True):
                module._flat_weights = weights


def _follow(given: Tensor, put: Tensor | None) -> None:
    """Write into a given buffer what a layer put in its place, as ``self.mean = 0.9 * self.mean + ...`` does."""
    if put is not None and put.shape == given.shape:
        target, source = (t.raw if isinstance(t, Stacked) else t for t in (given, put))
        target.copy_(source.detach())


def _copied(model: nn.Module, memo: dict[int, Any]) -> nn.Module:
    try:
        return copy.deepcopy(model, memo)
    except (RuntimeError, TypeError, AttributeError) as why:
        said = str(why).split(".")[0].splitlines()[0]
        raise BadInput(
            f"{type(model).__name__} cannot be copied ({said}): it keeps what is no state of its own, such as an "
            "activation or an open file; delete it first, and use torch.nn.utils.parametrizations for weight norm."
        ) from why


def _cast(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Copy a tensor to the device, and to the type if it holds floating-point numbers."""
    return tensor.to(device, dtype if tensor.dtype.is_floating_point else tensor.dtype, copy=True)
