"""The toy that a network resembles, by what random planes of several dimensions reach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landform.errors import BadInput


@dataclass(frozen=True)
class FittedWedge:
    """A wedge whose square-root law goes through measured losses.

    Attributes:
        dimension: D.
        short: s, not a whole number.
        start: loss without a plane, L_0.
        residual: root of the mean squared difference of the losses from the law, as a share of L_0.
    """

    dimension: int
    short: float
    start: float
    residual: float

    @property
    def long(self) -> float:
        """In how many directions the wedge is long, n = D - s."""
        return self.dimension - self.short

    def law(self, planes: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        """The losses of the law.

        Args:
            planes: dimensions d.

        Returns:
            ``L_0 sqrt(1 - d / s)``, 0 beyond s.
        """
        return np.asarray(self.start * np.sqrt(np.clip(1 - np.asarray(planes, dtype=np.float64) / self.short, 0, None)))


def fit_wedge(dimension: int, planes: Sequence[float], losses: Sequence[float]) -> FittedWedge:
    """Fit ``L = L_0 sqrt(1 - d / s)`` to the best losses that planes of several dimensions reach.

    Args:
        dimension: D, for a network its number of parameters.
        planes: dimensions d of the planes, at least two different ones.
        losses: best losses in them, above the lowest loss there is.

    Returns:
        The wedge, by least squares of the losses.

    Raises:
        BadInput: when there are fewer than two dimensions, or the losses do not fall.
    """
    d, y = np.asarray(planes, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if d.shape != y.shape or d.ndim != 1 or len(set(d.tolist())) < 2 or not np.isfinite(y).all() or (y < 0).any():
        raise BadInput("A wedge is fitted to losses of at least 0, one for each of two or more plane dimensions.")

    def at(short: float) -> tuple[float, float]:
        root = np.sqrt(np.clip(1 - d / short, 0, None))
        power = float(root @ root)
        start = float(root @ y) / power if power else 0.0
        return float(((y - start * root) ** 2).mean()), start

    # For each s the best L_0 is known, so that one number is left to search; the law has kinks at each s = d.
    places = np.geomspace(max(d.min(), 1e-3) * (1 + 1e-9), float(dimension), 4000)
    best = min(places, key=lambda short: at(float(short))[0])
    error, start = at(float(best))
    if best >= places[-1] or not start > 0:
        raise BadInput("The losses do not fall with the dimension of the plane, so that no wedge is seen in them.")
    return FittedWedge(dimension, float(best), start, math.sqrt(error) / start)
