"""Folders: made, named, swept of what killed writers left, and locked against a second writer."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from landform.errors import BadInput
from landform.store._files import TEMPORARY, why_not_written

try:
    import fcntl
except ImportError:  # not on Windows: there two recorders of one folder go unnoticed
    fcntl = None  # type: ignore[assignment]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]{0,99}")


def make_folder(path: str | Path) -> Path:
    """Make a folder, and those above it, where they are not there yet.

    Args:
        path: the folder.

    Returns:
        The folder.

    Raises:
        BadInput: when it cannot be made.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise BadInput(why_not_written(path, failure)) from None
    return path


def remove(path: str | Path) -> None:
    """Remove a file, if it is there.

    Args:
        path: the file.

    Raises:
        BadInput: when it cannot be removed.
    """
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as failure:
        raise BadInput(f"{path} cannot be removed ({failure.strerror}).") from None


def sweep(folder: str | Path, *, older_than: float = 3600.0) -> int:
    """Remove the temporary files that killed writers left in a folder.

    Readers never look at such files; they only take up space.

    Args:
        folder: the folder; one that is not there has none.
        older_than: leave those younger than this many seconds, which another process may be writing; whoever holds
            the folder's `Lock` gives 0.

    Returns:
        How many were removed.
    """
    removed = 0
    with suppress(OSError):
        for file in Path(folder).iterdir():
            if TEMPORARY.fullmatch(file.name):
                with suppress(OSError):
                    if older_than <= 0 or time.time() - file.stat().st_mtime > older_than:
                        file.unlink()
                        removed += 1
    return removed


def check_name(name: str, what: str = "run") -> str:
    """Refuse a name that could not be, or should not be, the name of a folder.

    Args:
        name: letters, digits and ``._=+-``, at most 100, not beginning with a dot or a dash.
        what: what it names, for the message.

    Returns:
        The name.

    Raises:
        BadInput: when it is anything else, such as a path.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadInput(
            f"{name!r} cannot name a {what}: use up to 100 letters, digits and ._=+- and begin with a letter, a "
            "digit or an underscore."
        )
    return name


def free_space(folder: str | Path) -> int:
    """Bytes free on the disk of a folder.

    Args:
        folder: a folder that exists.

    Returns:
        The bytes.
    """
    return shutil.disk_usage(folder).free


def size_text(count: float) -> str:
    """Say a number of bytes in words.

    Args:
        count: bytes.

    Returns:
        For example ``"2.1 MB"``.
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


class Lock:
    """The right to write into a folder, held by one writer at a time until `release`, or until the process ends.

    It rests on ``flock``, which the system drops when a process is killed. Where there is none (Windows, some
    network file systems) every request is granted.
    """

    def __init__(self, folder: str | Path) -> None:
        """Take the lock.

        Args:
            folder: the folder, which must be there.

        Raises:
            BadInput: when another writer holds it, or the folder cannot be written.
        """
        self.folder = Path(folder)
        path = self.folder / ".lock"
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as failure:
            raise BadInput(why_not_written(path, failure)) from None
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as failure:
            if failure.errno in (errno.EAGAIN, errno.EACCES):
                holder = os.read(file, 32).decode(errors="replace").strip()
                os.close(file)
                raise BadInput(_why_locked(self.folder, holder)) from None
        with suppress(OSError):  # the number only makes a better sentence
            os.ftruncate(file, 0)
            os.write(file, f"{os.getpid()}\n".encode())
        _held.add(file)
        self._release: Callable[[], object] = weakref.finalize(self, _let_go, file)

    def release(self) -> None:
        """Let others write."""
        self._release()


_held: set[int] = set()


def _let_go(file: int) -> None:
    if file in _held:
        _held.discard(file)
        if fcntl is not None:  # a child forked a moment ago may not have closed its copy yet
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)
        os.close(file)


def _forget_locks() -> None:
    """In a forked child: a lock lives as long as any copy of its handle, so a child must not keep one."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def _why_locked(folder: Path, holder: str) -> str:
    if holder == str(os.getpid()):
        return f"This process is recording into {folder} already: close that recorder first, or give another folder."
    who = f"process {holder}" if holder else "another process"
    return f"{folder} is being written by {who} at this moment: wait until it ends, or give another folder."
