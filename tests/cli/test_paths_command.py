"""``landform paths`` on runs that a loop recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import landform as lf
from landform import paths
from landform.cli import main
from landform.recording import RecordData, RunWriter

SMALL = "--data digits --data-option per_class=20 --epochs 2 --lr 0.1 --records 3 --threads 1 --device cpu"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("paths")
    for seed in range(3):
        told = f"--model mlp --model-option width=8 --model-option seed={seed} --seed {seed} {SMALL}"
        assert main(["train", "--out", str(folder / f"run{seed}"), *told.split()]) == 0
    told = f"--model mlp --model-option width=6 {SMALL}"
    assert main(["train", "--out", str(folder / "narrow"), *told.split()]) == 0
    return [folder / "run0", folder / "run1", folder / "run2", folder / "narrow"]


def landscape() -> tuple[lf.Landscape, lf.data.Dataset]:
    data = lf.data.digits(per_class=20)
    return lf.Landscape(lf.models.mlp(inputs=(64,), classes=10, width=8), data, device="cpu"), data


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main([str(argument) for argument in ("paths", *arguments, "--device", "cpu", "--threads", "1")])
    return status, *capsys.readouterr()


def rewritten(source: Path, target: Path, points: list[torch.Tensor]) -> Path:
    """A run with the settings of another and the points given."""
    like = lf.Trajectory(source)
    writer = RunWriter(target, layout=like.layout, epoch=like.run["epoch"], settings=like.run["settings"])
    for step, point in enumerate(points):
        writer.write(RecordData(step=step, point=point, seconds=float(step)))
    writer.close()
    return target


def test_two_runs_are_joined_as_the_library_joins_them(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "new" / "line.png"
    status, out, err = said(capsys, *runs[:2], "--json", "--curve", 30, "--seed", 2, "--out", picture)
    assert status == 0, err
    told = json.loads(out)
    here, data = landscape()
    a, b = (lf.Trajectory(run).points[-1] for run in runs[:2])
    plain = paths.barrier(here, a, b, steps=21, refine=20, on={"test": data.test})
    assert told["straight"]["train"]["barrier"] == pytest.approx(plain.height, rel=1e-5)
    assert told["straight"]["test"]["error_barrier"] == pytest.approx(plain.on["test"].error_height)
    assert told["straight"]["train"]["losses"] == pytest.approx(plain.losses.tolist(), rel=1e-5)
    assert told["batchnorm"] == "none"
    assert [leg["steps"] for leg in told["curve"]["after"]] == [30, 60]
    curve = paths.curve(here, a, b, steps=30, positions=21, refine=20, seed=2)
    assert told["curve"]["after"][0]["train"]["barrier"] == pytest.approx(curve.barrier.height, rel=1e-3, abs=1e-6)
    assert (told["curve"]["begin"], told["curve"]["seed"]) == ("linear", 2)
    assert picture.read_bytes().startswith(b"\x89PNG")
    status, out, err = said(capsys, *runs[:2], "--curve", 5)
    assert status == 0, err
    assert "bezier, 10 steps" in out
    assert "begun linear, seed 0" in err
    assert f"{plain.height:.4g}" in out


def test_of_one_run_it_is_the_way_from_start_to_end(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = said(capsys, runs[0], "--json", "--refine", 0)
    assert status == 0, err
    told = json.loads(out)
    trajectory = lf.Trajectory(runs[0])
    plain = paths.barrier(landscape()[0], trajectory.points[0], trajectory.points[-1], steps=21, refine=0)
    assert told["straight"]["train"]["losses"] == pytest.approx(plain.losses.tolist(), rel=1e-5)
    assert told["from"].endswith("epoch 0")
    assert said(capsys, runs[0], "--at", 1)[0] == 0


def test_of_three_runs_it_is_a_matrix(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "map.svg"
    status, out, err = said(capsys, *runs[:3], "--json", "--steps", 5, "--out", picture)
    assert status == 0, err
    told = json.loads(out)
    points = torch.stack([lf.Trajectory(run).points[-1] for run in runs[:3]])
    here, data = landscape()
    plain = paths.barrier_matrix(here, points, steps=5)
    assert torch.tensor(told["train"]["barriers"]).flatten().tolist() == pytest.approx(
        plain.heights.flatten().tolist(), rel=1e-5
    )
    other = paths.barrier_matrix(here.on(data.test), points, steps=5)
    assert other.errors is not None
    assert told["test"]["errors"] == pytest.approx(other.errors.tolist())
    assert "<svg" in picture.read_text()
    status, out, err = said(capsys, *runs[:3])
    assert status == 0, err
    assert "barrier of the error, test" in out
    assert "2: " in err


def test_other_data_are_noted(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    told = f"--model mlp --model-option width=8 {SMALL}".replace("per_class=20", "per_class=10")
    assert main(["train", "--out", str(other), *told.split()]) == 0
    status, _, err = said(capsys, runs[0], other)
    assert status == 0
    assert "trained on other data" in err


def test_misuse_ends_in_one_sentence(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    point = lf.Trajectory(runs[0]).points[-1]
    lone = rewritten(runs[0], tmp_path / "lone", [point])
    broken = rewritten(runs[0], tmp_path / "broken", [point, point.index_fill(0, torch.tensor([3]), float("nan"))])
    empty = rewritten(runs[0], tmp_path / "empty", [])
    for arguments, sentence in (
        ((), "give the folder of one or more"),
        ((lone,), "has one point to look at"),
        ((runs[0], runs[3]), "dense1.weight is [8, 64]"),
        ((runs[0], broken), "holds NaN or infinity at epoch"),
        ((empty, runs[0]), "holds no record"),
        ((*runs[:3], "--curve", 5), "--curve joins two points"),
        ((*runs[:2], "--curve", 0), "--curve is 0"),
        ((*runs[:2], "--steps", 2), "at least 3"),
        ((*runs[:2], "--out", "line.pdf"), "ends in .png or .svg"),
        ((tmp_path / "nowhere", runs[0]), "nowhere"),
    ):
        status, out, err = said(capsys, *arguments)
        assert (status, out) == (2, ""), arguments
        assert sentence in err
        assert err.count("\n") == 1
    assert said(capsys, runs[0], broken, "--at", 0)[0] == 0
