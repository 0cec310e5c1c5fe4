"""Disks that fill up and folders that vanish; other processes, other recorders, and the end of the interpreter."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from landform.errors import BadInput
from landform.recording import Recorder, Trajectory


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))


def step_often(recorder: Recorder, times: int = 50) -> None:
    for _ in range(times):
        recorder.step(loss=1.0)


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
