"""Networks freed of convolution: equal outputs, dense matrices beside convolutions of the identity, projections."""

from __future__ import annotations

import math
from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

import landform as lf
from landform import models
from landform.errors import BadInput
from landform.layout import Layout

POOLS = {
    "none": lambda: nn.Identity(),
    "max": lambda: nn.MaxPool2d(3, 2, 1),
    "mean": lambda: nn.AvgPool2d(2, ceil_mode=True),
    "adaptive": lambda: nn.AdaptiveMaxPool2d(3),
}


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Sequential, tuple[int, int, int]]:
    """A network of one or two convolutions of random shape with pooling, and an image that it takes."""
    torch.manual_seed(draw(st.integers(0, 99)))
    groups = draw(st.sampled_from((1, 1, 2)))
    into = groups * draw(st.integers(1, 2))
    size = into, draw(st.integers(5, 9)), draw(st.integers(5, 9))
    parts: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 2))):
        out = groups * draw(st.integers(1, 3))
        parts.append(
            nn.Conv2d(
                into, out, (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
                stride=(draw(st.integers(1, 3)), draw(st.integers(1, 2))),
                padding=(draw(st.integers(1, 2)), draw(st.integers(1, 3))),
                dilation=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
                groups=groups, bias=draw(st.booleans()),
            )
        )  # fmt: skip
        parts += [nn.ReLU(), POOLS[draw(st.sampled_from(sorted(POOLS)))]()]
        into = out
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * into, 3)), size


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.integers(0, 99))
def test_outputs_are_equal(case: tuple[nn.Sequential, tuple[int, int, int]], seed: int) -> None:
    net, size = case
    x = torch.randn(3, *size, generator=torch.Generator().manual_seed(seed))
    try:
        expected = net(x)
    except RuntimeError:
        with pytest.raises(BadInput, match="does not take an input of shape"):
            models.freed(net, size)
        return
    made = models.freed(net, size)
    torch.testing.assert_close(made.net(x), expected, rtol=1e-5, atol=1e-5)
    assert sum(p.numel() for p in made.net.parameters()) == made.size.parameters == made.points[0]
    assert not any(isinstance(module, nn.Conv2d) for module in made.net.modules())
    point = Layout.of(net).point(net)
    whole = Layout.of(made.net).point(made.net)
    assert torch.equal(made.embed(point), whole)
    assert float(made.deviation(whole)) == 0
    met = torch.zeros(made.points[1], dtype=torch.bool)
    met[made.origins] = True  # a weight that meets only padding is not in the dense matrix
    torch.testing.assert_close(made.fold(whole), torch.where(met, point, 0.0))
    assert float(made.distance(whole)) < 1e-6


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2, "padding": 1},
        {"stride": (1, 3), "padding": (0, 2), "dilation": (2, 1)},
        {"padding": "same", "dilation": (3, 2)},
        {"padding": "valid", "groups": 2, "bias": False},
    ],
)
def test_the_matrix_is_the_convolution_of_the_identity(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 4, (3, 2), **options)  # type: ignore[arg-type]
    made = models.freed(nn.Sequential(conv), (2, 7, 6))
    identity = torch.eye(84).view(84, 2, 7, 6)
    expected = functional.conv2d(
        identity, conv.weight, None, conv.stride, conv.padding, conv.dilation, conv.groups
    ).flatten(1).T  # fmt: skip
    dense = made.net[0].dense  # type: ignore[index,union-attr]
    torch.testing.assert_close(dense.weight, expected, rtol=0, atol=0)
    ones = functional.conv2d(
        identity, torch.ones_like(conv.weight), None, conv.stride, conv.padding, conv.dilation, conv.groups
    ).flatten(1).T  # fmt: skip
    off = Layout.of(made.net).views(made.mask().float())["0.dense.weight"]
    assert torch.equal(off == 1, ones == 0)
    (layer,) = made.size.layers
    assert layer.local == int((ones != 0).sum()) == made.filters


