from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from landform.errors import BadInput
from landform.layout import Layout


class Tied(nn.Module):
    """An encoder and a decoder that share one weight, with a frozen layer between them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 3)
        self.middle = nn.Linear(3, 3)
        self.middle.requires_grad_(False)
        self.norm = nn.LayerNorm(3)
        self.out = nn.Linear(3, 7)
        self.out.weight = self.embed.weight


def conv_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 4, 2), nn.Flatten(), nn.Linear(5, 2)
    )


def plain_point(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for _, p in model.named_parameters() if p.requires_grad])


@pytest.mark.parametrize("make", [Tied, conv_net, lambda: nn.Linear(3, 2)])
def test_point_is_named_parameters_in_order(make) -> None:
    model = make()
    layout = Layout.of(model)
    point = layout.point(model)
    assert torch.equal(point, plain_point(model))
    assert layout.names == tuple(n for n, p in model.named_parameters() if p.requires_grad)
    views = layout.views(point)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(views[name], parameter)
    assert torch.equal(layout.join(views), point)


def test_views_share_storage_for_one_point_and_for_many() -> None:
    layout = Layout.of(conv_net())
    for points in (torch.zeros(layout.size), torch.zeros(4, layout.size)):
        for view in layout.views(points).values():
            view.fill_(1.0)
        assert bool((points == 1).all())


def test_tied_once_and_frozen_left_out_and_said() -> None:
    layout = Layout.of(Tied())
    assert layout.tied == {"out.weight": "embed.weight"}
    assert layout.frozen == ("middle.weight", "middle.bias")
    assert layout.size == 7 * 3 + 3 + 3 + 7


def test_kinds_and_parts() -> None:
    layout = Layout.of(conv_net())
    assert [slot.kind for slot in layout.slots] == [
        "conv", "bias", "norm", "norm", "conv", "bias", "dense", "bias",
    ]  # fmt: skip
    point = torch.arange(float(layout.size))
    biases = layout.part(kind="bias")
    expected = torch.cat([layout.views(point)[n] for n in ("0.bias", "2.bias", "4.bias")])
    assert torch.equal(biases.of(point), expected)
    layer = layout.part("4")
    assert torch.equal(layer.of(point), point[-12:])
    back = biases.embed(biases.of(point.expand(2, -1)))
    mask = torch.zeros(layout.size, dtype=torch.bool)
    mask[biases.positions] = True
    assert torch.equal(back[1], torch.where(mask, point, torch.zeros(())))
    with pytest.raises(BadInput, match="No parameter of kind embedding matches"):
        layout.part(kind="embedding")


def test_filter_norms_against_a_loop() -> None:
    torch.manual_seed(0)
    model = conv_net()
    layout = Layout.of(model)
    norms = layout.filter_norms(layout.point(model))
    conv, up, dense = model[0].weight, model[2].weight, model[4].weight
    for i in range(3):
        assert torch.isclose(norms["0.weight"][i], conv[i].norm())
    for i in range(4):
        assert torch.isclose(norms["2.weight"][i], up[:, i].norm())
    for i in range(2):
        assert torch.isclose(norms["4.weight"][i], dense[i].norm())
    assert norms["1.weight"].shape == (1,)
    many = layout.filter_norms(torch.stack([layout.point(model), 2 * layout.point(model)]))
    assert torch.allclose(many["2.weight"][1], 2 * norms["2.weight"])


def test_filter_normalise_gives_the_points_norms() -> None:
    torch.manual_seed(1)
    model = conv_net()
    layout = Layout.of(model)
    point = layout.point(model)
    directions = torch.randn(3, layout.size)
    whole = layout.filter_normalise(directions, point, vectors="whole")
    for name, norms in layout.filter_norms(whole).items():
        assert torch.allclose(norms, layout.filter_norms(point)[name].expand_as(norms), rtol=1e-5)
    zeroed = layout.filter_normalise(directions, point)
    assert bool((layout.part(kind="norm").of(zeroed) == 0).all())
    kept = layout.filter_normalise(directions, point, vectors="keep")
    assert torch.equal(layout.part(kind="bias").of(kept), layout.part(kind="bias").of(directions))
    cosine = torch.cosine_similarity(
        layout.views(whole)["2.weight"][0, :, 1], layout.views(directions)["2.weight"][0, :, 1], dim=0
    )
    assert torch.allclose(cosine, torch.ones_like(cosine), atol=1e-5)


def test_a_filter_of_zeros_stays_one() -> None:
    model = nn.Linear(3, 2)
    layout = Layout.of(model)
    direction = torch.ones(layout.size)
    layout.views(direction)["weight"][0] = 0
    scaled = layout.views(layout.filter_normalise(direction, torch.full((layout.size,), 50.0), vectors="whole"))
    assert scaled["weight"].tolist() == [[0.0] * 3, pytest.approx([50.0] * 3)]


def test_load_writes_into_the_model() -> None:
    model = Tied()
    layout = Layout.of(model)
    point = torch.randn(layout.size)
    before = model.middle.weight.clone()
    layout.load_(model, point)
    assert torch.equal(layout.point(model), point)
    assert model.out.weight is model.embed.weight
    assert torch.equal(model.middle.weight, before)


@given(st.lists(st.lists(st.integers(1, 4), min_size=0, max_size=3), min_size=1, max_size=5), st.integers(1, 3))
def test_join_inverts_views_for_any_shapes(shapes, n) -> None:
    model = nn.Module()
    for i, shape in enumerate(shapes):
        model.register_parameter(f"p{i}", nn.Parameter(torch.zeros(shape)))
    layout = Layout.of(model)
    points = torch.randn(n, layout.size)
    assert torch.equal(layout.join(layout.views(points)), points)
    again = Layout.from_json(json.loads(json.dumps(layout.to_json())))
    assert again.slots == layout.slots


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: Layout.of(nn.ReLU()), "no parameter to train"),
        (lambda: Layout.of(nn.Linear(2, 2).requires_grad_(False)), "all 2 of its parameters are frozen"),
        (lambda: Layout.of(nn.LazyLinear(2)), "run the model once"),
        (lambda: Layout.of(nn.Linear(2, 2, dtype=torch.complex64)), "real floating-point"),
        (lambda: Layout.of(nn.Linear(2, 2)).views(torch.zeros(5)), r"\[6\].*shape \[5\]"),
        (lambda: Layout.of(nn.Linear(2, 2)).views(torch.zeros(6, dtype=torch.long)), "floating-point"),
        (lambda: Layout.of(nn.Linear(2, 2)).views([0.0] * 6), "1-D tensor of 6"),
        (lambda: Layout.of(nn.Linear(2, 2)).join({"weight": torch.zeros(2, 2)}), "bias is missing"),
        (
            lambda: Layout.of(nn.Linear(2, 2)).join({"weight": torch.zeros(4), "bias": torch.zeros(2)}),
            "weight has shape",
        ),
        (
            lambda: Layout.of(nn.Linear(2, 1)).load_(nn.Linear(2, 3), torch.zeros(3)),
            r"no parameter weight of shape \(1, 2\)",
        ),
        (lambda: Layout.of(nn.Linear(2, 1)).load_(nn.Sequential(nn.Linear(2, 1)), torch.zeros(3)), "no parameter"),
        (lambda: Layout.from_json({"slots": []}), "not a description"),
        (lambda: Layout.from_json({"slots": [{"name": "a", "shape": [3], "start": 0, "stop": 2}]}), "does not follow"),
    ],
)
def test_misuse_is_one_sentence(act, says) -> None:
    with pytest.raises(BadInput, match=says):
        act()
