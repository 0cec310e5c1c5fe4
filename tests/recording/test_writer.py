from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from landform import store
from landform.errors import BadInput
from landform.layout import Layout
from landform.recording import Background, RecordData, Recorder, RunWriter, Trajectory


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))


def test_writers_that_share_a_thread(tmp_path: Path) -> None:
    layout, background = Layout.of(net()), Background()
    points = torch.randn(3, 5, layout.size)
    writers = [
        RunWriter(tmp_path / str(k), layout=layout, epoch=4, settings={"seed": k}, background=background)
        for k in range(3)
    ]
    momenta = torch.randn(3, layout.size)
    for step in range(5):
        for k, writer in enumerate(writers):
            optimizer = {"momentum_buffer": momenta[k]} if step == 3 else None
            writer.write(
                RecordData(
                    step=step, point=points[k, step], loss=0.5, lr=0.1, seconds=1.0 * step, optimizer=optimizer,
                    curves={"loss": ([step], [float(k)])}, state={"order": {"seed": k, "epoch": (1, 2)}},
                )
            )  # fmt: skip
    for writer in writers:
        writer.close()
    background.close()
    for k in range(3):
        trajectory = Trajectory(tmp_path / str(k))
        assert torch.equal(trajectory.points[:], points[k])
        assert trajectory.run["settings"] == {"seed": k}
        assert trajectory.records[0].momentum is None
        assert torch.equal(trajectory.records[3].momentum, momenta[k])
        assert trajectory.records[3].state == {"order": {"seed": k, "epoch": (1, 2)}}
        assert trajectory.curves["loss"][1].tolist() == [float(k)] * 5


def test_writers_keep_the_order_of_steps_and_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    layout = Layout.of(net())
    point = torch.randn(layout.size)
    writer = RunWriter(tmp_path / "run", layout=layout, epoch=4)
    writer.write(RecordData(3, point))
    for step in (3, 1):
        with pytest.raises(BadInput, match="in the order of steps"):
            writer.write(RecordData(step, point))
    with pytest.raises(BadInput, match="A point of this run is"):
        writer.write(RecordData(5, point[:-1]))
    writer.close()
    with pytest.raises(BadInput, match="is closed"):
        writer.write(RecordData(5, point))
    for bad in ({"epoch": 5}, {"point_dtype": torch.float64}):
        with pytest.raises(BadInput, match="go on with those"):
            RunWriter(tmp_path / "run", **{"layout": layout, "epoch": 4, "resume": True} | bad)
    with pytest.raises(BadInput, match="of another model"):
        RunWriter(tmp_path / "run", layout=Layout.of(nn.Linear(2, 2)), epoch=4, resume=True)
    writer = RunWriter(tmp_path / "run", layout=layout, epoch=4, resume=True)
    first = store.read_bytes(tmp_path / "run" / "points" / "000000003.safetensors")
    writer.write(RecordData(3, point, seconds=99.0))  # the same point again: left as it is
    writer.write(RecordData(4, -point))
    writer.close()
    assert store.read_bytes(tmp_path / "run" / "points" / "000000003.safetensors") == first
    writer = RunWriter(tmp_path / "run", layout=layout, epoch=4, resume=True)
    writer.write(RecordData(3, 2 * point))  # another point: the resumed run went elsewhere
    writer.close()
    assert "passes step 3 at another point than before" in caplog.text
    assert torch.equal(Trajectory(tmp_path / "run").points[:], torch.stack([2 * point, -point]))


def test_names_are_made_to_last_when_a_burst_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    replace, settle = os.replace, store.settle_folder
    monkeypatch.setattr(os, "replace", lambda a, b: (replace(a, b), events.append("named"))[0])
    monkeypatch.setattr(store, "settle_folder", lambda folder: (settle(folder), events.append("settled"))[0])
    with Recorder(tmp_path / "run", net(), epoch=1, at=1, pairs=None) as recorder:
        for _ in range(30):
            recorder.step()
        recorder.flush()
        assert events[-1] == "settled"
        recorder.step()
    assert events[-1] == "settled"
    assert events.count("named") == 1 + 32  # run.json and the records
    with pytest.raises(BadInput, match="is closed"):
        recorder.flush()


def test_leftovers_of_killed_writers_are_swept(tmp_path: Path) -> None:
    Recorder(tmp_path / "run", net(), epoch=1, at=1).close()
    for place in ("", "points"):
        (tmp_path / "run" / place / ".000000001.safetensors.0123abcd.tmp").write_bytes(b"half")
    assert Trajectory(tmp_path / "run").steps == [0]
    Recorder(tmp_path / "run", net(), epoch=1, at=1, resume=True).close()
    assert list((tmp_path / "run").rglob("*.tmp")) == []
