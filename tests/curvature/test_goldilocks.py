"""Curvature against radius: dense Hessians by plain autograd, and the hump of a small network."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landform as lf
from landform.curvature import goldilocks, xavier
from landform.curvature._goldilocks import _unit_columns
from landform.errors import BadInput


def small(activation: type[nn.Module] = nn.Tanh) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), activation(), nn.LayerNorm(5), nn.Linear(5, 3)).double()
    return model, torch.randn(20, 4, dtype=torch.float64), torch.randint(0, 3, (20,))


def dense_hessian(model: nn.Module, x: torch.Tensor, y: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    layout = lf.Layout.of(model)

    def loss(theta: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(torch.func.functional_call(model, layout.views(theta), x), y)

    return torch.autograd.functional.hessian(loss, point)  # reverse over reverse


def test_against_dense_hessians() -> None:
    model, x, y = small()
    landscape = lf.Landscape(model, (x, y), device="cpu")
    found = goldilocks(landscape, (0.3, 1.0, 4.0), draws=2, dimension=6, seed=5)
    points = xavier(landscape, 2, seed=5)
    norm = [slot for slot in landscape.layout.slots if slot.kind == "norm"]
    for j in range(2):
        M = _unit_columns(landscape, 6, 5, j)
        torch.testing.assert_close(M.norm(dim=0), torch.ones(6, dtype=torch.float64))
        for i, radius in enumerate((0.3, 1.0, 4.0)):
            at = radius * points[j]
            for slot in norm:  # what normalises is not scaled
                at[slot.start : slot.stop] = points[j, slot.start : slot.stop]
            H = M.T @ dense_hessian(model, x, y, at) @ M
            assert float(found.ratios[i, j]) == pytest.approx(float(H.trace() / H.norm()))
            assert float(found.positive[i, j]) == pytest.approx(float((torch.linalg.eigvalsh(H) > 0).double().mean()))
            assert float(found.losses[i, j]) == pytest.approx(float(landscape.loss(at)))
            assert float(found.norms[i, j]) == pytest.approx(float(at.norm()))
    assert found.products == 6 * 6
    assert not torch.equal(found.ratios[:, 0], found.ratios[:, 1])


def test_all_parameters_and_points_of_ones_own() -> None:
    model, x, y = small()
    landscape = lf.Landscape(model, (x, y), device="cpu")
    seen = []
    found = goldilocks(landscape, (1.0,), points=landscape.here, dimension=None, progress=lambda *at: seen.append(at))
    values = torch.linalg.eigvalsh(dense_hessian(model, x, y, landscape.here))
    assert found.ratio.item() == pytest.approx(float(values.sum() / values.norm()))
    assert found.positive_share.item() == pytest.approx(float((values > 1e-6 * values.abs().max()).double().mean()))
    assert seen == [(1, 1)]


def test_xaviers_weights() -> None:
    model = nn.Sequential(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(16 * 16, 100))
    nn.init.constant_(model[1].weight, 1.5)
    landscape = lf.Landscape(model, (torch.randn(4, 8, 6, 6), torch.randint(0, 100, (4,))), device="cpu")
    views = landscape.layout.views(xavier(landscape, 3, seed=1))
    assert float(views["0.weight"].var()) == pytest.approx(2 / (24 * 9), rel=0.1)
    assert float(views["3.weight"].var()) == pytest.approx(2 / 356, rel=0.05)
    assert not views["0.bias"].any()
    assert (views["1.weight"] == 1.5).all()
    assert not torch.equal(views["3.weight"][0], views["3.weight"][1])
    assert torch.equal(xavier(landscape, 3, seed=1), xavier(landscape, 3, seed=1))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_the_hump_lies_between_one_and_two_xavier_radii(activation) -> None:
    data = lf.data.clusters(classes=10, features=64, train_size=400, test_size=10, seed=0)
    model = nn.Sequential(
        nn.Linear(64, 50, bias=False), activation(), nn.Linear(50, 50, bias=False), activation(),
        nn.Linear(50, 10, bias=False),
    )  # fmt: skip
    landscape = lf.Landscape(model, data, device="cpu")
    found = goldilocks(landscape, (0.05, 0.4, 1.0, 1.4, 2.0, 5.0, 30.0), draws=3)
    assert 1.0 <= found.best <= 2.0
    assert found.ratio.max() > 1.4
    assert abs(float(found.ratio[0])) < 1.2
    assert found.ratio[-1] < 0.7 * found.ratio.max()
    assert found.positive_share.max() > 0.65
    assert abs(float(found.positive_share[0]) - 0.5) < 0.25
    assert (found.ratios.abs() <= math.sqrt(10) + 1e-9).all()


def test_where_nothing_is_curved_there_is_no_shape() -> None:
    model = nn.Linear(3, 2)
    landscape = lf.Landscape(
        model, (torch.randn(5, 3), torch.randn(5, 2)), loss=lambda out, y: (out - y).mean(), device="cpu"
    )
    assert goldilocks(landscape, (1.0,), draws=1, dimension=3).ratios.isnan().all()


MISUSE = {
    "none": ({"radii": ()}, "at least one, each above 0"),
    "negative": ({"radii": (-1.0,)}, "each above 0"),
    "draws": ({"draws": 0}, "draws is 0"),
    "dimension": ({"dimension": 10**6}, "dimension is 1,000,000"),
    "points": ({"points": torch.zeros(2, 3)}, "A point of this model"),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_one_sentence(name: str) -> None:
    options, says = MISUSE[name]
    model, x, y = small()
    with pytest.raises(BadInput, match=says):
        goldilocks(lf.Landscape(model, (x, y), device="cpu"), **options)
