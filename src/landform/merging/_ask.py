"""What a user asks of a method, checked before anything is read."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from landform.errors import BadInput
from landform.merging._method import Asked, Method, Per, Setting


def ask(
    method: Method,
    names: Sequence[str],
    *,
    base: bool,
    weights: Sequence[float] | Tensor | None = None,
    settings: Mapping[str, Any] | None = None,
    per: Per | None = None,
    seed: int = 0,
) -> Asked:
    """Check what is asked of a method.

    Args:
        method: the method.
        names: of the sources, as messages call them.
        base: whether there is a base.
        weights: one for each source, or None for ones.
        settings: those given, by name.
        per: ``"point"``, ``"tensor"``, or None for the method's own way.
        seed: of what is drawn at random.

    Returns:
        What is asked, with every setting.

    Raises:
        BadInput: when the method cannot do it; the message says what to give instead.
    """
    if method.base and not base:
        raise BadInput(f"{method.name} works on differences from a base: give base=, the point the sources came from.")
    count = len(names)
    least = method.least if method.least is not None else 1 if method.base else 2
    if count < least or (method.most is not None and count > method.most):
        wanted = (
            f"{least}" if least == method.most else f"at least {least}" if count < least else f"at most {method.most}"
        )
        advice = "give more" if count < least else "merge fewer at a time"
        ending = "" if wanted.endswith(" 1") or wanted == "1" else "s"
        raise BadInput(f"{method.name} merges {wanted} source{ending}, and {count} given: {advice}.")
    if per not in (None, "point", "tensor"):
        raise BadInput(f"per is {per!r}: give 'point' or 'tensor', over which a method gathers what it has to know.")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise BadInput(f"seed is {seed!r}: give a whole number.")
    every = _settings(method, settings or {}, count)
    asked = Asked(count, _weights(method, weights, count), every, per or method.per, seed, tuple(names), base)
    if wrong := method.wrong(asked):
        raise BadInput(wrong)
    return asked


def nearest(word: str, among: Iterable[str]) -> str:
    """Suggest what may have been meant.

    Args:
        word: what was written.
        among: what could have been.

    Returns:
        A question to put after a sentence, or "".
    """
    found = difflib.get_close_matches(word, list(among), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _weights(method: Method, given: Sequence[float] | Tensor | None, count: int) -> tuple[float, ...]:
    if given is None:
        return (1.0,) * count
    if not method.weighted:
        raise BadInput(f"{method.name} finds the weights by itself: leave weights= out.")
    try:
        weights = tuple(float(weight) for weight in given)
    except (TypeError, ValueError):
        raise BadInput(f"weights is {given!r}: give one number for each source.") from None
    if len(weights) != count:
        raise BadInput(f"There are {len(weights)} weights for {count} sources: give one for each.")
    if not all(map(math.isfinite, weights)):
        raise BadInput(f"weights are {weights}: each has to be a finite number.")
    return weights


def _settings(method: Method, given: Mapping[str, Any], count: int) -> dict[str, Any]:
    for name in given:
        if name not in method.settings:
            has = ", ".join(method.settings) or "none"
            raise BadInput(
                f"{method.name} has no setting {name!r}{nearest(name, method.settings)}: its settings are {has}."
            )
    return {
        name: _value(method, name, setting, given.get(name, setting.default), count)
        for name, setting in method.settings.items()
    }


def _value(method: Method, name: str, setting: Setting, value: Any, count: int) -> Any:
    if setting.each and isinstance(value, Sequence | Tensor) and not isinstance(value, str):
        each = tuple(value.tolist() if isinstance(value, Tensor) else value)
        if len(each) != count:
            raise BadInput(
                f"{name} of {method.name} has {len(each)} values for {count} sources: give one number, or one for each."
            )
        return tuple(_value(method, name, setting, one, count) for one in each)
    if advice := setting.wrong(value):
        raise BadInput(f"{name} of {method.name} is {value!r}: {advice}.")
    return value
