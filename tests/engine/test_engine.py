"""The in-process engine keeps the contract of engines, and what is its own."""

from __future__ import annotations

import pickle

import pytest
import torch

from landform.engine import Engine, InProcess, Unit, seed_of, sentence
from landform.errors import BadInput
from landform.testing import EngineContract, draw, multiply, threads_here


class TestInProcess(EngineContract):
    def engine(self) -> Engine:
        return InProcess()


class TestInProcessOnOneThread(EngineContract):
    def engine(self) -> Engine:
        return InProcess(threads=1)


def test_results_come_in_order_and_each_unit_runs_when_asked_for() -> None:
    ran: list[int] = []
    results = InProcess().run([Unit(str(i), ran.append, {}) for i in range(2)])
    assert ran == []
    first = next(results)
    assert first.name == "0"
    assert first.failure is not None  # append() without its argument
    assert "TypeError" in first.failure

    def note(i: int) -> None:
        ran.append(i)

    results = InProcess().run([Unit(str(i), note, {"i": i}) for i in range(3)])
    assert next(results).name == "0"
    assert ran == [0]
    assert [result.name for result in results] == ["1", "2"]
    assert ran == [0, 1, 2]


def test_the_engine_s_threads_hold_where_a_unit_asks_for_none() -> None:
    units = [Unit("none", threads_here), Unit("two", threads_here, threads=2)]
    assert [result.value for result in InProcess(threads=1).run(units)] == [1, 2]


def test_an_interrupt_passes_through_and_leaves_everything_as_it_was() -> None:
    ran: list[str] = []

    def interrupted() -> None:
        torch.rand(1)
        raise KeyboardInterrupt

    before, threads = torch.get_rng_state(), torch.get_num_threads()
    units = [Unit("a", draw, {"count": 1}), Unit("b", interrupted, threads=2), Unit("c", ran.append, {})]
    results = InProcess().run(units)
    assert next(results).name == "a"
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert list(results) == []
    assert ran == []
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_the_seed_is_a_hash_of_the_name() -> None:
    torch.manual_seed(seed_of(Unit("a", draw)))
    expected = torch.rand(3)
    assert torch.equal(next(InProcess().run([Unit("a", draw, {"count": 3})])).value, expected)


def test_units_and_results_can_be_pickled() -> None:
    unit = Unit("a", multiply, {"a": torch.ones(2), "b": 2.0})
    again = pickle.loads(pickle.dumps(unit))
    assert torch.equal(next(InProcess().run([again])).value, torch.full((2,), 2.0))


def test_a_failure_is_one_line() -> None:
    assert sentence(ValueError("first\nsecond")) == "ValueError: first"
    assert sentence(RuntimeError()) == "RuntimeError"
    assert sentence(BadInput("A sentence.")) == "A sentence."
    assert len(sentence(ValueError("x" * 1000))) < 320


def test_misuse_is_one_sentence() -> None:
    with pytest.raises(BadInput, match="threads is 0"):
        InProcess(threads=0)
    with pytest.raises(BadInput, match="asks for 0 threads"):
        InProcess().run([Unit("a", draw, threads=0)])
    with pytest.raises(BadInput, match="Two units"):
        InProcess().run([Unit("a", draw), Unit("a", draw)])
