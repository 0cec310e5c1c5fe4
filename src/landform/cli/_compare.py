"""``landform compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from landform.cli._show import answer, say, table


def compare(
    runs: list[Path],
    /,
    *,
    out: Path = Path("compare.html"),
    times: Literal["auto", "linear", "log"] = "auto",
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Set runs side by side: where they end, what differs in how they were trained, every curve of all of them.

    For example:

        landform compare runs/a runs/b
        landform compare runs/a runs/b runs/c --out three.html

    Args:
        runs: the folders of two runs or more, each surveyed.
        out: where the page shall lie.
        times: how time is drawn; auto is log where most records are early ones.
        json: print what differs as JSON.
    """
    from landform.report import compare as write
    from landform.report import comparison

    found = comparison(runs, times)
    page = write(runs, out, times=times)
    if json:
        answer(
            {
                "report": str(page),
                "runs": list(found.names),
                "facts": {label: list(texts) for label, texts in found.facts},
                "differing": {label: list(texts) for label, texts in found.differing},
                "notes": list(found.notes),
            }
        )
        return
    table([(label, *texts) for label, texts in [*found.facts, *found.differing]], heads=("", *found.names))
    for note in found.notes:
        say(f"note: {note}")
    say(f"The page is {page}.")
