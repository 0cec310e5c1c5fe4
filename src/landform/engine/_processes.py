"""The engine that runs units in several processes of this machine, each on few threads."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.util import Finalize

from landform.engine._room import Room
from landform.engine._unit import Progress, Result, Unit, check_units
from landform.engine._worker import Lost, Unsendable, Worker
from landform.errors import BadInput

# How far down the line of waiting units one is looked for that fits what is free.
_LOOK = 200
# A process that dies this often before it takes a unit will not do better next time.
_STARTS = 5


class Processes:
    """Runs units in several processes, each unit as soon as one is free; results come as they are ready.

    Small operations run best on one thread, and many small units best side by side. A process is started once and runs
    many units, of one run after the other. When one dies (the system kills what takes too much memory), another is
    started in its place and its unit runs again; no other unit is touched. In a script of your own the call must stand
    under ``if __name__ == "__main__":``, since every process imports that script.
    """

    def __init__(self, count: int | None = None, *, threads: int = 1, retries: int = 2) -> None:
        """Make one; nothing is started before `run`.

        Args:
            count: how many processes; as many as this process may use cores by default.
            threads: torch threads of each, for units that do not ask for a number.
            retries: how often a unit runs again when its process has died.

        Raises:
            BadInput: when there would be fewer than one process or thread, or than no retries.
        """
        self.count = cores() if count is None else count
        self.threads = threads
        self.retries = retries
        if self.count < 1 or threads < 1:
            raise BadInput(f"There are {self.count} processes of {threads} threads: give at least 1 of each.")
        if retries < 0:
            raise BadInput(f"retries is {retries}: give 0 or more.")
        self._begin()

    def __repr__(self) -> str:
        return f"{self.count} process{'es' * (self.count > 1)} of {self.threads} thread{'s' * (self.threads > 1)}"

    def __getstate__(self) -> dict[str, int]:
        """What is sent when the engine is: not its processes."""
        return {"count": self.count, "threads": self.threads, "retries": self.retries}

    def __setstate__(self, state: dict[str, int]) -> None:
        """Begin without processes."""
        self.__dict__.update(state)
        self._begin()

    def _begin(self) -> None:
        self._idle: list[Worker] = []
        self._busy: list[Worker] = []
        # Before Python waits for its children at exit, these are told that there is no more to do.
        self._finalize = Finalize(self, _end, (self._idle, self._busy), exitpriority=100)

    def close(self) -> None:
        """End the processes; the next run starts others. When the engine is forgotten this happens of itself."""
        _end(self._idle, self._busy)
        self._idle.clear()
        self._busy.clear()

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the units that are being worked on."""
        return tuple(worker.unit.name for worker in list(self._busy) if worker.unit is not None)

    @property
    def pids(self) -> tuple[int, ...]:
        """Numbers of the processes there are."""
        return tuple(worker.pid for worker in [*self._busy, *self._idle])

    def run(self, units: Sequence[Unit], *, progress: Progress | None = None) -> Iterator[Result]:
        """Run units; see `Engine.run`.

        Args:
            units: the work.
            progress: called as ``progress(done, total)``, once before the first result and after each.

        Returns:
            The results, as they come.
        """
        check_units(units)
        return self._results(list(units), progress)

    def _results(self, units: list[Unit], progress: Progress | None) -> Iterator[Result]:
        if progress is not None:
            progress(0, len(units))
        room = Room(self.count)
        done = 0
        waiting: deque[Unit] = deque()
        ready: list[Result] = []
        for unit in units:
            why = room.refusal(unit.needs)
            if why is None:
                waiting.append(unit)
            else:
                ready.append(Result(unit.name, failure=why))
        self._start(min(self.count, len(waiting)))
        deaths: Counter[str] = Counter()
        try:
            while ready or waiting or self._busy:
                # The processes have their next units before the caller looks at what is ready.
                ready += self._hand_out(waiting, room)
                for result in ready:
                    done += 1
                    if progress is not None:
                        progress(done, len(units))
                    yield result
                ready = self._collect(waiting, room, deaths) if self._busy else []
        finally:
            for worker in self._busy:
                worker.kill()
            self._busy.clear()

    def _start(self, count: int) -> None:
        self._idle += [Worker(self.threads) for _ in range(count - len(self._idle))]

    def _hand_out(self, waiting: deque[Unit], room: Room) -> list[Result]:
        """Give units to processes while there is room; returns the results of those that cannot be sent."""
        failed: list[Result] = []
        starts = 0
        while waiting and len(self._busy) < self.count:
            found = _fitting(waiting, room)
            if found is None:
                break
            unit, gpus = found
            worker = self._idle.pop() if self._idle else Worker(self.threads)
            try:
                worker.give(unit, gpus)
                self._busy.append(worker)
                continue
            except Unsendable as why:
                failed.append(Result(unit.name, failure=f"it cannot be sent to another process ({why})"))
                self._idle.append(worker)
            except Lost as how:  # it died while it had nothing to do: the unit has not begun
                worker.kill()
                waiting.appendleft(unit)
                starts += 1
                if starts >= _STARTS:
                    raise BadInput(_NO_START.format(how=how)) from None
            room.give(unit.needs, gpus)
        return failed

    def _collect(self, waiting: deque[Unit], room: Room, deaths: Counter[str]) -> list[Result]:
        """Wait until something has happened; returns the results there are."""
        # Now and then one looks whether all are alive: what a unit has forked may hold a dead process's pipe open.
        spoken = wait([worker.pipe for worker in self._busy], timeout=1.0)
        results: list[Result] = []
        for worker in list(self._busy):
            if worker.pipe not in spoken and worker.alive:
                continue
            unit, gpus = worker.unit, worker.gpus
            assert unit is not None
            try:
                result = worker.take()
                if result is None:
                    continue
                self._idle.append(worker)
                results.append(result)
            except Lost as how:
                if not worker.begun and not how.by_force:
                    raise BadInput(_NO_START.format(how=how)) from None
                worker.kill()
                deaths[unit.name] += 1
                if deaths[unit.name] > self.retries:
                    times = "" if deaths[unit.name] == 1 else f" {deaths[unit.name]} times"
                    results.append(Result(unit.name, failure=f"its process died{times} ({how}), as for want of memory"))
                else:  # after the others: what there was too little of may be free by then
                    waiting.append(unit)
            self._busy.remove(worker)
            room.give(unit.needs, gpus)
        return results


_NO_START = (
    "A process for units of work could not start ({how}): in a script, put the call under "
    'if __name__ == "__main__":, since every process imports that script.'
)


def _fitting(waiting: deque[Unit], room: Room) -> tuple[Unit, tuple[int, ...]] | None:
    """Take the first waiting unit for which there is room."""
    for place in range(min(len(waiting), _LOOK)):
        gpus = room.take(waiting[place].needs)
        if gpus is not None:
            unit = waiting[place]
            del waiting[place]
            return unit, gpus
    return None


def _end(idle: list[Worker], busy: list[Worker]) -> None:
    for worker in busy:
        worker.kill()
    for worker in idle:
        worker.end()
    deadline = time.monotonic() + 5.0
    for worker in idle:
        worker.join(max(0.0, deadline - time.monotonic()))


def cores() -> int:
    """How many cores this process may use.

    Returns:
        At least one.
    """
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
