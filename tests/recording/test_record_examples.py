"""The examples that record and survey training runs of every kind, as they are written; each under 40 lines."""

from __future__ import annotations

import importlib.util
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from landform.recording import Trajectory

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def needs(framework: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(framework) is None
    return pytest.mark.skipif(missing, reason=f"{framework} is not installed")


TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
no_gloo = not torch.distributed.is_available() or not torch.distributed.is_gloo_available()
CASES = [
    pytest.param("record_sharded", TWO, {"sharded": 12}, id="fully_shard",
                 marks=[pytest.mark.slow, pytest.mark.skipif(no_gloo, reason="this torch has no gloo")]),
    pytest.param("record_lightning", [], {"lightning": 50}, id="lightning", marks=needs("lightning")),
    pytest.param("record_trainer", [], {"trainer": 5, "saved": 3}, id="trainer", marks=needs("transformers")),
    pytest.param("record_accelerate", TWO, {"accelerate": 12}, id="accelerate", marks=needs("accelerate")),
]  # fmt: skip


def short(name: str) -> Path:
    script = EXAMPLES / f"{name}.py"
    assert len(script.read_text(encoding="utf-8").splitlines()) < 40
    return script


def check(folder: Path, runs: dict[str, int]) -> None:
    for run, count in runs.items():
        trajectory = Trajectory(folder / "runs" / run)
        assert sum(not record.partner for record in trajectory.records) == count
        assert (trajectory.folder / "atlas.sqlite").is_file()
        assert trajectory.damaged == []


@pytest.mark.parametrize(("name", "runs"), [("record_loop", {"loop": 10}), ("survey_checkpoints", {"saved": 5})])
def test_example_of_torch_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, runs: dict[str, int]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(short(name)))
    check(tmp_path, runs)


@pytest.mark.parametrize(("name", "how", "runs"), CASES)
def test_example(tmp_path: Path, name: str, how: list[str], runs: dict[str, int]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *how, str(short(name))]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check(tmp_path, runs)
