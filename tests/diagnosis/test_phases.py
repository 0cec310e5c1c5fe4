import numpy as np
import pytest

from landform.diagnosis import (
    PHASES,
    Thresholds,
    answers,
    failures,
    phase_table,
    phases,
    ranks,
    room,
    table_of,
)
from landform.errors import BadInput


def cell(loss, connectivity, similarity):
    return {"train_loss": loss, "mode_connectivity": connectivity, "cka": similarity}


def test_phases_by_hand():
    rows = [cell(1.0, -5, 0.3), cell(1.0, 3, 0.9), cell(0.01, -5, 0.9), cell(0.01, 0, 0.59), cell(0.01, 0, 0.6)]
    assert phases(table_of(rows)).tolist() == list(PHASES)
    assert phases(table_of(rows), Thresholds(flat=2, poor=-6, alike=0.95)).tolist() == ["IV-A"] * 5


def test_a_phase_that_cannot_be_told_is_empty():
    rows = [cell(0.01, 0, None), cell(0.01, None, 0.6), cell(None, 0, 0.6), cell(1.0, 0, None), cell(0.01, -2, None)]
    assert phases(table_of(rows)).tolist() == ["", "", "", "II", "III"]
    bare = table_of([{"train_loss": 0.01, "mc": 0}, {"train_loss": 1, "mc": 0}])
    assert phases(bare).tolist() == ["", "II"]


@pytest.mark.parametrize(("name", "value"), [("flat", 0.0), ("alike", 1.0)])
def test_thresholds_that_cannot_be(name, value):
    with pytest.raises(BadInput, match=f"{name} is"):
        Thresholds(**{name: value})


def grid(seed):
    rng = np.random.default_rng(seed)
    return [
        {"width": w, "bs": b, "data": d, "test_acc": float(rng.integers(50, 60))}
        for w in (2, 4, 8)
        for b in (16, 32, 64, 128)
        for d in (1, 2)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_room_for_improvement_is_the_best_beyond(seed):
    rows = grid(seed)
    np.random.default_rng(seed).shuffle(rows)
    won = room(table_of(rows))
    for i, row in enumerate(rows):

        def best(knob, beyond, row=row):
            kept = [name for name in ("width", "bs", "data") if name != knob]
            reach = [r["test_acc"] for r in rows if all(r[k] == row[k] for k in kept) and beyond(r[knob], row[knob])]
            return max(reach) - row["test_acc"]

        assert won["hotter"][i] == best("bs", lambda a, b: a <= b)
        assert won["colder"][i] == best("bs", lambda a, b: a >= b)
        assert won["width"][i] == best("width", lambda a, b: a >= b)
        assert won["data"][i] == best("data", lambda a, b: a >= b)


def test_questions_nobody_can_answer_are_named():
    table = table_of([{"bs": 16, "test_acc": 50}, {"bs": 32, "test_acc": 60}])
    assert answers(table, "temperature").tolist() == ["large", "optimal"]
    with pytest.raises(BadInput, match="answer to width-or-batch"):
        answers(table, "width-or-batch")
    with pytest.raises(BadInput, match="no question 'size'"):
        answers(table, "size")


def test_answers_of_the_reference_grid_follow_from_its_accuracies(clean):
    found = failures(clean)
    assert set(found) == {"temperature", "width-or-batch", "data-or-batch"}
    for question, told in found.items():
        assert (told == clean.labels[question]).all()


def test_the_phase_table_of_the_notes_to_every_printed_digit(clean):
    whole = clean.where(clean["data"] == 10)
    table = {row.phase: row for row in phase_table(whole)}
    assert {name: (f"{row.accuracy:.1f}", row.count) for name, row in table.items()} == {
        "I": ("67.9", 42),
        "II": ("76.8", 87),
        "III": ("77.8", 6),
        "IV-A": ("81.1", 6),
        "IV-B": ("84.8", 28),
    }
    assert f"{table['I'].connectivity:.1f}" == "-13.0"
    assert f"{table['I'].log_eigenvalue:.2f}" == "5.61"
    assert f"{table['II'].connectivity:+.1f}" == "+7.0"
    assert f"{table['III'].connectivity:.1f}" == "-6.9"
    assert f"{table['III'].log_eigenvalue:.2f}" == "3.40"
    assert f"{table['IV-A'].log_eigenvalue:.2f}" == "3.22"
    assert f"{table['IV-B'].log_eigenvalue:.2f}" == "2.73"
    assert f"{table['IV-B'].similarity:.3f}" == "0.685"
    assert f"{table['IV-B'].best:.2f}" == "87.77"
    best = whole["test_accuracy"].argmax()
    assert (whole["width"][best], whole["batch_size"][best]) == (128, 256)


def test_the_correlations_of_the_notes_to_every_printed_digit(clean):
    found = {(rank.measure, rank.among): rank for rank in ranks(clean.where(clean["data"] == 10))}
    printed = {
        ("similarity", "converged"): ".87",
        ("connectivity", "converged"): ".75",
        ("log_trace", "converged"): "-.75",
        ("log_eigenvalue", "converged"): "-.72",
        ("similarity", "all"): ".60",
        ("connectivity", "all"): ".05",
        ("log_eigenvalue", "all"): "-.51",
    }
    assert {key: f"{found[key].kendall:.2f}".replace("0.", ".") for key in printed} == printed
    assert found["similarity", "converged"].count == 39


def test_pairs_and_columns_of_the_notes(clean):
    whole = clean.where(clean["data"] == 10)

    def at(width, batch, table=whole):
        row = (table["width"] == width) & (table["batch_size"] == batch)
        return {name: table[name][row][0] for name in table.columns}

    narrow, wide, wider = (at(width, 1024) for width in (11, 32, 45))
    assert [f"{narrow[name]:.3f}" for name in ("log_eigenvalue", "similarity")] == ["3.403", "0.437"]
    assert [f"{narrow[name]:.2f}" for name in ("connectivity", "test_accuracy")] == ["-2.78", "78.36"]
    assert [f"{wide[name]:.3f}" for name in ("log_eigenvalue", "similarity")] == ["3.280", "0.597"]
    assert [f"{wide[name]:.2f}" for name in ("connectivity", "test_accuracy")] == ["-0.01", "81.62"]
    assert [f"{wider['log_eigenvalue']:.3f}", f"{wider['test_accuracy']:.2f}"] == ["3.296", "82.41"]
    along = clean.where((clean["width"] == 64) & (clean["batch_size"] == 512))
    ends = [along.where(along["data"] == data) for data in (1, 10)]
    assert [f"{end['log_trace'][0]:.2f}" for end in ends] == ["3.70", "5.23"]
    assert [f"{end['similarity'][0]:.3f}" for end in ends] == ["0.534", "0.708"]
    assert [f"{end['test_accuracy'][0]:.1f}" for end in ends] == ["58.1", "84.9"]


def test_ranks_of_a_flat_measure_are_unknown():
    rows = [{"test_acc": 50 + i, "cka": 0.5, "mc": -i, "train_loss": i / 100} for i in range(5)]
    found = {(rank.measure, rank.among): rank for rank in ranks(table_of(rows))}
    assert np.isnan(found["similarity", "all"].spearman)
    assert found["connectivity", "all"].spearman == pytest.approx(-1)
    assert found["connectivity", "converged"].count == 1
    assert np.isnan(found["connectivity", "converged"].kendall)
