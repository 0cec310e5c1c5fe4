"""A probe: which measurement to take, how, and when."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from landform import store
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.probes._moment import NEEDS, Moment

Times: TypeAlias = Literal["all", "pairs", "children"] | int | tuple[float, ...]

# The atlas puts these in front of whatever dimensions a value has.
_TAKEN = ("set", "time", "step")


class Value(NamedTuple):
    """Numbers with named dimensions, as a probe measures them at one time.

    Attributes:
        numbers: a tensor of any shape.
        dims: the name of each of its dimensions; a single number has none.
        coords: labels (strings or numbers) along some of them, the same at every time. Positions that change with
            time are a quantity of their own.
    """

    numbers: Tensor
    dims: tuple[str, ...] = ()
    coords: Mapping[str, Sequence[str | float]] = {}


Measured: TypeAlias = Value | Tensor | float


@dataclass(frozen=True)
class Probe:
    """Which measurement to take, with which settings, and when.

    It knows nothing of files, processes or pages.

    Attributes:
        name: tells it from other probes; results are kept under it.
        measure: a function of a `Moment` and the settings, as keyword arguments, that returns one value or more by
            name: numbers, scalar tensors, or a `Value` where there are dimensions to name.
        settings: its settings, plain JSON; a ``seed`` belongs here.
        times: ``"all"`` recorded times, those with a partner (``"pairs"``) or with children (``"children"``), that many
            spread evenly over the records (1 is the last), or the records nearest to some epochs.
        needs: what it looks at beside the record: any of `NEEDS`. Without ``"landscape"`` it is taken once for a
            run, not once for each set; with ``"sets"`` it then looks at all of them together, as a measurement does
            that trains on one and tests on another.
        only_on: names of the data sets it is taken on, those of them that there are; empty for all.
        version: to be raised when ``measure`` changes what it computes; older results are then taken anew.
        doc: what it measures, in one line.
        cost: about how many full-data gradients one measurement takes; those of up to three share a unit of work.
        applies: a function of a landscape that returns None, or why the probe cannot be taken on it.
    """

    name: str
    measure: Callable[..., Mapping[str, Measured]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    times: Times = "all"
    needs: tuple[str, ...] = ("landscape",)
    only_on: tuple[str, ...] = ()
    version: int = 1
    doc: str = ""
    cost: float = 1.0
    applies: Callable[[Landscape], str | None] | None = None

    def __post_init__(self) -> None:
        store.check_name(self.name, "probe")
        for need in self.needs:
            if need not in NEEDS:
                raise BadInput(f"Probe {self.name} needs {need!r}, which there is not: choose from {', '.join(NEEDS)}.")
        if isinstance(self.times, list):
            object.__setattr__(self, "times", tuple(self.times))
        self._check_times()
        try:
            plain = json.loads(json.dumps(dict(self.settings), allow_nan=False, sort_keys=True))
        except (TypeError, ValueError) as why:
            raise BadInput(
                f"The settings of probe {self.name} are not plain JSON ({why}): give numbers, strings, lists and dicts."
            ) from None
        object.__setattr__(self, "settings", plain)
        try:
            inspect.signature(self.measure).bind(None, **self.settings)
        except TypeError as why:
            given = ", ".join(self.settings) or "none"
            raise BadInput(
                f"Probe {self.name}'s function does not take its settings ({given}): {why}; "
                "give each as a keyword argument after the moment."
            ) from None

    def using(self, **settings: Any) -> Probe:
        """The same probe with other settings.

        Args:
            **settings: those to change or add.

        Returns:
            A new probe.
        """
        return replace(self, settings={**self.settings, **settings})

    def at(self, times: Times) -> Probe:
        """The same probe at other times.

        Args:
            times: as for `Probe`.

        Returns:
            A new probe.
        """
        return replace(self, times=times)

    def on(self, *sets: str) -> Probe:
        """The same probe on some data sets alone.

        Args:
            *sets: their names; those that a survey does not have are passed over.

        Returns:
            A new probe.
        """
        return replace(self, only_on=sets)

    def take(self, moment: Moment) -> dict[str, Value]:
        """Measure at one moment.

        Args:
            moment: what to look at.

        Returns:
            The values by name, each with its dimensions named.

        Raises:
            BadInput: when what was measured is not named numbers.
        """
        found: Any = self.measure(moment.only(self.needs), **self.settings)
        if not isinstance(found, Mapping) or not found:
            raise BadInput(f"Probe {self.name} returned a {type(found).__name__}: return a dict of values by name.")
        return {name: self._value(name, value) for name, value in found.items()}

    def _value(self, name: str, value: Measured) -> Value:
        store.check_name(name, "quantity")
        if not isinstance(value, Value):
            if not isinstance(value, Tensor | float | int):
                raise BadInput(
                    f"{name} of probe {self.name} is a {type(value).__name__}: return a number, a tensor or a Value."
                )
            value = Value(torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64))
        numbers, dims = value.numbers.detach(), tuple(value.dims)
        if numbers.dim() != len(dims) or len(set(dims)) < len(dims):
            raise BadInput(
                f"{name} of probe {self.name} has shape {list(numbers.shape)} and dimensions {dims}: name each once."
            )
        for dim in dims:
            if dim in _TAKEN:
                raise BadInput(f"{name} of probe {self.name} has a dimension {dim!r}, which is taken: rename it.")
        coords = {dim: [_plain(label) for label in labels] for dim, labels in value.coords.items()}
        for dim, labels in coords.items():
            if dim not in dims or len(labels) != numbers.shape[dims.index(dim)]:
                raise BadInput(f"{name} of probe {self.name} has {len(labels)} labels along {dim!r}, which do not fit.")
        return Value(numbers, dims, coords)

    def _check_times(self) -> None:
        times: Any = self.times
        if times in ("all", "pairs", "children") or (type(times) is int and times >= 1):
            return
        if isinstance(times, tuple) and times and all(isinstance(t, int | float) and t >= 0 for t in times):
            return
        raise BadInput(
            f"The times of probe {self.name} are {times!r}: give 'all', 'pairs', 'children', a number of times, or a "
            "tuple of epochs."
        )


def _plain(label: Any) -> str | float:
    """A label as JSON keeps it."""
    return label if isinstance(label, str) else float(label)
