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
from typing import Any

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


def place(folder: Path, name: str, last: bool) -> str:
    """Tell which process works on this; the last units work until enough processes have been killed."""
    (folder / f"{name}.{os.getpid()}").touch()
    deadline = time.monotonic() + (900 if last else 0.1)
    while time.monotonic() < deadline and not (folder / "enough").exists():
        time.sleep(0.01)
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
    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(target=kill_workers, args=(tmp_path, killed, cluster, over))
    try:
        units = [
            Unit(str(i), place, {"folder": tmp_path, "name": str(i), "last": i >= 60}, needs=Needs(cpus=0.5))
            for i in range(80)
        ]
        killer.start()
        results = list(Ray(cluster.address, retries=30).run(units))
        assert len(killed) == 20
        assert len(cluster.worker_nodes) == 0
        assert [result.failure for result in results] == [None] * 80
        assert sorted(int(result.value) for result in results) == list(range(80))
    finally:
        over.set()
        killer.join()
        ray.shutdown()
        cluster.shutdown()


def two_nodes(ray: ModuleType) -> Any:
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    cluster.wait_for_nodes()
    return cluster


def kill_workers(folder: Path, killed: list[int], cluster: Any, over: threading.Event) -> None:
    """Kill twenty processes that units have told of, chosen at random, and a node half way."""
    choose = random.Random(0)
    while len(killed) < 20 and not over.wait(0.1):
        told = {int(file.suffix[1:]) for file in folder.iterdir()} - set(killed)
        alive = [pid for pid in sorted(told) if Path(f"/proc/{pid}").exists()]
        if alive:
            killed.append(choose.choice(alive))
            os.kill(killed[-1], signal.SIGKILL)
        if len(killed) >= 10 and cluster.worker_nodes:
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    (folder / "enough").touch()
