"""What moves along a run, read from the atlases of runs that differ in their seed alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from landform.atlas import Atlas
from landform.series import Correlations, Joint, correlations, joint_transition
from landform.studies._family import Bundle, bundle

# What moves along a run, by what it is called here: the quantity in the atlas, the data set, a label.
MOVING: dict[str, tuple[str, str | None]] = {
    "barrier between children": ("children_barrier_error", "test"),
    "kernel distance of children": ("children_kernel_distance", "test"),
    "activation distance of children": ("children_activation_distance", "test"),
    "disagreement of children": ("children_disagreement", "test"),
    "kernel velocity": ("kernel_velocity", "test"),
    "kernel velocity / lr": ("kernel_velocity_per_lr", "test"),
    "kernel distance from start": ("kernel_distance", "test"),
    "nonlinear advantage": ("onset_advantage", "test"),
    "error of the linearised net": ("onset_linearised", "test"),
    "test error": ("error", "test"),
    "largest eigenvalue": ("sharpness", "train"),
}


def series(atlases: Sequence[Atlas]) -> dict[str, Bundle]:
    """Everything that moves along a run, for several seeds.

    Args:
        atlases: one for each seed.

    Returns:
        The curves that there are, by name.
    """
    found: dict[str, Bundle] = {}
    for name, (quantity, on) in MOVING.items():
        one = advantage(atlases, on or "test") if quantity == "onset_advantage" else read(atlases, quantity, on)
        if one:
            found[name] = one
    return found


def read(atlases: Sequence[Atlas], quantity: str, on: str | None) -> Bundle:
    """One quantity of several runs on one data set.

    Args:
        atlases: one for each seed.
        quantity: its name.
        on: the data set.

    Returns:
        The curve; that of an onset has its data sets as a dimension of its own.
    """
    return bundle(atlases, quantity, **{"on" if quantity.startswith("onset_") else "set": on})


def advantage(atlases: Sequence[Atlas], on: str = "test") -> Bundle:
    """Nonlinear advantage: error of the linearised network less that of the network, both trained alike."""
    green, blue = read(atlases, "onset_linearised", on), read(atlases, "onset_nonlinear", on)
    if green.values.shape != blue.values.shape:
        return Bundle(np.empty(0), np.empty((len(atlases), 0)))
    return Bundle(green.epochs, green.values - blue.values)


def transitions(atlases: Sequence[Atlas]) -> list[Joint]:
    """The common transition of what moves along a run, for each seed.

    Args:
        atlases: one for each seed.

    Returns:
        One for each seed.
    """
    moving = series(atlases)
    return [
        joint_transition({name: (one.epochs, one.values[seed]) for name, one in moving.items()})
        for seed in range(len(atlases))
    ]


def together(atlases: Sequence[Atlas], times: Sequence[float]) -> list[Correlations]:
    """Rank correlations of what moves along a run, at the spawn times, for each seed.

    Args:
        atlases: one for each seed.
        times: in epochs.

    Returns:
        One for each seed.
    """
    grid = np.asarray(sorted(times), dtype=np.float64)
    on_grid = {name: one.over(grid) for name, one in series(atlases).items()}
    usable = {name: rows for name, rows in on_grid.items() if (np.isfinite(rows).sum(1) >= 4).all()}
    if len(usable) < 2:
        return []
    return [
        correlations({name: rows[seed] for name, rows in usable.items()}, seed=seed) for seed in range(len(atlases))
    ]
