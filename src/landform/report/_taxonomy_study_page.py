"""The page about the study of the taxonomy: phase plots of its grids, the sweep over widths, and pruned networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from landform.diagnosis import Grid, Thresholds, borders
from landform.report._figure import Axis, Numbers, Series
from landform.report._gather import one_line
from landform.report._heat import HeatAxis, HeatMap
from landform.report._lines import Times
from landform.report._material import Drawn
from landform.report._panels import Panel, Panels
from landform.report._study_page import StudyMaterial, Table, command_of, studied
from landform.report._taxonomy_figures import phase_maps
from landform.report._taxonomy_page import taxonomy_material
from landform.studies._taxonomy import TAXONOMY, taxonomy_cells
from landform.studies._taxonomy_claims import SWEPT_AT, nearest_to
from landform.studies._taxonomy_measure import signed
from landform.studies._taxonomy_protocol import TaxonomyProtocol
from landform.studies._taxonomy_pruning import ALIKE, POOR, REGIMES, pruned, regimes
from landform.studies._taxonomy_table import TABLE, grids_of, read_own_table, table_rows, write_table

# What is drawn of the further grids; of the first everything is.
_FURTHER = {
    "noise": ("test-accuracy", "train-loss", "log-eigenvalue", "connectivity", "similarity"),
    "data": ("test-accuracy", "log-trace", "connectivity", "similarity"),
    "labels": ("test-accuracy", "connectivity"),
}
Cells = Sequence[Mapping[str, Any]]


def gather(place: Path, times: Times = "auto") -> StudyMaterial:
    """Read everything that the page says, see `gather_study`."""
    study = studied(place, TAXONOMY, taxonomy_cells)
    protocol, claims = study.protocol, study.claims
    cells, cut = taxonomy_cells(place), pruned(place)
    if not (place / TABLE).is_file():
        write_table(place, table_rows(cells, protocol.steps))
    table = read_own_table(place, protocol.data)
    grids, at = grids_of(table), Thresholds()
    material = taxonomy_material([grids["width"]], claims, at, command_of(study.described))
    figures: list[Drawn] = [_sweep(protocol, cells, grids), *material.figures]
    for name, grid in grids.items():
        chosen = {f"map-{each}" for each in _FURTHER.get(name, ())}
        figures += [replace(m, name=f"{name}-{m.name}") for m in phase_maps(grid, at) if m.name in chosen]
    figures += [_steps(protocol, cells, grids["width"]), *_pruning_maps(cut)]
    networks = sum(len(cell["runs"]) for cell in cells)
    return replace(
        material,
        sentence=(
            f"{networks:,} networks ({protocol.model}, {protocol.data}) in {len(cells)} cells over width, batch size, "
            f"amount of data and label noise, {protocol.seeds} of each; {_curves(cells):,} curves between them."
        ),
        figures=tuple(figures),
        settings={
            **_settings(protocol),
            "phases": material.settings["phases"],
            "pruning": {"poorly connected": POOR, "alike": ALIKE, **_cut_settings(protocol)},
        },
        notes=(
            *_unfinished(protocol, cells),
            *material.notes,
            f"Mode connectivity is that after {2 * protocol.steps} steps of each curve, whose bend began "
            f"{protocol.begin} ({protocol.curve.optimizer}, step {protocol.curve.lr:g}, batches of "
            f"{protocol.curve.batch_size}); the table has it after {protocol.steps} too.",
            f"Eigenvalues and traces are of the Hessian on {protocol.samples} training samples; similarity is that of "
            "softmax outputs on training samples mixed in pairs.",
            *(f"Regime {name} of pruned networks: {meaning}." for name, meaning in REGIMES.items() if cut),
        ),
        tables=(*material.tables, *_noise_table(grids), *_pruning_table(cut)),
    )


def _unfinished(protocol: TaxonomyProtocol, cells: Cells) -> list[str]:
    wanted = len(protocol.cells())
    if len(cells) == wanted:
        return []
    return [f"{len(cells)} of {wanted} cells had been measured when this page was made; the same command goes on."]


def _curves(cells: Cells) -> int:
    return sum(len(cell["curves"]) for cell in cells)


def _settings(protocol: TaxonomyProtocol) -> dict[str, dict[str, Any]]:
    cells = protocol.cells()

    def values(name: str) -> str:
        return ", ".join(str(v) for v in sorted({getattr(cell, name) for cell in cells}, key=lambda v: (v is None, v)))

    return {
        "grid": {
            "cells": len(cells),
            "networks of a cell": protocol.seeds,
            "widths": values("width"),
            "batch sizes": values("batch_size"),
            "samples of each class": values("amount"),
            "shares of wrong labels": values("noise"),
        },
        "recipe": {key: one_line(value) for key, value in protocol.recipe.to_json().items() if value is not None},
        "curves": {
            "steps": 2 * protocol.steps,
            "begin": protocol.begin,
            "optimizer": protocol.curve.optimizer,
            "step": protocol.curve.lr,
            "batch size": protocol.curve.batch_size,
        },
        "data": {"name": protocol.data, **protocol.data_options},
        "model": {"name": protocol.model, **protocol.model_options},
    }


def _cut_settings(protocol: TaxonomyProtocol) -> dict[str, Any]:
    cut = protocol.pruning
    if cut is None:
        return {}
    return {
        "width": cut.width,
        "batch size": cut.batch_size,
        "epochs after the cut": cut.again,
        "cut": "the smallest weights of each matrix",
    }


def _sweep(protocol: TaxonomyProtocol, cells: Cells, grids: Mapping[str, Grid]) -> Panels:
    """Everything over width at one batch size, clean and noisy, with the spread over networks and pairs."""
    grid = grids["width"]
    batch = float(grid.temperatures[nearest_to(grid.temperatures, SWEPT_AT)])
    most = max(cell["data"] for cell in cells)
    noises = [0.0]
    if "noise" in grids:
        noises.append(grids["noise"].fixed["label_noise"])
    rows = {
        noise: sorted(
            (c for c in cells if c["batch_size"] == batch and c["data"] == most and c["label_noise"] == noise),
            key=lambda cell: float(cell["width"]),
        )
        for noise in noises
    }

    def panel(label: str, axis: Axis, take: Any) -> Panel:
        lines = []
        for place, noise in enumerate(noises):
            x = np.array([float(cell["width"]) for cell in rows[noise]])
            each = [np.array([v for v in take(cell) if v is not None], dtype=float) for cell in rows[noise]]
            mean = np.array([v.mean() if len(v) else np.nan for v in each])
            low = np.array([v.min() if len(v) else np.nan for v in each])
            high = np.array([v.max() if len(v) else np.nan for v in each])
            name = "clean labels" if not noise else f"{noise:.0%} of the labels wrong"
            lines.append(Series(name, x, mean, "marked", place, low=low, high=high, dash=place))
        return Panel(label, axis, tuple(lines))

    return Panels(
        "sweep",
        "What width does",
        f"At batch size {batch:g}: largest eigenvalue of the Hessian, mode connectivity mc after {2 * protocol.steps} "
        f"steps, CKA, test accuracy; means over {protocol.seeds} networks or their pairs, bands from the least to the "
        "most.",
        "Connectivity of noisy networks is that of curves which would have to fit the wrong labels all the way.",
        Axis("width", "log"),
        (
            panel("lambda_1", Axis("lambda_1", "log"), lambda cell: [run.get("eigenvalue") for run in cell["runs"]]),
            panel("mc (%)", Axis("mc (%)"), lambda cell: [signed(each["curve"]) for each in cell["curves"]]),
            panel("CKA", Axis("CKA"), lambda cell: cell["cka"]),
            panel("accuracy (%)", Axis("accuracy (%)"), lambda cell: [run["test_accuracy"] for run in cell["runs"]]),
        ),
    )


def _steps(protocol: TaxonomyProtocol, cells: Cells, grid: Grid) -> HeatMap:
    """How far connectivity moved when its steps were doubled."""
    most = max(cell["data"] for cell in cells)
    place = {
        (c["width"], c["batch_size"]): c for c in cells if c["data"] == most and not c["label_noise"] and c["curves"]
    }

    def moved(key: tuple[float, float]) -> float:
        if key not in place:
            return float("nan")
        curves = place[key]["curves"]
        return float(np.mean([signed(each["curve"]) - signed(each["half"]) for each in curves]))

    values = np.array([[moved((width, batch)) for width in grid.loads] for batch in grid.temperatures])
    return HeatMap(
        "steps",
        "What twice the steps do to connectivity",
        f"mc after {2 * protocol.steps} steps of the curves less that after {protocol.steps}, in points, with clean "
        "labels and all data. Where it is far from 0, mc is what the steps make it.",
        "A small change is no proof that more steps would change nothing.",
        HeatAxis("width", tuple(f"{value:g}" for value in grid.loads)),
        HeatAxis("batch size (hot at the top)", tuple(f"{value:g}" for value in grid.temperatures)),
        values,
        "points of mc",
        diverging=True,
    )


def _pruning_grid(cut: list[dict[str, Any]], name: str) -> tuple[list[float], list[float], Numbers]:
    densities, times = sorted({c["density"] for c in cut}), sorted({c["epochs"] for c in cut})
    by = {(c["epochs"], c["density"]): float(np.mean(c[name])) for c in cut}
    return densities, times, np.array([[by[t, d] for d in densities] for t in times])


def _pruning_maps(cut: list[dict[str, Any]]) -> list[HeatMap]:
    if not cut:
        return []
    densities, times, _ = _pruning_grid(cut, "test_accuracy")
    told = dict(zip(((c["epochs"], c["density"]) for c in cut), regimes(cut, POOR, ALIKE), strict=True))
    regions = np.array([[told[t, d] for d in densities] for t in times])
    marks = []
    for name in REGIMES:
        at = np.argwhere(regions == name)
        if len(at):
            row, column = at[((at - at.mean(0)) ** 2).sum(1).argmin()]
            marks.append((float(column), float(row), name))
    drawn = (
        ("test_accuracy", "Accuracy after pruning", "test accuracy (%)", False,
         "A network that is cut to a few weights cannot be good, however it was trained."),
        ("connectivity", "Linear connectivity after pruning", "linear mc (%)", True,
         "Both ends of a line begin from one cut network: they are closer than two that were trained apart."),
        ("cka", "Similarity after pruning", "CKA", False,
         "Outputs of networks that learned nothing are alike as well."),
    )  # fmt: skip
    meant = "; ".join(f"{name}: {meaning}" for name, meaning in REGIMES.items())
    return [
        HeatMap(
            f"pruning-{name}".replace("_", "-"),
            title,
            "Dense networks were trained for the epochs of a row (few: hot), cut to the density of a column, and "
            f"trained again twice. Lines are boundaries of regimes (poorly connected: below {POOR:g}%; alike: CKA of "
            f"{ALIKE:g} or more). {meant}.",
            fools,
            HeatAxis("density", tuple(f"{value:g}" for value in densities)),
            HeatAxis("epochs before the cut (hot at the top)", tuple(f"{value:g}" for value in times)),
            _pruning_grid(cut, name)[2],
            label,
            diverging,
            edges=tuple(borders(regions)),
            marks=tuple(marks),
        )
        for name, title, label, diverging, fools in drawn
    ]


def _noise_table(grids: Mapping[str, Grid]) -> list[Table]:
    if "noise" not in grids:
        return []
    grid = grids["noise"]
    noise, phases = grid.fixed["label_noise"], grid.phases()
    rows = []
    for column, width in enumerate(grid.loads):
        for row, batch in enumerate(grid.temperatures):
            values = (grid[name][row, column] for name in ("train_loss", "log_eigenvalue", "connectivity"))
            loss, sharp, mc = values
            alike, accuracy = grid["similarity"][row, column], grid["test_accuracy"][row, column]
            rows.append(
                (
                    f"{width:g}", f"{batch:g}", str(phases[row, column]), f"{loss:.3f}", f"{np.exp(sharp):.2f}",
                    f"{mc:.1f}", f"{alike:.2f}", f"{accuracy:.1f}",
                )
            )  # fmt: skip
    return [
        Table(
            f"The noisy grid: {noise:.0%} of the labels wrong",
            "Each cell with all data. Zero loss at a narrow width is flat, poorly connected, and worse than what was "
            "trained less far.",
            ("width", "batch size", "phase", "training loss", "lambda_1", "mc (%)", "CKA", "test accuracy (%)"),
            tuple(rows),
        )
    ]


def _pruning_table(cut: list[dict[str, Any]]) -> list[Table]:
    if not cut:
        return []
    told = regimes(cut, POOR, ALIKE)
    return [
        Table(
            "Pruned networks",
            "Means over dense networks: trained for so many epochs, cut to a density, trained again twice.",
            ("density", "epochs before", "regime", "training error (%)", "linear mc (%)", "CKA", "test accuracy (%)"),
            tuple(
                (
                    f"{c['density']:g}", f"{c['epochs']:g}", regime, f"{np.mean(c['train_error']):.1f}",
                    f"{np.mean(c['connectivity']):.1f}", f"{np.mean(c['cka']):.3f}",
                    f"{np.mean(c['test_accuracy']):.1f}",
                )
                for c, regime in zip(cut, told, strict=True)
            ),
        )
    ]  # fmt: skip
