"""The headline of a run: a few numbers, and whether to trust them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from landform.report._material import Material


@dataclass(frozen=True)
class Fact:
    """One headline number.

    Attributes:
        key: its name in JSON.
        label: what it is.
        value: the number, or None where it was not measured.
        text: the number as the page writes it.
    """

    key: str
    label: str
    value: float | int | bool | None
    text: str


def facts(material: Material) -> list[Fact]:
    """The headline numbers of a run.

    Args:
        material: what was measured.

    Returns:
        Those that there are: last loss and error on each data set, distance, records, whether it diverged.
    """
    found: list[Fact] = []
    for name, label in (("loss", "loss"), ("error", "error")):
        measured = material.measured.get(name)
        for where in measured.sets if measured is not None else ():
            value = measured.last(where) if measured is not None else None
            text = _percent(value) if name == "error" else number(value)
            found.append(Fact(f"{where or 'last'}_{name}", f"{where or 'last'} {label}", value, text))
    for name, label in (("distance", "distance from start"), ("relative_distance", "distance / norm at start")):
        if name in material.measured:
            value = material.measured[name].last(material.measured[name].sets[0])
            found.append(Fact(name, label, value, number(value)))
    found.append(Fact("records", "recorded times", material.records, str(material.records)))
    diverged = material.diverged
    found.append(Fact("diverged", "diverged", diverged, "yes" if diverged else "no"))
    return found


def as_json(material: Material) -> dict[str, Any]:
    """The same as plain JSON, with the notes; a number that is not finite is null.

    Args:
        material: what was measured.

    Returns:
        The facts by key, and ``notes``.
    """
    plain: dict[str, Any] = {}
    for fact in facts(material):
        finite = not isinstance(fact.value, float) or math.isfinite(fact.value)
        plain[fact.key] = fact.value if finite else None
    return plain | {"parameters": material.parameters, "notes": list(material.notes)}


def number(value: float | None) -> str:
    """Write a number with four figures.

    Args:
        value: the number, or None.

    Returns:
        Text.
    """
    if value is None:
        return "not measured"
    if value and math.isfinite(value) and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.3e}"
    return f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2%}"
