"""Settings that cannot be are refused by name, with what can."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from landform.errors import BadInput

# What holds of a setting, and how that is said.
Fits = tuple[Callable[[Any], bool], str]

POSITIVE: Fits = (lambda value: 0 < value < math.inf, "a number above 0")
NOT_NEGATIVE: Fits = (lambda value: 0 <= value < math.inf, "0 or a number above")
BELOW_ONE: Fits = (lambda value: 0 <= value < 1, "0 or more, and less than 1")
SHARE: Fits = (lambda value: 0 <= value <= 1, "a share, from 0 to 1")
PART: Fits = (lambda value: 0 < value <= 1, "a share above 0, up to 1")
COUNT: Fits = (lambda value: isinstance(value, int) and value >= 1, "a whole number of at least 1")


def one_of(*names: str) -> Fits:
    """Whether a setting is one of a few names.

    Args:
        *names: the names.

    Returns:
        What holds, and how that is said.
    """
    return lambda value: value in names, f"{', '.join(map(repr, names[:-1]))} or {names[-1]!r}"


def check(what: str, settings: object, fits: Mapping[str, Fits]) -> None:
    """Refuse settings that do not fit.

    Args:
        what: they are of, as the sentence calls it.
        settings: holds them by name.
        fits: what holds of each.

    Raises:
        BadInput: for the first that does not fit.
    """
    for name, (fine, instead) in fits.items():
        value = getattr(settings, name)
        try:
            fitting = fine(value)
        except TypeError:  # no number
            fitting = False
        if not fitting:
            raise BadInput(f"The {what}'s {name} cannot be {value!r}: give {instead}.")
