"""Runs that differ in their seed alone, read together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landform.atlas import Atlas

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Bundle:
    """One quantity over time, for several seeds.

    Attributes:
        epochs: ``[n]``.
        values: ``[seeds, n]``; nan where it was not measured.
    """

    epochs: Numbers
    values: Numbers

    def __bool__(self) -> bool:
        """Whether there is any number."""
        return bool(np.isfinite(self.values).any())

    @property
    def mean(self) -> Numbers:
        """Mean over the seeds that have a value, ``[n]``."""
        known = np.isfinite(self.values)
        count = known.sum(0)
        total = np.where(known, self.values, 0.0).sum(0)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def at(self, epoch: float) -> Numbers:
        """Values at the time nearest to an epoch, ``[seeds]``."""
        if not len(self.epochs):
            return np.full(len(self.values), np.nan)
        return np.asarray(self.values[:, int(np.abs(self.epochs - epoch).argmin())])

    def over(self, times: Numbers, *, close: float = 0.05) -> Numbers:
        """Values at given times, ``[seeds, m]``; nan where none was taken within a share of the span."""
        found = np.full((len(self.values), len(times)), np.nan)
        if not len(self.epochs):
            return found
        for place, time in enumerate(times):
            near = int(np.abs(self.epochs - time).argmin())
            if abs(self.epochs[near] - time) <= close * max(float(times[-1]), 1e-12):
                found[:, place] = self.values[:, near]
        return found


def bundle(atlases: Sequence[Atlas], name: str, **where: str | float | None) -> Bundle:
    """Read one quantity of several runs.

    Args:
        atlases: of the runs, one for each seed.
        name: the quantity.
        **where: a label along each dimension but time, such as ``set="test"`` or ``rank=1``; a dimension that the
            quantity does not have is passed over.

    Returns:
        The curve, over all times at which any run has it.
    """
    rows: list[dict[float, float]] = []
    for atlas in atlases:
        row: dict[float, float] = {}
        if name in atlas.names():
            labelled = atlas[name]
            values, dims = np.asarray(labelled.values, dtype=np.float64), list(labelled.dims)
            for dim, label in where.items():
                if dim not in dims or label is None:
                    continue
                labels = np.atleast_1d(labelled.coords[dim]).tolist()
                if label not in labels:
                    values = np.full_like(np.take(values, 0, dims.index(dim)), np.nan)
                else:
                    values = np.take(values, labels.index(label), dims.index(dim))
                dims.remove(dim)
            if dims == ["time"]:
                row = dict(
                    zip(np.round(labelled.coords["time"].astype(float), 9).tolist(), values.tolist(), strict=True)
                )
        rows.append(row)
    epochs = sorted({epoch for row in rows for epoch in row})
    table = np.array([[row.get(epoch, np.nan) for epoch in epochs] for row in rows], dtype=np.float64)
    return Bundle(np.array(epochs, dtype=np.float64), table.reshape(len(rows), len(epochs)))
