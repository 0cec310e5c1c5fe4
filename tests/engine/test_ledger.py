"""How far work is, as anyone may see it; engines by name."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from landform import store
from landform.engine import (
    InProcess,
    Ledger,
    Processes,
    Ray,
    Unit,
    duration,
    engine_named,
    failures,
    run_missing,
    status,
)
from landform.errors import BadInput
from landform.testing import EngineContract, divide_by_nothing, draw


class TestLedger(EngineContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def engine(self) -> Ledger:
        return Ledger(InProcess(), self.folder, "contract")


def test_done_failed_and_running_are_told(tmp_path: Path) -> None:
    ledger = Ledger(InProcess(), tmp_path, "test", done=2, total=5)
    units = [Unit("a", draw, {"count": 1}), Unit("b/c", divide_by_nothing), Unit("d", draw, {"count": 1})]
    results = ledger.run(units)
    next(results)
    ledger_status = status(tmp_path)
    assert (ledger_status.state, ledger_status.total) == ("running", 5)
    assert len(list(results)) == 2
    found = status(tmp_path)
    assert (found.state, found.done, found.total) == ("finished", 4, 5)
    assert found.failed == {"b/c": "ZeroDivisionError: division by zero"}
    assert found.seconds_left is None
    assert found.running == {}
    assert "4 of 5 done, 1 failed" in str(found)
    trace = [store.read_json(path)["trace"] for path in (tmp_path / "failed").iterdir()]
    assert "divide_by_nothing" in trace[0]


def test_work_of_several_runs_is_finished_when_all_is(tmp_path: Path) -> None:
    with Ledger(InProcess(), tmp_path, "study") as ledger:
        for stage in range(2):
            list(ledger.run([Unit(f"{stage}-{i}", draw, {"count": 1}) for i in range(3)]))
            assert status(tmp_path).state == "running"
    assert (status(tmp_path).state, status(tmp_path).done, status(tmp_path).total) == ("finished", 6, 6)

    def study() -> None:
        with Ledger(InProcess(), tmp_path, "study") as ledger:
            list(ledger.run([Unit("bad", divide_by_nothing)]))
            raise BadInput("It failed.")

    with pytest.raises(BadInput, match="It failed"):
        study()
    assert (status(tmp_path).state, set(status(tmp_path).failed)) == ("stopped", {"bad"})


def test_a_failure_is_forgotten_when_the_unit_succeeds(tmp_path: Path) -> None:
    list(Ledger(InProcess(), tmp_path, "test").run([Unit("a", divide_by_nothing)]))
    assert set(failures(tmp_path)) == {"a"}
    list(Ledger(InProcess(), tmp_path, "test").run([Unit("a", draw, {"count": 1})]))
    assert failures(tmp_path) == {}


def test_what_runs_is_told_with_the_time_left(tmp_path: Path) -> None:
    seen = []
    ledger = Ledger(InProcess(), tmp_path, "test")

    def look() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not status(tmp_path).running:
            time.sleep(0.05)
        seen.append(status(tmp_path))

    list(ledger.run([Unit("a", draw, {"count": 1}), Unit("look", look), Unit("b", draw, {"count": 1})]))
    assert list(seen[0].running) == ["look"]
    assert seen[0].seconds_left is not None
    assert seen[0].done == 1


def test_work_that_was_stopped_says_so(tmp_path: Path) -> None:
    results = Ledger(InProcess(), tmp_path, "test").run([Unit(str(i), draw, {"count": 1}) for i in range(3)])
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert status(tmp_path).state == "stopped"
    # A driver that was killed never said that it stopped.
    told = store.read_json(tmp_path / "status.json")
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    store.write_json(tmp_path / "status.json", {**told, "state": "running", "process": pid})
    assert status(tmp_path).state == "stopped"
    store.write_json(tmp_path / "status.json", {**told, "state": "running", "host": "elsewhere"})
    assert status(tmp_path).state == "running"
    store.write_json(tmp_path / "status.json", {**told, "state": "running", "host": "elsewhere", "told": 0.0})
    assert status(tmp_path).state == "stopped"


def test_a_folder_without_work(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not tell how far"):
        status(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "told"), [(3.2, "3 s"), (130, "2 min 10 s"), (7300, "2 h 1 min"), (200_000, "2 days 7 h")]
)
def test_durations_in_words(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_engines_by_name() -> None:
    assert isinstance(engine_named("inline"), InProcess)
    local = engine_named("local", processes=3, retries=7)
    assert isinstance(local, Processes)
    assert (local.count, local.retries) == (3, 7)
    assert isinstance(engine_named(None, processes=1), InProcess)
    assert isinstance(engine_named(None, processes=2), Processes)
    far = engine_named("ray://head:10001")
    assert isinstance(far, Ray)
    assert far.address == "ray://head:10001"
    assert isinstance(engine_named("ray"), Ray)
    assert engine_named(local) is local
    for wrong in ("spark", "ray://", "http://head:1"):
        with pytest.raises(BadInput, match="There is no engine"):
            engine_named(wrong)


def test_missing_units_all_run_and_the_first_failure_is_raised() -> None:
    ran: list[str] = []

    def note(name: str, bad: bool) -> None:
        ran.append(name)
        if bad:
            raise ValueError(name)

    units = [Unit(name, note, {"name": name, "bad": name in "bc"}) for name in "abcd"]
    with pytest.raises(BadInput, match=r"b \(and 1 more\) failed \(ValueError: b\)"):
        run_missing(units, there=lambda unit: unit.name == "a")
    assert ran == ["b", "c", "d"]
    run_missing(units[:1])
