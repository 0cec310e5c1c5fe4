"""``landform surface`` on runs that a loop recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import landform as lf
from landform.cli import main
from landform.recording import RecordData, RunWriter

SMALL = "--data digits --data-option per_class=20 --epochs 2 --lr 0.1 --records 4 --threads 1 --device cpu"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("surface")
    for seed in range(3):
        told = f"--model mlp --model-option width=8 --model-option seed={seed} --seed {seed} {SMALL}"
        assert main(["train", "--out", str(folder / f"run{seed}"), *told.split()]) == 0
    told = f"--model mlp --model-option width=6 {SMALL}"
    assert main(["train", "--out", str(folder / "narrow"), *told.split()]) == 0
    return [folder / "run0", folder / "run1", folder / "run2", folder / "narrow"]


def landscape() -> lf.Landscape:
    data = lf.data.digits(per_class=20)
    return lf.Landscape(lf.models.mlp(inputs=(64,), classes=10, width=8), data, device="cpu")


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main([str(argument) for argument in ("surface", *arguments, "--device", "cpu", "--threads", "1")])
    return status, *capsys.readouterr()


def rewritten(source: Path, target: Path, points: list[torch.Tensor]) -> Path:
    """A run with the settings of another and the points given."""
    like = lf.Trajectory(source)
    writer = RunWriter(target, layout=like.layout, epoch=like.run["epoch"], settings=like.run["settings"])
    for step, point in enumerate(points):
        writer.write(RecordData(step=step, point=point, seconds=float(step)))
    writer.close()
    return target


def test_the_plane_around_a_run_s_end_is_the_library_s(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "new" / "one.html"
    arguments = (runs[0], "--steps", 5, "--seed", 3, "--quadratic", "--tunnel", 5.0, "--out", page)
    status, out, err = said(capsys, *arguments, "--json")
    assert status == 0, err
    told = json.loads(out)
    here = lf.Trajectory(runs[0]).points[-1]
    plain = lf.surface.plane(landscape(), center=here, steps=5, seed=3)
    torch.testing.assert_close(torch.tensor(told["losses"]).double(), plain.losses, rtol=1e-5, atol=1e-6)
    assert told["axes"][0] == plain.alphas.tolist()
    assert told["directions"]["norms"] == pytest.approx(plain.basis.norms.tolist())
    assert told["directions"]["biases"] == "zero"
    assert len(told["curvatures"]) == 2
    assert len(told["tunnel"]["filter"]) == 10
    text = page.read_text()
    assert "filter-normalised" in text
    assert "to second order" in text
    status, out, err = said(capsys, *arguments)
    assert status == 0, err
    assert f"{plain.centre_loss:.4g}" in out
    assert "Tunnel: median width" in err


def test_the_way_of_a_run(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "way.png"
    status, out, err = said(capsys, runs[0], "--directions", "path", "--steps", 4, "--out", picture, "--json")
    assert status == 0, err
    told = json.loads(out)
    run = lf.Trajectory(runs[0])
    basis = lf.surface.principal(landscape(), run.points)
    assert told["directions"]["shares"] == pytest.approx(basis.shares.tolist())
    assert told["way"]["share"] == pytest.approx(float(basis.shares.sum()), abs=1e-5)
    assert len(told["way"]["coordinates"]) == len(run)
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("directions", ["hessian", "radial", "unit"])
def test_other_directions(
    runs: list[Path], directions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "one.svg"
    status, out, err = said(
        capsys, runs[0], "--directions", directions, "--steps", 3, "--json", "--out", picture, "--extent", 0.5
    )
    assert status == 0, err
    told = json.loads(out)
    assert told["directions"]["angle"] == pytest.approx(90, abs=1e-3)
    centre = landscape().loss(lf.Trajectory(runs[0]).points[-1])
    assert told["centre"]["loss"] == pytest.approx(float(centre), rel=1e-5)
    assert told["losses"][1][1] == pytest.approx(float(centre), rel=1e-5)
    assert b"<svg" in picture.read_bytes()


def test_through_runs(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    ends = [lf.Trajectory(run).points[-1] for run in runs[:3]]
    status, out, err = said(capsys, *runs[:3], "--steps", 3, "--json")
    assert status == 0, err
    basis = lf.surface.through(landscape(), *ends)
    plain = lf.surface.plane(landscape(), directions=basis, steps=3)
    told = json.loads(out)
    torch.testing.assert_close(torch.tensor(told["losses"]).double(), plain.losses, rtol=1e-4, atol=1e-5)
    assert (runs[0] / "surface.html").is_file()
    status, out, err = said(capsys, *runs[:2], "--steps", 5, "--json")
    assert status == 0, err
    assert len(json.loads(out)["axes"]) == 1


def test_a_kept_surface_is_read_from_its_folder(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (runs[0], "--steps", 4, "--keep", tmp_path / "kept", "--out", tmp_path / "one.png", "--json")
    first = json.loads(said(capsys, *arguments)[1])
    assert lf.surface.load(tmp_path / "kept").losses.tolist() == first["losses"]
    assert json.loads(said(capsys, *arguments)[1]) == first
    status, _, err = said(capsys, *arguments, "--seed", 1)
    assert status == 2
    assert "is another one" in err


def test_misuse_is_one_sentence_and_nothing_half_written(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = list(lf.Trajectory(runs[0]).points[:])
    single = rewritten(runs[0], tmp_path / "single", points[-1:])
    broken = points[-1].clone()
    broken[3] = float("nan")
    nan = rewritten(runs[0], tmp_path / "nan", [points[0], broken])
    out = tmp_path / "out" / "one.png"
    cases: list[tuple[tuple[object, ...], str]] = [
        ((runs[0], runs[3]), "The runs are of different models: dense1.weight"),
        ((runs[0], "--model", "mlp", "--model-option", "width=9"), "give the model that the run was trained with"),
        ((nan,), "holds NaN or infinity, first in dense1.weight"),
        ((single, "--directions", "path"), "1 point cannot span 2 directions"),
        ((runs[0], runs[1], "--directions", "path"), "leave --directions and --trajectory out"),
        ((runs[0], "--line", "--trajectory"), "leave --line out"),
        ((runs[0], "--steps", 1), "steps is 1"),
        ((runs[0], "--tunnel", 0.0), "above the threshold 0"),
        ((runs[0], "--at", "x"), "--at"),
        ((*runs[:3], runs[0]), "4 are given"),
        ((tmp_path / "none",), "none"),
    ]
    for arguments, sentence in cases:
        status, told, err = said(capsys, *arguments, "--out", out)
        assert (status, told) == (2, ""), arguments
        assert sentence in err
        assert len(err.strip().splitlines()) == 1
    assert said(capsys, runs[0], "--out", tmp_path / "one.pdf")[0] == 2
    assert not out.parent.exists()
