"""A small recorded run, and probes that count how often they are called, for the tests of survey and atlas."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from landform.landscape import Landscape
from landform.layout import Layout
from landform.probes import Moment, Probe
from landform.recording import RecordData, Recorder, RunWriter, Trajectory
from landform.survey import survey


@dataclass(frozen=True)
class SmallRun:
    folder: Path
    model: nn.Module
    train: Landscape
    test: Landscape

    @property
    def trajectory(self) -> Trajectory:
        return Trajectory(self.folder)

    @property
    def sets(self) -> dict[str, Landscape]:
        return {"train": self.train, "test": self.test}


def build(*, batchnorm: bool = False, outputs: int = 3) -> nn.Module:
    torch.manual_seed(3)
    norm = [nn.BatchNorm1d(8)] if batchnorm else []
    return nn.Sequential(nn.Linear(6, 8), *norm, nn.Tanh(), nn.Linear(8, outputs))


def samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(60, 6, generator=generator)
    return inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0).long()


def record(folder: Path, *, batchnorm: bool = False, steps: int = 16, every: int = 2, lr: float = 0.1) -> SmallRun:
    """Train a little, recording every other step and partners between."""
    inputs, targets = samples()
    model = build(batchnorm=batchnorm)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    order = torch.Generator().manual_seed(7)
    with Recorder(folder, model, optimizer, epoch=4, at=list(range(0, steps + 1, every)), pairs=0.25) as recorder:
        for _ in range(steps):
            batch = torch.randint(40, (10,), generator=order)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[batch]), targets[batch])
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    landscape = Landscape(model, (inputs[:40], targets[:40]), batch_size=16, device="cpu")
    return SmallRun(folder, model, landscape, landscape.on((inputs[40:], targets[40:])))


def write_run(folder: Path, points: list[Tensor], model: nn.Module) -> Trajectory:
    """A run of given points, at steps 0, 1, 2, ..., each a second of training after the one before."""
    with closing(RunWriter(folder, layout=Layout.of(model), epoch=4, settings={})) as writer:
        for step, point in enumerate(points):
            writer.write(RecordData(step=step, point=point, seconds=float(step)))
    return Trajectory(folder)


def note_call(log: Path, text: str) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, f"{text}\n".encode())
    finally:
        os.close(handle)


def calls(log: Path) -> list[str]:
    return log.read_text().split("\n")[:-1] if log.exists() else []


def counted(log: str, name: str, pause: float, moment: Moment, scale: float = 1.0) -> dict[str, Tensor]:
    note_call(Path(log), f"{name} {moment.record.step}")
    time.sleep(pause)
    return {name: moment.point.double().sum() * scale}


def counting_probe(log: Path, name: str = "sum", *, pause: float = 0.0, scale: float = 1.0, cost: float = 9.0) -> Probe:
    return Probe(name, partial(counted, str(log), name, pause), {"scale": scale}, needs=(), cost=cost)


def survey_in_child(folder: str, log: str, started: Callable[[], object]) -> None:
    """What the child that is to be killed does."""
    torch.set_num_threads(1)
    inputs, targets = samples()
    landscape = Landscape(build(), (inputs, targets), device="cpu")
    probes = [counting_probe(Path(log), name, pause=0.002) for name in ("a", "b", "c")]
    started()
    survey(folder, landscape, probes=probes, progress=lambda done, total: note_call(Path(log), f"done {done}"))
