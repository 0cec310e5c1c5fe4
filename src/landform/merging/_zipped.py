"""A model of two heads, whose first layers are those of both models zipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from landform.errors import BadInput


class Zipped(nn.Module):
    """Two models as one: zipped throughout, or up to a layer, behind which each has its own.

    Called as the models are. Zipped throughout it gives what one model gives; in part, a pair: what each head gives.
    Layers that are shared run once. Parameters can be trained on; ``state_dict`` and ``torch.save`` work as for any
    module (tied parameters are there under both heads' names).

    Attributes:
        branches: the models, one, or one for each head; they hold the shared layers as the same modules, and each can
            be used on its own, as for a landscape.
        shared: names of the parameters that both have in common.
        units: of each group of units how it was merged, by name: pairs across, pairs within each model, and how alike
            they were; `landform.merging.UnitsMerged`.
        kept: groups whose units were left apart.
        paired: groups whose units were put together in the order in which they stand, as they are families or no
            product reads them alone.
        share: of the parameters of one model that are shared.
    """

    def __init__(
        self,
        branches: Sequence[nn.Module],
        *,
        shared: Sequence[str] = (),
        units: dict[str, Any] | None = None,
        kept: Sequence[str] = (),
        paired: Sequence[str] = (),
    ) -> None:
        """Put branches together.

        Args:
            branches: one model, or two, which are of one architecture.
            shared: names of parameters, and of BatchNorm's statistics, that are the same in both.
            units: how each group was merged.
            kept: groups left apart.
            paired: groups put together as they stand.
        """
        super().__init__()
        self.shared, self.units = tuple(shared), dict(units or {})
        self.kept, self.paired = tuple(kept), tuple(paired)
        first = branches[0]
        self._trunk: tuple[str, ...] = ()
        if len(branches) == 2:
            self._trunk = _tie(first, branches[1], set(shared))
        self.branches = nn.ModuleList(branches)
        sizes = {name: p.numel() for name, p in first.named_parameters()}
        self.share = sum(size for name, size in sizes.items() if name in self.shared) / max(1, sum(sizes.values()))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model.

        Args:
            *args: as one of the models takes them.
            **kwargs: likewise.

        Returns:
            What the model puts out, or a pair: what each head puts out.
        """
        if len(self.branches) == 1:
            return self.branches[0](*args, **kwargs)
        memory = _Memory([self.branches[0].get_submodule(name) for name in self._trunk])
        with memory.keeping():
            first = self.branches[0](*args, **kwargs)
        with memory.giving():
            return first, self.branches[1](*args, **kwargs)

    def extra_repr(self) -> str:
        """What is said in the middle of a printed module."""
        heads = "one model" if len(self.branches) == 1 else "two heads"
        return f"{heads}, {100 * self.share:.0f} % of the parameters shared"


def _tie(first: nn.Module, second: nn.Module, shared: set[str]) -> tuple[str, ...]:
    """Let two models have modules, or parameters, in common; returns the modules without others inside, by name."""
    trunk: list[str] = []
    for name, module in list(first.named_modules(remove_duplicate=False)):
        own = [key for key, tensor in (*module._parameters.items(), *module._buffers.items()) if tensor is not None]
        whole = [key for key in own if f"{name}.{key}".lstrip(".") in shared]
        counts = [key for key in own if not _counts(module, key)]
        if not whole:
            continue
        if name and len(whole) == len(counts) and not list(module.children()):
            parent, _, key = name.rpartition(".")
            setattr(second.get_submodule(parent), key, module)
            trunk.append(name)
            continue
        other = second.get_submodule(name)
        for key in whole:
            if key in module._parameters:
                other._parameters[key] = module._parameters[key]
            else:
                other._buffers[key] = module._buffers[key]
    return tuple(trunk)


def _counts(module: nn.Module, key: str) -> bool:
    """Whether a buffer is a count, which is nobody's weight."""
    tensor = module._buffers.get(key)
    return tensor is not None and not tensor.is_floating_point()


class _Memory:
    """What shared layers put out in the first run, for the second."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._modules = list({id(module): module for module in modules}.values())
        self._kept: dict[int, list[Any]] = {id(module): [] for module in self._modules}

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Run the layers, and keep what they put out."""

        def run(module: nn.Module, plain: Callable[..., Any]) -> Callable[..., Any]:
            def forward(*args: Any, **kwargs: Any) -> Any:
                output = plain(*args, **kwargs)
                # The model may go on in place: what is kept is apart from it.
                self._kept[id(module)].append(output.clone() if isinstance(output, Tensor) else output)
                return output

            return forward

        with self._instead(run):
            yield

    @contextmanager
    def giving(self) -> Iterator[None]:
        """Give what was kept, in the order in which it came."""

        def run(module: nn.Module, plain: Callable[..., Any]) -> Callable[..., Any]:
            def forward(*args: Any, **kwargs: Any) -> Any:
                kept = self._kept[id(module)]
                return kept.pop(0) if kept else plain(*args, **kwargs)

            return forward

        with self._instead(run):
            yield

    @contextmanager
    def _instead(self, make: Callable[[nn.Module, Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
        before = [module.__dict__.get("forward") for module in self._modules]
        try:
            for module in self._modules:
                module.__dict__["forward"] = make(module, module.forward)
            yield
        finally:
            for module, own in zip(self._modules, before, strict=True):
                if own is None:
                    module.__dict__.pop("forward", None)
                else:
                    module.__dict__["forward"] = own


def _same(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or not a.is_floating_point():
        return torch.equal(a, b)
    return float((a - b).norm()) <= 1e-4 * float(a.norm()) + 1e-12


def check_trunk(zipped: Zipped, run: Callable[[nn.Module], Any]) -> None:
    """Refuse a model whose shared layers do not read the same in both branches.

    Args:
        zipped: of two heads.
        run: runs a branch on a few samples.

    Raises:
        BadInput: when they differ.
    """
    modules = [zipped.branches[0].get_submodule(name) for name in zipped._trunk]
    seen: list[list[Tensor]] = []
    for branch in zipped.branches:
        own: list[Tensor] = []
        handles = [
            module.register_forward_pre_hook(lambda module, given, own=own: own.append(given[0].detach().clone()))
            for module in modules
        ]
        try:
            with torch.no_grad():
                run(branch)
        finally:
            for handle in handles:
                handle.remove()
        seen.append(own)
    same = len(seen[0]) == len(seen[1]) and all(_same(a, b) for a, b in zip(*seen, strict=True))
    if not same:
        raise BadInput(
            "What the shared layers read differs between the two heads, as the model makes it in a way that its graph "
            "of units does not tell: name an earlier layer as stop_at."
        )
