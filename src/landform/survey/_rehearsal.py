"""What a survey would take, in time and memory, from taking each probe once on few samples."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landform.engine import Unit, seed_of
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.probes import Probe
from landform.recording import Trajectory
from landform.store import size_text
from landform.survey._forecast import time_text
from landform.survey._memory import Watch
from landform.survey._plan import Run, Task, plan
from landform.survey._survey import chosen_probes, landscapes_of, measure

# The smaller of the two rehearsals looks at this share of the samples, but at a whole batch.
_SHARE = 16
# What operators may keep of graphs between products (`Landscape.hessian`); memory grows with samples up to it.
_GRAPHS = 2**30


@dataclass(frozen=True)
class Part:
    """What one probe would take on one set.

    Attributes:
        probe: its name.
        set: the name of the set; None where it looks at no data.
        times: at how many times it would be taken.
        seconds: for each of them.
        bytes: of memory that the process would hold meanwhile, at most; None where that cannot be told here.
        failure: why it could not be rehearsed; None where it could.
    """

    probe: str
    set: str | None
    times: int
    seconds: float
    bytes: int | None
    failure: str | None = None


@dataclass(frozen=True)
class Rehearsal:
    """What a survey would take.

    Attributes:
        parts: by probe and set.
        seconds: of all of it.
        bytes: of memory, at most; None where that cannot be told here.
        took: seconds that the rehearsal itself took.
        samples: how many samples of each set it looked at, and how many there are.
        notes: what would not be measured at all.
    """

    parts: tuple[Part, ...]
    seconds: float
    bytes: int | None
    took: float
    samples: Mapping[str, tuple[int, int]]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """In a sentence."""
        memory = "" if self.bytes is None else f" and hold {size_text(self.bytes)} of memory"
        few = ", ".join(f"{some:,} of {all_:,} of {name}" for name, (some, all_) in self.samples.items())
        return f"Measuring would take about {time_text(self.seconds)}{memory}; rehearsed in {time_text(self.took)}" + (
            f" on few samples ({few})." if few else "."
        )


def rehearse(
    run: str | Path | Trajectory,
    landscape: Landscape | Mapping[str, Landscape],
    *,
    probes: Iterable[str | Probe] | None = None,
) -> Rehearsal:
    """Take each probe once on a sixteenth and once on an eighth of the samples, and say what a survey would take.

    Time and memory are continued in a straight line from the two; what graphs an operator keeps grows up to what it may
    keep. Nothing is written, and what an atlas holds already is not taken into account. How many products an eigenvalue
    takes is as of the few samples.

    Args:
        run: the run, or its folder.
        landscape: as for `survey`.
        probes: as for `survey`.

    Returns:
        What the survey would take.

    Raises:
        BadInput: as for `survey`.
    """
    trajectory = run if isinstance(run, Trajectory) else Trajectory(run)
    whole = landscapes_of(landscape, trajectory)
    if not len(trajectory):
        raise BadInput(f"{trajectory.folder} holds no record yet: survey it when training has begun.")
    started = time.perf_counter()
    seen = Run(trajectory)
    tasks, notes = plan(seen, whole, chosen_probes(probes))
    sizes = {name: _sizes(each) for name, each in whole.items()}
    cuts = [{name: _cut(each, sizes[name][i]) for name, each in whole.items()} for i in range(2)]
    kinds: dict[tuple[str, str | None], list[Task]] = {}
    for task in tasks:
        kinds.setdefault((task.probe.name, task.set), []).append(task)
    _warm(seen, next(iter(kinds.values()))[-1], cuts[0])
    parts = tuple(_part(seen, of, cuts, sizes, whole) for of in kinds.values())
    known = [part.bytes for part in parts if part.bytes is not None]
    return Rehearsal(
        parts,
        sum(part.seconds * part.times for part in parts if part.failure is None),
        max(known) if known else None,
        time.perf_counter() - started,
        {name: (two, count) for name, (_, two, count) in sizes.items()},
        tuple(notes),
    )


def _part(
    run: Run,
    tasks: Sequence[Task],
    cuts: Sequence[Mapping[str, Landscape]],
    sizes: Mapping[str, tuple[int, int, int]],
    whole: Mapping[str, Landscape],
) -> Part:
    """Rehearse one probe on one set, at about the middle of its times: they come first, last, middle."""
    task = tasks[min(2, len(tasks) - 1)]
    probe, looked = task.probe, task.set if task.set is not None else next(iter(whole))
    small, large, every = sizes[looked]
    if isinstance(most := probe.settings.get("samples"), int):  # it looks at no more, however many there are
        small, large, every = (min(most, size) for size in (small, large, every))
    seconds, held = [], []
    for cut in cuts if large > small else cuts[1:]:
        with Watch(whole[looked].device) as watch:
            (taken,) = measure(
                run.trajectory,
                task.index,
                task.roles,
                None if task.set is None else cut[task.set],
                [probe],
                [seed_of(Unit(task.stored.file, measure))],
                dict(cut) if "sets" in probe.needs else None,
                run.children(task.index) if "children" in probe.needs else None,
            )
        if taken.values is None:
            return Part(probe.name, task.set, len(tasks), math.nan, None, taken.failure)
        seconds.append(taken.seconds)
        held.append(watch.most)
    if len(seconds) == 1 or (task.set is None and "sets" not in probe.needs):
        return Part(probe.name, task.set, len(tasks), seconds[-1], held[-1])
    left = every - large
    each = max(0.0, (seconds[1] - seconds[0]) / (large - small))
    memory: int | None = None
    if held[0] is not None and held[1] is not None:
        more = max(0.0, (held[1] - held[0]) / (large - small))
        memory = int(held[1] + min(more * left, _GRAPHS))
    return Part(probe.name, task.set, len(tasks), seconds[1] + each * left, memory)


def _warm(run: Run, task: Task, cut: Mapping[str, Landscape]) -> None:
    """Let the libraries load what they load at their first use, which is not to be counted."""
    landscape = cut[task.set] if task.set is not None else next(iter(cut.values()))
    landscape.gradient(run.trajectory.records[task.index].point.to(landscape.device, landscape.dtype))


def _sizes(landscape: Landscape) -> tuple[int, int, int]:
    """Samples (or batches of a stream) to look at, twice, and how many there are."""
    data: Any = landscape._data
    if hasattr(data, "targets"):
        count, batch = len(data), landscape._batch_size
    else:
        count, batch = sum(1 for _ in data.batches(landscape._batch_size)), 1
    small = min(count, max(batch, count // _SHARE))
    return small, min(count, 2 * small), count


def _cut(landscape: Landscape, size: int) -> Landscape:
    data: Any = landscape._data
    if hasattr(data, "targets"):
        return landscape.subset(size)
    batches = zip(range(size), data.batches(landscape._batch_size), strict=False)
    return landscape.on([batch for _, batch in batches])
