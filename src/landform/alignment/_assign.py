"""From how well units fit one another to the best permutation: linear assignment, families within their groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from landform.alignment._blocks import Block, Group


@dataclass
class Fit:
    """How well the units of one group, and of the families over it, fit those of another model.

    Attributes:
        plain: what it is worth to put unit j of the other where unit i is, ``[n, n]``.
        within: for each family over the group alone, what it is worth to put place j of the other's unit k where place
            i of unit h is, ``[n, n, m, m]`` at ``[h, k, i, j]``.
    """

    plain: Tensor
    within: dict[str, Tensor] = field(default_factory=dict)

    def add(self, name: str, table: Tensor) -> None:
        """Add to what is known of a family."""
        self.within[name] = self.within[name] + table if name in self.within else table


def assignment(worth: Tensor) -> Tensor:
    """The permutation of the largest sum of ``worth[i, p[i]]``, for each of a batch of matrices.

    Args:
        worth: ``[..., n, n]``.

    Returns:
        ``[..., n]``, whole numbers on the CPU.
    """
    from scipy.optimize import linear_sum_assignment

    plain = worth.detach().to("cpu", torch.float64)
    flat = plain.reshape(-1, *plain.shape[-2:]).numpy()
    orders = [torch.from_numpy(linear_sum_assignment(one, maximize=True)[1]) for one in flat]
    return torch.stack(orders).reshape(plain.shape[:-1])


def best(fit: Fit) -> tuple[Tensor, dict[str, Tensor]]:
    """The best permutation of a group together with those of the families over it.

    What a pair of units is worth depends on how well the places within them can be put: each pair is solved for first.

    Args:
        fit: how well they fit.

    Returns:
        The permutation ``[n]``, and for each family ``[n, m]``.
    """
    worth = fit.plain.detach().to("cpu", torch.float64)
    inner: dict[str, Tensor] = {}
    for name, table in fit.within.items():
        table = table.detach().to("cpu", torch.float64)
        inner[name] = assignment(table)
        worth = worth + table.gather(-1, inner[name].unsqueeze(-1)).squeeze(-1).sum(-1)
    order = assignment(worth)
    rows = torch.arange(len(order))
    return order, {name: orders[rows, order] for name, orders in inner.items()}


def families(group: Group, groups: Sequence[Group]) -> list[str]:
    """Names of the families over one group alone."""
    return [other.name for other in groups if other.per == (group.name,)]


def undone(block: Block, grid: Tensor, dim: int, group: Group, order: Tensor) -> Tensor:
    """Take back what a permutation did along one axis of a grid.

    Args:
        block: the block.
        grid: ``[*shape]``, permuted.
        dim: which axis.
        group: the group that acts on it.
        order: its permutation, ``[*copies, size]``; a family's, for units as they are now.

    Returns:
        ``[*shape]``.
    """
    back = order.to(grid.device).argsort(-1)
    return grid.index_select(dim, back) if not group.per else grid.take_along_dim(block.spread(back, dim, group), dim)


def products(first: Tensor, second: Tensor, dims: Sequence[int]) -> Tensor:
    """Inner products of two grids over all axes but some.

    Args:
        first: ``[*shape]``.
        second: the same shape.
        dims: the axes that stay, each twice.

    Returns:
        ``[*sizes, *sizes]``: first the axes of the one, then of the other.
    """
    sizes = [first.shape[dim] for dim in dims]
    rows = [
        t.movedim(list(dims), list(range(len(dims)))).reshape(torch.Size(sizes).numel(), -1) for t in (first, second)
    ]
    return (rows[0] @ rows[1].T).reshape(*sizes, *sizes)


def paired(table: Tensor, dims: int, keep: Sequence[int], orders: Mapping[int, Tensor]) -> Tensor:
    """Put axes of a table of pairs together by known permutations, and sum over them.

    Args:
        table: ``[*sizes, *sizes]``.
        dims: how many sizes.
        keep: which of them stay.
        orders: for each of the others its permutation, ``[size]``.

    Returns:
        ``[*kept sizes, *kept sizes]``.
    """
    for dim in sorted(set(range(dims)) - set(keep), reverse=True):
        half = table.dim() // 2
        table = table.index_select(half + dim, orders[dim].to(table.device)).diagonal(dim1=dim, dim2=half + dim).sum(-1)
    return table
