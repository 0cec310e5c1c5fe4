"""A unit of work, its result, and what every engine promises."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

from landform.errors import BadInput

Progress: TypeAlias = Callable[[int, int], object]


@dataclass(frozen=True)
class Needs:
    """What a unit must have to itself while it runs; an engine starts it when so much is free.

    Attributes:
        cpus: cores; one that asks for more than a machine has gets all of them.
        gpus: GPUs; a share such as 0.25 lets four units use one.
        memory: bytes.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True)
class Unit:
    """One call that depends on no other unit.

    Attributes:
        name: tells it from the other units of the same run.
        function: a function at the top of a module, so that another process can find it.
        arguments: its keyword arguments, all of which can be pickled; the function does not change them.
        threads: torch threads it should run on; None leaves that to the engine.
        needs: what it must have to itself; an engine that runs one unit after the other need not look at it.
    """

    name: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None
    needs: Needs = Needs()


@dataclass(frozen=True)
class Result:
    """What became of a unit.

    Attributes:
        name: the unit's name.
        value: what its function returned; None where it failed.
        failure: why it failed, in one sentence; None where it did not.
        seconds: wall time its function took.
        trace: the traceback of a failure, for whoever wants to know more.
    """

    name: str
    value: Any = None
    failure: str | None = None
    seconds: float = 0.0
    trace: str = ""


@runtime_checkable
class Engine(Protocol):
    """Something that runs units of work; nobody above it knows where.

    What an engine promises, and `landform.testing.EngineContract` checks:

    - every unit runs, and its one result is yielded as soon as it is there, in any order; it runs once, unless the
      process or the machine it runs on is lost before it has ended: then it runs again, a limited number of times;
    - a unit that raises yields a result with its failure, and the others go on;
    - a unit gets the same bits from every engine and in every order: it runs with torch's global generator seeded
      from its name (`seed_of`), on the threads it asks for;
    - the caller's process is left as it was: its number of threads and its global generator do not change;
    - when the caller stops iterating (closes the iterator), no further unit starts;
    - ``KeyboardInterrupt`` is not a failure of a unit: it passes through to the caller, and no further unit starts.

    What it may expect: units have different names, do not depend on one another, do not change their arguments,
    and their functions, arguments and values can be pickled.
    """

    def run(self, units: Sequence[Unit], *, progress: Progress | None = None) -> Iterator[Result]:
        """Run units.

        Args:
            units: the work.
            progress: called as ``progress(done, total)``, once before the first result and after each.

        Yields:
            One result for each unit, as they come.

        Raises:
            BadInput: before anything runs, when two units have the same name.
        """
        ...


def check_units(units: Sequence[Unit]) -> None:
    """Refuse units that an engine could not tell apart.

    Args:
        units: the work.

    Raises:
        BadInput: when two have the same name, or one asks for what cannot be.
    """
    seen: set[str] = set()
    for unit in units:
        if unit.name in seen:
            raise BadInput(f"Two units of work are named {unit.name!r}: give each a name of its own.")
        if unit.threads is not None and unit.threads < 1:
            raise BadInput(f"Unit {unit.name!r} asks for {unit.threads} threads: give at least 1, or None.")
        needs = unit.needs
        if not (0 < needs.cpus < math.inf and 0 <= needs.gpus < math.inf and 0 <= needs.memory < math.inf):
            raise BadInput(
                f"Unit {unit.name!r} needs {needs.cpus} CPUs, {needs.gpus} GPUs and {needs.memory} bytes: give more "
                "than 0 CPUs, and at least 0 of the others."
            )
        seen.add(unit.name)


def seed_of(unit: Unit) -> int:
    """The seed of torch's global generator while a unit runs: a hash of its name.

    Args:
        unit: the unit.

    Returns:
        A number of 63 bits, the same on every machine.
    """
    return int.from_bytes(hashlib.blake2b(unit.name.encode(), digest_size=8).digest(), "little") >> 1


def sentence(failure: BaseException) -> str:
    """Say in one line why something failed.

    Args:
        failure: what was raised.

    Returns:
        landform's own sentence where it is one, else the kind of failure and the first line of its message.
    """
    lines = str(failure).strip().splitlines()
    if isinstance(failure, BadInput):
        return str(failure).strip() or "It was given something it cannot use."
    kind = type(failure).__name__
    return f"{kind}: {lines[0][:300]}" if lines else kind
