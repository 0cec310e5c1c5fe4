"""Where BatchNorm's statistics come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

from torch.nn.modules.batchnorm import _BatchNorm

from landform.errors import BadInput

BatchNorm: TypeAlias = Literal["recompute", "keep", "batch", "none"]


def batchnorm_setting(asked: BatchNorm | None, norms: list[_BatchNorm]) -> BatchNorm:
    """Settle what was asked for with the layers there are; recomputed by default."""
    if asked not in (None, "recompute", "keep", "batch", "none"):
        raise BadInput(f"batchnorm is {asked!r}: give 'recompute', 'keep' or 'batch'.")
    if not norms:
        return "none"
    if asked == "none":
        raise BadInput("The model has BatchNorm layers: give batchnorm='recompute', 'keep' or 'batch'.")
    return asked or "recompute"


@contextmanager
def estimating(norms: Sequence[_BatchNorm]) -> Iterator[Callable[[int], None]]:
    """Let layers write running statistics, each batch weighted by its samples.

    Args:
        norms: the layers.

    Yields:
        A function to be told the size of each batch before it is passed through.
    """
    before = [(m.training, m.momentum, m.track_running_stats) for m in norms]
    seen = 0

    def about_to_see(samples: int) -> None:
        nonlocal seen
        seen += samples
        for norm in norms:
            norm.momentum = samples / seen

    try:
        for norm in norms:
            norm.train()
            norm.track_running_stats = True
        yield about_to_see
    finally:
        for norm, (training, momentum, track) in zip(norms, before, strict=True):
            norm.training, norm.momentum, norm.track_running_stats = training, momentum, track
