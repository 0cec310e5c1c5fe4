import numpy as np
import pytest

from landform.diagnosis import findings, grid_of, read_table, table_of
from landform.errors import BadInput


def cells(noise=0.0, **changed):
    """A landscape as the paper has it: narrow networks poorly connected, cold ones at zero loss."""
    rows = []
    for i, width in enumerate((2, 4, 8, 16, 32)):
        for j, batch in enumerate((16, 32, 64, 128, 256)):
            flat, poor = j >= 3, i < 2
            accuracy = 60 + 4 * i + 2 * j - (9 if flat and poor else 0) - (8 * noise if j == 2 else 0)
            row = {
                "width": width, "bs": batch, "label_noise": noise, "train_loss": 0.001 if flat else 0.5,
                "mc": -10.0 + i if poor else 0.0, "cka": 0.3 + 0.1 * i + 0.01 * j, "hessian_e": 3.0 if flat else 6.0,
                "test_acc": accuracy,
            }  # fmt: skip
            rows.append({**row, **changed})
    return rows


def told(grid, other=None):
    return {found.id: found for found in findings(grid, other)}


def test_claims_on_a_landscape_as_the_paper_has_it():
    found = told(grid_of(table_of(cells())))
    assert set(found) == {"C1", "C2", "C3", "C4-width", "C4-data", "C4-labels", "C5", "C6"}
    assert found["C1"].verdict == "reproduced"
    assert found["C2"].verdict == "reproduced"
    assert found["C2"].seeds == 4
    assert found["C3"].verdict == "reproduced"
    assert found["C3"].value == pytest.approx((60 + 4) - (60 + 6 - 9))  # at width 2: before, and in phase III
    assert found["C4-width"].verdict == "reproduced"
    assert found["C4-data"].verdict == "not measured"
    assert found["C4-labels"].verdict == "not measured"
    assert found["C5"].verdict == "not at this scale"
    assert found["C6"].value == 0


def test_double_descent_is_found_where_labels_are_noisy():
    found = told(grid_of(table_of(cells(noise=1.0)), label_noise=1.0))["C5"]
    assert found.verdict == "reproduced"
    # Accuracy falls by 8 at the third batch: 6 below the hotter side where the colder one is better still (three
    # widths), 3 below the colder side where that is phase III (two widths).
    assert found.value == pytest.approx((3 * 6 + 2 * 3) / 5)


def test_a_landscape_turned_round_contradicts():
    rows = cells()
    for row in rows:
        row["test_acc"], row["mc"] = 150 - row["test_acc"], row["mc"] if row["width"] < 8 else -row["width"]
    assert told(grid_of(table_of(rows)))["C4-width"].verdict == "contradicted"
    for row, before in zip(rows, cells(), strict=True):
        row["mc"] = before["mc"]
    found = told(grid_of(table_of(rows)))
    assert {found[name].verdict for name in ("C1", "C2", "C6")} == {"contradicted"}


def test_measures_that_are_missing_are_told():
    bare = [{name: row[name] for name in ("width", "bs", "train_loss", "mc")} for row in cells()]
    found = told(grid_of(table_of(bare)))
    assert {found[name].verdict for name in ("C1", "C2", "C3", "C5", "C6")} == {"not measured"}
    assert found["C4-width"].verdict == "reproduced"
    hot = told(grid_of(table_of(cells(train_loss=1.0))))
    assert {hot[name].verdict for name in ("C1", "C2", "C3", "C5", "C6")} == {"not at this scale"}


def test_label_noise_costs_connectivity():
    rows = [{"noise": n, "bs": b, "mc": -20 * n - 1, "train_loss": 0.1} for n in (0, 0.1, 0.2, 0.4) for b in (16, 32)]
    found = told(grid_of(table_of(rows)))["C4-labels"]
    assert found.value == pytest.approx(-1)
    assert found.verdict == "reproduced"


def test_grids_hold_what_else_varies():
    rows = [{"width": w, "bs": b, "data": d, "mc": w * b * d} for w in (1, 2) for b in (3, 4, 5) for d in (6, 7)]
    grid = grid_of(table_of([*rows, *rows]))
    assert grid.shape == (3, 2)
    assert grid.fixed == {"data": 7}
    assert grid["connectivity"].tolist() == [[21, 42], [28, 56], [35, 70]]
    assert str(grid) == "width x batch size at data 7"
    over = grid_of(table_of(rows), "data", width=1.0)
    assert over["connectivity"][0].tolist() == [18, 21]


def test_cells_are_means_of_their_rows_and_empty_ones_unknown():
    table = table_of(
        [{"width": 1, "lr": 0.1, "mc": 1}, {"width": 1, "lr": 0.1, "mc": 3}, {"width": 2, "lr": 0.4, "mc": 5}]
    )
    grid = grid_of(table)
    assert grid.temperatures.tolist() == [0.4, 0.1]  # hot first
    np.testing.assert_array_equal(grid["connectivity"], [[np.nan, 5], [2, np.nan]])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"load": "data"}, "does not vary data"),
        ({"temperature": "learning_rate"}, "does not vary learning_rate"),
        ({"data": 1.0}, "has no data to hold"),
        ({"label_noise": 0.3}, "not measured at label_noise 0.3"),
    ],
)
def test_grids_that_cannot_be(asked, said):
    with pytest.raises(BadInput, match=said):
        grid_of(table_of(cells()), **asked)


def test_a_table_that_varies_nothing():
    with pytest.raises(BadInput, match="varies no load"):
        grid_of(table_of([{"bs": 1, "mc": 1}, {"bs": 2, "mc": 1}]))


def test_claims_of_the_reference_grids(data_root):
    folder = data_root / "reference"
    if not (folder / "model_diagnosis_clean.csv").is_file():
        pytest.skip("no reference/ under LANDFORM_DATA")
    clean = read_table(folder / "model_diagnosis_clean.csv")
    found = told(grid_of(clean), grid_of(clean, "data"))
    assert {name for name, each in found.items() if each.verdict == "reproduced"} == {
        "C1", "C2", "C3", "C4-width", "C4-data", "C6",
    }  # fmt: skip
    assert found["C6"].value == 0
    decayed = told(grid_of(read_table(folder / "resnet18_cifar10_grid.csv")))
    assert decayed["C2"].verdict == "reproduced"
    assert decayed["C1"].verdict == "reproduced"