class Residual(nn.Module):
    """A network that is no chain."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the same convolution gives, twice."""
        x = torch.relu(self.norm(self.first(x)))
        x = x + torch.relu(self.again(x))
        x = x + torch.relu(self.again(x))
        return self.out(x.mean((2, 3)))


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("small_cnn", (3, 8, 8), {"width": 4, "downsample": "max"}),
        ("small_cnn", (1, 9, 9), {"width": (2, 3), "head": "flatten", "parametrisation": "ntk"}),
        ("lenet", (1, 16, 16), {"width": 2, "pool": "mean"}),
        ("vgg11", (3, 8, 8), {"width": 2, "norm": "batch"}),
        ("resnet20", (3, 8, 8), {"width": 2}),
    ],
)
def test_the_zoo(name: str, size: tuple[int, int, int], options: dict[str, object]) -> None:
    net = models.build(name, inputs=size, classes=5, seed=3, **options)  # type: ignore[arg-type]
    made = models.freed(net, size)
    x = torch.randn(4, *size, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(made.net.eval()(x), net.eval()(x), rtol=1e-5, atol=1e-5)
    again = models.freed_net(inputs=size, classes=5, of=name, options={"seed": 3, **options})
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), made.net.parameters(), strict=True))
    fresh = made.fresh(seed=1)
    assert [p.shape for p in fresh.parameters()] == [p.shape for p in made.net.parameters()]
    assert float(made.deviation(Layout.of(fresh).point(fresh))) > 0.1


def test_any_forward_and_a_layer_used_twice() -> None:
    torch.manual_seed(1)
    net = Residual().eval()
    made = models.freed(net, (2, 6, 5))
    x = torch.randn(3, 2, 6, 5)
    torch.testing.assert_close(made.net(x), net(x), rtol=1e-5, atol=1e-5)
    for parameter in net.first.parameters():
        parameter.requires_grad_(False)
    part = models.freed(net, (2, 6, 5))
    assert part.points[1] == Layout.of(net).size
    assert torch.equal(part.embed(Layout.of(net).point(net)), Layout.of(part.net).point(part.net))


def test_projections_beside_plain_least_squares() -> None:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(1, 2, 2, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2))
    made = models.freed(net, (1, 4, 4))
    basis = made.embed(torch.eye(made.points[1]))  # [P, Q]
    points = torch.randn(2, made.points[0])
    nearest = torch.linalg.lstsq(basis.T.double(), points.T.double()).solution.T
    torch.testing.assert_close(made.fold(points).double(), nearest, rtol=1e-5, atol=1e-6)
    apart = (points.double() - nearest @ basis.double()).norm(dim=1) / points.double().norm(dim=1)
    torch.testing.assert_close(made.distance(points), apart, rtol=1e-5, atol=1e-6)
    off = made.mask()
    assert made.deviation(points)[1] == pytest.approx(float(points[1][off].norm() / points[1].norm()), rel=1e-6)
    assert made.deviation(points)[1] < made.distance(points)[1]
    kept = made.without_off(points[0])
    assert torch.equal(kept[~off], points[0][~off])
    assert not kept[off].any()
    gone = made.without_local(points[0])
    views = Layout.of(made.net).views(gone)
    assert torch.equal(gone[off], points[0][off])
    assert int((views["0.dense.weight"] != 0).sum()) == int(off.sum())
    assert torch.equal(views["3.weight"], Layout.of(made.net).views(points[0])["3.weight"])


def test_locality_counts_every_entry_once() -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 2, dilation=2), nn.Flatten())
    made = models.freed(net, (1, 5, 4))
    point = torch.randn(made.points[0])
    weights = Layout.of(made.net).views(point)
    known = made.locality(point, "0")
    table = weights["0.dense.weight"].view(2, 5, 4, 1, 5, 4).double()
    squares: dict[int, list[float]] = {}
    for i, j, y, x in torch.cartesian_prod(*(torch.arange(n) for n in (5, 4, 5, 4))).tolist():
        away = max(abs(i - y) - 1, abs(j - x) - 1, 0)
        if max(abs(i - y), abs(j - x)) > 1:
            squares.setdefault(away, []).extend(table[:, i, j, 0, y, x].square().tolist())
    total = float(table.square().sum())
    assert known.distance.tolist() == sorted(squares)
    for at, energy, mean in zip(
        known.distance.tolist(), known.energy.tolist(), known.mean_square.tolist(), strict=True
    ):
        assert energy == pytest.approx(sum(squares[at]) / total)
        assert mean == pytest.approx(sum(squares[at]) / len(squares[at]))
    assert known.local + float(known.energy.sum()) == pytest.approx(1)
    both = made.locality(point)
    assert 0 in both.distance.tolist()  # the dilated filter leaves gaps
    begun = made.locality(Layout.of(made.net).point(made.net))
    assert begun.local == 1
    assert not begun.energy.any()
    picture = made.picture(point, "0")
    torch.testing.assert_close(picture, table[:, 2, 2, 0].square().mean(0).sqrt())
    with pytest.raises(BadInput, match="no trained freed layer 'conv9'"):
        made.locality(point, "conv9")


