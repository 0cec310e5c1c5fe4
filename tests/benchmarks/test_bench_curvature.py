"""The benchmark beside the peers runs, on landform alone, and says that landform's answers are right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "curvature"


def quick(tmp_path: Path, *options: str) -> str:
    command = [sys.executable, str(FOLDER), "--quick", "--peers", str(tmp_path), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def rows(printed: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line[:2] == "| "]


@pytest.mark.slow
def test_every_task_of_an_mlp_is_right_and_absent_peers_are_named(tmp_path: Path) -> None:
    printed = quick(tmp_path, "--models", "A,R")
    assert "No environment for pyhessian, curvlinops, hessian-eigenthings, landscaper" in printed
    ours = [row for row in rows(printed) if row[0] == "landform"]
    assert len(ours) == 6
    assert all(row[6] == "yes" for row in ours)
    assert "top 5: cold" in printed


def test_a_wrong_answer_is_judged_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("judging", "reference", "problems"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(FOLDER))
    import judging
    import problems
    import reference

    truth = reference.truth(problems.tiny(), problems.tiny().double(), 2, 0)
    assert judging.eigenvalues({"values": truth.values[::-1]}, truth, 1e-3)[0]
    assert not judging.eigenvalues({"values": [truth.values[0], 1.01 * truth.values[1]]}, truth, 1e-3)[0]
    assert not judging.trace({"value": 1.2 * truth.trace, "error_bar": 0.02 * truth.trace}, truth)[0]
    assert judging.trace({"value": 1.02 * truth.trace, "error_bar": 0.02 * truth.trace}, truth)[0]
    square = {"nodes": [1.0, 0.0], "weights": [[1.0, 0.0], [0.0, 1.0]]}
    assert judging.density(square, truth, 50) == (False, "weights 2 x 2 for 2 nodes")
    doubled = {"nodes": [truth.values[0], 0.0], "weights": [0.5, 1.5]}
    assert judging.density(doubled, truth, 50) == (False, "mass 2.000")
