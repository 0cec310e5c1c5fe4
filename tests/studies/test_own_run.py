"""Everything measured along a run of one's own, as a newcomer would write it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import landform as lf
from landform.errors import BadInput
from landform.recording import Record
from landform.studies import EVERYTHING, deep_survey
from landform.survey import Forecast
from landform.training import spawn_by

EPOCHS, PER_EPOCH = 3, 6


class Loop:
    """A plain PyTorch loop of somebody who has never seen landform's."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.data = lf.data.digits(per_class=12)
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.5)

    def train(self, seed: int, start: int = 0, step: Callable[..., object] = lambda **_: None) -> None:
        order = torch.Generator().manual_seed(seed)
        for _ in range(start, EPOCHS * PER_EPOCH):
            batch = torch.randint(len(self.data.train), (20,), generator=order)
            self.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(
                self.model(self.data.train.inputs[batch]), self.data.train.targets[batch]
            )
            loss.backward()
            self.optimizer.step()
            step(loss=loss)

    def record(self, folder: Path, **how: object) -> None:
        with lf.Recorder(folder, self.model, self.optimizer, epoch=PER_EPOCH, at=2, pairs=0.4, **how) as recorder:  # type: ignore[arg-type]
            self.train(0, step=recorder.step)

    def continue_from(self, record: Record, seed: int) -> nn.Module:
        record.restore(self.model, self.optimizer)
        self.train(seed, start=record.step)
        return self.model

    @property
    def sets(self) -> dict[str, lf.Landscape]:
        train = lf.Landscape(self.model, self.data, device="cpu")
        return {"train": train, "test": train.on(self.data.test)}


def test_a_loop_of_ones_own_with_children_of_ones_own(tmp_path: Path) -> None:
    loop = Loop()
    loop.record(tmp_path / "run", resumable_at=list(range(0, 19, 2)))
    said: list[str] = []
    told: list[Forecast] = []
    atlas = deep_survey(
        tmp_path / "run", loop.sets, continue_from=loop.continue_from, say=said.append, forecast=told.append
    )
    assert said[0].startswith("Training ")
    assert told[0].left_out == {}
    run = lf.Trajectory(tmp_path / "run")
    assert len(run.children) >= 4
    by_start: dict[int, list[Tensor]] = {}
    for child in run.children:
        assert child.parent is not None
        assert child.steps == [child.parent["step"], EPOCHS * PER_EPOCH]
        assert child.points[0].equal(run.at(step=child.parent["step"]).point)
        by_start.setdefault(child.parent["step"], []).append(child.points[-1])
    assert all(not a.equal(b) for a, b in by_start.values())  # siblings differ, by their seeds
    for name in ("children_barrier_error", "onset_linearised", "kernel_velocity", "sharpness", "loss"):
        assert name in atlas.names(), name
    assert "children_kernel_distance" in atlas.names()
    page = lf.report(tmp_path / "run").read_text()
    assert 'id="moving-together"' in page
    assert 'id="onset-errors"' in page


def test_why_there_are_no_children_is_told(tmp_path: Path) -> None:
    loop = Loop()
    loop.record(tmp_path / "run")
    said: list[str] = []
    deep_survey(tmp_path / "run", loop.sets["train"], say=said.append)
    assert said == [
        "No children leave this run: it comes from a loop of your own, so give continue_from= in Python, which trains "
        "on from a record."
    ]
    recipe = lf.Recipe(epochs=1, batch_size=60)
    lf.train(loop.model, loop.data, recipe, out=tmp_path / "ours", device="cpu")
    deep_survey(tmp_path / "ours", loop.sets["train"], say=said.append)
    assert "model and the data" in said[-1]


def test_children_of_a_run_of_ours_and_a_budget(tmp_path: Path) -> None:
    loop = Loop()
    recipe = lf.Recipe(epochs=2, batch_size=20, lr=0.1)
    lf.train(loop.model, loop.data, recipe, out=tmp_path / "run", device="cpu")
    told: list[Forecast] = []
    said: list[str] = []
    given = {"model": loop.model, "data": loop.data, "say": said.append, "forecast": told.append}
    atlas = deep_survey(tmp_path / "run", loop.sets, budget=1e-6, least=0.5, **given)  # type: ignore[arg-type]
    assert told[0].left_out
    assert "allowed" in str(told[0])
    assert any("was left out" in note for note in atlas.notes)
    # With all the time in the world, what was left out is measured, and the children stay.
    before = [child.folder for child in lf.Trajectory(tmp_path / "run").children]
    atlas = deep_survey(tmp_path / "run", loop.sets, budget=None, **given)  # type: ignore[arg-type]
    assert not any("was left out" in note for note in atlas.notes)
    if before:
        assert [child.folder for child in lf.Trajectory(tmp_path / "run").children] == before
    assert math.isinf(told[-1].allowance)
    assert len(EVERYTHING) == len(set(EVERYTHING))


def test_what_comes_back_from_continue_from_is_looked_at(tmp_path: Path) -> None:
    loop = Loop()
    loop.record(tmp_path / "run", resumable_at=[0])
    with pytest.raises(BadInput, match="return the trained model"):
        spawn_by(tmp_path / "run", lambda record, seed: None, at=0.0)  # type: ignore[arg-type, return-value]
    with pytest.raises(BadInput, match=r"without the run's 1\.weight"):
        spawn_by(tmp_path / "run", lambda record, seed: nn.Linear(2, 2), at=0.0)
    with pytest.raises(BadInput, match=r"shape \[3\]"):
        spawn_by(tmp_path / "run", lambda record, seed: torch.zeros(3), at=0.0)
    with pytest.raises(BadInput, match="nothing left to train"):
        spawn_by(tmp_path / "run", loop.continue_from, at=99.0)
    with pytest.raises(BadInput, match="at least 1"):
        spawn_by(tmp_path / "run", loop.continue_from, at=0.0, children=0)
    with pytest.raises(BadInput, match="at least one time"):
        spawn_by(tmp_path / "run", loop.continue_from, at=[])
    assert lf.Trajectory(tmp_path / "run").children == []


def test_finished_children_are_kept(tmp_path: Path) -> None:
    loop = Loop()
    loop.record(tmp_path / "run", resumable_at=[0, 6])
    first = spawn_by(tmp_path / "run", loop.continue_from, at=[0.0, 1.0], children=1)
    calls: list[int] = []

    def counted(record: Record, seed: int) -> nn.Module:
        calls.append(seed)
        return loop.continue_from(record, seed)

    again = spawn_by(tmp_path / "run", counted, at=[0.0, 1.0], children=1)
    assert calls == []
    assert [child.points[-1].tolist() for child in again] == [child.points[-1].tolist() for child in first]
    spawn_by(tmp_path / "run", counted, at=[0.0], children=1, overwrite=True)
    assert len(calls) == 1
