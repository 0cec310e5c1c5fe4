"""Lengths of paths against closed forms and the Fisher information, and the test of a monotone line."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import landform as lf
from landform.errors import BadInput
from landform.paths import barrier, interpolate, lengths, monotonicity


class Given(nn.Module):
    """What it puts out is a function of its parameters alone."""

    def __init__(self, size: int, function: object) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(size, dtype=torch.float64))
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(self.x).expand(len(inputs), -1)  # type: ignore[operator]


def logits(size: int) -> lf.Landscape:
    """The parameters are the logits."""
    data = (torch.zeros(3, 1, dtype=torch.float64), torch.tensor([0, 1, 0]))
    return lf.Landscape(Given(size, lambda x: x), data, device="cpu")


def along(function: object) -> lf.Landscape:
    data = (torch.zeros(2, 1, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64))
    return lf.Landscape(Given(1, function), data, loss="mse", device="cpu")


@pytest.fixture(scope="module")
def digits() -> tuple[lf.Landscape, Tensor, Tensor]:
    net = lf.models.build("mlp", inputs=(64,), classes=10, width=8, depth=1, seed=0).double()
    landscape = lf.Landscape(net, lf.data.digits(per_class=5), device="cpu", dtype=torch.float64)
    made = torch.Generator().manual_seed(0)
    a, b = landscape.here + 0.2 * torch.randn(2, landscape.layout.size, generator=made, dtype=torch.float64)
    return landscape, a, b


def test_two_classes_lie_on_a_circle() -> None:
    # With p = sin^2(u), the Fisher-Rao distance of two Bernoulli distributions is 2 |u - v|.
    p, q = 0.2, 0.9
    points = torch.tensor([[math.log(p / (1 - p)), 0.0], [math.log(q / (1 - q)), 0.0]], dtype=torch.float64)
    found = lengths(logits(2), points)
    assert found.fisher is not None
    assert found.fisher.along == pytest.approx(2 * abs(math.asin(math.sqrt(p)) - math.asin(math.sqrt(q))))
    assert found.softmax is not None
    assert found.softmax.along == pytest.approx(math.sqrt(2) * (q - p))
    assert found.parameters.along == pytest.approx(abs(float(points[0, 0] - points[1, 0])))
    # There are no others between: the straight line in the logits runs along the circle.
    line = interpolate(points[0], points[1], torch.linspace(0, 1, 30, dtype=torch.float64))
    detailed = lengths(logits(2), line)
    assert detailed.fisher is not None
    assert detailed.fisher.along == pytest.approx(found.fisher.along)
    assert detailed.fisher.detour == pytest.approx(1)


def test_a_short_step_is_measured_by_the_fisher_information(digits: tuple[lf.Landscape, Tensor, Tensor]) -> None:
    landscape, a, b = digits
    step = 1e-4 * (b - a)
    found = lengths(landscape, torch.stack([a - step / 2, a + step / 2]))
    information = landscape.fisher(a)
    assert found.fisher is not None
    assert found.fisher.along == pytest.approx(float(step @ (information @ step)) ** 0.5, rel=1e-4)


def test_lengths_are_those_of_a_plain_loop(digits: tuple[lf.Landscape, Tensor, Tensor]) -> None:
    landscape, a, b = digits
    bent = torch.stack([a, (a + b) / 2 + 0.1 * a.flip(0), b, b + 0.1])
    found = lengths(landscape, bent, memory=1)  # one point's outputs at a time
    whole = landscape.outputs(bent)
    p = whole.softmax(-1)
    pairs = [(0, 1), (1, 2), (2, 3)]
    plain = {
        "parameters": [float((bent[i] - bent[j]).norm()) for i, j in pairs],
        "outputs": [float((whole[i] - whole[j]).square().sum(-1).mean().sqrt()) for i, j in pairs],
        "softmax": [float((p[i] - p[j]).square().sum(-1).mean().sqrt()) for i, j in pairs],
        "fisher": [
            float((2 * (p[i] * p[j]).sqrt().sum(-1).clamp_max(1).acos()).square().mean().sqrt()) for i, j in pairs
        ],
    }
    for name, steps in plain.items():
        length = getattr(found, name)
        assert length.steps.tolist() == pytest.approx(steps, rel=1e-6), name
        assert length.along == pytest.approx(sum(steps), rel=1e-6)
        assert length.detour > 1
    assert found.samples == 50
    assert torch.equal(lengths(landscape, bent).fisher.steps, found.fisher.steps)  # type: ignore[union-attr]


@given(st.integers(0, 1000), st.integers(3, 6))
def test_no_path_is_shorter_than_the_distance_of_its_ends(seed: int, count: int) -> None:
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found, back = lengths(logits(3), points), lengths(logits(3), points.flip(0))
    for name in ("parameters", "outputs", "softmax", "fisher"):
        length = getattr(found, name)
        assert length.detour >= 1 - 1e-9, name
        assert getattr(back, name).along == pytest.approx(length.along)
    # A shift of all logits is no function of its own.
    moved = lengths(logits(3), points + torch.arange(count, dtype=torch.float64)[:, None])
    assert moved.fisher is not None
    assert found.fisher is not None
    assert moved.fisher.along == pytest.approx(found.fisher.along)


def test_outputs_that_are_no_classes_have_a_length_of_outputs_alone() -> None:
    found = lengths(along(lambda x: x.square()), torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64))
    assert (found.softmax, found.fisher) == (None, None)
    assert found.outputs.along == pytest.approx(4.0)
    assert math.isnan(lengths(along(lambda x: x), torch.zeros(2, 1, dtype=torch.float64)).parameters.detour)


def at(x: float) -> Tensor:
    return torch.tensor([x], dtype=torch.float64)


def test_a_line_is_monotone_or_rises_by_so_much() -> None:
    falls = monotonicity(along(lambda x: x), at(2.0), at(0.0))
    assert falls.monotone
    assert (falls.rise, falls.share, falls.total) == (0, 0, 0)
    assert falls.error_monotone is None
    # From 4 down to 0 at alpha = 2/3, up to 1 again.
    rises = monotonicity(along(lambda x: x), at(2.0), at(-1.0), steps=31)
    assert not rises.monotone
    assert rises.rise == pytest.approx(1.0)
    assert rises.share == pytest.approx(0.25)
    assert rises.total == pytest.approx(1.0)
    waves = monotonicity(along(lambda x: torch.exp(x / 2 + 0.1 * torch.sin(6 * math.pi * x) / 2)), at(3.0), at(0.0))
    plain = waves.line.losses
    assert waves.rise == pytest.approx(
        max(float(plain[j] - plain[i]) for i in range(len(plain)) for j in range(i, len(plain)))
    )
    assert waves.total >= waves.rise > 0


def test_what_is_not_finite_is_not_monotone() -> None:
    found = monotonicity(along(lambda x: torch.where(x.abs() < 0.5, torch.nan, x)), at(2.0), at(-1.0))
    assert not found.monotone
    assert found.rise == math.inf


def test_the_line_is_that_of_a_barrier(digits: tuple[lf.Landscape, Tensor, Tensor]) -> None:
    landscape, a, b = digits
    test = lf.data.digits(per_class=5).test
    found = monotonicity(landscape, a, b, steps=9, on={"test": test})
    plain = barrier(landscape, a, b, steps=9, refine=0)
    assert torch.equal(found.line.losses, plain.losses)
    assert found.error_rise is not None
    assert found.error_monotone == (found.error_rise == 0)
    assert list(found.line.on) == ["test"]


def test_misuse_is_told_in_a_sentence(digits: tuple[lf.Landscape, Tensor, Tensor]) -> None:
    landscape, a, _ = digits
    with pytest.raises(BadInput, match="at least 2"):
        lengths(landscape, a[None])
    with pytest.raises(BadInput, match="NaN or infinity at point 1"):
        lengths(along(lambda x: 1 / x), torch.tensor([[1.0], [0.0]], dtype=torch.float64))
    with pytest.raises(BadInput, match="second point holds NaN"):
        lengths(landscape, torch.stack([a, a * float("nan")]))
