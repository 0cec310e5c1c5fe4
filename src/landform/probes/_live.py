"""Probes as plain functions of the present time, for a recorder to take while training goes on."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from landform import store
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.probes._moment import Moment
from landform.probes._probe import Probe, Value
from landform.probes._registry import get
from landform.recording import Now, Record, Trajectory

if TYPE_CHECKING:
    from landform.recording import LiveProbe

# Numbers of one quantity that become curves of their own; larger ones are for a survey.
_MOST = 32
# It reads the run's description, which is there from the beginning, and none of its records.
_DESCRIPTION_ALONE = ("sharpness",)


def live(
    landscape: Landscape | Mapping[str, Landscape],
    probes: Iterable[str | Probe] = ("loss", "gradient_norm"),
) -> dict[str, LiveProbe]:
    """Make probes fit to be taken by a recorder during training, ``Recorder(..., probes=live(landscape, names))``.

    Their values become curves of the run named after the set, such as ``train/gradient_norm``, and equal what a survey
    finds at the same record.

    Args:
        landscape: what to measure on; several by the names of their data sets. A single one is named ``train``. A few
            hundred samples (`Landscape.subset`) are measured more often within the same budget.
        probes: probes, or names of such, that look at nothing later than the present time.

    Returns:
        Functions of a `Now` by name: one for each probe and set.

    Raises:
        BadInput: when a probe looks at what is not there yet, or cannot be taken on a landscape.
    """
    named = {"train": landscape} if isinstance(landscape, Landscape) else landscape
    if not isinstance(named, Mapping) or not named:
        raise BadInput("There is no landscape to measure on: give one, or several by the names of their data sets.")
    for where, each in named.items():
        store.check_name(where, "set")
        if not isinstance(each, Landscape):
            raise BadInput(f"The landscape of {where!r} is a {type(each).__name__}: give a Landscape.")
    given = [probes] if isinstance(probes, str | Probe) else list(probes)
    seen = _Seen(dict(named))
    found: dict[str, LiveProbe] = {}
    for probe in (get(each) if isinstance(each, str) else each for each in given):
        _check(probe)
        wanted = [where for where in named if not probe.only_on or where in probe.only_on]
        sets: list[str | None] = [*wanted] if "landscape" in probe.needs else [None]
        for name in sets:
            looked = named if name is None and "sets" in probe.needs else {} if name is None else {name: named[name]}
            refusals = [probe.applies(each) for each in looked.values()] if probe.applies is not None else []
            if refusal := next(filter(None, refusals), None):
                raise BadInput(
                    f"{probe.name} cannot be measured{f' on {name}' if name else ''}: {refusal.rstrip('.')}."
                )
            label = probe.name if name is None else f"{name}/{probe.name}"
            found[label] = _Taken(probe, name, seen)
    if not found:
        raise BadInput("There is no probe to take: give at least one.")
    return found


@dataclass
class _Here:
    """The present time, as far as it is like a record."""

    step: int
    epoch: float
    point: Tensor
    buffers: Mapping[str, Tensor]
    lr: float | None
    loss: float | None = None
    partner: bool = False
    resumable: bool = False
    optimizer: dict[str, Tensor] | None = None
    momentum: Tensor | None = None


class _Seen:
    """What the probes of one time share: the readings on each set, and the run's start."""

    def __init__(self, landscapes: dict[str, Landscape]) -> None:
        self.landscapes = landscapes
        self._now: Callable[[], Now | None] = lambda: None
        self._moments: dict[str | None, Moment] = {}
        self._start: Record | None = None

    def moment(self, now: Now, name: str | None, *, start: bool) -> Moment:
        """The present time, on one set."""
        if now is not self._now():
            moments: dict[str | None, Moment] = {}
            self._moments = moments
            # What was read and computed is let go with the time that it belongs to.
            self._now = weakref.ref(now, lambda _: moments.clear())
        if start and (self._start is None or now.step == 0):
            self._start = cast(Record, _here(now)) if now.step == 0 else Trajectory(now.folder).records[0]
        if name not in self._moments:
            self._moments[name] = Moment(
                cast(Record, _here(now)),
                landscape=None if name is None else self.landscapes[name],
                sets=self.landscapes,
                start=self._start,
                trajectory=Trajectory(now.folder),
            )
        moment = self._moments[name]
        moment._start = self._start
        return moment


def _here(now: Now) -> _Here:
    return _Here(now.step, now.epoch, now.point, now.buffers, now.lr)


@dataclass
class _Taken:
    """A probe as a function of the present time.

    Attributes:
        cost: what it takes: in gradients on which set, how many. A recorder foretells the first time by it.
    """

    probe: Probe
    set: str | None
    seen: _Seen

    @property
    def cost(self) -> tuple[str, float]:
        return (f"gradients on {self.set}", self.probe.cost)

    def __call__(self, now: Now) -> dict[str, float]:
        moment = self.seen.moment(now, self.set, start="start" in self.probe.needs)
        front = "" if self.set is None else f"{self.set}/"
        numbers: dict[str, float] = {}
        for quantity, value in self.probe.take(moment).items():
            numbers |= _flat(front + quantity, value)
        return numbers


def _flat(name: str, value: Value) -> dict[str, float]:
    """A quantity as single numbers, each named after its place."""
    numbers = value.numbers.detach().to("cpu").double()
    if not numbers.dim():
        return {name: float(numbers)}
    if numbers.numel() > _MOST:
        raise BadInput(
            f"{name} has {numbers.numel()} numbers at each time, too many for curves: survey the run for it afterwards"
        )
    labels = value.coords.get(value.dims[0], range(len(numbers))) if numbers.dim() == 1 else range(numbers.numel())
    names = [f"{each:g}" if isinstance(each, int | float) else str(each) for each in labels]
    return {f"{name}.{each}": float(number) for each, number in zip(names, numbers.flatten().tolist(), strict=True)}


def _check(probe: Any) -> None:
    if not isinstance(probe, Probe):
        raise BadInput(f"{probe!r} is not a probe: give a Probe, or the name of one.")
    allowed = {"landscape", "sets", "start"} | ({"trajectory"} if probe.name in _DESCRIPTION_ALONE else set())
    missing = [need for need in probe.needs if need not in allowed]
    if missing:
        what = {"before": "the record before"}.get(missing[0], f"the {missing[0]}")
        raise BadInput(
            f"{probe.name} looks at {what}, not there while training goes on: survey the run for it afterwards."
        )
