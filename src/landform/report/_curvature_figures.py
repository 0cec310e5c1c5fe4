"""Figures of curvature along a run, described from what was measured."""

from __future__ import annotations

import numpy as np

from landform.report._figure import Axis, Figure, Series
from landform.report._lines import OTHER, Times, along, time_axis, value_axis
from landform.report._material import Material, Spread


def sharpness(material: Material, times: Times = "auto") -> Figure | None:
    """Sharpness along the run beside the largest at which the step is stable; None where it was not measured."""
    figure = along(
        material,
        "sharpness",
        times,
        title="The edge of stability",
        label="sharpness",
        caption="Largest eigenvalue of the Hessian (for Adam, of the Hessian as its steps see it) beside the largest "
        "at which the optimiser's next step is stable: 2 / lr for gradient descent, (2 + 2 beta) / lr with momentum "
        "beta. Where the sharpness reaches the threshold, full-batch training hovers there instead of diverging.",
        fools="The threshold is that of a quadratic loss and of full-batch steps; the noise of small batches makes "
        "steps unstable earlier. With a decaying learning rate the threshold rises away from any sharpness.",
    )
    edge = material.measured.get("stability_threshold")
    if figure is None or edge is None or not np.isfinite(edge.values).any():
        return figure
    line = Series(
        "threshold", edge.epochs, np.where(np.isfinite(edge.values[0]), edge.values[0], np.nan), "line", OTHER
    )
    series = (*figure.series, line)
    return Figure(figure.name, figure.title, figure.caption, figure.fools, figure.x,
                  value_axis("sharpness", series, "auto"), series)  # fmt: skip


def eigenvalues(material: Material, times: Times = "auto") -> Figure | None:
    """The largest eigenvalues along the run; None where they were not measured."""
    spread = material.spread.get("eigenvalues")
    if spread is None or not np.isfinite(spread.values).any():
        return None
    series = _columns(spread, "eigenvalue")
    return Figure(
        "eigenvalues",
        f"Largest eigenvalues of the Hessian{_on(spread)}",
        "The largest eigenvalues of the Hessian at the recorded times. A net that tells C classes apart has C or C - 1 "
        "of them well above the rest once it has begun to learn.",
        "They grow and shrink with the loss and with the scale of the weights: a late fall need not be a wider valley.",
        time_axis(times, spread.epochs),
        value_axis("eigenvalue", series, "auto"),
        series,
    )


def gradient_in_top(material: Material, times: Times = "auto") -> Figure | None:
    """The gradient's share in the span of the top eigenvectors; None where it was not measured."""
    spread = material.spread.get("gradient_in_top")
    if spread is None or not np.isfinite(spread.values).any():
        return None
    return Figure(
        "gradient-in-top",
        f"How much of the gradient lies in the top directions{_on(spread)}",
        "Share of the squared length of the full-data gradient in the span of the first 1, 2, ... eigenvectors of the "
        "Hessian. Near 1 the gradient points across the steep directions and hardly along the valley.",
        "It is the full gradient's: that of a small batch holds less. Full-batch descent with small steps can make it "
        "zero, noise with large steps makes it large.",
        time_axis(times, spread.epochs),
        Axis("share of the gradient", limits=(-0.02, 1.02), percent=True),
        _columns(spread, "first"),
    )


def trace(material: Material, times: Times = "auto") -> Figure | None:
    """Trace of the Hessian along the run with its standard error; None where it was not measured."""
    figure = along(
        material,
        "trace",
        times,
        title="Trace of the Hessian",
        label="trace",
        caption="Sum of all eigenvalues, estimated from random products; the band is two standard errors to each side.",
        fools="A sum over all directions: a few large eigenvalues and very many small ones can weigh the same in it.",
    )
    error = material.measured.get("trace_error")
    if figure is None or error is None:
        return figure
    series = tuple(
        Series(one.name, one.x, one.y, one.style, one.colour, one.y - 2 * e, one.y + 2 * e)
        for one, e in zip(figure.series, error.values, strict=True)
    )
    return Figure(figure.name, figure.title, figure.caption, figure.fools, figure.x, figure.y, series)


def density(material: Material, times: Times = "auto") -> Figure | None:
    """The Hessian's spectral density at several times, one ridge above the other; None where it was not measured."""
    heights, places = material.spread.get("density"), material.spread.get("density_grid")
    if heights is None or places is None:
        return None
    seen = [i for i, row in enumerate(heights.values) if np.isfinite(row).any()]
    if not seen:
        return None
    top = material.measured.get("density_top")
    ridges = []
    for level, i in enumerate(seen):
        largest = float(top.values[0, i]) if top is not None else float(np.nanmax(places.values[i]))
        row = np.log10(np.clip(heights.values[i] / np.nanmax(heights.values[i]), 1e-6, None)) / 6 + 1
        name = f"epoch {heights.epochs[i]:.3g}, largest {largest:.3g}"
        low = np.full_like(row, float(level))
        ridges.append(
            Series(name, places.values[i] / abs(largest), level + 0.9 * row, "line", level % 6, low, level + 0.9 * row)
        )
    return Figure(
        "density",
        f"Spectrum of the Hessian{_on(heights)}",
        "Share of eigenvalues at each height, one ridge a recorded time, early ones below, each on the scale of its "
        "own largest eigenvalue and over six powers of ten below its own peak. The bulk stands at zero, outliers to "
        "the right.",
        "Stochastic quadrature places isolated eigenvalues exactly, but spreads the bulk by its smoothing width. "
        "Weights below 1 / P stand for less than one eigenvalue.",
        Axis("eigenvalue / largest eigenvalue"),
        Axis("recorded times, early ones below", limits=(-0.1, len(seen) + 0.1)),
        tuple(ridges),
    )


def _columns(spread: Spread, word: str) -> tuple[Series, ...]:
    return tuple(
        Series(f"{word} {label}", spread.epochs, np.where(np.isfinite(column), column, np.nan), "marked", i % 6)
        for i, (label, column) in enumerate(zip(spread.labels, spread.values.T, strict=True))
    )


def _on(spread: Spread) -> str:
    return f" ({spread.set})" if spread.set else ""
