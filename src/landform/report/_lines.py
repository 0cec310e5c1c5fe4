"""Lines over time: what most figures of a run are made of."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from landform.report._figure import Axis, Figure, Numbers, Series, extent
from landform.report._material import Material, Measured

Times: TypeAlias = Literal["auto", "linear", "log"]

TRAIN, TEST, OTHER = 0, 1, 2
# Below this share of the run lies half of the log-spaced times, but not half of the evenly spaced ones.
_EARLY = 0.2


def along(
    material: Material,
    name: str,
    times: Times,
    *,
    title: str,
    label: str,
    caption: str,
    fools: str,
    percent: bool = False,
    limits: tuple[float, float] | None = None,
    reference: float | None = None,
) -> Figure | None:
    """A figure of one measured quantity, one line for each data set."""
    measured = material.measured.get(name)
    if measured is None or not np.isfinite(measured.values).any():
        return None
    series = lines(measured, label)
    y = Axis(label, limits=limits, percent=percent) if limits or percent else value_axis(label, series, "auto")
    return Figure(
        name.replace("_", "-"), title, caption, fools, time_axis(times, measured.epochs), y, series, reference
    )


def lines(measured: Measured, label: str) -> tuple[Series, ...]:
    colours = {"train": TRAIN, "test": TEST, "": TRAIN}
    return tuple(
        Series(name or label, measured.epochs, np.where(np.isfinite(row), row, np.nan), "marked",
               colours.get(name, OTHER + i))
        for i, (name, row) in enumerate(zip(measured.sets, measured.values, strict=True))
    )  # fmt: skip


def time_axis(times: Times, epochs: Numbers) -> Axis:
    """Time in epochs; on a log axis the start stands half a first step to the left of the first time after it."""
    later = epochs[epochs > 0]
    if not len(later) or times == "linear":
        return Axis("epoch")
    if times == "auto" and np.median(epochs) > _EARLY * epochs.max():
        return Axis("epoch")
    if (epochs == 0).any():
        return Axis("epoch (log scale, epoch 0 at the left)", "log", zero_at=float(later.min()) / 2)
    return Axis("epoch (log scale)", "log")


def value_axis(label: str, series: tuple[Series, ...] | list[Series], scale: Literal["auto", "log"]) -> Axis:
    """A log axis where all values are above zero and they span more than a factor of ten."""
    span = extent(series, "y")
    every = np.concatenate([one.y for one in series])
    positive = span is not None and not bool((every <= 0).any())
    if span is not None and positive and (scale == "log" or span[1] > 10 * span[0]):
        return Axis(f"{label} (log scale)", "log")
    return Axis(label)
