"""What commands that record a run have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landform.cli._show import answer, say, table
from landform.errors import BadInput


def see_that_free(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse to record over a run unless it was said what shall become of it.

    Args:
        out: the folder to record in.
        resume: go on with the run that lies there.
        overwrite: replace it.

    Raises:
        BadInput: when there is a run and neither was given, or both were.
    """
    if resume and overwrite:
        raise BadInput("--resume goes on with a run and --overwrite replaces it: give one of them.")
    if (out / "run.json").exists() and not (resume or overwrite):
        raise BadInput(
            f"{out} holds a run already: --resume goes on with it, --overwrite replaces it, or give another --out."
        )


def recorded_at(records: int, every: int | None, until: int) -> int | tuple[int, ...]:
    """When to record.

    Args:
        records: how many times, log-spaced.
        every: record every so many steps instead.
        until: the last step.

    Returns:
        What recorders take.

    Raises:
        BadInput: when that is no time at all.
    """
    from landform.recording import log_spaced

    if records < 2:
        raise BadInput(f"--records is {records}: give at least 2, the start and the end.")
    if every is not None and every < 1:
        raise BadInput(f"--every is {every}: give at least 1.")
    return every or log_spaced(min(records, until + 1), until)


def say_run(out: Path, found: Mapping[str, Any], *, json: bool) -> None:
    """Say what came of a run that was recorded.

    Args:
        out: its folder.
        found: by name, ``diverged`` among them.
        json: as JSON.
    """
    if json:
        answer(dict(found))
        return
    texts = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in found.items()}
    texts["diverged"] = "yes" if found["diverged"] else "no"
    table([(name.replace("_", " "), text) for name, text in texts.items() if text is not None])
    say(f"Now: landform survey {out}")
