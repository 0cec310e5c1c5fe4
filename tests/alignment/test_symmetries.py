"""Symmetries from a model's own graph: what is found, that it changes nothing, what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes_of_models import OTHERS, Experts, Neighbours, Unknown, landscape, sequences, texts, vectors, zoo
from torch import Tensor, nn

import landform as lf
from landform import alignment
from landform.errors import BadInput

ZOO = zoo()


@pytest.mark.parametrize("name", list(ZOO))
def test_a_random_permutation_changes_nothing_in_the_zoo(name: str) -> None:
    model, inputs = ZOO[name]()
    where = landscape(model, inputs)
    found = alignment.symmetries(where)
    assert found.groups
    assert found.error < 1e-8
    for seed in range(2):
        assert alignment.check(where, found, seed=seed) < 1e-5
    # Every axis of every parameter moves, but for inputs, outputs, the insides of filters and single places.
    for tensor, why in found.fixed.items():
        for reason in why:
            allowed = ("", "inputs", "outputs", "filter", "one place", "picked by number")
            assert any(word in reason for word in allowed if word) or not reason, (tensor, reason)


@pytest.mark.parametrize("name", ["mlp", "vgg11 batch", "resnet20 batch", "transformer", "rnn"])
def test_a_random_permutation_changes_nothing_in_float32(name: str) -> None:
    model, inputs = ZOO[name]()
    where = landscape(model, inputs, torch.float32)
    found = alignment.symmetries(where)
    assert alignment.check(where, found) < 1e-5
    point = where.here
    moved = found.apply(point, found.random(1))
    assert not torch.equal(moved, point)
    torch.testing.assert_close(where.loss(moved), where.loss(point), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", list(OTHERS))
def test_groups_of_other_models_are_as_large_as_they_can_be(name: str) -> None:
    torch.manual_seed(0)
    make, inputs, shapes = OTHERS[name]
    where = landscape(make(), inputs())
    found = alignment.symmetries(where)
    assert sorted(group.shape for group in found.groups) == sorted(shapes)
    assert alignment.check(where, found, seed=3) < 1e-10


def test_a_plain_mlp_by_hand() -> None:
    model, inputs = ZOO["mlp"]()
    found = alignment.symmetries(landscape(model, inputs))
    assert [(g.name, g.size, g.acts) for g in found.groups] == [
        ("dense1", 8, (("dense1.weight", 0), ("dense1.bias", 0), ("dense2.weight", 1))),
        ("dense2", 8, (("dense2.weight", 0), ("dense2.bias", 0), ("dense3.weight", 1))),
        ("dense3", 8, (("dense3.weight", 0), ("dense3.bias", 0), ("readout.weight", 1))),
    ]
    assert found.fixed["dense1.weight"] == ("", "it is an axis of the inputs")
    assert found.fixed["readout.weight"] == ("it is an axis of the outputs", "")
    assert found.digits == pytest.approx(3 * math.log10(math.factorial(8)))
    assert "dense2: 8 units; dense2.weight[0]" in str(found)
    point = landscape(model, inputs).here
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    views = found.layout.views(found.apply(point, {"dense2": order}))
    plain = found.layout.views(point)
    torch.testing.assert_close(views["dense2.weight"], plain["dense2.weight"][order])
    torch.testing.assert_close(views["dense3.weight"], plain["dense3.weight"][:, order])
    torch.testing.assert_close(views["dense1.weight"], plain["dense1.weight"])


def test_convolution_flatten_linear_moves_blocks_of_positions() -> None:
    model, inputs = ZOO["small_cnn none"]()
    where = landscape(model, inputs)
    found = alignment.symmetries(where)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    views = found.layout.views(found.apply(where.here, {"conv3": order}))
    plain = found.layout.views(where.here)["readout.weight"].unflatten(1, (16, 4))
    torch.testing.assert_close(views["readout.weight"].unflatten(1, (16, 4)), plain[:, order])


def test_heads_move_as_blocks_and_the_places_within_each_on_their_own() -> None:
    model, inputs = ZOO["transformer"]()
    where = landscape(model, inputs)
    found = alignment.symmetries(where)
    heads = found.group("blocks.0.attention.project")
    assert (heads.size, heads.per) == (2, ())
    families = [group for group in found.groups if group.per == (heads.name,)]
    assert [group.shape for group in families] == [(2, 4), (2, 4)]
    assert ("blocks.0.attention.contract.weight", 1) not in families[0].acts  # queries and keys
    assert ("blocks.0.attention.contract.weight", 1) in families[1].acts  # values
    made = torch.Generator().manual_seed(0)
    turned, within = torch.tensor([1, 0]), torch.stack([torch.randperm(4, generator=made) for _ in range(2)])
    views = found.layout.views(found.apply(where.here, {heads.name: turned, families[0].name: within}))
    plain = found.layout.views(where.here)["blocks.0.attention.project.bias"].view(3, 2, 4)
    moved = views["blocks.0.attention.project.bias"].view(3, 2, 4)
    for head in range(2):
        for part in range(3):
            order = within[head] if part < 2 else torch.arange(4)
            torch.testing.assert_close(moved[part, head], plain[part, turned[head]][order])


@pytest.mark.parametrize("name", ["transformer", "resnet20 group", "experts"])
@settings(max_examples=30)
@given(seeds=st.tuples(st.integers(0, 1000), st.integers(0, 1000)))
def test_permutations_compose_and_have_an_inverse(name: str, seeds: tuple[int, int]) -> None:
    where, found = _KEPT[name]
    first, then = (found.random(seed) for seed in seeds)
    point = torch.arange(where.layout.size, dtype=torch.float64)
    once = found.apply(found.apply(point, first), then)
    assert torch.equal(once, found.apply(point, found.compose(first, then)))
    assert torch.equal(point, found.apply(found.apply(point, first), found.invert(first)))
    assert torch.equal(point.sort().values, once.sort().values)


def _kept(name: str) -> tuple[lf.Landscape, alignment.Symmetries]:
    torch.manual_seed(0)
    where = landscape(Experts(), sequences()) if name == "experts" else landscape(*ZOO[name]())
    return where, alignment.symmetries(where)


_KEPT = {name: _kept(name) for name in ("transformer", "resnet20 group", "experts")}


def test_nothing_is_changed_by_looking() -> None:
    model, inputs = ZOO["resnet20 batch"]()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    where = landscape(model, inputs)
    loss = where.loss(where.here)
    torch.manual_seed(5)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    alignment.symmetries(where)
    assert torch.equal(torch.rand(3), drawn)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(where.loss(where.here), loss)


def test_frozen_parameters_and_constants_hold_what_meets_them() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    model[0].weight.requires_grad_(False)
    found = alignment.symmetries(landscape(model, vectors()))
    assert [group.size for group in found.groups] == [6]
    assert found.fixed["0.bias"] == ("it is an axis of a constant of the model",)


def test_a_loader_and_a_forward_of_ones_own() -> None:
    model = lf.models.mlp(inputs=(5,), classes=3, width=8, depth=1)
    batches = [{"x": vectors(), "y": torch.zeros(7, dtype=torch.long)} for _ in range(2)]

    def forward(net: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return net(batch["x"]), batch["y"]

    found = alignment.symmetries(lf.Landscape(model, batches, forward=forward, device="cpu"))
    assert [group.size for group in found.groups] == [8]


def test_an_operation_without_a_rule_is_named_or_held() -> None:
    where = landscape(Unknown(), vectors())
    with pytest.raises(BadInput, match=r"The operation aten::_fft_r2c has no rule.*unknown='hold'"):
        alignment.symmetries(where)
    found = alignment.symmetries(where, unknown="hold")
    assert [group.name for group in found.groups] == ["inner"]
    assert found.held == ("_fft_r2c",)
    assert found.fixed["enter.weight"][0] == "it goes into aten::_fft_r2c, which has no rule"
    assert alignment.check(where, found) < 1e-10


def test_units_that_know_where_they_stand_stay() -> None:
    found = alignment.symmetries(landscape(Neighbours(), vectors()))
    assert found.fixed["enter.weight"][0] == "roll goes along it"


def test_what_depends_on_the_order_in_secret_is_caught() -> None:
    class Secret(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.leave = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.enter(x)
            scale = 1.0 + float(h.detach().numpy()[0, 0])  # outside of torch nothing can be followed
            return self.leave(h * scale)

    with pytest.raises(BadInput, match="changes its outputs"):
        alignment.symmetries(landscape(Secret(), vectors()))


def test_what_is_no_permutation_is_refused() -> None:
    where, found = _KEPT["transformer"]
    with pytest.raises(BadInput, match=r"no group of units named 'x'"):
        found.apply(where.here, {"x": torch.arange(3)})
    with pytest.raises(BadInput, match=r"group symbols has to hold each of 0\.\.7 once"):
        found.apply(where.here, {"symbols": torch.zeros(8, dtype=torch.long)})
    with pytest.raises(BadInput, match="A point of this model"):
        found.apply(where.here[:-1], {})
    with pytest.raises(BadInput, match="one point"):
        found.apply(where.here[None], {})


def test_texts_stay_where_they_are() -> None:
    model, _ = ZOO["transformer"]()
    found = alignment.symmetries(landscape(model, texts()))
    assert found.fixed["symbols.weight"] == ("its rows are picked by number", "")
    assert all(any(read.block.groups) for read in found.reads)
