"""Task vectors with most of their coordinates taken out: by size, by chance, or by chance that follows size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from landform.merging._layers import double
from landform.merging._method import Asked, Part, Parts
from landform.merging._pieces import PIECE, pieces
from landform.merging._thresholds import largest


@dataclass(frozen=True)
class Kept:
    """What of each source's task vector is kept.

    Attributes:
        lower: the least magnitude, ``[n]``, or None.
        upper: the largest, ``[n]``, or None.
        factors: what the rest is multiplied by, ``[n]``, or None.
    """

    lower: Sequence[float] | None = None
    upper: Sequence[float] | None = None
    factors: Sequence[float] | None = None


Sparsify: TypeAlias = Callable[[Part, int, Kept, Asked], Tensor]
"""Of a part, the place of a source, what was gathered and what was asked: the delta ``[*shape]``, a new tensor."""


def by_size(part: Part, row: int, kept: Kept, asked: Asked) -> Tensor:
    """Keep the magnitudes between two thresholds, and those that equal one."""
    delta = _delta(part, row)
    size = delta.abs()
    if kept.lower is not None:
        delta[size < kept.lower[row]] = 0
    if kept.upper is not None:
        delta[size > kept.upper[row]] = 0
    return delta


def by_chance(part: Part, row: int, kept: Kept, asked: Asked) -> Tensor:
    """Keep each coordinate with probability density (DARE)."""
    delta, density = _delta(part, row), asked.each("density")[row]
    if density < 1:
        delta *= draw(asked.seed, part.name, row, delta, part.start) < density
    if kept.factors is not None:
        return delta.mul_(kept.factors[row])
    return delta.div_(density) if asked.settings["rescale"] == "paper" else delta


def by_rank(part: Part, row: int, kept: Kept, asked: Asked) -> Tensor:
    """Keep each coordinate with a probability that rises with its rank by magnitude within its row (DELLA).

    The probabilities are evenly spaced from density - epsilon for the smallest to density + epsilon for the largest;
    of equal magnitudes the first ranks lower. A vector is one row, and what makes one output of a layer is one.
    """
    delta = _delta(part, row)
    density, epsilon = asked.each("density")[row], asked.each("epsilon")[row]
    if density < 1:
        rows = delta.reshape(1, -1) if delta.dim() < 2 else delta.flatten(1)
        ranks = torch.empty_like(rows)
        spread = torch.linspace(density - epsilon, density + epsilon, rows.shape[1])
        spread = spread.to(rows) if rows.shape[1] > 1 else torch.full_like(rows[0], density)
        ranks.scatter_(1, rows.abs().argsort(dim=1, stable=True), spread.expand_as(rows))
        probability = ranks.view_as(delta)
        delta *= draw(asked.seed, part.name, row, delta, part.start) < probability
        if kept.factors is None and asked.settings["rescale"] == "paper":
            delta /= probability
    return delta if kept.factors is None else delta.mul_(kept.factors[row])


def trim(parts: Parts, asked: Asked) -> Kept:
    """Find the thresholds above which the largest magnitudes lie (TIES)."""
    densities = asked.each("density")
    if all(density == 1 for density in densities):
        return Kept()
    return Kept([found[0] for found in largest(parts, lambda row, size: [_share(densities[row], size)])])


def trim_both(parts: Parts, asked: Asked) -> Kept:
    """Find the thresholds between which what is kept lies, below the largest (breadcrumbs)."""
    densities, tops = asked.each("density"), asked.each("gamma")
    if all(density == 1 for density in densities):
        return Kept()

    def ranks(row: int, size: int) -> tuple[int, int]:
        keep = _share(densities[row], size)
        above = min(int(tops[row] * size), size - keep)  # density comes first
        return above + 1, above + keep

    found = largest(parts, ranks)
    return Kept([lower for _, lower in found], [upper for upper, _ in found])


def match_norms(sparsify: Sparsify) -> Callable[[Parts, Asked], Kept]:
    """Make a gathering of the factors that give what is kept the L1 norm of the whole.

    Args:
        sparsify: what is kept, with no factor.

    Returns:
        The gathering; it finds no factors unless the setting ``rescale`` is "norm".
    """

    def gather(parts: Parts, asked: Asked) -> Kept:
        if asked.settings["rescale"] != "norm":
            return Kept()
        wholes, rests = ([0.0] * asked.count for _ in range(2))
        for part in parts:
            for _, piece in pieces(part, rows=sparsify is by_rank):
                for row in range(asked.count):
                    delta = _delta(piece, row)
                    wholes[row] += float(delta.abs_().sum(dtype=double(delta)))
                    rest = sparsify(piece, row, Kept(), asked)
                    rests[row] += float(rest.abs_().sum(dtype=double(rest)))
        return Kept(factors=[whole / rest if rest else 1.0 for whole, rest in zip(wholes, rests, strict=True)])

    return gather


def draw(seed: int, name: str, source: int, like: Tensor, start: int = 0) -> Tensor:
    """Numbers from [0, 1), the same wherever, in whatever order and in whatever blocks tensors are merged.

    Args:
        seed: of the merge.
        name: of the tensor.
        source: its place among the sources.
        like: a tensor of the shape wanted, on the device wanted.
        start: where it begins in its tensor, if it is a block of one.

    Returns:
        The numbers, float32, drawn on the CPU.
    """
    stop = start + like.numel()
    found = [torch.empty(0)]
    for piece in range(start // PIECE, -(-stop // PIECE)):  # each has a generator of its own
        key = f"{seed}\0{source}\0{name}" + (f"\0{piece}" if piece else "")
        digest = hashlib.sha256(key.encode()).digest()
        made = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        first = piece * PIECE
        drawn = torch.rand(min(stop - first, PIECE), generator=made)
        found.append(drawn[max(start - first, 0) :])
    return torch.cat(found).view(like.shape).to(like.device)


def _delta(part: Part, row: int) -> Tensor:
    source = part.sources[row]
    return source.clone() if part.base is None else source - part.base


def _share(density: float, size: int) -> int:
    """How many coordinates to keep: the whole part of their share, but at least one."""
    return min(size, max(1, int(density * size)))
