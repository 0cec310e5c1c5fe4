"""Contracts as test classes: someone's own engine is held to what landform's engines promise.

In a test module::

    class TestMyEngine(EngineContract):
        def engine(self):
            return MyEngine()
"""

from __future__ import annotations

import torch
from torch import Tensor

from landform.engine import Engine, Result, Unit
from landform.errors import BadInput


def multiply(a: Tensor, b: float) -> Tensor:
    """Multiply, as a unit of work.

    Args:
        a: any tensor.
        b: a factor.

    Returns:
        Their product.
    """
    return a * b


def fail(message: str) -> None:
    """Fail, as a unit of work.

    Args:
        message: what to say.

    Raises:
        BadInput: always.
    """
    raise BadInput(message)


def divide_by_nothing() -> float:
    """Fail with an error of Python's own, as a unit of work.

    Returns:
        Never.
    """
    return 1 / 0


def draw(count: int) -> Tensor:
    """Draw from torch's global generator, as a unit of work.

    Args:
        count: how many numbers.

    Returns:
        The numbers, ``[count]``.
    """
    return torch.rand(count)


def threads_here() -> int:
    """Tell the number of threads, as a unit of work.

    Returns:
        How many threads torch uses.
    """
    return torch.get_num_threads()


class EngineContract:
    """What every engine promises, as tests: subclass it under a name that begins with Test, and give `engine`."""

    def engine(self) -> Engine:
        """Make the engine to be tested.

        Returns:
            A new engine.
        """
        raise NotImplementedError("Give the engine to be tested.")

    def test_it_is_an_engine(self) -> None:
        """It has the methods an engine has."""
        assert isinstance(self.engine(), Engine)

    def test_every_unit_runs_once_and_gives_what_its_function_gives(self) -> None:
        """Results are those of plain calls."""
        units = [Unit(f"unit {i}", multiply, {"a": torch.arange(4.0), "b": i}) for i in range(5)]
        results = list(self.engine().run(units))
        assert sorted(result.name for result in results) == [unit.name for unit in units]
        for i in range(5):
            found = _by_name(results)[f"unit {i}"]
            assert torch.equal(found.value, torch.arange(4.0) * i)
            assert found.failure is None
            assert found.seconds >= 0

    def test_a_failing_unit_says_why_and_the_others_go_on(self) -> None:
        """A failure is a sentence in a result, not an exception."""
        units = [
            Unit("bad", fail, {"message": "There is nothing to measure."}),
            Unit("worse", divide_by_nothing),
            Unit("good", multiply, {"a": torch.ones(1), "b": 3.0}),
        ]
        found = _by_name(list(self.engine().run(units)))
        assert found["bad"].failure == "There is nothing to measure."
        assert found["worse"].failure == "ZeroDivisionError: division by zero"
        assert found["bad"].value is None
        assert "fail" in found["bad"].trace
        assert found["good"].failure is None
        assert float(found["good"].value) == 3

    def test_the_order_of_units_changes_no_bit(self) -> None:
        """A unit that draws from the global generator draws the same numbers in every order."""
        units = [Unit(name, draw, {"count": 3}) for name in ("a", "b", "c")]
        forward, backward = _by_name(list(self.engine().run(units))), _by_name(list(self.engine().run(units[::-1])))
        for name in ("a", "b", "c"):
            assert torch.equal(forward[name].value, backward[name].value)
        assert not torch.equal(forward["a"].value, forward["b"].value)

    def test_the_caller_is_left_as_it_was(self) -> None:
        """Neither the number of threads nor the global generator changes."""
        threads, state = torch.get_num_threads(), torch.get_rng_state()
        units = [Unit("draw", draw, {"count": 3}, threads=2), Unit("fail", fail, {"message": "No."}, threads=2)]
        list(self.engine().run(units))
        assert torch.get_num_threads() == threads
        assert torch.equal(torch.get_rng_state(), state)

    def test_a_unit_gets_the_threads_it_asks_for(self) -> None:
        """Threads are set for each unit."""
        units = [Unit("one", threads_here, threads=1), Unit("two", threads_here, threads=2)]
        found = _by_name(list(self.engine().run(units)))
        assert (found["one"].value, found["two"].value) == (1, 2)

    def test_progress_is_told(self) -> None:
        """It is called before the first result and after each."""
        told: list[tuple[int, int]] = []
        units = [Unit(str(i), draw, {"count": 1}) for i in range(3)]
        list(self.engine().run(units, progress=lambda done, total: told.append((done, total))))
        assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]

    def test_nothing_to_do(self) -> None:
        """No units, no results."""
        assert list(self.engine().run([])) == []

    def test_whoever_stops_iterating_stops_the_work(self) -> None:
        """Closing the iterator early is no error."""
        results = iter(self.engine().run([Unit(str(i), draw, {"count": 1}) for i in range(20)]))
        next(results)
        close = getattr(results, "close", None)
        assert close is not None, "the iterator must be closable, as a generator is"
        close()
        assert list(results) == []

    def test_units_of_one_name_are_refused(self) -> None:
        """Before anything runs."""
        said = ""
        try:
            list(self.engine().run([Unit("twice", draw, {"count": 1})] * 2))
        except BadInput as why:
            said = str(why)
        assert "twice" in said


def _by_name(results: list[Result]) -> dict[str, Result]:
    return {result.name: result for result in results}
