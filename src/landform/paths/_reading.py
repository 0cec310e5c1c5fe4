"""Loss and error at mixtures of few nodes: the one way in which paths are read, on several data sets at once.

Every path is ``phi = sum_k w_k node_k``: lines, Bezier curves, chains, simplices. At such a point a layer that reads
the data themselves puts out ``sum_k w_k`` times what it puts out at the nodes, being linear in its weights; where many
points run as one program it is worked out for the nodes alone. On the lines between 20 points that leaves 20 first
layers instead of thousands. Everything behind the first nonlinearity is worked out at every point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from landform.landscape import Landscape, wrong
from landform.paths._contract import MEMORY
from landform.paths._mixed import Mixed
from landform.paths._values import Values
from landform.stacked import Cost, Stacked, choose, count, refusal

Buffers: TypeAlias = Mapping[str, Tensor]

# Points that run together: enough for the products, few enough that what a layer puts out stays in the cache.
_TOGETHER = 48
# Points at which is counted what such a run costs; of fewer, mixing what two nodes put out would not pay.
_FEW = 3
# Samples that run together then, as on a landscape.
_TILE = 256
# Bytes of a block whose freeing tells the C library to keep as much; above 32 MiB it takes no notice.
_KEPT = 30 * 2**20
_LEAN: WeakKeyDictionary[Landscape, bool] = WeakKeyDictionary()


def others(landscape: Landscape, on: Mapping[str, Any] | None) -> dict[str, Landscape]:
    """The further landscapes that are read at the same points.

    Args:
        landscape: the first.
        on: landscapes, or data to put the first one on, by name.

    Returns:
        Landscapes by name.
    """
    return {name: one if isinstance(one, Landscape) else landscape.on(one) for name, one in (on or {}).items()}


def read(
    landscapes: Sequence[Landscape],
    nodes: Tensor,
    weights: Tensor,
    *,
    buffers: Callable[[slice], Buffers] | None = None,
    memory: float = MEMORY,
) -> list[Values]:
    """Read several landscapes at the same mixtures of nodes.

    Where BatchNorm's statistics are recomputed, that is done once for all, from the data of the first landscape.

    Args:
        landscapes: what to read.
        nodes: ``[k, P]``, where and as the landscapes compute.
        weights: ``[n, k]``.
        buffers: gives the buffers that belong to a slice of the points, instead of what the landscapes do about them.
        memory: bytes of points that are made at a time.

    Returns:
        What was read on each, at the n points in turn.
    """
    _settle()
    first = landscapes[0]
    size = nodes.element_size() * nodes.shape[1]
    together = max(1, min(_TOGETHER, int(memory / size)))
    shares = weights.to(nodes)
    found: list[list[Values]] = [[] for _ in landscapes]
    for start in range(0, len(shares), together):
        part = slice(start, min(start + together, len(shares)))
        used = shares[part].ne(0).any(0)
        own, share = nodes[used], shares[part][:, used]
        given = None if buffers is None else buffers(part)
        if given is None and len(landscapes) > 1 and first.batchnorm == "recompute":
            given = first.calibrate(share @ own)
        for landscape, parts in zip(landscapes, found, strict=True):
            parts += _read(landscape, own, share, given)
    return [Values.join(parts) for parts in found]


def passes(landscapes: Sequence[Landscape], points: int, *, buffers: bool = False) -> int:
    """Forward passes over the data that reading so many points takes, those for BatchNorm's statistics included.

    Args:
        landscapes: what is read.
        points: at how many points.
        buffers: whether buffers are given.

    Returns:
        How many passes.
    """
    again = landscapes[0].batchnorm == "recompute" and not buffers
    return points * (len(landscapes) + again)


@cache
def _settle() -> None:
    """Let the C library keep memory that is freed for the next layer, once in a process.

    Without a large block having been freed before, it gives every layer's output back to the system, which clears it
    anew for the next layer: half of the time of small networks.
    """
    torch.empty(_KEPT, dtype=torch.uint8)


def _read(landscape: Landscape, nodes: Tensor, shares: Tensor, given: Buffers | None) -> Iterator[Values]:
    """Read one landscape at a few points: as one program where the landscape has it so, else one by one."""
    views = landscape.layout.views(nodes)
    points = shares @ nodes
    done = 0
    for block, own in landscape._blocks(points, given):
        if block.dim() == 2:
            share = shares[done : done + len(block)].contiguous()
            done += len(block)
            yield _together(landscape, block, own, _mixed(landscape, block, share, views))
        elif given is None and landscape.batchnorm in ("none", "keep") and _lean(landscape):
            yield _together(landscape, points, {}, _mixed(landscape, points, shares.contiguous(), views))
            return
        else:
            reading = landscape.read(block, buffers=own or None)
            yield Values(reading.loss[None], None if reading.error is None else reading.error[None])


def _mixed(landscape: Landscape, points: Tensor, shares: Tensor, views: Mapping[str, Tensor]) -> dict[str, Mixed]:
    return {name: Mixed(raw, shares, views[name]) for name, raw in landscape.layout.views(points).items()}


def _lean(landscape: Landscape) -> bool:
    """Whether dense nets that the landscape runs one by one are small but for the layers that read the data."""
    if landscape not in _LEAN:
        here, batch = landscape.here, next(iter(landscape._data.batches(8)))
        samples = len(next(t for t in pytree.tree_leaves(batch) if isinstance(t, Tensor)))

        def at(points: int) -> Callable[[], Any]:
            nodes, shares = torch.stack([here] * 2), torch.full((points, 2), 0.5).to(here)
            mixed = _mixed(landscape, shares @ nodes, shares, landscape.layout.views(nodes))
            return lambda: landscape._loss(*landscape._function.many(mixed, {}, partial(landscape._on_batch, batch)))

        fits = refusal(at(_FEW)) is None
        if fits:
            few, more = (count(at(points), samples) for points in (_FEW, _FEW + 1))
            fits = not more.conv
            # What each point adds, and its share of what the nodes cost however many points there are: counted at few
            # points, as many would not fit for a large model.
            each = more.dense - few.dense
            alone = (few.dense - _FEW * each) / _TOGETHER + each
            cost = Cost(alone, 0.0, more.widest)
            fits = fits and choose(cost, min(landscape._batch_size, _TILE), landscape.device).stack
        _LEAN[landscape] = fits
    return _LEAN[landscape]


def _together(landscape: Landscape, block: Tensor, own: Buffers, mixed: Mapping[str, Mixed]) -> Values:
    """Mean loss and error over the batches of points that run as one program, ``[n]`` each."""
    losses: list[Tensor] = []
    errors: list[Tensor] = []
    sizes: list[int] = []
    with torch.no_grad():
        for outputs, targets in landscape._passes(block, own, mixed):
            value = landscape._loss(outputs, targets)
            losses.append(_apart(value, len(block)).to("cpu", torch.float64))
            sizes.append(
                next(len(leaf) for leaf in pytree.tree_leaves(targets) if isinstance(leaf, Tensor) and leaf.dim())
            )
            if landscape.has_labels:
                missed, counted = wrong(outputs, targets)
                rows = missed.expand(len(block), *targets.shape).flatten(1)
                errors.append(rows.sum(1).to("cpu", torch.float64) / counted.cpu())
    weights = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
    loss = weights @ torch.stack(losses)
    if landscape.weight_decay:
        loss = loss + 0.5 * landscape.weight_decay * block.cpu().double().square().sum(1)
    return Values(loss, weights @ torch.stack(errors) if errors else None)


def _apart(value: Any, n: int) -> Tensor:
    """What differs between n points, with n in front; what does not differ is the same for all."""
    return value.raw if isinstance(value, Stacked) else value.expand(n, *value.shape)
