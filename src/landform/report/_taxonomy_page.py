"""The page about a table of measured networks: phases, claims, phase plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from landform import store
from landform.diagnosis import MEANING, PHASES, phase_table, phases, ranks
from landform.errors import BadInput
from landform.report._draw import draw
from landform.report._facts import Fact
from landform.report._material import Drawn
from landform.report._page import check_installed, study_page
from landform.report._study_page import StudyMaterial, Table, made_of
from landform.report._taxonomy_figures import correlation_map, phase_maps
from landform.studies import Claim

if TYPE_CHECKING:
    from landform.diagnosis import Finding, Grid, Thresholds


def taxonomy_claims(findings: Sequence[Finding]) -> list[Claim]:
    """What was found, as claims of a study.

    Args:
        findings: what a table says.

    Returns:
        The same, in the form that studies write.
    """
    return [Claim(**asdict(found)) for found in findings]


def taxonomy_material(
    grids: Sequence[Grid], claims: Sequence[Claim], thresholds: Thresholds, command: str = ""
) -> StudyMaterial:
    """Put together what the page says.

    Args:
        grids: of the table, the first the one that the claims are about.
        claims: the claims with their verdicts.
        thresholds: where the phases end.
        command: what makes the page again.

    Returns:
        The material.

    Raises:
        BadInput: when no cell of the grid has all that tells its phase.
    """
    first = grids[0]
    told = phases(first.table, thresholds)
    counted = Counter(told[told != ""].tolist())
    if not counted:
        raise BadInput(f"No cell of {first.table.source} ({first}) has both a training loss and a connectivity.")
    figures: list[Drawn] = [one for grid in grids[:1] for one in phase_maps(grid, thresholds)]
    for number, grid in enumerate(grids[1:], 2):
        figures += [_renamed(one, number) for one in phase_maps(grid, thresholds)]
    if (together := correlation_map(first.table)) is not None:
        figures.append(together)
    reproduced = sum(claim.verdict == "reproduced" for claim in claims)
    facts = [Fact(f"phase_{name}", f"cells in phase {name}", counted[name], str(counted[name])) for name in PHASES]
    facts.append(Fact("reproduced", "claims reproduced", reproduced, f"{reproduced} of {len(claims)}"))
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in Counter(c.verdict for c in claims).most_common())
    return StudyMaterial(
        title="A taxonomy of loss landscapes",
        sentence=f"{sum(counted.values())} cells of {first.table.source}: {first}.",
        verdict=f"{_verdict(first, thresholds)} Of the paper's claims: {verdicts}.",
        facts=tuple(facts),
        claims=tuple(claims),
        controls={},
        figures=tuple(figures),
        settings={
            "phases": {"flat": thresholds.flat, "poorly connected": thresholds.poor, "alike": thresholds.alike},
            "columns": {meaning.replace("_", " "): name for meaning, name in first.table.names.items()},
        },
        notes=(
            "Intervals of claims are over cells or lines of the grid, not over seeds: neighbours are not independent, "
            "so read them as the least there is to doubt.",
            *(f"Phase {name}: {meaning}." for name, meaning in MEANING.items()),
        ),
        command=command,
        provenance=made_of(
            "Yang, Hodgkinson, Theisen, Zou, Gonzalez, Ramchandran, Mahoney, NeurIPS 2021, arXiv 2107.11228"
        ),
        tables=tuple(_tables(first, thresholds)),
    )


def write_taxonomy(material: StudyMaterial, folder: str | Path) -> Path:
    """Write the page and its figures.

    Args:
        material: what it says.
        folder: where; ``report.html``, and ``figures/`` with a PNG of each figure.

    Returns:
        The page.

    Raises:
        BadInput: when the ``report`` extra is not installed, or nothing can be written there.
    """
    check_installed()
    place = store.make_folder(folder)
    figures = store.make_folder(place / "figures")
    for figure in material.figures:
        store.write_bytes(figures / f"{figure.name}.png", draw(figure))
    store.write_text(place / "report.html", study_page(material))
    return place / "report.html"


def _renamed(figure: Drawn, number: int) -> Drawn:
    return replace(figure, name=f"{figure.name}-{number}")


def _verdict(grid: Grid, thresholds: Thresholds) -> str:
    if "test_accuracy" not in grid:
        return "The table has no test accuracy, so phases are told but not judged."
    rows = [row for row in phase_table(grid.table, phases(grid.table, thresholds)) if row.count]
    best = max(rows, key=lambda row: row.accuracy)
    worst = min(rows, key=lambda row: row.accuracy)
    return (
        f"Networks of phase {best.phase} ({MEANING[best.phase]}) have the best mean test accuracy, "
        f"{best.accuracy:.1f}%; those of phase {worst.phase} the lowest, {worst.accuracy:.1f}%."
    )


def _tables(grid: Grid, thresholds: Thresholds) -> list[Table]:
    def number(value: float, digits: int) -> str:
        return "" if value != value else f"{value:.{digits}f}"

    rows = phase_table(grid.table, phases(grid.table, thresholds))
    found = [
        Table(
            "Phases",
            f"Mean over the cells of each phase ({grid}). Thresholds: {thresholds}.",
            ("phase", "cells", "test accuracy (%)", "best (%)", "mc (%)", "log lambda_1", "CKA"),
            tuple(
                (
                    row.phase, str(row.count), number(row.accuracy, 1), number(row.best, 2),
                    number(row.connectivity, 1), number(row.log_eigenvalue, 2), number(row.similarity, 3),
                )
                for row in rows
            ),
        )
    ]  # fmt: skip
    if "test_accuracy" in grid:
        found.append(
            Table(
                "Which measure ranks networks as their test accuracy does",
                "Rank correlations with test accuracy, over all cells and over those trained to zero loss.",
                ("measure", "cells", "how many", "Spearman", "Kendall"),
                tuple(
                    (
                        rank.measure.replace("_", " "), rank.among, str(rank.count), number(rank.spearman, 2),
                        number(rank.kendall, 2),
                    )
                    for rank in ranks(grid.table)
                ),
            )
        )  # fmt: skip
    return found
