"""The curves of a run and what was measured along it, read on as files appear."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from landform import store
from landform.atlas import Atlas
from landform.errors import BadInput, Damaged
from landform.recording._format import CURVES, record_files
from landform.recording._record import read_curves

Line: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Epochs ``[n]`` and values ``[n]``."""


class History:
    """What a run told and what was measured along it; each file is read once."""

    def __init__(self, folder: Path, epoch: int) -> None:
        """Take a run; nothing is read yet.

        Args:
            folder: of the run.
            epoch: steps in an epoch.
        """
        self._folder, self._epoch = folder, epoch
        self._told: dict[tuple[str, int], dict[str, Line]] = {}
        self._atlas = Atlas(folder)
        self._values: dict[tuple[str, int, str], float] = {}

    def curves(self) -> dict[str, Line]:
        """What the loop told, by name (``loss``, ``lr``, ...).

        Returns:
            Epochs and values, by epoch.
        """
        parts: list[dict[str, Line]] = []
        # The values after the last record first: a run that went on from there has them again in its records.
        for kind in (CURVES, "points"):
            for _, path in record_files(self._folder, kind):
                try:
                    key = (f"{kind}/{path.name}", os.stat(path).st_mtime_ns)
                    if key not in self._told:
                        read = read_curves(store.open_tensors(path))
                        self._told[key] = {name: (s.numpy() / self._epoch, v.numpy()) for name, (s, v) in read.items()}
                    parts.append(self._told[key])
                except (Damaged, OSError):
                    continue
        names = dict.fromkeys(name for part in parts for name in part)
        return {name: _joined([part[name] for part in parts if name in part]) for name in names}

    def measured(self) -> dict[str, dict[str, Line]]:
        """What a survey measured that is one number at each time: by name, then by set.

        Returns:
            Epochs and values; the set's name is empty where there is none.
        """
        found: dict[str, dict[str, Line]] = {}
        for name in self._atlas.names():
            try:
                results = [one for one in self._atlas.results(name) if not one.quantities[name]["dims"]]
            except BadInput:  # gone meanwhile
                continue
            by_set: dict[str, tuple[list[float], list[float]]] = {}
            for one in results:
                key = (one.file, one.written, name)
                try:
                    if key not in self._values:
                        file = store.open_tensors(self._folder / "atlas" / one.file)
                        self._values[key] = float(file.read(name))
                except BadInput:
                    continue
                epochs, values = by_set.setdefault(one.set or "", ([], []))
                epochs.append(one.epoch)
                values.append(self._values[key])
            if by_set:
                order = sorted(by_set, key=lambda each: (each != "train", each))
                found[name] = {each: (np.array(by_set[each][0]), np.array(by_set[each][1])) for each in order}
        return found

    def others(self, known: Mapping[str, object]) -> list[str]:
        """What else was measured.

        Args:
            known: quantities to leave out.

        Returns:
            Names.
        """
        return [name for name in self._atlas.names() if name not in known]


def _joined(parts: list[Line]) -> Line:
    """Put pieces of a curve together; of two values for one step the later piece's counts."""
    epochs = np.concatenate([part[0] for part in parts]).astype(np.float64)
    values = np.concatenate([part[1] for part in parts]).astype(np.float64)
    order = np.argsort(epochs, kind="stable")
    epochs, values = epochs[order], values[order]
    last = np.flatnonzero(np.diff(epochs, append=np.inf))
    return epochs[last], values[last]
