"""Where a task lives in the weights: the smallest part of a task vector that keeps what it gained.

A mask keeps the coordinates of ``tuned - base`` with the highest scores and puts the others back to the base's
(Panigrahi, Saunshi, Zhao and Arora 2023 train such a mask; Wang et al. 2024 take it by magnitude).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.merging._mergeable import _point

Scores: TypeAlias = Literal["magnitude", "slope"]
# Evaluations of the loss at a time.
_TOGETHER = 8


@dataclass(frozen=True)
class Localised:
    """The part of a task vector that a task needs.

    Attributes:
        mask: True where the coordinate is kept, ``[P]``.
        point: the base with the kept coordinates of the tuned point, ``[P]``.
        density: share of the coordinates that are kept, of all ``P``.
        kept: share of the gain that the point keeps, ``share`` or more.
        gain: of the tuned point over the base, in what was measured.
        densities: where it was read, ``[m]``, ascending.
        shares: of the gain kept there, ``[m]``.
        layers: of each parameter, the share of its coordinates that are kept, by name.
        by: ``"loss"`` or ``"error"``.
        cost: in gradients of the mean loss over the full data.
    """

    mask: Tensor
    point: Tensor
    density: float
    kept: float
    gain: float
    densities: Tensor = field(repr=False)
    shares: Tensor = field(repr=False)
    layers: Mapping[str, float] = field(repr=False)
    by: str
    cost: float

    def overlap(self, other: Localised) -> float:
        """Coordinates in both masks, over those in either (Jaccard).

        Args:
            other: where another task lives.

        Returns:
            Between 0 and 1; two masks of these densities d and e drawn at random have about ``d e / (d + e - d e)``.
        """
        either = int((self.mask | other.mask).sum())
        return int((self.mask & other.mask).sum()) / either if either else 0.0


def localise(
    landscape: Landscape,
    base: Tensor | nn.Module,
    tuned: Tensor | nn.Module,
    *,
    share: float = 0.95,
    scores: Scores | Tensor = "slope",
    by: str = "loss",
    points: int = 4,
    readings: int = 24,
) -> Localised:
    """Find the smallest mask of a task vector that keeps a share of its gain.

    Densities are read on a scale that doubles, then between the largest that fails and the next that keeps the share;
    what is found is the smallest of those read above which none fails.

    Args:
        landscape: of the task.
        base: the point that the tuned one began from, ``[P]``, or a model.
        tuned: ``[P]``, or a model.
        share: of the gain in loss (or error) that is to be kept, above 0 and up to 1.
        scores: by what coordinates are kept: ``"magnitude"`` ``|d_j|``; ``"slope"``, the part of the gain that
            coordinate j has on the straight way, ``-d_j`` times the mean of the gradient there; or numbers ``[P]``.
        by: ``"loss"`` or ``"error"``.
        points: at how many points of the way the gradient is taken for ``"slope"``.
        readings: how many densities are read, at most.

    Returns:
        The mask, and the way to it.

    Raises:
        BadInput: when the tuned point gains nothing, or an argument makes no sense.
    """
    if not 0 < share <= 1:
        raise BadInput(f"share is {share}: give the share of the gain to keep, above 0 and up to 1.")
    if by not in ("loss", "error"):
        raise BadInput(f"by is {by!r}: give 'loss' or 'error'.")
    if points < 1 or readings < 2:
        raise BadInput(f"points is {points} and readings {readings}: give at least 1 and 2.")
    start, end = _point(landscape, base, "base"), _point(landscape, tuned, "tuned")
    vector = end - start
    again = landscape.batchnorm == "recompute"
    worth, cost = _scores(landscape, start, vector, scores, points)
    order = worth.argsort(descending=True, stable=True)
    changed = int((vector != 0).sum())
    values = _read(landscape, torch.stack([start, end]), by)
    gain = float(values[0] - values[1])
    if not gain > 0:
        raise BadInput(
            f"The tuned point has {by} {float(values[1]):.4g} and the base {float(values[0]):.4g}: there is no gain to "
            "keep; give the landscape of the task it was tuned for."
        )
    known: dict[int, float] = {0: 0.0, changed: 1.0}

    def read(counts: list[int]) -> None:
        new = [count for count in dict.fromkeys(counts) if count not in known][: readings - (len(known) - 2)]
        for begin in range(0, len(new), _TOGETHER):
            some = new[begin : begin + _TOGETHER]
            made = torch.stack([torch.where(_mask(order, count), end, start) for count in some])
            for count, value in zip(some, _read(landscape, made, by).tolist(), strict=True):
                known[count] = (float(values[0]) - value) / gain

    # Zero coordinates come last where scores are magnitudes; a mask never keeps more than what changed, nor less.
    rungs = [max(1, round(changed / 2**k)) for k in range(1, max(2, changed.bit_length()))]
    read(rungs[: max(1, readings // 2)])
    while len(known) - 2 < readings:
        fails, keeps = _between(known, share)
        if keeps - fails <= 1:
            break
        few = min(3, readings - (len(known) - 2), keeps - fails - 1)
        read([fails + round((keeps - fails) * (k + 1) / (few + 1)) for k in range(few)])
    _, count = _between(known, share)
    mask = _mask(order, count)
    counts = sorted(known)
    return Localised(
        mask,
        torch.where(mask, end, start),
        count / len(mask),
        known[count],
        gain,
        torch.tensor(counts, dtype=torch.float64) / len(mask),
        torch.tensor([known[one] for one in counts], dtype=torch.float64),
        {slot.name: int(mask[slot.start : slot.stop].sum()) / slot.size for slot in landscape.layout.slots},
        by,
        cost + (len(known)) * (1 + again) / 3,
    )


def _between(known: Mapping[int, float], share: float) -> tuple[int, int]:
    """The largest count that fails, and the next one that was read."""
    counts = sorted(known)
    fails = max((count for count in counts if known[count] < share), default=0)
    return fails, next((count for count in counts if count > fails), counts[-1])


def _mask(order: Tensor, count: int) -> Tensor:
    mask = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    mask[order[:count]] = True
    return mask


def _read(landscape: Landscape, points: Tensor, by: str) -> Tensor:
    return landscape.loss(points) if by == "loss" else landscape.error(points)


def _scores(
    landscape: Landscape, start: Tensor, vector: Tensor, scores: Scores | Tensor, points: int
) -> tuple[Tensor, float]:
    """What each coordinate is worth, and what it cost to know; coordinates that do not change are worth least."""
    cost = 0.0
    if isinstance(scores, Tensor):
        if scores.shape != vector.shape or not bool(scores.isfinite().all()):
            raise BadInput(
                f"scores are {list(scores.shape)}: give a finite number for each of the {len(vector)} weights."
            )
        worth = scores.to(vector)
    elif scores == "magnitude":
        worth = vector.abs()
    elif scores == "slope":
        total = torch.zeros_like(vector)
        for k in range(points):  # the midpoint rule on the way from the base to the tuned point
            total += landscape.gradient(start + (k + 0.5) / points * vector)
        worth = -total / points * vector
        cost = points * (1 + (landscape.batchnorm == "recompute") / 3)
    else:
        raise BadInput(f"There are no scores {scores!r}: give 'magnitude', 'slope', or a number for each weight.")
    return torch.where(vector != 0, worth, -torch.inf), cost
