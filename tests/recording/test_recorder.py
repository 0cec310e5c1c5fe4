from __future__ import annotations

import errno
import gc
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from landform import store
from landform.errors import BadInput
from landform.recording import Background, RecordData, Recorder, RunWriter, Trajectory, log_spaced


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


def step_often(recorder: Recorder, times: int = 50) -> None:
    for _ in range(times):
        recorder.step(loss=1.0)


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


# ---------------------------------------------------------------------------------------------- disks and processes


def test_a_full_disk_is_one_sentence_in_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    recorder = Recorder(tmp_path / "run", model, epoch=5, at=1, pairs=None)
    for _ in range(4):
        recorder.step(loss=1.0)
    recorder.flush()
    write = os.write

    def full(file: int, data: memoryview) -> int:
        if len(data) > 100:
            return write(file, data[:50])  # a part fits still
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        recorder.step()
        with pytest.raises(BadInput, match=r"The disk is full, so .*000000005.safetensors was not written"):
            recorder.flush()
        with pytest.raises(BadInput, match="The disk is full"):
            recorder.step()
        assert recorder.steps == 5
        with pytest.raises(BadInput, match="The disk is full"):
            recorder.close()
    trajectory = Trajectory(tmp_path / "run")
    assert trajectory.steps == [0, 1, 2, 3, 4]
    assert trajectory.verify() == []
    assert sorted(p.suffix for p in (tmp_path / "run" / "points").iterdir()) == [".safetensors"] * 5
    again = Recorder(tmp_path / "run", model, epoch=5, at=1, pairs=None, resume=4)
    again.step(loss=1.0)
    again.close()
    assert Trajectory(tmp_path / "run").steps == [0, 1, 2, 3, 4, 5]


@pytest.mark.skipif(not Path("/dev/full").exists() or os.geteuid() != 0, reason="needs to mount a small disk")
def test_a_truly_full_disk(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        model = nn.Linear(100, 100)
        recorder = Recorder(place / "run", model, epoch=5, at=1, pairs=None)
        with pytest.raises(BadInput, match="The disk is full"):
            step_often(recorder)
        with pytest.raises(BadInput, match="The disk is full"):
            recorder.close()
        trajectory = Trajectory(place / "run")
        assert 3 <= len(trajectory) <= 6
        assert trajectory.steps == list(range(len(trajectory)))
        assert trajectory.verify() == []
        assert all(not file.name.endswith(".tmp") for file in (place / "run" / "points").iterdir())
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="a file stands where a folder is needed"):
        Recorder(tmp_path / "file" / "run", net(), epoch=1, at=1)


def test_a_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opener = os.open

    def refuse(path, flags, *more):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, "Read-only file system")
        return opener(path, flags, *more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(BadInput, match=r"cannot be written \(Read-only file system\): give a folder"):
        Recorder(tmp_path / "run", net(), epoch=1, at=1)


def test_a_folder_that_vanishes_while_recording(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run", net(), epoch=1, at=1)
    recorder.flush()
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    recorder.step()
    with pytest.raises(BadInput, match=r"000000001\.safetensors cannot be written because its folder is not there"):
        recorder.close()


def test_two_recorders_in_one_folder(tmp_path: Path) -> None:
    first = Recorder(tmp_path / "run", net(), epoch=1, at=1)
    for more in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(BadInput, match="This process is recording into"):
            Recorder(tmp_path / "run", net(), epoch=1, at=1, **more)
    first.step()
    first.close()
    assert Trajectory(tmp_path / "run").steps == [0, 1]


def _record(folder: str, ready, done) -> None:
    torch.set_num_threads(1)
    with Recorder(folder, nn.Linear(2, 2), epoch=1, at=1):
        ready.set()
        done.wait()


def test_two_processes_in_one_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    child = context.Process(target=_record, args=(str(tmp_path / "run"), ready, done), daemon=True)
    child.start()
    assert ready.wait(30)
    with pytest.raises(BadInput, match=f"is being written by process {child.pid} at this moment"):
        Recorder(tmp_path / "run", nn.Linear(2, 2), epoch=1, at=1, resume=True)
    done.set()
    child.join()
    assert child.exitcode == 0


def test_a_forked_child_cannot_use_the_recorder(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run", nn.Linear(2, 2), epoch=1, at=1)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_in_child, args=(recorder,), daemon=True)
    child.start()
    child.join()
    assert child.exitcode == 0
    recorder.step()
    recorder.close()
    assert Trajectory(tmp_path / "run").steps == [0, 1]


def _in_child(recorder: Recorder) -> None:
    with pytest.raises(BadInput, match="only in the process that made it"):
        recorder.step()
    recorder.close()  # does nothing here


SCRIPT = """
import sys, torch
from landform.recording import Recorder
torch.manual_seed(0)
recorder = Recorder(sys.argv[1], torch.nn.Linear(300, 300), epoch=1, at=1)
for step in range(7):
    recorder.step(loss=float(step))
if sys.argv[2] == "raise":
    raise KeyError("the user's own mistake")
"""


@pytest.mark.parametrize("how", ["end", "raise"])
def test_what_was_not_closed_is_flushed_when_the_interpreter_ends(how: str, tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "run"), how], capture_output=True, text=True)
    assert ended.returncode == (how == "raise"), ended.stderr
    trajectory = Trajectory(tmp_path / "run")
    assert trajectory.steps == list(range(8))
    assert trajectory.curves["loss"][1].tolist() == [float(n) for n in range(7)]


def test_a_forgotten_recorder_is_finished_and_its_thread_ends(tmp_path: Path) -> None:
    before = threading.active_count()
    model = net()
    recorder = Recorder(tmp_path / "run", model, epoch=10, at=[100])
    recorder.step(loss=1.0)
    del recorder
    gc.collect()
    assert threading.active_count() == before
    assert Trajectory(tmp_path / "run").curves["loss"][1].tolist() == [1.0]
    Recorder(tmp_path / "run", model, epoch=10, at=[100], resume=True).close()  # the folder is free again


# ---------------------------------------------------------------------------------------------- RunWriter


def test_writers_that_share_a_thread(tmp_path: Path) -> None:
    from landform.layout import Layout

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
    from landform.layout import Layout

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


def test_run_json_can_be_read_by_a_person(tmp_path: Path) -> None:
    Recorder(tmp_path / "run", net(), epoch=7, at=[1, 5], settings={"seed": 3}).close()
    text = (tmp_path / "run" / "run.json").read_text()
    assert json.loads(text)["settings"]["seed"] == 3
    assert '\n "epoch": 7,\n' in text
