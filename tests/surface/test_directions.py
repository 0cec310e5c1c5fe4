"""Directions are what they say: scaled, orthogonal, at rest where they should be."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import landform as lf
from landform import surface


class Net(nn.Module):
    """One of every kind of parameter, with a filter of a single number among them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.norm = nn.GroupNorm(2, 4)
        self.back = nn.ConvTranspose2d(4, 3, 2)
        self.one = nn.Conv2d(3, 3, 1, groups=3)
        self.dense = nn.Linear(3, 5)

    def forward(self, x):
        return self.dense(self.one(self.back(self.norm(self.conv(x)))).mean((2, 3)))


@pytest.fixture(scope="module")
def landscape():
    torch.manual_seed(1)
    net = Net()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return lf.Landscape(net, (torch.randn(6, 2, 6, 6), torch.arange(6) % 5), device="cpu", dtype=torch.float64)


def _filters(landscape, point):
    """Every filter as its own vector, by indexing alone."""
    for name, tensor in landscape.layout.views(point).items():
        if tensor.dim() < 2:
            yield name, tensor
        else:
            axis = 1 if name == "back.weight" else 0
            for i in range(tensor.shape[axis]):
                yield name, tensor.select(axis, i).reshape(-1)


@given(seed=st.integers(0, 2**31), small=st.sampled_from(["zero", "whole"]), count=st.integers(1, 3))
def test_filters_have_the_centres_norms_and_are_orthogonal(landscape, seed, small, count):
    found = surface.random(landscape, count=count, biases=small, norms=small, seed=seed)
    centre = list(_filters(landscape, landscape.here))
    rows = [list(_filters(landscape, vector)) for vector in found.vectors]
    for place, (name, own) in enumerate(centre):
        moving = own.dim() and ((name.endswith("weight") and name != "norm.weight") or small == "whole")
        for row in rows:
            assert float(row[place][1].norm()) == pytest.approx(float(own.norm()) if moving else 0.0, abs=1e-9)
        if moving and len(own) >= count:
            for i in range(count):
                for j in range(i):
                    apart = abs(float(rows[i][place][1] @ rows[j][place][1]))
                    assert apart < 1e-9 * float(own.square().sum())


def test_the_angle_that_filters_of_one_number_leave_is_stated(landscape):
    found = surface.random(landscape)
    u, v = found.vectors
    angle = math.degrees(math.acos(float(u @ v / u.norm() / v.norm())))
    assert found.angle == pytest.approx(angle)
    assert abs(angle - 90) > 1e-3  # the filters of one number cannot be orthogonal
    assert f"{found.angle:.2f}°" in str(found)
    straight = surface.random(landscape, orthogonal="after")
    assert straight.angle == pytest.approx(90, abs=1e-9)
    assert surface.filter_deviation(landscape, straight, landscape.here) > 1e-4
    assert surface.filter_deviation(landscape, found, landscape.here) < 1e-12
    assert surface.filter_deviation(landscape, surface.random(landscape, orthogonal="before"), landscape.here) < 1e-12


def test_other_scales(landscape):
    here = landscape.here
    layers = surface.random(landscape, scale="layer", biases="whole", norms="keep")
    for name, own in landscape.layout.views(here).items():
        view = landscape.layout.views(layers.vectors[1])[name]
        if not name.startswith("norm"):
            assert float(view.norm()) == pytest.approx(float(own.norm()))
    whole = surface.random(landscape, scale="model")
    assert whole.norms.tolist() == pytest.approx([float(here.norm())] * 2)
    assert whole.angle == pytest.approx(90, abs=1e-9)
    assert surface.random(landscape, scale="unit").norms.tolist() == pytest.approx([1.0, 1.0])
    plain = surface.random(landscape, scale="gaussian", biases="keep", norms="keep", orthogonal="no", seed=5)
    drawn = torch.randn(2, landscape.layout.size, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    assert torch.equal(plain.vectors, drawn)


def test_some_layers_alone(landscape):
    found = surface.random(landscape, only=("conv", "dense"), biases="keep")
    moving = {name for name, view in landscape.layout.views(found.vectors[0]).items() if bool(view.any())}
    assert moving == {"conv.weight", "conv.bias", "dense.weight", "dense.bias"}


def test_a_seed_draws_the_same_in_every_type():
    data = (torch.randn(4, 3), torch.arange(4) % 2)
    net = nn.Linear(3, 2)
    low, high = (lf.Landscape(net, data, device="cpu", dtype=t) for t in (torch.float32, torch.float64))
    a, b = (surface.random(one, low.here.to(one.dtype), seed=4).vectors for one in (low, high))
    assert torch.allclose(a.double(), b, rtol=1e-6)
    assert not torch.allclose(b, surface.random(high, seed=5).vectors)


def test_radial_and_joined(landscape):
    here = landscape.here
    found = surface.radial(landscape, here, "conv", "dense.weight")
    conv, dense = (landscape.layout.views(row) for row in found.vectors)
    assert torch.equal(conv["conv.weight"], landscape.layout.views(here)["conv.weight"])
    assert not bool(conv["dense.weight"].any())
    assert not bool(dense["dense.bias"].any())
    both = surface.join(surface.radial(landscape, here), surface.random(landscape, here, 1))
    assert len(both) == 2
    assert torch.equal(both.vectors[0], here)
    assert torch.equal(both.origin, here)
    assert "radial" in str(both)
    assert "left where they are" in str(both)
    with pytest.raises(lf.BadInput, match="share parameters"):
        surface.radial(landscape, here, "conv", "conv.weight")


@given(shift=st.floats(-3, 3), stretch=st.floats(0.1, 10))
def test_points_through_which_a_plane_goes_keep_their_distances(landscape, shift, stretch):
    generator = torch.Generator().manual_seed(2)
    points = stretch * torch.randn(3, landscape.layout.size, generator=generator, dtype=torch.float64) + shift
    found = surface.through(landscape, *points)
    assert torch.allclose(torch.cdist(found.marks, found.marks), torch.cdist(points, points), rtol=1e-9)
    assert torch.allclose(found.vectors @ found.vectors.T, torch.eye(2, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(found.origin + found.marks @ found.vectors, points, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda one: surface.random(one, scale="filters"), "directions is 'filters'"),
        (lambda one: surface.random(one, orthogonal="very"), "orthogonal is 'very'"),
        (lambda one: surface.random(one, biases="none"), "biases is 'none'"),
        (lambda one: surface.random(one, count=0), "count is 0"),
        (lambda one: surface.random(one, only="norm"), "Nothing is left for the directions to move"),
        (lambda one: surface.random(one, one.here[:-2]), "would end in dense.bias"),
        (lambda one: surface.through(one, one.here), "give two for a line"),
        (lambda one: surface.through(one, one.here, one.here + 1, one.here + 2), "Point 3 lies on"),
        (lambda one: surface.through(one, one.here, one.here), "Point 2 lies on"),
        (lambda one: surface.along(one, torch.stack([one.here, -2 * one.here])), "are parallel"),
        (lambda one: surface.along(one, torch.zeros_like(one.here)), "is zero or not finite"),
        (lambda one: surface.radial(one, torch.zeros_like(one.here)), "is zero in"),
        (lambda one: surface.join(), "different length"),
    ],
)
def test_misuse_is_told(landscape, make, said):
    with pytest.raises(lf.BadInput, match=said):
        make(landscape)
