from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from landform import store
from landform.errors import BadInput
from landform.recording import Recorder, Trajectory, log_spaced


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))


def train(model: nn.Module, optimizer, recorder: Recorder, steps: int) -> tuple[dict[int, torch.Tensor], list[float]]:
    """A plain loop that keeps everything in memory, to compare with what lies on disk."""
    kept, losses = {0: flat(model)}, []
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        optimizer.step()
        recorder.step(loss=loss)
        kept[step] = flat(model)
        losses.append(loss.item())
    return kept, losses


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def test_three_lines_record_every_planned_point(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    with Recorder(tmp_path / "run", model, optimizer, epoch=10, at=[0, 3, 20], pairs=0.4, resumable_at=[9]) as recorder:
        kept, losses = train(model, optimizer, recorder, 30)
        means = model[1].running_mean.clone()
    trajectory = Trajectory(tmp_path / "run")
    assert trajectory.steps == [0, 3, 4, 7, 9, 20, 24]
    assert trajectory.pairs == [(0, 2), (1, 3), (5, 6)]
    assert [record.partner for record in trajectory.records] == [False, False, True, True, False, False, True]
    assert [record.resumable for record in trajectory.records] == [step == 9 for step in trajectory.steps]
    assert torch.equal(trajectory.points[:], torch.stack([kept[step] for step in trajectory.steps]))
    steps, values = trajectory.curves["loss"]
    assert steps.tolist() == list(range(1, 31))
    assert values.tolist() == losses
    assert trajectory.curves["lr"][1].tolist() == [0.1] * 30
    assert trajectory.records[1].loss == losses[2]
    assert trajectory.records[0].loss is None
    assert trajectory.records[1].lr == 0.1
    assert trajectory.seconds == sorted(trajectory.seconds)
    assert trajectory.records[-1].buffers.keys() == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert trajectory.records[-1].buffers["1.num_batches_tracked"] == 24
    assert not torch.equal(trajectory.records[-1].buffers["1.running_mean"], means)  # that is of step 30
    assert recorder.recorded == (0, 3, 4, 7, 9, 20, 24)
    run = trajectory.run
    assert run["schema"] == 1
    assert run["settings"]["recorder"]["optimizer"]["momentum"] == 0.9
    assert trajectory.layout.size == kept[0].numel()


def test_recording_does_not_change_the_run(tmp_path: Path) -> None:
    ends = []
    for recorded in (False, True):
        model = net()
        optimizer = torch.optim.AdamW(model.parameters(), 0.01)
        recorder = None
        if recorded:
            recorder = Recorder(tmp_path / "run", model, optimizer, epoch=5, at=1, resumable_at=3)
        for _ in range(20):
            optimizer.zero_grad()
            loss = nn.functional.dropout(model(torch.randn(8, 4))).square().mean()
            loss.backward()
            optimizer.step()
            if recorder:
                recorder.step(loss=loss)
        ends.append(flat(model))
        if recorder:
            recorder.close()
    assert torch.equal(*ends)


def test_losses_of_any_kind_and_further_curves(tmp_path: Path) -> None:
    model = net()
    with Recorder(tmp_path / "run", model, epoch=4, at=[4]) as recorder:
        recorder.step()
        recorder.step(loss=2)
        recorder.step(loss=torch.tensor([3.0], requires_grad=True), accuracy=0.5)
        recorder.step(loss=torch.tensor(4.0, dtype=torch.bfloat16), lr=0.25, accuracy=torch.tensor(1))
        recorder.step(loss=float("nan"), lr=torch.tensor(0.5))
    curves = Trajectory(tmp_path / "run").curves
    assert curves["loss"][0].tolist() == [2, 3, 4, 5]
    assert curves["loss"][1].tolist()[:3] == [2.0, 3.0, 4.0]
    assert curves["loss"][1][3].isnan()
    assert [x.tolist() for x in curves["lr"]] == [[4, 5], [0.25, 0.5]]
    assert [x.tolist() for x in curves["accuracy"]] == [[3, 4], [0.5, 1.0]]


def test_a_tensor_that_changes_later_is_recorded_as_it_was(tmp_path: Path) -> None:
    model, loss = net(), torch.zeros(())
    with Recorder(tmp_path / "run", model, epoch=4, at=[3]) as recorder:
        for number in range(3):
            loss.fill_(number)
            recorder.step(loss=loss)
        with torch.no_grad():
            before = flat(model)
            for p in model.parameters():
                p.zero_()
    trajectory = Trajectory(tmp_path / "run")
    assert trajectory.curves["loss"][1].tolist() == [0.0, 1.0, 2.0]
    assert torch.equal(trajectory.points[-1], before)


def test_numbers_on_a_device_are_kept_there_until_a_record(tmp_path: Path, monkeypatch) -> None:
    """The path a loss on a GPU takes, with tensors that say they are elsewhere."""
    monkeypatch.setattr("landform.recording._tape._MOST_ON_DEVICE", 5)

    class Elsewhere(torch.Tensor):
        is_cpu = False

        def item(self):
            raise AssertionError("this would wait for the device")

    with Recorder(tmp_path / "run", net(), epoch=4, at=[20]) as recorder:
        for number in range(23):
            recorder.step(loss=torch.tensor(float(number)).as_subclass(Elsewhere), lr=0.5)
    trajectory = Trajectory(tmp_path / "run")
    assert trajectory.curves["loss"][1].tolist() == [float(n) for n in range(23)]
    assert trajectory.at(step=20).loss == 19.0


def test_storage_type_and_resumable_records_in_full(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    kinds = {"dtype": torch.bfloat16, "at": [2, 5], "resumable_at": [5], "pairs": None}
    with Recorder(tmp_path / "run", model, optimizer, epoch=4, **kinds) as recorder:
        kept, _ = train(model, optimizer, recorder, 6)
    trajectory = Trajectory(tmp_path / "run")
    assert trajectory.points[1].dtype == torch.float32
    assert torch.equal(trajectory.points[1], kept[2].bfloat16().float())
    assert torch.equal(trajectory.points[2], kept[5])


def test_points_of_a_float64_model_and_of_mixed_types(tmp_path: Path) -> None:
    double = net().double()
    Recorder(tmp_path / "a", double, epoch=1, at=1).close()
    assert torch.equal(Trajectory(tmp_path / "a").points[0], flat(double))
    mixed = nn.Sequential(nn.Linear(2, 2).bfloat16(), nn.Linear(2, 2))
    Recorder(tmp_path / "b", mixed, epoch=1, at=1).close()
    assert torch.equal(Trajectory(tmp_path / "b").points[0], flat(mixed))


def test_disk_use_is_said_beforehand_and_is_right(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "landform.recording")
    model = nn.Linear(100, 300)
    optimizer = torch.optim.AdamW(model.parameters())
    with Recorder(tmp_path / "run", model, optimizer, epoch=10, at=log_spaced(10, 40), resumable_at=[20]) as recorder:
        assert recorder.disk_use is not None
        assert f"takes about {store.size_text(recorder.disk_use)}" in caplog.text
        for step in range(45):
            optimizer.zero_grad()
            model(torch.ones(2, 100)).sum().backward()
            optimizer.step()
            recorder.step(loss=float(step))
    assert Trajectory(tmp_path / "run").disk_use == pytest.approx(recorder.disk_use, rel=0.03)
    endless = Recorder(tmp_path / "endless", model, epoch=10, at=5)
    assert endless.disk_use is None
    assert "without a planned end" in caplog.text
    endless.close()


def test_thinning_to_max_bytes_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Linear(100, 100)
    with Recorder(tmp_path / "run", model, epoch=10, at=range(100), pairs=None, max_bytes=500_000) as recorder:
        for _ in range(99):
            recorder.step()
    assert "of 100 times 12 are kept" in caplog.text
    trajectory = Trajectory(tmp_path / "run")
    assert trajectory.disk_use <= 500_000
    assert trajectory.steps == [round(i * 99 / 11) for i in range(12)]
    with pytest.raises(BadInput, match="max_bytes=1000 is too little"):
        Recorder(tmp_path / "b", model, epoch=10, at=range(100), max_bytes=1000)
    with pytest.raises(BadInput, match="max_bytes needs an end"):
        Recorder(tmp_path / "b", model, epoch=10, at=5, max_bytes=10**6)
    assert not (tmp_path / "b").exists()


def test_a_disk_too_small_is_said_beforehand(tmp_path: Path, caplog, monkeypatch) -> None:
    monkeypatch.setattr(store, "free_space", lambda _: 1000)
    Recorder(tmp_path / "run", net(), epoch=10, at=range(100)).close()
    assert "and only 1 kB are free" in caplog.text


def test_run_json_can_be_read_by_a_person(tmp_path: Path) -> None:
    Recorder(tmp_path / "run", net(), epoch=7, at=[1, 5], settings={"seed": 3}).close()
    text = (tmp_path / "run" / "run.json").read_text()
    assert json.loads(text)["settings"]["seed"] == 3
    assert '\n "epoch": 7,\n' in text


# ---------------------------------------------------------------------------------------------- misuse


class Bare(nn.Module):
    pass


def frozen() -> nn.Module:
    return net().requires_grad_(False)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"model": Bare()}, "Bare has no parameter to train"),
        ({"model": frozen()}, r"no parameter to train \(all 6 of its parameters are frozen\)"),
        ({"model": 3}, "model must be a torch.nn.Module; got int"),
        ({"optimizer": torch.optim.SGD(net().parameters(), 0.1)}, "holds no trainable parameter of this Sequential"),
        ({"optimizer": 0.1}, "optimizer must be a torch optimiser or None"),
        ({"epoch": 0}, "epoch must be at least 1"),
        ({"epoch": 2.5}, "epoch must be a whole number"),
        ({"epoch": [1]}, "epoch must be the number of steps"),
        ({"at": -1}, "at must be at least 1"),
        ({"at": [0.5]}, "a step in at must be a whole number"),
        ({"pairs": -0.4}, "no distance between partners"),
        ({"dtype": torch.int8}, "Points cannot be stored as torch.int8"),
        ({"dtype": "bfloat16"}, "Points cannot be stored as bfloat16"),
        ({"settings": {"x": float("nan")}}, "cannot hold this as JSON"),
    ],
)
def test_misuse_is_one_sentence(arguments: dict, sentence: str, tmp_path: Path) -> None:
    given = {"folder": tmp_path / "run", "model": net(), "epoch": 10, "at": [1, 2]} | arguments
    with pytest.raises(BadInput, match=sentence) as caught:
        Recorder(**given)
    assert "\n" not in str(caught.value)
    Recorder(tmp_path / "run", net(), epoch=1, at=1).close()  # nothing stands in the way of doing it right


