"""Many models in one order: planted permutations, consistency, misuse."""

from __future__ import annotations

import itertools

import pytest
import torch
from shapes_of_models import landscape, vectors, zoo
from torch import Tensor

import landform as lf
from landform import alignment
from landform.errors import BadInput

ZOO = zoo()


@pytest.mark.parametrize("method", ["weights", "activations"])
@pytest.mark.parametrize("name", ["mlp", "resnet20 batch", "transformer"])
def test_planted_permutations_of_several_are_recovered(name: str, method: str) -> None:
    model, inputs = ZOO[name]()
    made = torch.Generator().manual_seed(8)
    more = torch.randint(0, 5, (40, 6), generator=made) if name == "transformer" else torch.randn(
        40, *inputs.shape[1:], generator=made
    )  # fmt: skip
    where = landscape(model, more)
    found = alignment.symmetries(where)
    a = where.here + 0.1 * where.here.std() * torch.randn(where.layout.size, generator=made, dtype=torch.float64)
    planted = [found.apply(a, found.random(seed)) for seed in range(3)]
    result = alignment.align_many(where, torch.stack(planted), method=method, symmetries=found)
    assert torch.equal(result.points, planted[0].expand(3, -1))
    assert result.converged
    assert all(
        torch.equal(order, torch.arange(order.shape[-1]).expand_as(order)) for order in result.permutations[0].values()
    )
    for i, j in itertools.product(range(3), repeat=2):
        assert torch.equal(found.apply(planted[j], result.between(i, j)), planted[i])


def several(count: int = 4, width: int = 10) -> tuple[lf.Landscape, Tensor]:
    where = landscape(lf.models.mlp(inputs=(5,), classes=3, width=width, depth=2), vectors())
    made = torch.Generator().manual_seed(0)
    return where, torch.randn(count, where.layout.size, generator=made, dtype=torch.float64)


def test_the_objective_falls_and_is_the_mean_squared_distance() -> None:
    where, points = several()
    result = alignment.align_many(where, points)
    assert all(x >= y - 1e-9 for x, y in itertools.pairwise(result.objective))
    pairs = [float((p - q).square().sum()) for p, q in itertools.combinations(result.points, 2)]
    assert result.objective[-1] == pytest.approx(sum(pairs) / len(pairs))
    given = [float((p - q).square().sum()) for p, q in itertools.combinations(points, 2)]
    assert sum(pairs) < sum(given)
    torch.testing.assert_close(result.mean, result.points.mean(0))
    for before, after in zip(points, result.points, strict=True):
        torch.testing.assert_close(where.outputs(after), where.outputs(before))


def test_ways_round_a_circle_lead_back() -> None:
    where, points = several()
    result = alignment.align_many(where, points, seed=3)
    found = result.symmetries
    round_trip = found.compose(found.compose(result.between(1, 0), result.between(2, 1)), result.between(0, 2))
    assert all(torch.equal(round_trip[name], order) for name, order in found.identity().items())
    one_by_one = [alignment.align(where, points[i], points[j]).permutations for i, j in ((1, 0), (2, 1), (0, 2))]
    around = found.compose(found.compose(one_by_one[0], one_by_one[1]), one_by_one[2])
    assert any(not torch.equal(around[name], order) for name, order in found.identity().items())


def test_activations_rise_and_two_models_are_those_of_align() -> None:
    nets = [lf.models.mlp(inputs=(5,), classes=3, width=10, depth=2, activation="tanh", seed=s) for s in range(3)]
    x = torch.randn(80, 5, generator=torch.Generator().manual_seed(0))
    where = landscape(nets[0], x)
    result = alignment.align_many(where, [net.double() for net in nets], method="activations")
    assert all(x <= y + 1e-9 for x, y in itertools.pairwise(result.objective))
    pair = alignment.align_many(where, [net.double() for net in nets[:2]], method="activations")
    alone = alignment.align(where, nets[0].double(), nets[1].double(), method="activations")
    assert torch.equal(pair.points[1], alone.point)
    assert pair.objective[-1] == pytest.approx(alone.objective[-1])


def test_misuse() -> None:
    where, points = several(2)
    with pytest.raises(BadInput, match="There is 1 point"):
        alignment.align_many(where, points[:1])
    with pytest.raises(BadInput, match="no method 'sinkhorn' for many"):
        alignment.align_many(where, points, method="sinkhorn")
    points[1, 3] = torch.inf
    with pytest.raises(BadInput, match=r"Point 1 holds NaN or infinity, first in dense1.weight"):
        alignment.align_many(where, points)
