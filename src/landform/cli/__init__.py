"""The command line: ``landform demo | train | survey | report | list | info``."""

from landform.cli._main import main

__all__ = ["main"]
