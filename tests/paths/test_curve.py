"""Trained curves: closed forms, plain references of their geometry and gradient, what is reported with them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import landform as lf
from landform.errors import BadInput
from landform.paths import barrier, curve
from landform.paths._curve import mixing
from landform.paths._mixture import Mixture


class Plane(nn.Module):
    """Two parameters; what it puts out is a function of them alone."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(self.x).expand(len(inputs), -1)  # type: ignore[operator]


def plane(function: object, **options: object) -> lf.Landscape:
    outputs = function(torch.ones(2, dtype=torch.float64))  # type: ignore[operator]
    data = (torch.zeros(4, 1, dtype=torch.float64), torch.zeros(4, len(outputs), dtype=torch.float64))
    return lf.Landscape(Plane(function), data, loss="mse", device="cpu", **options)  # type: ignore[arg-type]


def ring(x: Tensor) -> Tensor:
    """Its square is zero on the unit circle and one at the centre."""
    return (x.square().sum() - 1).reshape(1)


def at(*x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def adam(lr: float) -> lf.Recipe:
    return lf.Recipe(batch_size=4, optimizer="adam", lr=lr, schedule="cosine")


def net(norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    middle = nn.BatchNorm1d(6) if norm else nn.Identity()
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), middle, nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 10))


def digits(norm: bool = False, **options: object) -> tuple[lf.Landscape, Tensor, Tensor]:
    landscape = lf.Landscape(net(norm), lf.data.digits(per_class=6), device="cpu", **options)  # type: ignore[arg-type]
    made = torch.Generator().manual_seed(1)
    a, b = landscape.here + 0.2 * torch.randn(2, landscape.layout.size, generator=made)
    return landscape, a, b


def casteljau(nodes: Tensor, t: float) -> Tensor:
    """A Bezier curve by repeated interpolation."""
    while len(nodes) > 1:
        nodes = (1 - t) * nodes[:-1] + t * nodes[1:]
    return nodes[0]


@given(st.integers(2, 6), st.floats(0, 1), st.integers(0, 1000))
def test_the_geometry_is_that_of_plain_references(count: int, t: float, seed: int) -> None:
    nodes = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ts = torch.tensor([0.0, t, 1.0])
    t = float(ts[1])
    for kind in ("bezier", "chain"):
        weights = mixing(kind, count)(ts)
        torch.testing.assert_close(weights.sum(1), torch.ones(3, dtype=torch.float64))
        points = weights @ nodes
        torch.testing.assert_close(points[[0, 2]], nodes[[0, -1]])
        if kind == "bezier":
            plain = casteljau(nodes, t)
        else:
            places = np.linspace(0, 1, count)
            plain = torch.tensor([np.interp(t, places, nodes[:, i].numpy()) for i in range(3)])
        torch.testing.assert_close(points[1], plain, rtol=1e-6, atol=1e-6)


def test_a_quadratic_has_a_known_best_bend() -> None:
    # The integral over t of |(1-t)^2 a + 2t(1-t) c + t^2 b|^2 is least at c = -3/4 (a + b).
    landscape = plane(lambda x: x)
    found = curve(landscape, at(1, 1), at(1, -1), steps=400, recipe=adam(0.05), draws=64)
    torch.testing.assert_close(found.nodes[1], at(-1.5, 0.0), rtol=0, atol=0.05)
    assert found.losses.shape == (400,)


def test_weight_decay_of_the_landscape_belongs_to_the_curve() -> None:
    nothing = plane(lambda x: 0 * x, weight_decay=0.3)
    found = curve(nothing, at(1, 1), at(1, -1), steps=400, recipe=adam(0.05), draws=64)
    torch.testing.assert_close(found.nodes[1], at(-1.5, 0.0), rtol=0, atol=0.05)


@pytest.mark.parametrize(("kind", "bends"), [("bezier", 2), ("chain", 3)])
def test_a_curve_goes_round_a_hill(kind: str, bends: int) -> None:
    landscape = plane(ring)
    begin = at(0.0, 0.3) + torch.linspace(0.5, -0.5, bends, dtype=torch.float64)[:, None] * at(1, 0)
    found = curve(
        landscape, at(1, 0), at(-1, 0), kind=kind, bends=bends, begin=begin, steps=300, recipe=adam(0.05), draws=8
    )  # type: ignore[arg-type]
    assert found.straight.height == pytest.approx(1.0)
    assert found.barrier.height < 0.1
    assert found.ratio == pytest.approx(found.barrier.height)
    assert found.begin == "given"
    assert torch.equal(found.nodes[[0, -1]], torch.stack([at(1, 0), at(-1, 0)]))


def test_the_gradient_is_that_of_the_chain_rule() -> None:
    landscape, a, b = digits(weight_decay=0.1)
    free = torch.stack([a + 0.1, b - 0.1])
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 0.0, 0.25, 0.25]])
    mixture = Mixture(landscape, torch.stack([a, b]), free, lambda: weights)
    samples = torch.tensor([3, 1, 4, 15, 9])
    value = mixture(samples)
    value.backward()
    part = landscape.subset(samples)
    points = weights @ torch.cat([torch.stack([a, b]), free])
    plain = weights[:, 2:].T @ part.gradient(points) / 2
    torch.testing.assert_close(mixture.free.grad, plain, rtol=1e-4, atol=1e-6)
    assert value.item() == pytest.approx(float(part.loss(points).mean()), rel=1e-5)


