"""Grids: the settings and seeds that a sweep goes over."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from landform.errors import BadInput

Grid: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]]

_NAME = re.compile(r"[A-Za-z_]\w*")
_PLAIN = re.compile(r"[A-Za-z_][\w.]*")
_WORDS = {"true", "false", "null"}
_LONGEST = 80


@dataclass(frozen=True)
class Cell:
    """One place of a grid, with one seed.

    Attributes:
        settings: values by name; plain JSON.
        seed: the seed; None for a function that takes none.
    """

    settings: Mapping[str, Any]
    seed: int | None = None

    @property
    def key(self) -> str:
        """What tells it from other cells, whatever the order of its settings."""
        return json.dumps([self.settings, self.seed], sort_keys=True, separators=(",", ":"))

    @property
    def name(self) -> str:
        """What it is called: readable where that is possible, and the name of a file."""
        parts = {**self.settings, **({} if self.seed is None else {"seed": self.seed})}
        told = "+".join(f"{name}={_plain(value)}" for name, value in parts.items())
        exact = all(_is_plain(value) for value in parts.values()) and len(told) <= _LONGEST
        return told if exact and told else f"{told[:_LONGEST]}-{digest(self.key)}".lstrip("-.")


def cells_of(grid: Grid, seeds: int | Iterable[int] | None = 1) -> list[Cell]:
    """List the cells of a grid: every combination of values, each with every seed.

    Args:
        grid: values by name, such as ``{"lr": [0.1, 0.01], "width": [8, 16], "epochs": 5}`` (one value that is no
            list is the same everywhere); or the settings themselves, one mapping a cell.
        seeds: how many (0, 1, ...), or which; None for a function that takes none.

    Returns:
        The cells, those of one place in a row.

    Raises:
        BadInput: when there is none, or a value cannot be kept as JSON.
    """
    places = _product(grid) if isinstance(grid, Mapping) else [_settings(place) for place in grid]
    chosen: list[int | None]
    if seeds is None:
        chosen = [None]
    elif isinstance(seeds, bool) or (isinstance(seeds, int) and seeds < 1):
        raise BadInput(f"seeds is {seeds}: give at least 1, or a list of seeds.")
    else:
        chosen = list(range(seeds)) if isinstance(seeds, int) else [int(seed) for seed in seeds]
    cells = list({(cell := Cell(place, seed)).key: cell for place in places for seed in chosen}.values())
    if not cells:
        raise BadInput("The grid is empty: give each setting at least one value, and at least one seed.")
    return cells


def digest(text: str) -> str:
    """A short hash of a text.

    Args:
        text: any text.

    Returns:
        Sixteen figures and letters.
    """
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _product(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    values: dict[str, list[Any]] = {}
    for name, given in grid.items():
        one = isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable)
        values[name] = [given] if one else list(given)
    return [_settings(dict(zip(values, chosen, strict=True))) for chosen in itertools.product(*values.values())]


def _settings(place: Mapping[str, Any]) -> dict[str, Any]:
    for name in place:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BadInput(f"{name!r} cannot be a setting: give the name of a parameter, such as 'lr'.")
        if name == "seed":
            raise BadInput("The seed is no setting of a grid: give seeds= beside it.")
    try:
        return {name: json.loads(json.dumps(_item(value), allow_nan=False)) for name, value in place.items()}
    except (TypeError, ValueError) as why:
        raise BadInput(f"A value of the grid is not JSON ({why}): give numbers, strings, lists or dicts.") from None


def _item(value: Any) -> Any:
    """A number of numpy or torch as one of Python."""
    return value.item() if callable(getattr(value, "item", None)) else value


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return re.sub(r"[^A-Za-z0-9._=+-]", "-", text)


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return bool(_PLAIN.fullmatch(value)) and value not in _WORDS
    return value is None or isinstance(value, bool | int | float)
