"""The benchmark of the recurrent kernel runs, and holds both against one another."""

from __future__ import annotations

from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "recurrent.py"


def test_it_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(FILE.parent))
    import recurrent as bench

    bench.compare(30, 7, 1)
    assert "30 sequences of 7 steps" in capsys.readouterr().out
