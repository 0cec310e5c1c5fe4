"""The benchmark of paths runs, and checks that its ways find the same barriers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "paths"


def test_the_loops_find_what_landform_finds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "_barriers", raising=False)
    monkeypatch.syspath_prepend(str(FOLDER))
    import _barriers

    _barriers.compare(width=8, depth=1, samples=50, count=3, rounds=1)
    cells = [cell.strip() for cell in capsys.readouterr().out.split("|")[1:-1]]
    assert cells[:3] == ["64-8-10", "3", "50"]
    assert all(float(cells[place]) > 0 for place in (3, 5, 6, 7))
    # A way that finds other barriers is not timed but refused.
    monkeypatch.setattr(_barriers.lf.paths, "barrier_matrix", lambda *a, **k: Other())
    with pytest.raises(AssertionError):
        _barriers.compare(width=8, depth=1, samples=50, count=3, rounds=1)


class Other:
    heights = error_heights = torch.zeros(3, 3, dtype=torch.float64)


def test_it_tells_its_options() -> None:
    told = subprocess.run(
        [sys.executable, str(FOLDER), "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "--quick" in told.stdout
