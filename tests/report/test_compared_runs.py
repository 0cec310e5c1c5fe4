"""Runs side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import landform as lf
from landform.cli import main
from landform.errors import BadInput
from landform.report import compare, comparison


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    data = lf.data.digits(per_class=5)
    places = []
    for name, lr in (("slow", 0.01), ("quick", 0.2)):
        net = lf.models.build("mlp", inputs=(1, 8, 8), classes=10, width=4, depth=1, seed=0)
        recipe = lf.Recipe(epochs=2, batch_size=25, lr=lr)
        lf.train(net, data, recipe, out=folder / name, recording=lf.Recording(at=[0, 2, 4]), device="cpu")
        landscape = lf.Landscape(net, data, device="cpu")
        lf.survey(folder / name, {"train": landscape, "test": landscape.on(data.test)})
        places.append(folder / name)
    lf.survey(places[1], landscape, probes=["trace"])
    return places[0], places[1]


def test_what_differs_and_every_curve_of_both(runs: tuple[Path, Path]) -> None:
    found = comparison(runs)
    assert found.names == ("slow", "quick")
    assert dict(found.differing)["recipe: lr"] == ("0.01", "0.2")
    assert not any("batch size" in label for label, _ in found.differing)
    loss = next(figure for figure in found.figures if figure.name == "loss")
    assert [series.name for series in loss.series] == ["slow: train", "slow: test", "quick: train", "quick: test"]
    assert [(series.colour, series.dash) for series in loss.series] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    for place, run in enumerate(runs):
        np.testing.assert_allclose(loss.series[2 * place].y, lf.Atlas(run)["loss"].values[0])
    assert any("trace" in note and "quick alone" in note for note in found.notes)
    ends = dict(found.facts)["train loss"]
    assert ends[0] != ends[1]


def test_the_page(runs: tuple[Path, Path], tmp_path: Path) -> None:
    page = compare(runs, tmp_path / "sub" / "two.html").read_text()
    assert "slow and quick" in page
    assert "landform compare" in page
    assert 'id="loss"' in page
    assert 'src="http' not in page


def test_the_command(runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "c.html"
    assert main(["compare", str(runs[0]), str(runs[1]), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "recipe: lr" in said.out
    assert out.is_file()
    assert main(["compare", str(runs[0]), str(runs[1]), "--out", str(out), "--json"]) == 0
    assert '"differing"' in capsys.readouterr().out
    assert main(["compare", str(runs[0])]) == 2
    assert "give two at least" in capsys.readouterr().err
    assert main(["compare", str(runs[0]), str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_runs_of_one_name_are_told_by_their_folders(runs: tuple[Path, Path]) -> None:
    assert comparison([runs[0], runs[0]]).names == (str(runs[0]), str(runs[0]))
    with pytest.raises(BadInput, match="is a folder"):
        compare(runs, runs[0])
