"""Soups by what data say: greedy against a plain loop, learned coefficients against finite differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import landform as lf
from landform import merging
from landform.errors import BadInput


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def setting(norm: str = "none", count: int = 60) -> tuple[lf.Landscape, Tensor]:
    """A landscape whose labels a model of its own gives, and points around that model."""
    torch.manual_seed(0)
    layers = [nn.Linear(4, 6), *([nn.BatchNorm1d(6)] if norm == "batch" else []), nn.Tanh(), nn.Linear(6, 3)]
    model, x = nn.Sequential(*layers).double(), draw(count, 4)
    with torch.no_grad():
        y = model.eval()(x).argmax(1)
    where = lf.Landscape(model, (x, y), device="cpu", batch_size=20)
    return where, where.here


def near(where: lf.Landscape, here: Tensor, count: int, spread: float = 0.5, seed: int = 1) -> Tensor:
    return here + spread * draw(count, where.layout.size, seed=seed)


def plain_greedy(where: lf.Landscape, points: Tensor, measure: str, weights: list[float]) -> tuple[list[int], Tensor]:
    def value(point: Tensor) -> float:
        return float(where.error(point) if measure == "error" else where.loss(point))

    order = sorted(range(len(points)), key=lambda i: value(points[i]))
    members, best = [order[0]], value(points[order[0]])
    for i in order[1:]:
        tried = [*members, i]
        total = sum(weights[j] for j in tried)
        soup = sum(weights[j] / total * points[j] for j in tried)
        if value(soup) <= best:
            members, best = tried, value(soup)
    total = sum(weights[j] for j in members)
    return members, sum(weights[j] / total * points[j] for j in members)


@pytest.mark.parametrize("measure", ["loss", "error"])
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0, 1.0), (1.0, 2.0, 0.5, 1.0, 3.0)])
def test_greedy_is_the_plain_loop(measure: str, norm: str, weights: tuple[float, ...]) -> None:
    where, here = setting(norm)
    points = near(where, here, 5)
    found = merging.merge(points, method="greedy_soup", data=where, by=measure, weights=weights)
    members, soup = plain_greedy(where, points, measure, list(weights))
    assert found.facts["members"] == tuple(members)
    torch.testing.assert_close(found.point, soup)
    assert found.facts["by"] == measure
    if norm == "batch":
        for name, buffer in where.calibrate(found.point).items():
            torch.testing.assert_close(found.buffers[name], buffer)


@settings(max_examples=15)
@given(st.integers(2, 5), st.floats(0.1, 2.0), st.integers(0, 1000))
def test_greedy_is_never_worse_than_its_best_member(count: int, spread: float, seed: int) -> None:
    where, here = setting(count=20)
    points = near(where, here, count, spread, seed)
    found = merging.merge(points, method="greedy_soup", data=where)
    assert float(where.error(found.point)) <= float(where.error(points).min())
    assert found.facts["value"] == pytest.approx(float(where.error(found.point)))


def test_a_member_that_diverged_is_left_out() -> None:
    where, here = setting()
    points = near(where, here, 3)
    points[0] *= 1e200  # its loss is no number
    found = merging.merge(points, method="greedy_soup", data=where, by="loss")
    assert 0 not in found.facts["members"]
    assert found.facts["order"][-1] == 0


def test_the_soup_is_of_all_tasks_together() -> None:
    where, here = setting()
    x, y = where._data.inputs, where._data.targets
    tasks = {"first": where.on((x[:20], y[:20])), "rest": where.on((x[20:], y[20:]))}
    points = near(where, here, 4)
    whole, parts = (merging.merge(points, method="greedy_soup", data=data, by="loss") for data in (where, tasks))
    assert whole.facts["members"] == parts.facts["members"]
    torch.testing.assert_close(whole.point, parts.point)
    assert parts.facts["value"] == pytest.approx(whole.facts["value"])


def test_tasks_that_are_streams() -> None:
    where, here = setting()
    x, y = where._data.inputs, where._data.targets
    loaders = [[(x[i : i + 10], y[i : i + 10]) for i in range(start, stop, 10)] for start, stop in ((0, 20), (20, 60))]
    tasks = {str(i): where.on(loader) for i, loader in enumerate(loaders)}
    points = near(where, here, 3)
    one, other = (merging.merge(points, method="greedy_soup", data=data, by="loss") for data in (where, tasks))
    torch.testing.assert_close(one.point, other.point)
    assert other.facts["value"] == pytest.approx(one.facts["value"])


@pytest.mark.parametrize("per", ["point", "tensor"])
@pytest.mark.parametrize("coefficients", ["softmax", "free"])
def test_one_step_goes_down_the_gradient_of_the_coefficients(per: str, coefficients: str) -> None:
    where, here = setting()
    points = near(where, here, 3)
    base = here + 0.2 * draw(len(here), seed=9) if coefficients == "free" else None
    sizes = [slot.size for slot in where.layout.slots] if per == "tensor" else [where.layout.size]
    given = torch.full((3, len(sizes)), 1 / 3, dtype=torch.float64)
    given = (given if coefficients == "free" else given.log()).requires_grad_()

    def at(own: Tensor) -> Tensor:
        mixed = own if coefficients == "free" else own.softmax(0)
        origin = torch.zeros_like(here) if base is None else base
        whole = torch.cat([mixed[:, k].repeat(size, 1) for k, size in enumerate(sizes)])  # [P, n]
        return origin + (whole.T * (points - origin)).sum(0)

    def loss(point: Tensor) -> Tensor:
        views = where.layout.views(point)
        h = torch.tanh(where._data.inputs @ views["0.weight"].T + views["0.bias"])
        return F.cross_entropy(h @ views["2.weight"].T + views["2.bias"], where._data.targets)

    first = loss(at(given))
    (slope,) = torch.autograd.grad(first, given)
    after = given.detach() - 0.1 * slope.sign()  # what Adam's first step is
    options = {"method": "learned_soup", "data": where, "per": per, "coefficients": coefficients, "base": base}
    found = merging.merge(points, **options, steps=1, lr=0.1)
    losses = torch.tensor(found.facts["losses"])
    torch.testing.assert_close(losses, torch.stack([first.detach(), loss(at(after))]).to(losses), rtol=1e-5, atol=0)
    wanted = at(after) if losses[1] < losses[0] else at(given.detach())
    torch.testing.assert_close(found.point, wanted, rtol=1e-5, atol=1e-6)


def test_learned_is_never_worse_than_where_it_begins_and_finds_a_planted_mixture() -> None:
    where, here = setting(count=200)
    x = where._data.inputs
    where = lf.Landscape(where._model, (x, where.outputs(here)), loss="mse", device="cpu")
    away = draw(2, len(here), seed=4)
    points = torch.stack([here + away[0], here - away[0], here + 2 * away[1]])  # the middle of the first two is best
    found = merging.merge(points, method="learned_soup", data=where, steps=100)
    losses = found.facts["losses"]
    assert min(losses) == pytest.approx(float(where.loss(found.point)))
    assert min(losses) <= losses[0] == pytest.approx(float(where.loss(points.mean(0))))
    share = found.facts["coefficients"]
    assert share[2] < 0.1
    assert abs(share[0] - share[1]) < 0.05
    assert sum(share) == pytest.approx(1)
    each = merging.merge(points, method="learned_soup", data=where, steps=20, per="tensor")
    assert set(each.facts["each"]) == set(where.layout.names)
    assert float(where.loss(each.point)) <= losses[0]


def test_what_is_wrong_is_said() -> None:
    where, here = setting()
    points = near(where, here, 3)
    regression = lf.Landscape(where._model, (draw(20, 4), draw(20, 3)), loss="mse", device="cpu")
    assert merging.merge(points, method="greedy_soup", data=regression).facts["by"] == "loss"
    for data, options, said in (
        (regression, {"method": "greedy_soup", "by": "error"}, "give by='loss'"),
        (where, {"method": "greedy_soup", "by": "accuracy"}, "by of greedy_soup is 'accuracy'"),
        (where, {"method": "learned_soup", "steps": 0}, "steps of learned_soup is 0"),
        (where, {"method": "learned_soup", "lr": 0}, "lr of learned_soup is 0"),
        (where, {"method": "learned_soup", "weights": (1, 1, -1)}, "numbers of 0 or more"),
        ([where], {"method": "learned_soup"}, "data is a list: give a landscape"),
        ({"a": where, "b": regression}, {"method": "learned_soup"}, "loss cross-entropy and mse"),
    ):
        with pytest.raises(BadInput, match=said):
            merging.merge(points, data=data, **options)
