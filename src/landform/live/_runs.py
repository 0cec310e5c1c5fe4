"""A folder of runs, looked at again and again: only what has changed is read."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from landform.errors import BadInput
from landform.live._folder import Found, Listing, contained, list_folder
from landform.live._standing import Memory, Standing, standing
from landform.store import Writers

# Seconds for which a listing of the folder is good.
_FRESH = 0.5


class Runs:
    """The runs, studies and sweeps in a folder. It may be asked from several threads.

    Attributes:
        root: the folder, free of symbolic links; nothing outside it is read.
    """

    def __init__(self, folder: str | Path) -> None:
        """Take a folder; nothing is read yet.

        Args:
            folder: a folder of runs, however deep they lie, or of one run.

        Raises:
            BadInput: when there is no such folder.
        """
        path = Path(folder)
        if not path.is_dir():
            what = "is a file" if path.exists() else "is not there"
            raise BadInput(f"{path} {what}: give a folder of runs, such as runs.")
        self.root = path.resolve()
        self._memories: dict[str, Memory] = {}
        self._listed: tuple[float, Listing] | None = None
        self._lock = threading.RLock()

    def listing(self) -> Listing:
        """List what there is.

        Returns:
            What was found at most half a second ago.
        """
        with self._lock:
            now = time.monotonic()
            if self._listed is None or now - self._listed[0] > _FRESH:
                self._listed = now, list_folder(self.root)
            return self._listed[1]

    def find(self, name: str) -> Found:
        """Find what has a name. The name is compared with those of the listing, never made into a path.

        Args:
            name: as listed.

        Returns:
            What has it.

        Raises:
            BadInput: when nothing has.
        """
        found = self.listing().found.get(name)
        if found is None or not contained(found.folder, self.root):
            raise BadInput(f"There is no run {name!r} in {self.root}.")
        return found

    def look(self, *, children: bool = False, lines: bool = True) -> list[Standing]:
        """Tell how everything stands.

        Args:
            children: the children of runs too.
            lines: also read the losses of earlier records.

        Returns:
            One entry for each, by name.
        """
        with self._lock:
            writers = Writers()
            found = self.listing().found.values()
            for gone in set(self._memories) - {each.name for each in found}:
                del self._memories[gone]
            return [self._one(each, writers, lines) for each in found if children or each.parent is None]

    def stand(self, name: str) -> Standing:
        """Tell how one of them stands.

        Args:
            name: as listed.

        Returns:
            How it stands.

        Raises:
            BadInput: when there is none of this name.
        """
        with self._lock:
            return self._one(self.find(name), Writers(), True)

    def children(self, name: str) -> list[str]:
        """Name the children of a run.

        Args:
            name: of the run.

        Returns:
            Their names.
        """
        return [each.name for each in self.listing().found.values() if each.parent == name]

    def _one(self, found: Found, writers: Writers, line: bool) -> Standing:
        memory = self._memories.setdefault(found.name, Memory())
        return standing(found, self.root, writers, memory, line=line)


def look(folder: str | Path, *, children: bool = False) -> list[Standing]:
    """Tell how every run, study and sweep in a folder stands, from a few small files of each.

    Args:
        folder: the folder.
        children: the children of runs too.

    Returns:
        One entry for each, by name.

    Raises:
        BadInput: when there is no such folder.
    """
    return Runs(folder).look(children=children)
