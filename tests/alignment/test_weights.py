"""Weight matching: planted permutations, a plain reference, the counterexample, misuse."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from shapes_of_models import OTHERS, landscape, vectors, zoo
from torch import Tensor, nn

import landform as lf
from landform import alignment
from landform.errors import BadInput

ZOO = zoo()


def apart(where: lf.Landscape, seed: int = 0) -> Tensor:
    """A point with no two units alike."""
    point = where.here
    noise = torch.randn(point.shape, generator=torch.Generator().manual_seed(seed), dtype=point.dtype)
    return point + 0.1 * point.std() * noise


@pytest.mark.parametrize("name", [*ZOO, *OTHERS])
def test_a_planted_permutation_is_recovered_exactly(name: str) -> None:
    torch.manual_seed(0)
    made = ZOO[name]() if name in ZOO else (OTHERS[name][0](), OTHERS[name][1]())
    where = landscape(*made)
    found = alignment.symmetries(where)
    a = apart(where)
    for seed in range(2):
        planted = found.random(seed + 1)
        b = found.apply(a, planted)
        result = alignment.align(where, a, b, symmetries=found, seed=seed)
        assert torch.equal(result.point, a)
        assert result.after == 0
        assert result.converged
        back = found.invert(planted)
        assert all(torch.equal(result.permutations[group], back[group]) for group in back)


@pytest.mark.parametrize("name", ["vgg11 batch", "resnet20 batch", "transformer", "mlp"])
def test_a_planted_permutation_is_recovered_under_noise(name: str) -> None:
    where = landscape(*ZOO[name]())
    found = alignment.symmetries(where)
    a = apart(where)
    noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(9), dtype=a.dtype)
    b = found.apply(a + 0.02 * a.std() * noise, found.random(5))
    result = lf.alignment.align(where, a, b)
    assert result.after == pytest.approx(float((0.02 * a.std() * noise).norm()), rel=1e-6)
    assert result.after < result.before / 10
    assert alignment.check(where, found, permutations=result.permutations) < 1e-10


def plain_matching(a: list[Tensor], b: list[Tensor], sweeps: int, order: list[int]) -> list[list[int]]:
    """Algorithm 1 of Git Re-Basin for an MLP of matrices, transcribed."""
    hidden = len(a) - 1
    p = [torch.arange(len(a[layer])) for layer in range(hidden)]
    for _ in range(sweeps):
        for layer in order:
            before = p[layer - 1] if layer else torch.arange(b[0].shape[1])
            after = p[layer + 1] if layer + 1 < hidden else torch.arange(len(b[-1]))
            worth = a[layer] @ b[layer][:, before].T + a[layer + 1].T @ b[layer + 1][after]
            p[layer] = torch.from_numpy(linear_sum_assignment(worth.numpy(), maximize=True)[1])
    return [one.tolist() for one in p]


def test_one_hidden_layer_equals_linear_assignment() -> None:
    made = torch.Generator().manual_seed(0)
    model = lf.models.mlp(inputs=(5,), classes=3, width=12, depth=1, bias=False)
    where = landscape(model, vectors())
    a, b = (torch.randn(where.layout.size, generator=made, dtype=torch.float64) for _ in range(2))
    result = alignment.align(where, a, b)
    weights = [list(where.layout.views(point).values()) for point in (a, b)]
    expected = plain_matching(*weights, sweeps=1, order=[0])
    assert result.permutations["dense1"].tolist() == expected[0]
    assert result.objective[-1] == pytest.approx(result.after**2)
    assert result.after == pytest.approx(float((a - result.point).norm()))


def test_a_fixed_point_of_the_plain_algorithm() -> None:
    made = torch.Generator().manual_seed(1)
    where = landscape(lf.models.mlp(inputs=(5,), classes=3, width=10, bias=False), vectors())
    a, b = (torch.randn(where.layout.size, generator=made, dtype=torch.float64) for _ in range(2))
    result = alignment.align(where, a, b, restarts=3)
    assert result.converged
    ours = [result.permutations[name].tolist() for name in ("dense1", "dense2", "dense3")]
    moved = [list(where.layout.views(point).values()) for point in (a, result.point)]
    assert plain_matching(*moved, sweeps=1, order=[0, 1, 2]) == [list(range(10))] * 3, ours
    alone = alignment.align(where, a, b, restarts=1)
    assert result.after <= alone.after


def test_the_least_distance_of_all_permutations() -> None:
    made = torch.Generator().manual_seed(2)
    where = landscape(lf.models.mlp(inputs=(5,), classes=3, width=4, depth=2), vectors())
    found = alignment.symmetries(where)
    a, b = (torch.randn(where.layout.size, generator=made, dtype=torch.float64) for _ in range(2))
    every = [torch.tensor(order) for order in itertools.permutations(range(4))]
    distances = [float((a - found.apply(b, {"dense1": one, "dense2": two})).norm()) for one in every for two in every]
    result = alignment.align(where, a, b, restarts=20)
    assert result.after == pytest.approx(min(distances))


@given(seed=st.integers(0, 10_000))
def test_the_objective_falls_and_is_the_squared_distance(seed: int) -> None:
    where, found = KEPT
    made = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(where.layout.size, generator=made, dtype=torch.float64) for _ in range(2))
    result = alignment.align(where, a, b, symmetries=found, seed=seed)
    assert all(x >= y - 1e-9 * x for x, y in itertools.pairwise(result.objective))
    assert result.objective[-1] == pytest.approx(result.after**2)
    assert torch.equal(result.point.sort().values, b.sort().values)
    same = alignment.align(where, a, b, symmetries=found, seed=seed)
    assert torch.equal(same.point, result.point)


KEPT_LANDSCAPE = landscape(
    lf.models.transformer(inputs=(6,), classes=5, width=8, heads=2, depth=1), ZOO["transformer"]()[1]
)
KEPT = (KEPT_LANDSCAPE, alignment.symmetries(KEPT_LANDSCAPE))


def corner(flipped: bool) -> nn.Module:
    """Two units, then two units, that tell x1 < 0 < x2 exactly: min(-x1, x2), by u = 1 + x or by u = 1 - x."""
    sign = -1.0 if flipped else 1.0
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    parts: dict[str, list[object]] = {
        "0": [[[sign, 0.0], [0.0, sign]], [1.0, 1.0]],
        # relu(1 - x1) and relu(-x1 - x2): the least of -x1 and x2 is the one less one, less the other.
        "2": [[[-sign, 0.0], [-sign, -sign]], [1 + sign, 2 * sign]],
        "4": [[[-30.0, 30.0], [30.0, -30.0]], [30.0, -30.0]],
    }
    for name, (weight, bias) in parts.items():
        layer = model.get_submodule(name)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.copy_(torch.tensor(bias))
    return model


def test_the_two_unit_counterexample_keeps_its_barrier_under_all_permutations() -> None:
    """Ainsworth et al. 2023: two perfect nets of two units that no permutation brings together."""
    x = 2 * torch.rand(400, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    y = ((x[:, 0] < 0) & (x[:, 1] > 0)).long()
    where = lf.Landscape(corner(False), (x, y), device="cpu")
    found = alignment.symmetries(where)
    assert [group.size for group in found.groups] == [2, 2]
    a, b = where.here, where.layout.point(corner(True))
    assert float(where.error(a)) == float(where.error(b)) == 0
    ends = float(where.loss(a) + where.loss(b)) / 2
    orders = [torch.tensor([0, 1]), torch.tensor([1, 0])]
    barriers = []
    for one, two in itertools.product(orders, orders):
        moved = found.apply(b, dict(zip(found.names, (one, two), strict=True)))
        assert float(where.error(moved)) == 0
        path = torch.stack([a + t * (moved - a) for t in torch.linspace(0, 1, 11, dtype=torch.float64)])
        barriers.append(float(where.loss(path).max()) - ends)
        assert float(where.error(path).max()) > 0.1
    assert min(barriers) > 0.3
    assert len({round(barrier, 9) for barrier in barriers}) > 1
    result = alignment.align(where, a, b, restarts=4)
    assert float(where.error((a + result.point) / 2)) > 0.1


def test_buffers_move_along() -> None:
    model, inputs = ZOO["resnet20 batch"]()
    where = landscape(model, inputs)
    found = alignment.symmetries(where)
    a = apart(where)
    b = found.apply(a, found.random(3))
    buffers = where.calibrate(b)
    result = alignment.align(where, a, b, buffers=buffers)
    torch.testing.assert_close(dict(result.buffers), where.calibrate(a))
    torch.testing.assert_close(where.outputs(result.point, buffers=result.buffers), where.outputs(b, buffers=buffers))
    assert alignment.align(where, a, b).buffers == {}


def test_models_bring_their_own_buffers() -> None:
    model, inputs = ZOO["small_cnn batch"]()
    where = landscape(model, inputs)
    other = lf.models.small_cnn(inputs=(3, 16, 16), classes=3, width=8, norm="batch", head="flatten", seed=1)
    result = alignment.align(where, model, other)
    assert set(result.buffers) == {name for name, _ in other.named_buffers()}
    assert result.after < result.before
    assert 0 < result.moved <= 1


def test_only_some_sweeps() -> None:
    where, found = KEPT
    made = torch.Generator().manual_seed(0)
    a, b = (torch.randn(where.layout.size, generator=made, dtype=torch.float64) for _ in range(2))
    one = alignment.align(where, a, b, symmetries=found, start={}, sweeps=1)
    assert len(one.objective) == 2
    assert not one.converged
    from_it = alignment.align(where, a, b, symmetries=found, start=one.permutations)
    assert from_it.objective[0] == pytest.approx(one.objective[-1])


def test_misuse_is_said_in_a_sentence() -> None:
    where = landscape(*ZOO["mlp"]())
    a = where.here
    wide = lf.models.mlp(inputs=(5,), classes=3, width=9)
    with pytest.raises(
        BadInput, match=r"b has 151 numbers, but .* model 219 \(it would end in dense3.weight \[8, 8\]\)"
    ):
        alignment.align(where, a, a[:151])
    with pytest.raises(BadInput, match=r"Parameter dense1.weight is \[9, 5\] in b and \[8, 5\]"):
        alignment.align(where, a, wide)
    with pytest.raises(BadInput, match=r"b has no parameter dense3.weight"):
        alignment.align(where, a, lf.models.mlp(inputs=(5,), classes=3, width=8, depth=2))
    with pytest.raises(BadInput, match=r"a has a parameter norm1.weight \[8\]"):
        alignment.align(where, lf.models.mlp(inputs=(5,), classes=3, width=8, norm="layer"), a)
    broken = a.clone()
    broken[45] = torch.nan
    with pytest.raises(BadInput, match=r"b holds NaN or infinity, first in dense1.bias"):
        alignment.align(where, a, broken)
    with pytest.raises(BadInput, match=r"a has to be a point"):
        alignment.align(where, a[None], a)
    with pytest.raises(BadInput, match=r"no method 'best'"):
        alignment.align(where, a, a, method="best")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"restarts is 0"):
        alignment.align(where, a, a, restarts=0)
    with pytest.raises(BadInput, match=r"group dense1 has to hold"):
        alignment.align(where, a, a, start={"dense1": torch.zeros(8, dtype=torch.long)})