def test_wrong_values_in_the_loop(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run", net(), epoch=10, at=[5])
    with pytest.raises(BadInput, match=r"loss at step 1 is a tensor of shape \[2\]"):
        recorder.step(loss=torch.ones(2))
    with pytest.raises(BadInput, match="accuracy at step 2 must be a number; got str"):
        recorder.step(accuracy="good")
    recorder.close()
    with pytest.raises(BadInput, match="is closed"):
        recorder.step()
    recorder.close()


def test_an_optimizer_with_foreign_parameters(tmp_path: Path) -> None:
    model, other = net(), nn.Linear(2, 2)
    optimizer = torch.optim.SGD([*model.parameters(), *other.parameters()], 0.1)
    Recorder(tmp_path / "a", model, optimizer, epoch=1, at=1).close()
    with pytest.raises(BadInput, match="also holds 2 parameters that are not the model's"):
        Recorder(tmp_path / "b", model, optimizer, epoch=1, at=1, resumable_at=[5])


def test_a_parameter_thawed_on_the_way_is_noticed(tmp_path: Path) -> None:
    model = net()
    model[0].requires_grad_(False)
    recorder = Recorder(tmp_path / "run", model, epoch=1, at=[2])
    recorder.step()
    model[0].requires_grad_(True)
    with pytest.raises(BadInput, match=r"Parameter 0\.weight was frozen when recording began"):
        recorder.step()
    recorder.close()


def test_too_large_for_float16_is_said(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, 1e6)
    recorder = Recorder(tmp_path / "run", model, epoch=1, at=1, dtype=torch.float16)
    with pytest.raises(BadInput, match="too large for float16"):
        recorder.flush()
    with pytest.raises(BadInput, match="too large for float16"):
        recorder.close()


def test_a_run_is_not_written_over_unasked(tmp_path: Path) -> None:
    model = net()
    Recorder(tmp_path / "run", model, epoch=5, at=1).close()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="holds a run already"):
        Recorder(tmp_path / "run", model, epoch=5, at=1)
    other = nn.Linear(2, 2)
    Recorder(tmp_path / "run", other, epoch=5, at=1, overwrite=True).close()
    assert torch.equal(Trajectory(tmp_path / "run").points[0], flat(other))
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(BadInput, match="holds records but no"):
        Recorder(tmp_path / "run", model, epoch=5, at=1)
    (tmp_path / "run" / "children").mkdir()
    with pytest.raises(BadInput, match="has children"):
        Recorder(tmp_path / "run", model, epoch=5, at=1, overwrite=True)
