"""How much disk a run will take, said before it begins."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from landform import store
from landform.errors import BadInput
from landform.layout import Layout
from landform.recording._state import persistent_buffers
from landform.recording._times import Plan, thin

log = logging.getLogger("landform.recording")

# A header with its metadata; the states of the random generators; two curves, a step and a value for each step.
_HEADER, _GENERATORS, _CURVES = 900, 24_000, 32


@dataclass(frozen=True)
class Sizes:
    """Sizes in bytes.

    Attributes:
        record: one record.
        resumable: one record with the optimiser's state.
    """

    record: int
    resumable: int

    @classmethod
    def of(cls, model: nn.Module, optimizer: Any, layout: Layout, own: torch.dtype, storage: torch.dtype) -> Self:
        """Estimate the sizes.

        Args:
            model: the model to be recorded.
            optimizer: its optimiser, or None.
            layout: its layout.
            own: the type of its points.
            storage: the type in which they are stored.

        Returns:
            The sizes.
        """
        kept = [owner.get_buffer(key) for owner, key in persistent_buffers(model).values()]
        buffers = sum(buffer.nbytes for buffer in kept) + 120 * len(kept)
        points = layout.size * own.itemsize * (1 + _points_of(optimizer))
        return cls(
            _HEADER + buffers + layout.size * storage.itemsize,
            _HEADER + buffers + _GENERATORS + points + 60 * len(layout.slots),
        )

    def run(self, plan: Plan) -> int | None:
        """What a whole run takes.

        Args:
            plan: what is recorded when.

        Returns:
            Bytes; None for a plan without an end.
        """
        steps = plan.steps
        if steps is None:
            return None
        full = len(plan.resumable.steps)
        return (len(steps) - full) * self.record + full * self.resumable + _CURVES * steps[-1]

    def fit(self, plan: Plan, max_bytes: int | None) -> tuple[Plan, str]:
        """Thin a plan out until it fits.

        Args:
            plan: what is recorded when.
            max_bytes: the disk use allowed, or None.

        Returns:
            The plan, and what to say about it (nothing where it fits as it is).

        Raises:
            BadInput: when it cannot be made to fit, or has no end.
        """
        if max_bytes is None:
            return plan, ""
        if plan.steps is None:
            raise BadInput("max_bytes needs an end: give at=every(n, until=steps), and resumable_at as a list.")
        thinned = thin(plan, lambda plan: self.run(plan) or 0, max_bytes)
        if thinned is plan:
            return plan, ""
        return thinned, f" (of {len(plan.at.steps)} times {len(thinned.at.steps)} are kept, to fit into max_bytes)"


def _points_of(optimizer: Any) -> int:
    """How many tensors of the shape of the parameters an optimiser keeps: read off its settings before it has any."""
    if optimizer is None:
        return 0
    for state in optimizer.state.values():
        return sum(1 for value in state.values() if isinstance(value, Tensor) and value.dim() > 0)
    settings = optimizer.param_groups[0]
    adam = (2 + bool(settings.get("amsgrad"))) if "betas" in settings else 0
    return adam + sum(bool(settings.get(key)) for key in ("momentum", "alpha", "centered"))


def announce(folder: Path, plan: Plan, record: int, run: int | None, note: str) -> None:
    """Say beforehand what a run will take.

    Args:
        folder: where it is recorded.
        plan: what is recorded when.
        record: bytes of one record.
        run: bytes of all; None for a plan without an end.
        note: what to say about it, from `Sizes.fit`.
    """
    each = store.size_text(record)
    if run is None or plan.steps is None:
        log.info("Recording into %s takes %s a record, without a planned end.", folder, each)
        return
    level, more = (logging.WARNING, note) if note else (logging.INFO, "")
    free = store.free_space(folder)
    if run > free:
        level, more = logging.WARNING, f"{note}, and only {store.size_text(free)} are free"
    log.log(
        level,
        "Recording into %s takes about %s: %d records of %s%s.",
        folder,
        store.size_text(run),
        len(plan.steps),
        each,
        more,
    )
