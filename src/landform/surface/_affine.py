"""Weights that need not be made: what their layer puts out is a mixture of what it puts out at a few nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from landform.stacked import Stacked
from landform.surface._layers import LAYERS, positional


class Kept:
    """What layers that read the data put out at the nodes, kept for each batch.

    Attributes:
        nodes: the nodes' parameters by name, ``[k, *shape]``.
        budget: bytes that may be kept; what does not fit is worked out anew at every mixture.
        spent: bytes that are kept.
        tall: whether images are kept with their channels innermost.
    """

    def __init__(self, nodes: Mapping[str, Tensor], budget: float, *, tall: bool = False) -> None:
        """Begin with nothing kept."""
        self.nodes, self.budget, self.tall = nodes, budget, tall
        self._kept: dict[tuple[int, int], Any] = {}
        self.spent = 0.0
        self._weights: tuple[float, ...] = ()
        self._block = torch.empty(0)
        self._batch = self._call = 0

    def at(self, weights: Tensor) -> None:
        """Go to a mixture ``[k]``, or to several ``[n, k]``; the first batch is next."""
        if weights.dim() == 1:
            self._weights = tuple(weights.tolist())
        else:
            self._block = weights
        self._batch = self._call = 0

    def next_batch(self) -> None:
        """Say that a batch is done."""
        self._batch += 1
        self._call = 0

    def forget(self) -> None:
        """Keep nothing of it."""
        self._kept, self.spent = {}, 0.0

    def one(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
        """What a layer puts out at the mixture; the next call writes over it."""
        key, found = self._found()
        if found is None:
            parts = [func(args[0], *rest, **kwargs) for rest in self._at_nodes(args, kwargs)]
            if self.tall and func is torch.conv2d:
                parts = [part.contiguous(memory_format=torch.channels_last) for part in parts]
            found = self._keep(key, Mixture(parts), 2 * sum(part.nbytes for part in parts))
        mixed: Tensor = found.at(self._weights)
        return mixed

    def many(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Stacked:
        """What a layer puts out at each of several mixtures, lying as the rules of a stack have it."""
        key, found = self._found()
        x = args[0]
        if found is None:
            parts = [func(x, *rest, **kwargs) for rest in self._at_nodes(args, kwargs)]
            if func is F.linear:  # [k, o, b]: the features before the samples
                base = torch.stack([part.reshape(-1, part.shape[-1]).t() for part in parts])
            else:  # [b, k, c, ...]
                base = torch.stack(parts, dim=1)
            found = self._keep(key, base, base.nbytes)
        n = len(self._block)
        if func is F.linear:
            o = found.shape[1]
            y = (self._block @ found.view(len(found), -1)).view(n, o, -1).transpose(1, 2)
            return Stacked(y if x.dim() == 2 else y.reshape(n, *x.shape[:-1], o))
        y = self._block @ found.flatten(2)
        return Stacked(y.view(len(found), n, *found.shape[2:]).transpose(0, 1))

    def _found(self) -> tuple[tuple[int, int], Any]:
        key = (self._batch, self._call)
        self._call += 1
        return key, self._kept.get(key)

    def _keep(self, key: tuple[int, int], made: Any, size: float) -> Any:
        if self.spent + size <= self.budget:
            self._kept[key] = made
            self.spent += size
        return made

    def _at_nodes(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        """The layer's weight, bias and further arguments at each node."""
        weight, bias = args[1], args[2] if len(args) > 2 else None
        shifts = [None] * len(self.nodes[weight.called]) if bias is None else self.nodes[bias.called]
        return [(w, b, *args[3:]) for w, b in zip(self.nodes[weight.called], shifts, strict=True)]


class Mixture:
    """Outputs at k nodes, and their mixtures.

    Attributes:
        parts: what the layer puts out at each node, of one shape.
    """

    def __init__(self, parts: list[Tensor]) -> None:
        """Take the outputs."""
        self.parts = parts
        self._sums = [torch.empty_like(part) for part in parts]
        self._last: tuple[float, ...] = ()

    def at(self, weights: tuple[float, ...]) -> Tensor:
        """Mix; what the weights begin with alike from one call to the next is not summed again."""
        last, self._last = self._last, weights
        same = 0
        while same < len(last) - 1 and last[same] == weights[same]:
            same += 1
        for i in range(same, len(weights)):
            if i == 0:
                torch.mul(self.parts[0], weights[0], out=self._sums[0])
            else:
                torch.add(self._sums[i - 1], self.parts[i], alpha=weights[i], out=self._sums[i])
        return self._sums[-1]


class Absent(Tensor):
    """A weight or a bias that its layer does without; whoever looks at its numbers sees nan.

    Attributes:
        called: the parameter's name.
        kept: what its layer puts out.
    """

    called: str
    kept: Kept

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Give what the layer puts out; all else sees nan."""
        if func in LAYERS and len(args) > 1 and isinstance(args[1], Absent):
            return args[1].kept.one(func, *positional(args, kwargs))
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]


class AbsentStack(Stacked):
    """The same for n models at once.

    Attributes:
        called: the parameter's name.
        kept: what its layer puts out.
    """

    called: str
    kept: Kept

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Give what the layer puts out at each; all else sees nan."""
        if func in LAYERS and len(args) > 1 and isinstance(args[1], AbsentStack):
            return args[1].kept.many(func, *positional(args, kwargs))
        return super().__torch_function__(func, types, args, kwargs or {})


def absent(kept: Kept, name: str, n: int | None = None) -> Tensor:
    """Make a parameter that its layer does without.

    Args:
        kept: what the layer puts out.
        name: the parameter.
        n: for how many models at once; None for one.

    Returns:
        A tensor of its shape, or one that stands for n of them.
    """
    like = kept.nodes[name]
    blank = torch.full((1,), torch.nan, dtype=like.dtype, device=like.device)
    if n is None:
        made: Any = blank.expand(like.shape[1:]).as_subclass(Absent)
    else:
        made = Stacked.__new__(AbsentStack, blank.expand(n, *like.shape[1:]))
    made.called, made.kept = name, kept
    result: Tensor = made
    return result
