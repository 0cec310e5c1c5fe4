"""How many wedges have how much in common."""

from __future__ import annotations

import math

from landform.errors import BadInput
from landform.theory.wedges._toy import Orientation


def common_law(dimension: int, long: int, wedges: int, *, orientation: Orientation = "axes") -> float:
    """Expected dimension of the common part of m wedges.

    ``D (1 - s/D)^m`` where the short directions are axes drawn at random for each wedge, and ``D - m s`` where they are
    random directions, which are never shared.

    Args:
        dimension: D.
        long: n.
        wedges: m.
        orientation: of the wedges.

    Returns:
        The dimension, at least 0.

    Raises:
        BadInput: when the orientation is unknown.
    """
    short = dimension - long
    if orientation == "axes":
        return float(dimension * (1 - short / dimension) ** wedges)
    if orientation != "random":
        raise BadInput(f"orientation is {orientation!r}: give 'axes' or 'random'.")
    return float(max(0, dimension - wedges * short))


def most_connected(dimension: int, long: int, *, orientation: Orientation = "axes") -> int:
    """How many optima a connector of low loss can join: the most wedges that have a line in common.

    Args:
        dimension: D.
        long: n.
        orientation: of the wedges.

    Returns:
        ``floor((D - 1) / s)`` for random directions; for axes where ``D (1 - s/D)^m`` falls below 1.
    """
    short = dimension - long
    if orientation == "random":
        return (dimension - 1) // short
    if short == dimension:
        return 0
    return math.floor(math.log(dimension) / -math.log1p(-short / dimension) + 1e-9)
