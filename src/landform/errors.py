"""What landform says when it is given something it cannot use: one sentence, with what to do about it."""

from __future__ import annotations

import importlib
from types import ModuleType


class BadInput(ValueError):
    """Something given to landform cannot be used; the message is one sentence: what, where, what to do.

    The command line prints the message alone and exits with 2.
    """


class Damaged(BadInput):
    """A file that landform wrote has been cut short or changed since; the message names it."""


def try_import(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Args:
        module: the module to import, e.g. ``"plotly"``.
        extra: the extra of landform that installs it, e.g. ``"report"``.

    Returns:
        The imported module.

    Raises:
        BadInput: when it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name != module.partition(".")[0]:
            raise
        raise BadInput(f"This needs {missing.name}, which is not installed: pip install 'landform[{extra}]'.") from None
