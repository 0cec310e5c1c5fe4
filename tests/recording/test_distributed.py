"""Two processes that train together: the first records, or each its shard."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import landform as lf
from landform.errors import BadInput
from landform.recording import Recorder, Trajectory, join_shards

WORKER = Path(__file__).with_name("two_processes.py")


def two(*arguments: object) -> None:
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    if not hasattr(importlib.import_module("torch.distributed.fsdp"), "fully_shard"):
        pytest.skip("fully_shard came to torch.distributed.fsdp with torch 2.6")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", WORKER, *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("two")
    two(folder)
    return folder


@pytest.mark.timing
def test_the_budget_is_kept_by_the_first_process(tmp_path: Path) -> None:
    two(tmp_path, "budget")
    told = torch.load(tmp_path / "budget.pt", weights_only=True)
    assert 0 < told["overhead"] < 0.1
    assert told["skipped"] == Trajectory(tmp_path / "budget").skipped
    assert len(told["skipped"]["train/loss"]) > 100


def found(folder: Path, rank: int = 0) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(folder / f"found-{rank}.pt", weights_only=True)
    return loaded


def test_data_parallel_training_is_recorded_by_the_first(trained: Path) -> None:
    run = Trajectory(trained / "ddp")
    ends = found(trained)
    assert torch.equal(ends["ddp False"], ends["ddp True"])  # to the bit
    assert torch.equal(ends["ddp True"], found(trained, 1)["ddp True"])
    assert run.steps == [0, 2, 4, 6, 8]
    assert torch.equal(run.points[-1], ends["ddp True"])
    assert run.layout.names[0] == "0.weight"  # as the user calls it, without the wrapper's name
    assert run.curves["train/loss"][0].tolist() == run.steps


def test_shards_are_joined(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "fsdp", tmp_path / "run")
    with pytest.raises(BadInput, match="each its shard: join them by"):
        Trajectory(tmp_path / "run")
    run = join_shards(tmp_path / "run")
    ends = found(trained)
    assert torch.equal(ends["fsdp False"], ends["fsdp True"])
    assert run.steps == [0, 1, 3, 4, 5, 6]
    assert run.pairs == [(0, 1), (2, 3), (4, 5)]
    start = lf.Layout.of(net()).point(net())
    assert torch.equal(run.points[0], start)
    # The same training by DDP, which reduces in another order.
    ddp = Trajectory(trained / "ddp")
    torch.testing.assert_close(run.points[[3, 5]], ddp.points[[2, 3]], rtol=1e-4, atol=1e-6)
    steps, losses = run.curves["loss"]
    assert steps.tolist() == list(range(1, 9))  # those after the last record as well
    inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    first = nn.functional.mse_loss(net()(inputs), inputs.sum(1, keepdim=True))
    assert float(losses[0]) == pytest.approx(float(first.detach()), rel=1e-5)  # the mean over both processes
    assert run.records[2].loss == pytest.approx(float(losses[2]))
    assert run.run["settings"]["shards"] == 2
    assert join_shards(tmp_path / "run").steps == run.steps  # once more changes nothing
    shutil.rmtree(tmp_path / "run" / "shards" / "00001")
    with pytest.raises(BadInput, match="holds 1 of 2 shards"):
        join_shards(tmp_path / "run")
    with pytest.raises(BadInput, match="holds no shards"):
        join_shards(tmp_path)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 1))


def test_a_run_in_shards_is_surveyed(trained: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    from landform.cli import main

    shutil.copytree(trained / "fsdp", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    code = (
        "import torch\nfrom torch import nn\nfrom landform.data import Dataset, Split\n"
        "def build():\n"
        "    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 1))\n"
        "def data():\n    x = torch.randn(9, 4)\n"
        "    return Dataset('sums', Split(x, x.sum(1, keepdim=True)), Split(x[:0], x[:0, :1]), None, {})\n"
    )
    Path("my_sharded_model.py").write_text(code, encoding="utf-8")
    how = ["--model", "my_sharded_model:build", "--data", "my_sharded_model:data", "--device", "cpu"]
    assert main(["survey", "run", *how, "--probes", "loss"]) == 0
    assert "The 2 shards in run are joined into 6 records" in capsys.readouterr().err
    assert lf.Atlas("run")["loss"].values.shape[-1] == 3  # partners are not surveyed


def test_compiled_models_have_their_own_names(tmp_path: Path) -> None:
    model = net()
    with Recorder(tmp_path / "run", torch.compile(model, backend="eager"), epoch=1, at=1) as recorder:  # type: ignore[arg-type]
        recorder.step()
    assert Trajectory(tmp_path / "run").layout.names[0] == "0.weight"


def test_flat_parameters_are_refused(tmp_path: Path) -> None:
    flat = type("FullyShardedDataParallel", (nn.Sequential,), {})
    with pytest.raises(BadInput, match="hides its parameters in flat ones"):
        Recorder(tmp_path / "run", flat(nn.Linear(2, 2)), epoch=1, at=1)
