"""The engine that runs units in several processes of this machine, each on few threads."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import torch

from landform.engine._in_process import InProcess
from landform.engine._unit import Progress, Result, Unit, check_units
from landform.errors import BadInput


class Processes:
    """Runs units in several processes, each unit as soon as one is free; results come as they are ready.

    Small operations run best on one thread, and many small units best side by side. A process is started once and runs
    many units, of one run after the other. In a script of your own the call must stand under
    ``if __name__ == "__main__":``, since every process imports that script.
    """

    def __init__(self, count: int | None = None, *, threads: int = 1) -> None:
        """Make one; nothing is started before `run`.

        Args:
            count: how many processes; as many as this process may use cores by default.
            threads: torch threads of each, for units that do not ask for a number.

        Raises:
            BadInput: when either is less than one.
        """
        self.count = cores() if count is None else count
        self.threads = threads
        self._held: ProcessPoolExecutor | None = None
        if self.count < 1 or threads < 1:
            raise BadInput(f"There are {self.count} processes of {threads} threads: give at least 1 of each.")

    def __getstate__(self) -> dict[str, int]:
        """What is sent when the engine is: not its processes."""
        return {"count": self.count, "threads": self.threads}

    def __setstate__(self, state: dict[str, int]) -> None:
        """Begin without processes."""
        self.__dict__.update(state, _held=None)

    def run(self, units: Sequence[Unit], *, progress: Progress | None = None) -> Iterator[Result]:
        """Run units; see `Engine.run`.

        Args:
            units: the work.
            progress: called as ``progress(done, total)``, once before the first result and after each.

        Returns:
            The results, as they come.
        """
        check_units(units)
        return self._results(deque(units), len(units), progress)

    def _results(self, waiting: deque[Unit], total: int, progress: Progress | None) -> Iterator[Result]:
        if progress is not None:
            progress(0, total)
        done = 0
        while waiting:
            # A process that dies takes its pool with it: what had not begun goes on in a new one.
            for result in self._pool(waiting):
                done += 1
                if progress is not None:
                    progress(done, total)
                yield result

    def _pool(self, waiting: deque[Unit]) -> Iterator[Result]:
        """Run units until none is left, or a process dies."""
        pool = self._held or ProcessPoolExecutor(
            self.count, mp_context=get_context("spawn"), initializer=_begin, initargs=(self.threads,)
        )
        self._held = None
        running: dict[Future[Result], Unit] = {}
        broken = False
        try:
            while running or (waiting and not broken):
                while waiting and not broken and len(running) < self.count:
                    unit = waiting.popleft()
                    try:
                        running[pool.submit(_run, unit, self.threads)] = unit
                    except BrokenProcessPool:
                        waiting.appendleft(unit)
                        broken = True
                ready, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ready:
                    unit = running.pop(future)
                    failure = future.exception()
                    if failure is None:
                        yield future.result()
                    elif isinstance(failure, BrokenProcessPool):
                        broken = True
                        yield Result(unit.name, failure="its process died, as for want of memory")
                    else:  # what cannot be pickled never ran
                        yield Result(unit.name, failure=f"it cannot be sent to another process ({failure})")
        finally:
            if running or broken:
                for process in list((pool._processes or {}).values()):
                    process.terminate()
                pool.shutdown(wait=True, cancel_futures=True)
            else:
                self._held = pool


def cores() -> int:
    """How many cores this process may use.

    Returns:
        At least one.
    """
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def _begin(threads: int) -> None:
    # Ctrl-C reaches every process of a terminal; the caller alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)


def _run(unit: Unit, threads: int) -> Result:
    return next(InProcess(threads=threads).run([unit]))
