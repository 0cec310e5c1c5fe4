import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from landform.diagnosis import MDTree, answers, md_tree, read_table, table_of
from landform.errors import BadInput


def some_rows(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "train_error": float(rng.choice([0.0, rng.uniform(0, 30)])),
            "mode_connectivity_peak": -float(rng.uniform(0, 40)),
            "hessian_t": float(rng.uniform(3, 9)),
            "bs_failure": str(rng.choice(["small", "large", "optimal"])),
            "width_vs_batch": str(rng.choice(["width", "batch"])),
        }
        for _ in range(count)
    ]


def by_hand(row, question, t):
    """The trees of the notes, branch by branch."""
    error, peak, trace = row["train_error"], row["mode_connectivity_peak"], row["hessian_t"]
    if question == "temperature":
        if error <= t[0]:
            return "small"
        if peak <= t[1]:
            return "large" if trace <= t[2] else "small"
        return "large"
    if error <= t[0]:
        return "width" if peak <= t[1] else "batch"
    return "width" if peak <= t[2] else "batch"


@pytest.mark.parametrize("question", ["temperature", "width-or-batch"])
def test_the_tree_is_that_of_the_notes_and_fitted_as_published(question):
    rows = some_rows(120)
    table = table_of(rows)
    right = answers(table, question)
    fitted = md_tree(table, right, question)
    for thresholds in (fitted.thresholds, (0.3, -20.0, 6.0), (0.9, -3.0, -15.0)):
        told = MDTree(question, thresholds).predict(table)
        assert told.tolist() == [by_hand(row, question, thresholds) for row in rows]
    start = [0.5, -10.0, 7.0 if question == "temperature" else -10.0]
    bounds = [(0, 1), (-30, 0), (4, 9) if question == "temperature" else (-30, 0)]
    known = [(row, label) for row, label in zip(rows, right, strict=True) if label != "optimal"]
    for place in range(3):

        def wrong(value, place=place):
            t = [value if i == place else each for i, each in enumerate(start)]
            return np.mean([by_hand(row, question, t) != label for row, label in known])

        start[place] = minimize_scalar(wrong, bounds=bounds[place], method="bounded").x
    assert fitted.thresholds == pytest.approx(tuple(start))


def test_questions_and_tables_it_cannot_answer():
    table = table_of(some_rows(5))
    with pytest.raises(BadInput, match="not data-or-batch"):
        md_tree(table, np.array(["data"] * 5), "data-or-batch")
    with pytest.raises(BadInput, match="no row whose answer"):
        md_tree(table, np.array(["optimal"] * 5), "temperature")


def test_on_the_reference_grid_it_is_as_good_as_it_can_be(data_root):
    path = data_root / "reference" / "model_diagnosis_clean.csv"
    if not path.is_file():
        pytest.skip("no reference/ under LANDFORM_DATA")
    table = read_table(path)
    for question, least, most in (("temperature", 0.94, 0.95), ("width-or-batch", 0.84, 0.85)):
        right = answers(table, question)
        known = right != "optimal"
        tree = md_tree(table, right, question)
        assert least < (tree.predict(table) == right)[known].mean() < most
