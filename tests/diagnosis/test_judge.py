import numpy as np
import pytest

from landform.diagnosis import (
    CONFIGURATION,
    LABELS,
    TESTED,
    USED,
    answer_table,
    answers,
    features,
    few_shot,
    labelled,
    learn,
    leave_out,
    shared,
    table_of,
    transfer,
)  # fmt: skip
from landform.errors import BadInput


@pytest.fixture(scope="module")
def judge(landscape_table):
    return learn(landscape_table, "temperature")


def shuffled(table, names, seed):
    order = np.random.default_rng(seed).permutation(len(table))
    columns = {name: values[order] if name in names else values for name, values in table.columns.items()}
    return type(table)(table.source, columns, dict(table.labels), table.names, table.rows)


def test_it_never_looks_at_configuration_or_test_data(landscape_table):
    """Shuffled in the table that is asked and in the one that is learned from, they change no prediction."""
    assert not set(USED) & (set(CONFIGURATION) | set(TESTED))
    known = labelled(landscape_table, "width-or-batch")
    told = answer_table(known, known, "width-or-batch")
    hidden = set(CONFIGURATION) | set(TESTED)
    other = answer_table(shuffled(known, hidden, 1), shuffled(known, hidden, 2), "width-or-batch")
    np.testing.assert_array_equal(told.first, other.first)
    turned = shuffled(known, {"log_trace"}, 3)
    assert (answer_table(known, turned, "width-or-batch").first != told.first).any()


def test_rows_know_nothing_of_one_another(judge, landscape_table):
    whole = judge.answer(landscape_table).first
    order = np.random.default_rng(0).permutation(len(landscape_table))[:17]
    np.testing.assert_allclose(judge.answer(landscape_table.where(order)).first, whole[order], atol=1e-12)
    for row in (0, 50):
        np.testing.assert_allclose(judge.answer(landscape_table.where(np.array([row]))).first, whole[row], atol=1e-12)


def test_answers_are_right_far_more_often_than_by_chance(judge, landscape_table):
    right = answers(landscape_table, "temperature")
    known = right != "optimal"
    told = judge.answer(landscape_table)
    assert (told.prediction == right)[known].mean() > 0.93
    assert (told.probability >= 0.5).all()
    np.testing.assert_allclose(told.probability, np.maximum(told.first, 1 - told.first))
    assert ((told.first >= 0.5) == (told.prediction == "small")).all()
    assert set(told.prediction) == set(LABELS["temperature"])


def test_the_same_seed_gives_the_same_answers(judge, landscape_table):
    again = learn(landscape_table, "temperature")
    np.testing.assert_array_equal(again.answer(landscape_table).first, judge.answer(landscape_table).first)


def test_it_works_with_what_both_tables_have(landscape_rows, landscape_table):
    bare = table_of(
        [{name: row[name] for name in ("train_loss", "mode_connectivity", "hessian_t")} for row in landscape_rows]
    )
    assert shared(landscape_table, bare) == ("train_loss", "connectivity", "log_trace")
    told = answer_table(landscape_table, bare, "temperature")
    right = answers(landscape_table, "temperature")
    assert (told.prediction == right)[right != "optimal"].mean() > 0.85


def test_cells_that_are_empty_are_filled_and_not_feared(judge, landscape_rows):
    holes = [{**row, "cka": None if i % 3 else row["cka"]} for i, row in enumerate(landscape_rows)]
    told = judge.answer(table_of(holes))
    assert np.isfinite(told.first).all()


def test_features_are_free_of_the_unit_of_loss_where_they_say_so(landscape_rows):
    table = table_of(landscape_rows)
    names, values = features(table, USED)
    assert len(names) == values.shape[1] == 13
    few, some = features(table, ("train_loss", "connectivity"))
    assert set(few) < set(names)
    np.testing.assert_array_equal(some, values[:, [names.index(name) for name in few]])
    place = names.index("relative barrier")
    assert (np.abs(values[:, place]) <= 1).all()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"cka": 0.5, "mc": 1.0}], "no column for train_loss"),
        ([{"train_loss": 0.5, "train_error": 1.0}], "share only train_error, train_loss"),
    ],
)
def test_tables_that_say_too_little(landscape_table, rows, said):
    with pytest.raises(BadInput, match=said):
        answer_table(landscape_table, table_of(rows), "temperature")


def test_too_few_answers(landscape_table):
    known = labelled(landscape_table, "temperature")
    small = known.where(known.labels["temperature"] == "small")
    with pytest.raises(BadInput, match="0 with large"):
        learn(small, "temperature")
    table = labelled(landscape_table, "temperature")
    judge = learn(table, "temperature", measures=("train_loss", "log_trace"))
    with pytest.raises(BadInput, match="no column for log_trace"):
        judge.answer(table_of([{"train_loss": 0.5, "mc": 1.0}]))


def test_the_published_tree_answers_with_the_share_it_gets_right(landscape_table):
    told = answer_table(landscape_table, landscape_table, "width-or-batch", method="md-tree")
    right = answers(landscape_table, "width-or-batch")
    for name in set(told.prediction):
        chosen = (told.prediction == name) & (right != "optimal")
        share = max(0.5, (right == name)[chosen].mean())
        assert told.probability[chosen] == pytest.approx(share)


def test_validation_leaves_whole_levels_out(landscape_table):
    found = leave_out(landscape_table, "temperature", "width", levels=2, method="md-tree")
    assert len(found.parts) == 3
    right = answers(landscape_table, "temperature")
    assert len(found.first) == (right != "optimal").sum() == found.confusion.sum()
    assert found.accuracy == pytest.approx(np.trace(found.confusion) / found.confusion.sum())
    assert found.standard_error == pytest.approx(np.std(found.parts, ddof=1) / np.sqrt(3))
    with pytest.raises(BadInput, match="3 levels of data"):
        leave_out(landscape_table, "temperature", "data", levels=3)


def test_few_networks_are_enough_and_many_are_better(landscape_table):
    few = few_shot(landscape_table, "temperature", 40, draws=2)
    many = few_shot(landscape_table, "temperature", 85, draws=2)
    assert len(few.parts) == 2
    assert few.accuracy == pytest.approx(np.mean(few.parts))
    assert 0.7 < few.accuracy <= many.accuracy + 0.03
    assert np.maximum(few.first, 1 - few.first).mean() < few.accuracy + 0.03  # it may be modest, never boastful
    with pytest.raises(BadInput, match="learn from fewer"):
        few_shot(landscape_table, "temperature", 4000)


def test_another_table_is_judged_with_its_own_answers(landscape_table):
    other = landscape_table.where(landscape_table["width"] > 4)
    found = transfer(landscape_table, other, "temperature", method="md-tree")
    assert len(found.first) < len(other) + 1
    assert found.standard_error == pytest.approx(np.sqrt(found.accuracy * (1 - found.accuracy) / len(found.first)))


def test_probabilities_come_true_on_the_published_grid(clean):
    found = few_shot(clean, "temperature", 96, draws=2)
    assert found.accuracy > 0.93
    assert found.calibration_error < 0.06
    assert few_shot(clean, "temperature", 96, draws=2, method="md-tree").accuracy < found.accuracy
