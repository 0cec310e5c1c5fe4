"""Many points of a surface read quickly: layers that read the data once for all, the rest in pieces that fit the cache.

Points that run one by one are gone through for one piece of the data after the other, each so small that what the
widest layer puts out for it stays in the second-level cache. Points that run as one program are taken as many at a time
as fit there. Convolutions run with the channels of an image innermost, where the model allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from landform.errors import BadInput
from landform.landscape import Landscape, wrong
from landform.stacked import Cost, Stacked, choose, count, refusal
from landform.surface._affine import Kept, absent
from landform.surface._layers import reading_data

# Numbers that one layer may put out for a piece of the data, or for the points of a program: 4 and 2 MiB of them in
# float32, about as much as a core's second-level cache holds. Measured on 784-256-256-10, point by point: 256 samples
# 0.40 of the plain loop, 512 0.35, 2048 0.31; as one program on 256 samples: 4 to 8 points 0.32, 32 points 0.37. On
# convolutions of 32 and 64 channels: 256 images 0.50 of the plain loop, 16 and 32 images 0.31, 4 images 0.39.
_CACHED, _TOGETHER = 2**20, 2**19
_LEAST = 8
# Samples that points which run as one program take at a time, as on a landscape.
_TILE = 256
# Bytes of a block whose freeing tells the C library to keep as much; above 32 MiB it takes no notice.
_KEPT = 30 * 2**20


@dataclass(frozen=True)
class Plan:
    """How many points of a surface are read.

    Attributes:
        names: parameters of layers that are worked out for the nodes alone.
        stack: whether points run as one program.
        samples: how many samples are taken at a time.
        points: how many points run as one program.
        tall: whether images lie with their channels innermost.
    """

    names: frozenset[str]
    stack: bool
    samples: int
    points: int
    tall: bool

    def __str__(self) -> str:
        first = f"{', '.join(sorted(self.names))} worked out for the directions alone" if self.names else ""
        way = f"{self.points} points in one program" if self.stack else f"point by point over {self.samples} samples"
        return "; ".join(part for part in (first, way, "channels innermost" if self.tall else "") if part)


_PLANS: WeakKeyDictionary[Landscape, Plan] = WeakKeyDictionary()


def plan_of(landscape: Landscape) -> Plan:
    """Look at a landscape, and say how many of its points are read; the same every time, by counting.

    Args:
        landscape: what will be read.

    Returns:
        The plan.
    """
    if landscape not in _PLANS:
        _PLANS[landscape] = _planned(landscape)
    return _PLANS[landscape]


def _planned(landscape: Landscape) -> Plan:
    names = reading_data(landscape)
    cost = _cost(landscape, names)
    tall = _tall(landscape, cost, names)
    stack = landscape._stackable is None and choose(cost, min(_TILE, landscape._batch_size), landscape.device).stack
    if stack and names:
        stack = refusal(lambda: _trial(landscape, names, 2)) is None
    widest = max(1.0, cost.widest)
    samples = max(_LEAST, int(_CACHED / widest) // _LEAST * _LEAST)
    return Plan(names, stack, samples, max(1, int(_TOGETHER / (widest * min(_TILE, landscape._batch_size)))), tall)


def _trial(landscape: Landscape, names: frozenset[str], n: int | None) -> Any:
    """Loss of the first samples, with layers left out as they will be; n points as one program, or one."""
    nodes = landscape.here[None]
    kept = Kept({name: view for name, view in landscape.layout.views(nodes).items() if name in names}, 2.0**30)
    batch = next(iter(landscape._data.batches(_LEAST)))
    points = nodes if n is None else nodes.expand(n, -1).contiguous()
    rest = landscape.layout.views(points[0] if n is None else points)
    leaves = {**rest, **{name: absent(kept, name, n) for name in names}}
    run = landscape._function if n is None else landscape._function.many
    kept.at(torch.ones(1) if n is None else torch.ones(n, 1))
    return landscape._loss(*run(leaves, {}, partial(landscape._on_batch, batch)))


def _cost(landscape: Landscape, names: frozenset[str]) -> Cost:
    """What a forward pass costs without the layers that are left out."""
    batch = next(iter(landscape._data.batches(_LEAST)))
    samples = next(len(leaf) for leaf in _tensors(batch))
    views = landscape.layout.views(landscape.here)
    kept = Kept({name: views[name][None] for name in names}, 2.0**30)
    leaves = {**views, **{name: absent(kept, name) for name in names}}

    def run() -> None:
        kept.at(torch.ones(1))
        landscape._function(leaves, {}, partial(landscape._on_batch, batch))

    with torch.no_grad():
        run()
    return count(run, samples)


def _tall(landscape: Landscape, cost: Cost, names: frozenset[str]) -> bool:
    """Whether images may lie with their channels innermost: on a CPU, where the model runs so."""
    inputs = getattr(landscape._data, "inputs", None)
    if landscape.device.type != "cpu" or not isinstance(inputs, Tensor) or inputs.dim() != 4:
        return False
    if not inputs.is_floating_point() or not landscape._cost.conv:
        return False
    try:
        part = landscape.on(_piece(landscape, slice(0, _LEAST), tall=True))
    except (BadInput, RuntimeError):
        return False
    return bool(torch.isfinite(part.loss(part.here)))


def _piece(landscape: Landscape, at: slice, *, tall: bool) -> tuple[Tensor, Tensor]:
    data: Any = landscape._data
    inputs = data.inputs[at]
    return (inputs.contiguous(memory_format=torch.channels_last) if tall else inputs), data.targets[at]


def _tensors(batch: Any) -> Iterator[Tensor]:
    yield from (leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim())


@cache
def _settle() -> None:
    """Let the C library keep memory that is freed for the next layer, once in a process.

    Without a large block having been freed before, it gives every layer's output back to the system, which clears it
    anew for the next layer.
    """
    torch.empty(_KEPT, dtype=torch.uint8)


class Program:
    """Reads loss and error at mixtures of a few nodes.

    What layers that read the data put out at the nodes is kept from one reading to the next, as far as memory allows.

    Attributes:
        plan: how points are read.
    """

    def __init__(self, landscape: Landscape, nodes: Tensor, *, memory: float) -> None:
        """Take what is read.

        Args:
            landscape: the landscape.
            nodes: ``[k, P]``, where and as it computes.
            memory: bytes that may be held at a time.
        """
        _settle()
        self.plan = plan_of(landscape)
        self._landscape, self._nodes, self._memory = landscape, nodes, memory
        named = {name: view for name, view in landscape.layout.views(nodes).items() if name in self.plan.names}
        pieces = [(landscape, 1.0)] if self.plan.stack else list(_pieces(landscape, self.plan))
        self._pieces = [(part, share, Kept(named, memory / 2, tall=self.plan.tall)) for part, share in pieces]
        self._rest = [slot for slot in landscape.layout.slots if slot.name not in self.plan.names]
        columns = [nodes[:, slot.start : slot.stop] for slot in self._rest]
        self._columns = torch.cat(columns, dim=1) if columns else nodes[:, :0]

    def run(
        self, weights: Tensor, *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Read at mixtures.

        Args:
            weights: ``[n, k]``, float64.
            progress: told how many points are read, and of how many.

        Returns:
            Losses ``[n]`` and errors ``[n]``, float64, on the CPU; no errors where the targets are not labels.
        """
        way = self._stacked if self.plan.stack else self._one_by_one
        losses, errors = way(weights, progress or (lambda done, total: None))
        if decay := self._landscape.weight_decay:
            wide = self._nodes.cpu().double()
            losses = losses + 0.5 * decay * ((weights @ (wide @ wide.T)) * weights).sum(1)
        return losses, errors if self._landscape.has_labels else None

    def _one_by_one(self, weights: Tensor, progress: Callable[[int, int], None]) -> tuple[Tensor, Tensor]:
        again = self._landscape.batchnorm == "recompute"
        held = self._columns[0].nbytes + again * self._nodes[0].nbytes
        together = max(1, int(self._memory / 2 / max(1, held)))
        losses, errors = (torch.zeros(len(weights), dtype=torch.float64) for _ in range(2))
        for start in range(0, len(weights), together):
            block = weights[start : start + together]
            made = block.to(self._nodes) @ self._columns
            buffers = self._buffers(block)
            points = [_named(self._rest, row) for row in made]
            done, spent = 0.0, 0.0
            for part, share, kept in self._pieces:
                blank = {name: absent(kept, name) for name in self.plan.names}
                values = []
                for i, (weight, point) in enumerate(zip(block, points, strict=True)):
                    own = {name: buffer[i] for name, buffer in buffers.items()}
                    kept.at(weight)
                    values.append(_means(part, self._nodes[0], own, {**point, **blank}, kept))
                found = torch.stack(values).to("cpu", torch.float64)
                losses[start : start + together] += share * found[:, 0]
                errors[start : start + together] += share * found[:, 1]
                done, spent = done + share, spent + kept.spent
                if spent > self._memory / 2:
                    kept.forget()
                progress(start + round(done * len(block)), len(weights))
        return losses, errors

    def _stacked(self, weights: Tensor, progress: Callable[[int, int], None]) -> tuple[Tensor, Tensor]:
        ((landscape, _, kept),) = self._pieces
        together = max(1, min(self.plan.points, int(self._memory / 2 / self._nodes[0].nbytes)))
        values = []
        for start in range(0, len(weights), together):
            block = weights[start : start + together]
            made = block.to(self._nodes)
            kept.at(made)
            leaves = {
                **_named(self._rest, made @ self._columns),
                **{name: absent(kept, name, len(block)) for name in self.plan.names},
            }
            shape = self._nodes[:1].expand(len(block), -1)
            values.append(_means(landscape, shape, self._buffers(block), leaves, kept))
            progress(start + len(block), len(weights))
        found = torch.cat(values, dim=1).to("cpu", torch.float64)
        return found[0], found[1]

    def _buffers(self, weights: Tensor) -> dict[str, Tensor]:
        """BatchNorm's statistics at mixtures, where they are recomputed."""
        if self._landscape.batchnorm != "recompute":
            return {}
        return self._landscape.calibrate(weights.to(self._nodes) @ self._nodes)


