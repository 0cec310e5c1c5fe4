"""Settings of methods, and what is said of values they cannot take."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from landform.merging._method import Setting


def number(
    default: float | None,
    doc: str,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
    each: bool = False,
) -> Setting:
    """A setting that is a number.

    Args:
        default: its value if not given; None lets the method choose, and is then allowed.
        doc: what it does.
        low: the least it may be.
        high: the most it may be.
        above: whether it has to lie above ``low``.
        below: whether it has to lie below ``high``.
        each: whether each source may have its own.

    Returns:
        The setting.
    """
    if math.isfinite(low) and math.isfinite(high):
        where = f" in {'(' if above else '['}{low:g}, {high:g}{')' if below else ']'}"
    elif math.isfinite(low):
        where = f" above {low:g}" if above else f" of at least {low:g}"
    else:
        where = ""

    def wrong(value: Any) -> str:
        if value is None and default is None:
            return ""
        real = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        fits = real and (value > low if above else value >= low) and (value < high if below else value <= high)
        return "" if fits else f"give a number{where}"

    return Setting(default, doc, wrong, each)


def whole(default: int, doc: str, least: int) -> Setting:
    """A setting that is a whole number.

    Args:
        default: its value if not given.
        doc: what it does.
        least: the least it may be.

    Returns:
        The setting.
    """

    def wrong(value: Any) -> str:
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
        return "" if fits else f"give a whole number of at least {least}"

    return Setting(default, doc, wrong)


def choice(default: str, doc: str, *options: str) -> Setting:
    """A setting that is one of a few words.

    Args:
        default: its value if not given.
        doc: what it does.
        *options: the words.

    Returns:
        The setting.
    """
    words = ", ".join(map(repr, options[:-1])) + f" or {options[-1]!r}"
    return Setting(default, doc, lambda value: "" if value in options else f"give {words}")


def flag(default: bool, doc: str) -> Setting:
    """A setting that is on or off.

    Args:
        default: its value if not given.
        doc: what it does.

    Returns:
        The setting.
    """
    return Setting(default, doc, lambda value: "" if isinstance(value, bool) else "give True or False")
