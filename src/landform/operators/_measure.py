"""What a graph holds, and what it takes: counted, not timed, so that the same choice is made every time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Saved:
    """Bytes that autograd keeps for graphs recorded inside.

    Attributes:
        bytes: the sum over tensors kept, one that is kept twice counted once; leaves do not count.
    """

    def __init__(self, leaves: Iterable[Tensor]) -> None:
        """Take the tensors that live anyway."""
        self._known = {leaf.untyped_storage().data_ptr() for leaf in leaves}
        self._found: dict[int, int] = {}
        self._hold: list[Tensor] = []
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    @property
    def bytes(self) -> int:
        """What was kept."""
        return sum(self._found.values())

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        where = storage.data_ptr()
        if where not in self._known:
            # A view keeps its whole storage; but a batch cut from the data is a view of data that live anyway.
            size = min(tensor.numel() * tensor.element_size(), storage.nbytes())
            self._found[where] = max(self._found.get(where, 0), size)
            self._hold.append(tensor)  # so that no other tensor is given the same place meanwhile
        return tensor

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        return self

    def __exit__(self, *why: object) -> None:
        self._hooks.__exit__(*why)
        self._hold.clear()


class Flops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Floating-point operations of matrix products and convolutions done inside.

    Attributes:
        count: how many.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled; to be told so, torch would first import its compiler, which takes seconds."""
        return False

    def __init__(self) -> None:
        """Begin at none."""
        super().__init__()  # type: ignore[no-untyped-call]

        self.count = 0
        self._formulas: Mapping[Any, Any] = flop_registry

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Do it, and count."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula: Callable[..., int] | None = self._formulas.get(func._overloadpacket)
        if formula is not None:
            self.count += int(formula(*args, **kwargs, out_val=out))
        return out
