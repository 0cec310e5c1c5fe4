"""Whatever stands on the command line: status 0, or 2 and one sentence, and nothing written elsewhere."""

from __future__ import annotations

import os
import random
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from mutating import spoil_some
from safetensors.torch import save_file
from sandbox import guarded
from test_readers import make_run, make_table, make_weights

from landform.cli._main import app, main

# Cases in the usual run; FUZZ=1300 makes five times as many.
CASES = 5 * int(os.environ.get("FUZZ", "25"))
# What trains, serves, or opens something is only ever called with an option that it does not have.
HEAVY = ("demo", "reproduce", "train", "federated", "sweep", "free", "serve", "watch")
VALUES = (
    "0", "1", "2", "-1", "0.5", "1e309", "nan", "inf", "", " ", "x", "digits", "mlp", "ties", "loss", "linear", "a,b",
    "name=value", "=", "run", "a", "b", "table.csv", "nowhere", ".", "..", "../../outside", "../../outside/canary", "/",
    "epoch=1", "run@epoch=1", "run@step=x", "-", "--",
    "\u00e9", "\U0001f4a5", "a" * 300, "cpu", "cuda:9", "json", "width",
)  # fmt: skip


def options(command: str) -> list[str]:
    """The long options of a command."""
    arguments = app[command].assemble_argument_collection(parse_docstring=False)
    return sorted({name for one in arguments for name in one.names if name.startswith("--")})


def line(draw: random.Random, commands: list[str]) -> list[str]:
    """A command line, more often nearly right than not."""
    command = draw.choice(commands)
    likely = ("run", "a", "b", "table.csv")
    places = draw.choice([0, 1, 1, 2, 2, 3])
    given = [command, *(draw.choice([*likely, draw.choice(VALUES)]) for _ in range(places))]
    known = options(command)
    for _ in range(draw.choice([0, 0, 1, 1, 2, 3])):
        given.append(draw.choice(known) if draw.random() < 0.9 else "--" + draw.choice(VALUES))
        if draw.random() < 0.8:
            given.append(draw.choice(VALUES))
    if command in HEAVY:
        given.insert(draw.randrange(1, len(given) + 1), "--no-such-option")
    return given


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sound")
    make_run(folder)
    make_table(folder)
    make_weights(folder)
    save_file({"w": torch.ones(2)}, folder / "x.safetensors")
    return folder


def test_whatever_stands_on_the_command_line(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = sorted(name for name in app if not name.startswith("-"))
    assert set(HEAVY) < set(commands)
    seen = set()
    for case in range(CASES):
        draw = random.Random(f"command line {case}")
        given = line(draw, commands)
        with guarded(tmp_path / "sandbox", f"case {case}, {given}") as place, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for entry in place.iterdir():
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            shutil.copytree(sound, place, dirs_exist_ok=True)
            if draw.random() < 0.3:
                spoil_some(place, draw)
            try:
                status = main(given)
            except SystemExit as why:
                status = int(why.code or 0)
            except BaseException as why:
                why.add_note(f"case {case}: landform {given}")
                raise
        told = capsys.readouterr()
        seen.add(status)
        assert status in (0, 2), f"case {case}: {given} gives {status}"
        assert "Traceback" not in told.err + told.out, f"case {case}: {given}"
        if status == 2:
            last = told.err.strip().splitlines()[-1:]
            assert "".join(last).startswith("landform: "), f"case {case}: {given} says {told.err!r}"
    assert seen == {0, 2} or CASES < 50


def test_a_name_that_no_system_takes(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["report"], ["info"], ["survey", "--trusted"]):
        assert main([*command, "a" * 300]) == 2
        assert capsys.readouterr().err.startswith("landform: The system refuses aaa")
