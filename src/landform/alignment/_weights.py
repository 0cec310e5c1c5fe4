"""Weight matching: permute one point so that it lies as near as possible to another.

Coordinate descent (Ainsworth, Hayase and Srinivasa 2023, algorithm 1): with all groups but one held, the sum of
``a * permuted(b)`` is linear in the permutation of that one, and the best is found by linear assignment. Groups with
families over them (heads of attention) are solved together with these. Groups that meet themselves in a tensor
(recurrent weights) are solved as if they met what they are now, and the step is taken where it helps.

The descent ends in a local optimum, so much depends on where it begins. Here that is one pass from what stays (inputs,
outputs) inwards, each group by the tensors alone whose other groups are solved already: a planted permutation is found
in that pass.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from landform.alignment._assign import Fit, assignment, best, families, products, undone
from landform.alignment._blocks import Block, Group, Permutations
from landform.alignment._descent import Descent, descend, movable
from landform.alignment._symmetries import Symmetries


def match_weights(
    symmetries: Symmetries,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    *,
    start: Permutations | None,
    sweeps: int,
    generator: torch.Generator,
    only: Collection[str] | None = None,
) -> Descent:
    """Sweep over the groups in random order until no permutation changes.

    Args:
        symmetries: the groups.
        a: the tensors to come near to, by name.
        b: the tensors to permute.
        start: permutations to begin with; a pass from what stays inwards if not given.
        sweeps: the most sweeps.
        generator: of the order of groups.
        only: names of the groups to move; all if not given.

    Returns:
        The permutations; the objective is ``sum(a * permuted(b))``.
    """
    matcher = _Matcher(symmetries, a, b, symmetries.identity() if start is None else dict(start))
    moving = movable(symmetries, only)
    if start is None:
        matcher.inwards(moving)
    return descend(matcher, moving, sweeps, generator)


class _Matcher:
    def __init__(
        self, symmetries: Symmetries, a: Mapping[str, Tensor], b: Mapping[str, Tensor], now: dict[str, Tensor]
    ) -> None:
        self.symmetries, self.a, self.b, self.now = symmetries, a, b, now
        self.groups = {group.name: group for group in symmetries.groups}
        self.fitted = {
            name: [(block, block.take(a[name]), block.take(b[name])) for block in blocks if any(block.groups)]
            for name, blocks in symmetries.blocks.items()
            if name in a
        }

    def value(self, names: Collection[str] | None = None, now: Permutations | None = None) -> float:
        """Sum of ``a * permuted(b)`` over all tensors, or some."""
        total = 0.0
        for name in self.fitted if names is None else names:
            for block, ours, theirs in self.fitted.get(name, ()):
                moved = block.permute(theirs, self.symmetries.groups, self.now if now is None else now)
                total += float((ours * moved).sum(dtype=None if ours.device.type == "mps" else torch.float64))
        return total

    def improve(self, group: Group) -> bool:
        """Find the best permutation of a group, all others held; take it where it helps."""
        found = self._family(group) if group.per else self._group(group)
        if all(torch.equal(order, self.now[name]) for name, order in found.items()):
            return False
        touched = {tensor for name in found for tensor, _ in self.groups[name].acts}
        before, after = self.value(touched), self.value(touched, {**self.now, **found})
        if not after > before + torch.finfo(next(iter(self.a.values())).dtype).eps * abs(before):
            return False
        self.now.update(found)
        return True

    def inwards(self, groups: Sequence[Group]) -> None:
        """Solve each group once, by the tensors whose other groups are solved: most numbers first."""
        solved = set(self.groups) - {name for group in groups for name in self._together(group)}
        left = list(groups)
        while left:
            said = [self._said(group, solved) for group in left]
            group = left.pop(said.index(max(said)))
            known = solved if max(said) else None
            self.now.update(self._family(group, known) if group.per else self._group(group, known))
            solved.update(self._together(group))

    def _together(self, group: Group) -> list[str]:
        return [group.name, *([] if group.per else families(group, self.symmetries.groups))]

    def _said(self, group: Group, solved: Collection[str]) -> int:
        """How many numbers there are that tell of a group, by what is solved."""
        told = (block for block, _, _ in self._blocks(group, solved))
        return sum(math.prod(block.shape) for block in told) // group.size

    def _blocks(self, group: Group, solved: Collection[str] | None) -> Iterator[tuple[Block, Tensor, Tensor]]:
        """Grids on which a group acts; if told what is solved, those that are free of what is not."""
        own = self._together(group)
        for name in dict.fromkeys(tensor for tensor, _ in group.acts):
            for block, ours, theirs in self.fitted.get(name, ()):
                others = [acting for acting in block.groups if acting is not None and acting not in own]
                count = block.groups.count(group.name)
                if count and (solved is None or (count == 1 and all(other in solved for other in others))):
                    yield block, ours, theirs

    def _group(self, group: Group, solved: Collection[str] | None = None) -> dict[str, Tensor]:
        over = families(group, self.symmetries.groups)
        fit: Fit | None = None
        for block, ours, theirs in self._blocks(group, solved):
            moved = block.permute(theirs, self.symmetries.groups, self.now)
            if fit is None:
                fit = Fit(moved.new_zeros(group.size, group.size))
            for dim, acting in enumerate(block.groups):
                if acting == group.name:
                    self._fit(fit, block, ours, moved, dim, group, over)
        if fit is None:
            return {}
        order, within = best(fit)
        return {group.name: order, **within}

    def _fit(
        self, fit: Fit, block: Block, ours: Tensor, moved: Tensor, dim: int, group: Group, over: list[str]
    ) -> None:
        """Add what one axis of one grid says."""
        places = [d for d, name in enumerate(block.groups) if name in over and block.give(d, group.name) == dim]
        if not places:
            fit.plain += products(ours, undone(block, moved, dim, group, self.now[group.name]), [dim])
            return
        place, name = places[0], str(block.groups[places[0]])
        back = undone(block, moved, place, self.groups[name], self.now[name])
        back = undone(block, back, dim, group, self.now[group.name])
        fit.add(name, products(ours, back, [dim, place]).permute(0, 2, 1, 3))

    def _family(self, group: Group, solved: Collection[str] | None = None) -> dict[str, Tensor]:
        """A family over several groups, or over a family: these are held."""
        worth: Tensor | None = None
        for block, ours, theirs in self._blocks(group, solved):
            moved = block.permute(theirs, self.symmetries.groups, self.now)
            for dim, acting in enumerate(block.groups):
                if acting != group.name:
                    continue
                back = undone(block, moved, dim, group, self.now[group.name])
                front = [block.give(dim, one) for one in group.per]
                rows = [t.movedim([*front, dim], list(range(len(front) + 1))) for t in (ours, back)]
                left, right = (t.reshape(*group.shape, -1) for t in rows)
                value = left @ right.transpose(-1, -2)
                worth = value if worth is None else worth + value
        return {} if worth is None else {group.name: assignment(worth)}
