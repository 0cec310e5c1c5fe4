"""What a recorder has been told since its last record, and how it ends."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.recording._format import Curve
from landform.recording._writer import RunWriter

log = logging.getLogger("landform.recording")

# Numbers on a device are fetched together, at the latest after so many.
_MOST_ON_DEVICE = 4096


@dataclass
class Values:
    """What `Recorder.step` was given since the last record; entry i belongs to step ``first + i``."""

    first: int
    losses: list[float | Tensor | None] = field(default_factory=list)
    rates: list[float | Tensor | None] = field(default_factory=list)
    others: dict[str, tuple[list[int], list[float | Tensor]]] = field(default_factory=dict)
    skipped: dict[str, list[int]] = field(default_factory=dict)
    on_device: int = 0

    def number(self, value: Any, name: str, step: int) -> float | Tensor:
        """A number as a float; one that lies on a device as a copy that is fetched later, with others."""
        if not isinstance(value, Tensor):
            try:
                return float(value)
            except (TypeError, ValueError):
                raise BadInput(f"{name} at step {step} must be a number; got {type(value).__name__}.") from None
        if value.is_cpu:
            try:
                return float(value.item())
            except RuntimeError:
                pass
        if value.numel() != 1:
            raise BadInput(
                f"{name} at step {step} is a tensor of shape {list(value.shape)}: give one number, such as its mean."
            )
        self.on_device += 1
        if self.on_device > _MOST_ON_DEVICE:
            self.fetch()
            self.on_device = 0
        return value.detach().reshape(()).clone()

    def add(self, name: str, value: Any, step: int) -> None:
        """Add a number to a curve."""
        steps, numbers = self.others.setdefault(name, ([], []))
        numbers.append(value if type(value) is float else self.number(value, name, step))
        steps.append(step)

    def curves(self) -> dict[str, Curve]:
        """The values by name."""
        found: dict[str, Curve] = dict(self.others)
        for name, values in (("loss", self.losses), ("lr", self.rates)):
            kept = [(n, v) for n, v in enumerate(values, self.first) if v is not None]
            if kept:
                found[name] = ([n for n, _ in kept], [v for _, v in kept])
        return found

    def fetch(self) -> None:
        """Bring the numbers that lie on a device to the CPU."""
        lists: list[list[Any]] = [self.losses, self.rates, *(numbers for _, numbers in self.others.values())]
        for values in lists:
            late = [n for n, value in enumerate(values) if isinstance(value, Tensor)]
            fetched = torch.stack([value for value in values if isinstance(value, Tensor)]).tolist() if late else []
            for n, number in zip(late, fetched, strict=True):
                values[n] = number


@dataclass
class Tape:
    """What has to be finished when a recorder is closed or forgotten; it must not refer to the recorder."""

    writer: RunWriter
    values: Values
    process: int = field(default_factory=os.getpid)

    def finish(self) -> None:
        """Write the values since the last record, and let go of the folder.

        Raises:
            BadInput: when something could not be written.
        """
        if os.getpid() != self.process:
            return
        try:
            curves = self.values.curves()
            last = self.values.first + len(self.values.losses) - 1
            if (curves or self.values.skipped) and self.writer.error is None:
                self.writer.write_curves(last, curves, self.values.skipped)
        finally:
            self.writer.close()


def finish_forgotten(tape: Tape) -> None:
    """When the interpreter ends, or nobody holds the recorder any more: nobody is left to catch an error."""
    try:
        tape.finish()
    except BadInput as why:
        log.error("%s", why)
