"""What a model may be asked for; everything else is refused in one sentence."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Collection, Sequence
from typing import Any

from landform.errors import BadInput


def whole(what: str, value: Any, least: int = 1) -> int:
    """Read a whole number.

    Args:
        what: its name in the message.
        value: the number.
        least: the smallest allowed.

    Returns:
        It, as an ``int``.

    Raises:
        BadInput: when it is not whole or too small.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise BadInput(f"{what} is {value!r}: give a whole number of at least {least}.")
    return number


def widths(what: str, value: Any) -> tuple[int, ...]:
    """Read one width a layer.

    Args:
        what: its name in the message.
        value: a sequence of whole numbers.

    Returns:
        The widths.

    Raises:
        BadInput: when it is not a sequence of whole numbers of at least 1, or holds none.
    """
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise BadInput(f"{what} is {value!r}: give a whole number, or a tuple with one for each layer.")
    return tuple(whole(f"{what}[{i}]", v) for i, v in enumerate(value))


def one_of(what: str, value: Any, allowed: Collection[str]) -> str:
    """Read a choice.

    Args:
        what: its name in the message.
        value: the choice.
        allowed: what it may be.

    Returns:
        The choice.

    Raises:
        BadInput: when it is none of them; the message lists them, the near ones first.
    """
    if isinstance(value, str) and value in allowed:
        return value
    near = difflib.get_close_matches(str(value), allowed, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? (all: {', '.join(allowed)})" if near else ""
    raise BadInput(f"{what} {value!r} is unknown: {hint or 'give one of ' + ', '.join(allowed) + '.'}")


def probability(what: str, value: Any) -> float:
    """Read a share that is dropped.

    Args:
        what: its name in the message.
        value: the share.

    Returns:
        It, as a ``float``.

    Raises:
        BadInput: when it is not in [0, 1).
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise BadInput(f"{what} is {value!r}: give a number in [0, 1).")
    return float(value)


def positive(what: str, value: Any) -> float:
    """Read a positive factor.

    Args:
        what: its name in the message.
        value: the factor.

    Returns:
        It, as a ``float``.

    Raises:
        BadInput: when it is not a positive, finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise BadInput(f"{what} is {value!r}: give a positive number.")
    return float(value)


def shape(inputs: Any, *, model: str, axes: tuple[str, ...] = ()) -> tuple[int, ...]:
    """Read the shape of one input.

    Args:
        inputs: the shape, without the batch.
        model: the model's name, for the message.
        axes: what the dimensions must be; none means any number of them.

    Returns:
        The shape.

    Raises:
        BadInput: when it is not a tuple of whole numbers of the right length.
    """
    expected = f"({', '.join(axes)}{',' if len(axes) == 1 else ''})" if axes else "a tuple such as (64,) or (1, 28, 28)"
    if not isinstance(inputs, Sequence) or isinstance(inputs, str) or not inputs or (axes and len(inputs) != len(axes)):
        raise BadInput(f"inputs of {model} is {inputs!r}: give the shape of one input without the batch, {expected}.")
    return tuple(whole(f"inputs[{i}] of {model}", v) for i, v in enumerate(inputs))


def image(inputs: Any, *, model: str, least: int = 8) -> tuple[int, int, int]:
    """Read the shape of one image.

    Args:
        inputs: channels, height, width.
        model: the model's name, for the message.
        least: the fewest pixels a side may have.

    Returns:
        Channels, height, width.

    Raises:
        BadInput: when it is not an image, or too small.
    """
    channels, height, width = shape(inputs, model=model, axes=("channels", "height", "width"))
    if min(height, width) < least:
        raise BadInput(
            f"{model} takes images of at least {least} x {least} pixels, not {height} x {width}: pad or enlarge them."
        )
    return channels, height, width
