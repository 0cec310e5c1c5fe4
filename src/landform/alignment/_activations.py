"""Activation matching: put units together whose activations go together over the data.

The worth of a pair of units is the correlation of what the next layers read of them, summed over the places where they
are read. Groups do not depend on one another, so that one assignment each is the best there is.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from landform.alignment._assign import Fit, assignment, best, families, undone
from landform.alignment._blocks import Block, Group, Permutations, Piece
from landform.alignment._symmetries import Symmetries
from landform.alignment._watch import Cross, Watch, acting
from landform.landscape import Landscape

# What is known of some groups together: their names, and correlations [*sizes, *sizes].
Table = tuple[tuple[str, ...], Tensor]


def correlate(
    landscape: Landscape, symmetries: Symmetries, points: tuple[Tensor, Tensor], buffers: tuple[object, object]
) -> list[Table]:
    """Correlate the units of two points, in one pass for each point.

    Args:
        landscape: the landscape.
        symmetries: of its model.
        points: the two, ``[P]`` each.
        buffers: for each the buffers to use, or None for the landscape's own.

    Returns:
        For each place where units are read their correlations.
    """
    blocks = [next(landscape._blocks(p, own)) for p, own in zip(points, buffers, strict=True)]  # type: ignore[arg-type]
    reads = symmetries.reads
    crosses: dict[tuple[int, tuple[str, ...]], Cross] = {}
    shapes: dict[tuple[int, tuple[str, ...]], torch.Size] = {}
    for batch in landscape._data.batches(landscape._batch_size):
        taken: list[dict[int, Tensor]] = []
        for point, own in blocks:
            seen: dict[int, Tensor] = {}

            def keep(number: int, units: Tensor, seen: dict[int, Tensor] = seen) -> None:
                seen[number] = units.clone()  # a model that goes on in place would change it

            with Watch(reads, keep).on():
                landscape._function(landscape.layout.views(point), own, partial(landscape._on_batch, batch))
            taken.append(seen)
        for number, first in taken[0].items():
            key = reads[number].site, acting(reads[number].block)
            shapes[key] = first.shape[1:]
            rows = [t.reshape(len(t), -1) for t in (first, taken[1][number])]
            crosses.setdefault(key, Cross()).add(*rows)
    return [(key[1], cross.correlations().reshape(*shapes[key], *shapes[key])) for key, cross in crosses.items()]


class Correlations:
    """Correlations as what permutations are chosen by.

    Attributes:
        now: permutations as they are, by group.
        read: names of the groups of which anything is known.
    """

    def __init__(self, symmetries: Symmetries, tables: list[Table], start: Permutations) -> None:
        """Begin with permutations.

        Args:
            symmetries: the groups.
            tables: what is known.
            start: by group.
        """
        self.symmetries, self.now = symmetries, dict(start)
        self.groups = {group.name: group for group in symmetries.groups}
        self.tables = [(_pairs(names, table), table) for names, table in tables]
        self.read = {name for names, _ in tables for name in names}

    def value(self, now: Permutations | None = None) -> float:
        """Mean correlation of matched units, over units and places where they are read."""
        total, count = 0.0, 0
        for block, table in self.tables:
            moved = block.permute(table, self.symmetries.groups, self.now if now is None else now)
            units = moved.reshape(int(moved.numel() ** 0.5), -1).diagonal()
            total, count = total + float(units.sum()), count + len(units)
        return total / count if count else 0.0

    def improve(self, group: Group) -> bool:
        """Find the best permutation of a group; take it where it helps."""
        over = [] if group.per else families(group, self.symmetries.groups)
        fit = Fit(torch.zeros(*group.copies, group.size, group.size, dtype=torch.float64))
        for block, table in self.tables:
            if group.name in block.groups:
                self._fit(fit, block, table.cpu().double(), group, over)
        if group.per:
            found = {group.name: assignment(fit.plain)}
        else:
            order, within = best(fit)
            found = {group.name: order, **within}
        if all(torch.equal(order, self.now[name]) for name, order in found.items()):
            return False
        before, after = self.value(), self.value({**self.now, **found})
        if not after > before + 1e-12 * abs(before):
            return False
        self.now.update(found)
        return True

    def _fit(self, fit: Fit, block: Block, table: Tensor, group: Group, over: list[str]) -> None:
        half = table.dim() // 2
        names = block.groups[half:]
        moved = block.permute(table, self.symmetries.groups, self.now)
        dim = names.index(group.name)
        place = next((d for d, name in enumerate(names) if name in over), None)
        if place is not None:
            within = self.groups[str(names[place])]
            moved = undone(block, moved, half + place, within, self.now[within.name])
        moved = undone(block, moved, half + dim, group, self.now[group.name])
        keep = [dim] if place is None else [dim, place]
        pairs = _facing(moved, keep, [names.index(one) for one in group.per])
        if place is None:
            fit.plain += pairs
        else:
            fit.add(str(names[place]), pairs)


def _facing(table: Tensor, keep: list[int], contexts: list[int]) -> Tensor:
    """Sum a table over pairs of units that face one another, but for some axes.

    Args:
        table: ``[*sizes, *sizes]``.
        keep: axes of which every pair is told.
        contexts: axes that are not summed over.

    Returns:
        ``[*contexts, n, n]``, or ``[*contexts, n, n, m, m]`` for two kept axes.
    """
    half = table.dim() // 2
    ours = [chr(97 + d) for d in range(half)]
    theirs = [chr(97 + half + d) if d in keep else ours[d] for d in range(half)]
    out = [ours[d] for d in contexts] + [letter for d in keep for letter in (ours[d], theirs[d])]
    return torch.einsum(f"{''.join(ours + theirs)}->{''.join(out)}", table)


def first_side(names: tuple[str, ...], table: Tensor) -> Block:
    """The axes of a table as a grid, on which the groups act along those of the first model."""
    return _grid([*names, *([None] * len(names))], table)


def _pairs(names: tuple[str, ...], table: Tensor) -> Block:
    """The axes of a table as a grid: those of the first model stay, those of the second are permuted."""
    return _grid([*([None] * len(names)), *names], table)


def _grid(groups: list[str | None], table: Tensor) -> Block:
    return Block(tuple(Piece(0, ((group, size, 1),)) for group, size in zip(groups, table.shape, strict=True)))
