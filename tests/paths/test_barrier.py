"""Barriers against a plain loop, closed forms and landscapes whose barrier is known."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import landform as lf
from landform.errors import BadInput
from landform.models import build
from landform.paths import barrier, barrier_matrix, interpolate


class Curve(nn.Module):
    """One parameter x; what it puts out is a function of x alone."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(self.x).expand(len(inputs), 1)  # type: ignore[operator]


def along(function: object) -> lf.Landscape:
    """A landscape whose loss at x is the square of a function of x."""
    data = (torch.zeros(2, 1, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64))
    return lf.Landscape(Curve(function), data, loss="mse", device="cpu", dtype=torch.float64)


def at(x: float) -> Tensor:
    return torch.tensor([x], dtype=torch.float64)


@pytest.fixture(scope="module")
def digits() -> lf.Landscape:
    return lf.Landscape(
        build("mlp", inputs=(1, 8, 8), classes=10, width=12, depth=2, seed=0), lf.data.digits(per_class=8), device="cpu"
    )


def points(landscape: lf.Landscape, count: int) -> Tensor:
    return torch.randn(count, landscape.layout.size, generator=torch.Generator().manual_seed(0)) * 0.3


def test_it_is_the_plain_loop_over_copies_of_the_model(digits: lf.Landscape) -> None:
    a, b = points(digits, 2)
    found = barrier(digits, a, b, steps=7, refine=0)
    data = lf.data.digits(per_class=8).train
    losses, errors = [], []
    for alpha in torch.linspace(0, 1, 7):
        net = copy.deepcopy(digits._model)
        digits.layout.load_(net, (1 - alpha) * a + alpha * b)
        with torch.no_grad():
            out = net(data.inputs)
        losses.append(float(nn.functional.cross_entropy(out, data.targets)))
        errors.append(float((out.argmax(1) != data.targets).double().mean()))
    assert found.losses.tolist() == pytest.approx(losses, rel=1e-5)
    assert found.errors is not None
    assert found.errors.tolist() == pytest.approx(errors)
    assert found.height == pytest.approx(max(losses) - (losses[0] + losses[-1]) / 2, rel=1e-5)
    assert found.error_height == pytest.approx(max(errors) - (errors[0] + errors[-1]) / 2)


def test_a_valley_has_no_height_and_a_negative_interior() -> None:
    found = barrier(along(lambda x: x), at(-1.0), at(1.0))
    assert found.height == pytest.approx(0.0, abs=1e-12)
    assert found.interior < 0
    assert found.error_height is None
    found = barrier(along(lambda x: x), at(0.0), at(1.0))  # a slope: half of what the ends differ by
    assert found.height == pytest.approx(0.5)


def test_a_narrow_barrier_is_not_missed() -> None:
    # Between two of eleven even alphas; its feet are what gives it away.
    landscape = along(lambda x: torch.exp(-(((x - 0.55) / 0.02) ** 2)) + 0.2 * torch.exp(-(((x - 0.55) / 0.1) ** 2)))
    plain, refined = (barrier(landscape, at(0.0), at(1.0), refine=refine) for refine in (0, 16))
    assert plain.height < 0.1
    assert refined.height == pytest.approx(1.44, rel=0.02)
    assert refined.at == pytest.approx(0.55, abs=0.01)
    assert refined.resolution < 0.03
    assert len(refined.alphas) <= 27


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_it_is_the_same_from_both_sides_and_nothing_to_oneself(digits: lf.Landscape, seed: int) -> None:
    a, b = torch.randn(2, digits.layout.size, generator=torch.Generator().manual_seed(seed)) * 0.3
    there, back = barrier(digits, a, b, refine=6), barrier(digits, b, a, refine=6)
    assert there.height == pytest.approx(back.height, rel=1e-4, abs=1e-5 * there.ends[0])
    assert there.height >= 0
    assert there.error_height is not None
    assert there.error_height >= 0
    self = barrier(digits, a, a)
    assert self.height == pytest.approx(0.0, abs=1e-5 * self.ends[0])  # (1 - t) a + t a is a but for rounding


