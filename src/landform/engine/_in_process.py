"""The engine that runs units one after the other, here."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from landform.engine._unit import Progress, Result, Unit, check_units, seed_of, sentence
from landform.errors import BadInput


class InProcess:
    """Runs units in the order given, in this process.

    A unit starts when its result is asked for, so whoever stops iterating stops the work.

    Attributes:
        threads: torch threads for units that do not ask for a number.
        running: name of the unit that is being worked on.
    """

    def __init__(self, threads: int | None = None) -> None:
        """Make one.

        Args:
            threads: torch threads for units that do not ask for a number; None leaves them as they are. Small
                operations run best on one.

        Raises:
            BadInput: when it is less than one.
        """
        if threads is not None and threads < 1:
            raise BadInput(f"threads is {threads}: give at least 1, or None to leave them as they are.")
        self.threads = threads
        self.running: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "one unit after the other, here"

    def run(self, units: Sequence[Unit], *, progress: Progress | None = None) -> Iterator[Result]:
        """Run units; see `Engine.run`.

        Args:
            units: the work.
            progress: called as ``progress(done, total)``, once before the first result and after each.

        Returns:
            The results, in order; each unit runs when its result is asked for.
        """
        check_units(units)
        return self._results(list(units), progress)

    def _results(self, units: list[Unit], progress: Progress | None) -> Iterator[Result]:
        if progress is not None:
            progress(0, len(units))
        for done, unit in enumerate(units, start=1):
            result = self._run(unit)
            if progress is not None:
                progress(done, len(units))
            yield result

    def _run(self, unit: Unit) -> Result:
        self.running = (unit.name,)
        try:
            return self._call(unit)
        finally:
            self.running = ()

    def _call(self, unit: Unit) -> Result:
        with _as_it_was(unit.threads or self.threads, seed_of(unit)):
            start = time.perf_counter()
            try:
                value = unit.function(**unit.arguments)
            except Exception as why:
                seconds = time.perf_counter() - start
                return Result(unit.name, failure=sentence(why), seconds=seconds, trace=traceback.format_exc())
            return Result(unit.name, value, seconds=time.perf_counter() - start)


@contextmanager
def _as_it_was(threads: int | None, seed: int) -> Iterator[None]:
    """Set threads and the global generators for what is inside, and put them back.

    Only generators that are in use are touched: seeding a GPU that nobody has asked for would start its driver.
    """
    before = torch.get_num_threads()
    in_use: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if in_use else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed_all(seed)
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            if torch.get_num_threads() != before:
                torch.set_num_threads(before)
