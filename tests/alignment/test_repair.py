"""REPAIR: means and spreads of inner units as they should be, by plain forward passes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from shapes_of_models import landscape, vectors, zoo
from torch import Tensor, nn

import landform as lf
from landform import alignment
from landform.errors import BadInput

ZOO = zoo()


def inputs(count: int = 50, *shape: int) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(8))


def two(model: nn.Module, x: Tensor) -> tuple[lf.Landscape, Tensor, Tensor]:
    where = lf.Landscape(model, (x, torch.arange(len(x)) % 3), device="cpu", dtype=torch.float64, batch_size=16)
    made = torch.Generator().manual_seed(1)
    draws = torch.randn(2, where.layout.size, generator=made, dtype=torch.float64)
    a, b = where.here + where.here.std() * draws
    return where, a, b


def moments(where: lf.Landscape, point: Tensor, x: Tensor, activation: str) -> list[tuple[Tensor, Tensor]]:
    views, h, found = where.layout.views(point), x.double(), []
    for name in ("dense1", "dense2", "dense3"):
        h = h @ views[f"{name}.weight"].T + views[f"{name}.bias"]
        found.append((h.mean(0), h.std(0, correction=0)))
        h = getattr(torch, activation)(h)
    return found


@pytest.mark.parametrize(("activation", "at"), [("relu", 0.5), ("tanh", 0.3)])
def test_each_unit_has_the_mean_and_spread_between_those_of_the_ends(activation: str, at: float) -> None:
    x = inputs(50, 5)
    model = lf.models.mlp(inputs=(5,), classes=3, width=8, activation=activation)
    where, a, b = two(model, x)
    result = alignment.repair(where, a, b, at=at)
    assert result.layers == ("dense1", "dense2", "dense3")
    assert result.unshifted == ()
    assert result.passes == 5
    ours, theirs = (moments(where, point, x, activation) for point in (a, b))
    for layer, (mean, spread) in enumerate(moments(where, result.point, x, activation)):
        torch.testing.assert_close(mean, (1 - at) * ours[layer][0] + at * theirs[layer][0])
        torch.testing.assert_close(spread, (1 - at) * ours[layer][1] + at * theirs[layer][1])
    plain = moments(where, a + at * (b - a), x, activation)[0][1]
    wanted = (1 - at) * ours[0][1] + at * theirs[0][1]
    assert result.collapse["dense1"] == pytest.approx(float((plain / wanted).square().mean()))
    last = [where.layout.views(point)["readout.weight"] for point in (result.point, a, b)]
    torch.testing.assert_close(last[0], (1 - at) * last[1] + at * last[2])


@pytest.mark.parametrize("name", ["conv", "ntk", "conv ntk"])
def test_convolutions_and_ntk_layers(name: str) -> None:
    kind = "ntk" if "ntk" in name else "standard"
    if "conv" in name:
        x = inputs(40, 3, 8, 8)
        model = lf.models.small_cnn(inputs=(3, 8, 8), classes=3, width=6, parametrisation=kind)
    else:
        x = inputs(40, 5)
        model = lf.models.mlp(inputs=(5,), classes=3, width=6, parametrisation=kind)
    where, a, b = two(model, x)
    result = alignment.repair(where, a, b)
    names = ("conv1", "conv2", "conv3") if "conv" in name else ("dense1", "dense2", "dense3")
    assert result.layers == names
    found: dict[str, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in names}
    model = model.double()
    for point in (a, b, result.point):
        where.layout.load_(model, point)
        h = x.double()
        for layer, module in model.named_children():
            h = module(h)
            if layer in names:
                rows = h.movedim(1, -1).flatten(0, -2)
                found[layer].append((rows.mean(0), rows.std(0, correction=0)))
    for one, other, between in found.values():
        torch.testing.assert_close(between[0], (one[0] + other[0]) / 2)
        torch.testing.assert_close(between[1], (one[1] + other[1]) / 2)


def test_the_ends_are_left_as_they_are() -> None:
    where, a, b = two(lf.models.mlp(inputs=(5,), classes=3, width=8), inputs(50, 5))
    torch.testing.assert_close(alignment.repair(where, a, b, at=0).point, a)
    torch.testing.assert_close(alignment.repair(where, a, b, at=1).point, b)
    torch.testing.assert_close(alignment.repair(where, a, a).point, a)


def test_with_batchnorm_its_statistics_are_found_anew() -> None:
    model, x = ZOO["resnet20 batch"]()
    where = landscape(model, x)
    a = where.here
    b = a + a.std() * torch.randn(a.shape, generator=torch.Generator().manual_seed(0), dtype=a.dtype)
    result = alignment.repair(where, a, b)
    assert result.layers == ()
    torch.testing.assert_close(result.point, (a + b) / 2)
    torch.testing.assert_close(dict(result.buffers), where.calibrate((a + b) / 2))


def test_without_biases_only_the_spread_is_mended() -> None:
    x = inputs(50, 5)
    where, a, b = two(lf.models.mlp(inputs=(5,), classes=3, width=8, depth=1, bias=False), x)
    result = alignment.repair(where, a, b)
    assert result.unshifted == ("dense1",)
    weights = [where.layout.views(point)["dense1.weight"] for point in (a, b, result.point)]
    one, other, between = ((x.double() @ w.T).std(0, correction=0) for w in weights)
    torch.testing.assert_close(between, (one + other) / 2)


def test_units_that_do_not_vary_are_not_blown_up() -> None:
    model = lf.models.mlp(inputs=(5,), classes=3, width=4, depth=1)
    where, a, b = two(model, inputs(50, 5))
    views = {name: view.clone() for name, view in where.layout.views(b).items()}
    views["dense1.weight"][1] = -where.layout.views(a)["dense1.weight"][1]  # they cancel half way
    result = alignment.repair(where, a, where.layout.join(views))
    after = where.layout.views(result.point)
    assert bool(torch.isfinite(result.point).all())
    assert float(after["dense1.weight"][1].abs().max()) < 1e-12
    means = [F.linear(inputs(50, 5).double(), *(v[f"dense1.{k}"] for k in ("weight", "bias"))).mean(0)
             for v in (where.layout.views(a), views, after)]  # fmt: skip
    torch.testing.assert_close(means[2], (means[0] + means[1]) / 2)


def test_layers_called_again_and_tied_ones() -> None:
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.inner, self.same, self.last = (
                nn.Linear(5, 6),
                nn.Linear(6, 6),
                nn.Linear(6, 6),
                nn.Linear(6, 3),
            )
            self.same.weight = self.inner.weight
            self.twice = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            h = self.same(self.inner(self.enter(x).relu()).relu())
            return self.last(self.twice(self.twice(h).relu()).relu())

    torch.manual_seed(0)
    where, a, b = two(Again(), inputs(50, 5))
    result = alignment.repair(where, a, b)
    assert result.layers == ("enter", "twice")
    assert bool(torch.isfinite(where.outputs(result.point)).all())


def test_it_lowers_the_barrier_of_aligned_networks() -> None:
    data = lf.data.digits(per_class=50)
    nets = [lf.models.mlp(inputs=(64,), classes=10, width=24, depth=3, seed=seed) for seed in range(2)]
    recipe = lf.Recipe(epochs=30, batch_size=50, optimizer="adam", lr=2e-3)
    a, b = (one.point for one in lf.train_many(nets, data, recipe, device="cpu"))
    where = lf.Landscape(nets[0], data, device="cpu")
    b = alignment.align(where, a, b).point
    result = alignment.repair(where, a, b)
    assert all(ratio < 1 for ratio in result.collapse.values())
    assert float(where.loss(result.point)) < float(where.loss((a + b) / 2))


def test_misuse() -> None:
    where, a, b = two(lf.models.mlp(inputs=(5,), classes=3, width=8), vectors())
    with pytest.raises(BadInput, match=r"at is 1\.5"):
        alignment.repair(where, a, b, at=1.5)
    with pytest.raises(BadInput, match="b has 10 numbers"):
        alignment.repair(where, a, b[:10])
