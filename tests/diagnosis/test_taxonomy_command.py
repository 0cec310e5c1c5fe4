import csv
import json

import pytest

from landform.cli import main
from landform.studies import read_claims


@pytest.fixture
def grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "width": w, "bs": b, "data": d, "train_loss": 1.0 if b < 64 else 0.001, "mc": -5.0 if w < 8 else 0.0,
            "cka": 0.3 + w / 40 + d / 100, "test_acc": 50 + w + b / 100 + d, "hessian_e": 3 + b / 100,
        }
        for w in (2, 4, 8, 16) for b in (16, 32, 64, 128) for d in (1, 2, 3, 4)
    ]  # fmt: skip
    with (tmp_path / "grid.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)
    return tmp_path


def test_a_table_becomes_claims_phases_and_a_page(grid, capsys):
    assert main(["taxonomy", "--from-table", "grid.csv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    place = grid / "runs" / "taxonomy-grid"
    assert told["report"] == "runs/taxonomy-grid/report.html"
    assert {claim.id: claim.verdict for claim in read_claims(place)}["C4-data"] == "reproduced"
    written = json.loads((place / "phases.json").read_text())
    assert len(written["rows"]) == 64
    assert {row["phase"]: row["count"] for row in written["phases"]} == {
        "I": 4,
        "II": 4,
        "III": 4,
        "IV-A": 2,
        "IV-B": 2,
    }
    page = (place / "report.html").read_text()
    assert "Double descent" in page
    assert "landform taxonomy --from-table grid.csv" in page
    names = {path.name for path in (place / "figures").iterdir()}
    assert {"map-test-accuracy.png", "map-similarity-2.png", "correlations.png"} <= names


def test_another_slice_and_other_thresholds_are_in_the_command_that_makes_the_page_again(grid, capsys):
    words = ["--load", "data", "--at", "width=8", "--flat", "0.5", "--out", "over data"]
    assert main(["taxonomy", "--from-table", "grid.csv", *words]) == 0
    shown = capsys.readouterr()
    assert "data x batch size at width 8" in shown.err
    page = (grid / "over data" / "report.html").read_text()
    assert "--out &#39;over data&#39; --load data --flat 0.5 --at width=8" in page


def test_without_test_accuracy_phases_are_told_but_not_judged(grid, capsys):
    bare = "width,bs,train_loss,mc\n2,16,1,-5\n4,16,1,0\n2,32,0.001,-5\n4,32,0.001,0\n"
    (grid / "bare.csv").write_text(bare)
    assert main(["taxonomy", "--from-table", "bare.csv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == ["I", "II", "III", ""]
    assert told["ranks"] == []
    assert "told but not judged" in (grid / "runs" / "taxonomy-bare" / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from-table", "none.csv"], "none.csv"),
        (["--from-table", "grid.csv", "--at", "width"], "such as --at width=64"),
        (["--from-table", "grid.csv", "--at", "width=x"], "such as --at width=64"),
        (["--from-table", "grid.csv", "--load", "label_noise"], "does not vary label_noise"),
        (["--from-table", "grid.csv", "--alike", "2"], "alike is 2.0"),
    ],
)
def test_misuse_is_one_sentence(grid, capsys, words, said):
    assert main(["taxonomy", *words]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.count("\n") == 1
    assert not (grid / "runs").exists()
