"""Zip two models that learned different things into one, unit by unit (Stoica, Bolya et al. 2024).

A group of units, found from the model's own graph, has n of them in each model: f_a and f_b over the data. They are
merged into n units ``M [f_a; f_b]``, means of units that go together, and what reads them reads ``U`` of it, in which
each unit is the merged one that it belongs to:

``W = sum over s of M_s W_s U_s``.

Groups in front of a layer may be zipped and those behind it left apart: then both models keep heads of their own.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from landform.alignment import Block, Symmetries
from landform.alignment import symmetries as find_symmetries
from landform.alignment._assign import assignment
from landform.alignment._watch import Cross, Watch, acting
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.merging._joint import Data, together
from landform.merging._layers import double
from landform.merging._mergeable import _point
from landform.merging._units import Merged, by_order, by_similarity, mean
from landform.merging._zipped import Zipped, check_trunk

Match: TypeAlias = Literal["zip", "permute", "none"]
Tensors: TypeAlias = Mapping[str, Tensor]

_TIE = 1e-6
# Samples whose activations are held at a time.
_TILE = 128


def zip_models(
    landscape: Data,
    a: Tensor | nn.Module,
    b: Tensor | nn.Module,
    *,
    stop_at: str | None = None,
    alpha: float = 0.7,
    beta: float = 0.5,
    match: Match = "zip",
    symmetries: Symmetries | None = None,
) -> Zipped:
    """Make one model of two, over data of all tasks they are to know.

    Args:
        landscape: the landscape, or one for each task: on their samples activations are compared, and BatchNorm's
            statistics found anew.
        a: a point ``[P]``, or a model.
        b: likewise.
        stop_at: name of the layer from which on both keep their own, so that there are two heads; None zips all, and
            averages what gives the outputs. A residual stream that goes on behind the layer is left apart as a whole.
        alpha: how much like another what has become one already still is: factor on the lower similarity of its parts.
            The default, and that of beta, did best for networks of two halves of the digits.
        beta: share of the units of each model that may become one with a unit of the same model.
        match: ``"zip"``; ``"permute"``, each unit with one of the other model, for the largest sum of correlations; or
            ``"none"``, units as they stand.
        symmetries: of the model, where they are known already.

    Returns:
        The zipped model, in evaluation mode, where and as the landscape computes.

    Raises:
        BadInput: when a point is not one of the landscape's, there is no such layer, or nothing lies in front of it.
    """
    if not 0 <= alpha <= 1 or not 0 <= beta <= 1:
        raise BadInput(f"alpha is {alpha} and beta {beta}: give numbers from 0 to 1.")
    if match not in ("zip", "permute", "none"):
        raise BadInput(f"match is {match!r}: give 'zip', 'permute' or 'none'.")
    where = together(landscape)
    points = torch.stack([_point(where, given, name) for given, name in ((a, "a"), (b, "b"))])
    found = find_symmetries(where) if symmetries is None else symmetries
    graph = _Graph(where, found)
    zipped = set(found.names) if stop_at is None else graph.before(stop_at)
    own = [_own(where, given) for given in (a, b)]
    tables = {} if match == "none" else _alike(where, found, points, own, zipped)
    merged, paired = _merge_units(found, tables, zipped, match, alpha, beta)
    tensors = [
        {**where.layout.views(point), **_statistics(where, found, buffers)}
        for point, buffers in zip(points, own, strict=True)
    ]
    whole = stop_at is None
    made, shared = graph.zipped(tensors, merged, None if whole else graph.early(stop_at or ""))
    branches = [_branch(where, own) for own in (made[:1] if whole else made)]
    result = Zipped(
        branches,
        shared=where.layout.names if whole else shared,
        units=merged,
        kept=[name for name in found.names if name not in merged],
        paired=paired,
    ).eval()
    if not whole:
        batch = next(iter(where._data.batches(4)))
        check_trunk(result, lambda branch: where._on_batch(batch, branch))
    return result


def _merge_units(
    found: Symmetries, tables: Tensors, zipped: set[str], match: Match, alpha: float, beta: float
) -> tuple[dict[str, Merged], list[str]]:
    """Merge the units of each group, and name the groups that had to be put together as they stand."""
    merged: dict[str, Merged] = {}
    paired: list[str] = []
    for group in found.groups:
        if group.name not in zipped:
            continue
        table = tables.get(group.name)
        if table is None:
            merged[group.name] = by_order(torch.arange(group.size))
            paired.append(group.name)
        elif match == "permute":
            half = group.size
            merged[group.name] = by_order(assignment(table[:half, half:]), table)
        else:
            merged[group.name] = by_similarity(table, alpha, beta)
    return merged, paired


def _alike(
    landscape: Landscape, found: Symmetries, points: Tensor, own: list[Tensors | None], wanted: set[str]
) -> dict[str, Tensor]:
    """How alike units of both models are, by group, ``[2n, 2n]``: correlations, the mean over where they are read.

    Units that do not vary are alike where they have the same value, 1, whosever they are.
    """
    single = {group.name for group in found.groups if not group.per} & wanted
    reads = [read for read in found.reads if len(acting(read.block)) == 1 and acting(read.block)[0] in single]
    if not reads:
        return {}
    crosses: dict[tuple[str, int], Cross] = {}
    sums: dict[tuple[str, int], Tensor] = {}
    blocks = [next(landscape._blocks(point, given)) for point, given in zip(points, own, strict=True)]
    # Activations of all layers of a batch are held; with batchnorm='batch' what is in one is part of the function.
    size = landscape._batch_size if landscape.batchnorm == "batch" else min(_TILE, landscape._batch_size)
    for batch in landscape._data.batches(size):
        taken: list[dict[int, Tensor]] = []
        for point, buffers in blocks:
            seen: dict[int, Tensor] = {}
            with Watch(reads, partial(_keep, seen)).on():
                landscape._function(landscape.layout.views(point), buffers, partial(landscape._on_batch, batch))
            taken.append(seen)
        for number, first in taken[0].items():
            key = acting(reads[number].block)[0], reads[number].site
            rows = torch.cat([first, taken[1][number]], 1)
            crosses.setdefault(key, Cross()).add(rows, rows)
            sums[key] = sums.get(key, torch.zeros(())) + rows.to(double(rows)).sum(0).cpu()
    tables: dict[str, list[Tensor]] = {}
    for key, cross in crosses.items():
        table = cross.correlations().cpu().double()
        half = len(table) // 2
        means = sums[key] / cross.count
        still = table.diagonal() < 0.5
        gap = (means[:, None] - means[None]).abs()
        same = still[:, None] & still[None] & (gap <= 1e-6 * (1 + means.abs()[:, None]))
        table = torch.where(same, 1.0, table)
        # Of pairs as like as rounding tells, one of both models comes first.
        table[:half, :half] -= _TIE
        table[half:, half:] -= _TIE
        tables.setdefault(key[0], []).append(table)
    return {name: torch.stack(every).mean(0) for name, every in tables.items()}


def _keep(seen: dict[int, Tensor], number: int, units: Tensor) -> None:
    """Keep activations apart from the model, which may go on in place."""
    seen[number] = units.clone()


class _Graph:
    """Which tensors make the units of a group, and which read them."""

    def __init__(self, landscape: Landscape, found: Symmetries) -> None:
        self._landscape, self._found = landscape, found
        self._axis = {slot.name: slot.filter_axis for slot in landscape.layout.slots}
        self._makers: dict[str, set[str]] = {name: set() for name in found.names}
        self._needs: dict[str, set[str]] = {name: set() for name in found.names}
        for name, blocks in found.blocks.items():
            for block in blocks:
                made, read = self._roles(name, block)
                for group in made.values():
                    self._makers[group].add(name)
                    self._needs[group].update(read.values())
        self._calls = self._called()

    def _roles(self, name: str, block: Block) -> tuple[dict[int, str], dict[int, str]]:
        """Axes of a grid along which units are made, and along which they are read, with their groups."""
        made: dict[int, str] = {}
        read: dict[int, str] = {}
        for dim, group in enumerate(block.groups):
            if group is None:
                continue
            # A layer from a stream into itself has the same group on both axes.
            twice = len({block.owners[d] for d, other in enumerate(block.groups) if other == group}) > 1
            reads = (name, group) in self._found.readers
            if reads and not (twice and block.owners[dim] == self._axis.get(name, 0)):
                read[dim] = group
            else:
                made[dim] = group
        return made, read

    def _called(self) -> dict[str, int]:
        """When each module is called first."""
        landscape = self._landscape
        net = landscape._function.net
        order: dict[str, int] = {}

        def hook(name: str) -> Any:
            def enter(module: nn.Module, given: Any) -> None:
                order.setdefault(name, len(order))

            return enter

        handles = [module.register_forward_pre_hook(hook(name)) for name, module in net.named_modules()]
        try:
            batch = next(iter(landscape._data.batches(2)))
            with torch.no_grad():
                landscape._function(landscape.layout.views(landscape.here), {}, partial(landscape._on_batch, batch))
        finally:
            for handle in handles:
                handle.remove()
        return order

    def early(self, stop_at: str) -> set[str]:
        """Tensors of the modules that are called before a layer."""
        if stop_at not in self._calls:
            near = difflib.get_close_matches(stop_at, self._calls, n=3, cutoff=0.5)
            raise BadInput(
                f"The model calls no layer {stop_at!r}: near ones are "
                f"{', '.join(near or [name for name in self._calls if name][:5])}."
            )
        late = self._calls[stop_at]
        return {name for name in self._found.blocks if self._calls.get(name.rpartition(".")[0], late) < late}

    def before(self, stop_at: str) -> set[str]:
        """Groups that are made before a layer, of what is made so too."""
        early = self.early(stop_at)
        kept = {name for name, makers in self._makers.items() if makers <= early}
        while True:
            fewer = {name for name in kept if self._needs[name] <= kept}
            if fewer == kept:
                break
            kept = fewer
        if not kept:
            raise BadInput(
                f"There are no units that are made before {stop_at!r} and not behind it: name a later layer, or leave "
                "stop_at out to zip all."
            )
        return kept

    def zipped(
        self, tensors: list[dict[str, Tensor]], merged: Mapping[str, Merged], early: set[str] | None
    ) -> tuple[list[dict[str, Tensor]], list[str]]:
        """The tensors of both branches, and the names of those that are the same.

        Args:
            tensors: of both models, by name.
            merged: how the units of some groups are merged.
            early: tensors that are averaged where they make no units, or None for all.
        """
        results: list[dict[str, Tensor]] = [dict(own) for own in tensors]
        shared: list[str] = []
        for name in tensors[0]:
            grids = self._found.blocks.get(name)
            if not grids:
                continue
            every = True
            for block in grids:
                made, read = self._roles(name, block)
                join = all(group in merged for group in (*made.values(), *read.values()))
                join = join and (bool(made) or early is None or name in early)
                every &= join
                parts = []
                for model, own in enumerate(tensors):
                    part = block.take(own[name])
                    for dim, group in read.items():
                        if group in merged:
                            part = merged[group].read(part, dim, model)
                    parts.append(part)
                if join:
                    parts = [mean(parts, {dim: merged[group] for dim, group in made.items()})] * 2
                for model, part in enumerate(parts):
                    results[model][name] = block.put(results[model][name].clone(), part)
            if every:
                shared.append(name)
        return results, shared


def _own(landscape: Landscape, given: Tensor | nn.Module) -> Tensors | None:
    """The buffers that a model brings, where the landscape keeps them."""
    if landscape.batchnorm == "recompute" or not isinstance(given, nn.Module):
        return None
    held = landscape._function.buffers
    return {name: tensor.detach().to(held[name]) for name, tensor in given.named_buffers() if name in held}


def _statistics(landscape: Landscape, found: Symmetries, own: Tensors | None) -> Tensors:
    """BatchNorm's statistics of one model, to be merged along."""
    held = landscape._function.buffers if own is None else own
    return {name: held[name] for name in found.buffers}


def _branch(landscape: Landscape, tensors: Tensors) -> nn.Module:
    """A model of its own with given tensors, and BatchNorm's statistics found over the data."""
    point = landscape.layout.join(tensors)
    branch = copy.deepcopy(landscape._model).to(landscape.device, landscape.dtype)
    landscape.layout.load_(branch, point)
    found = landscape.calibrate(point) if landscape.batchnorm == "recompute" else tensors
    with torch.no_grad():
        for name, buffer in branch.named_buffers():
            if name in found:
                buffer.copy_(found[name])
    return branch
