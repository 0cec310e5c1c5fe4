"""The recorder: one line in anyone's training loop."""

from __future__ import annotations

import copy
import logging
import math
import sys
import time
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from landform import store
from landform.errors import BadInput
from landform.layout import Layout
from landform.recording._distributed import Shard, is_bystander, local, unwrapped
from landform.recording._format import RecordData, record_path, storage_type
from landform.recording._live import Live, LiveProbes, Log, Now, synchronize
from landform.recording._sizes import Sizes, announce
from landform.recording._state import check_optimizer, generator_state, optimizer_state, persistent_buffers
from landform.recording._tape import Tape, Values, finish_forgotten
from landform.recording._thinned import RECORDS, Thinned, thinned_to
from landform.recording._times import Plan, Times, partner_gap
from landform.recording._writer import RunWriter

log = logging.getLogger("landform.recording")

_NEVER = sys.maxsize
_LARGEST_SPARE = 64_000_000  # bytes


class Recorder:
    """Records the points that a training run visits, with what is needed to measure them and to go on from them.

    Call `step` once after every optimiser step, last in the loop. The point before the first step is recorded when
    the recorder is made. Files are written in the background, each whole or not at all; after a crash everything
    recorded is there.

    Examples:
        >>> recorder = Recorder(folder, model, optimizer, epoch=len(loader), at=log_spaced(50, until=steps))
        >>> for batch in loader:
        ...     loss = train_on(batch)
        ...     recorder.step(loss=loss)
        >>> recorder.close()

    Attributes:
        plan: which steps are recorded.
        disk_use: bytes that all planned records take together; None when ``at`` or ``resumable_at`` has no end.
        record_size: bytes of one record that is not resumable.
        steps: optimiser steps taken so far.
    """

    def __init__(
        self,
        folder: str | Path,
        model: nn.Module,
        optimizer: Any = None,
        *,
        epoch: int,
        at: int | Iterable[int],
        pairs: float | None = 0.4,
        resumable_at: int | Iterable[int] = (),
        scheduler: Any = None,
        dtype: torch.dtype | None = None,
        max_bytes: int | None = None,
        probes: LiveProbes | None = None,
        probes_at: int | Iterable[int] | None = None,
        budget: float | None = 0.03,
        thin: bool = False,
        log: Log | None = None,
        settings: Mapping[str, Any] | None = None,
        resume: bool | int = False,
        overwrite: bool = False,
    ) -> None:
        """Make the run's folder, say how much disk the run will take, and record the point before the first step.

        Args:
            folder: where the run shall lie.
            model: any module with parameters to train. Of one wrapped for data-parallel training the first process
                records, and the recorders of the others do nothing; of one split by ``fully_shard`` each records its
                shard (see `join_shards`).
            optimizer: the torch optimiser that trains it, for the learning rate and for resumable records.
            epoch: steps in an epoch.
            at: steps to record (`log_spaced`, `every`, a list), or a whole number n for every n-th.
            pairs: each of them gets a partner so many epochs later (at least one step), from which velocities are
                measured; None for no partners.
            resumable_at: steps, or a whole number n for every n-th, at which optimiser state and random generators
                are kept as well, so that the run can go on from there exactly.
            scheduler: a learning-rate scheduler whose state is to be kept there too.
            dtype: type in which points are stored, such as ``torch.bfloat16``; resumable ones keep their own.
            max_bytes: take evenly from ``at`` as many times as fit into so many bytes.
            probes: measurements to take while training goes on: functions of a `Now` that return a number, or numbers
                by name; one, several, or by name (see ``landform.probes.live``). Their values become curves.
            probes_at: when to take them, as for ``at``; at the times of ``at`` by default.
            budget: share of the training's time that the recorder may take for itself with probes; it keeps to it by
                leaving measurements out (`skipped`). None for no limit.
            thin: leave out records as well where they would take more than the budget, with probes or without; but for
                that before the first step, resumable ones, and the last where training ends with it.
            log: called as ``log(step, {name: value})`` with what was measured.
            settings: whatever describes the run, as JSON; kept in ``run.json``.
            resume: go on with the run that lies in the folder, if one does. The model must stand at one of its
                records (`Record.restore` puts it there): True finds which; a step says it.
            overwrite: remove the run that lies in the folder.

        Raises:
            BadInput: when any of this cannot be, in one sentence.
        """
        if not isinstance(model, nn.Module):
            raise BadInput(f"model must be a torch.nn.Module; got {type(model).__name__}.")
        epoch = Times.parse(epoch, "epoch").every
        if not epoch:
            raise BadInput("epoch must be the number of steps in an epoch, such as len(loader).")
        self._silent = is_bystander(model)
        self._model, self._optimizer, self._scheduler = unwrapped(model), optimizer, scheduler
        model = self._model
        shard = Shard.of(model)
        self._layout = Layout.of(model) if shard is None else shard.layout
        self._spare: list[Tensor] = []  # points that have been written, at most three
        resumable = Times.parse(resumable_at, "resumable_at")
        if shard is not None and (resumable != Times() or probes is not None):
            what = "resumable_at" if probes is None else "probes"
            raise BadInput(f"{what} is not for a model in shards: no process has all of it; {shard.remedy[what]}.")
        if optimizer is not None:
            check_optimizer(optimizer, model, self._layout, resumable=resumable != Times())
        self._buffers = persistent_buffers(model)
        self._frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
        self._on_cpu = all(p.is_cpu for p in model.parameters())
        self._rates = optimizer if optimizer is not None and "lr" in optimizer.param_groups[0] else _NO_RATE
        own = self._point().dtype
        sizes = Sizes.of(model, optimizer, self._layout, own, storage_type(dtype, own))
        self.plan, note = sizes.fit(Plan(Times.parse(at, "at"), partner_gap(pairs, epoch), resumable), max_bytes)
        self.record_size, self.disk_use = sizes.record, sizes.run(self.plan)
        self._live = _live(
            probes, self.plan.at if probes_at is None else Times.parse(probes_at, "probes_at"), log, budget
        )
        self._thinned = thinned_to(budget) if thin else None
        self._epoch = epoch
        self.steps, self._start, self._own = 0, time.perf_counter(), 0.0
        self._next = -1
        if self._silent:
            return
        described = {} if shard is None else {"shard": shard.to_json()}
        self._writer = RunWriter(
            folder if shard is None else shard.folder(folder),
            layout=self._layout,
            epoch=epoch,
            settings={"recorder": self._describe(), **described, **(settings or {})},
            dtype=dtype,
            point_dtype=own,
            overwrite=overwrite,
            resume=resume is not False,
        )
        try:
            announce(self._writer.folder, self.plan, self.record_size, self.disk_use, note)
            if self._writer.before:
                self._take_place(resume)
                if self._thinned is not None:
                    self._thinned.kept.update(self._writer.before)
            self._values = Values(self.steps + 1)
            self._tape = Tape(self._writer, self._values)
            self._recording = 0
            self._next = self._following() if self._writer.before else 0
            if not self._next:
                self._arrive(None, None)
        except BaseException:
            with suppress(BadInput):
                self._writer.close()
            raise
        self._finish = weakref.finalize(self, finish_forgotten, self._tape)

    # -------------------------------------------------------------------------------------------- the loop's line

    def step(
        self, loss: float | Tensor | None = None, lr: float | Tensor | None = None, **curves: float | Tensor
    ) -> None:
        """Note that the optimiser has taken a step; record the model when it is time.

        Args:
            loss: the training loss of this step, a number or a scalar tensor (a tensor on a GPU is not waited for).
            lr: the learning rate, if not that of the optimiser's first group.
            curves: further numbers to keep as curves.

        Raises:
            BadInput: when an earlier record could not be written, or the recorder is closed.
        """
        # This runs at every step of somebody's training: about a microsecond unless there is something to record.
        if self._next < 0 or self._writer.error is not None:
            if self._silent:
                self.steps += 1
                return
            self._writer.check()
        self.steps = now = self.steps + 1
        values = self._values
        if loss is not None and type(loss) is not float:
            loss = values.number(loss, "loss", now)
        values.losses.append(loss)
        if lr is None:
            lr = self._rates.param_groups[0]["lr"]  # loading a state dict replaces the groups: look them up
        if lr is not None and type(lr) is not float:
            lr = values.number(lr, "lr", now)
        values.rates.append(lr)
        if curves:
            for name, value in curves.items():
                values.add(name, value, now)
        if now >= self._next:
            self._arrive(loss, lr)

    def note(self, **curves: float | Tensor) -> None:
        """Add numbers to the curves at the present step, for loops that tell them after `step`.

        Args:
            curves: numbers by name; ``loss`` and ``lr`` for steps that were not given theirs.

        Raises:
            BadInput: when one is no number.
        """
        if not self._silent:
            for name, value in curves.items():
                self._values.add(name, value, self.steps)

    @property
    def skipped(self) -> dict[str, list[int]]:
        """Steps at which a probe was due and left out, to keep the budget or since it failed, by its name.

        Those of records that were left out are under ``records``.
        """
        records = {RECORDS: list(self._thinned.skipped)} if self._thinned and self._thinned.skipped else {}
        return records if self._live is None else {**self._live.skipped, **records}

    @property
    def overhead(self) -> float:
        """What the recorder took for itself so far, as a share of the time of training; nan before the first step.

        Of a model on the CPU the processor time of the thread that writes is part of it: the two get into each other's
        way.
        """
        trained = self._trained()
        return self._taken() / trained if self.steps and trained > 0 else math.nan

    @property
    def recorded(self) -> tuple[int, ...]:
        """Steps whose records are on disk under their final names."""
        return () if self._silent else tuple(self._writer.recorded)

    def flush(self) -> None:
        """Wait until everything recorded is on disk.

        Raises:
            BadInput: when something could not be written.
        """
        if not self._silent:
            self._writer.flush()

    def close(self) -> None:
        """Write what is left, wait until it is on disk, and let go of the folder.

        Raises:
            BadInput: when something could not be written.
        """
        self._next = -1
        if not self._silent and self._finish.detach() is not None:
            try:
                if self._thinned is not None:
                    self._record_end(self._thinned)
                    if self._thinned.skipped:
                        log.info("Records left out to keep the budget: %s.", _some(self._thinned.skipped))
                if self._live is not None and self.steps:
                    log.info("%s", self._live.summary(self._trained(), self._taken()))
            finally:
                self._tape.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------- its parts

    def _point(self) -> Tensor:
        """Copy the parameters; into a point that has been written, as fresh memory costs more than the copy."""
        parameters = {name: local(p) for name, p in self._model.named_parameters()}
        if not self._spare or not all(p.is_cpu for p in parameters.values()):
            return self._layout.join(parameters)
        point = self._spare.pop()
        for name, view in self._layout.views(point).items():
            view.copy_(parameters[name])
        return point

    def _trained(self) -> float:
        """Seconds of training, without the recorder's own."""
        return time.perf_counter() - self._start - self._own

    def _taken(self) -> float:
        """Seconds that the recorder took for itself, in the loop and behind it."""
        return self._own if self._silent or not self._on_cpu else self._own + self._writer.seconds

    def _arrive(self, loss: float | Tensor | None, lr: float | Tensor | None) -> None:
        """Measure and record what is due at the present step."""
        live = self._live if self._live is not None and self.steps in self._live.at else None
        if live is not None:
            synchronize(self._model)  # or training still under way would count as measuring
        start = time.perf_counter()
        trained = start - self._start - self._own
        if live is not None:
            self._measure(live, lr, trained)
        if self.steps >= self._recording:
            planned = self.steps in self.plan.at
            if self._thinned is None:
                self._record(loss, lr, trained, planned=planned)
            else:
                self._thin(
                    self._thinned, loss, lr, trained, self._taken() + time.perf_counter() - start, planned=planned
                )
        self._next = self._following()
        self._own += time.perf_counter() - start

    def _following(self) -> int:
        step = self.plan.after(self.steps)
        self._recording = _NEVER if step is None else step
        due = None if self._live is None else self._live.at.after(self.steps)
        return self._recording if due is None else min(due, self._recording)

    def _thin(
        self,
        thinned: Thinned,
        loss: float | Tensor | None,
        lr: float | Tensor | None,
        trained: float,
        own: float,
        *,
        planned: bool,
    ) -> None:
        """Record what is due if it fits into the budget, or has to be there in any case."""
        step, gap = self.steps, self.plan.gap
        start = time.perf_counter()
        due = step == 0 or step in self.plan.resumable
        wanted = planned and (due or thinned.fits(trained, own, 2 if gap else 1))
        if due or wanted or (gap and step - gap in thinned.kept):
            if wanted:
                thinned.kept.add(step)
            self._record(loss, lr, trained, planned=planned)
            behind = (self._taken() - self._own) / max(1, self._writer.jobs)
            thinned.price = time.perf_counter() - start + behind
        elif planned:
            thinned.skipped.append(step)
            thinned.last = loss, lr
            self._values.skipped.setdefault(RECORDS, []).append(step)

    def _record_end(self, thinned: Thinned) -> None:
        """Record the last point after all, where training ended at one that was left out: it is worth its time."""
        if not thinned.skipped or thinned.skipped[-1] != self.steps:
            return
        start = time.perf_counter()
        left_out = self._values.skipped.pop(RECORDS)[:-1]  # since the last record; this one among them
        if left_out:
            self._values.skipped[RECORDS] = left_out
        thinned.skipped.pop()
        self._record(*thinned.last, self._trained(), planned=True)
        self._own += time.perf_counter() - start

    def _measure(self, live: Live, lr: float | Tensor | None, trained: float) -> None:
        names, left_out = live.choose(self.steps, trained, self._taken())
        for name in left_out:
            self._values.skipped.setdefault(name, []).append(self.steps)
        if not names:
            return
        now = Now(
            self.steps,
            self.steps / self._epoch,
            self._model,
            self._layout.point(self._model),
            self._copied_buffers(),
            None if lr is None else float(lr),
            self._writer.folder,
        )
        for name, value in live.take(names, now, self._layout).items():
            self._values.add(name, value, self.steps)

    def _copied_buffers(self) -> dict[str, Tensor]:
        return {name: owner.get_buffer(key).detach().clone() for name, (owner, key) in self._buffers.items()}

    def _record(self, loss: float | Tensor | None, lr: float | Tensor | None, trained: float, *, planned: bool) -> None:
        step = self.steps
        thawed = [name for name, p in self._frozen.items() if p.requires_grad]
        if thawed:
            raise BadInput(
                f"Parameter {thawed[0]} was frozen when recording began and is trained now: make the recorder while "
                "all that will be trained requires a gradient."
            )
        resumable = step in self.plan.resumable
        state: dict[str, Any] = {}
        arrays: dict[str, Tensor] | None = None
        if resumable:
            arrays, state = self._resumable_state()
        data = RecordData(
            step=step,
            point=self._point(),
            loss=loss,
            lr=lr,
            seconds=trained,
            buffers=self._copied_buffers(),
            optimizer=arrays,
            state=state,
            curves=self._values.curves(),
            skipped=self._values.skipped,
            partner=not (planned or resumable or step == 0),
            gap=self.plan.gap if planned else 0,
        )
        small = data.point.is_cpu and data.point.nbytes <= _LARGEST_SPARE
        self._writer.write(data, partial(self._spare.append, data.point) if small else lambda: None)
        self._values = self._tape.values = Values(step + 1)

    def _resumable_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        devices = {p.device for p in self._model.parameters()}
        state: dict[str, Any] = {"generators": generator_state(devices)}
        arrays: dict[str, Tensor] = {}
        if self._optimizer is not None:
            arrays, rest = optimizer_state(self._optimizer, self._model, self._layout)
            state["optimizer"] = copy.deepcopy(rest)
        if self._scheduler is not None:
            state["scheduler"] = copy.deepcopy(self._scheduler.state_dict())
        return arrays, state

    def _take_place(self, resume: bool | int) -> None:
        """Find the record at which the model stands, and go on from there."""
        before = self._writer.before
        point = self._point()
        sums = {store.checksum(point), store.checksum(point.to(self._writer.storage))}
        found = [step for step, crc in before.items() if crc in sums]
        if resume is not True:
            if resume not in before:
                raise BadInput(f"{self._writer.folder} has no record of step {resume}: it has {_some(list(before))}.")
            found = [resume] if resume in found else []
        if not found:
            raise BadInput(
                f"The model stands at none of the points recorded in {self._writer.folder}"
                f"{'' if resume is True else f' at step {resume}'}: restore one first, such as "
                "Trajectory(folder).resumable[-1].restore(model, optimizer)."
            )
        headers = {step: store.open_tensors(record_path(self._writer.folder, step)).metadata for step in found}
        self.steps = max(found, key=lambda step: (headers[step]["resumable"] == "true", step))
        self._start -= float(headers[self.steps]["seconds"])

    def _describe(self) -> dict[str, Any]:
        described: dict[str, Any] = {
            "model": type(self._model).__name__,
            "parameters": self._layout.size,
            "frozen": {name: f"{store.checksum(local(p)):08x}" for name, p in self._frozen.items()},
            "at": self.plan.at.every or list(self.plan.at.steps),
            "gap": self.plan.gap,
            "resumable_at": self.plan.resumable.every or list(self.plan.resumable.steps),
        }
        if self._thinned is not None:
            described |= {"thin": True, "budget": self._thinned.budget}
        if self._live is not None:
            budget = None if math.isinf(self._live.budget) else self._live.budget
            described |= {"probes": self._live.names, "budget": budget}
        if self._optimizer is not None:
            groups = self._optimizer.param_groups
            kept = {k: v for k, v in groups[0].items() if isinstance(v, bool | int | float | str | tuple)}
            described["optimizer"] = {"class": type(self._optimizer).__name__, **kept}
        return described


def _live(probes: LiveProbes | None, at: Times, log: Log | None, budget: float | None) -> Live | None:
    if probes is not None:
        return Live(probes, at, log, budget)
    if log is not None:
        raise BadInput("log has nothing to tell: give probes too, such as probes=landform.probes.live(landscape).")
    return None


class _NoRate:
    """Stands for an optimiser that tells no learning rate."""

    param_groups: tuple[dict[str, Any], ...] = ({"lr": None},)


_NO_RATE = _NoRate()


def _some(steps: list[int]) -> str:
    return ", ".join(map(str, steps[:8])) + (f" and {len(steps) - 8} more" if len(steps) > 8 else "")
