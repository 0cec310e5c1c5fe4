"""``landform report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from landform.cli._reproduce import show_claims
from landform.cli._show import answer, say
from landform.cli._survey import show
from landform.errors import BadInput


def report(
    run: Path,
    /,
    *,
    out: Path | None = None,
    times: Literal["auto", "linear", "log"] = "auto",
    drawings: Literal["png", "svg"] | None = None,
    format: Literal["html", "pdf", "png"] = "html",
    gallery: Path | None = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Write the page about a run, or about a study: one file, which opens without a network.

    For example:

        landform report runs/mine
        landform report runs/mine --out mine.html --drawings svg
        landform report runs/mine --format pdf

    Args:
        run: the folder of a run, or of a study.
        out: where the page shall lie; report.html in the run's folder by default.
        times: how time is drawn; auto is log where most records are early ones.
        drawings: also write every figure as a file of this kind, into a folder beside the page.
        format: also print the page as a PDF, or as a picture (needs Chromium or Chrome).
        gallery: for a study, also write its claims, its figures and a page of Markdown below this folder.
        json: print where the page is, and the headline numbers, as JSON.
    """
    from landform.report import check_browser, is_study, print_page, write_gallery

    if format != "html":
        check_browser()
    page: Path | None
    why: BadInput | None
    if is_study(run):
        page, why = _study(run, out, times, drawings, json=json), None
    elif json:
        page, why = _page(run, out, times, drawings)
        answer({"report": None if page is None else str(page), **_numbers(run)})
    else:
        show(run, json=False)
        page, why = _page(run, out, times, drawings)
        if page is not None:
            say(f"The report is {page}.")
    if why is not None:
        raise why
    if gallery is not None:
        if not is_study(run):
            raise BadInput(f"{run} is no study: a gallery is made of studies, as 'landform reproduce' runs them.")
        say(f"Kept in {write_gallery(run, gallery)}.")
    if page is not None and format != "html":
        say(f"Printed as {print_page(page, format)}.")


def _study(
    folder: Path,
    out: Path | None,
    times: Literal["auto", "linear", "log"],
    drawings: Literal["png", "svg"] | None,
    *,
    json: bool,
) -> Path:
    from landform.report import gather_study
    from landform.report import report as write

    claims = gather_study(folder).claims
    page = write(folder, out, times=times, drawings=drawings)
    if json:
        answer({"report": str(page), "claims": [claim.to_json() for claim in claims]})
    else:
        show_claims(claims)
        say(f"The report is {page}.")
    return page


def _page(
    run: Path, out: Path | None, times: Literal["auto", "linear", "log"], drawings: Literal["png", "svg"] | None
) -> tuple[Path | None, BadInput | None]:
    """The page, or why there is none: the numbers are printed in any case."""
    from landform.report import report as write

    try:
        return write(run, out, times=times, drawings=drawings), None
    except BadInput as why:
        return None, why


def _numbers(run: Path) -> dict[str, object]:
    from landform.report import as_json, gather

    return as_json(gather(run))