def test_the_matrix_holds_the_barrier_of_every_pair(digits: lf.Landscape) -> None:
    some = points(digits, 4)
    found = barrier_matrix(digits, some, steps=5, memory=3 * 4 * digits.layout.size)
    for i in range(4):
        for j in range(4):
            each = barrier(digits, some[i], some[j], steps=5, refine=0)
            assert float(found.heights[i, j]) == pytest.approx(each.height, abs=1e-5)
            assert found.error_heights is not None
            assert float(found.error_heights[i, j]) == pytest.approx(each.error_height, abs=1e-9)
    assert torch.equal(found.heights, found.heights.T)
    assert found.losses.tolist() == pytest.approx(digits.loss(some).tolist())


def test_batchnorm_is_recomputed_or_averaged() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    landscape = lf.Landscape(net, lf.data.digits(per_class=8), device="cpu")
    a, b = points(landscape, 2)
    ends = landscape.calibrate(a), landscape.calibrate(b)
    fresh, averaged = barrier(landscape, a, b, refine=0), barrier(landscape, a, b, refine=0, buffers=ends)
    assert (fresh.batchnorm, averaged.batchnorm) == ("recompute", "averaged")
    assert fresh.losses[[0, -1]].tolist() == pytest.approx(averaged.losses[[0, -1]].tolist(), rel=1e-5)
    middle = {k: (ends[0][k] + ends[1][k]) / 2 if v.is_floating_point() else v for k, v in ends[0].items()}
    assert float(averaged.losses[5]) == pytest.approx(float(landscape.loss((a + b) / 2, buffers=middle)), rel=1e-5)
    assert float(fresh.losses[5]) == pytest.approx(float(landscape.loss((a + b) / 2)), rel=1e-5)
    assert float(fresh.losses[5]) != pytest.approx(float(averaged.losses[5]), rel=1e-4)


def test_the_ends_of_a_line_are_the_points_to_the_bit(digits: lf.Landscape) -> None:
    a, b = points(digits, 2)
    line = interpolate(a, b, torch.tensor([0.0, 0.5, 1.0]))
    assert torch.equal(line[0], a)
    assert torch.equal(line[2], b)


def test_a_loss_that_overflows_is_an_infinite_barrier() -> None:
    found = barrier(along(lambda x: torch.where(x.abs() < 0.5, torch.inf, x)), at(-1.0), at(1.0))
    assert found.height == float("inf")


def test_misuse_is_told_in_a_sentence(digits: lf.Landscape) -> None:
    a, b = points(digits, 2)
    with pytest.raises(BadInput, match="second point holds NaN"):
        barrier(digits, a, b * float("nan"))
    with pytest.raises(BadInput, match="between two points"):
        barrier(digits, a, torch.stack([a, b]))
    with pytest.raises(BadInput, match="at least 3"):
        barrier(digits, a, b, steps=2)
    with pytest.raises(BadInput, match="at least 3"):
        barrier_matrix(digits, torch.stack([a, b]), steps=2)
    with pytest.raises(BadInput, match="at least two"):
        barrier_matrix(digits, a[None])
    with pytest.raises(BadInput):
        barrier(digits, a[:-1], b[:-1])


def test_other_data_are_read_at_the_same_points_with_the_statistics_of_the_first() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    data = lf.data.digits(per_class=8)
    landscape = lf.Landscape(net, data, device="cpu")
    a, b = points(landscape, 2)
    found = barrier(landscape, a, b, refine=4, on={"test": data.test}, memory=3 * 4 * landscape.layout.size)
    test = landscape.on(data.test)
    assert list(found.on) == ["test"]
    assert torch.equal(found.on["test"].alphas, found.alphas)
    line = interpolate(a, b, found.alphas)
    assert found.on["test"].losses.tolist() == pytest.approx(test.loss(line).tolist(), rel=1e-5)
    assert found.losses.tolist() == pytest.approx(landscape.loss(line).tolist(), rel=1e-5)
    assert found.on["test"].errors is not None
    assert found.on["test"].errors.tolist() == pytest.approx(test.error(line).tolist())
    assert found.passes == 3 * len(found.alphas)  # two sets, and the statistics once
    assert barrier(landscape.on(data.test), a, b, refine=0).passes == 2 * 11


