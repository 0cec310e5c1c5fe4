"""What a probe may look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape, Reading

if TYPE_CHECKING:
    from landform.recording import Record, Trajectory

T = TypeVar("T")

NEEDS = ("landscape", "sets", "start", "before", "after", "partner", "children", "trajectory")
"""What a probe may ask for beside the record itself."""


class Moment:
    """One recorded time of a run, with what a probe has asked for.

    A probe sees what its `Probe.needs` names, and nothing else: that is how the atlas knows when a result no longer
    holds. What is read or computed here is shared by the probes that look at the same moment, and must not be changed.

    Attributes:
        record: the record at this time.
    """

    def __init__(
        self,
        record: Record,
        *,
        landscape: Landscape | None = None,
        sets: Mapping[str, Landscape] | None = None,
        start: Record | None = None,
        before: Record | None = None,
        after: Record | None = None,
        partner: Record | None = None,
        children: tuple[Trajectory, ...] | None = None,
        trajectory: Trajectory | None = None,
    ) -> None:
        """Put together what a probe may look at.

        Args:
            record: the record at this time.
            landscape: what to measure on.
            sets: all landscapes, by the names of their data sets.
            start: the run's first record.
            before: the record before this one.
            after: the record after this one.
            partner: the record a little later (0.4 epochs, as a rule) that was kept for velocities.
            children: the runs that were spawned from this record, in order of their numbers.
            trajectory: the whole run.
        """
        self.record = record
        self._landscape, self._sets, self._trajectory = landscape, sets, trajectory
        self._children = children
        self._start, self._before, self._after, self._partner = start, before, after, partner
        self._known: dict[str, Any] = {}

    def only(self, needs: tuple[str, ...]) -> Moment:
        """The same moment with less to look at.

        Args:
            needs: what to keep, out of `NEEDS`.

        Returns:
            A moment that shares what has been read and computed already.
        """
        other = object.__new__(Moment)
        other.__dict__.update(self.__dict__)
        for need in NEEDS:
            if need not in needs:
                other.__dict__[f"_{need}"] = None
        return other

    @property
    def landscape(self) -> Landscape:
        """What to measure on."""
        return _given(self._landscape, "landscape")

    @property
    def start(self) -> Record:
        """The run's first record."""
        return _given(self._start, "start")

    @property
    def before(self) -> Record:
        """The record before this one; a probe that needs it does not look at the first."""
        return _given(self._before, "before")

    @property
    def after(self) -> Record:
        """The record after this one; a probe that needs it does not look at the last."""
        return _given(self._after, "after")

    @property
    def partner(self) -> Record:
        """The record a little later; a probe that needs it looks only where there is one."""
        return _given(self._partner, "partner")

    @property
    def sets(self) -> Mapping[str, Landscape]:
        """All landscapes, by the names of their data sets; a probe that needs them is taken once for a run."""
        return _given(self._sets, "sets")

    @property
    def children(self) -> tuple[Trajectory, ...]:
        """The runs spawned from this record; a probe that needs them looks only where there are two or more."""
        return _given(self._children, "children")

    @property
    def trajectory(self) -> Trajectory:
        """The whole run."""
        return _given(self._trajectory, "trajectory")

    @property
    def point(self) -> Tensor:
        """The point, ``[P]``: on the landscape's device and in its type, or as recorded where there is none."""
        recorded = self._once("recorded", lambda: self.record.point)
        if self._landscape is None:
            return recorded
        return recorded.to(self._landscape.device, self._landscape.dtype)

    @property
    def buffers(self) -> dict[str, Tensor] | None:
        """The buffers that belong to the point where the landscape recomputes them, else None (its own setting)."""
        if self.landscape.batchnorm != "recompute":
            return None
        return self._once("buffers", lambda: self.landscape.calibrate(self.point))

    @property
    def reading(self) -> Reading:
        """Loss and error, from the same forward passes."""
        return self._once("reading", lambda: self.landscape.read(self.point, buffers=self.buffers))

    @property
    def gradient(self) -> Tensor:
        """Gradient of the loss, ``[P]``."""
        return self._once("gradient", lambda: self.landscape.gradient(self.point, buffers=self.buffers))

    def _once(self, name: str, find: Callable[[], T]) -> T:
        if name not in self._known:
            self._known[name] = find()
        found: T = self._known[name]
        return found


def _given(value: T | None, name: str) -> T:
    if value is None:
        raise BadInput(f"This probe looks at moment.{name} without saying so: add {name!r} to its needs.")
    return value
