"""Sinkhorn matching: the relaxation, its action on points, and what training gives."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shapes_of_models import OTHERS, landscape, zoo

import landform as lf
from landform import alignment
from landform.alignment._sinkhorn import doubly_stochastic, mixed
from landform.errors import BadInput

ZOO = zoo()


@given(seed=st.integers(0, 10_000), size=st.integers(2, 7), spread=st.floats(0.1, 5))
def test_matrices_become_doubly_stochastic(seed: int, size: int, spread: float) -> None:
    made = torch.Generator().manual_seed(seed)
    found = doubly_stochastic(spread * torch.randn(2, size, size, generator=made, dtype=torch.float64), 200)
    one = torch.ones(2, size, dtype=torch.float64)
    assert bool((found >= 0).all())
    torch.testing.assert_close(found.sum(-1), one)
    torch.testing.assert_close(found.sum(-2), one, atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["mlp", "resnet20 group", "transformer", "rnn", "vision", "experts", "grouped"])
def test_matrices_of_permutations_act_as_these(name: str) -> None:
    torch.manual_seed(0)
    where = landscape(*(ZOO[name]() if name in ZOO else (OTHERS[name][0](), OTHERS[name][1]())))
    found = alignment.symmetries(where)
    permutations = found.random(3)
    matrices = {
        group: torch.nn.functional.one_hot(order, order.shape[-1]).double() for group, order in permutations.items()
    }
    views = where.layout.views(where.here)
    expected = found.move(views, permutations)
    for tensor, view in views.items():
        result = view
        for block in found.blocks[tensor]:
            result = block.put(result.clone(), mixed(block, block.take(view), found.groups, matrices))
        torch.testing.assert_close(result, expected[tensor])


def trained(width: int, depth: int) -> tuple[lf.Landscape, torch.Tensor, torch.Tensor]:
    data = lf.data.digits(per_class=30)
    nets = [lf.models.mlp(inputs=(64,), classes=10, width=width, depth=depth, seed=seed) for seed in range(2)]
    recipe = lf.Recipe(epochs=15, batch_size=50, optimizer="adam", lr=3e-3)
    found = lf.train_many(nets, data, recipe, device="cpu")
    return lf.Landscape(nets[0], data, device="cpu"), found[0].point, found[1].point


@pytest.mark.parametrize("hard", [True, False])
def test_training_lowers_the_loss_half_way(hard: bool) -> None:
    where, a, b = trained(12, 1)
    settings = alignment.Sinkhorn(steps=60, lr=0.1, hard=hard, checks=6)
    result = alignment.align(where, a, b, method="sinkhorn", start={}, sinkhorn=settings)
    assert len(result.objective) == 7
    assert result.objective[0] == pytest.approx(float(where.loss((a + b) / 2)))
    middle = float(where.loss((a + result.point) / 2))
    assert middle == pytest.approx(min(result.objective), rel=1e-5)
    assert middle < 0.85 * result.objective[0]
    torch.testing.assert_close(where.outputs(result.point), where.outputs(b), rtol=1e-4, atol=1e-4)
    again = alignment.align(where, a, b, method="sinkhorn", start={}, sinkhorn=settings)
    assert torch.equal(again.point, result.point)


def test_it_begins_where_weight_matching_ends_and_is_never_worse() -> None:
    where, a, b = trained(16, 2)
    by_weights = alignment.align(where, a, b)
    result = alignment.align(where, a, b, method="sinkhorn", sinkhorn=alignment.Sinkhorn(steps=40, checks=4))
    assert result.objective[0] == pytest.approx(float(where.loss((a + by_weights.point) / 2)))
    assert float(where.loss((a + result.point) / 2)) <= result.objective[0] * (1 + 1e-6)


def test_batchnorm_attention_and_a_loader() -> None:
    settings = alignment.Sinkhorn(steps=3, checks=1)
    for name in ("small_cnn batch", "transformer", "resnet20 group"):
        model, inputs = ZOO[name]()
        where = landscape(model, inputs)
        b = where.here + 0.3 * torch.randn(where.layout.size, generator=torch.Generator().manual_seed(0)).double()
        result = alignment.align(where, where.here, b, method="sinkhorn", sinkhorn=settings)
        assert len(result.objective) == 2
        batches = [(inputs[:4], torch.zeros(4, dtype=torch.long)), (inputs[4:], torch.zeros(3, dtype=torch.long))]
        if name == "small_cnn batch":
            stream = lf.Landscape(model, batches, device="cpu", dtype=torch.float64)
            assert alignment.align(stream, where.here, b, method="sinkhorn", sinkhorn=settings).objective[-1] > 0


def test_settings_are_checked() -> None:
    with pytest.raises(BadInput, match="steps of Sinkhorn is 0"):
        alignment.Sinkhorn(steps=0)
    with pytest.raises(BadInput, match="lr of Sinkhorn is 0"):
        alignment.Sinkhorn(lr=0)
    assert all(x != y for x, y in itertools.pairwise((alignment.Sinkhorn(), alignment.Sinkhorn(hard=True))))
