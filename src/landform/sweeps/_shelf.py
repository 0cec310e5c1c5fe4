"""The files of a sweep: one for each unit, and an index that can be made anew from them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from landform import store
from landform.errors import BadInput, Damaged
from landform.sweeps._grid import Cell

UNITS, INDEX = "units", "index.json"
SCHEMA = 1
Number: TypeAlias = float | int | bool | str | None
_END = ".safetensors"


@dataclass(frozen=True)
class Outcome:
    """What a function returned for one cell.

    Attributes:
        numbers: by name; text and None are kept too.
        arrays: by name.
    """

    numbers: Mapping[str, Number]
    arrays: Mapping[str, Tensor]


@dataclass(frozen=True)
class Row:
    """One cell and what came of it.

    Attributes:
        settings: its settings.
        seed: its seed.
        numbers: what was measured, by name.
        arrays: names of the arrays that were kept.
        unit: the unit it was part of.
        place: its place in that unit.
    """

    settings: Mapping[str, Any]
    seed: int | None
    numbers: Mapping[str, Number]
    arrays: tuple[str, ...]
    unit: str
    place: int

    @property
    def cell(self) -> Cell:
        """The cell."""
        return Cell(self.settings, self.seed)


def outcome_of(returned: Any, cell: Cell) -> Outcome:
    """Sort what a function returned into numbers and arrays.

    Args:
        returned: numbers and arrays by name, or None.
        cell: what it was called for.

    Returns:
        The outcome.

    Raises:
        BadInput: when it is anything else.
    """
    if returned is None:
        return Outcome({}, {})
    if not isinstance(returned, Mapping):
        raise BadInput(f"The function returned a {type(returned).__name__}: return a dict of numbers, or None.")
    numbers: dict[str, Number] = {}
    arrays: dict[str, Tensor] = {}
    for name, value in returned.items():
        if not isinstance(name, str) or not name or name in cell.settings or name == "seed":
            raise BadInput(f"The function returned something named {name!r}: give a name that no setting has.")
        if value is None or isinstance(value, bool | int | float | str):
            numbers[name] = value
            continue
        array = _array(name, value)
        if array.dim():
            arrays[name] = array
        else:
            numbers[name] = array.item()
    return Outcome(numbers, arrays)


def _array(name: str, value: Any) -> Tensor:
    try:
        array = value.detach().cpu() if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError, RuntimeError):
        raise BadInput(f"{name} is a {type(value).__name__}: return numbers and arrays.") from None
    if not store.can_hold(array.dtype):
        raise BadInput(f"{name} is an array of {array.dtype}: return real numbers.")
    return array


class Shelf:
    """The units of a sweep, on disk."""

    def __init__(self, folder: Path) -> None:
        """Take the files of a sweep.

        Args:
            folder: of the sweep.
        """
        self.folder = folder / UNITS
        self._index = folder / INDEX
        self._rows: dict[str, tuple[int, list[Row]]] = {}
        self._written = 0
        self.damaged: list[str] = []

    def read(self) -> None:
        """Read what is there: from the index, and from the files that it does not hold as they are now."""
        kept = self._indexed()
        self._rows = {}
        self.damaged = []
        for path in sorted(self.folder.glob(f"*{_END}")) if self.folder.is_dir() else ():
            name, size = path.name.removesuffix(_END), path.stat().st_size
            if name in kept and kept[name][0] == size:
                self._rows[name] = kept[name]
                continue
            try:
                self._rows[name] = (size, _rows_of(path, name))
            except Damaged as why:
                self.damaged.append(str(why))
        self._written = len(kept.keys() & self._rows.keys())

    def __contains__(self, unit: str) -> bool:
        return unit in self._rows

    def rows(self, units: Iterable[str] | None = None) -> list[Row]:
        """What is known, unit by unit.

        Args:
            units: of these; all by default.

        Returns:
            The rows.
        """
        return [row for unit in (self._rows if units is None else units) for row in self._rows.get(unit, (0, []))[1]]

    def write(self, unit: str, cells: Sequence[Cell], outcomes: Sequence[Outcome], seconds: float) -> None:
        """Write the file of a unit, whole or not at all, and now and then the index.

        Args:
            unit: its name.
            cells: what it was about.
            outcomes: one for each cell.
            seconds: how long it took.
        """
        store.make_folder(self.folder)
        path = self.folder / f"{unit}{_END}"
        rows = [
            Row(cell.settings, cell.seed, outcome.numbers, tuple(outcome.arrays), unit, place)
            for place, (cell, outcome) in enumerate(zip(cells, outcomes, strict=True))
        ]
        told = {"schema": SCHEMA, "unit": unit, "seconds": round(seconds, 6), "rows": [_to_json(row) for row in rows]}
        arrays = {
            f"{place}.{name}": array for place, outcome in enumerate(outcomes) for name, array in outcome.arrays.items()
        }
        store.write_tensors(path, arrays, {"unit": json.dumps(told)})
        self._rows[unit] = (path.stat().st_size, rows)
        # Written anew each time there is a quarter more: all together that is a few times the last one.
        if len(self._rows) > 1.25 * self._written + 50:
            self.write_index()

    def write_index(self) -> None:
        """Write the index; it holds nothing that the files do not."""
        units = {
            name: {"bytes": size, "rows": [_to_json(row) for row in rows]} for name, (size, rows) in self._rows.items()
        }
        store.write_json(self._index, {"schema": SCHEMA, "units": units})
        self._written = len(self._rows)

    def array(self, row: Row, name: str) -> Tensor:
        """Read an array.

        Args:
            row: which cell's.
            name: which.

        Returns:
            The array.

        Raises:
            BadInput: when the function returned none of this name.
        """
        if name not in row.arrays:
            raise BadInput(f"{row.cell.name} has no array {name!r}: it has {', '.join(row.arrays) or 'none'}.")
        return store.open_tensors(self.folder / f"{row.unit}{_END}").read(f"{row.place}.{name}")

    def _indexed(self) -> dict[str, tuple[int, list[Row]]]:
        try:
            told = store.read_json(self._index)
            store.check_schema(told, self._index, SCHEMA)
            return {
                name: (unit["bytes"], [_from_json(row, name, place) for place, row in enumerate(unit["rows"])])
                for name, unit in told["units"].items()
            }
        except (BadInput, KeyError, TypeError):  # missing, damaged, or of another landform: the files are the truth
            return {}


def _rows_of(path: Path, unit: str) -> list[Row]:
    try:
        told = json.loads(store.open_tensors(path).metadata["unit"])
        store.check_schema(told, path, SCHEMA)
        return [_from_json(row, unit, place) for place, row in enumerate(told["rows"])]
    except (KeyError, TypeError, ValueError) as why:
        if isinstance(why, BadInput):
            raise
        raise Damaged(f"{path} is no unit of a sweep ({why}): remove it and have it made again.") from None


def _to_json(row: Row) -> dict[str, Any]:
    numbers = {name: _finite(value) for name, value in row.numbers.items()}
    return {"settings": dict(row.settings), "seed": row.seed, "numbers": numbers, "arrays": list(row.arrays)}


def _from_json(told: Mapping[str, Any], unit: str, place: int) -> Row:
    numbers = {
        name: float(value["float"]) if isinstance(value, Mapping) else value for name, value in told["numbers"].items()
    }
    return Row(told["settings"], told["seed"], numbers, tuple(told["arrays"]), unit, place)


def _finite(value: Number) -> Any:
    """JSON has no nan and no infinity: they are told in words, and not mistaken for text."""
    return {"float": str(value)} if isinstance(value, float) and not math.isfinite(value) else value
