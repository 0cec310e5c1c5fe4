"""A function over a grid: every cell once, whatever stops it in between."""

from __future__ import annotations

import csv
import inspect
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from landform import store
from landform.engine import Engine, Ledger, Needs, Unit, engine_named, failures
from landform.errors import BadInput
from landform.sweeps._grid import Cell, Grid, cells_of, digest
from landform.sweeps._networks import Networks
from landform.sweeps._shelf import UNITS, Outcome, Row, Shelf, outcome_of

SWEEP, TABLE = "sweep.json", "table.csv"
SCHEMA = 1
Train: TypeAlias = Callable[..., Mapping[str, Any] | None]
Progress: TypeAlias = Callable[[int, int], object]


@runtime_checkable
class Together(Protocol):
    """A function that is quicker for several cells at once, such as `Networks`."""

    def groups(self, settings: Sequence[Mapping[str, Any]]) -> list[list[int]]:
        """Sort cells into those that are one unit of work: numbers of the cells of each."""
        ...

    def many(self, settings: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> list[Mapping[str, Any]]:
        """Do what is to be done for the cells of one unit; returns what the function returns for each."""
        ...


@dataclass(frozen=True)
class Sweep:
    """What came of a sweep.

    Attributes:
        folder: where it lies.
        rows: one for each cell that is done, in the order of the grid.
        failures: reasons by unit, of those that failed.
        notes: what one should know, such as files found damaged.
    """

    folder: Path
    rows: tuple[Row, ...]
    failures: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> Path:
        """The table, a CSV file with a line for each row; `landform.diagnosis.read_table` reads it."""
        return self.folder / TABLE

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> list[Any]:
        """A column: a setting, ``"seed"``, or a measure; None where a row has none.

        Raises:
            BadInput: when no row has any.
        """
        columns = _columns(self.rows)
        if name not in columns:
            raise BadInput(f"The sweep in {self.folder} has no column {name!r}: it has {', '.join(columns) or 'none'}.")
        return [_cells(row).get(name) for row in self.rows]

    def array(self, row: Row, name: str) -> Tensor:
        """Read an array that the function returned for a cell.

        Args:
            row: the cell's row.
            name: of the array.

        Returns:
            The array, on the CPU.
        """
        return Shelf(self.folder).array(row, name)


def sweep(
    train: Train,
    grid: Grid,
    *,
    out: str | Path,
    seeds: int | Iterable[int] = 1,
    engine: str | Engine | None = "inline",
    processes: int | None = None,
    retries: int | None = None,
    needs: Needs | None = None,
    say: Callable[[str], object] | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Call a function for every cell of a grid, and keep what it returns; goes on where it was stopped.

    What came of each unit is a file of its own under ``units/``, written whole or not at all by this process as soon as
    it is there; ``table.csv`` and the index are made of these files. A unit that fails is told (``failed/``) and the
    others go on; the next call tries it again. A larger grid, or more seeds, may be asked for later.

    Args:
        train: any function at the top of a module, called as ``train(lr=0.1, width=8, seed=0)``; it returns numbers and
            arrays by name, or None where it keeps its own results. It is called without ``seed`` when it takes none.
            While it runs, torch's global generator is seeded from the name of the cell, so that every engine gives the
            same bits. Or `Networks`, which trains many small ones at once.
        grid: values by name, such as ``{"lr": [0.1, 0.01], "width": [8, 16]}``, or one mapping a cell.
        out: folder of the sweep.
        seeds: how many for each place of the grid, or which.
        engine: ``"inline"``, ``"local"``, ``"ray"``, ``"ray://host:port"``, or an engine.
        processes: of the engine ``"local"``.
        retries: how often a unit runs again when its process or node was lost.
        needs: what a unit must have to itself: cores, GPUs, memory.
        say: told in a sentence what is going on.
        progress: called as ``progress(done, total)`` with numbers of cells.

    Returns:
        What came of the cells asked for.

    Raises:
        BadInput: when something given does not fit, or another sweep lies in the folder.
        KeyboardInterrupt: when it was interrupted; everything that was done is kept.
    """
    takes_seed = _takes_seed(train)
    wanted = cells_of(grid, seeds if takes_seed else None)
    if not takes_seed and not (isinstance(seeds, int) and seeds == 1):
        raise BadInput(f"{_name_of(train)} takes no seed: give it a parameter of that name, or leave seeds= out.")
    if not isinstance(train, Together):
        _check_parameters(train, wanted[0])
    else:
        train.groups([cell.settings for cell in wanted])  # refuses what it cannot train, before anything is written
    runner = engine_named(engine, processes=processes, retries=retries)
    folder = store.make_folder(out)
    lock = store.Lock(folder)
    try:
        units = _units(train, _lots(folder, train, wanted), {cell.key for cell in wanted}, needs or Needs())
        return _work(folder, train, units, wanted, runner, say or (lambda text: None), progress)
    finally:
        lock.release()


def open_sweep(folder: str | Path) -> Sweep:
    """Read what a sweep has found so far, also while it runs.

    Args:
        folder: of the sweep.

    Returns:
        All of its cells that are done.

    Raises:
        BadInput: when there is no sweep.
    """
    folder = Path(folder)
    if not (folder / SWEEP).is_file():
        raise BadInput(f"{folder} holds no sweep: give the folder that was its out=.")
    lots = [[Cell(one["settings"], one["seed"]) for one in lot] for lot in _described(folder)["lots"]]
    shelf = Shelf(folder)
    shelf.read()
    return _found(folder, shelf, [cell for lot in lots for cell in lot])


def _work(
    folder: Path,
    train: Train,
    units: Mapping[str, tuple[Unit, list[Cell]]],
    wanted: Sequence[Cell],
    runner: Engine,
    say: Callable[[str], object],
    progress: Progress | None,
) -> Sweep:
    shelf = Shelf(folder)
    shelf.read()
    store.sweep(shelf.folder, older_than=0)
    left = [unit for name, (unit, _) in units.items() if name not in shelf]
    count = sum(len(cells) for _, cells in units.values())
    done = count - sum(len(units[unit.name][1]) for unit in left)
    say(f"{_name_of(train)}: {count - done:,} of {count:,} cells are left, in {len(left):,} units, by {runner!r}.")
    tell = progress or (lambda done, total: None)
    tell(done, count)
    ledger = Ledger(runner, folder, f"sweep of {_name_of(train)}", done=len(units) - len(left), total=len(units))
    results = ledger.run(left)
    try:
        for result in results:
            cells = units[result.name][1]
            if result.failure is None:
                shelf.write(result.name, cells, result.value, result.seconds)
            done += len(cells)
            tell(done, count)
    finally:
        getattr(results, "close", lambda: None)()
        shelf.write_index()
    found = _found(folder, shelf, wanted)
    store.write_text(found.table, _csv(found.rows))
    return found


def _found(folder: Path, shelf: Shelf, wanted: Sequence[Cell]) -> Sweep:
    rows = {row.cell.key: row for row in shelf.rows()}
    ordered = tuple(rows[cell.key] for cell in wanted if cell.key in rows)
    return Sweep(folder, ordered, failures(folder), tuple(shelf.damaged))


def _call(train: Train, settings: Sequence[Mapping[str, Any]], seeds: Sequence[int | None]) -> list[Outcome]:
    """The unit of work: call the function for its cells."""
    cells = [Cell(one, seed) for one, seed in zip(settings, seeds, strict=True)]
    if isinstance(train, Together):
        returned: Sequence[Any] = train.many(settings, [seed or 0 for seed in seeds])
    else:
        returned = [train(**cell.settings, **({} if cell.seed is None else {"seed": cell.seed})) for cell in cells]
    return [outcome_of(one, cell) for one, cell in zip(returned, cells, strict=True)]


def _units(
    train: Train, lots: Sequence[Sequence[Cell]], wanted: set[str], needs: Needs
) -> dict[str, tuple[Unit, list[Cell]]]:
    """The units that hold wanted cells: what was asked for at one time is put together, so that it stays as it was."""
    units: dict[str, tuple[Unit, list[Cell]]] = {}
    for lot in lots:
        groups = [[k] for k in range(len(lot))]
        if isinstance(train, Together):
            groups = train.groups([cell.settings for cell in lot])
        for group in groups:
            cells = [lot[k] for k in group]
            if not any(cell.key in wanted for cell in cells):
                continue
            name = cells[0].name if len(cells) == 1 else f"stack-{digest(' '.join(cell.key for cell in cells))}"
            arguments = {
                "train": train,
                "settings": [cell.settings for cell in cells],
                "seeds": [cell.seed for cell in cells],
            }
            units[name] = (Unit(name, _call, arguments, threads=1, needs=needs), cells)
    return units


def _lots(folder: Path, train: Train, wanted: Sequence[Cell]) -> list[list[Cell]]:
    """All cells ever asked for here, by the time they were asked for first; what is new is written down."""
    described = _description(train)
    lots: list[list[Cell]] = []
    if (folder / SWEEP).is_file():
        before = _described(folder)
        if before["train"] != described:
            raise BadInput(
                f"{folder} holds a sweep of {_told(before['train'])}: go on with that one, or give another folder."
            )
        lots = [[Cell(one["settings"], one["seed"]) for one in lot] for lot in before["lots"]]
    elif (folder / UNITS).exists():
        raise BadInput(f"{folder} holds units of a sweep but no {SWEEP}: give another folder.")
    known = {cell.key for lot in lots for cell in lot}
    new = [cell for cell in wanted if cell.key not in known]
    if new:
        lots.append(new)
        plain = [[{"settings": dict(cell.settings), "seed": cell.seed} for cell in lot] for lot in lots]
        store.write_json(folder / SWEEP, {"schema": SCHEMA, "train": described, "lots": plain})
    return lots


def _described(folder: Path) -> dict[str, Any]:
    path = folder / SWEEP
    told = store.read_json(path)
    store.check_schema(told, path, SCHEMA)
    return told


def _description(train: Train) -> dict[str, Any]:
    to_json = getattr(train, "to_json", None)
    more = {"settings": to_json()} if callable(to_json) else {}
    plain: dict[str, Any] = json.loads(json.dumps({"function": _name_of(train), **more}))
    return plain


def _name_of(train: Any) -> str:
    if isinstance(train, Networks):
        return f"{train.model} on {train.data}"
    named = train if hasattr(train, "__qualname__") else getattr(train, "func", None) or type(train)
    return f"{named.__module__}:{named.__qualname__}"


def _told(described: Mapping[str, Any]) -> str:
    return str(described["function"]) + (" with other settings" if "settings" in described else "")


def _takes_seed(train: Train) -> bool:
    if not callable(train):
        raise BadInput(f"{train!r} is no function: give one that takes settings by name and returns numbers by name.")
    known = _parameters(train)
    return known is None or "seed" in known


def _check_parameters(train: Train, cell: Cell) -> None:
    known = _parameters(train)
    if known is None:
        return
    for name in cell.settings:
        if name not in known:
            raise BadInput(f"{_name_of(train)} has no parameter {name!r}: it has {', '.join(known) or 'none'}.")


def _parameters(train: Train) -> list[str] | None:
    """Names of a function's parameters; None where it takes any."""
    try:
        known = inspect.signature(train).parameters
    except (TypeError, ValueError):
        return None
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values()):
        return None
    return list(known)


def _cells(row: Row) -> dict[str, Any]:
    seed = {} if row.seed is None else {"seed": row.seed}
    return {**row.settings, **seed, **row.numbers}


def _columns(rows: Iterable[Row]) -> list[str]:
    settings: dict[str, None] = {}
    numbers: dict[str, None] = {}
    seeded = False
    for row in rows:
        settings.update(dict.fromkeys(row.settings))
        numbers.update(dict.fromkeys(row.numbers))
        seeded |= row.seed is not None
    return [*settings, *(["seed"] if seeded else []), *numbers]


def _csv(rows: Sequence[Row]) -> str:
    columns = _columns(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = _cells(row)
        writer.writerow([_written(cells.get(name)) for name in columns])
    return text.getvalue()


def _written(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value)