def _means(
    landscape: Landscape, block: Tensor, buffers: Mapping[str, Tensor], leaves: Mapping[str, Tensor], kept: Kept
) -> Tensor:
    """Mean loss and error over the batches, ``[2]`` or ``[2, n]``."""
    losses, errors, sizes = [], [], []
    wide = torch.float32 if landscape.device.type == "mps" else torch.float64
    with torch.no_grad():
        for outputs, targets in landscape._passes(block, buffers, leaves):
            kept.next_batch()
            value = landscape._loss(outputs, targets)
            losses.append(_apart(value, block).to(wide))
            sizes.append(next(len(leaf) for leaf in _tensors(targets)))
            if landscape.has_labels:
                missed, counted = wrong(outputs, targets)
                front = missed.dim() - targets.dim()
                errors.append((missed.flatten(front).sum(-1).to(wide) / counted).expand_as(losses[-1]))
            else:
                errors.append(torch.zeros_like(losses[-1]))
    if len(losses) == 1:
        return torch.stack((losses[0], errors[0]))
    share = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
    both = torch.stack((torch.stack(losses), torch.stack(errors))).to("cpu", torch.float64)
    return torch.einsum("b,mb...->m...", share, both)


def _apart(value: Any, block: Tensor) -> Tensor:
    """What differs between n points, with n in front; what does not differ is the same for all."""
    if isinstance(value, Stacked):
        return value.raw
    found: Tensor = value.reshape(()) if block.dim() == 1 else value.reshape(()).expand(len(block))
    return found


def _pieces(landscape: Landscape, plan: Plan) -> Iterator[tuple[Landscape, float]]:
    """The landscape on one piece of its data after the other, with each one's share; whole where it cannot be cut."""
    data: Any = landscape._data
    # Where batches bring their own statistics, what is in a batch is part of the function.
    if not isinstance(getattr(data, "inputs", None), Tensor) or landscape.batchnorm == "batch":
        yield landscape, 1.0
        return
    for start in range(0, len(data), plan.samples):
        at = slice(start, start + plan.samples)
        part = landscape.on(_piece(landscape, at, tall=plan.tall))
        part._batch_size = plan.samples
        part.__dict__["has_labels"] = landscape.has_labels
        yield part, len(data.targets[at]) / len(data)


def _named(slots: list[Any], rows: Tensor) -> dict[str, Tensor]:
    """Parameters by name, of one row ``[p]`` or of several ``[n, p]`` that hold these parameters one after another."""
    found, start = {}, 0
    for slot in slots:
        found[slot.name] = rows[..., start : start + slot.size].view(*rows.shape[:-1], *slot.shape)
        start += slot.size
    return found
