"""``landform align`` on runs that landform trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import landform as lf
from landform.cli import main
from landform.store import read_tensors

SMALL = "--data digits --data-option per_class=20 --epochs 4 --lr 0.1 --records 3 --threads 1 --device cpu"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("align")
    for seed in range(2):
        told = f"--model mlp --model-option width=12 --model-option seed={seed} --seed {seed} {SMALL}"
        assert main(["train", "--out", str(folder / f"run{seed}"), *told.split()]) == 0
    told = f"--model mlp --model-option width=6 {SMALL}"
    assert main(["train", "--out", str(folder / "narrow"), *told.split()]) == 0
    return [folder / "run0", folder / "run1", folder / "narrow"]


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main([str(argument) for argument in ("align", *arguments, "--device", "cpu", "--threads", "1")])
    return status, *capsys.readouterr()


def test_it_is_what_the_library_finds(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out_file = tmp_path / "new" / "aligned.safetensors"
    status, out, err = said(capsys, *runs[:2], "--json", "--out", out_file)
    assert status == 0, err
    told = json.loads(out)
    data = lf.data.digits(per_class=20)
    where = lf.Landscape(lf.models.mlp(inputs=(64,), classes=10, width=12), data, device="cpu")
    a, b = (lf.Trajectory(run).points[-1] for run in runs[:2])
    result = lf.alignment.align(where, a, b)
    tensors, metadata = read_tensors(out_file)
    assert torch.equal(where.layout.join(tensors), result.point)
    assert metadata["from"] == str(runs[1])
    assert told["distance_aligned"] == pytest.approx(result.after)
    assert told["groups"] == 3
    straight = lf.paths.barrier(where, a, result.point, on={"test": data.test})
    assert told["paths"]["aligned"]["train"]["barrier"] == pytest.approx(straight.height)
    assert told["paths"]["aligned"]["test"]["error_barrier"] == pytest.approx(straight.on["test"].error_height)
    point = lf.alignment.repair(where, a, result.point).point
    rise = float(where.loss(point) - (where.loss(a) + where.loss(b)) / 2)
    assert told["paths"]["aligned, half way repaired"]["train"]["barrier"] == pytest.approx(rise, rel=1e-4)


def test_it_is_told_in_words(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = said(capsys, *runs[:2], "--method", "activations")
    assert status == 0, err
    assert "aligned to" in err
    assert "3 groups of units" in err
    assert "half way repaired" in out


def test_misuse(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = said(capsys, runs[0], runs[2])
    assert status == 2
    assert "dense1.weight" in err
    status, _, err = said(capsys, *runs[:2], "--out", "here.txt")
    assert status == 2
    assert "ends in .safetensors" in err
    status, _, err = said(capsys, *runs[:2], "--method", "best")
    assert status == 2
