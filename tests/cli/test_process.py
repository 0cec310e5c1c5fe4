"""The command line as a process of its own: exit codes, streams, Ctrl-C."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from landform.recording import Trajectory

LANDFORM = str(Path(sysconfig.get_path("scripts")) / "landform")


def landform(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LANDFORM, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_misuse_exits_with_2_and_one_sentence(tmp_path: Path) -> None:
    for arguments in (["frobnicate"], ["survey", "nowhere"]):
        done = landform(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr


def test_version_and_help_exit_with_0(tmp_path: Path) -> None:
    assert landform("--version", cwd=tmp_path).returncode == 0
    assert "demo" in landform("--help", cwd=tmp_path).stdout
    module = [sys.executable, "-m", "landform"]
    told = subprocess.run([*module, "--version"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.stdout == landform("--version", cwd=tmp_path).stdout
    wrong = subprocess.run([*module, "frobnicate"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
def test_an_interrupt_exits_with_130_and_the_run_goes_on_from_there(tmp_path: Path) -> None:
    command = ["train", "--out", "run", "--epochs", "100000", "--batch-size", "32", "--device", "cpu"]
    process = subprocess.Popen(
        [LANDFORM, *command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A shell's background jobs ignore the signal, and so do their children unless told otherwise.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while len(list((tmp_path / "run" / "points").glob("0*"))) < 8:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "no record was written in two minutes"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert "--resume" in err
    assert "Traceback" not in err
    assert err.count("\n") == 1
    run = Trajectory(tmp_path / "run")
    assert len(run) >= 8
    assert run.resumable
    assert run.damaged == []


@pytest.mark.skipif(sys.platform == "win32", reason="no such pipes there")
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{LANDFORM} list models | true", shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
