"""``landform sweep`` and ``landform status``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from landform.cli import main
from landform.diagnosis import read_table


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own in the folder we are in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_sweep.py").write_text(
        "def train(lr, width=1, seed=0):\n"
        "    if lr == 0.3:\n"
        "        raise ValueError('too large a step')\n"
        "    return {'train_loss': lr * width + seed}\n"
    )
    return "own_sweep:train"


def test_ones_own_function(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["sweep", module, "--grid", "lr=0.1,0.2", "--grid", "width=1,2", "--seeds", "2", "--engine", "inline"]
    assert main([*asked, "--out", "mine", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["train_loss"] for row in told["rows"]] == [
        lr * width + seed for lr in (0.1, 0.2) for width in (1, 2) for seed in (0, 1)
    ]
    assert read_table("mine/table.csv")["width"].tolist() == [1, 1, 2, 2] * 2
    assert main(["status", "mine"]) == 0
    out = capsys.readouterr().out
    assert "finished" in out
    assert "8 of 8" in out
    assert main(["status", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 8


def test_a_failed_unit_is_told(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", module, "--grid", "lr=0.1,0.3", "--engine", "inline", "--out", "mine"]) == 2
    said = capsys.readouterr()
    assert "1 of 2 units failed (first lr=0.3+seed=0: ValueError: too large a step)" in said.err
    assert "cells done" in said.out
    assert main(["status", "mine"]) == 0
    assert "too large a step" in capsys.readouterr().out


def test_networks_of_landform(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "mlps")
    asked = ["sweep", "mlp", "--grid", "width=4,8", "--grid", "epochs=1", "--data-option", "per_class=5"]
    assert main([*asked, "--seeds", "2", "--engine", "inline", "--out", out]) == 0
    assert "4 of 4 cells are left, in 2 units" in capsys.readouterr().err
    assert len(read_table(Path(out, "table.csv"))) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere:train", "--grid", "lr=1"], "could not be imported"),
        (["own_sweep:nothing", "--grid", "lr=1"], "no function 'nothing'"),
        (["own_sweep:train"], "nothing to sweep over"),
        (["own_sweep:train", "--grid", "lr"], "such as lr=0.1,0.01"),
        (["own_sweep:train", "--grid", "lr=1", "--grid", "lr=2"], "given twice"),
        (["own_sweep:train", "--grid", "rate=1"], "no parameter 'rate'"),
        (["own_sweep:train", "--grid", "lr=1", "--keep"], "leave --data"),
        (["own_sweep:train", "--grid", "lr=1", "--engine", "spark"], "no engine 'spark'"),
        (["lmp", "--grid", "lr=1"], "no model 'lmp'"),
    ],
)
def test_misuse(arguments: list[str], said: str, module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_work_has_no_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert "does not tell how far" in capsys.readouterr().err
