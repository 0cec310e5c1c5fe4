"""The results of a run, on disk."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from landform import store
from landform.atlas._files import SCHEMA, Stored, Values, read_header, write_result
from landform.atlas._index import Index
from landform.atlas._labelled import Labelled, Piece, assemble, to_numpy
from landform.errors import BadInput, Damaged, try_import

log = logging.getLogger("landform.atlas")

RESULTS, INDEX, NOTES = "atlas", "atlas.sqlite", "notes.json"


class Atlas:
    """What was measured along a run: arrays with named dimensions.

    In the run's folder lie ``atlas/`` with one safetensors file a result, and ``atlas.sqlite``, an index that spares
    reading their headers and is made anew whenever it is missing or damaged. An atlas shows what is there at the
    moment it is asked, also while a survey goes on elsewhere. It measures nothing.

    Where settings or data have changed since, a quantity shows only what was measured like its latest result.

    Examples:
        >>> atlas = Atlas("runs/mine")
        >>> atlas.names()
        >>> atlas["loss"].values  # [set, time], or [time] where there is one set

    Attributes:
        folder: the run's folder.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open the atlas of a run.

        Args:
            folder: the run's folder; an atlas without results is empty.

        Raises:
            BadInput: when there is no such folder.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise BadInput(f"There is no folder {self.folder}: give the folder of a run.")
        self._index = Index(self.folder / INDEX)
        self._known: dict[str, tuple[str, Stored]] = {}
        self._damage: dict[str, str] = {}

    # ------------------------------------------------------------------------------------------------ reading

    def __getitem__(self, name: str) -> Labelled:
        """Read a quantity.

        Args:
            name: one of `names`.

        Returns:
            Its numbers at all times it was measured.

        Raises:
            BadInput: when there is no such quantity.
            Damaged: when one of its files is damaged.
        """
        results = self.results(name)
        pieces = []
        for stored in results:
            about = stored.quantities[name]
            numbers = to_numpy(store.open_tensors(self._results / stored.file).read(name))
            coords = about.get("coords", {})
            pieces.append(Piece(stored.set, stored.step, stored.epoch, numbers, tuple(about["dims"]), coords))
        return assemble(name, pieces, results[0].settings)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a quantity of this name."""
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        """The names of the quantities."""
        return iter(self.names())

    def __len__(self) -> int:
        """How many quantities there are."""
        return len(self.names())

    def names(self) -> tuple[str, ...]:
        """Name the quantities there are.

        Returns:
            Their names, in alphabetical order.
        """
        return tuple(sorted({name for stored in self._refresh() for name in stored.quantities}))

    def results(self, name: str) -> list[Stored]:
        """Tell what is known of the results of a quantity, such as the time each took.

        Args:
            name: one of `names`.

        Returns:
            One entry for each set and time, in the order of time.

        Raises:
            BadInput: when there is no such quantity.
        """
        found = [stored for stored in self._refresh() if name in stored.quantities]
        if not found:
            there = ", ".join(self.names()) or "nothing yet: run a survey first"
            raise BadInput(f"The atlas of {self.folder} holds no {name!r}: it has {there}.")
        latest = max(found, key=lambda stored: stored.written)
        how = latest.version, latest.settings, latest.set is None
        found = [stored for stored in found if (stored.version, stored.settings, stored.set is None) == how]
        newest = {stored.set: stored.basis for stored in sorted(found, key=lambda stored: stored.written)}
        return sorted((s for s in found if s.basis == newest[s.set]), key=lambda s: (s.step, s.set or ""))

    def settings(self, name: str) -> dict[str, Any]:
        """Tell how a quantity was measured.

        Args:
            name: one of `names`.

        Returns:
            The probe's settings.
        """
        return dict(self.results(name)[-1].settings)

    def to_xarray(self) -> Any:
        """All quantities as one ``xarray.Dataset`` (needs the ``analysis`` extra).

        Returns:
            The quantities over the times at which any was measured; where one was not, it is nan.

        Raises:
            BadInput: when xarray is not installed.
        """
        from landform.atlas._dataset import join  # xarray's own rules live there

        try_import("xarray", "analysis")
        return join([self[name] for name in self.names()])

    @property
    def notes(self) -> tuple[str, ...]:
        """What the surveys left out, skipped or could not measure, in sentences; damaged files of the atlas too."""
        self._refresh()
        kept = [note for notes in self._read_notes().values() for note in notes]
        return tuple(dict.fromkeys([*kept, *(self._damage[file] for file in sorted(self._damage))]))

    def __repr__(self) -> str:
        return f"Atlas({str(self.folder)!r}: {', '.join(self.names()) or 'empty'})"

    # ------------------------------------------------------------------------------------------------ writing

    def lock(self) -> store.Lock:
        """Take the right to write into this atlas, and clear away what killed writers left half written.

        Returns:
            The lock, to be released.

        Raises:
            BadInput: when another survey holds it.
        """
        lock = store.Lock(store.make_folder(self._results))
        store.sweep(self._results, older_than=0)
        return lock

    def find(self, probe: str, set: str | None, step: int) -> Stored | None:
        """Look for a result.

        Args:
            probe: the probe's name.
            set: the set's name, or None.
            step: the time in steps.

        Returns:
            What is known of it, or None.
        """
        known = self._known.get(Stored(probe, set, step, 0.0, "", {}).file)
        return known and known[1]

    def stored(self) -> list[Stored]:
        """List every result there is, also those whose settings have changed since.

        Returns:
            What is known of each.
        """
        return self._refresh()

    def sound(self, stored: Stored) -> bool:
        """Read a result's numbers, and tell whether they are those that were written.

        Args:
            stored: what is known of the result.

        Returns:
            False when the file is damaged; the notes then name it until it is measured anew.
        """
        try:
            store.read_tensors(self._results / stored.file)
        except Damaged as why:
            self._damage[stored.file] = str(why)
            return False
        return True

    def write(self, stored: Stored, values: Values) -> None:
        """Keep a result, in place of the one of the same probe, set and time.

        Args:
            stored: what is known of it.
            values: for each quantity the numbers, the names of their dimensions, and labels along them.

        Raises:
            BadInput: when another probe measures a quantity of the same name, or the disk says no.
        """
        for name in values:
            for other in self._owners().get(name, ()):
                if other != stored.probe:
                    raise BadInput(
                        f"Probe {stored.probe} measures {name!r}, which probe {other} measures already: rename one, "
                        f"or remove the results of {other} with Atlas.forget({other!r})."
                    )
        store.check_name(stored.probe, "probe")
        if stored.set is not None:
            store.check_name(stored.set, "set")
        quantities = {
            name: {"dims": list(dims), **({"coords": {d: list(v) for d, v in coords.items()}} if coords else {})}
            for name, (_, dims, coords) in values.items()
        }
        stored = replace(stored, quantities=quantities, written=time.time_ns())
        stored = Stored.from_json(stored.to_json())  # as it will be read again
        write_result(store.make_folder(self._results), stored, values)
        place = _place(os.stat(self._results / stored.file))
        self._known[stored.file] = (place, stored)
        self._damage.pop(stored.file, None)
        self._index.put({stored.file: (place, stored.to_json())})

    def drop(self, results: Sequence[Stored]) -> None:
        """Remove results.

        Args:
            results: which.
        """
        for stored in results:
            store.remove(self._results / stored.file)
            self._known.pop(stored.file, None)
        self._index.drop([stored.file for stored in results])

    def forget(self, probe: str) -> int:
        """Remove every result of a probe.

        Args:
            probe: its name.

        Returns:
            How many were removed.
        """
        results = [stored for stored in self._refresh() if stored.probe == probe]
        self.drop(results)
        self.annotate({probe: []})
        return len(results)

    def annotate(self, notes: Mapping[str, Sequence[str]]) -> None:
        """Keep notes, in place of earlier ones under the same keys.

        Args:
            notes: sentences, by what they are about (a probe's name, as a rule).
        """
        kept = {**self._read_notes(), **{about: list(each) for about, each in notes.items()}}
        content = {"schema": SCHEMA, "notes": {about: each for about, each in kept.items() if each}}
        store.write_json(store.make_folder(self._results) / NOTES, content)

    def rebuild(self) -> None:
        """Make the index anew from the files alone."""
        self._index.remove()
        self._known.clear()
        self._damage.clear()
        self._refresh()

    # ------------------------------------------------------------------------------------------------ inside

    @property
    def _results(self) -> Path:
        return self.folder / RESULTS

    def _refresh(self) -> list[Stored]:
        """Take note of what has changed in the folder; the index tells what files hold that are as it saw them."""
        there = dict(sorted(_listing(self._results).items()))
        for file in set(self._known) | set(self._damage):
            if file not in there:
                self._known.pop(file, None)
                self._damage.pop(file, None)
        fresh = [file for file, place in there.items() if file not in self._known or self._known[file][0] != place]
        if fresh:
            rows = self._index.rows()
            unread: dict[str, tuple[str, str]] = {}
            for file in fresh:
                place, text = rows.get(file, ("", ""))
                try:
                    stored = Stored.from_json(text) if place == there[file] else None
                except (ValueError, TypeError, AttributeError):
                    stored = None
                if stored is None:
                    stored = self._read(file)
                    if stored is None:
                        continue
                    unread[file] = (there[file], stored.to_json())
                self._known[file] = (there[file], stored)
                self._damage.pop(file, None)
            self._index.put(unread)
        return [stored for _, stored in self._known.values()]

    def _read(self, file: str) -> Stored | None:
        try:
            return read_header(self._results / file)
        except Damaged as why:
            if file not in self._damage:
                log.warning("%s", why)
            self._damage[file] = str(why)
            self._known.pop(file, None)
            return None

    def _owners(self) -> dict[str, set[str]]:
        owners: dict[str, set[str]] = {}
        for _, stored in self._known.values():
            for name in stored.quantities:
                owners.setdefault(name, set()).add(stored.probe)
        return owners

    def _read_notes(self) -> dict[str, list[str]]:
        path = self._results / NOTES
        if not path.is_file():
            return {}
        try:
            found: dict[str, list[str]] = store.read_json(path)["notes"]
        except (Damaged, KeyError):
            return {"": [f"{path} is damaged, so what earlier surveys noted is lost."]}
        return found


def _listing(folder: Path) -> dict[str, str]:
    """The result files in a folder, each with its place; temporary files begin with a dot and are passed over."""
    try:
        with os.scandir(folder) as entries:
            return {
                entry.name: _place(entry.stat())
                for entry in entries
                if entry.name.endswith(".safetensors") and not entry.name.startswith(".")
            }
    except FileNotFoundError:
        return {}
    except OSError as why:
        raise BadInput(f"{folder} cannot be read ({why.strerror}).") from None


def _place(stat: os.stat_result) -> str:
    """What changes when a file is replaced: a new file has a number of its own."""
    return f"{stat.st_ino}.{stat.st_mtime_ns}.{stat.st_size}"
