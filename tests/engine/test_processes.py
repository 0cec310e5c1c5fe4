"""The engine of several processes keeps the contract of engines, and what is its own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from landform.engine import Engine, InProcess, Needs, Processes, Unit, cores
from landform.engine._room import Room
from landform.errors import BadInput
from landform.testing import EngineContract, draw

# One worker of pytest-xdist runs all of these.
pytestmark = pytest.mark.xdist_group("processes")

# Starting a process takes seconds: what can share them does.
SHARED = Processes(2, retries=1)


class TestProcesses(EngineContract):
    def engine(self) -> Engine:
        return SHARED


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    yield
    SHARED.close()


def here() -> int:
    return os.getpid()


def die() -> None:
    os._exit(9)


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def no_result() -> object:
    return lambda: 1


def mark(folder: Path, name: str, last: bool) -> str:
    """Tell which process works on this; the last units work until enough processes have been killed."""
    (folder / f"{name}.{os.getpid()}").touch()
    deadline = time.monotonic() + (900 if last else 0.02)
    while time.monotonic() < deadline and not (folder / "enough").exists():
        time.sleep(0.01)
    return name


def test_a_poisoned_unit_fails_alone() -> None:
    units = [Unit("a", die), *(Unit(str(i), nap, {"seconds": 0.01}) for i in range(6))]
    results = {result.name: result for result in SHARED.run(units)}
    assert set(results) == {unit.name for unit in units}
    assert results["a"].failure is not None
    assert "died 2 times (exit status 9)" in results["a"].failure
    assert all(results[str(i)].value == 0.01 for i in range(6))


@pytest.mark.parametrize("count", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_processes_killed_at_random_lose_nothing(count: int, tmp_path: Path) -> None:
    engine = Processes(2, retries=20)
    units = [Unit(str(i), mark, {"folder": tmp_path, "name": str(i), "last": i >= 45}) for i in range(60)]
    choose = random.Random(0)
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while len(killed) < count and not over.wait(0.02):
            alive = sorted(set(engine.pids) - set(killed))
            if alive:
                killed.append(choose.choice(alive))
                with suppress(ProcessLookupError):
                    os.kill(killed[-1], signal.SIGKILL)
        (tmp_path / "enough").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        results = list(engine.run(units))
    finally:
        over.set()
        killer.join()
    assert len(killed) == count
    assert [result.failure for result in results] == [None] * 60
    assert sorted(int(result.value) for result in results) == list(range(60))


def test_a_unit_has_to_itself_what_it_needs(tmp_path: Path) -> None:
    units = [Unit(str(i), alone, {"folder": tmp_path}, needs=Needs(cpus=2)) for i in range(4)]
    assert all(result.value == 1 for result in SHARED.run(units))
    found = {r.name: r for r in SHARED.run([Unit("a", here, needs=Needs(gpus=1000)), Unit("b", here)])}
    assert "needs 1000 GPUs" in (found["a"].failure or "")
    assert found["b"].failure is None


def alone(folder: Path) -> int:
    """How many units run at this time."""
    (folder / str(os.getpid())).touch()
    count = len(list(folder.iterdir()))
    time.sleep(0.05)
    (folder / str(os.getpid())).unlink()
    return count


def test_gpus_and_memory_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("landform.engine._room._memory", lambda: 100.0)
    room = Room(8)
    half, whole = Needs(gpus=0.5), Needs(gpus=1)
    assert room.take(half) == (0,)
    assert room.take(half) == (0,)
    assert room.take(whole) == (1,)
    assert room.take(half) is None
    room.give(whole, (1,))
    assert room.take(Needs(gpus=2)) is None
    room.give(half, (0,))
    room.give(half, (0,))
    assert room.take(Needs(gpus=2, memory=60)) == (0, 1)
    assert room.take(Needs(memory=60)) is None
    assert room.refusal(Needs(gpus=3)) is not None
    assert room.refusal(Needs(memory=101)) is not None
    assert room.refusal(Needs(cpus=100)) is None
    room.give(Needs(gpus=2, memory=60), (0, 1))
    assert (room.cpus, room.memory, room.gpus) == (8, 100.0, [1.0, 1.0])
    assert room.take(Needs(cpus=100)) == ()


def test_what_cannot_be_sent_back_is_a_failure() -> None:
    results = {r.name: r for r in SHARED.run([Unit("a", no_result), Unit("b", here)])}
    assert "sent back" in (results["a"].failure or "")
    assert results["b"].failure is None


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from landform.engine import Processes, Unit\nfrom landform.testing import draw\n"
        "print(list(Processes(1).run([Unit('a', draw, {'count': 1})])))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode != 0
    assert "could not start" in done.stderr


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    script, told = tmp_path / "script.py", tmp_path / "pid"
    script.write_text(
        "import os, sys, time\nfrom pathlib import Path\nfrom landform.engine import Processes, Unit\n\n\n"
        "def nap(file):\n    Path(file).write_text(str(os.getpid()))\n    time.sleep(900)\n\n\n"
        "if __name__ == '__main__':\n    list(Processes(1).run([Unit('a', nap, {'file': sys.argv[1]})]))\n"
    )
    driver = subprocess.Popen([sys.executable, str(script), str(told)])
    try:
        wait_for(lambda: told.is_file() and told.read_text() != "")
    finally:
        driver.kill()
        driver.wait()
    worker = int(told.read_text())
    wait_for(lambda: not Path(f"/proc/{worker}/cmdline").is_file() or not Path(f"/proc/{worker}/cmdline").read_bytes())


def wait_for(true: Callable[[], bool], seconds: float = 300.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_units_run_elsewhere_and_give_the_bits_they_give_here() -> None:
    units = [Unit(str(i), draw, {"count": 3}) for i in range(3)]
    there = {result.name: result.value for result in SHARED.run(units)}
    assert all((there[result.name] == result.value).all() for result in InProcess().run(units))
    assert os.getpid() not in {result.value for result in SHARED.run([Unit("here", here)])}


def test_what_cannot_be_sent_is_a_failure() -> None:
    results = {r.name: r for r in SHARED.run([Unit("a", lambda: 1), Unit("b", here)])}
    assert "another process" in (results["a"].failure or "")
    assert results["b"].failure is None


def test_misuse() -> None:
    assert cores() >= 1
    with pytest.raises(BadInput, match="at least 1"):
        Processes(0)
    with pytest.raises(BadInput, match="retries is -1"):
        Processes(1, retries=-1)
    with pytest.raises(BadInput, match="needs 0 CPUs"):
        Processes(1).run([Unit("a", here, needs=Needs(cpus=0))])
