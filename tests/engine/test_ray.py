"""The engine on Ray keeps the contract of engines, and loses nothing when workers and nodes are lost."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from landform.engine import Engine, InProcess, Needs, Ray, Unit
from landform.testing import EngineContract, draw

ray = pytest.importorskip("ray", reason="needs landform[ray]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module", autouse=True)
def _alone() -> Iterator[None]:
    """No cluster but those of these tests, and no password between its parts."""
    before = {name: os.environ.get(name) for name in ("RAY_ADDRESS", "RAY_AUTH_MODE")}
    os.environ.pop("RAY_ADDRESS", None)
    os.environ["RAY_AUTH_MODE"] = "disabled"
    yield
    ray.shutdown()
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class TestRay(EngineContract):
    def engine(self) -> Engine:
        return Ray(retries=0)


def die() -> None:
    os._exit(9)


def place(folder: Path, name: str, seconds: float) -> str:
    """Leave word of the process, as files that the test looks for; then work a while."""
    (folder / f"{name}.{os.getpid()}").touch()
    time.sleep(seconds)
    return name


def test_units_of_a_module_of_ones_own_give_the_bits_they_give_here() -> None:
    units = [Unit(f"unit {i}", train_a_little, {"seed": i}, threads=1) for i in range(6)]
    there = {result.name: result.value for result in Ray().run(units)}
    here = {result.name: result.value for result in InProcess().run(units)}
    assert there.keys() == here.keys()
    assert all(torch.equal(there[name], here[name]) for name in here)


def train_a_little(seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    x, w = torch.randn(64, 8), torch.zeros(8, requires_grad=True)
    for _ in range(20):
        loss = (torch.tanh(x @ w) - x[:, 0]).square().mean()
        (g,) = torch.autograd.grad(loss, w)
        w = (w - 0.1 * g).detach().requires_grad_()
    return w.detach()


def test_a_poisoned_unit_fails_alone() -> None:
    units = [Unit("poison", die), *(Unit(str(i), draw, {"count": 2}) for i in range(6))]
    results = {result.name: result for result in Ray(retries=1).run(units)}
    assert results.keys() == {unit.name for unit in units}
    assert "died 2 times" in (results["poison"].failure or "")
    assert all(results[str(i)].failure is None for i in range(6))


def test_what_no_node_has_is_told_at_once() -> None:
    units = [Unit("gpu", draw, {"count": 1}, needs=Needs(gpus=64)), Unit("none", draw, {"count": 1})]
    results = {result.name: result for result in Ray().run(units)}
    assert "no node of the cluster has" in (results["gpu"].failure or "")
    assert results["none"].failure is None


def test_what_units_share_is_sent_once() -> None:
    shared = torch.arange(1000.0)
    units = [Unit(str(i), add_up, {"numbers": shared, "add": i}) for i in range(4)]
    assert sorted(result.value for result in Ray().run(units)) == [float(shared.sum()) + i for i in range(4)]


def add_up(numbers: torch.Tensor, add: int) -> float:
    return float(numbers.sum()) + add


def test_workers_and_a_node_killed_lose_nothing(tmp_path: Path) -> None:
    ray.shutdown()
    cluster = two_nodes(ray)
    try:
        units = [
            Unit(str(i), place, {"folder": tmp_path, "name": str(i), "seconds": 0.25}, needs=Needs(cpus=0.5))
            for i in range(120)
        ]
        engine = Ray(cluster.address, retries=30)
        killed: list[int] = []
        over = threading.Event()
        killer = threading.Thread(target=kill_workers, args=(tmp_path, killed, 20, over))
        results: list[str | None] = []
        failures: list[str] = []
        killer.start()
        lost = False
        for result in engine.run(units):
            if result.failure is None:
                results.append(result.value)
            else:
                failures.append(result.failure)
            if not lost and len(killed) >= 8 and len(results) >= 20:
                cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
                lost = True
        over.set()
        killer.join()
        assert lost, "the work was over before a node could be taken away"
        assert len(killed) == 20, f"only {len(killed)} workers could be killed in time"
        assert failures == []
        assert sorted(map(int, filter(None, results))) == list(range(120))
    finally:
        ray.shutdown()
        cluster.shutdown()


def two_nodes(ray: ModuleType) -> object:
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    cluster.wait_for_nodes()
    return cluster


def kill_workers(folder: Path, killed: list[int], count: int, over: threading.Event) -> None:
    """Kill processes that units have told of, chosen at random, every so often."""
    choose = random.Random(0)
    while len(killed) < count and not over.wait(0.4):
        pids = {int(file.suffix[1:]) for file in folder.iterdir()} - set(killed)
        alive = [pid for pid in sorted(pids) if Path(f"/proc/{pid}").exists()]
        if alive:
            pid = choose.choice(alive)
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)
