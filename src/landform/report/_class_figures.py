"""The figure of the Gauss-Newton matrix by class: outliers predicted against measured."""

from __future__ import annotations

import numpy as np

from landform.report._figure import Axis, Figure, Series
from landform.report._lines import Times
from landform.report._material import Material

_MOST = 6


def class_outliers(material: Material, times: Times = "auto") -> Figure | None:
    """Largest eigenvalues against those of the group means, at several times; None where they were not measured.

    Args:
        material: what was measured.
        times: unused; times are series here.

    Returns:
        The figure.
    """
    predicted, measured = material.spread.get("class_between"), material.spread.get("class_measured")
    if predicted is None or measured is None:
        return None
    both = (predicted.values > 0) & (measured.values > 0)
    seen = np.flatnonzero(both.any(axis=1))
    if not len(seen):
        return None
    chosen = seen[np.unique(np.linspace(0, len(seen) - 1, min(_MOST, len(seen))).round().astype(int))]
    series = [
        Series(
            f"epoch {measured.epochs[i]:.3g}",
            np.where(both[i], predicted.values[i], np.nan),
            np.where(both[i], measured.values[i], np.nan),
            "marked",
            n % _MOST,
        )
        for n, i in enumerate(chosen)
    ]
    # What is exactly zero but for rounding (one of C, mostly) would stretch the axis over many decades.
    least = 1e-4 * float(np.nanmax(measured.values[chosen]))
    shown = tuple(
        Series(one.name, np.where(one.x > least, one.x, np.nan), one.y, one.style, one.colour) for one in series
    )
    low = min(float(np.nanmin(one.x)) if np.isfinite(one.x).any() else np.inf for one in shown)
    high = float(np.nanmax(measured.values[chosen]))
    if not np.isfinite(low):
        return None
    ends = np.array([low, high])
    return Figure(
        "class-outliers",
        "Class outliers, predicted and measured" + (f" ({measured.set})" if measured.set else ""),
        "The largest eigenvalues of the Gauss-Newton matrix against those that the means of its groups (class of the "
        "sample by logit) have alone, rank by rank, at several times. On the line, group means make the outliers; the "
        "distance above it is the spread within groups. No point lies below.",
        "The two are compared by rank, not by direction. Eigenvalues below a ten-thousandth of the largest are left "
        "out.",
        Axis("eigenvalue of the group means (log scale)", "log"),
        Axis("eigenvalue of the matrix (log scale)", "log"),
        (Series("equal", ends, ends, "faint", 0), *shown),
    )
