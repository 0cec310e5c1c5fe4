"""The index of an atlas: what the headers of its files say, so that they need not be read again."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path

from landform import store
from landform.errors import BadInput

# To be raised when the table changes; an index of another version is made anew.
_VERSION = 1
_TABLE = "CREATE TABLE IF NOT EXISTS results (file TEXT PRIMARY KEY, place TEXT NOT NULL, result TEXT NOT NULL)"


class Index:
    """Rows (file, place, result) in sqlite, write-ahead logged.

    It holds nothing that the files do not: whatever goes wrong with it, it is made anew from them. So a folder that
    cannot be written is no obstacle to reading; there the index is passed over.
    """

    def __init__(self, path: Path) -> None:
        """Take an index by name; nothing is opened yet.

        Args:
            path: the sqlite file.
        """
        self.path = path

    def rows(self) -> dict[str, tuple[str, str]]:
        """Read everything.

        Returns:
            For each file its place and what its header says; nothing where there is no sound index.
        """
        if not self.path.is_file():
            return {}
        try:
            with closing(self._open()) as base:
                return {file: (place, result) for file, place, result in base.execute("SELECT * FROM results")}
        except sqlite3.Error as why:
            if not _passing(why):
                self.remove()
            return {}

    def put(self, rows: Mapping[str, tuple[str, str]]) -> None:
        """Add or replace rows.

        Args:
            rows: for each file its place and what its header says.
        """
        self._change("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", [(file, *row) for file, row in rows.items()])

    def drop(self, files: Iterable[str]) -> None:
        """Remove rows.

        Args:
            files: whose.
        """
        self._change("DELETE FROM results WHERE file = ?", [(file,) for file in files])

    def remove(self) -> None:
        """Remove the index itself."""
        for end in ("", "-wal", "-shm"):
            with suppress(BadInput):
                store.remove(self.path.with_name(self.path.name + end))

    def _change(self, statement: str, rows: list[tuple[str, ...]]) -> None:
        if not rows or not os.access(self.path.parent, os.W_OK):
            return
        for attempt in range(2):
            try:
                with closing(self._open()) as base, base:
                    base.executemany(statement, rows)
                return
            except sqlite3.Error as why:
                if _passing(why):  # what is missing from the index is read from the files
                    return
                self.remove()
                if attempt:
                    raise BadInput(f"{self.path} cannot be written ({why}): check the disk.") from None

    def _open(self) -> sqlite3.Connection:
        base = sqlite3.connect(self.path, timeout=10.0)
        try:
            version = base.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                base.execute("PRAGMA journal_mode=WAL")
                with base:
                    base.execute(_TABLE)
                    base.execute(f"PRAGMA user_version={_VERSION}")
            elif version != _VERSION:
                raise sqlite3.DatabaseError(f"it is of version {version}")
            # The files are what must last through a power cut, and they do; rows may be lost.
            base.execute("PRAGMA synchronous=OFF")
        except BaseException:
            base.close()
            raise
        return base


def _passing(why: sqlite3.Error) -> bool:
    """Tell whether the index is sound and only cannot be used at this moment."""
    code = getattr(why, "sqlite_errorcode", None)
    busy = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
    return code is not None and (code & 0xFF) in busy | {sqlite3.SQLITE_FULL}
