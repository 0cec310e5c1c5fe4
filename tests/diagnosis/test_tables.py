import csv

import numpy as np
import pytest

from landform.diagnosis import read_table, table_of
from landform.errors import BadInput


def write(folder, text):
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_known_by_meaning(tmp_path):
    table = read_table(
        write(
            tmp_path,
            "Batch Size;Width;train_acc;Hessian-Top;hessian_trace;CKA;comment\n32;8;97.5;20.0;-3;0.5;good\n"
            "\n64;8;100;1;2.718281828459045;nan;\n",
        )
    )
    assert len(table) == 2
    assert table["train_error"].tolist() == [2.5, 0.0]
    assert table["log_eigenvalue"].tolist() == [pytest.approx(np.log(20)), 0.0]
    assert np.isnan(table["log_trace"][0])  # a trace below zero has no logarithm
    assert table["log_trace"][1] == pytest.approx(1.0)
    assert table["similarity"][0] == 0.5
    assert np.isnan(table["similarity"][1])
    assert table.names["train_error"] == "train_acc"
    assert "comment" not in table.columns


def test_accuracies_that_are_shares_become_percentages_but_errors_do_not(tmp_path):
    table = read_table(write(tmp_path, "test_acc,train_error\n0.91,0.4\n1.0,0.9\n"))
    assert table["test_accuracy"].tolist() == [91.0, 100.0]
    assert table["train_error"].tolist() == [0.4, 0.9]


def test_what_the_curve_says_is_the_published_formula(tmp_path):
    rng = np.random.default_rng(0)
    errors = rng.uniform(0, 50, (20, 5)).round(3)
    lines = ["curve_train_error_0,curve_train_error_25,curve_train_error_50,curve_train_error_75,curve_train_error_100"]
    lines += [",".join(str(each) for each in row) for row in errors]
    table = read_table(write(tmp_path, "\n".join(lines)))
    for row, connectivity, peak in zip(errors, table["connectivity"], table["curve_error"], strict=True):
        ends = (row[0] + row[-1]) / 2
        furthest = max(row, key=lambda error: abs(ends - error))
        assert connectivity == pytest.approx(ends - furthest)
        assert peak == max(row[1:-1])


def test_mappings_make_the_same_table_as_a_file(tmp_path):
    path = write(tmp_path, "train_loss,mc,cka\n0.01,-2,0.5\n0.3,,0.4\n")
    with path.open() as file:
        same = table_of([{"train_loss": 0.01, "mc": -2, "cka": 0.5}, {"train_loss": 0.3, "mc": None, "cka": 0.4}])
        by_hand = table_of(csv.DictReader(file))
    table = read_table(path)
    for name in table.columns:
        np.testing.assert_array_equal(table[name], same[name])
        np.testing.assert_array_equal(table[name], by_hand[name])


def test_some_rows_are_a_table_with_their_labels(tmp_path):
    table = read_table(write(tmp_path, "bs_failure,train_error\nsmall,1\nlarge,2\nSMALL ,3\n"))
    some = table.where(table["train_error"] != 2)
    assert len(some) == 2
    assert some.labels["temperature"].tolist() == ["small", "small"]
    assert len(table.where(np.array([2]))) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("train_loss,mc\n", "no row"),
        ("train_loss,mc\n0.1,0\n0.2\n", "Row 2 .* 1 cells for 2 columns"),
        ("train_loss,mc\n0.1,0\n0.2,abc\n", "Row 2 .* 'abc' in column mc"),
        ("train_error\n5\n130\n", "Row 2 .* 130 in column train_error"),
    ],
)
def test_misuse_is_one_sentence(tmp_path, text, said):
    with pytest.raises(BadInput, match=said):
        read_table(write(tmp_path, text))


def test_a_missing_column_is_named_with_what_there_is(tmp_path):
    table = read_table(write(tmp_path, "train_loss,mc\n0.1,0\n"))
    with pytest.raises(BadInput, match="no column for similarity; it has train_loss, connectivity"):
        table.need("train_loss", "similarity")
    with pytest.raises(BadInput, match="at least one"):
        table_of([])
