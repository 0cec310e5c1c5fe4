"""``landform federated``: a run of the server's model, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import landform as lf
from landform.cli import main
from landform.cli._federated import division_named
from landform.errors import BadInput

SMALL = ["--data-option", "per_class=6", "--model-option", "width=8", "--rounds", "6", "--clients", "3"]


def test_a_federated_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "fed"
    given = [
        "federated",
        "--out",
        str(out),
        *SMALL,
        "--local-steps",
        "2",
        "--division",
        "dirichlet:2",
        "--batch-size",
        "4",
    ]
    assert main([*given, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    run = lf.Trajectory(out)
    assert told["rounds"] == run.steps[-1] == 6
    assert told["records"] == len(run)
    assert run.run["settings"]["federation"]["alpha"] == 2
    assert told["parameters"] == run.layout.size
    assert main(given) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main([*given, "--resume"]) == 0
    assert "sent a round" in capsys.readouterr().out
    assert main(["survey", str(out), "--probes", "loss", "--json"]) == 0


def test_splits_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert division_named("dirichlet:0.3") == {"division": "dirichlet", "alpha": 0.3}
    assert division_named("labels") == {"division": "labels"}
    for wrong in ("fair", "iid:3", "dirichlet:a"):
        with pytest.raises(BadInput, match="give iid, labels, or dirichlet:ALPHA"):
            division_named(wrong)
    assert main(["federated", "--out", str(tmp_path / "x"), *SMALL, "--division", "fair"]) == 2
    assert "--division is 'fair'" in capsys.readouterr().err
    assert main(["federated", "--out", str(tmp_path / "x"), *SMALL, "--records", "1"]) == 2
