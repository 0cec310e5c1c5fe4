"""Keeping the books of runs that are trained in step: which step is recorded, and what of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Self

import torch

from landform.layout import Layout
from landform.recording import Background, Plan, RecordData, RunWriter
from landform.training._loop import Moment
from landform.training._rows import Rows


class Books:
    """Records the runs of one group, each in a folder of its own, by one thread in the background."""

    def __init__(
        self,
        folders: Sequence[Path],
        settings: Sequence[dict[str, Any]],
        parents: Sequence[dict[str, Any] | None],
        *,
        layout: Layout,
        plan: Plan,
        starts: Sequence[int],
        epoch: int,
        dtype: torch.dtype,
        persistent: Collection[str],
        before: float = 0.0,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        """Make, or go on with, the folders.

        Args:
            folders: one for each run.
            settings: what goes into each ``run.json``.
            parents: for children, where they left their parents.
            layout: the layout of the points.
            plan: which steps are recorded.
            starts: the step at which each run starts.
            epoch: steps in an epoch.
            dtype: type of the points.
            persistent: names of the buffers that are recorded.
            before: seconds spent before a resumption.
            resume: go on with runs that lie there.
            overwrite: replace runs that lie there.
        """
        self._plan, self._starts, self._persistent = plan, list(starts), persistent
        self._begin, self._before = time.perf_counter(), before
        self._steps: list[int] = []
        self._losses = Rows(len(folders))
        self._rates: list[Sequence[float]] = []
        self._due = min(starts)
        self._writers: list[RunWriter] = []
        self._background = Background()
        try:
            for folder, described, parent in zip(folders, settings, parents, strict=True):
                self._writers.append(
                    RunWriter(
                        folder,
                        layout=layout,
                        epoch=epoch,
                        settings=described,
                        parent=parent,
                        point_dtype=dtype,
                        background=self._background,
                        resume=resume,
                        overwrite=overwrite,
                    )
                )
        except BaseException:
            self.close()
            raise

    def see(self, moment: Moment, shown: Callable[[Moment], Moment] = lambda moment: moment) -> None:
        """Look at the runs after a step, and record them if their time has come.

        Args:
            moment: the runs; nothing of it is kept that changes later.
            shown: makes of a moment what is recorded of it.
        """
        if moment.losses is not None:
            self._steps.append(moment.step)
            self._losses.add(moment.losses)
            self._rates.append(moment.rates)
        if moment.step < self._due:
            return
        self._record(shown(moment))
        later = [start for start in self._starts if start > moment.step]
        planned = self._plan.after(moment.step)
        self._due = min([*later, *([] if planned is None else [planned])], default=1 << 62)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait until all is on disk, and let go of the folders."""
        try:
            for writer in self._writers:
                writer.close()
        finally:
            self._background.close()

    def _record(self, moment: Moment) -> None:
        step, plan = moment.step, self._plan
        # Runs that join now have no losses yet, so the rows may be shorter than the runs are many.
        known = self._losses.last
        table = self._losses.table().to("cpu", torch.float64).t().tolist()
        seconds = self._before + (time.perf_counter() - self._begin) / len(self._writers)
        for k in range(moment.active):
            starts_here = self._starts[k] == step
            resumable = step in plan.resumable or starts_here
            asked = step in plan.at or resumable
            curves = {}
            if k < known:
                rates = [row[k] for row in self._rates]
                curves = {"loss": (self._steps, table[k]), "lr": (self._steps, rates)}
            self._writers[k].write(
                RecordData(
                    step=step,
                    point=moment.points[k].clone(),
                    loss=table[k][-1] if k < known else None,
                    lr=self._rates[-1][k] if k < known else None,
                    seconds=seconds,
                    buffers={n: b[k].clone() for n, b in moment.buffers.items() if n in self._persistent},
                    optimizer={name: t[k].clone() for name, t in moment.state.items()} if resumable else None,
                    curves=curves,
                    partner=not asked,
                    gap=plan.gap if asked else 0,
                )
            )
        self._steps, self._rates = [], []
        self._losses.clear()
