"""A study as it is kept in a repository: its claims, its figures and a page of Markdown, without runs."""

from __future__ import annotations

import time
from pathlib import Path

from landform import store
from landform.report._draw import draw
from landform.report._page import check_installed, claim_value
from landform.report._study_page import StudyMaterial, gather_study
from landform.studies import write_claims


def write_gallery(study: str | Path, target: str | Path, *, commit: str = "") -> Path:
    """Write a study's claims, figures and page of Markdown into a folder, ``target/STUDY/SCALE``.

    Args:
        study: folder of the study.
        target: folder of the gallery.
        commit: of the code that made it, to be written down.

    Returns:
        The folder.

    Raises:
        BadInput: when there is no study, or nothing can be written.
    """
    check_installed()
    material = gather_study(study)
    described = store.read_json(Path(study) / "study.json")
    place = store.make_folder(Path(target) / described["study"] / described["scale"])
    write_claims(place, material.claims)
    figures = store.make_folder(place / "figures")
    for figure in material.figures:
        store.write_bytes(figures / f"{figure.name}.png", draw(figure))
    store.write_text(place / "index.md", _markdown(material, described["scale"], commit))
    return place


def _markdown(material: StudyMaterial, scale: str, commit: str) -> str:
    made = time.strftime("%Y-%m-%d") + (f", commit `{commit}`" if commit else "")
    lines = [
        f"# {material.title}: {scale}",
        "",
        material.sentence,
        "",
        material.verdict,
        "",
        f"Made {made}, by",
        "",
        "```",
        material.command,
        "```",
        "",
        "## What the paper says, and what was found",
        "",
        "| claim | the paper | here | verdict | why |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {claim.statement} | {claim.expected} | {claim_value(claim)} | *{claim.verdict}* | {_cell(claim.why)} |"
        for claim in material.claims
    ]
    lines += ["", "Intervals are 95% over seeds. Definitions are in `claims.json` beside this page.", ""]
    if material.controls:
        lines += ["## What changes the verdicts", "", "The same with one thing changed, at one seed each.", ""]
        lines += [
            f"| claim | as above | {' | '.join(material.controls)} |",
            "|---" * (2 + len(material.controls)) + "|",
        ]
        for claim in material.claims:
            others = [each.get(claim.id) for each in material.controls.values()]
            cells = ["" if other is None else f"{claim_value(other)}, *{other.verdict}*" for other in others]
            own = f"{claim_value(claim)}, *{claim.verdict}*"
            lines.append(f"| {claim.statement} | {own} | {' | '.join(cells)} |")
        lines.append("")
    for table in material.tables:
        lines += [f"## {table.title}", "", table.caption, "", f"| {' | '.join(table.head)} |"]
        lines.append("|---" * len(table.head) + "|")
        lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in table.rows]
        lines.append("")
    lines += ["## Figures", ""]
    for figure in material.figures:
        lines += [f"![{figure.title}](figures/{figure.name}.png)", "", figure.caption, "", f"*{figure.fools}*", ""]
    if material.notes:
        lines += ["## Notes", "", *(f"- {note}" for note in material.notes), ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
