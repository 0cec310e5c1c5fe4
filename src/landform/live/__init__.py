"""Runs while they go on: in the terminal, and as pages on this machine.

`watch` follows one run and yields what a terminal shows; `serve` answers a browser with the pages of a folder of runs;
`look` tells how every run of a folder stands. Nothing here writes into a run, beside the index of its atlas.
"""

from landform.live._folder import Found
from landform.live._runs import Runs, look
from landform.live._server import Server, serve
from landform.live._standing import Standing
from landform.live._watch import Frame, watch

__all__ = ["Found", "Frame", "Runs", "Server", "Standing", "look", "serve", "watch"]
