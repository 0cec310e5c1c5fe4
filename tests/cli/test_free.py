"""``landform free``: a recorded convolutional network is written out, trained on, and can be looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from landform import models
from landform.cli import main
from landform.data import load
from landform.recording import Trajectory

DATA = ("--data", "moved_digits", "--data-option", "train_size=60", "--data-option", "test_size=40")
CNN = ("--model", "small_cnn", "--model-option", "width=[2,3]", "--model-option", "head=flatten")


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("free") / "cnn"
    told = ("--records", "5", "--batch-size", "20", "--epochs", "3", "--lr", "0.05", "--device", "cpu")
    assert main(["train", "--out", str(out), *CNN, *DATA, *told]) == 0
    return out


def test_a_run_is_freed_and_surveyed(cnn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "freed"
    capsys.readouterr()
    arguments = ["free", str(cnn), "--at", "2", "--epochs", "1", "--out", str(out), "--device", "cpu", "--json"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    run, stem = Trajectory(out), Trajectory(cnn)
    net = models.build("small_cnn", inputs=(1, 14, 14), classes=10, width=[2, 3], head="flatten")
    stem.at(epoch=2).restore(net)
    made = models.freed(net, (1, 14, 14))
    assert torch.equal(run.points[0], made.embed(stem.at(epoch=2).point))
    assert told["deviation"] == pytest.approx(float(made.deviation(run.points[-1])))
    assert told["distance_from_cnns"] > told["deviation"] > 0
    test = load("moved_digits", train_size=60, test_size=40).test
    with torch.no_grad():
        wrong = float((net(test.inputs).argmax(1) != test.targets).double().mean())
    assert told["test_error_before"] == pytest.approx(wrong)
    assert run.run["settings"]["recipe"]["lr"] == 0.05
    assert run.run["settings"]["freed"]["epoch"] == stem.at(epoch=2).epoch
    assert main(["survey", str(out), "--probes", "loss,error"]) == 0
    assert main(["free", str(cnn), "--out", str(out), "--overwrite", "--epochs", "1", "--device", "cpu"]) == 0
    assert "off the filters" in capsys.readouterr().out


def test_misuse_is_told(cnn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*arguments: object) -> str:
        assert main(["free", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    out = tmp_path / "out"
    assert "above the limit of 100 kB" in refused(cnn, "--out", out, "--memory", 1e-4)
    assert "holds a run already" in refused(cnn, "--out", cnn)
    assert "is the run that is to be freed" in refused(cnn, "--out", cnn, "--overwrite")
    assert "give at least 2" in refused(cnn, "--out", out, "--records", 1)
    plain = tmp_path / "plain"
    small = ("--data-option", "per_class=2", "--model-option", "width=4", "--epochs", "0.1", "--device", "cpu")
    assert main(["train", "--out", str(plain), *small]) == 0
    capsys.readouterr()
    assert "there is nothing to free" in refused(plain, "--out", out)
    assert not out.exists()
