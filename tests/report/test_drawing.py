"""What the two backends make of a description."""

from __future__ import annotations

import json

import numpy as np
import pytest

from landform.report import Axis, Figure, Series, draw
from landform.report._draw import describe
from landform.report._style import DARK, LIGHT

X = np.array([0.0, 0.1, 1.0, 10.0])
Y = np.array([1.0, np.nan, 0.1, 0.01])


def figure(**changed: object) -> Figure:
    parts: dict[str, object] = {
        "name": "loss",
        "title": "Loss",
        "caption": "how",
        "fools": "what",
        "x": Axis("epoch", "log", zero_at=0.05),
        "y": Axis("loss", "log"),
        "series": (Series("train", X, Y), Series("test", X, Y * 2, colour=1)),
    }
    return Figure(**{**parts, **changed})  # type: ignore[arg-type]


def test_plotly_accepts_what_it_is_given() -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    band = Series("band", X, np.ones(4), "line", 2, np.array([0.5, np.nan, 0.5, 0.5]), np.full(4, 2.0))
    described = describe(figure(series=(*figure().series, band), reference=0.5))
    for trace in described["data"]:
        graph_objects.Figure({"data": [trace]})  # raises on an unknown property
    graph_objects.Figure(described)
    json.dumps(described, allow_nan=False)


def test_plotly_draws_the_placed_numbers_and_tells_the_true_ones() -> None:
    first, second = describe(figure())["data"]
    assert first["x"] == [0.05, 0.1, 1.0, 10.0]
    assert first["y"] == [1.0, None, 0.1, 0.01]
    assert first["customdata"][0] == [0.0, 1.0]
    assert first["line"]["dash"] != second["line"]["dash"]
    assert first["marker"]["symbol"] != second["marker"]["symbol"]
    assert first["connectgaps"] is False
    layout = describe(figure())["layout"]
    assert layout["xaxis"]["type"] == "log"
    assert layout["xaxis"]["ticktext"][0] == "0"


def test_a_band_is_split_at_a_gap() -> None:
    low = np.array([1.0, np.nan, 1.0, 1.0])
    series = Series("loss", X, np.full(4, 2.0), "line", 0, low, np.full(4, 3.0))
    bands = [trace for trace in describe(figure(series=(series,)))["data"] if trace["meta"]["band"]]
    assert [len(band["x"]) for band in bands] == [2, 4]


@pytest.mark.parametrize(("kind", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_matplotlib_draws_a_file_that_repeats_itself(kind: str, begins: bytes) -> None:
    pytest.importorskip("matplotlib")
    drawn = draw(figure(reference=0.1), kind)  # type: ignore[arg-type]
    assert drawn.startswith(begins)
    assert drawn == draw(figure(reference=0.1), kind)  # type: ignore[arg-type]
    assert drawn != draw(figure(reference=0.1, title="Another"), kind)  # type: ignore[arg-type]


def test_matplotlib_writes_labels_and_legend() -> None:
    pytest.importorskip("matplotlib")
    text = draw(figure(y=Axis("wrong labels", percent=True)), "svg").decode()
    for expected in ("Loss", "epoch", "wrong labels", "train", "test", "%"):
        assert expected in text


def test_the_two_palettes_match() -> None:
    assert len(LIGHT) == len(DARK) == len(set(LIGHT)) == len(set(DARK))
