"""A process that records is killed at random moments: nothing it had recorded is lost, and the run goes on."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from landform.recording import Recorder, Trajectory

EVERY = 5  # resumable records


class Run:
    """A run that draws on torch's generator (dropout) and whose files are large enough to be caught half written."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(50, 300), nn.Dropout(0.2), nn.Linear(300, 50))
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1, momentum=0.9)

    def step(self, number: int) -> float:
        self.optimizer.zero_grad()
        x = torch.sin(torch.arange(400.0).view(8, 50) * (number + 1))
        loss = (self.model(x) - x).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def point(self) -> torch.Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self.model.parameters()])


def record_until_killed(folder: Path, announce: int) -> None:
    torch.set_num_threads(1)
    run = Run()
    if (folder / "run.json").exists():
        resumable = Trajectory(folder).resumable
        if resumable:
            resumable[-1].restore(run.model, run.optimizer)
    recorder = Recorder(folder, run.model, run.optimizer, epoch=10, at=1, pairs=None, resumable_at=EVERY, resume=True)
    told = len(recorder.recorded)
    while True:
        recorded = recorder.recorded
        for step in recorded[told:]:
            os.write(announce, step.to_bytes(4, "little"))
        told = len(recorded)
        recorder.step(loss=run.step(recorder.steps))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the recording process")
@pytest.mark.parametrize("kills", [12, pytest.param(50, marks=pytest.mark.slow)])
def test_kills_lose_nothing_that_was_recorded(kills: int, tmp_path: Path) -> None:
    folder, moments = tmp_path / "run", random.Random(4)
    announced: set[int] = set()
    half_written = 0
    for _ in range(kills):
        read, write = os.pipe()
        child = multiprocessing.get_context("fork").Process(
            target=record_until_killed, args=(folder, write), daemon=True
        )
        child.start()
        os.close(write)
        # Now and then before the first record is announced, mostly after: the child needs some time to come so far.
        heard = os.read(read, 4) if moments.random() < 0.9 else b""
        time.sleep(moments.uniform(0, 0.08))
        child.kill()
        child.join()
        while more := os.read(read, 4096):
            heard += more
        os.close(read)
        assert child.exitcode == -9
        announced |= {int.from_bytes(heard[i : i + 4], "little") for i in range(0, len(heard) - 3, 4)}
        if not (folder / "run.json").exists():
            assert not announced
            continue
        half_written += any(folder.rglob("*.tmp"))
        trajectory = Trajectory(folder)
        assert announced <= set(trajectory.steps)
        assert trajectory.verify() == []
        assert trajectory.steps == list(range(len(trajectory)))  # at most the last one is missing, none in between

    assert half_written > 0 or kills < 50  # else the kills came too gently to show anything
    assert len(announced) > 2 * kills
    run = Run()
    trajectory = Trajectory(folder)
    assert torch.equal(trajectory.points[0], run.point())
    losses = []
    for step in range(1, len(trajectory)):
        losses.append(run.step(step - 1))
        assert torch.equal(trajectory.points[step], run.point())  # as if nothing had happened
    assert trajectory.curves["loss"][1].tolist() == losses
