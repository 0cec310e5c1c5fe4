"""Tensors as grids on which groups of units act, and what a permutation of the units does to the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from landform.alignment._axes import narrow, restrict
from landform.alignment._terms import FIXED, PROD, SUM, Axis, concat, contexts, find, fixed, nodes

Permutations: TypeAlias = Mapping[str, Tensor]

# A family over axes that stay is taken apart into single groups up to this many.
_MOST = 64


@dataclass(frozen=True)
class Group:
    """Units that can change places with one another.

    Attributes:
        name: after the first tensor they are units of.
        size: how many units.
        per: groups for each unit of which there is a permutation of its own (the places inside a head of attention).
        copies: how many permutations that makes, one axis for each of ``per``.
        acts: the tensors and axes on which the group acts.
    """

    name: str
    size: int
    per: tuple[str, ...] = ()
    copies: tuple[int, ...] = ()
    acts: tuple[tuple[str, int], ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its permutations, ``[*copies, size]``."""
        return (*self.copies, self.size)


@dataclass(frozen=True)
class Piece:
    """Some places of an axis as a grid: place ``start + sum of index times stride``.

    Attributes:
        start: the first place.
        factors: for each axis of the grid the group that acts on it (None if it stays), its size and its stride.
    """

    start: int
    factors: tuple[tuple[str | None, int, int], ...]

    @property
    def size(self) -> int:
        """How many places."""
        return math.prod(size for _, size, _ in self.factors)

    @cached_property
    def places(self) -> Tensor:
        """All places, ``[size]``."""
        found = torch.tensor([self.start])
        for _, size, stride in self.factors:
            found = (found[:, None] + stride * torch.arange(size)).reshape(-1)
        return found


@dataclass(frozen=True)
class Block:
    """A part of a tensor on which groups act along the axes of a grid.

    Attributes:
        pieces: one for each axis of the tensor.
    """

    pieces: tuple[Piece, ...]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of the grid."""
        return tuple(size for piece in self.pieces for _, size, _ in piece.factors)

    @cached_property
    def groups(self) -> tuple[str | None, ...]:
        """Which group acts on each axis of the grid."""
        return tuple(group for piece in self.pieces for group, _, _ in piece.factors)

    @cached_property
    def owners(self) -> tuple[int, ...]:
        """Which axis of the tensor each axis of the grid lies in."""
        return tuple(number for number, piece in enumerate(self.pieces) for _ in piece.factors)

    def take(self, tensor: Tensor) -> Tensor:
        """The block's numbers out of a tensor, as a grid.

        Args:
            tensor: the whole tensor.

        Returns:
            ``[*shape]``.
        """
        for dim, piece in enumerate(self.pieces):
            if piece.size != tensor.shape[dim] or not _in_order(piece):
                tensor = tensor.index_select(dim, piece.places.to(tensor.device))
        return tensor.reshape(self.shape)

    def put(self, tensor: Tensor, grid: Tensor) -> Tensor:
        """Write the block's numbers into a tensor.

        Args:
            tensor: the whole tensor; it is changed where that is possible.
            grid: ``[*shape]``.

        Returns:
            The tensor with the block's numbers.
        """
        rows = grid.reshape([piece.size for piece in self.pieces])
        places = [piece.places.to(tensor.device) for piece in self.pieces]
        if all(piece.size == size and _in_order(piece) for piece, size in zip(self.pieces, tensor.shape, strict=True)):
            return rows
        mesh = [p.reshape([-1 if d == dim else 1 for d in range(len(places))]) for dim, p in enumerate(places)]
        return tensor.index_put(tuple(mesh), rows)

    def give(self, dim: int, group: str) -> int:
        """Which axis of the grid tells a family on another axis which of its permutations to use.

        Args:
            dim: the family's axis of the grid.
            group: one of the groups it is a family over.

        Returns:
            The number of an axis of the grid, of the same axis of the tensor where there is one.
        """
        every = [d for d, name in enumerate(self.groups) if name == group]
        return next((d for d in every if self.owners[d] == self.owners[dim]), every[0])

    def permute(self, grid: Tensor, groups: Sequence[Group], permutations: Permutations) -> Tensor:
        """Let groups act on a grid: ``new[.., i, ..] = old[.., p[i], ..]``.

        Args:
            grid: ``[*shape]``.
            groups: those that act, what families are over before the families.
            permutations: by group, ``[*copies, size]``; groups left out stay.

        Returns:
            The grid, permuted.
        """
        for group in groups:
            if group.name not in self.groups or group.name not in permutations:
                continue
            order = permutations[group.name].to(grid.device)
            for dim, name in enumerate(self.groups):
                if name == group.name:
                    grid = self._permuted(grid, dim, group, order)
        return grid

    def _permuted(self, grid: Tensor, dim: int, group: Group, order: Tensor) -> Tensor:
        if not group.per:
            return grid.index_select(dim, order)
        return grid.take_along_dim(self.spread(order, dim, group), dim)

    def spread(self, order: Tensor, dim: int, group: Group) -> Tensor:
        """Lay a family's numbers ``[*copies, size]`` along the axes of a grid, the others of one place."""
        at = [*(self.give(dim, one) for one in group.per), dim]
        order = order.permute(sorted(range(len(at)), key=lambda number: at[number]))
        return order.reshape([self.shape[d] if d in at else 1 for d in range(len(self.shape))])


