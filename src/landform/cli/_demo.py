"""``landform demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from landform.cli._reproduce import run_study


def demo(
    *,
    out: Path = Path("runs/demo"),
    scale: Literal["small", "tiny"] = "small",
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Reproduce a paper in miniature: when does a network stop being a chaos, and become a kernel machine?

    Trains a few small networks on sums of handwritten digits, lets children leave them at several times, measures all
    of it, and writes a page. Takes about five minutes on two cores, and needs no network. Run again, it goes on where
    it was stopped.

    For example:

        landform demo
        landform demo --scale tiny --out runs/first-look

    Args:
        out: the folder of the study and its page.
        scale: small shows the story; tiny takes seconds, and shows what the page looks like.
        json: print the claims as JSON.
    """
    run_study(out, scale=scale, json=json)
