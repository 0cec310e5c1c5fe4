"""The benchmark of sweeps runs, and its plain loop does what the sweep does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "sweep.py"


def test_the_plain_loop_finds_what_a_sweep_finds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(FILE.parent))
    import landform as lf
    import sweep
    from landform.sweeps import Networks

    recipe = lf.Recipe(epochs=1, batch_size=5, lr=0.05, momentum=0.9)
    networks = Networks(recipe=recipe, data_options={"per_class": 5}, together=3)
    data = lf.data.digits(per_class=5)
    alone, stacked = sweep.per_core(networks, data, 1, 1)
    assert alone > 0
    assert stacked > 0
    assert capsys.readouterr().out.count("times quicker") == len(sweep.GRID["width"])
    theirs = sweep.plain(data, 8, 0.05, 0, recipe)
    ours = networks(width=8, lr=0.05, seed=0)
    assert theirs["train_loss"] == pytest.approx(ours["train_loss"], rel=0.2)
    assert theirs["gradient_norm"] > 0


def test_it_tells_its_options() -> None:
    told = subprocess.run([sys.executable, str(FILE), "--help"], capture_output=True, text=True, check=True)
    assert "--processes" in told.stdout
