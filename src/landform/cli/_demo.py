"""``landform demo``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from landform.cli._choose import Choice
from landform.cli._show import answer, say, table
from landform.cli._survey import measure
from landform.cli._threads import few, threads
from landform.cli._train import train_and_record
from landform.errors import BadInput

_MODEL = Choice("mlp", {"width": 64, "seed": 0})
_DATA = Choice("digits")


def demo(
    *,
    out: Path = Path("runs/demo"),
    epochs: float = 30.0,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Train a small net on handwritten digits, measure its run, and write the page about it.

    Takes well under a minute on a laptop, and needs no network. Run again, it goes on where it was stopped, and
    writes the page anew.

    For example:

        landform demo
        landform demo --out runs/demo

    Args:
        out: the folder for the run and its page.
        epochs: how long to train.
        json: print what was found as JSON.
    """
    from landform.report import as_json, facts, gather
    from landform.report import report as write
    from landform.training import Recipe

    started = time.perf_counter()
    again = f"landform demo --out {out} goes on where it stopped."
    recipe = Recipe(epochs=epochs, batch_size=32, lr=0.05, schedule="cosine")
    with threads(few()):
        say(f"Training a small net on handwritten digits, recorded in {out} ...")
        train_and_record(out, _MODEL, _DATA, recipe, again=again, device="cpu", resume=True)
        say("Measuring along the run, on training and test digits ...")
        measure(out, _MODEL, _DATA, device="cpu")
    material = gather(out)
    try:
        page: Path | None = write(out)
    except BadInput as why:
        page = None
        say(f"landform: There is no page, but the numbers are here. {why}")
    seconds = time.perf_counter() - started
    if json:
        found = as_json(material)
        answer({"run": str(out), "report": None if page is None else str(page), "seconds": round(seconds, 1), **found})
        return
    rows = [(fact.label, fact.text) for fact in facts(material)]
    table([*rows, ("time", f"{seconds:.1f} s")], title="A net of 3 layers on 1,000 digits")
    for note in material.notes:
        say(f"note: {note}")
    if page is not None:
        print(f"The report is {page}: open it in a browser.", flush=True)
