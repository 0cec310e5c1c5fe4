"""A table as a grid: load along one axis, temperature along the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landform.diagnosis._phases import Thresholds, phases
from landform.diagnosis._table import Table
from landform.errors import BadInput

Numbers = NDArray[np.float64]

LOADS = ("width", "parameters", "data", "label_noise")
TEMPERATURES = ("batch_size", "learning_rate", "weight_decay")


@dataclass(frozen=True)
class Grid:
    """Cells of a grid, hot ones first.

    Attributes:
        load: what varies along a row.
        temperature: what varies along a column.
        loads: its values, ascending, ``[columns]``.
        temperatures: its values from hot to cold, ``[rows]``: batch sizes ascend, learning rates descend.
        fixed: what else the table varies, and the value at which it is held here.
        table: one row for each cell in the order of ``[rows, columns]``; NaN where a cell was not measured.
    """

    load: str
    temperature: str
    loads: Numbers
    temperatures: Numbers
    fixed: dict[str, float]
    table: Table

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.temperatures), len(self.loads)

    def __getitem__(self, meaning: str) -> Numbers:
        return self.table[meaning].reshape(self.shape)

    def __contains__(self, meaning: str) -> bool:
        return meaning in self.table.columns

    def phases(self, thresholds: Thresholds | None = None) -> NDArray[Any]:
        """The phase of each cell, ``[rows, columns]``; "" where it was not measured."""
        return phases(self.table, thresholds).reshape(self.shape)

    def __str__(self) -> str:
        held = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in self.fixed.items())
        return f"{self.load} x {self.temperature}".replace("_", " ") + (f" at {held}" if held else "")


def grid_of(table: Table, load: str | None = None, temperature: str | None = None, **at: float) -> Grid:
    """Arrange a table as a grid.

    What else the table varies is held where it is largest (label noise where it is smallest), unless told otherwise;
    rows of the same cell, such as several seeds, are averaged.

    Args:
        table: the table.
        load: what varies along a row: ``"width"``, ``"parameters"``, ``"data"`` or ``"label_noise"``; the first that
            varies by default.
        temperature: what varies along a column: ``"batch_size"``, ``"learning_rate"`` or ``"weight_decay"``; the first
            that varies by default.
        **at: where to hold the others.

    Returns:
        The grid.

    Raises:
        BadInput: when the table does not vary what was asked for, or was not measured where it shall be held.
    """
    along = _varied(table, load, LOADS, "load")
    down = _varied(table, temperature, TEMPERATURES, "temperature")
    chosen = np.isfinite(table[along]) & np.isfinite(table[down])
    fixed: dict[str, float] = {}
    for name in (*LOADS, *TEMPERATURES):
        # The number of parameters follows from the width: who varies the one varies the other.
        if name in (along, down, "parameters") or name not in table.columns:
            continue
        values = np.unique(table[name][np.isfinite(table[name])])
        if len(values) < 2 and name not in at:
            continue
        wanted = at.get(name, float(values.min() if name == "label_noise" else values.max()))
        if wanted not in values:
            raise BadInput(
                f"{table.source} was not measured at {name} {wanted:g}; it has {', '.join(f'{v:g}' for v in values)}."
            )
        fixed[name] = wanted
        chosen = chosen & (table[name] == wanted)
    unknown = sorted(set(at) - set(fixed))
    if unknown:
        raise BadInput(f"{table.source} has no {unknown[0]} to hold at a value: leave it out.")
    part = table.where(chosen)
    loads, column = np.unique(part[along], return_inverse=True)
    temperatures, row = np.unique(part[down], return_inverse=True)
    if down != "batch_size":
        temperatures, row = temperatures[::-1], len(temperatures) - 1 - row
    return Grid(along, down, loads, temperatures, fixed, _cells(part, row * len(loads) + column, loads, temperatures))


def borders(regions: NDArray[Any]) -> list[tuple[float, float, float, float]]:
    """Where regions of a grid touch.

    Args:
        regions: the region of each cell, ``[rows, columns]``; "" where it is not known, where nothing is drawn.

    Returns:
        Pieces of line ``(x0, y0, x1, y1)``, in units of cells with the middle of the first at 0.
    """
    rows, columns = regions.shape
    pieces = [
        (j + 0.5, i - 0.5, j + 0.5, i + 0.5)
        for i in range(rows)
        for j in range(columns - 1)
        if "" != regions[i, j] != regions[i, j + 1] != ""
    ]
    pieces += [
        (j - 0.5, i + 0.5, j + 0.5, i + 0.5)
        for i in range(rows - 1)
        for j in range(columns)
        if "" != regions[i, j] != regions[i + 1, j] != ""
    ]
    return pieces


def _varied(table: Table, asked: str | None, known: tuple[str, ...], what: str) -> str:
    varied = [
        name for name in known if name in table.columns and len(np.unique(table[name][np.isfinite(table[name])])) > 1
    ]
    if asked is None:
        if not varied:
            raise BadInput(
                f"{table.source} varies no {what}: give a table with several values of {', '.join(known[:-1])} or "
                f"{known[-1]}."
            )
        return varied[0]
    if asked not in varied:
        raise BadInput(f"{table.source} does not vary {asked}; as {what} it has {', '.join(varied) or 'nothing'}.")
    return asked


def _cells(part: Table, cell: NDArray[np.int64], loads: Numbers, temperatures: Numbers) -> Table:
    """Mean of each column over the rows of each cell; what no row of a cell has is NaN."""
    count = len(loads) * len(temperatures)
    columns = {}
    for name, values in part.columns.items():
        known = np.isfinite(values)
        total = np.bincount(cell[known], values[known], count)
        seen = np.bincount(cell[known], minlength=count)
        columns[name] = np.where(seen > 0, total / np.maximum(seen, 1), np.nan)
    return Table(part.source, columns, {}, part.names, count)
