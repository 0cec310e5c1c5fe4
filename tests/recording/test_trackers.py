"""What is measured during training, told to trackers: to stand-ins, and to the real ones where they are installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from landform.errors import BadInput
from landform.recording import Log, Recorder, to_mlflow, to_tensorboard, to_wandb


def record(folder: Path, log: Log) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    probes = {"norm": lambda now: now.point.norm(), "epoch": lambda now: now.epoch}
    with Recorder(folder, model, epoch=2, at=2, pairs=None, probes=probes, budget=None, log=log) as recorder:
        for _ in range(4):
            recorder.step()


class Writer:
    def __init__(self) -> None:
        self.told: list[tuple[str, float, int]] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.told.append((name, value, step))


def test_tensorboard(tmp_path: Path) -> None:
    writer = Writer()
    record(tmp_path / "run", to_tensorboard(writer))
    assert [(name, step) for name, _, step in writer.told] == [
        (f"landform/{name}", step) for step in (0, 2, 4) for name in ("norm", "epoch")
    ]
    assert [value for name, value, _ in writer.told if name == "landform/epoch"] == [0, 1, 2]
    with pytest.raises(BadInput, match="writer is a str: give a SummaryWriter"):
        to_tensorboard("runs/tb")


@pytest.mark.filterwarnings("ignore")
def test_the_real_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "tb")) as writer:  # type: ignore[no-untyped-call]
        record(tmp_path / "run", to_tensorboard(writer))
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("landform/epoch")] == [(0, 0), (2, 1), (4, 2)]


class Run:
    def __init__(self) -> None:
        self.told: list[dict[str, float]] = []
        self.metrics: list[tuple[str, dict[str, Any]]] = []

    def define_metric(self, name: str, **how: Any) -> None:
        self.metrics.append((name, how))

    def log(self, values: dict[str, float]) -> None:
        self.told.append(values)


def test_weights_and_biases(tmp_path: Path) -> None:
    run = Run()
    record(tmp_path / "run", to_wandb(run))
    assert ("landform/*", {"step_metric": "landform/step"}) in run.metrics
    assert [each["landform/step"] for each in run.told] == [0, 2, 4]
    assert [each["landform/epoch"] for each in run.told] == [0, 1, 2]
    with pytest.raises(BadInput, match=r"run is a str: give what wandb\.init"):
        to_wandb("mine")


@pytest.mark.filterwarnings("ignore")
def test_the_real_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = wandb.init(mode="offline", dir=str(tmp_path), project="landform")
    record(tmp_path / "run", to_wandb(run))
    assert run.summary["landform/epoch"] == 2
    assert run.summary["landform/step"] == 4
    run.finish()
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[dict[str, float], int, str | None]] = []

    class Mlflow:
        @staticmethod
        def log_metrics(metrics: dict[str, float], step: int, run_id: str | None = None) -> None:
            told.append((metrics, step, run_id))

    monkeypatch.setitem(sys.modules, "mlflow", Mlflow())  # type: ignore[arg-type]
    record(tmp_path / "run", to_mlflow("abc"))
    assert [(metrics["landform/epoch"], step, run) for metrics, step, run in told] == [
        (0, 0, "abc"), (1, 2, "abc"), (2, 4, "abc"),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_the_real_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # mlflow-skinny has no database
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    with mlflow.start_run() as run:
        record(tmp_path / "run", to_mlflow())
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "landform/epoch")
    assert [(each.step, each.value) for each in history] == [(0, 0), (2, 1), (4, 2)]
