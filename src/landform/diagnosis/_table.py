"""Tables of measured networks, one row each: read from a CSV file whatever its columns are called."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landform import store
from landform.diagnosis._columns import LABELS, label_column, meanings, on_the_curve
from landform.errors import BadInput

Numbers = NDArray[np.float64]

_NOTHING = {"", "nan", "none", "na", "n/a", "null", "-"}


@dataclass(frozen=True)
class Table:
    """Measured networks, one row each.

    Attributes:
        source: where it comes from, for messages.
        columns: what is known of each row by meaning (`MEASURES`, `TESTED`, `CONFIGURATION`), ``[rows]`` each; NaN
            where a cell is empty. Errors and accuracies are in percent, curvatures natural logarithms.
        labels: answers by question (`LABELS`), ``[rows]`` strings each; "" or "optimal" where there is none.
        names: what each meaning is called in the file.
        rows: how many there are.
    """

    source: str
    columns: Mapping[str, Numbers]
    labels: Mapping[str, NDArray[Any]]
    names: Mapping[str, str]
    rows: int

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, meaning: str) -> Numbers:
        return self.need(meaning)[0]

    def need(self, *wanted: str) -> list[Numbers]:
        """Take columns that one cannot do without.

        Args:
            *wanted: their meanings.

        Returns:
            The columns, ``[rows]`` each.

        Raises:
            BadInput: when one is missing.
        """
        missing = [meaning for meaning in wanted if meaning not in self.columns]
        if missing:
            raise BadInput(
                f"{self.source} has no column for {' and '.join(missing)}; it has {', '.join(self.columns) or 'none'}: "
                "add it, or give another table."
            )
        return [self.columns[meaning] for meaning in wanted]

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Table:
        """Some of the rows.

        Args:
            chosen: a mask ``[rows]``, or numbers of rows.

        Returns:
            Another table.
        """
        columns = {name: values[chosen] for name, values in self.columns.items()}
        labels = {name: values[chosen] for name, values in self.labels.items()}
        return Table(self.source, columns, labels, self.names, len(np.arange(self.rows)[chosen]))


def read_table(path: str | Path) -> Table:
    """Read a table of measured networks from a CSV file.

    Columns are known by their meaning: ``train_error`` or ``train_acc``, ``hessian_top`` or its logarithm
    ``hessian_e``, ``mode_connectivity`` or the errors along the curve; docs/taxonomy-tables.md lists the names. Columns
    of other names are passed over. Errors and accuracies are in percent; accuracies that are nowhere above 1 are taken
    for shares.

    Args:
        path: of the file; separated by commas, semicolons or tabs.

    Returns:
        The table.

    Raises:
        BadInput: when there is no such file, no row, or a cell that is no number.
    """
    text = store.read_text(path).lstrip("\ufeff")
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        every = list(csv.reader(io.StringIO(text), delimiter=separator))
    except csv.Error as why:
        raise BadInput(f"{path} is no table ({why}): give cells separated by commas, semicolons or tabs.") from None
    lines = [line for line in every if any(cell.strip() for cell in line)]
    if not lines:
        raise BadInput(f"{path} is empty: give a table with a line of names and a row for each network.")
    names = [name.strip() for name in lines[0]]
    if len(lines) == 1:
        raise BadInput(f"{path} has names of columns but no row: give one row for each network.")
    for number, line in enumerate(lines[1:], 1):
        if len(line) != len(names):
            raise BadInput(f"Row {number} of {path} has {len(line)} cells for {len(names)} columns: mend that row.")
    cells = {name: [line[place] for line in lines[1:]] for place, name in enumerate(names)}
    return _table(str(path), cells)


def table_of(rows: Iterable[Mapping[str, object]], source: str = "the measurements") -> Table:
    """Make a table of measurements given by name, one mapping a row.

    Args:
        rows: measurements by name, as a file may call them; what is missing or None stays empty.
        source: what messages call it.

    Returns:
        The table.

    Raises:
        BadInput: when there is no row, or a value that is no number.
    """
    given = list(rows)
    if not given:
        raise BadInput(f"There is nothing in {source}: give at least one set of measurements.")
    names = list(dict.fromkeys(name for row in given for name in row))
    cells = {name: ["" if row.get(name) is None else str(row[name]) for row in given] for name in names}
    return _table(source, cells)


def _table(source: str, cells: Mapping[str, Sequence[str]]) -> Table:
    rows = max((len(column) for column in cells.values()), default=0)
    columns: dict[str, Numbers] = {}
    called: dict[str, str] = {}
    for meaning, (name, made, percent) in meanings(list(cells)).items():
        values = _numbers(source, name, cells[name])
        columns[meaning] = made(_percent(source, name, values) if percent else values)
        called[meaning] = name
    _from_the_curve(source, cells, columns, called)
    labels = {}
    for question in LABELS:
        name_of = label_column(question, list(cells))
        if name_of is not None:
            labels[question] = np.array([cell.strip().lower() for cell in cells[name_of]], dtype=np.str_)
    return Table(source, columns, labels, called, rows)


def _numbers(source: str, name: str, cells: Sequence[str]) -> Numbers:
    values = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        if cell.strip().lower() in _NOTHING:
            continue
        try:
            values[row] = float(cell)
        except ValueError:
            raise BadInput(
                f"Row {row + 1} of {source} has {cell.strip()[:40]!r} in column {name}, which is no number: mend that "
                "cell, or leave it empty."
            ) from None
        if math.isinf(values[row]):
            values[row] = np.nan
    return values


def _percent(source: str, name: str, values: Numbers) -> Numbers:
    known = values[np.isfinite(values)]
    if len(known) and (known.min() < 0 or known.max() > 100):
        row = int(np.flatnonzero((values < 0) | (values > 100))[0])
        raise BadInput(
            f"Row {row + 1} of {source} has {values[row]:g} in column {name}: give percentages between 0 and 100."
        )
    # An accuracy of one percent is worse than guessing; an error of one percent is not, so errors are never rescaled.
    if "acc" in name.lower() and len(known) and known.max() <= 1:
        return values * 100.0
    return values


def _from_the_curve(
    source: str, cells: Mapping[str, Sequence[str]], columns: dict[str, Numbers], called: dict[str, str]
) -> None:
    """What the errors along the curve say, where the file does not say it itself."""
    places = on_the_curve(list(cells))
    if len(places) < 3:
        return
    errors = np.stack([_percent(source, name, _numbers(source, name, cells[name])) for _, name in places])
    inside = errors[[0 < place < 100 for place, _ in places]]
    if "curve_error" not in columns and len(inside):
        columns["curve_error"] = inside.max(0)
        called["curve_error"] = " ".join(name for place, name in places if 0 < place < 100)
    if "connectivity" not in columns and [places[0][0], places[-1][0]] == [0, 100]:
        deviation = (errors[0] + errors[-1]) / 2 - errors  # Yang et al. 2021, equation 4
        furthest = np.abs(np.nan_to_num(deviation)).argmax(0)
        columns["connectivity"] = deviation[furthest, np.arange(deviation.shape[1])]
        called["connectivity"] = " ".join(name for _, name in places)
