"""What the figure of connectors says."""

from __future__ import annotations

import pytest
import torch

import landform as lf
from landform.errors import BadInput
from landform.paths import Connector, connector
from landform.report import draw
from landform.report._connector_figures import connectors


@pytest.fixture(scope="module")
def some() -> list[Connector]:
    data = lf.data.digits(per_class=6)
    landscape = lf.Landscape(lf.models.build("mlp", inputs=(64,), classes=10, width=6, depth=1), data, device="cpu")
    made = torch.Generator().manual_seed(0)
    optima = landscape.here + 0.3 * torch.randn(4, landscape.layout.size, generator=made)
    return [connector(landscape, optima[:m], steps=10, samples=8, on={"test": data.test}) for m in (3, 2)]


def test_it_shows_what_was_read_in_order_of_the_optima(some: list[Connector]) -> None:
    figure = connectors(some)
    assert [series.name for series in figure.series] == [
        "plain, highest", "plain, mean", "trained, highest", "trained, mean"
    ]  # fmt: skip
    for series in figure.series:
        assert series.x.tolist() == [2.0, 3.0]
    assert figure.series[0].y.tolist() == [one.plain.inside.highest for one in reversed(some)]
    assert figure.series[3].y.tolist() == [one.trained.inside.mean for one in reversed(some)]
    assert "10 steps" in figure.caption
    test = connectors(some, error=True, on="test")
    assert test.y.percent
    assert test.series[2].y.tolist() == [one.on["test"][0].inside.error_highest for one in reversed(some)]
    assert draw(figure)[:4] == b"\x89PNG"


def test_misuse_is_told_in_a_sentence(some: list[Connector]) -> None:
    with pytest.raises(BadInput, match="of none"):
        connectors([])
    with pytest.raises(BadInput, match="same number"):
        connectors([some[0], some[0]])
    with pytest.raises(BadInput, match="not all read on 'other'"):
        connectors(some, on="other")
