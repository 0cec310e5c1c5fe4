"""Take probes along a run."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch

from landform import store
from landform.atlas import Atlas
from landform.engine import Engine, InProcess, Progress, Result, Unit, engine_named, seed_of, sentence
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.probes import DEFAULT, Moment, Probe, Value, get
from landform.recording import Trajectory
from landform.survey._forecast import Clock, Forecast
from landform.survey._memory import give_back
from landform.survey._plan import Run, Task, plan, together

# How many times of each probe are taken before the forecast: the first has what is done once among its seconds.
_PILOT = 2
# Seconds of a probe from which on what it leaves to the C library is worth giving back.
_LONG = 1.0


def survey(
    run: str | Path | Trajectory,
    landscape: Landscape | Mapping[str, Landscape],
    *,
    probes: Iterable[str | Probe] | None = None,
    budget: float | None = None,
    least: float = 120.0,
    forecast: Callable[[Forecast], object] | None = None,
    engine: str | Engine | None = None,
    progress: Progress | None = None,
    out: str | Path | None = None,
) -> Atlas:
    """Take probes along a run, and keep what they find in its atlas.

    What the atlas holds already, and still holds true, is not measured again: a survey that was stopped, by whatever,
    goes on where it stopped. A result is taken anew when its probe's settings or version, the records it looked at, or
    the landscape have changed. Results of records that the run no longer has are removed.

    Times are visited from coarse to fine (first, last, middle, quarters, ...), so that whatever stops the survey leaves
    times that are spread evenly. What was left out, and why, is told by `Atlas.notes`.

    Args:
        run: the run, or its folder.
        landscape: what to measure on; several by the names of their data sets, such as
            ``{"train": landscape, "test": landscape.on(data.test)}``. A single one is named ``train``.
        probes: probes, or names of such; the usual ones by default (``landform.probes.DEFAULT``).
        budget: stop when measuring has taken this share of the time that training took, what is in the atlas already
            included; the first time is measured in any case. None measures everything.
        least: seconds that a budget allows in any case.
        forecast: told what the survey will cost and leave out, after its first two times.
        engine: where to measure, as an engine or by name (``"local"``: in processes, one for each core; see
            `landform.engine.engine_named`); by default here, one after the other.
        progress: called as ``progress(done, total)`` with numbers of results, those there already among them.
        out: folder for the atlas, where the run's own cannot be written.

    Returns:
        The run's atlas.

    Raises:
        BadInput: when something given does not fit together, or another survey writes into this atlas.
        KeyboardInterrupt: when it was interrupted; everything measured is kept.
    """
    trajectory = run if isinstance(run, Trajectory) else Trajectory(run)
    landscapes = landscapes_of(landscape, trajectory)
    chosen = chosen_probes(probes)
    if not len(trajectory):
        raise BadInput(f"{trajectory.folder} holds no record yet: survey it when training has begun.")
    allowance = math.inf if budget is None else max(least, _allowance(budget, trajectory))
    atlas = Atlas(trajectory.folder if out is None else store.make_folder(out))
    lock = atlas.lock()
    try:
        runner = InProcess() if engine is None else engine_named(engine)
        return _work(Run(trajectory), landscapes, chosen, atlas, runner, progress, allowance, forecast)
    finally:
        lock.release()


def _work(
    run: Run,
    landscapes: Mapping[str, Landscape],
    probes: Sequence[Probe],
    atlas: Atlas,
    engine: Engine,
    progress: Progress | None,
    allowance: float,
    forecast: Callable[[Forecast], object] | None,
) -> Atlas:
    """Measure what is missing, and write down what came of it."""
    tasks, refused = plan(run, landscapes, probes)
    atlas.drop([stored for stored in atlas.stored() if run.outdated(stored)])
    missing = [task for task in tasks if not _holds(atlas, task)]
    atlas.annotate({"survey": ["A survey is under way, or was ended by force: survey again to go on."]})
    clock = _clock(atlas, tasks, missing, allowance)
    ranks = _by_rank(together(missing))
    failures: dict[tuple[str, str | None, str], list[int]] = {}
    open_tasks = {task.stored.file: task for task in missing}
    why = "it was interrupted; survey again to go on"
    done = len(tasks) - len(missing)
    if progress is not None:
        progress(done, len(tasks))
    try:
        # Without a limit all is one lot of work, after the two times from which the forecast is made.
        rest = [list(chain.from_iterable(ranks[_PILOT:]))] if math.isinf(allowance) else ranks[_PILOT:]
        lots = [*ranks[:_PILOT], *rest]
        for place, lot in enumerate(lots):
            if place == min(_PILOT, len(ranks) - 1) and forecast is not None:
                forecast(clock.forecast(ranks[place:]))
            groups = {_name(group): group for group in clock.choose(lot)}
            units = [_unit(run, landscapes, name, group) for name, group in groups.items()]
            with _stopped(engine.run(units)) as results:
                for result in results:
                    group = groups[result.name]
                    taken: list[Taken] = result.value or [Taken(None, result.failure or "", 0.0) for _ in group]
                    for task, each in zip(group, taken, strict=True):
                        if each.values is None:
                            failures.setdefault((task.probe.name, task.set, each.failure), []).append(task.stored.step)
                        else:
                            atlas.write(replace(task.stored, seconds=each.seconds), each.values)
                        clock.add(task, each.seconds)
                        open_tasks.pop(task.stored.file)
                    done += len(group)
                    if progress is not None:
                        progress(done, len(tasks))
        if open_tasks:
            why = f"the budget of {allowance:.3g} s is used up; survey with a larger one to go on"
    finally:
        _annotate(atlas, probes, tasks, [*run.damaged, *refused], failures, list(open_tasks.values()), why)
    return atlas


def _by_rank(groups: Sequence[list[Task]]) -> list[list[list[Task]]]:
    """Groups of tasks by their rank, which the groups come in the order of."""
    ranks: dict[int, list[list[Task]]] = {}
    for group in groups:
        ranks.setdefault(group[0].rank, []).append(group)
    return list(ranks.values())


@contextmanager
def _stopped(results: Iterator[Result]) -> Iterator[Iterator[Result]]:
    """Stop the work when no more results are asked for."""
    try:
        yield results
    finally:
        close = getattr(results, "close", None)
        if close is not None:
            close()


@dataclass(frozen=True)
class Taken:
    """What one probe found at one moment.

    Attributes:
        values: the values by name; None where it failed.
        failure: why it failed.
        seconds: how long it took.
    """

    values: dict[str, Value] | None
    failure: str
    seconds: float


def measure(
    trajectory: Trajectory,
    index: int,
    roles: Mapping[str, int],
    landscape: Landscape | None,
    probes: Sequence[Probe],
    seeds: Sequence[int],
    sets: Mapping[str, Landscape] | None = None,
    children: tuple[Trajectory, ...] | None = None,
) -> list[Taken]:
    """Take probes at one record: the unit of work of a survey.

    Args:
        trajectory: the run.
        index: the record.
        roles: index of each other record the probes look at, by the part it plays.
        landscape: what to measure on.
        probes: what to take.
        seeds: torch's seed for each probe, so that none depends on which others are taken with it.
        sets: all landscapes by name, for probes that look at several.
        children: the runs spawned from the record, for probes that look at them.

    Returns:
        What each found.
    """
    others = {role: trajectory.records[at] for role, at in roles.items()}
    moment = Moment(
        trajectory.records[index],
        landscape=landscape,
        sets=sets,
        start=others.get("start"),
        before=others.get("before"),
        after=others.get("after"),
        partner=others.get("partner"),
        children=children,
        trajectory=trajectory,
    )
    taken: list[Taken] = []
    for probe, seed in zip(probes, seeds, strict=True):
        torch.manual_seed(seed)
        start = time.perf_counter()
        try:
            found = probe.take(moment)
            # To the CPU here: only then has a GPU done the work that is being timed.
            values = {name: value._replace(numbers=value.numbers.cpu()) for name, value in found.items()}
            taken.append(Taken(values, "", time.perf_counter() - start))
        except Exception as why:
            taken.append(Taken(None, sentence(why), time.perf_counter() - start))
        if taken[-1].seconds > _LONG:
            give_back()
    return taken


def _clock(atlas: Atlas, tasks: Sequence[Task], missing: Sequence[Task], allowance: float) -> Clock:
    """Count what earlier surveys spent on results that still hold."""
    clock = Clock(allowance)
    absent = {task.stored.file for task in missing}
    for task in tasks:
        stored = atlas.find(task.probe.name, task.set, task.stored.step)
        if stored is not None and task.stored.file not in absent:
            clock.add(task, stored.seconds)
    return clock


def _holds(atlas: Atlas, task: Task) -> bool:
    stored = atlas.find(task.probe.name, task.set, task.stored.step)
    if stored is None or stored.basis != task.stored.basis or stored.seen != task.stored.seen:
        return False
    return atlas.sound(stored)


def _name(group: Sequence[Task]) -> str:
    return f"{group[0].stored.file.removesuffix('.safetensors')}:{'+'.join(task.probe.name for task in group)}"


def _unit(run: Run, landscapes: Mapping[str, Landscape], name: str, group: Sequence[Task]) -> Unit:
    roles: dict[str, int] = {}
    for task in group:
        roles |= task.roles
    needs = {need for task in group for need in task.probe.needs}
    return Unit(
        name,
        measure,
        {
            "trajectory": run.trajectory,
            "index": group[0].index,
            "roles": roles,
            "landscape": None if group[0].set is None else landscapes[group[0].set],
            "probes": [task.probe for task in group],
            "seeds": [seed_of(Unit(task.stored.file, measure)) for task in group],
            "sets": dict(landscapes) if "sets" in needs else None,
            "children": run.children(group[0].index) if "children" in needs else None,
        },
    )


def _annotate(
    atlas: Atlas,
    probes: Sequence[Probe],
    tasks: Sequence[Task],
    general: Sequence[str],
    failures: Mapping[tuple[str, str | None, str], list[int]],
    left: Sequence[Task],
    why: str,
) -> None:
    notes: dict[str, list[str]] = {"survey": list(general), **{probe.name: [] for probe in probes}}
    for (probe, name, failure), steps in failures.items():
        where = "" if name is None else f" on {name}"
        at = f"step {steps[0]}" if len(steps) == 1 else f"{len(steps)} times (steps {_some(sorted(steps))})"
        notes[probe].append(f"{probe}{where} could not be measured at {at}: {failure}")
    every = Counter((task.probe.name, task.set) for task in tasks)
    for (probe, name), count in Counter((task.probe.name, task.set) for task in left).items():
        where = "" if name is None else f" on {name}"
        total = every[probe, name]
        notes[probe].append(f"{probe}{where} was left out at {count} of {total} times: {why}.")
    atlas.annotate(notes)


def _some(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps[:5])) + (", ..." if len(steps) > 5 else "")


def landscapes_of(given: Landscape | Mapping[str, Landscape], trajectory: Trajectory) -> dict[str, Landscape]:
    """Read the landscapes that a user gives.

    Args:
        given: one, or several by name.
        trajectory: the run they are to fit.

    Returns:
        Landscapes by name.

    Raises:
        BadInput: when they are none, or do not fit the run.
    """
    named = {"train": given} if isinstance(given, Landscape) else given
    if not isinstance(named, Mapping) or not named:
        raise BadInput(
            f"The landscape is {'empty' if isinstance(named, Mapping) else f'a {type(named).__name__}'}: give a "
            "Landscape, or several by the names of their data sets."
        )
    shapes = [tuple(slot.shape) for slot in trajectory.layout.slots]
    for name, landscape in named.items():
        store.check_name(name, "set")
        if not isinstance(landscape, Landscape):
            raise BadInput(f"The landscape of {name!r} is a {type(landscape).__name__}: give a Landscape.")
        if [tuple(slot.shape) for slot in landscape.layout.slots] != shapes:
            raise BadInput(
                f"The landscape of {name!r} has points of {landscape.layout.size} numbers, and the run in "
                f"{trajectory.folder} has others ({trajectory.layout.size}): give the model that was trained."
            )
    return dict(named)


def chosen_probes(given: Iterable[str | Probe] | None) -> list[Probe]:
    """Read the probes that a user gives.

    Args:
        given: probes or their names; None for the usual ones.

    Returns:
        The probes, each of another name.

    Raises:
        BadInput: when one is none, two have one name, or there is none at all.
    """
    if isinstance(given, str | Probe):
        given = [given]
    chosen = [get(probe) if isinstance(probe, str) else probe for probe in (DEFAULT if given is None else given)]
    for probe in chosen:
        if not isinstance(probe, Probe):
            raise BadInput(f"{probe!r} is not a probe: give a Probe, or the name of one.")
    twice = [name for name, count in Counter(probe.name for probe in chosen).items() if count > 1]
    if twice:
        raise BadInput(f"Two probes are named {twice[0]!r}: give each a name of its own.")
    if not chosen:
        raise BadInput("There is no probe to take: give at least one.")
    return chosen


def _allowance(budget: float, trajectory: Trajectory) -> float:
    if not (isinstance(budget, int | float) and budget > 0 and math.isfinite(budget)):
        raise BadInput(f"The budget is {budget!r}: give a share of the training's time, such as 0.5, or None.")
    trained = max((seconds for seconds in trajectory.seconds if math.isfinite(seconds)), default=0.0)
    if trained <= 0:
        raise BadInput(f"{trajectory.folder} does not tell how long training took: survey without a budget.")
    return budget * trained
