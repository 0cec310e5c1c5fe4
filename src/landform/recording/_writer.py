"""A run's folder, written in the background, in order."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landform import store
from landform.errors import BadInput, Damaged
from landform.layout import Layout
from landform.recording._background import Background
from landform.recording._format import (
    CHILDREN,
    CURVES,
    POINTS,
    RUN,
    SCHEMA,
    Curve,
    RecordData,
    dtype_name,
    pack_curves,
    pack_record,
    read_run,
    record_files,
    record_path,
    storage_type,
)

log = logging.getLogger("landform.recording")


class RunWriter:
    """Writes a run's folder: ``run.json`` and one file for each record.

    Attributes:
        folder: the run's folder.
        background: the thread that writes; several writers may share one.
        recorded: steps whose files have their final names, in the order they got them.
        before: in a resumed run, the records found there: step and checksum of the point (None for a damaged one).
        storage: type in which points are stored.
        error: what went wrong in the background, if anything did; nothing is written after it.
        jobs: how much has been written there.
        seconds: processor time that this took.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        layout: Layout,
        epoch: int,
        settings: Mapping[str, Any] | None = None,
        parent: Mapping[str, Any] | None = None,
        dtype: torch.dtype | None = None,
        point_dtype: torch.dtype = torch.float32,
        background: Background | None = None,
        overwrite: bool = False,
        resume: bool = False,
    ) -> None:
        """Make or continue a run's folder, and lock it.

        Args:
            folder: where the run shall lie.
            layout: the layout of its points.
            epoch: steps in an epoch.
            settings: whatever describes the run, as JSON; kept in ``run.json``.
            parent: for a child, where it left its parent's run, such as ``{"step": 100, "epoch": 2.5}``.
            dtype: type in which points are stored; their own by default. Resumable records keep their own.
            point_dtype: type of the points as the run has them, and as they are read back.
            background: the thread to write in; one of its own by default.
            overwrite: remove the run that lies there.
            resume: go on with the run that lies there, if one does; its ``run.json`` stays as it is.

        Raises:
            BadInput: when a run lies there already, or lies there with another layout or epoch; when the folder
                cannot be written, or another process is writing it.
        """
        self.folder = Path(folder)
        self._layout, self._point_dtype = layout, point_dtype
        self.storage = storage_type(dtype, point_dtype)
        self._process = os.getpid()
        self._step = -1
        self.error: BadInput | None = None
        self.jobs, self.seconds = 0, 0.0
        self._closed = self._unsettled = False
        self.before: dict[int, int | None] = {}
        self.recorded: list[int] = []
        description = {
            "schema": SCHEMA,
            "landform": sys.modules["landform"].__version__,
            "torch": str(torch.__version__),
            "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "epoch": epoch,
            "dtype": dtype_name(point_dtype),
            "storage": dtype_name(self.storage),
            "parent": None if parent is None else dict(parent),
            "settings": dict(settings or {}),
            "layout": layout.to_json(),
        }
        store.make_folder(self.folder)
        self._lock = store.Lock(self.folder)
        try:
            for place in (self.folder, self.folder / POINTS, self.folder / CURVES):
                store.sweep(place, older_than=0)
            if overwrite:
                _clear(self.folder)
            there = (self.folder / RUN).exists()
            if not there and any(record_files(self.folder)):
                raise BadInput(
                    f"{self.folder} holds records but no {RUN}: put the file back, give overwrite=True to remove the "
                    "records, or give another folder."
                )
            if there and not resume:
                raise BadInput(
                    f"{self.folder} holds a run already: give another folder, resume=True to go on with it, or "
                    "overwrite=True to replace it."
                )
            if there:
                self._continue(epoch)
            else:
                store.write_json(self.folder / RUN, description)
            store.make_folder(self.folder / POINTS)
        except BaseException:
            self._lock.release()
            raise
        self._own = background is None
        self.background = background or Background()

    def write(self, data: RecordData, finished: Callable[[], object] = lambda: None) -> None:
        """Hand over a record; it is written in the background.

        A step that was recorded before (in a resumed run) is written again only if its point is another one.

        Args:
            data: the record; its step must be later than the last one handed over.
            finished: called in the background once the record's tensors are needed no more.

        Raises:
            BadInput: when an earlier record could not be written, the step is not later, the point is not of this
                layout, or the writer is closed.
        """
        self.check()
        if data.step <= self._step:
            raise BadInput(
                f"Step {data.step} comes after step {self._step}: records are written in the order of steps."
            )
        if data.point.shape != (self._layout.size,):
            raise BadInput(f"A point of this run is [{self._layout.size}]; got {list(data.point.shape)}.")
        self._step = data.step
        self._hand_over(partial(self._write_record, *_ready(data)), finished)

    def write_curves(
        self, step: int, curves: Mapping[str, Curve], skipped: Mapping[str, Sequence[int]] | None = None
    ) -> None:
        """Hand over the values that follow the last record, at the end of a run.

        Args:
            step: the step reached.
            curves: values by name: the steps, and one number for each.
            skipped: steps at which live probes were left out, by the probe's name.
        """
        self.check()
        self._hand_over(partial(self._write_curves, step, pack_curves(curves, skipped)))

    def check(self) -> None:
        """Raise what went wrong in the background, if anything did.

        Raises:
            BadInput: when a record could not be written, or the writer is closed.
        """
        if self.error is not None:
            raise self.error
        if self._closed:
            raise BadInput(f"The recorder of {self.folder} is closed: make a new one with resume=True to go on.")

    def flush(self) -> None:
        """Wait until everything handed over is on disk.

        Raises:
            BadInput: when something could not be written.
        """
        self.check()
        self._drain()

    def close(self) -> None:
        """Wait until everything is on disk, and let go of the folder.

        Raises:
            BadInput: when something could not be written.
        """
        if self._closed or os.getpid() != self._process:
            return
        self._closed = True
        try:
            self._drain()
        finally:
            if self._own:
                self.background.close()
            self._lock.release()

    def _continue(self, epoch: int) -> None:
        """Compare the run that lies in the folder with the one to be recorded, and note what it has."""
        run = read_run(self.folder)
        shapes = [(slot.name, slot.shape) for slot in Layout.from_json(run["layout"]).slots]
        if shapes != [(slot.name, slot.shape) for slot in self._layout.slots]:
            raise BadInput(f"The run in {self.folder} is of another model: give another folder, or build that model.")
        if run["epoch"] != epoch or run["dtype"] != dtype_name(self._point_dtype):
            raise BadInput(
                f"The run in {self.folder} has {run['epoch']} steps an epoch and {run['dtype']} points, not {epoch} "
                f"and {dtype_name(self._point_dtype)}: go on with those, or give another folder."
            )
        for step, path in record_files(self.folder):
            try:
                self.before[step] = store.open_tensors(path).entries["point"].crc
                self.recorded.append(step)
            except (Damaged, KeyError):
                self.before[step] = None  # to be written again when its time comes
                log.warning("%s is damaged; it is written again when the run comes past step %d.", path, step)

    def _hand_over(self, job: Callable[[], None], finished: Callable[[], object] = lambda: None) -> None:
        def guarded() -> None:
            start = time.thread_time()
            if self.error is None:
                try:
                    job()
                except BadInput as why:
                    self.error = why
                except Exception as why:
                    self.error = BadInput(f"{self.folder} could not be written ({type(why).__name__}: {why}).")
            self.seconds += time.thread_time() - start
            self.jobs += 1
            finished()

        self.background.submit(guarded)

    def _write_record(self, data: RecordData, ready: Sequence[torch.cuda.Event]) -> None:
        for event in ready:
            event.synchronize()
        tensors, strings = pack_record(data, self._point_dtype if data.optimizer is not None else self.storage)
        path = record_path(self.folder, data.step)
        if data.step in self.before:
            old = self.before[data.step]
            if old is not None and old == store.checksum(tensors["point"]):
                return
            if old is not None:
                log.warning(
                    "The resumed run in %s passes step %d at another point than before; the record is replaced.",
                    self.folder,
                    data.step,
                )
        # A name is there for every reader, and through any kill, at once; that it outlasts a power cut may wait until
        # a burst of records is over.
        store.write_tensors(path, tensors, strings, settle=False)
        self._unsettled = True
        if self.background.idle:
            self._settle()
        if data.step not in self.before or self.before[data.step] is None:
            self.recorded.append(data.step)

    def _drain(self) -> None:
        self._hand_over(self._settle)
        self.background.wait()
        if self.error is not None:
            raise self.error

    def _settle(self) -> None:
        if self._unsettled:
            store.settle_folder(self.folder / POINTS)
            self._unsettled = False

    def _write_curves(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        if tensors:
            store.make_folder(self.folder / CURVES)
            store.write_tensors(self.folder / CURVES / f"{step:09d}.safetensors", tensors, {"step": str(step)})


def _clear(folder: Path) -> None:
    """Remove a run, but not what it did not make, and not its children."""
    if (folder / CHILDREN).exists():
        raise BadInput(f"The run in {folder} has children: remove {folder / CHILDREN} yourself before overwriting it.")
    for _, path in (*record_files(folder), *record_files(folder, CURVES)):
        store.remove(path)
    store.remove(folder / RUN)


def _ready(data: RecordData) -> tuple[RecordData, Sequence[torch.cuda.Event]]:
    """Make a record fit to be read by another thread.

    What lies on a CUDA device may still be being computed: the thread waits for an event recorded now, and the
    training loop does not wait at all. From any other device the copy is made here.
    """
    events = []
    for device in {t.device for t in (data.point, *data.buffers.values(), *(data.optimizer or {}).values())}:
        if device.type == "cuda":
            with torch.cuda.device(device):
                events.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
                events[-1].record()
        elif device.type != "cpu":
            data = replace(
                data,
                point=data.point.cpu(),
                buffers={name: t.cpu() for name, t in data.buffers.items()},
                optimizer=None if data.optimizer is None else {n: t.cpu() for n, t in data.optimizer.items()},
            )
    return data, events
