"""``landform kernel`` on a run that a loop recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import landform as lf
from landform.cli import main
from landform.store import read_tensors


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kernel") / "run"
    told = "--model mlp --model-option width=8 --data digits --epochs 1 --threads 1"
    assert main(["train", "--out", str(folder), *told.split()]) == 0
    return folder


def test_it_describes_the_kernel_that_the_library_computes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["kernel", str(run), "--samples", "40", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    data = lf.data.digits()
    chosen = torch.linspace(0, len(data.train) - 1, 40, dtype=torch.float64).round().long()
    model = lf.models.mlp(inputs=(64,), classes=10, width=8)
    landscape = lf.Landscape(model, data)
    point = lf.Trajectory(run).points[-1]
    expected = lf.kernel.ntk(landscape, point, data.train.inputs[chosen], kind="trace")
    assert told["shape"] == [40, 40]
    assert told["norm"] == pytest.approx(float(expected.norm()), rel=1e-5)
    assert told["alignment"] == pytest.approx(lf.kernel.alignment(expected, data.train.targets[chosen]), rel=1e-4)


def test_it_writes_the_kernel_to_a_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "k.safetensors"
    assert main(["kernel", str(run), "--at", "0", "--samples", "20", "--kind", "full", "--out", str(out)]) == 0
    assert "20, 20, 10, 10" in capsys.readouterr().out
    kernel = read_tensors(out)[0]["kernel"]
    assert kernel.shape == (20, 10, 20, 10)


def test_it_explains(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernel", str(run), "--explain", "--split", "test"]) == 0
    assert "readout.weight + readout.bias" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--kind", "fool"], "kind is 'fool'"),
        (["--kind", "10"], "asks for output 10"),
        (["--samples", "0"], "--samples is 0"),
        (["--out", "k.bin"], "ends in .safetensors"),
        (["--memory", "0.00001"], "does not fit into memory"),
    ],
)
def test_misuse_ends_in_one_sentence(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main(["kernel", str(run), *arguments]) == 2
    assert sentence in capsys.readouterr().err
