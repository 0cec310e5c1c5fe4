"""What becomes of units, kept in a folder while they run, so that anyone may look how far the work is."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from landform import store
from landform.engine._unit import Engine, Progress, Result, Unit
from landform.errors import BadInput

STATUS, FAILED = "status.json", "failed"
SCHEMA = 1
State: TypeAlias = Literal["running", "finished", "stopped"]
# Seconds between two looks at what is running, and after which one that has not been heard of is taken for dead.
_BEAT, _SILENT = 2.0, 60.0


class Ledger:
    """An engine around another: what becomes of the units is written down in a folder, for `status`.

    ``status.json`` tells how far the work is, written every two seconds; ``failed/`` has a file for each unit that
    failed, with the reason, which is removed when the unit has succeeded. Work of several runs is put under ``with``:
    then it is finished when what stands there is.
    """

    def __init__(
        self, engine: Engine, folder: str | Path, what: str, *, done: int = 0, total: int | None = None
    ) -> None:
        """Make one; nothing is written before `run`.

        Args:
            engine: where the units run.
            folder: where to write.
            what: what the work is, for whoever looks.
            done: units that were done before.
            total: units in all, those done before among them; None where only what is run counts.
        """
        self.engine = engine
        self.folder = Path(folder)
        self.what = what
        self._done, self._failed = done, 0
        self._counts_what_is_run = total is None
        self._total = done if total is None else total
        self._began = time.time()
        self._page: _Page | None = None
        self._held = False

    def __repr__(self) -> str:
        return repr(self.engine)

    def __enter__(self) -> Self:
        self._held = True
        return self

    def __exit__(self, kind: object, why: object, trace: object) -> None:
        self._held = False
        self._close(over=kind is None)

    def _close(self, *, over: bool) -> None:
        if self._page is not None:
            self._page.close(over=over)
        self._page = None

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the units that are being worked on."""
        return tuple(getattr(self.engine, "running", ()))

    def run(self, units: Sequence[Unit], *, progress: Progress | None = None) -> Iterator[Result]:
        """Run units; see `Engine.run`.

        Args:
            units: the work.
            progress: called as ``progress(done, total)``, once before the first result and after each.

        Returns:
            The results, as they come.
        """
        return self._noted(self.engine.run(units, progress=progress), len(units))

    def _noted(self, results: Iterator[Result], count: int) -> Iterator[Result]:
        if self._counts_what_is_run:
            self._total += count
        if self._page is None:
            store.make_folder(self.folder)
            self._page = _Page(self)
        self._page.begin()
        over = False
        try:
            for result in results:
                self.note(result)
                yield result
            over = True
        finally:
            close = getattr(results, "close", None)
            if close is not None:
                close()
            if not self._held:
                self._close(over=over)

    def note(self, result: Result) -> None:
        """Write down what became of a unit.

        Args:
            result: its result.
        """
        path = _failure_file(self.folder, result.name)
        if result.failure is None:
            self._done += 1
            if path.parent.is_dir():
                store.remove(path)
            return
        self._failed += 1
        store.make_folder(path.parent)
        told = {"unit": result.name, "failure": result.failure, "seconds": result.seconds, "trace": result.trace}
        store.write_json(path, told)


class _Page:
    """The file, kept up to date by a thread of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._since: dict[str, float] = {}
        self._stop = threading.Event()
        self.begin()
        self._thread = threading.Thread(target=self._beat, name="landform ledger", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Begin a run of units: the pace is counted from here."""
        self._began = time.time()
        self._before = self._ledger._done + self._ledger._failed
        self._write("running")

    def close(self, *, over: bool) -> None:
        """Write the last word."""
        self._stop.set()
        self._thread.join()
        self._write("finished" if over else "stopped")

    def _beat(self) -> None:
        while not self._stop.wait(_BEAT):
            with suppress(BadInput):  # a full disk is told by whoever writes results
                self._write("running")

    def _write(self, state: State) -> None:
        now = time.time()
        names = self._ledger.running if state == "running" else ()
        self._since = {name: self._since.get(name, now) for name in names}
        done, failed, total = self._ledger._done, self._ledger._failed, self._ledger._total
        worked = done + failed - self._before
        left = max(0, total - done - failed)
        seconds_left = (now - self._began) / worked * left if worked and state == "running" else None
        store.write_json(
            self._ledger.folder / STATUS,
            {
                "schema": SCHEMA,
                "landform": sys.modules["landform"].__version__,
                "what": self._ledger.what,
                "state": state,
                "engine": repr(self._ledger.engine),
                "total": total,
                "done": done,
                "failed": failed,
                "running": [{"unit": name, "since": round(since, 1)} for name, since in list(self._since.items())],
                "seconds_left": None if seconds_left is None else round(seconds_left, 1),
                "began": round(self._ledger._began, 1),
                "told": round(now, 1),
                "host": socket.gethostname(),
                "process": os.getpid(),
            },
        )


