"""Where data sets lie on disk, and what to say when one does not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from landform.errors import BadInput

Folder: TypeAlias = "str | os.PathLike[str]"


def root_of(root: Folder | None, name: str, how: str) -> Path:
    """Find the folder that holds the data sets.

    Args:
        root: the folder the user named, or None for ``$LANDFORM_DATA``.
        name: the data set wanted, for the message.
        how: how to get the data set, for the message.

    Returns:
        The folder, which exists.

    Raises:
        BadInput: when no folder is named or it is none.
    """
    named = os.environ.get("LANDFORM_DATA") if root is None else root
    if not named:
        raise BadInput(
            f"{name} is read from disk: give root=, or set LANDFORM_DATA to the folder with the data; {how}."
        )
    folder = Path(named).expanduser()
    if not folder.is_dir():
        whence = "LANDFORM_DATA" if root is None else "root"
        raise BadInput(f"{name} was looked for in {folder}, which is no folder: correct {whence}; {how}.")
    return folder


def missing(name: str, looked: Iterable[Path], how: str) -> BadInput:
    """Say that a data set is not there.

    Args:
        name: the data set wanted.
        looked: where it was looked for.
        how: how to get it.

    Returns:
        The error to raise, one sentence.
    """
    return BadInput(f"{name} was not found; looked in {', '.join(str(place) for place in looked)}: {how}.")


def first_of(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """Find a file under one of several names.

    Args:
        folders: where to look, the first one first.
        names: what it may be called.

    Returns:
        The first that is there, or None.
    """
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)
