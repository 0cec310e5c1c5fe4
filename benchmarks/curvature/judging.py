"""Whether an answer is right: within the tolerance that was asked for, of what `reference` found."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from reference import Truth


def eigenvalues(found: dict[str, Any], truth: Truth, tol: float) -> tuple[bool, str]:
    """The worst relative error of the eigenvalues, largest magnitude first."""
    values = sorted(found["values"], key=abs, reverse=True)
    worst = max(abs(a - b) / abs(b) for a, b in zip(values, truth.values, strict=True))
    return worst <= tol, f"worst error {worst:.1e}"


def trace(found: dict[str, Any], truth: Truth) -> tuple[bool, str]:
    """The error of a trace, against four standard errors of the two estimates."""
    probes = found.get("products", 0)
    bar = found.get("error_bar")
    if bar is None:  # the library gives none: what its probes can do
        bar = math.sqrt(2 / probes) * truth.off_diagonal
    allowed = 4 * math.hypot(bar, truth.trace_error) + 1e-4 * abs(truth.trace)
    off = found["value"] - truth.trace
    return abs(off) <= allowed, f"error {abs(off / truth.trace):.1%}, its bar {abs(bar / truth.trace):.1%}"


def product(found: dict[str, Any], sketch: list[float]) -> tuple[bool, str]:
    """The relative error of a product, on eight fixed directions."""
    a, b = np.array(found["sketch"]), np.array(sketch)
    off = float(np.linalg.norm(a - b) / np.linalg.norm(b))
    return off <= 1e-3, f"error {off:.0e}"


def density(found: dict[str, Any], truth: Truth, size: int) -> tuple[bool, str]:
    """What a quadrature from one random vector must keep: its mass, its mean, its top, and its second moment.

    The mean is z'Hz / P for a random z, so four standard deviations of that are allowed. Where only a smoothed density
    is given, its second moment holds the smoothing, and is left out as its top is.
    """
    nodes, weights = np.array(found["nodes"]), np.array(found["weights"])
    if weights.shape != nodes.shape:
        return False, f"weights {' x '.join(map(str, weights.shape))} for {len(nodes)} nodes"
    smooth = found.get("smooth", False)
    mass, mean = float(weights.sum()), float(weights @ nodes) * size
    if abs(mass - 1) > (0.02 if smooth else 1e-3):
        return False, f"mass {mass:.3f}"
    allowed = 4 * math.sqrt(2) * truth.frobenius + 4 * truth.trace_error
    if abs(mean - truth.trace) > allowed:
        return False, f"mean says trace {mean:.4g}, not {truth.trace:.4g}"
    if smooth:
        return True, "mass and mean right, smoothed"
    top = nodes[np.abs(nodes).argmax()]
    off = abs(top - truth.values[0]) / abs(truth.values[0])
    if off > 1e-3:
        return False, f"top node off by {off:.1e}"
    square, expected = float(weights @ nodes**2) * size, truth.frobenius**2
    spread = 4 * math.sqrt(2 * sum(v**4 for v in truth.values)) + 0.2 * expected
    if abs(square - expected) > spread:
        return False, f"second moment {square / expected:.2f} of the true one"
    return True, "mass, moments and top right"
