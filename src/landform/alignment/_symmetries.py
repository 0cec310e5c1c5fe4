"""The permutations of units that leave a model's function as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from landform.alignment._blocks import Block, Group, Permutations
from landform.errors import BadInput
from landform.layout import Layout


@dataclass(frozen=True)
class Read:
    """Where the activations of units are read: what a product sums over.

    Attributes:
        product: which product of the forward pass, counted from 0.
        place: which of the tensors it is given.
        axis: the axis of that tensor which the product sums over.
        block: the grid of that tensor; axes that only count samples are of one place there.
        sizes: the shape of that tensor for the few samples by which the symmetries were found.
        site: the same number where the same weight reads again.
    """

    product: int
    place: int
    axis: int
    block: Block
    sizes: tuple[int, ...]
    site: int


@dataclass(frozen=True)
class Symmetries:
    """Groups of units that can change places, and how each acts on the parameters and on BatchNorm's statistics.

    Attributes:
        groups: the groups, those that families are over before the families.
        blocks: for each tensor the grids on whose axes the groups act; a tensor that nothing acts on has one as well.
        fixed: for each tensor and each of its axes why it stays, empty where it moves.
        layout: of the points the groups act on.
        buffers: the buffers they act on.
        held: operations that were not understood, whose units stay.
        reads: where activations of units are read in a forward pass.
        readers: parameters through which a product reads units of a group: pairs of a parameter and a group. Other
            parameters of the group make what the units are.
        error: largest change of the outputs of a few samples under a random permutation, over their largest value, as
            measured when the symmetries were found; nan if it was not.
    """

    groups: tuple[Group, ...]
    blocks: Mapping[str, tuple[Block, ...]]
    fixed: Mapping[str, tuple[str, ...]]
    layout: Layout
    buffers: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    reads: tuple[Read, ...] = ()
    readers: frozenset[tuple[str, str]] = frozenset()
    error: float = math.nan

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups."""
        return tuple(group.name for group in self.groups)

    def group(self, name: str) -> Group:
        """Find a group.

        Args:
            name: its name.

        Returns:
            The group.

        Raises:
            BadInput: when there is none of that name.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise BadInput(f"There is no group of units named {name!r}: there are {', '.join(self.names) or 'none'}.")

    @property
    def digits(self) -> float:
        """How many permutations there are, as a power of ten."""
        each = (math.prod(group.copies) * math.lgamma(group.size + 1) for group in self.groups)
        return sum(each) / math.log(10)

    def identity(self) -> dict[str, Tensor]:
        """The permutation that moves nothing.

        Returns:
            By group, ``[*copies, size]``.
        """
        return {g.name: torch.arange(g.size).expand(g.shape).clone() for g in self.groups}

    def random(self, seed: int = 0) -> dict[str, Tensor]:
        """Draw a permutation, every one as likely as any other.

        Args:
            seed: of the draw.

        Returns:
            By group, ``[*copies, size]``.
        """
        made = torch.Generator().manual_seed(seed)
        return {g.name: torch.rand(g.shape, generator=made, dtype=torch.float64).argsort(-1) for g in self.groups}

    def apply(self, point: Tensor, permutations: Permutations) -> Tensor:
        """Permute the units of a point; the function stays the same.

        Args:
            point: ``[P]``.
            permutations: by group, ``[*copies, size]``: unit i of the result is unit ``p[i]`` of the point. Groups that
                are left out stay.

        Returns:
            The permuted point, ``[P]``.

        Raises:
            BadInput: when it is no point of the layout, or these are no permutations of its groups.
        """
        self.layout.check(point)
        if point.dim() != 1:
            raise BadInput(f"Permute one point [{self.layout.size}] at a time; got {list(point.shape)}.")
        self.check(permutations)
        return self.layout.join(self.move(self.layout.views(point), permutations))

    def move(self, tensors: Mapping[str, Tensor], permutations: Permutations) -> dict[str, Tensor]:
        """Permute named parameters or buffers.

        Args:
            tensors: by name; those that no group acts on stay.
            permutations: by group, as for `apply`.

        Returns:
            New tensors by name.
        """
        moved: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            result = tensor.clone()
            for block in self.blocks.get(name, ()):
                if any(group in permutations for group in block.groups if group is not None):
                    grid = block.permute(block.take(tensor), self.groups, permutations)
                    result = block.put(result, grid)
            moved[name] = result
        return moved

    def compose(self, first: Permutations, then: Permutations) -> dict[str, Tensor]:
        """One permutation for two, one after the other.

        Args:
            first: what is applied first.
            then: what is applied to the result.

        Returns:
            By group, ``[*copies, size]``.
        """
        first, then = {**self.identity(), **first}, {**self.identity(), **then}
        found: dict[str, Tensor] = {}
        for group in self.groups:
            before = first[group.name]
            for axis, context in enumerate(group.per):
                before = self._along(before, axis, group, then[context], then)
            found[group.name] = before.gather(-1, then[group.name])
        return found

    def invert(self, permutations: Permutations) -> dict[str, Tensor]:
        """The permutation that undoes another.

        Args:
            permutations: by group, ``[*copies, size]``.

        Returns:
            By group, ``[*copies, size]``.
        """
        given = {**self.identity(), **permutations}
        found: dict[str, Tensor] = {}
        for group in self.groups:
            back = given[group.name].argsort(-1)
            for axis, context in enumerate(group.per):
                back = self._along(back, axis, group, found[context], found)
            found[group.name] = back
        return found

    def _along(self, family: Tensor, axis: int, group: Group, order: Tensor, every: Permutations) -> Tensor:
        """Reorder the copies of a family by a permutation of what it is over, which may be a family itself."""
        per = self.group(group.per[axis]).per
        if not per:
            return family.index_select(axis, order)
        shape = [1] * family.dim()
        for number, size in enumerate(order.shape[:-1]):
            shape[group.per.index(per[number])] = size
        shape[axis] = order.shape[-1]
        axes = [group.per.index(one) for one in per] + [axis]
        laid = order.permute(sorted(range(len(axes)), key=lambda number: axes[number])).reshape(shape)
        return family.take_along_dim(laid, axis)

    def check(self, permutations: Permutations) -> None:
        """Refuse what is no permutation of these groups.

        Args:
            permutations: by group, ``[*copies, size]``.

        Raises:
            BadInput: when a group is unknown, or its numbers are no permutations.
        """
        for name, order in permutations.items():
            shape = self.group(name).shape
            whole = isinstance(order, Tensor) and not order.is_floating_point() and tuple(order.shape) == shape
            if not whole or not torch.equal(order.sort(-1).values.cpu(), torch.arange(shape[-1]).expand(shape)):
                raise BadInput(
                    f"The permutation of group {name} has to hold each of 0..{shape[-1] - 1} once in each row of a "
                    f"tensor of shape {list(shape)}."
                )

    def __str__(self) -> str:
        lines = [f"{len(self.groups)} groups of units, 10^{self.digits:.0f} permutations"]
        for group in self.groups:
            over = f", one for each unit of {' and '.join(group.per)}" if group.per else ""
            acts = ", ".join(f"{tensor}[{axis}]" for tensor, axis in group.acts)
            lines.append(f"  {group.name}: {group.size} units{over}; {acts}")
        return "\n".join(lines)
