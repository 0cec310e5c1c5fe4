"""Engines by name, for the command line and for settings."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from landform.engine._in_process import InProcess
from landform.engine._processes import Processes, cores
from landform.engine._ray import Ray
from landform.engine._unit import Engine
from landform.errors import BadInput

EngineName: TypeAlias = Literal["inline", "local", "ray"] | str
_ADDRESS = re.compile(r"(ray://)?[^\s/:]+:\d+")


def engine_named(
    name: EngineName | Engine | None, *, processes: int | None = None, threads: int = 1, retries: int | None = None
) -> Engine:
    """Make an engine by name.

    Args:
        name: ``"inline"`` (here, one after the other), ``"local"`` (processes of this machine), ``"ray"`` (the Ray
            cluster of this machine, or a new one), ``"ray://host:port"`` or ``"host:port"`` (a cluster elsewhere); None
            takes ``"local"`` where there is more than one process, else ``"inline"``. An engine is returned as it is.
        processes: of ``"local"``; as many as there are cores by default.
        threads: torch threads for units that do not ask for a number.
        retries: how often a unit runs again when its process was lost; the engine's own number by default.

    Returns:
        The engine.

    Raises:
        BadInput: when there is no such engine.
    """
    if isinstance(name, Engine):
        return name
    count = cores() if processes is None else processes
    if name is None:
        name = "inline" if count == 1 else "local"
    if name == "inline":
        return InProcess(threads=threads)
    if name == "local":
        return Processes(count, threads=threads, retries=2 if retries is None else retries)
    if name == "ray":
        return Ray(threads=threads, retries=3 if retries is None else retries)
    if isinstance(name, str) and _ADDRESS.fullmatch(name):
        return Ray(name, threads=threads, retries=3 if retries is None else retries)
    raise BadInput(
        f"There is no engine {name!r}: give inline, local, ray, or the address of a cluster, ray://host:port."
    )
