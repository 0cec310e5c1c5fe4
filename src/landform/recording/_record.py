"""One recorded time of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from landform.errors import BadInput, Damaged
from landform.layout import Layout
from landform.recording._format import BUFFERS, CURVE, CURVE_STEPS, OPTIMIZER, POINT, STATE
from landform.recording._plain import decode
from landform.recording._state import check_buffers, restore_buffers, restore_generators, restore_optimizer
from landform.store import TensorFile, checksum


@dataclass(frozen=True)
class Record:
    """A recorded time; its arrays are read from the file when asked for.

    Attributes:
        file: the record's file.
        run: the run's description.
        layout: the layout of its point.
        dtype: type in which points are given back.
        step: optimiser steps taken.
        epoch: the same in epochs.
        loss: the training loss of the last step, as the loop had it; None where it was not given.
        lr: the learning rate of the last step; None where it was not known.
        seconds: time spent training until then.
        partner: True when it was recorded only as the partner of an earlier record.
        gap: how many steps later its own partner follows; 0 for none.
        resumable: whether optimiser state and random generators were kept.
    """

    file: TensorFile
    run: Mapping[str, Any]
    layout: Layout
    dtype: torch.dtype
    step: int
    epoch: float
    loss: float | None
    lr: float | None
    seconds: float
    partner: bool
    gap: int
    resumable: bool

    @property
    def point(self) -> Tensor:
        """The parameters, ``[P]``."""
        return self.read_point(torch.empty(self.layout.size, dtype=self.dtype))

    @property
    def buffers(self) -> dict[str, Tensor]:
        """The persistent buffers by name."""
        return self._under(BUFFERS)

    @property
    def optimizer(self) -> dict[str, Tensor] | None:
        """Optimiser state by key, shaped like a point ``[P]`` or with a number a parameter; None if not resumable."""
        return self._under(OPTIMIZER) if self.resumable else None

    @property
    def momentum(self) -> Tensor | None:
        """The optimiser's momentum (Adam's first moment), ``[P]``; None where there is none, or it was not kept."""
        for key in ("momentum_buffer", "exp_avg"):
            if OPTIMIZER + key in self.file.entries:
                return self.file.read(OPTIMIZER + key)
        return None

    @cached_property
    def digest(self) -> str:
        """A short name for what a measurement can depend on: the step, the point, buffers and optimiser state."""
        kept = [
            [name, str(entry.dtype), entry.shape, entry.crc]
            for name, entry in sorted(self.file.entries.items())
            if name == POINT or name.startswith((BUFFERS, OPTIMIZER))
        ]
        return hashlib.blake2b(json.dumps([self.step, kept]).encode(), digest_size=8).hexdigest()

    @property
    def state(self) -> dict[str, Any]:
        """What else was kept to go on from here, by name (such as ``scheduler``)."""
        tensors = self._under(f"{STATE}.")
        return {name: decode(part, tensors) for name, part in json.loads(self.file.metadata[STATE]).items()}

    @property
    def curves(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Values since the record before, by name: steps ``[n]`` and values ``[n]``."""
        return read_curves(self.file)

    def read_point(self, out: Tensor) -> Tensor:
        """Read the parameters into a tensor.

        Args:
            out: ``[P]``, of any floating type.

        Returns:
            The same tensor.
        """
        return self.file.read(POINT, out)

    def restore(
        self, model: nn.Module, optimizer: Any = None, scheduler: Any = None, *, generators: bool | None = None
    ) -> None:
        """Put a user's objects back to where they were at this time.

        With an optimiser, training goes on exactly as it did in the recorded run (bit for bit on a CPU, given the
        same batches).

        Args:
            model: a model built like the recorded one.
            optimizer: an optimiser made like the recorded one; without it only weights and buffers are restored.
            scheduler: a scheduler made like the recorded one.
            generators: put the random generators of torch, NumPy and Python back; by default if an optimiser is given.

        Raises:
            BadInput: when something was not kept at this time, or the objects are built otherwise.
        """
        restoring = optimizer is not None if generators is None else generators
        if not self.resumable and (optimizer is not None or scheduler is not None or restoring):
            raise BadInput(
                f"The record of step {self.step} keeps no optimiser state and no random generators: take one of "
                "trajectory.resumable (see the recorder's resumable_at)."
            )
        layout = Layout.of(model)
        here = [(slot.name, slot.shape) for slot in layout.slots]
        if here != [(slot.name, slot.shape) for slot in self.layout.slots]:
            raise BadInput(
                f"The model's parameters are not those of the run in {self.file.path.parent.parent}: build it, and "
                "freeze it, as it was for the run."
            )
        frozen = self.run["settings"].get("recorder", {}).get("frozen", {})
        for name, parameter in model.named_parameters():
            if name in frozen and frozen[name] != f"{checksum(parameter):08x}":
                raise BadInput(
                    f"The model's frozen parameter {name} is not what it was in the run: load the same frozen weights."
                )
        state = self.state if self.resumable else {}
        for given, part in ((optimizer, "optimizer"), (scheduler, "scheduler")):
            if given is not None and part not in state:
                raise BadInput(f"The record of step {self.step} holds no {part}: the recorder was given none.")
        # Whatever may be wrong shows before the first change.
        point, buffers = self.point, self.buffers
        check_buffers(model, buffers)
        if optimizer is not None:
            restore_optimizer(optimizer, model, layout, self._under(OPTIMIZER), state["optimizer"])
        if scheduler is not None:
            scheduler.load_state_dict(state["scheduler"])
        restore_buffers(model, buffers)
        layout.load_(model, point)
        if restoring:
            restore_generators(state["generators"])

    def __repr__(self) -> str:
        loss = "" if self.loss is None else f", loss={self.loss:.4g}"
        more = ", resumable" if self.resumable else ", partner" if self.partner else ""
        return f"Record(step={self.step}, epoch={self.epoch:.4g}{loss}{more})"

    def _under(self, prefix: str) -> dict[str, Tensor]:
        names = [name for name in self.file.entries if name.startswith(prefix)]
        # What is left after "state." has to keep it: its tensors are referred to by their names in `encode`.
        return {name.removeprefix(prefix): self.file.read(name) for name in names}


def make_record(file: TensorFile, run: Mapping[str, Any], layout: Layout, step: int) -> Record:
    """Read a record's metadata.

    Args:
        file: the record's file, opened.
        run: the run's description.
        layout: the layout of its point.
        step: the step that the file's name tells.

    Returns:
        The record.

    Raises:
        Damaged: when the file is not the record it should be.
    """
    try:
        strings = {name: json.loads(value) for name, value in file.metadata.items()}
        if strings["step"] != step or file.entries[POINT].shape != (layout.size,):
            raise ValueError(f"it is a record of step {strings['step']} of another run")
        return Record(
            file=file,
            run=run,
            layout=layout,
            dtype=getattr(torch, run["dtype"]),
            step=step,
            epoch=step / run["epoch"],
            **{name: strings[name] for name in ("loss", "lr", "seconds", "partner", "gap", "resumable")},
        )
    except (KeyError, ValueError, TypeError) as why:
        raise Damaged(f"{file.path} is not the record it should be ({why}): put back the right file.") from None


def read_curves(file: TensorFile) -> dict[str, tuple[Tensor, Tensor]]:
    """Read the curves in a file.

    Args:
        file: a record, or the values after the last one.

    Returns:
        Steps ``[n]`` and values ``[n]`` by name.
    """
    names = [name.removeprefix(CURVE) for name in file.entries if name.startswith(CURVE)]
    return {name: (file.read(CURVE_STEPS + name), file.read(CURVE + name)) for name in names}
