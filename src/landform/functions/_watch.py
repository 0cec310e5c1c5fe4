"""What goes on inside a model while it runs: layers' outputs by name, and the pieces its units are on."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.functions._units import Planes, UnitMode

Layers: TypeAlias = str | Sequence[str] | Literal["all"]
Take: TypeAlias = Callable[[Tensor], Any]


def layer_names(net: nn.Module, layers: Layers) -> tuple[str, ...]:
    """Find layers by name.

    Args:
        net: the model.
        layers: names of modules as in ``named_modules()``, with the wildcards of the shell; ``"all"`` means every
            module that has no others inside.

    Returns:
        Their names, in the order of ``named_modules()``.

    Raises:
        BadInput: when there is none of a name; the message names near ones.
    """
    every = {name: module for name, module in net.named_modules() if name}
    if layers == "all":
        return tuple(name for name, module in every.items() if not list(module.children())) or ("",)
    wanted = (layers,) if isinstance(layers, str) else tuple(layers)
    if not wanted:
        raise BadInput("No layer is named: give names of modules, or 'all'.")
    found: set[str] = set()
    for pattern in wanted:
        hits = {name for name in every if name == pattern or fnmatch.fnmatchcase(name, pattern)}
        if not hits:
            near = difflib.get_close_matches(pattern, list(every), n=3, cutoff=0.5) or list(every)[:5]
            raise BadInput(
                f"The model has no layer {pattern!r}: near ones are {', '.join(near)}; 'all' takes them all."
            )
        found |= hits
    return tuple(name for name in every if name in found)


class LayerWatch:
    """Take something of the output of each of some layers, while a model runs."""

    def __init__(self, net: nn.Module, layers: Layers, take: Take) -> None:
        """Say what to look at.

        Args:
            net: the model.
            layers: which layers, as for `layer_names`; ``"all"`` passes over those whose outputs are no tensors of
                floating-point numbers.
            take: given the output of a layer, returns what to keep of it; what it returns must not be a view, as a
                later layer may work in place.

        Raises:
            BadInput: when there is no layer of a name.
        """
        self._modules: Mapping[str, nn.Module] = dict(net.named_modules())
        self._names, self._take, self._lenient = layer_names(net, layers), take, layers == "all"
        given = () if layers == "all" else (layers,) if isinstance(layers, str) else layers
        self._wanted = [name for name in self._names if name in given]
        self._taken: dict[str, Any] = {}

    @contextmanager
    def on(self) -> Iterator[None]:
        """Look, while this context lasts."""
        handles = [self._modules[name].register_forward_hook(self._hook(name)) for name in self._names]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def taken(self) -> dict[str, Any]:
        """What was taken since the last time, by layer; a second call of one layer is ``name#2``.

        Raises:
            BadInput: when a layer that was asked for by name was not called.
        """
        taken, self._taken = self._taken, {}
        missing = [name for name in self._wanted if name not in taken]
        if missing:
            raise BadInput(f"Layer {missing[0]} is not called in the model's forward pass: leave it out.")
        return taken

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple | list) and output else output
            if not isinstance(first, Tensor) or not first.is_floating_point() or first.dim() < 1:
                if self._lenient:
                    return
                raise BadInput(f"Layer {name} puts out a {type(first).__name__}, not numbers: leave it out.")
            # What is computed of a layer here is no part of the model, and no unit of it.
            with torch._C.DisableTorchFunction():
                self._taken[_numbered(name, self._taken)] = self._take(first.detach())

        return hook


class UnitWatch:
    """Catch the pieces of a model's piecewise-linear units, named by the modules that use them."""

    def __init__(self, net: nn.Module, pooling: bool = False) -> None:
        """Say what to look at.

        Args:
            net: the model.
            pooling: whether the winners of max-pooling count as pieces.
        """
        self._net, self._pooling = net, pooling
        self._inside: list[str] = []
        self._taken: dict[str, Planes] = {}

    @contextmanager
    def on(self) -> Iterator[None]:
        """Look, while this context lasts."""
        handles = []
        for name, module in self._net.named_modules():
            if name:
                handles.append(module.register_forward_pre_hook(self._enter(name)))
                handles.append(module.register_forward_hook(self._leave, always_call=True))
        self._inside = []
        try:
            with UnitMode(self._found, self._pooling):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def taken(self) -> dict[str, Planes]:
        """Pieces caught since the last time, by unit; a second call of one unit is ``name#2``."""
        taken, self._taken = self._taken, {}
        return taken

    def _enter(self, name: str) -> Callable[[nn.Module, Any], None]:
        def enter(module: nn.Module, inputs: Any) -> None:
            self._inside.append(name)

        return enter

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._inside.pop()

    def _found(self, kind: str, planes: Planes) -> None:
        if not planes or not planes[0].dim():  # nothing that has a sample
            return
        where = self._inside[-1] if self._inside else ""
        # A unit that is a module of its own is called as that module is.
        own = where and not list(self._net.get_submodule(where).children())
        name = where if own else f"{where}.{kind}" if where else kind
        self._taken[_numbered(name, self._taken)] = planes


def _numbered(name: str, taken: Mapping[str, Any]) -> str:
    if name not in taken:
        return name
    count = 2
    while f"{name}#{count}" in taken:
        count += 1
    return f"{name}#{count}"
