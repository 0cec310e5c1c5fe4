"""A tensor that stands for n tensors of one shape, so that n models run as one program.

`torch.vmap` does the same for any operation, but it lowers a linear layer to a row-major batched product and a
convolution to one that measured 2.5 times slower than a loop. A `Stacked` tensor is seen by a module's own ``forward``
as one tensor of the model's own shape; underneath, each operation it meets is carried out for all n at once by the rule
that is quickest for it, and by `torch.vmap` where there is no rule.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from landform.errors import BadInput

Rule = Callable[..., Any]
_RULES: dict[Any, Rule] = {}


class Unstackable(BadInput):
    """An operation cannot be carried out for many models at once; the message names it."""


class Stacked(Tensor):
    """n tensors of one shape, held as one.

    Attributes:
        raw: the tensors, ``[n, *shape]``, an ordinary tensor that autograd sees. Its memory need not be in that order:
            the outputs of dense layers lie feature by feature, because reductions over the features then run along the
            samples, several times quicker for few features.
    """

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> Stacked:
        """Wrap ``raw`` (``[n, *shape]``) as a tensor that claims to have shape ``shape``."""
        made: Stacked = Tensor._make_wrapper_subclass(
            cls, raw.shape[1:], dtype=raw.dtype, device=raw.device, requires_grad=False
        )
        made.raw = raw
        return made

    @property
    def count(self) -> int:
        """n, how many tensors it stands for."""
        return self.raw.shape[0]

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Stacked({self.count} x {tuple(self.raw.shape[1:])})"

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Carry ``func`` out for all n at once."""
        kwargs = kwargs or {}
        rule = _RULES.get(func)
        if rule is not None:
            result = rule(func, *args, **kwargs)
            if result is not NotImplemented:
                return result
        elif func in _QUESTIONS:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        return _by_vmap(func, args, kwargs)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Refuse what reached the tensor below every rule."""
        raise Unstackable(f"{func} cannot run for many models at once.")


def stack(raw: Tensor) -> Stacked:
    """Let ``raw`` (``[n, *shape]``) stand for n tensors of shape ``shape``.

    Args:
        raw: the n tensors.

    Returns:
        The tensor a module can be given.
    """
    return Stacked(raw)


def rule_for(*functions: Any) -> Callable[[Rule], Rule]:
    """Register how some torch functions run on stacked tensors.

    The rule is called as ``rule(function, *args, **kwargs)`` with at least one stacked tensor among the arguments; it
    may return `NotImplemented` to leave the case to `torch.vmap`.

    Args:
        functions: the functions, as ``__torch_function__`` is given them.

    Returns:
        A decorator that registers a rule and returns it.
    """

    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(functions, rule))
        return rule

    return register


def named(*names: str) -> list[Any]:
    """Find torch functions by name, wherever torch has them: as functions, as methods and as operators.

    Args:
        names: such as ``"add"``, for ``torch.add``, ``Tensor.add``, ``Tensor.add_``, ``Tensor.__add__`` and so on.

    Returns:
        All that exist.
    """
    found = []
    for name in names:
        spellings = (name, f"{name}_", f"__{name}__", f"__r{name}__", f"__i{name}__")
        for home in (torch, Tensor, torch.nn.functional, torch.special):
            found += [getattr(home, spelling) for spelling in spellings if callable(getattr(home, spelling, None))]
    return found


def _by_vmap(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run what has no rule through `torch.vmap`."""
    leaves, spec = pytree.tree_flatten((args, kwargs))
    at = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Stacked)]

    def one(*raws: Tensor) -> Any:
        filled = list(leaves)
        for i, raw in zip(at, raws, strict=True):
            filled[i] = raw
        own_args, own_kwargs = pytree.tree_unflatten(filled, spec)
        return func(*own_args, **own_kwargs)

    try:
        with warnings.catch_warnings():
            # An operation that vmap itself loops over is slow, not wrong.
            warnings.filterwarnings("ignore", "There is a performance drop")
            result = torch.vmap(one, randomness="different")(*(leaves[i].raw for i in at))
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as why:
        name = getattr(func, "__name__", str(func))
        raise Unstackable(f"{name} cannot run for many models at once ({_first_line(why)}).") from why
    return pytree.tree_map_only(Tensor, Stacked, result)


def _first_line(why: Exception) -> str:
    lines = str(why).strip().splitlines()
    return lines[0][:160] if lines else type(why).__name__


# Questions about one model's tensor, answered from the shape, dtype and device that the wrapper claims.
_QUESTIONS = {
    getattr(Tensor, name).__get__
    for name in ("shape", "dtype", "device", "ndim", "layout", "is_cuda", "is_mps", "is_sparse", "is_quantized",
                 "is_nested", "is_meta", "is_cpu", "itemsize", "nbytes")
    if hasattr(Tensor, name)
} | {
    Tensor.size, Tensor.dim, Tensor.numel, Tensor.nelement, Tensor.ndimension, Tensor.is_floating_point,
    Tensor.is_complex, Tensor.__len__, Tensor.get_device, Tensor.element_size, torch.numel, torch.is_floating_point,
    torch.is_complex, Tensor.__hash__, Tensor.type,
}  # fmt: skip


@rule_for(Tensor.requires_grad.__get__)  # type: ignore[attr-defined]
def _requires_grad(func: Any, x: Stacked) -> bool:
    return x.raw.requires_grad


@rule_for(Tensor.detach)
def _detach(func: Any, x: Stacked) -> Stacked:
    return Stacked(x.raw.detach())
