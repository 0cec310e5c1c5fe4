"""Runs while they go on: in the terminal, and as pages on this machine.

`watch` follows one run and yields what a terminal shows; `serve` answers a browser with the pages of a folder of runs;
`look` tells how every run of a folder stands. Nothing here writes into a run, beside the index of its atlas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from landform.live._folder import Found
from landform.live._runs import Runs, look
from landform.live._standing import Standing

if TYPE_CHECKING:
    from landform.live._server import Server, serve
    from landform.live._watch import Frame, watch

__all__ = ["Found", "Frame", "Runs", "Server", "Standing", "look", "serve", "watch"]

# Loaded at their first use: who watches needs no server, and the other way round.
_HOMES = {"Frame": "_watch", "Server": "_server", "serve": "_server", "watch": "_watch"}


def __getattr__(name: str) -> Any:
    """Load what is first used."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"landform.live.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'landform.live' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What there is, loaded or not."""
    return sorted({*globals(), *__all__})
