"""Names that a room gives out, and loads only when somebody asks for them: importing landform stays quick."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def later(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """Make a package's ``__getattr__`` (PEP 562).

    Args:
        package: its ``__name__``.
        places: the module in it that has each name; "" for a name that is a module itself.

    Returns:
        A function from a name to what it stands for.
    """

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        place = places[name]
        module = importlib.import_module(f"{package}.{place or name}")
        return getattr(module, name) if place else module

    return get
