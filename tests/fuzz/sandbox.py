"""A place for cases: nothing outside of it may change, nothing may take long, and only one kind of error may come."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Seconds that a case may take; a case takes milliseconds, on however busy a machine.
PATIENCE = 60


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with its size and when it was changed."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            told = os.lstat(os.path.join(place, name))
            found[os.path.join(place, name)] = (told.st_size, told.st_mtime_ns)
    return found


@contextmanager
def guarded(root: Path, what: str) -> Iterator[Path]:
    """Where a case may write, as the working directory; it fails when it changes anything beside it, or hangs.

    Args:
        root: of the sandbox; canaries are put into it.
        what: the case, for the message.

    Yields:
        The folder.
    """
    outside, inside = root / "outside", root / "deep" / "inside"
    outside.mkdir(parents=True, exist_ok=True)
    inside.mkdir(parents=True, exist_ok=True)
    (outside / "canary").write_text("sings")
    before, home = listing(outside), os.getcwd()

    def hung(*_: object) -> None:
        raise TimeoutError(f"{what} takes more than {PATIENCE} seconds")

    former = signal.signal(signal.SIGALRM, hung)
    signal.alarm(PATIENCE)
    os.chdir(inside)
    try:
        yield inside
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)
        os.chdir(home)
    beside = {*os.listdir(root)} - {"outside", "deep"} | ({*os.listdir(root / "deep")} - {"inside"})
    assert not beside, f"{what} wrote {beside}"
    assert listing(outside) == before, f"{what} changed what lies outside"
