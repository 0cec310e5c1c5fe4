"""``landform taxonomy``."""

from __future__ import annotations

import inspect
import json as plain_json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from landform.cli._reproduce import show_claims
from landform.cli._show import answer, say, table
from landform.errors import BadInput

if TYPE_CHECKING:
    from landform.diagnosis import Grid, Table, Thresholds

Load = Literal["width", "parameters", "data", "label_noise"]
Temperature = Literal["batch_size", "learning_rate", "weight_decay"]


def taxonomy(
    *,
    from_table: Path,
    out: Path | None = None,
    load: Load | None = None,
    temperature: Temperature | None = None,
    at: list[str] | None = None,
    flat: float = 0.02,
    poor: float = -1.0,
    alike: float = 0.6,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Tell the phases of measured networks, and hold the taxonomy's claims against them, from a table alone.

    For example:

        landform taxonomy --from-table grid.csv
        landform taxonomy --from-table grid.csv --load data --at width=64 --out runs/over-data

    Args:
        from_table: a CSV file with a row for each network: training loss, connectivity, similarity, curvature, test
            accuracy, width, batch size, data, as far as measured; docs/taxonomy-tables.md says what columns are called.
        out: the folder to write to; runs/taxonomy-NAME by default.
        load: what varies along a row of the grid; the first that the table varies by default.
        temperature: what varies along a column; likewise.
        at: where to hold what else varies, as name=value; its largest value by default. May be given several times.
        flat: training loss below which a landscape counts as flat.
        poor: mode connectivity in percent below which it counts as poorly connected.
        alike: similarity (CKA) from which on networks count as alike.
        json: print phases, claims and correlations as JSON.
    """
    from landform import store
    from landform.diagnosis import Thresholds, findings, grid_of, read_table
    from landform.report import taxonomy_claims, taxonomy_material, write_taxonomy
    from landform.studies import write_claims

    measured = read_table(from_table)
    thresholds = Thresholds(flat, poor, alike)
    fixed = _held(at or [])
    grid = grid_of(measured, load, temperature, **fixed)
    over_data = None if grid.load == "data" else _also_over_data(measured, grid.temperature, fixed)
    claims = taxonomy_claims(findings(grid, grid if grid.load == "data" else over_data, thresholds))
    place = store.make_folder(out or Path("runs") / f"taxonomy-{from_table.stem}")
    write_claims(place, claims)
    told = _told(measured, grid, thresholds)
    _write(place, told)
    asked = {"out": out, "load": load, "temperature": temperature, "flat": flat, "poor": poor, "alike": alike}
    command = _command(from_table, asked, at or [])
    grids = [grid] if over_data is None else [grid, over_data]
    try:
        page: Path | None = write_taxonomy(taxonomy_material(grids, claims, thresholds, command), place)
    except BadInput as why:
        page = None
        say(f"landform: There is no page, but the numbers are here. {why}")
    if json:
        report = None if page is None else str(page)
        answer({"report": report, **told, "claims": [claim.to_json() for claim in claims]})
        return
    say(f"{measured.rows} networks in {from_table}; the grid is {grid}.")
    _show_phases(told["phases"])
    show_claims(claims)
    if page is not None:
        say(f"The page is {page}: open it in a browser.")
    say(f"The numbers are in {place / 'claims.json'} and {place / 'phases.json'}.")


def _held(at: list[str]) -> dict[str, float]:
    found = {}
    for each in at:
        name, equals, value = each.partition("=")
        try:
            if not equals:
                raise ValueError
            found[name.strip().replace("-", "_")] = float(value)
        except ValueError:
            raise BadInput(f"--at is {each!r}: give a name and a number, such as --at width=64.") from None
    return found


def _also_over_data(measured: Table, temperature: str, fixed: dict[str, float]) -> Grid | None:
    from landform.diagnosis import grid_of

    try:
        return grid_of(measured, "data", temperature, **{k: v for k, v in fixed.items() if k != "data"})
    except BadInput:
        return None


def _told(measured: Table, grid: Grid, thresholds: Thresholds) -> dict[str, Any]:
    from landform.diagnosis import phase_table, phases, ranks

    rows = phase_table(grid.table, phases(grid.table, thresholds))
    return {
        "grid": str(grid),
        "thresholds": asdict(thresholds),
        "phases": [asdict(row) for row in rows],
        "ranks": [asdict(rank) for rank in ranks(grid.table)] if "test_accuracy" in grid else [],
        "rows": phases(measured, thresholds).tolist(),
    }


def _write(place: Path, told: dict[str, Any]) -> None:
    from landform import store

    finite = {**told, "phases": [_finite(row) for row in told["phases"]], "ranks": [_finite(r) for r in told["ranks"]]}
    text = plain_json.dumps(finite, indent=1, ensure_ascii=False, allow_nan=False)
    store.write_text(place / "phases.json", text + "\n")


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in row.items()}


def _command(from_table: Path, asked: dict[str, Any], at: list[str]) -> str:
    """What makes the page again: whatever differs from what the command does by itself."""
    usual = {name: each.default for name, each in inspect.signature(taxonomy).parameters.items()}
    words = ["landform", "taxonomy", "--from-table", str(from_table)]
    for name, value in asked.items():
        words += [] if value == usual[name] else [f"--{name}", str(value)]
    for each in at:
        words += ["--at", each]
    return shlex.join(words)


def _show_phases(rows: list[dict[str, Any]]) -> None:
    def cell(value: float, digits: int) -> str:
        return "" if value != value else f"{value:.{digits}f}"

    table(
        [
            (
                row["phase"], row["count"], cell(row["accuracy"], 1), cell(row["best"], 2),
                cell(row["connectivity"], 1), cell(row["log_eigenvalue"], 2), cell(row["similarity"], 3),
            )
            for row in rows
        ],
        heads=("phase", "cells", "test accuracy", "best", "mc", "log lambda_1", "CKA"),
    )  # fmt: skip
