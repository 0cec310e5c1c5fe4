"""A day of recording and surveying in minutes: nothing grows that should not, and nothing is lost on the way."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import landform as lf
from landform.recording import Recorder, Trajectory

# A record every ten seconds for a day.
RECORDS = 8640
LEGS = 6


def resident() -> float:
    """Megabytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def opened() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell what a process holds")
def test_a_day_in_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = torch.randn(32, 6), torch.arange(32) % 3
    landscape = lf.Landscape(model, (x, y), device="cpu")
    told: list[int] = []
    held, files, threads = [], [], []
    # A clock that is set back an hour now and then moves nobody.
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() - 3600 * (len(held) % 2))
    for leg in range(LEGS):
        with Recorder(
            tmp_path / "run",
            model,
            optimizer,
            epoch=100,
            at=1,
            pairs=None,
            resumable_at=RECORDS // LEGS,
            probes=lf.probes.live(landscape, ["loss", "gradient_norm"]),
            probes_at=20,
            log=lambda step, values: told.append(step),
            resume=True,
        ) as recorder:
            for _ in range(RECORDS // LEGS):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                recorder.step(loss=loss, margin=float(loss.detach()))
        held.append(resident())
        files.append(opened())
        threads.append(threading.active_count())
        assert Trajectory(tmp_path / "run").steps[-1] == (leg + 1) * (RECORDS // LEGS)
    assert held[-1] - held[1] < 30, held
    assert max(files[1:]) <= files[0] + 1, files
    assert max(threads[1:]) <= threads[0], threads

    run = Trajectory(tmp_path / "run")
    assert run.steps == list(range(RECORDS + 1))
    steps, losses = run.curves["loss"]
    assert steps.tolist() == list(range(1, RECORDS + 1))
    assert bool(torch.isfinite(losses).all())
    assert len(run.curves["train/loss"][0]) + len(run.skipped.get("train/loss", [])) >= RECORDS // 20

    before = resident()
    start = time.perf_counter()
    atlas = lf.survey(run, landscape, probes=["loss", "parameter_norm"])
    first = time.perf_counter() - start
    assert atlas["loss"].values.shape[-1] == RECORDS + 1
    assert resident() - before < 150
    assert opened() <= files[0] + 5
    start = time.perf_counter()
    again = lf.survey(run, landscape, probes=["loss", "parameter_norm"])
    assert time.perf_counter() - start < first  # nothing is measured twice
    assert not again.notes
    assert run.points[RECORDS].equal(lf.Layout.of(model).point(model))
