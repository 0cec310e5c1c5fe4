"""``landform report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

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
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Write the page about a run: one file, which opens without a network.

    For example:

        landform report runs/mine
        landform report runs/mine --out mine.html --drawings svg

    Args:
        run: the run's folder.
        out: where the page shall lie; report.html in the run's folder by default.
        times: how time is drawn; auto is log where most records are early ones.
        drawings: also write every figure as a file of this kind, into a folder beside the page.
        json: print where the page is, and the headline numbers, as JSON.
    """
    if json:
        page, why = _page(run, out, times, drawings)
        answer({"report": None if page is None else str(page), **_numbers(run)})
    else:
        show(run, json=False)
        page, why = _page(run, out, times, drawings)
        if page is not None:
            say(f"The report is {page}.")
    if why is not None:
        raise why


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
