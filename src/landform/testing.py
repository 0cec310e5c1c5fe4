"""Contracts as test classes: someone's own engine, or way of merging, is held to what landform's promise.

In a test module::

    class TestMyEngine(EngineContract):
        def engine(self):
            return MyEngine()


    class TestMyMethod(MethodContract):
        def method(self):
            return MY_METHOD
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from landform.engine import Engine, Result, Unit
from landform.errors import BadInput
from landform.merging import Method, Part, Per, ask, walk


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


_PER: tuple[Per, ...] = ("point", "tensor")
_SHAPES = {"a.weight": (7, 11), "a.bias": (7,), "b.weight": (3, 7, 2), "b.scale": (), "c": (0,)}


class MethodContract:
    """What methods of merging that need no data promise, as tests: subclass it under a name that begins with Test.

    Give `method`, and `settings` where it cannot do without.
    """

    def method(self) -> Method:
        """Give the method to be tested.

        Returns:
            The method.
        """
        raise NotImplementedError("Give the method to be tested.")

    def settings(self) -> dict[str, Any]:
        """Give its settings.

        Returns:
            Those that are not to be left as they are.
        """
        return {}

    def test_what_is_said_of_it_holds(self) -> None:
        """It merges tensors, and its settings take the values they have by themselves."""
        method = self.method()
        assert method.part is not None
        assert method.doc
        for name, setting in method.settings.items():
            assert not setting.wrong(setting.default), name

    def test_tensors_keep_their_form_and_sources_are_left_alone(self) -> None:
        """Shapes and types stay, scalars and empty tensors too, and nothing that was given changes."""
        for dtype in (torch.float32, torch.float64):
            parts = self._parts(dtype)
            before = [(part.sources.clone(), None if part.base is None else part.base.clone()) for part in parts]
            for per in _PER:
                found = self._merged(parts, per)
                for part, (sources, base) in zip(parts, before, strict=True):
                    merged = found[part.name]
                    assert merged.shape == part.sources.shape[1:]
                    assert merged.dtype == dtype
                    assert bool(torch.isfinite(merged).all())
                    assert torch.equal(part.sources, sources)
                    assert base is None or (part.base is not None and torch.equal(part.base, base))

    def test_the_same_is_merged_to_the_same(self) -> None:
        """No bit depends on when it is merged, and the global generator is left alone."""
        parts = self._parts()
        state = torch.get_rng_state()
        once, again = self._merged(parts, "point", seed=3), self._merged(parts, "point", seed=3)
        assert all(torch.equal(once[name], again[name]) for name in once)
        assert torch.equal(torch.get_rng_state(), state)

    def test_the_order_of_tensors_says_nothing(self) -> None:
        """Over the whole point or by tensor: files may have another order than memory."""
        parts = self._parts()
        for per in _PER:
            forward, backward = self._merged(parts, per), self._merged(parts[::-1], per)
            for name, merged in forward.items():
                torch.testing.assert_close(backward[name], merged)

    def test_by_tensor_each_is_merged_as_if_alone(self) -> None:
        """With per="tensor" no tensor knows of another."""
        parts = self._parts()
        together = self._merged(parts, "tensor")
        for part in parts:
            assert torch.equal(self._merged([part], "tensor")[part.name], together[part.name])

    def test_blocks_of_a_tensor_are_merged_as_the_whole(self) -> None:
        """Large tensors of files come in blocks, cut where the method says they may be."""
        method = self.method()
        if method.blocks == "whole":
            return
        (part,) = self._parts()[:1]
        n, rows, columns = part.sources.shape
        flat = method.blocks == "numbers"
        blocks: list[Part] = []
        for first, last in ((0, 2), (2, 3), (3, rows)):
            sources, base = part.sources[:, first:last], None if part.base is None else part.base[first:last]
            if flat:
                sources, base = sources.reshape(n, -1), None if base is None else base.reshape(-1)
            blocks.append(Part(part.name, sources, base, first * columns))
        asked = ask(method, _names(n), base=part.base is not None, settings=self.settings())
        assert method.part is not None
        known = None if method.gather is None else method.gather([part], asked)
        cut = None if method.gather is None else method.gather(blocks, asked)
        whole = method.part(part, known, asked)
        pieces = torch.cat([method.part(block, cut, asked).reshape(-1) for block in blocks])
        torch.testing.assert_close(pieces.view(whole.shape), whole)

    def test_equal_sources_on_the_base_stay_there(self) -> None:
        """Where nobody has moved, there is nothing to merge."""
        for part in self._parts():
            if part.base is not None:
                still = replace(part, sources=part.base.expand_as(part.sources).clone())
                torch.testing.assert_close(self._merged([still], "tensor")[part.name], part.base)

    def _parts(self, dtype: torch.dtype = torch.float64) -> list[Part]:
        made = torch.Generator().manual_seed(0)
        method = self.method()
        count = max(method.least or 2, 2)
        parts: list[Part] = []
        for name, shape in _SHAPES.items():
            base = torch.randn(shape, generator=made, dtype=torch.float64)
            sources = base + 0.5 * torch.randn((count, *shape), generator=made, dtype=torch.float64)
            parts.append(Part(name, sources.to(dtype), base.to(dtype) if method.base else None))
        return parts

    def _merged(self, parts: Sequence[Part], per: Per, seed: int = 0) -> dict[str, Tensor]:
        method = self.method()
        names = _names(len(parts[0].sources))
        asked = ask(method, names, base=method.base, settings=self.settings(), per=per, seed=seed)
        return {step.name: step.tensor for step in walk(method, parts, asked)}


def _names(count: int) -> list[str]:
    return [f"source {i + 1}" for i in range(count)]


def _by_name(results: list[Result]) -> dict[str, Result]:
    return {result.name: result for result in results}
