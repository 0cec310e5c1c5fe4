"""Activations of units while a model runs: what each product sums over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from landform.alignment._blocks import Block
from landform.alignment._products import PRODUCTS
from landform.alignment._symmetries import Read
from landform.alignment._trace import plainly
from landform.errors import BadInput


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode under which the activations of units are handed on."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled; to be told so, torch would first import its compiler, which takes seconds."""
        return False

    def __init__(self, reads: Sequence[Read], take: Callable[[int, Tensor], None]) -> None:
        """Say what to look at.

        Args:
            reads: where.
            take: told the number of the read and the activations, ``[samples, *sizes of the groups]``.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._reads: dict[int, list[tuple[int, Read]]] = {}
        for number, read in enumerate(reads):
            self._reads.setdefault(read.product, []).append((number, read))
        self._take, self._product, self._last = take, 0, max(self._reads, default=0)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Look at one forward pass, while this context lasts.

        Yields:
            Nothing.

        Raises:
            BadInput: when the forward pass is another one than that in which the symmetries were found.
        """
        self._product = 0
        with plainly(), self:
            yield
        if self._product <= self._last:
            raise BadInput(
                "The model runs other operations for this batch than for the first samples, by which its units were "
                "found: match units by weights."
            )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        space, _, name = func._schema.name.partition("::")
        if space == "aten" and name in PRODUCTS:
            for number, read in self._reads.get(self._product, ()):
                given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
                self._take(number, activations(given[read.place], read))
            self._product += 1
        return func(*args, **kwargs)


def activations(tensor: Tensor, read: Read) -> Tensor:
    """Lay a tensor out with the units last.

    Args:
        tensor: what goes into a product.
        read: where its units are.

    Returns:
        ``[samples, *sizes]``, one size for each group of the read.

    Raises:
        BadInput: when its shape is not that of the first samples.
    """
    shape: list[int] = []
    groups: list[int] = []
    for dim, piece in enumerate(read.block.pieces):
        size = tensor.shape[dim]
        factors = [(group, count) for group, count, _ in piece.factors]
        if dim == read.axis or (size == read.sizes[dim] and any(group for group, _ in factors)):
            if size != piece.size:
                tensor = tensor.index_select(dim, piece.places.to(tensor.device))
        elif not any(group for group, _ in factors):
            factors = [(None, size)]
        else:  # samples merged with units, such as batch and heads: there may be more of them now
            inner = piece.size // factors[0][1]
            if factors[0][0] is not None or piece.size != read.sizes[dim] or size % inner:
                raise BadInput("The units of this model lie elsewhere for larger batches: match units by weights.")
            factors[0] = (factors[0][0], size // inner)
        for group, count in factors:
            if group is not None:
                groups.append(len(shape))
            shape.append(count)
    grid = tensor.reshape(shape)
    grid = grid.movedim(groups, list(range(grid.dim() - len(groups), grid.dim())))
    return grid.reshape(-1, *grid.shape[grid.dim() - len(groups) :])


def acting(block: Block) -> tuple[str, ...]:
    """The groups of a read, in the order of the axes that `activations` gives."""
    return tuple(group for group in block.groups if group is not None)


class Cross:
    """Correlations between the units of two models, gathered batch by batch, in float64.

    Batches are centred on their own means and joined as Chan, Golub and LeVeque (1983) do.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.count = 0
        self._means: list[Tensor] = []
        self._squares: list[Tensor] = []
        self._peaks: list[Tensor] = []
        self._scatter: Tensor | None = None

    def add(self, first: Tensor, second: Tensor) -> None:
        """Take a batch.

        Args:
            first: of the one, ``[N, F]``.
            second: of the other, the same samples.
        """
        wide = torch.float32 if first.device.type == "mps" else torch.float64
        both = (first, second)
        means = [t.to(wide).mean(0) for t in both]
        apart = [t - mean.to(t) for t, mean in zip(both, means, strict=True)]
        squares = [t.to(wide).square().sum(0) for t in apart]
        peaks = [t.abs().amax(0).to(wide) for t in both]
        scatter = (apart[0].T @ apart[1]).to(wide)
        if self._scatter is None:
            self.count, self._means, self._squares, self._peaks = len(first), means, squares, peaks
            self._scatter = scatter
            return
        total = self.count + len(first)
        weight = self.count * len(first) / total
        shifts = [new - old for new, old in zip(means, self._means, strict=True)]
        self._scatter += scatter + weight * torch.outer(*shifts)
        self._squares = [s + t + weight * d.square() for s, t, d in zip(self._squares, squares, shifts, strict=True)]
        self._means = [m + d * (len(first) / total) for m, d in zip(self._means, shifts, strict=True)]
        self._peaks = [torch.maximum(p, q) for p, q in zip(self._peaks, peaks, strict=True)]
        self.count = total

    def correlations(self) -> Tensor:
        """Of each unit of the one with each of the other, ``[F, F]``; 0 for a unit that does not vary."""
        assert self._scatter is not None
        spreads = []
        for squares, peaks in zip(self._squares, self._peaks, strict=True):
            rounding = 8 * 1.2e-7 * peaks  # what float32 activations that do not vary can show
            alive = squares > self.count * rounding.square()
            spreads.append(torch.where(alive, squares.rsqrt(), 0.0))
        return (self._scatter * torch.outer(*spreads)).nan_to_num()
