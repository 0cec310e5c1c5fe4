"""``landform watch`` and ``landform serve``."""

from __future__ import annotations

import functools
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

import pytest
import torch

from landform.cli import main
from landform.layout import Layout
from landform.recording import RecordData, RunWriter

LANDFORM = str(Path(sysconfig.get_path("scripts")) / "landform")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    layout = Layout.of(torch.nn.Linear(2, 1))
    settings = {"recipe": {"epochs": 4}, "model": {"class": "Linear"}}
    found = RunWriter(tmp_path / "runs" / "mine", layout=layout, epoch=10, settings=settings)
    record(found, 0, 10)
    return found


def record(writer: RunWriter, *steps: int) -> None:
    for step in steps:
        curves = {"loss": ([step], [1.0 / step])} if step else {}
        writer.write(RecordData(step, torch.zeros(3) + step, 1.0 / step if step else None, curves=curves))
    writer.flush()


def begun(*arguments: str, cwd: Path, out: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [LANDFORM, *arguments], cwd=cwd, stdout=out, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        # A shell's background jobs ignore the signal, and so do their children unless told otherwise.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def test_one_look(writer: RunWriter, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "runs" / "mine")
    assert main(["watch", run, "--once"]) == 0
    said = capsys.readouterr()
    assert "mine" in said.out
    assert "epoch 1 of 4 (step 10)" in said.out
    assert main(["watch", run, "--once", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "training"
    writer.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["watch", "{runs}/mine", "--curve", "lss"], "has no curve 'lss': it has loss"),
        (["watch", "{runs}/mine", "--every", "0"], "above zero"),
        (["watch", "{runs}"], "is not a run"),
        (["watch", "{runs}/nowhere"], "is no folder"),
        (["serve", "{runs}/nowhere"], "is not there: give a folder of runs"),
        (["serve", "{runs}/mine/run.json"], "is a file"),
        (["serve", "{runs}", "--port", "99999"], "Port 99999 is no port"),
        (["serve", "{runs}", "--host", "203.0.113.7"], "no address of this machine"),
        (["serve", "{runs}", "--every", "0"], "give 0.1 to 3600"),
    ],
)
def test_misuse(
    writer: RunWriter, tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.close()
    assert main([each.format(runs=tmp_path / "runs") for each in arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert told.err.count("\n") == 1


def test_a_port_that_is_taken(writer: RunWriter, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer.close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(tmp_path / "runs"), "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert (
        said
        == f"landform: Port {port} of 127.0.0.1 is taken: give another one, or 0 for any that is free (--port 0).\n"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
def test_serving_until_ctrl_c(writer: RunWriter, tmp_path: Path) -> None:
    process = begun("serve", "runs", "--port", "0", "--host", "0.0.0.0", "--json", cwd=tmp_path)
    try:
        assert process.stderr is not None
        assert "without a password" in process.stderr.readline()
        assert process.stdout is not None
        told = ""
        while not told.endswith("}\n"):
            told += process.stdout.readline()
        url = json.loads(told)["url"]
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert b"mine" in answer.read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    writer.close()
    assert (process.returncode, out) == (130, "")
    assert err == "landform: Interrupted. The pages are gone, the runs are as they were.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
def test_watching_in_a_terminal_and_in_a_log(writer: RunWriter, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    shown = begun("watch", "runs/mine", "--every", "0.1", cwd=tmp_path, out=theirs)
    logged = begun("watch", "runs/mine", "--every", "0.1", cwd=tmp_path)
    os.close(theirs)
    try:
        assert logged.stdout is not None
        assert logged.stdout.readline() == "training, epoch 1 of 4 (step 10), loss 0.1\n"
        text = seen(ours, b"step 10")
        record(writer, 20)
        assert "step 20" in logged.stdout.readline()
        text += seen(ours, b"step 20")
        assert b"\x1b[" in text  # it repaints
        shown.send_signal(signal.SIGINT)
        _, err = shown.communicate(timeout=30)
        assert (shown.returncode, err) == (130, "landform: Interrupted. The run itself goes on.\n")
        record(writer, 40)
        writer.close()
        rest, err = logged.communicate(timeout=30)
        assert (logged.returncode, err) == (0, "")
        assert rest.splitlines()[-1] == "finished, epoch 4 of 4 (step 40), loss 0.025"
    finally:
        for process in (shown, logged):
            process.kill()
            process.communicate()
        os.close(ours)


def seen(terminal: int, what: bytes) -> bytes:
    """What is written to a terminal until something is."""
    text = b""
    deadline = time.monotonic() + 60
    while what not in text:
        assert time.monotonic() < deadline
        text += os.read(terminal, 1 << 16)
    return text
