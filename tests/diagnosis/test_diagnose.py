import csv
import json

import numpy as np
import pytest

from landform.cli import main
from landform.cli._diagnose import show
from landform.diagnosis import LABELS, diagnose, diagnose_all, features, phases, reference_table, shared, table_of
from landform.errors import BadInput

MEASURED = ("train_error", "train_loss", "mode_connectivity", "mode_connectivity_peak", "hessian_t", "hessian_e", "cka")


def measured(row):
    return {name: row[name] for name in MEASURED}


@pytest.fixture(scope="module")
def all_found(landscape_rows, landscape_table):
    rows = [measured(row) for row in landscape_rows]
    return diagnose_all(table_of([*rows, {**rows[40], "hessian_t": 30.0}]), landscape_table)


@pytest.fixture(scope="module")
def found(all_found):
    return all_found[40]


@pytest.fixture
def files(tmp_path, monkeypatch, landscape_rows):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LANDFORM_DATA", raising=False)
    for name, rows in (("all.csv", landscape_rows), ("asked.csv", [measured(row) for row in landscape_rows[::7]])):
        with (tmp_path / name).open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0].keys())
            table.writeheader()
            table.writerows(rows)
    return tmp_path


def test_a_diagnosis_says_phase_knob_evidence_and_neighbours(found, landscape_rows, landscape_table):
    assert found.phase == phases(landscape_table)[40]
    assert found.temperature in LABELS["temperature"]
    assert sum(found.knobs.values()) == pytest.approx(1)
    assert set(found.knobs) == {"temperature", "width", "data"}
    assert found.first == max(found.knobs, key=found.knobs.get)
    assert found.familiar
    assert len(found.evidence) == len(MEASURED) + 3
    assert str(found) == found.advice
    assert found.advice.endswith(".")
    assert f"Phase {found.phase}" in found.advice


def test_the_nearest_network_is_itself_and_the_others_are_next(found, landscape_rows, landscape_table):
    assert found.nearest[0].row == 41
    assert found.nearest[0].distance == pytest.approx(0)
    assert found.nearest[0].configuration["width"] == landscape_rows[40]["width"]
    values = features(landscape_table, shared(landscape_table))[1]
    plain = (values - values.mean(0)) / values.std(0)
    apart = sorted((float(np.sqrt(((row - plain[40]) ** 2).mean())), i + 1) for i, row in enumerate(plain))
    assert [each.row for each in found.nearest] == [row for _, row in apart[:5]]
    assert [each.distance for each in found.nearest] == pytest.approx([distance for distance, _ in apart[:5]])


def test_what_the_reference_has_never_seen_is_said(all_found):
    assert [one.familiar for one in all_found].count(False) < 5
    strange = all_found[-1]
    assert not strange.familiar
    assert "no network like this one" in strange.advice


def test_advice_turns_the_knob_that_is_said(all_found):
    cold, hot = all_found[17], all_found[90]
    assert cold.temperature == "small"  # width 2, the largest batch
    assert "smaller batch" in cold.advice
    assert hot.temperature == "large"  # width 64, the smallest batch
    assert "larger batch" in hot.advice
    for one in (cold, hot):
        word = {"temperature": "turn the temperature first", "width": "wider first", "data": "more data first"}[
            one.first
        ]
        assert word in one.advice


def test_too_little_to_go_by(landscape_table, monkeypatch):
    with pytest.raises(BadInput, match="needs a training error or loss and one of"):
        diagnose({"train_loss": 0.3, "width": 4}, landscape_table)
    monkeypatch.delenv("LANDFORM_DATA", raising=False)
    with pytest.raises(BadInput, match="does not say which is the answer to temperature"):
        diagnose({"train_loss": 0.3, "mc": -4}, table_of([{"train_loss": 0.1, "mc": 2}]))


def test_without_data_the_networks_that_come_with_landform_are_the_reference(monkeypatch):
    monkeypatch.delenv("LANDFORM_DATA", raising=False)
    own = reference_table()
    assert len(own) > 150
    told = diagnose({"train_loss": 1.3, "train_error": 50.0, "mc": -20.0, "cka": 0.2, "log_trace": 2.0})
    assert "reference_digits.csv" in told.reference
    assert told.first == "width"  # all the nearest are narrow networks far from fitting their data
    narrow = [each.configuration["width"] for each in told.nearest]
    assert max(narrow) <= 16


def test_the_command_answers_for_one_network(files, capsys, landscape_rows):
    words = [word for name, value in measured(landscape_rows[40]).items() for word in ("--measure", f"{name}={value}")]
    assert main(["diagnose", *words, "--fit-on", "all.csv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["nearest"][0]["row"] == 41


def test_what_is_shown_begins_with_the_advice(found, capsys):
    show(found)
    shown = capsys.readouterr()
    assert shown.err.startswith(found.advice)
    assert "width-or-batch" in shown.out


@pytest.mark.parametrize("method", ["ensemble", "md-tree"])
def test_the_command_answers_for_a_table_row_by_row(files, capsys, method):
    words = ["--from-table", "asked.csv", "--fit-on", "all.csv", "--predict", "temperature", "--out", "deep/p.csv"]
    assert main(["diagnose", *words, "--method", method]) == 0
    with (files / "deep" / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (files / "asked.csv").open() as file:
        asked = list(csv.DictReader(file))
    assert len(rows) == len(asked)
    assert set(rows[0]) == {"prediction", "probability"}
    assert {row["prediction"] for row in rows} <= {"small", "large"}
    assert all(0.5 <= float(row["probability"]) <= 1 for row in rows)
    (files / "turned.csv").write_text(
        "\n".join([(lines := (files / "asked.csv").read_text().splitlines())[0], *lines[:0:-1]])
    )
    words[1], words[-1] = "turned.csv", "q.csv"
    assert main(["diagnose", *words, "--method", method]) == 0
    with (files / "q.csv").open() as file:
        assert list(csv.DictReader(file)) == rows[::-1]


def test_the_command_says_how_far_it_can_be_trusted(files, capsys):
    assert (
        main(
            [
                "diagnose",
                "--validate",
                "--fit-on",
                "all.csv",
                "--predict",
                "width-or-batch",
                "--method",
                "md-tree",
                "--json",
            ]
        )
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert [one["held_out"] for one in told] == [
        "2 levels of width at a time", "2 levels of batch size at a time", "2 levels of data at a time",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "takes one of RUN"),
        (["--measure", "mc=1", "--from-table", "asked.csv"], "takes one of RUN"),
        (["--measure", "mc"], "such as train_loss=0.4"),
        (["--from-table", "asked.csv", "--fit-on", "all.csv"], "--predict is missing"),
        (["--from-table", "asked.csv", "--fit-on", "all.csv", "--predict", "temperature"], "--out is missing"),
        (["--from-table", "gone.csv", "--predict", "temperature", "--out", "p.csv"], "gone.csv"),
        (
            ["--from-table", "asked.csv", "--fit-on", "asked.csv", "--predict", "temperature", "--out", "p.csv"],
            "does not say which is the answer to temperature",
        ),
        (
            ["--from-table", "asked.csv", "--fit-on", "all.csv", "--predict", "data-or-batch",
             "--out", "p.csv", "--method", "md-tree"],
            "not data-or-batch",
        ),
    ],
)  # fmt: skip
def test_misuse_is_one_sentence(files, capsys, words, said):
    assert main(["diagnose", *words]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.count("\n") == 1
    assert not (files / "p.csv").exists()
