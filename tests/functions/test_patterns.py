"""Activation patterns against plain forward passes, for every piecewise-linear unit."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import landform as lf
from landform import functions as fn
from landform.errors import BadInput

N = 70


def data(width: int = 6) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(0)
    return 2 * torch.randn(N, width, generator=made, dtype=torch.float64), torch.randint(0, 3, (N,), generator=made)


class Calls(nn.Module):
    """One hidden layer and a unit that is a plain call."""

    def __init__(self, unit: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.last, self.unit = nn.Linear(6, 11), nn.Linear(11, 3), unit

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.unit(3 * self.inner(x)))


def zero(h: Tensor) -> Tensor:
    return (h > 0).long()


UNITS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "nn.ReLU": (nn.ReLU(), zero),
    "nn.ReLU in place": (nn.ReLU(inplace=True), zero),
    "F.relu": (lambda h: F.relu(h), zero),
    "torch.relu": (lambda h: torch.relu(h), zero),
    "torch.relu_": (lambda h: torch.relu_(h.clone()), zero),
    "x.relu()": (lambda h: h.relu(), zero),
    "x.relu_()": (lambda h: h.clone().relu_(), zero),
    "F.relu in place": (lambda h: F.relu(h, inplace=True), zero),
    "clamp(min=0)": (lambda h: h.clamp(min=0), zero),
    "clamp_min": (lambda h: torch.clamp_min(h, 0.0), zero),
    "clamp to a range": (lambda h: torch.clamp(h, -1, 2), lambda h: (h > -1).long() + (h >= 2)),
    "abs": (lambda h: h.abs(), zero),
    "LeakyReLU": (nn.LeakyReLU(0.2, inplace=True), zero),
    "F.leaky_relu": (lambda h: F.leaky_relu(h, 0.2), zero),
    "PReLU": (nn.PReLU(), zero),
    "RReLU": (nn.RReLU(), zero),
    "ReLU6": (nn.ReLU6(), lambda h: (h > 0).long() + (h >= 6)),
    "F.relu6": (lambda h: F.relu6(h), lambda h: (h > 0).long() + (h >= 6)),
    "Hardtanh": (nn.Hardtanh(-2, 1.5), lambda h: (h > -2).long() + (h >= 1.5)),
    "F.hardtanh": (lambda h: F.hardtanh(h), lambda h: (h > -1).long() + (h >= 1)),
    "Hardsigmoid": (nn.Hardsigmoid(), lambda h: (h > -3).long() + (h >= 3)),
    "Threshold": (nn.Threshold(0.5, 0.0), lambda h: (h > 0.5).long()),
    "Hardshrink": (nn.Hardshrink(0.7), lambda h: (h > 0.7).long() - (h < -0.7).long()),
    "Softshrink": (nn.Softshrink(0.7), lambda h: (h > 0.7).long() - (h < -0.7).long()),
}


def two_points(landscape: lf.Landscape, step: float = 0.3) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(5)
    a = landscape.here
    return a, a + step * torch.randn(a.shape, generator=made, dtype=a.dtype)


@pytest.mark.parametrize("name", list(UNITS))
def test_every_unit_is_seen_wherever_it_is_called(name: str) -> None:
    unit, piece = UNITS[name]
    torch.manual_seed(0)
    model = Calls(unit).double()
    x, _ = data()
    landscape = lf.Landscape(model, data(), device="cpu", batch_size=32)
    a, b = two_points(landscape)

    def pieces(point: Tensor) -> Tensor:
        views = landscape.layout.views(point)
        return piece(3 * F.linear(x, views["inner.weight"], views["inner.bias"]))

    expected = (pieces(a) != pieces(b)).double().mean()
    assert expected > 0.02
    found = fn.compare(landscape, a, b).patterns
    assert found is not None
    torch.testing.assert_close(found.total, expected)
    assert found.units == (11.0,)
    assert found.samples == N
    torch.testing.assert_close(fn.patterns(landscape, a).distance(fn.patterns(landscape, b)).total, expected)


def deep(width: int = 9, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 5), nn.ReLU(), nn.Linear(5, 3)]
    return nn.Sequential(*layers).double()


def hidden(landscape: lf.Landscape, point: Tensor) -> list[Tensor]:
    views, h, found = landscape.layout.views(point), data()[0], []
    for name in ("0", "2"):
        h = F.relu(F.linear(h, views[f"{name}.weight"], views[f"{name}.bias"]))
        found.append(h)
    return found


def test_layers_totals_and_matrices_equal_plain_forward_passes() -> None:
    landscape = lf.Landscape(deep(), data(), device="cpu", batch_size=16)
    a, b = two_points(landscape)
    points = torch.stack([a, b, (a + b) / 2, -a])
    found = fn.pattern_distances(landscape, points)
    each = [hidden(landscape, point) for point in points]
    assert found.layers == ("1", "3")
    assert found.units == (9.0, 5.0)
    for i in range(4):
        for j in range(4):
            differ = [((x > 0) != (y > 0)).double() for x, y in zip(each[i], each[j], strict=True)]
            shares = torch.stack([d.mean() for d in differ])
            torch.testing.assert_close(found.shares[:, i, j], shares)
            torch.testing.assert_close(found.total[i, j], torch.cat(differ, 1).mean())
            torch.testing.assert_close(fn.hamming(each[i][1], each[j][1]), shares[1])
    torch.testing.assert_close(fn.hamming(torch.stack([e[0] for e in each])), found.shares[0])


def test_patterns_are_small_and_of_one_landscape() -> None:
    landscape = lf.Landscape(deep(), data(), device="cpu", batch_size=64)
    kept = fn.patterns(landscape, landscape.here)
    assert kept.counts == {"1": 9 * N, "3": 5 * N}
    assert kept.bytes <= (9 + 5) * N / 8 + 4  # a bit a unit, and less than a byte more for each batch and layer
    other = landscape.subset(40)
    with pytest.raises(BadInput, match="of other data or of another model"):
        kept.distance(fn.patterns(other, other.here))


@given(seed=st.integers(0, 10_000))
def test_permuting_the_units_of_both_changes_nothing(seed: int) -> None:
    landscape = lf.Landscape(deep(), data(), device="cpu")
    points = torch.stack(two_points(landscape))
    views = landscape.layout.views(points)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    moved = dict(views)
    moved["0.weight"], moved["0.bias"] = views["0.weight"][:, order], views["0.bias"][:, order]
    moved["2.weight"] = views["2.weight"][:, :, order]
    before, after = (fn.compare(landscape, *ends) for ends in (points, landscape.layout.join(moved)))
    assert before.patterns is not None
    assert after.patterns is not None
    torch.testing.assert_close(after.patterns.total, before.patterns.total)
    torch.testing.assert_close(after.patterns.shares, before.patterns.shares)
    assert after.output_distance == pytest.approx(before.output_distance)
    one = fn.compare(landscape, points[0], landscape.layout.join(moved)[0])  # the same function, other patterns
    assert one.output_distance == pytest.approx(0, abs=1e-10)
    assert one.patterns is not None
    assert (one.patterns.total > 0) == bool((order != torch.arange(9)).any())


@pytest.mark.parametrize("pool", ["nn.MaxPool2d", "F.max_pool2d", "torch.max_pool2d", "adaptive"])
def test_the_winners_of_pooling_count_when_asked_for(pool: str) -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.pool, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = F.relu(self.conv(x))
            ways = {"nn.MaxPool2d": self.pool, "F.max_pool2d": lambda t: F.max_pool2d(t, 2),
                    "torch.max_pool2d": lambda t: torch.max_pool2d(t, 2),
                    "adaptive": lambda t: F.adaptive_max_pool2d(t, 2)}  # fmt: skip
            return self.last(ways[pool](h).flatten(1))

    torch.manual_seed(0)
    x, y = torch.randn(N, 1, 4, 4, dtype=torch.float64), data()[1]
    landscape = lf.Landscape(Pooled().double(), (x, y), device="cpu", batch_size=32)
    a, b = two_points(landscape)
    found = fn.pattern_distances(landscape, torch.stack((a, b)), pooling=True)
    assert len(found.layers) == 2
    assert found.units == (64.0, 16.0)
    winners = []
    for point in (a, b):
        views = landscape.layout.views(point)
        h = F.relu(F.conv2d(x, views["conv.weight"], views["conv.bias"], padding=1))
        windows = h.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
        winners.append(windows.argmax(-1))
    expected = (winners[0] != winners[1]).double().mean()
    assert expected > 0
    torch.testing.assert_close(found.shares[1, 0, 1], expected)
    assert fn.compare(landscape, a, b).patterns.layers == found.layers[:1]


def test_a_unit_used_twice_counts_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
            self.last = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.block(self.block(x)) + torch.relu(x) + F.relu(-x))

    torch.manual_seed(0)
    landscape = lf.Landscape(Twice().double(), data(), device="cpu")
    assert fn.units(landscape) == {"block.1": 6.0, "block.1#2": 6.0, "relu": 6.0, "relu#2": 6.0}


def test_a_transformer_and_a_residual_net_show_their_units() -> None:
    model = lf.models.build("resnet20", inputs=(3, 8, 8), classes=10, width=4, seed=0)
    x = torch.randn(8, 3, 8, 8)
    landscape = lf.Landscape(model, (x, torch.arange(8)), device="cpu")
    met = fn.units(landscape)
    assert len(met) == 19
    assert sum(met.values()) == 64 * (4 * 7) + 16 * 8 * 6 + 4 * 16 * 6
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=12, batch_first=True)  # relu by default, on a fast path
    net = nn.Sequential(layer, nn.Flatten(), nn.Linear(40, 3))
    sequence = lf.Landscape(net, (torch.randn(9, 5, 8), torch.arange(9) % 3), device="cpu")
    assert sum(fn.units(sequence).values()) == 5 * 12


def test_what_has_no_units_is_told_so() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    landscape = lf.Landscape(net, data(), device="cpu")
    here = landscape.here
    with pytest.raises(BadInput, match="Sequential uses no piecewise-linear unit"):
        fn.patterns(landscape, here)
    with pytest.raises(BadInput, match="uses no piecewise-linear unit"):
        fn.pattern_distances(landscape, torch.stack((here, here)))
    assert fn.compare(landscape, here, here + 1).patterns is None
    assert fn.units(landscape) == {}


def test_nothing_is_left_on_the_model() -> None:
    landscape = lf.Landscape(deep(), data(), device="cpu")
    a, b = two_points(landscape)
    fn.compare(landscape, a, b, layers="all")
    with pytest.raises(BadInput):
        fn.compare(landscape, a, b * math.nan)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in landscape._function.net.modules())
