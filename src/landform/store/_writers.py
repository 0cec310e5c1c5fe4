"""Who is writing a folder at this moment, asked without getting in the way."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where there are no such locks
    fcntl = None  # type: ignore[assignment]

_LOCKS, _MOUNTS = Path("/proc/locks"), Path("/proc/self/mountinfo")
# File systems that several machines see: a lock taken on another one does not show here.
_SHARED = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "afs", "9p", "fuse", "glusterfs", "orangefs")


class Writers:
    """The locks that are held on this machine, as they were when this was made."""

    def __init__(self) -> None:
        """Read them, where the system tells; elsewhere each folder is asked for its own."""
        self._held: dict[int, list[tuple[str, str]]] | None = None
        with suppress(OSError, ValueError, IndexError):
            held: dict[int, list[tuple[str, str]]] = {}
            for line in _LOCKS.read_text().splitlines():
                parts = line.split()
                if parts[1] == "FLOCK":
                    device, _, inode = parts[5].rpartition(":")
                    held.setdefault(int(inode), []).append((device, parts[4]))
            self._held = held

    def hold(self, folder: Path) -> bool:
        """Whether somebody holds the lock of a folder.

        Args:
            folder: of a run, or of the results of its atlas.

        Returns:
            True where one does; False also where nobody can tell.
        """
        path = folder / ".lock"
        try:
            about = os.lstat(path)
            if self._held is None:
                return _refused(path)
            holders = self._held.get(about.st_ino)
            if not holders:
                return False
            device = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}"
            # Some file systems report another device than the system's table does; then the holder's number decides.
            return any(where == device for where, _ in holders) or _noted(path) in {pid for _, pid in holders}
        except OSError:
            return False


def is_shared(folder: Path) -> bool:
    """Whether a folder lies on a file system that other machines may write.

    Args:
        folder: the folder.

    Returns:
        True for network file systems; False also where nobody can tell.
    """
    with suppress(OSError, IndexError):
        device = os.stat(folder).st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        for line in _MOUNTS.read_text().splitlines():
            before, _, after = line.partition(" - ")
            if before.split()[2] == wanted:
                return after.split()[0].startswith(_SHARED)
    return False


def _noted(path: Path) -> str:
    """The process that a lock's file names."""
    return path.read_bytes()[:32].decode(errors="replace").strip()


def _refused(path: Path) -> bool:
    """Ask for a lock beside others, and give it back at once."""
    if fcntl is None:
        return False
    file = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False