@dataclass(frozen=True)
class Status:
    """How far the work in a folder is.

    Attributes:
        what: what the work is.
        state: ``"running"``; ``"finished"`` (with failures, where there are any); or ``"stopped"``, from which it goes
            on when it is started again.
        engine: where it runs, or ran last.
        total: units in all.
        done: units that are done.
        failed: reasons by unit.
        running: seconds for which each unit has been worked on, by unit.
        seconds_left: seconds until the end, at the pace so far; None where nobody knows.
        began: when it was last begun, in seconds since 1970.
        told: when it was last heard of, likewise.
    """

    what: str
    state: State
    engine: str
    total: int
    done: int
    failed: Mapping[str, str] = field(default_factory=dict)
    running: Mapping[str, float] = field(default_factory=dict)
    seconds_left: float | None = None
    began: float = 0.0
    told: float = 0.0

    def __str__(self) -> str:
        parts = [f"{self.done:,} of {self.total:,} done"]
        parts += [f"{len(self.failed):,} failed"] if self.failed else []
        parts += [f"{len(self.running):,} running"] if self.running else []
        parts += [f"about {duration(self.seconds_left)} left"] if self.seconds_left is not None else []
        return f"{self.what}: {self.state}, {', '.join(parts)}"


def status(folder: str | Path) -> Status:
    """See how far the work in a folder is, or was when it was last heard of.

    Args:
        folder: of a sweep or a study.

    Returns:
        How far.

    Raises:
        BadInput: when no work was ever noted there.
    """
    folder = Path(folder)
    path = folder / STATUS
    if not path.is_file():
        what = "does not tell how far it is" if folder.is_dir() else "is no folder"
        raise BadInput(f"{folder} {what}: give the folder of a sweep or of a study.")
    told = store.read_json(path)
    store.check_schema(told, path, SCHEMA)
    now = time.time()
    state: State = told["state"]
    if state == "running" and _is_dead(told, now):
        state = "stopped"
    alive = state == "running"
    left = told["seconds_left"]
    return Status(
        what=told["what"],
        state=state,
        engine=told["engine"],
        total=told["total"],
        done=told["done"],
        failed=failures(folder),
        running={each["unit"]: max(0.0, now - each["since"]) for each in told["running"]} if alive else {},
        seconds_left=max(0.0, left - (now - told["told"])) if alive and left is not None else None,
        began=told["began"],
        told=told["told"],
    )


def failures(folder: str | Path) -> dict[str, str]:
    """The units that failed, each with the reason.

    Args:
        folder: of a sweep or a study.

    Returns:
        Reasons by unit.
    """
    found: dict[str, str] = {}
    for path in sorted(Path(folder, FAILED).glob("*.json")):
        with suppress(BadInput):
            told = store.read_json(path)
            found[str(told["unit"])] = str(told["failure"])
    return found


def duration(seconds: float) -> str:
    """Say a time in words.

    Args:
        seconds: how long.

    Returns:
        For example ``"2 min 10 s"``.
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} days {whole % 86400 // 3600} h"


def _is_dead(told: Mapping[str, Any], now: float) -> bool:
    if told["host"] == socket.gethostname() and os.name == "posix":
        try:
            os.kill(told["process"], 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False
    return bool(now - told["told"] > _SILENT)


def _failure_file(folder: Path, name: str) -> Path:
    """A file name that any unit's name can be told by, and that no two share."""
    plain = re.sub(r"[^A-Za-z0-9._=+-]", "-", name).lstrip(".-")[:80]
    if plain != name:
        plain += "-" + hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
    return folder / FAILED / f"{plain}.json"
