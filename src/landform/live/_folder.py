"""What lies in a folder of runs, found by listing it: no name that somebody gives is ever made into a path."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal, TypeAlias

from landform.errors import BadInput
from landform.recording._format import CHILDREN, RUN

Kind: TypeAlias = Literal["run", "study", "sweep"]

# What several processes recorded lies in as many folders; the first one's tells how far they are.
FIRST_SHARD = Path("shards", "00000")
_KINDS: dict[str, Kind] = {"study.json": "study", "sweep.json": "sweep", RUN: "run"}
# How far below the folder runs are looked for; and a run's children below one another.
_DEPTH = 8


@dataclass(frozen=True)
class Found:
    """Something in a folder of runs.

    Attributes:
        name: its path below the folder, with slashes; ``"."`` where the folder itself is a run.
        folder: where it lies, free of symbolic links.
        kind: ``"run"``, ``"study"`` or ``"sweep"``.
        parent: for a child, the name of the run that it left.
    """

    name: str
    folder: Path
    kind: Kind
    parent: str | None = None


@dataclass(frozen=True)
class Listing:
    """What was found.

    Attributes:
        found: runs, studies and sweeps by name, in the order of their names.
        left_out: symbolic links to places outside, which are not followed.
    """

    found: dict[str, Found]
    left_out: tuple[str, ...]


def list_folder(root: Path) -> Listing:
    """Look for runs, studies and sweeps.

    What lies within a study or a sweep is its own affair, unless it is the folder itself; of a run its children are
    listed too. Symbolic links to folders are not followed: what they lead to within the folder is found there.

    Args:
        root: the folder, free of symbolic links.

    Returns:
        What there is.
    """
    found: dict[str, Found] = {}
    links: list[str] = []
    for each in _within(root, root, "", None, _DEPTH, links):
        found[each.name] = each
    ordered = sorted(found.values(), key=lambda each: _natural(each.name))
    return Listing({each.name: each for each in ordered}, tuple(sorted(links)))


def contained(path: str | os.PathLike[str], root: Path) -> bool:
    """Whether a path, with every symbolic link in it followed, lies in a folder.

    Args:
        path: the path.
        root: the folder, free of symbolic links.

    Returns:
        True where it does.
    """
    return Path(os.path.realpath(path)).is_relative_to(root)


def fingerprint(folder: Path, root: Path) -> str:
    """A short name for the state of a run or a study: another one whenever a file of it is new, gone or replaced.

    Every file of landform's is replaced rather than changed, which its folder shows. What stands in a run's own
    folder beside its description, such as the index of the atlas or a page, does not count.

    Args:
        folder: of the run or the study.
        root: the folder that nothing may lead out of.

    Returns:
        The name.

    Raises:
        BadInput: when a symbolic link in it leads out of the root.
    """
    digest = blake2b(digest_size=8)
    seen: set[tuple[int, int]] = set()
    stack = [str(folder)]
    while stack:
        place = stack.pop()
        try:
            about = os.stat(place)
            with os.scandir(place) as listed:
                entries = list(listed)
        except OSError:
            continue
        if (about.st_dev, about.st_ino) in seen:
            continue
        seen.add((about.st_dev, about.st_ino))
        stamp, below = about.st_mtime_ns, []
        for entry in entries:
            if entry.is_symlink() and not contained(entry.path, root):
                raise BadInput(
                    f"{entry.path} leads out of {root}, and nothing outside it is read: put a copy in its place, or "
                    "serve a folder that holds both."
                )
            if entry.is_dir():
                below.append(entry.path)
            elif entry.name == RUN:
                stamp = entry.stat().st_mtime_ns
        stack += sorted(below)
        digest.update(os.fsencode(place) + b"\0" + stamp.to_bytes(16, "little", signed=True))
    return digest.hexdigest()


def _within(place: Path, root: Path, name: str, parent: str | None, depth: int, links: list[str]) -> Iterator[Found]:
    """What lies in a folder and below it."""
    try:
        with os.scandir(place) as listed:
            entries = list(listed)
    except OSError:  # gone meanwhile, or not ours to read
        return
    files = {
        entry.name for entry in entries if entry.name in _KINDS and entry.is_file() and _inside(entry, root, links)
    }
    kind = next((kind for file, kind in _KINDS.items() if file in files), None)
    if kind is None and (place / FIRST_SHARD / RUN).is_file() and contained(place / FIRST_SHARD / RUN, root):
        kind = "run"
    if kind is not None:
        yield Found(name or ".", place, kind, parent)
    if depth == 0 or (kind in ("study", "sweep") and name):
        return
    for entry in entries:
        if not _open(entry, root, links) or (kind == "run" and entry.name != CHILDREN and (name or entry.name in _OWN)):
            continue
        below, inside = Path(entry.path), f"{name}/{entry.name}" if name else entry.name
        if kind == "run" and entry.name == CHILDREN:
            for child in _folders(below, root, links):
                yield from _within(below / child, root, f"{inside}/{child}", name or ".", depth - 1, links)
        else:
            yield from _within(below, root, inside, None, depth - 1, links)


# Where the folder itself is a run, what is its own and no folder of runs.
_OWN = {"points", "curves", "atlas", "figures", "shards"}


def _folders(place: Path, root: Path, links: list[str]) -> list[str]:
    try:
        with os.scandir(place) as entries:
            return [entry.name for entry in entries if _open(entry, root, links)]
    except OSError:
        return []


def _open(entry: os.DirEntry[str], root: Path, links: list[str]) -> bool:
    """Whether an entry is a folder to look into."""
    if entry.name.startswith("."):
        return False
    if entry.is_symlink():
        if entry.is_dir():
            _inside(entry, root, links)
        return False
    return entry.is_dir()


def _inside(entry: os.DirEntry[str], root: Path, links: list[str]) -> bool:
    if entry.is_symlink() and not contained(entry.path, root):
        links.append(os.path.relpath(entry.path, root))
        return False
    return True


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Names by which run-2 comes before run-10."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name))
