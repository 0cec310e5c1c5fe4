"""The table that the study of the taxonomy ends in: a row for each cell, in columns that `lf.diagnosis` reads."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landform import store
from landform.diagnosis import LABELS, Grid, Table, failures, grid_of, read_table, table_of
from landform.errors import BadInput
from landform.studies._taxonomy_measure import CURVE_AT, signed

TABLE = "table.csv"
Cells = Sequence[Mapping[str, Any]]
# How the answers are called in published tables.
_ANSWERS = {"temperature": "bs_failure", "width-or-batch": "width_vs_batch", "data-or-batch": "data_vs_batch"}
_CONFIGURATION = ("width", "parameters", "data", "label_noise", "batch_size")
_RUNS = {
    "train_loss": "train_loss",
    "train_error": "train_error",
    "test_loss": "test_loss",
    "test_acc": "test_accuracy",
    "hessian_top": "eigenvalue",
    "hessian_trace": "trace",
}


def table_rows(cells: Cells, steps: int) -> list[dict[str, Any]]:
    """Means over the networks and the pairs of each cell, and which knob each should turn first.

    Args:
        cells: what was measured.
        steps: that curves had been given when they were read first; the connectivity is that after twice as many.

    Returns:
        One row for each cell, by width, data, noise and batch size; None where nothing was measured.
    """
    rows = [_row(cell, steps) for cell in cells]
    rows.sort(key=lambda row: (row["label_noise"], -row["data"], row["width"], row["batch_size"]))
    for noise in sorted({row["label_noise"] for row in rows}):
        part = [row for row in rows if row["label_noise"] == noise]
        found: Mapping[str, Any] = {}
        if any(row["test_acc"] is not None for row in part):
            found = failures(table_of(part))
        for question in LABELS:
            for place, row in enumerate(part):
                row[_ANSWERS[question]] = str(found[question][place]) if question in found else None
    return rows


def write_table(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write the rows as a CSV file.

    Args:
        folder: where.
        rows: the rows.

    Returns:
        The file.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    store.write_text(folder / TABLE, text.getvalue())
    return folder / TABLE


def read_own_table(folder: Path, data: str) -> Table:
    """The table of a study.

    Args:
        folder: of the study.
        data: name of its data set, which messages and pages call it by.

    Returns:
        The table.
    """
    found = read_table(folder / TABLE)
    return Table(data, found.columns, found.labels, found.names, found.rows)


def grids_of(table: Table) -> dict[str, Grid]:
    """The grids that a study's table holds.

    Args:
        table: the table.

    Returns:
        ``"width"``; and where they were varied ``"noise"`` (over width, with the label noise that most widths have),
        ``"data"``, and ``"labels"`` (over label noise, at the width with most levels of it).
    """
    found = {"width": grid_of(table, "width", "batch_size")}
    noises = np.unique(table["label_noise"])
    counts = {float(n): len(np.unique(table["width"][table["label_noise"] == n])) for n in noises[noises > 0]}
    if counts and max(counts.values()) > 1:
        most = max(counts, key=lambda noise: counts[noise])
        found["noise"] = grid_of(table, "width", "batch_size", label_noise=most)
    levels = {w: len(np.unique(table["label_noise"][table["width"] == w])) for w in np.unique(table["width"]).tolist()}
    if max(levels.values()) > 2:
        found["labels"] = grid_of(table, "label_noise", "batch_size", width=max(levels, key=lambda w: levels[w]))
    try:
        found["data"] = grid_of(table, "data", "batch_size")
    except BadInput:
        return found
    return found


def moved(cells: Cells) -> list[float]:
    """By how much connectivity moved when the steps of its curve were doubled.

    Args:
        cells: what was measured.

    Returns:
        Points, one for each cell that has curves: mean over its pairs.
    """
    return [
        _mean([signed(each["curve"]) for each in cell["curves"]])
        - _mean([signed(each["half"]) for each in cell["curves"]])
        for cell in cells
        if cell["curves"]
    ]


def _row(cell: Mapping[str, Any], steps: int) -> dict[str, Any]:
    curves, runs = cell["curves"], cell["runs"]
    row: dict[str, Any] = {name: cell[name] for name in _CONFIGURATION}
    for name, key in _RUNS.items():
        row[name] = _mean([run.get(key) for run in runs])
    row["test_acc_std"] = _spread([run["test_accuracy"] for run in runs])
    for place, t in enumerate(CURVE_AT):
        row[f"curve_train_error_{100 * t:.0f}"] = _mean([each["curve"][place] for each in curves])
    row["mode_connectivity"] = _mean([signed(each["curve"]) for each in curves])
    row["curve_steps"] = 2 * steps
    row["half_way_connectivity"] = _mean([signed(each["half"]) for each in curves])
    row["linear_connectivity"] = _mean([signed(each["line"]) for each in curves])
    row["cka"] = _mean(cell["cka"])
    row["l2_distance"] = _mean(cell["distance"])
    row["networks"] = len(runs)
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else math.nan


def _spread(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
