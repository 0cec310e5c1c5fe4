"""What a page is made of, in plain arrays and words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from landform.report._figure import Figure, Numbers
from landform.report._heat import HeatMap
from landform.report._panels import Panels
from landform.report._terrain import Terrain

Drawn: TypeAlias = Figure | HeatMap | Panels | Terrain
"""Whatever a page draws."""


@dataclass(frozen=True)
class Measured:
    """One quantity along a run.

    Attributes:
        epochs: when it was measured, ``[n]``.
        values: one row for each data set, ``[sets, n]``; NaN where it was not measured.
        sets: the names of the data sets; one empty name for what belongs to none.
    """

    epochs: Numbers
    values: Numbers
    sets: tuple[str, ...] = ("",)

    def last(self, name: str = "") -> float | None:
        """The last value there is.

        Args:
            name: of the data set.

        Returns:
            The value, or None where none was measured.
        """
        if name not in self.sets:
            return None
        row = self.values[self.sets.index(name)]
        found = np.flatnonzero(~np.isnan(row))
        return float(row[found[-1]]) if len(found) else None


@dataclass(frozen=True)
class Spread:
    """A quantity of several numbers at each time, such as eigenvalues by rank, on one data set.

    Attributes:
        epochs: when it was measured, ``[n]``.
        values: one row for each time, ``[n, m]``.
        labels: what the numbers of a row are called, ``[m]``.
        set: the data set.
    """

    epochs: Numbers
    values: Numbers
    labels: tuple[str, ...]
    set: str = ""


@dataclass(frozen=True)
class Material:
    """Everything that a page says about one run.

    Attributes:
        name: of the run.
        measured: quantities along the run, by name.
        spread: quantities of several numbers at each time, by name; on the first data set.
        maps: heat maps of quantities of more dimensions.
        deep: figures of several quantities at once, of children and of onsets.
        curves: what the training loop itself kept, by name: epochs ``[n]`` and values ``[n]``.
        settings: what was trained and how, in groups of names and values.
        records: how many times were recorded.
        parameters: how many trainable parameters.
        notes: what was not measured and why, damaged records, gaps; one sentence each.
        provenance: versions, seeds, fingerprints, dates.
    """

    name: str
    measured: Mapping[str, Measured] = field(default_factory=dict)
    spread: Mapping[str, Spread] = field(default_factory=dict)
    maps: tuple[HeatMap, ...] = ()
    deep: tuple[Drawn, ...] = ()
    curves: Mapping[str, tuple[Numbers, Numbers]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    records: int = 0
    parameters: int = 0
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def diverged(self) -> bool:
        """Whether the last measured training loss, or the last loss the loop saw, is NaN or infinite."""
        ends = [values[-1] for name, (_, values) in self.curves.items() if name == "loss" and len(values)]
        ends += [float(row[-1]) for m in self.loss_only() for row in m.values if row.size and np.isinf(row[-1])]
        return any(not np.isfinite(end) for end in ends)

    def loss_only(self) -> tuple[Measured, ...]:
        """The measured loss, if there is one."""
        return (self.measured["loss"],) if "loss" in self.measured else ()
