"""The taxonomy of loss landscapes over load and temperature (Yang et al. 2021), and of pruned networks.

A grid of networks is trained and measured cell by cell; what is left in the end is a table that `lf.diagnosis` reads,
and the claims held against it: see `docs/taxonomy-study.md`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

from landform import store
from landform.engine import Unit
from landform.studies._claim import Claim
from landform.studies._parts import STUDY, Asked, Made, conduct
from landform.studies._taxonomy_claims import TOLERANCE, claims_of_taxonomy
from landform.studies._taxonomy_measure import RESULTS, measure_group
from landform.studies._taxonomy_protocol import SCALES, Cell, TaxonomyProtocol
from landform.studies._taxonomy_pruning import PRUNING, measure_pruned, pruned
from landform.studies._taxonomy_table import moved, read_own_table, table_rows, write_table

NAME = "taxonomy"
QUESTION = "which knob of a network to turn: phases of loss landscapes over load and temperature (Yang et al. 2021)"
SCHEMA = 1
Progress = Callable[[int, int], object]


def taxonomy_study(out: str | Path, **asked: Unpack[Asked[TaxonomyProtocol]]) -> list[Claim]:
    """Train a grid of networks, measure it, and hold the claims against the table; goes on where it was stopped.

    The scales are ``"small"`` (digits, minutes), ``"medium"`` (CIFAR-10, less than an hour), ``"paper"`` (ResNet18,
    a cluster), or ``"tiny"``, to see in seconds what comes out.

    Args:
        out: folder for the results, ``table.csv``, ``claims.json`` and the report.
        **asked: ``scale``, ``seeds`` and whatever else `Asked` tells of.

    Returns:
        The claims.

    Raises:
        BadInput: when something given does not fit, or another study lies in the folder.
    """
    claims = conduct(TAXONOMY, out, **asked)
    cells, say = taxonomy_cells(out), asked.get("say")
    far = sum(abs(value) > TOLERANCE for value in moved(cells))
    if far and say is not None:
        steps = int(store.read_json(Path(out) / STUDY)["protocol"]["steps"])
        say(
            f"Warning: mode connectivity of {far} of {len(cells)} cells moves by more than {TOLERANCE:g} point when "
            f"the steps of its curves are doubled to {2 * steps}: networks are at least as connected as it says."
        )
    return claims


def taxonomy_cells(folder: str | Path) -> list[dict[str, Any]]:
    """What was measured of each cell of the grid.

    Args:
        folder: of the study.

    Returns:
        The cells there are, by width, data, noise and batch size.
    """
    found: list[dict[str, Any]] = []
    for path in sorted(Path(folder, RESULTS).glob("*.json")):
        if path.stem != PRUNING:
            found += store.read_json(path)["cells"]
    return sorted(found, key=lambda c: (c["width"], c["data"], c["label_noise"], c["batch_size"]))


def parts_of(protocol: TaxonomyProtocol, folder: Path, device: str) -> list[Unit]:
    """The units of work of a study, those that take longest first.

    Args:
        protocol: the study's.
        folder: of the study.
        device: where to train and to measure.

    Returns:
        One for each width and amount of data, and each batch size where networks are too large for stacks; and one for
        the pruned networks.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in protocol.cells():
        amount = "all" if cell.amount is None else str(cell.amount)
        name = f"width-{cell.width}-data-{amount}" + (f"-batch-{cell.batch_size}" if protocol.apart else "")
        groups.setdefault(name, []).append(cell)
    shared = {"folder": folder, "protocol": protocol, "device": device}
    units = []
    if protocol.pruning is not None:
        units.append(Unit(PRUNING, measure_pruned, shared))
    ordered = sorted(groups, key=lambda name: -sum(_cost(cell) for cell in groups[name]))
    return units + [Unit(name, measure_group, {**shared, "cells": groups[name], "name": name}) for name in ordered]


def _cost(cell: Cell) -> float:
    """Grows with the time that a cell takes: small batches make many steps, wide networks long ones."""
    return (cell.amount or 1) * (math.sqrt(cell.width) / cell.batch_size + cell.width / 100)


def _sentence(chosen: TaxonomyProtocol) -> str:
    cells = len(chosen.cells())
    return f"Training {cells * chosen.seeds} networks in {cells} cells on {chosen.data}"


def _judged(chosen: TaxonomyProtocol, folder: Path, name: str) -> list[Claim]:
    cells = taxonomy_cells(folder)
    write_table(folder, table_rows(cells, chosen.steps))
    return claims_of_taxonomy(chosen, read_own_table(folder, chosen.data), cells, pruned(folder), name)


TAXONOMY = Made(NAME, SCHEMA, SCALES, TaxonomyProtocol.from_json, _sentence, parts_of, _judged, Path)
