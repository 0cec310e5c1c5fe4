"""One process that runs units for the process that started it."""

from __future__ import annotations

import os
import pickle
import signal
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from threading import Thread
from typing import Any

import torch

from landform.engine._in_process import InProcess
from landform.engine._unit import Result, Unit

_READY = b"ready"


class Lost(Exception):
    """A process has died; the message says how.

    Attributes:
        by_force: whether a signal ended it.
    """

    def __init__(self, code: int | None) -> None:
        self.by_force = code is not None and code < 0
        super().__init__(f"signal {-code}" if code is not None and code < 0 else f"exit status {code}")


class Unsendable(Exception):
    """A unit cannot be pickled."""


class Worker:
    """One process, and the pipe to it.

    Attributes:
        unit: what it works on.
        gpus: numbers of the GPUs that the unit has.
        begun: whether it has started up.
        pipe: this end of the pipe.
    """

    def __init__(self, threads: int) -> None:
        """Start it; it is ready a few seconds later.

        Args:
            threads: torch threads, for units that do not ask for a number.
        """
        context = get_context("spawn")
        self.pipe, there = context.Pipe()
        # Not a daemon: a unit may start processes of its own, as a DataLoader does.
        self._process = context.Process(target=_work, args=(there, threads), name="landform unit of work")
        self._process.start()
        there.close()  # so that the pipe ends when the process does
        self.unit: Unit | None = None
        self.gpus: tuple[int, ...] = ()
        self.begun = False

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid or 0

    def give(self, unit: Unit, gpus: tuple[int, ...]) -> None:
        """Give it a unit to work on.

        Args:
            unit: the unit.
            gpus: numbers of its GPUs.

        Raises:
            Unsendable: when the unit cannot be pickled.
            Lost: when the process has died.
        """
        try:
            # Tensors go through shared memory, once for all units that hold them.
            sent = ForkingPickler.dumps((unit, gpus))
        except Exception as why:
            raise Unsendable(str(why)) from None
        if not self.alive:
            raise Lost(self._process.exitcode)
        try:
            self.pipe.send_bytes(sent)
        except OSError:
            self._process.join(1.0)
            raise Lost(self._process.exitcode) from None
        self.unit, self.gpus = unit, gpus

    def take(self) -> Result | None:
        """Take what it has to say.

        Returns:
            The unit's result; None where it has only said that it is ready.

        Raises:
            Lost: when the process has died before it had a result.
        """
        try:
            if not self.pipe.poll():
                raise EOFError
            said = self.pipe.recv_bytes()
        except (EOFError, OSError):
            self._process.join(5.0)
            raise Lost(self._process.exitcode) from None
        if said == _READY:
            self.begun = True
            return None
        assert self.unit is not None
        name, self.unit = self.unit.name, None
        result: Result = pickle.loads(said)
        return result if result.name else replace(result, name=name)

    def end(self) -> None:
        """Tell it that there is no more to do."""
        self.pipe.close()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def join(self, seconds: float) -> None:
        """Wait for it to end, and end it if it does not.

        Args:
            seconds: how long to wait.
        """
        self._process.join(seconds)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _work(pipe: Connection[Any, Any], threads: int) -> None:
    """What the process does: units, until the pipe ends."""
    # Ctrl-C reaches every process of a terminal; the caller alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_follow_the_caller, name="the caller's end", daemon=True).start()
    torch.set_num_threads(threads)
    engine = InProcess(threads=threads)
    with suppress(BrokenPipeError, EOFError):
        pipe.send_bytes(_READY)
        while True:
            sent = pipe.recv_bytes()
            pipe.send_bytes(_result_of(sent, engine))


def _follow_the_caller() -> None:
    """End with the caller, whatever ended it: a unit whose result nobody takes would hold a core for hours."""
    caller = parent_process()
    if caller is not None:
        wait([caller.sentinel])
        os._exit(1)


def _result_of(sent: bytes, engine: InProcess) -> bytes:
    name = ""
    try:
        unit, gpus = pickle.loads(sent)
        name = unit.name
        if gpus:
            torch.cuda.set_device(gpus[0])
        # Plain copies: the tensors of many results would be as many open files.
        return pickle.dumps(next(engine.run([unit])))
    except Exception as why:
        kind = type(why).__name__
        told = "what it returned cannot be sent back" if name else "it cannot be read in another process"
        return pickle.dumps(Result(name, failure=f"{told} ({kind}: {why})"))