def test_the_size_is_known_before_anything_is_built() -> None:
    skinny = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 64, 4, stride=2, padding=2), r1=nn.ReLU(), p1=nn.MaxPool2d(3, 2),
            conv2=nn.Conv2d(64, 64, 5, padding=2), r2=nn.ReLU(), p2=nn.MaxPool2d(3, 2),
            conv3=nn.Conv2d(64, 64, 3, padding=1), r3=nn.ReLU(), p3=nn.MaxPool2d(3, 2),
            flatten=nn.Flatten(), out=nn.Linear(64, 10),
        )
    )  # fmt: skip
    size = models.freed_size(skinny, (3, 32, 32))
    # 32 + 2 * 2 by 4 in steps of 2: 17; pooled 8; 8; pooled 3; 3.
    dense = (3 * 32**2 + 1) * 64 * 17**2, (64 * 64 + 1) * 64 * 64, (64 * 9 + 1) * 64 * 9
    assert size.parameters == sum(dense) + 650
    assert size.weight_bytes == 4 * size.parameters
    assert size.training_bytes("adam") - size.training_bytes() == 2 * size.weight_bytes
    assert size.training_bytes(momentum=0.9, runs=2) == 2 * (size.training_bytes() + size.weight_bytes)
    assert "in training" in str(size)
    with pytest.raises(BadInput, match=r"would have 73,\d+,\d+ parameters.*above the limit of 50 MB"):
        models.freed(skinny, (3, 32, 32), most_bytes=5e7)


def test_it_trains_and_leaves_the_network_alone() -> None:
    data = lf.data.load("digits", flat=False, per_class=10)
    net = models.build("small_cnn", inputs=(1, 8, 8), classes=10, width=(4, 4), head="flatten", init="torch")
    made = models.freed(net, (1, 8, 8))
    before = Layout.of(net).point(net)
    nets = [made.net, made.fresh(0)]
    first, plain = lf.train_many(nets, data, lf.Recipe(epochs=4, batch_size=20, lr=0.1), device="cpu", how="stack")
    assert first.losses[-1] < first.losses[0]
    assert 0 < float(made.deviation(first.point)) < float(made.deviation(plain.point)) < 1
    assert torch.equal(Layout.of(net).point(net), before)


def test_misuse_is_told() -> None:
    with pytest.raises(BadInput, match="nothing to free"):
        models.freed(nn.Linear(2, 2), (2,))
    with pytest.raises(BadInput, match="pads with 'circular'"):
        models.freed(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")), (1, 5, 5))
    with pytest.raises(BadInput, match="0 is a ConvTranspose2d"):
        models.freed(nn.Sequential(nn.ConvTranspose2d(1, 1, 3)), (1, 5, 5))
    with pytest.raises(BadInput, match="0 is parametrized"):
        models.freed(nn.Sequential(weight_norm(nn.Conv2d(1, 1, 3))), (1, 5, 5))
    with pytest.raises(BadInput, match="a single convolution"):
        models.freed(nn.Conv2d(1, 1, 3), (1, 5, 5))
    conv = nn.Conv2d(1, 1, 3)
    with pytest.raises(BadInput, match="several sizes"):
        models.freed(nn.Sequential(conv, conv), (1, 9, 9))
    tied = nn.Conv2d(1, 1, 3)
    tied.weight = conv.weight
    with pytest.raises(BadInput, match=r"1.weight is tied to 0"):
        models.freed(nn.Sequential(conv, tied), (1, 9, 9))
    with pytest.raises(BadInput, match="does not take an input of shape"):
        models.freed(nn.Sequential(conv), (2, 9, 9))
    idle = Residual()
    idle.more = nn.Conv2d(1, 1, 1)
    with pytest.raises(BadInput, match="more is not used"):
        models.freed(idle, (2, 5, 5))
    made = models.freed(nn.Sequential(nn.Conv2d(1, 1, 3)), (1, 4, 4))
    with pytest.raises(BadInput, match=r"no point of the freed network, of shape \(3,\): give \[68\]"):
        made.fold(torch.zeros(3))
    made.net.append(nn.PReLU())  # type: ignore[operator]
    with pytest.raises(BadInput, match="is a PReLU"):
        made.fresh()
    assert math.isclose(made.size.local, 36)