@pytest.mark.parametrize("norm", [False, True])
def test_what_is_reported_with_every_number(norm: bool) -> None:
    landscape, a, b = digits(norm)
    before = {name: value.clone() for name, value in landscape._model.state_dict().items()}
    random = torch.get_rng_state()
    data = lf.data.digits(per_class=6)
    found = curve(landscape, a, b, steps=20, on={"test": data.test}, seed=3)
    assert (found.kind, found.begin, found.steps, found.seed) == ("bezier", "linear", 20, 3)
    assert found.barrier.batchnorm == ("recompute" if norm else "none")
    assert set(found.barrier.on) == set(found.straight.on) == {"test"}
    # The barrier is read where the points are, with statistics recomputed at each.
    line = found.points(found.barrier.alphas)
    assert found.barrier.losses.tolist() == pytest.approx(landscape.loss(line).tolist(), rel=1e-4)
    assert found.straight.height == barrier(landscape, a, b, steps=41, refine=20).height
    twice = found.more()
    assert (twice.steps, [leg.steps for leg in twice.earlier]) == (40, [20])
    assert twice.earlier[0].height == found.barrier.height
    assert twice.losses.shape == (40,)
    assert torch.equal(twice.losses[:20], found.losses)
    for told in ("begun linear", "seed 3", "after 20 steps", "after 40 steps", "straight"):
        assert told in str(twice)
    # Nothing of the user's is changed.
    assert all(torch.equal(value, before[name]) for name, value in landscape._model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module.training for module in landscape._function.net.modules())
    again = curve(landscape, a, b, steps=20, seed=3)
    assert torch.equal(again.nodes, found.nodes)
    assert not torch.equal(curve(landscape, a, b, steps=20, seed=4).nodes, found.nodes)


def test_without_steps_a_linear_beginning_is_the_straight_line() -> None:
    landscape, a, b = digits()
    for kind in ("bezier", "chain"):
        found = curve(landscape, a, b, kind=kind, bends=2, steps=0)  # type: ignore[arg-type]
        assert found.barrier.height == pytest.approx(found.straight.height, rel=1e-4)


def test_random_bends_are_drawn_as_the_layers_draw_them() -> None:
    landscape, a, b = digits()
    found = curve(landscape, a, b, begin="random", bends=2, steps=0, seed=5)
    views = landscape.layout.views(found.nodes[1])
    assert float(views["1.weight"].abs().max()) <= 1 / 8  # the bound of a dense layer of 64 inputs
    assert float(views["1.weight"].std()) == pytest.approx(1 / 8 / 3**0.5, rel=0.2)
    assert not torch.equal(found.nodes[1], found.nodes[2])
    assert found.begin == "random"
    with pytest.raises(BadInput, match="Plane has no reset_parameters"):
        curve(plane(ring), at(1, 0), at(-1, 0), begin="random", steps=0)


def test_a_forward_of_ones_own_is_used() -> None:
    halved = lf.Landscape(
        Plane(lambda x: x),
        (torch.zeros(4, 1, dtype=torch.float64), torch.zeros(4, 2, dtype=torch.float64)),
        loss="mse",
        device="cpu",
        forward=lambda model, batch: (model(batch[0]) - torch.ones(2, dtype=torch.float64), batch[1]),
    )
    found = curve(halved, at(2, 2), at(2, 0), steps=400, recipe=adam(0.05), draws=64)
    torch.testing.assert_close(found.nodes[1], at(-0.5, 1.0), rtol=0, atol=0.05)  # as above, about (1, 1)


def test_misuse_is_told_in_a_sentence() -> None:
    landscape, a, b = digits()
    with pytest.raises(BadInput, match="first point holds NaN"):
        curve(landscape, a * float("nan"), b)
    with pytest.raises(BadInput, match="bends is 0"):
        curve(landscape, a, b, bends=0)
    with pytest.raises(BadInput, match="no curve of the kind"):
        curve(landscape, a, b, kind="spline")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="begin is 'flat'"):
        curve(landscape, a, b, begin="flat")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="1 points for 2 bends"):
        curve(landscape, a, b, begin=a, bends=2)
    with pytest.raises(BadInput, match="diverged within 5 steps"):
        curve(landscape, a, b, steps=5, recipe=lf.Recipe(lr=1e30))
    with pytest.raises(BadInput, match="label_smoothing belongs to a training"):
        curve(landscape, a, b, steps=5, recipe=dataclasses.replace(adam(0.1), label_smoothing=0.1))
    stream = lf.Landscape(net(), [(torch.randn(4, 64), torch.zeros(4, dtype=torch.long))], device="cpu")
    with pytest.raises(BadInput, match="data in memory"):
        curve(stream, a, b, steps=5)
