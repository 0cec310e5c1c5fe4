"""``landform watch``."""

from __future__ import annotations

import json as json_of
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from landform.cli._show import _plain, going_on

if TYPE_CHECKING:
    from landform.live import Frame


def watch(
    run: Path,
    /,
    *,
    curve: str = "loss",
    every: float = 1.0,
    once: bool = False,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Follow a run in the terminal while it is trained or surveyed: its curve, and the newest measurements.

    It ends when the run does. Where the output is no terminal, a line is printed whenever something has changed.

    For example:

        landform watch runs/mine
        landform watch runs/mine --curve error
        landform watch runs/mine --once

    Args:
        run: the run's folder.
        curve: which curve to draw: one that the training loop told (loss, lr, ...), or a quantity that is measured.
        every: seconds between two looks.
        once: look once.
        json: print a line of JSON whenever something has changed.
    """
    from landform.live import watch as follow

    repaints = sys.stdout.isatty() and not json and not once
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    frames = follow(
        run,
        every=every,
        curve=curve,
        size=lambda: (shutil.get_terminal_size((80, 24)).columns, shutil.get_terminal_size((80, 24)).lines),
        plain=not encoding.startswith("utf"),
        once=once,
    )
    with going_on("The run itself goes on."):
        if repaints:
            _repaint(frames)
            return
        before = None
        for frame in frames:
            text = frame.text if once else frame.line
            if json:
                text = json_of.dumps(_plain(frame.standing.to_json()), allow_nan=False)
            if text != before:
                print(text, flush=True)
            before = text


def _repaint(frames: Iterator[Frame]) -> None:
    """Draw each frame over the one before."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), auto_refresh=False, vertical_overflow="crop") as place:
        for frame in frames:
            place.update(Text(frame.text, no_wrap=True, overflow="crop"), refresh=True)
