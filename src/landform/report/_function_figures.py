"""Figures of how functions differ: along a run as it was measured, and of comparisons given as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landform.errors import BadInput
from landform.report._figure import Axis, Figure, Series
from landform.report._heat import HeatAxis, HeatMap
from landform.report._lines import Times, time_axis
from landform.report._material import Material

if TYPE_CHECKING:
    from landform.functions import LayerCka

# What is drawn, with its name in the legend; all are at most about one, so that they share an axis.
_KINDS = {
    "disagreement": "other label",
    "softmax_distance": "softmax distance",
    "activation_distance": "units on another piece",
}
# Up to so many layers there is room to name each.
_FEW = 20
_READ = (
    "Share of samples with another label, root mean square distance of the probabilities, and share of (sample, unit) "
    "pairs on another linear piece"
)
_FOOLS = (
    "The three are on scales of their own: the softmax distance goes up to 1.41, two unrelated sets of balanced units "
    "are at a half, and two untrained networks can share a label by chance."
)


def from_start(material: Material, times: Times = "auto") -> Figure | None:
    """Distance of the function from the first record's; None where it was not measured."""
    return _along(
        material,
        times,
        "from_start",
        "How far the function has come",
        f"{_READ}, between each recorded time and the first. Labels settle while units still move: what the network "
        "does is decided before how it does it.",
    )


def to_end(material: Material, times: Times = "auto") -> Figure | None:
    """Distance of the function from the last record's; None where it was not measured."""
    return _along(
        material,
        times,
        "to_end",
        "How far the function has to go",
        f"{_READ}, between each recorded time and the last, where all are zero. A curve that drops early says that "
        "the run had found its function by then.",
    )


def step(material: Material, times: Times = "auto") -> Figure | None:
    """Distance of the function between successive records; None where it was not measured."""
    figure = _along(
        material,
        times,
        "step",
        "How the function moves",
        f"{_READ}, between each recorded time and the one before.",
    )
    if figure is None:
        return None
    fools = "Records that lie further apart in time lie further apart as functions: with log-spaced times a flat line "
    fools += f"is a slowing run. {_FOOLS}"
    return Figure(figure.name, figure.title, figure.caption, fools, figure.x, figure.y, figure.series)


def layer_map(
    found: LayerCka, *, rows: str = "layers at the first point", columns: str = "layers at the second"
) -> HeatMap:
    """CKA between the layers of two points as a heat map.

    Args:
        found: as `functions.layer_cka` or `functions.compare` gives it.
        rows: what the rows are.
        columns: what the columns are.

    Returns:
        The heat map; layers are numbered in the order of the model, and named along the rows.
    """
    numbers = [str(i + 1) for i in range(len(found.layers))]
    named = tuple(f"{name or 'output'}  {number}" for name, number in zip(found.layers, numbers, strict=True))
    values = found.values.detach().cpu().numpy().astype(np.float64)
    kernel = "linear" if found.kernel == "linear" else f"RBF, {found.bandwidth:g} median distances"
    return HeatMap(
        "layer-cka",
        "Which layers are alike",
        f"Centred kernel alignment between the activations of {found.samples:,} samples, estimated without bias on "
        f"mini-batches of up to {found.tile}. Bright along the diagonal: the layers see what they saw at the other "
        "point, up to a rotation and a scale. A bright block: layers that hardly change what goes through them.",
        "A few directions of large variance decide it: two layers can agree here and differ in all that is small. "
        "Layers at initialisation are alike because the inputs are.",
        _each(columns, tuple(numbers)),
        _each(rows, named),
        values,
        f"CKA, {kernel}",
        limits=(0.0, 1.0),
    )


def pair_map(
    values: Any,
    names: Sequence[str] | None = None,
    *,
    measure: str,
    title: str | None = None,
    points: str = "points",
) -> HeatMap:
    """A measure over all pairs of points as a heat map.

    Args:
        values: ``[n, n]``, such as the matrices of `functions.compare_all`; a tensor or an array.
        names: what each point is called, ``[n]``; by default its number.
        measure: what the values are.
        title: what is to be seen.
        points: what rows and columns are, such as ``"epoch"``.

    Returns:
        The heat map.

    Raises:
        BadInput: when the values are no square matrix, or there is not one name for each point.
    """
    plain = np.asarray(values.detach().cpu().numpy() if hasattr(values, "detach") else values, dtype=np.float64)
    if plain.ndim != 2 or plain.shape[0] != plain.shape[1]:
        raise BadInput(f"A map of pairs shows one number for each pair, [n, n]; got shape {list(plain.shape)}.")
    called = tuple(names) if names is not None else tuple(str(i) for i in range(len(plain)))
    if len(called) != len(plain):
        raise BadInput(f"There are {len(plain)} points and {len(called)} names: give one name each.")
    axis = HeatAxis(points, called)
    return HeatMap(
        measure.replace("_", "-").replace(" ", "-"),
        title or f"Between points: {measure.replace('_', ' ')}",
        "One number for each pair of points. Dark squares along the diagonal are points that do alike.",
        "On the diagonal each point is compared with itself: the colours of the rest can lie close together.",
        axis,
        axis,
        plain,
        measure.replace("_", " "),
        diverging=bool(np.nanmin(plain) < 0) if np.isfinite(plain).any() else False,
    )


def _each(label: str, names: tuple[str, ...]) -> HeatAxis:
    """An axis on which each cell is named and set off, where there are few."""
    return HeatAxis(label, names, tuple((name, 1) for name in names) if len(names) <= _FEW else ())


def _along(material: Material, times: Times, name: str, title: str, caption: str) -> Figure | None:
    there = {
        kind: measured
        for kind in _KINDS
        if (measured := material.measured.get(f"{kind}_{name}")) is not None and np.isfinite(measured.values).any()
    }
    if not there:
        return None
    sets = next(iter(there.values())).sets
    several = len(sets) > 1
    # A colour for each measure; only the first data set has marks.
    series = tuple(
        Series(
            f"{_KINDS[kind]}, {where}" if several else _KINDS[kind],
            measured.epochs,
            np.where(np.isfinite(row), row, np.nan),
            "marked" if place == 0 else "line",
            colour,
        )
        for place, where in enumerate(sets)
        for colour, (kind, measured) in enumerate(there.items())
        for row in [measured.values[place]]
    )
    epochs = next(iter(there.values())).epochs
    only = f" ({sets[0]})" if sets[0] and not several else ""
    highest = max((float(np.nanmax(one.y)) for one in series if np.isfinite(one.y).any()), default=1.0)
    y = Axis("distance", limits=(0.0, 1.05 * max(highest, 1e-6)))
    return Figure(
        f"function-{name.replace('_', '-')}", f"{title}{only}", caption, _FOOLS, time_axis(times, epochs), y, series
    )
