"""How every figure looks, whoever draws it."""

from __future__ import annotations

from collections.abc import Mapping

# The colours that Okabe and Ito chose so that colour-blind readers tell them apart (jfly.uni-koeln.de/color); the
# lighter set keeps the same order on a dark ground.
LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00", "#56B4E9")
DARK = ("#56B4E9", "#F0894A", "#2CC99B", "#E19CC2", "#E6C229", "#7FA8FF")

# Colour is never alone: the second line of a figure is dashed and its marks are squares, and so on.
DASHES = ("solid", "dashed", "dotted", "dashdot")
MARKS = ("circle", "square", "diamond", "triangle")

INK: Mapping[str, str] = {"text": "#1d2327", "faint": "#5b656d", "grid": "#e3e6e8", "ground": "#ffffff"}

WIDTH, HEIGHT = 7.0, 3.6  # inches, of a figure drawn by matplotlib
FONT = ("Inter", "Helvetica Neue", "Helvetica", "Arial", "DejaVu Sans")


def nth(choices: tuple[str, ...], number: int) -> str:
    """Choose by number, beginning again after the last.

    Args:
        choices: what there is.
        number: which, from 0.

    Returns:
        The choice.
    """
    return choices[number % len(choices)]
