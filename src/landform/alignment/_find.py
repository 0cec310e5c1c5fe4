"""Find the symmetries of a landscape's model from one forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from landform.alignment._blocks import Block, Group, Piece, Plan, plans
from landform.alignment._symmetries import Read, Symmetries
from landform.alignment._terms import FREE, Axis, contexts, find, leaves, moves, reason
from landform.alignment._trace import Trace, Unknown, plainly
from landform.errors import BadInput
from landform.landscape import Landscape, first_line

_SAMPLES = 3
# Rounding in float32 adds up with depth; a permutation that is none of the model's symmetries changes all digits.
_TOLERANCE = {torch.float64: 1e-8}


def symmetries(landscape: Landscape, *, unknown: Unknown = "refuse", check: bool = True) -> Symmetries:
    """Find the permutations of units that leave a model's function as it is.

    The forward pass of a few samples is followed operation by operation, so that no description of the architecture is
    needed. What is found is a group of symmetries, not always the largest: where an operation can be read in two ways
    the narrower is taken. Inputs and outputs stay, frozen parameters and buffers other than BatchNorm's statistics
    too.

    Args:
        landscape: the landscape; its model, and how it is run on a batch.
        unknown: what to do at an operation without a rule: ``"refuse"``, or ``"hold"`` the units that go into it.
        check: whether a random permutation is tried on the few samples.

    Returns:
        The symmetries.

    Raises:
        BadInput: when an operation is not understood, or a permutation changes the function after all.
    """
    function = landscape._function
    views = landscape.layout.views(landscape.here)
    kept = {id(b): name for name, b in function.buffers.items() if b.dim() and b.is_floating_point()}
    norms = [module for module in function.net.modules() if isinstance(module, _BatchNorm)]
    statistics = {kept[id(b)]: b for norm in norms for b in norm.buffers() if id(b) in kept}
    batch = few(next(iter(landscape._data.batches(_SAMPLES))))
    trace = Trace(unknown)
    trace.parameters({**views, **statistics})
    trace.inputs(batch)
    with plainly():
        try:
            with trace:
                outputs, _ = function(views, {}, partial(landscape._on_batch, batch))
        except BadInput:
            raise
        except Exception as why:
            raise BadInput(
                f"The symmetries of {type(landscape._model).__name__} cannot be found, as its forward pass cannot be "
                f"followed: {first_line(why)}"
            ) from why
    trace.outputs(outputs)
    found = _named(trace, {**views, **statistics}, landscape, tuple(statistics))
    if check and found.groups:
        error = _try(landscape, found, batch)
        found = replace(found, error=error)
        if not error < _TOLERANCE.get(landscape.dtype, 1e-3):
            raise BadInput(
                f"A permutation that was found for {type(landscape._model).__name__} changes its outputs by "
                f"{error:.1e} of their size: the model depends on the order of its units in a way that one forward "
                "pass does not show; please report it."
            )
    return found


def check(
    landscape: Landscape, found: Symmetries, *, permutations: Mapping[str, Tensor] | None = None, seed: int = 0
) -> float:
    """Measure on the whole data how much a permutation changes the outputs: by rounding, and no more.

    Args:
        landscape: the landscape.
        found: its symmetries.
        permutations: by group; a random one if not given.
        seed: of the random permutation and of the noise added to the point, so that no two units are alike.

    Returns:
        The largest change of an output over the largest output.
    """
    point = apart(landscape.here, seed)
    permutations = found.random(seed) if permutations is None else permutations
    buffers = landscape._own_buffers(point, None) or dict(landscape._function.buffers)
    before = landscape.outputs(point, buffers=buffers)
    after = landscape.outputs(found.apply(point, permutations), buffers=found.move(buffers, permutations))
    return change(before, after)


def _try(landscape: Landscape, found: Symmetries, batch: Any) -> float:
    """The same on a few samples."""
    function = landscape._function
    point = apart(landscape.here, 0)
    permutations = found.random(0)
    buffers = {name: apart(b, 1).abs() if name in found.buffers else b.clone() for name, b in function.buffers.items()}
    results = []
    for at, own in ((point, buffers), (found.apply(point, permutations), found.move(buffers, permutations))):
        with torch.no_grad():
            results.append(function(landscape.layout.views(at), own, partial(landscape._on_batch, batch))[0])
    return change(*results)


def change(before: Any, after: Any) -> float:
    """The largest change of an output, over the largest output.

    Args:
        before: outputs, one tensor or several.
        after: the same again.

    Returns:
        The change.
    """
    changes = [0.0]
    for one, other in zip(pytree.tree_leaves(before), pytree.tree_leaves(after), strict=True):
        if isinstance(one, Tensor) and one.numel() and one.is_floating_point():
            changes.append(float((one - other).abs().max()) / max(float(one.abs().max()), 1e-30))
    return max(changes) if all(c == c for c in changes) else float("nan")


def apart(numbers: Tensor, seed: int) -> Tensor:
    """Numbers near those given, no two alike: biases begin as zeros, which any permutation leaves as they are."""
    made = torch.Generator().manual_seed(seed)
    noise = torch.randn(numbers.shape, generator=made, dtype=torch.float32).to(numbers)
    return numbers + 0.1 * noise * (1 if numbers.dim() == 0 else max(float(numbers.std(correction=0)), 0.1))


def few(batch: Any, most: int = _SAMPLES) -> Any:
    """The first samples of a batch that a loader cut."""
    leaves = [leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]
    sizes = {leaf.shape[0] for leaf in leaves if leaf.dim()}
    if len(sizes) != 1 or any(not leaf.dim() for leaf in leaves) or max(sizes) <= most:
        return batch
    return pytree.tree_map_only(Tensor, lambda tensor: tensor[:most], batch)


def _named(
    trace: Trace, tensors: Mapping[str, Tensor], landscape: Landscape, statistics: tuple[str, ...]
) -> Symmetries:
    """Turn terms into groups with names."""
    axes = {name: trace.of(tensor) for name, tensor in tensors.items()}
    for _ in range(2):  # the first time may make one permutation of some families
        taken = {name: list(plans(own)) for name, own in axes.items()}
    known: dict[int, Group] = {}
    for name, grids in taken.items():
        for grid in grids:
            for number, (_, factors) in enumerate(grid):
                for leaf, _ in factors:
                    _meet(find(leaf), name, number, known, statistics)
    names = {key: group.name for key, group in known.items()}
    blocks = {name: tuple(_block(grid, names) for grid in grids) for name, grids in taken.items()}
    fixed = {
        name: tuple("" if moves(axis) and axis.size > 1 else reason(axis) or "it has one place" for axis in own)
        for name, own in axes.items()
    }
    reads = tuple(
        Read(product, place, axis, block, tuple(one.size for one in own), site)
        for product, place, axis, own, site in trace.reads
        for block in _reads(own, axis, names, known.values())
    )
    ordered = tuple(known.values())  # what families are over was met before them
    readers = frozenset(
        (name, names[id(leaf)]) for name, axis in trace.summed for leaf in leaves(axis) if id(leaf) in names
    )
    return Symmetries(ordered, blocks, fixed, landscape.layout, statistics, tuple(trace.held), reads, readers)


def _meet(leaf: Axis, tensor: str, axis: int, known: dict[int, Group], statistics: tuple[str, ...]) -> None:
    """Note that a group acts on an axis of a tensor."""
    if leaf.kind != FREE or leaf.size < 2:
        return
    group = known.get(id(leaf))
    if group is None:
        per = sorted((find(context) for context in contexts(leaf)), key=lambda context: len(contexts(context)))
        for context in per:
            _meet(context, tensor, axis, known, statistics)
        over = tuple(known[id(context)].name for context in per)
        name = f"{over[-1]}/within" if over else tensor.rpartition(".")[0] or tensor
        taken = {other.name for other in known.values()}
        count = 2
        unique = name
        while unique in taken:
            unique, count = f"{name}#{count}", count + 1
        group = Group(unique, leaf.size, over, tuple(context.size for context in per))
    if (tensor, axis) not in group.acts:
        group = replace(group, acts=(*group.acts, (tensor, axis)))
    known[id(leaf)] = group


def _block(grid: Plan, names: Mapping[int, str]) -> Block:
    return Block(
        tuple(
            Piece(start, tuple((names.get(id(find(leaf))), leaf.size, stride) for leaf, stride in factors))
            for start, factors in grid
        )
    )


def _reads(axes: Sequence[Axis], axis: int, names: Mapping[int, str], groups: Iterable[Group]) -> list[Block]:
    """Grids of a tensor of activations along the axis that is summed over.

    Other axes count samples, or tell a family which of its permutations to use; where one of them is permuted by
    anything else, samples of two models would not belong together, and nothing is read.
    """
    over = {group.name: group.per for group in groups}
    samples = Piece(0, ((None, 1, 1),))
    found: list[Block] = []
    for grid in plans(axes):
        pieces = _block(grid, names).pieces
        summed = [group for group, _, _ in pieces[axis].factors if group is not None]
        told = {name for group in summed for name in over[group]}
        beside = [[group for group, _, _ in piece.factors if group] for d, piece in enumerate(pieces) if d != axis]
        if not summed or any(group not in told for others in beside for group in others):
            continue
        block = Block(
            tuple(
                piece if d == axis or any(group for group, _, _ in piece.factors) else samples
                for d, piece in enumerate(pieces)
            )
        )
        if block not in found:
            found.append(block)
    return found