def _in_order(piece: Piece) -> bool:
    stride = 1
    for _, size, own in reversed(piece.factors):
        if own != stride:
            return False
        stride *= size
    return piece.start == 0


# Grids while groups have no names yet: for each axis the first place, and the factors with their strides.
Plan: TypeAlias = list[tuple[int, list[tuple[Axis, int]]]]


def plans(axes: Sequence[Axis]) -> Iterator[Plan]:
    """Take the axes of a tensor apart into grids, on each axis of which one group acts or none.

    Args:
        axes: of the tensor.

    Yields:
        The grids.
    """
    yield from _parted([(0, [(axis, 1)]) for axis in axes])


def _parted(plan: Plan) -> Iterator[Plan]:
    for number, (start, factors) in enumerate(plan):
        for place, (axis, stride) in enumerate(factors):
            term = find(axis)
            if term.kind == PROD:
                inner: list[tuple[Axis, int]] = []
                size = stride
                for part in reversed(term.parts):
                    inner.insert(0, (part, size))
                    size *= part.size
                changed = [*plan]
                changed[number] = (start, [*factors[:place], *inner, *factors[place + 1 :]])
                yield from _parted(changed)
                return
            if term.kind == SUM:
                offset = 0
                # An axis that has the sum itself is told by its own.
                told = [
                    m == number or all(node is not term for one, _ in others for node in nodes(one))
                    for m, (_, others) in enumerate(plan)
                ]
                for part in term.parts:
                    within = [
                        (first, [(restrict(one, part) if told[m] else one, step) for one, step in others])
                        for m, (first, others) in enumerate(plan)
                    ]
                    within[number][1][place] = (part, stride)
                    within[number] = (start + offset * stride, within[number][1])
                    yield from _parted(within)
                    offset += part.size
                return
    if _single(plan):
        yield from _parted(plan)
        return
    for _, factors in plan:
        for axis, _ in factors:
            # What a family is over must be an axis of the grid; sums are none.
            narrow(axis, {id(find(one)) for _, others in plan for one, _ in others})
    yield [(start, [(find(axis), step) for axis, step in factors]) for start, factors in plan]


def _single(plan: Plan) -> bool:
    """Take families over axes that stay apart, where these are few; tell whether there were any."""
    here = {id(find(axis)): find(axis) for _, factors in plan for axis, _ in factors}
    found = False
    for leaf in list(here.values()):
        for context in contexts(leaf) if leaf.per else ():
            if context.kind == FIXED and context.size <= _MOST and id(context) in here:
                context.link = concat([fixed(1, context.why) for _ in range(context.size)])
                found = True
    return found
