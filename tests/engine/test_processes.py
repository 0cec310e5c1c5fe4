"""The engine of several processes keeps the contract of engines, and what is its own."""

from __future__ import annotations

import os
import time

import pytest

from landform.engine import Engine, InProcess, Processes, Unit, cores
from landform.errors import BadInput
from landform.testing import EngineContract, draw


class TestProcesses(EngineContract):
    def engine(self) -> Engine:
        return Processes(2)


def here() -> int:
    return os.getpid()


def die() -> None:
    os._exit(9)


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_a_process_that_dies_costs_its_own_units_and_no_other() -> None:
    units = [Unit("a", die), *(Unit(str(i), nap, {"seconds": 0.01}) for i in range(6))]
    results = {result.name: result for result in Processes(2).run(units)}
    assert set(results) == {unit.name for unit in units}
    assert results["a"].failure is not None
    assert "died" in results["a"].failure
    assert sum(result.value == 0.01 for result in results.values()) >= 5


def test_units_run_elsewhere_and_give_the_bits_they_give_here() -> None:
    units = [Unit(str(i), draw, {"count": 3}) for i in range(3)]
    there = {result.name: result.value for result in Processes(2).run(units)}
    assert all((there[result.name] == result.value).all() for result in InProcess().run(units))
    assert os.getpid() not in {result.value for result in Processes(1).run([Unit("here", here)])}


def test_what_cannot_be_sent_is_a_failure() -> None:
    results = {r.name: r for r in Processes(1).run([Unit("a", lambda: 1), Unit("b", here)])}
    assert "another process" in (results["a"].failure or "")
    assert results["b"].failure is None


def test_misuse() -> None:
    assert cores() >= 1
    with pytest.raises(BadInput, match="at least 1"):
        Processes(0)