def test_what_a_barrier_says_besides_its_height() -> None:
    square = along(lambda x: x)
    found = barrier(square, at(-1.0), at(2.0), steps=31, refine=0)
    assert found.ends == (1.0, 4.0)
    assert found.error_ends is None
    assert found.mean == pytest.approx(1.0, rel=1e-2)  # integral of (3 t - 1)^2 over [0, 1]
    assert found.connectivity == pytest.approx(2.5)  # the mean of the ends, less the zero at t = 1/3
    hill = barrier(along(lambda x: 1 - x * x / 2), at(-1.0), at(1.0), steps=31, refine=0)
    assert hill.connectivity == pytest.approx(-hill.height)


def test_a_point_of_another_model_is_told_by_the_tensor_it_would_end_in(digits: lf.Landscape) -> None:
    a, b = points(digits, 2)
    name = digits.layout.slots[-2].name
    with pytest.raises(BadInput, match=f"second point has .*it would end in {name}"):
        barrier(digits, a, b[: digits.layout.slots[-2].stop - 1])
    with pytest.raises(BadInput, match=f"first in {name}"):
        barrier(digits, a.index_fill(0, torch.tensor([digits.layout.slots[-2].start]), float("nan")), b)


def test_a_diverged_point_has_no_barrier_and_spoils_no_other(digits: lf.Landscape) -> None:
    some = points(digits, 4)
    whole = barrier_matrix(digits, some, steps=5)
    some[2, 7] = float("nan")
    found = barrier_matrix(digits, some, steps=5)
    for seen, plain in ((found.heights, whole.heights), (found.error_heights, whole.error_heights)):
        assert seen is not None
        assert plain is not None
        assert bool(seen[2].isnan().all())
        assert bool(seen[:, 2].isnan().all())
        rest = torch.tensor([0, 1, 3])
        torch.testing.assert_close(seen[rest][:, rest], plain[rest][:, rest])
    alone = barrier_matrix(digits, torch.stack([some[2], some[0]]), steps=5)
    assert bool(alone.heights[0].isnan().all())
    assert alone.heights[1, 1] == 0


@given(st.integers(0, 10**6))
@settings(max_examples=10)
def test_the_order_of_the_points_is_the_order_of_the_matrix(digits: lf.Landscape, seed: int) -> None:
    made = torch.Generator().manual_seed(seed)
    some = torch.randn(5, digits.layout.size, generator=made) * 0.3
    order = torch.randperm(5, generator=made)
    plain, other = barrier_matrix(digits, some, steps=5), barrier_matrix(digits, some[order], steps=5)
    torch.testing.assert_close(other.heights, plain.heights[order][:, order], rtol=1e-4, atol=1e-5)
    assert bool((plain.heights >= -1e-6).all())


def test_a_permutation_of_units_alone_makes_a_barrier_between_equal_networks(digits: lf.Landscape) -> None:
    data = lf.data.digits(per_class=8)
    net = build("mlp", inputs=(64,), classes=10, width=12, depth=1, seed=0)
    a = lf.train(net, data, lf.Recipe(epochs=30, batch_size=16, lr=0.1), device="cpu").point
    landscape = lf.Landscape(net, data, device="cpu")
    views = {name: view.clone() for name, view in landscape.layout.views(a).items()}
    first, bias, last = (next(n for n in views if views[n].shape == s) for s in ((12, 64), (12,), (10, 12)))
    order = torch.arange(12).roll(5)
    views |= {first: views[first][order], bias: views[bias][order], last: views[last][:, order]}
    b = landscape.layout.join(views)
    found = barrier(landscape, a, b)
    assert found.ends[0] == pytest.approx(found.ends[1], rel=1e-4)
    assert found.height > 10 * found.ends[0]
    assert found.error_height is not None
    assert found.error_height > 0.1
