"""Reading mixtures of nodes against a plain loop over points, for layers that read the data and those that do not."""

from __future__ import annotations

import unittest.mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landform as lf
from landform.paths import _mixed
from landform.paths._reading import read
from landform.stacked import Function, Stacked


class Twice(nn.Module):
    """Reads the data in two layers, the second also through the first, with a transformed weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(36, 8), nn.Linear(36, 8, bias=False)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        own = F.linear(x, self.second.weight * 2)
        return self.last(torch.relu(self.first(x)) + own)


def convolution(norm: bool = False, **options: object) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, **options),  # type: ignore[arg-type]
        nn.BatchNorm2d(3) if norm else nn.Identity(),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 4),
    )


MODELS = {
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 4)),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 4, bias=False)),
    "positions": lambda: nn.Sequential(nn.Flatten(0, 1), nn.Linear(6, 5), nn.Tanh(), nn.Flatten(), nn.Linear(30, 4)),
    "twice": Twice,
    "convolution": convolution,
    "stride": lambda: convolution(stride=2, padding=1),
    "no bias": lambda: convolution(bias=False),
    "batchnorm": lambda: convolution(norm=True),
}


def data(n: int = 70) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (n,), generator=made)
    labels[5] = -100
    return torch.randn(n, 1, 6, 6, generator=made, dtype=torch.float64), labels


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_it_is_a_plain_loop_over_the_points(name: str, decay: float) -> None:
    torch.manual_seed(0)
    landscape = lf.Landscape(MODELS[name]().double(), data(), device="cpu", batch_size=32, weight_decay=decay)
    made = torch.Generator().manual_seed(1)
    nodes = landscape.here + 0.2 * torch.randn(3, landscape.layout.size, generator=made, dtype=torch.float64)
    weights = torch.rand(40, 3, generator=made, dtype=torch.float64)
    weights[::3, 1] = 0
    test = landscape.on(tuple(t[:30] for t in data()))
    for memory in (2**28, 9 * 8 * landscape.layout.size):
        train_values, test_values = read([landscape, test], nodes, weights, memory=memory)
        (alone,) = read([test], nodes, weights, memory=memory)
        for values, where in ((train_values, landscape), (test_values, test), (alone, test)):
            plain = [where.read(point) for point in weights @ nodes]
            torch.testing.assert_close(values.losses, torch.stack([one.loss for one in plain]))
            errors = torch.stack([one.error for one in plain if one.error is not None])
            assert values.errors is not None
            torch.testing.assert_close(values.errors, errors)


def test_layers_that_read_the_data_are_worked_out_for_the_nodes_alone() -> None:
    net = nn.Sequential(nn.Linear(50, 8), nn.ReLU(), nn.Linear(8, 4))
    layout = lf.Layout.of(net)
    function = Function(net, layout, device=torch.device("cpu"), dtype=torch.float32)
    nodes, weights, x = torch.randn(2, layout.size), torch.rand(40, 2), torch.randn(9, 50)
    points, views = weights @ nodes, layout.views(nodes)
    mixed = {k: _mixed.Mixed(raw, weights, views[k]) for k, raw in layout.views(points).items()}
    with torch.utils.flop_counter.FlopCounterMode(display=False) as few:
        found = function.many(mixed, {}, lambda net: net(x))
    with torch.utils.flop_counter.FlopCounterMode(display=False) as many:
        plain = function.many(layout.views(points), {}, lambda net: net(x))
    assert isinstance(found, Stacked)
    torch.testing.assert_close(found.raw, plain.raw, rtol=1e-4, atol=1e-5)
    # 2 first layers of 50 inputs and the mixing, instead of 40.
    behind = 2 * 40 * 9 * 8 * 4
    assert many.get_total_flops() == 2 * 40 * 9 * 50 * 8 + behind
    assert few.get_total_flops() == 2 * 2 * 9 * 50 * 8 + 2 * 40 * 2 * 9 * 8 + behind


def test_outputs_without_labels_have_a_loss_alone() -> None:
    x, _ = data()
    landscape = lf.Landscape(MODELS["dense"]().double(), (x, torch.randn(70, 4).double()), loss="mse", device="cpu")
    nodes = landscape.here + 0.2 * torch.randn(2, landscape.layout.size, dtype=torch.float64)
    (values,) = read([landscape], nodes, torch.tensor([[0.25, 0.75]] * 5))
    assert values.errors is None
    assert values.losses.tolist() == pytest.approx([float(landscape.loss(0.25 * nodes[0] + 0.75 * nodes[1]))] * 5)


def test_ties_and_nan_count_as_arg_max_has_them() -> None:
    x, labels = data()
    landscape = lf.Landscape(MODELS["dense"]().double(), (x, labels), device="cpu")
    nodes = torch.zeros(2, landscape.layout.size, dtype=torch.float64)  # all classes tie
    nodes[1, -1] = torch.nan
    for k in range(2):
        (values,) = read([landscape], nodes[k : k + 1], torch.ones(4, 1))
        assert values.errors is not None
        assert values.errors.tolist() == pytest.approx([float(landscape.error(nodes[k]))] * 4)


def test_a_net_that_is_large_in_its_first_layer_alone_is_read_together() -> None:
    made = torch.Generator().manual_seed(0)
    x, y = torch.randn(256, 600, generator=made), torch.randint(0, 10, (256,), generator=made)
    nets = {
        "lean": nn.Sequential(nn.Linear(600, 240), nn.ReLU(), nn.Linear(240, 10)),
        "large": nn.Sequential(nn.Linear(20, 240), nn.ReLU(), nn.Linear(240, 600), nn.ReLU(), nn.Linear(600, 10)),
    }
    for name, net in nets.items():
        landscape = lf.Landscape(net, (x[:, : net[0].in_features], y), device="cpu")  # type: ignore[union-attr]
        assert "one by one" in landscape.explain()
        nodes = landscape.here + 0.02 * torch.randn(2, landscape.layout.size, generator=made)
        weights = torch.tensor([[0.0, 1.0], [0.3, 0.7], [0.5, 0.5]])
        plain = [landscape.read(point) for point in weights @ nodes]
        with unittest.mock.patch.object(lf.Landscape, "read", autospec=True, side_effect=lf.Landscape.read) as asked:
            (values,) = read([landscape], nodes, weights)
        assert asked.call_count == (0 if name == "lean" else 3)
        torch.testing.assert_close(values.losses, torch.stack([r.loss for r in plain]), rtol=1e-4, atol=1e-5)
        assert values.errors is not None
        assert values.errors.tolist() == pytest.approx([float(r.error) for r in plain if r.error is not None])
