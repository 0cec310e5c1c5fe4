import json

import numpy as np
import pytest

from landform.diagnosis import borders, grid_of, table_of
from landform.report._draw import describe, draw
from landform.report._taxonomy_figures import correlation_map, phase_maps


def rows():
    """Loss falls with the batch, connectivity rises with the width: all phases but IV-A."""
    return [
        {
            "width": w, "bs": b, "train_loss": 1.0 if b < 64 else 0.001, "mc": -5.0 if w < 8 else 0.0, "cka": 0.7,
            "test_acc": 50 + w + b / 100, "hessian_e": float(w % 3),
        }
        for w in (2, 4, 8, 16) for b in (16, 32, 64, 128)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def grid():
    return grid_of(table_of(rows()))


def test_maps_carry_the_boundaries_of_the_phases(grid):
    found = {one.name: one for one in phase_maps(grid)}
    assert set(found) == {
        "map-test-accuracy",
        "map-train-loss",
        "map-log-eigenvalue",
        "map-connectivity",
        "map-similarity",
    }
    one = found["map-connectivity"]
    assert one.values.tolist() == [[-5, -5, 0, 0]] * 4
    assert {text for _, _, text in one.marks} == {"I", "II", "III", "IV-B"}
    upright = {edge for edge in one.edges if edge[0] == edge[2]}
    assert upright == {(1.5, i - 0.5, 1.5, i + 0.5) for i in range(4)}
    assert {edge for edge in one.edges if edge not in upright} == {(j - 0.5, 1.5, j + 0.5, 1.5) for j in range(4)}
    assert found["map-train-loss"].values[0, 0] == 0
    assert found["map-train-loss"].values[3, 0] == pytest.approx(-3)


def test_cells_that_were_not_measured_have_no_boundary_of_their_own():
    table = table_of([row for i, row in enumerate(rows()) if i % 3])
    whole = phase_maps(grid_of(table_of(rows())))[0]
    assert set(phase_maps(grid_of(table))[0].edges) != set()
    assert len(phase_maps(grid_of(table))[0].edges) <= 2 * len(whole.edges)
    assert borders(np.array([["I", ""], ["", "II"]])) == []


def test_maps_are_drawn_with_their_lines_by_both_backends(grid):
    one = phase_maps(grid)[0]
    described = describe(one)
    json.dumps(described, allow_nan=False)
    paths = [shape for shape in described["layout"]["shapes"] if shape["type"] == "path"]
    assert len(paths) == 2
    assert paths[0]["path"].count("M") == len(one.edges)
    assert {note["text"] for note in described["layout"]["annotations"]} == {"I", "II", "III", "IV-B"}
    svg = draw(one, "svg").decode()
    assert ">IV-B<" in svg
    assert draw(one)[:4] == b"\x89PNG"


def test_correlations_are_square_and_left_out_where_there_are_none(grid):
    found = correlation_map(grid.table)
    assert found is not None
    assert found.values.shape == (len(found.x.names),) * 2
    assert found.values[0, 0] == pytest.approx(1)
    assert np.isnan(found.values[0, found.x.names.index("similarity")])  # the same for all
    assert correlation_map(table_of([{"width": 1, "cka": 0.3}])) is None
