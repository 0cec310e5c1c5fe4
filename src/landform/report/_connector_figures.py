"""Figures of connectors of many optima."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from landform.errors import BadInput
from landform.report._figure import Axis, Figure, Series

if TYPE_CHECKING:
    from landform.paths import Connector

_KINDS = {"star": "stars", "bezier": "bent simplices", "pieces": "simplices in pieces"}
# What of a connector's inside is drawn, what it is called, and how: for the loss, and for the error.
_READ: dict[bool, tuple[tuple[str, str, Literal["marked", "line"]], ...]] = {
    False: (("highest", "highest", "marked"), ("mean", "mean", "line")),
    True: (("error_highest", "highest", "marked"), ("error_mean", "mean", "line")),
}


def connectors(found: Sequence[Connector], *, error: bool = False, on: str | None = None) -> Figure:
    """Loss, or error, inside connectors by how many optima they join, beside the plain ones.

    Args:
        found: connectors of one kind, of other numbers of optima each.
        error: the share of wrong labels instead of the loss.
        on: one of the further data sets that they were read on; None for the one they were trained on.

    Returns:
        The figure.

    Raises:
        BadInput: when there is none, they are of several kinds, join the same number, or were not read so.
    """
    kinds = sorted({one.kind for one in found})
    ordered = sorted(found, key=lambda one: len(one.trained.optima))
    numbers = [len(one.trained.optima) for one in ordered]
    if len(kinds) != 1:
        raise BadInput(f"A figure shows connectors of one kind; these are of {', '.join(kinds) or 'none'}.")
    if len(set(numbers)) < len(numbers):
        raise BadInput("Two of the connectors join the same number of optima: give one for each number.")
    if on is not None and any(on not in one.on for one in found):
        raise BadInput(f"The connectors were not all read on {on!r}: give on={{{on!r}: ...}} to paths.connector.")
    if error and any(one.trained.inside.error_mean is None for one in found):
        raise BadInput("The connectors were read on data without labels, so there is no error: leave error out.")
    readings = [(one.trained, one.plain) if on is None else one.on[on] for one in ordered]
    x = np.asarray(numbers, dtype=np.float64)
    series = tuple(
        Series(
            f"{name}, {told}",
            x,
            np.asarray([getattr(pair[place].inside, field) for pair in readings], dtype=np.float64),
            style,
            colour,
        )
        for place, name, colour in ((1, "plain", 1), (0, "trained", 0))
        for field, told, style in _READ[error]
    )
    steps = sorted({one.steps for one in found})
    trained = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    what = "share of wrong labels" if error else "loss"
    positive = all(bool((one.y > 0).all()) for one in series)
    log = positive and not error
    return Figure(
        f"connectors-{kinds[0]}{'-error' if error else ''}",
        f"Optima joined by {_KINDS[kinds[0]]}{f' ({on})' if on else ''}",
        f"Highest and mean {what} at {len(found[0].trained.inside.losses):,} points inside, after {trained} steps that "
        "began on the plain star or simplex of the same optima. Low and flat: there is a set of as many dimensions, "
        "less one, on which the network does as well as at its corners.",
        "The highest of so many points is not the highest there is. More optima need more steps: part of the rise with "
        "their number is a training that is not done.",
        Axis("optima joined"),
        Axis(what, percent=True)
        if error
        else Axis(f"mean {what}{' (log scale)' if log else ''}", "log" if log else "linear"),
        series,
    )
