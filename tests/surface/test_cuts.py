"""Cuts and tunnel widths, against closed forms and plain loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import landform as lf
from landform import surface


def _bowl(size, stretch=1.0):
    """The loss of this model is the squared distance of its weights from (0, ..., 0, stretch) by `stretch`, doubled."""
    model = nn.Linear(size, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()
        model.weight[0, -1] = stretch
    inputs = torch.eye(size).double() * size**0.5 / stretch
    targets = inputs @ model.weight.detach().double().T
    return lf.Landscape(model, (inputs, targets), loss="mse", device="cpu", dtype=torch.float64)


@given(size=st.integers(2, 30), threshold=st.floats(1e-4, 50), stretch=st.floats(0.1, 10), seed=st.integers(0, 99))
def test_the_tunnel_of_a_round_bowl_is_as_wide_as_the_bowl(size, threshold, stretch, seed):
    landscape = _bowl(size, stretch)
    found = surface.tunnel(landscape, threshold=threshold, count=3, tol=1e-4, seed=seed)
    radius = threshold**0.5  # in units of the norm of the weights, which is also that of the one filter
    assert torch.allclose(found.relative, torch.full((3, 2), radius).double(), rtol=2e-4)
    assert torch.allclose(found.filter, found.relative, rtol=1e-12)
    assert torch.allclose(found.raw, found.relative * stretch)
    assert found.width("raw") == pytest.approx(2 * radius * stretch, rel=2e-4)
    assert found.reached("filter") == 1.0


def _net(**settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    return lf.Landscape(
        model, (torch.randn(20, 4), torch.arange(20) % 3), device="cpu", dtype=torch.float64, **settings
    )


@pytest.mark.parametrize("measure", ["loss", "error"])
def test_walls_are_where_a_fine_walk_finds_them(measure):
    landscape = _net()
    threshold = 1.6 if measure == "loss" else 0.8
    found = surface.tunnel(landscape, threshold=threshold, measure=measure, count=4, tol=1e-5, seed=1)
    measured = getattr(landscape, measure)
    here = landscape.here
    for scale, walls, keep in (("model", found.relative, "keep"), ("filter", found.filter, "zero")):
        for cut, one in enumerate(_seeds(1, 4)):
            row = surface.random(landscape, here, 1, scale=scale, biases=keep, norms=keep, seed=one).vectors[0]
            for side, sign in ((0, -1.0), (1, 1.0)):
                at = torch.linspace(0, 10, 4001).double()
                up = (measured(here + sign * at[:, None] * row) > threshold).nonzero()
                wall = float(walls[cut, side])
                if measure == "loss":  # no wall of this loss is so thin that it is missed
                    assert wall == (pytest.approx(float(at[up[0, 0]]), abs=10 / 4000) if len(up) else math.inf)
                elif wall < math.inf:  # errors go up and down by single samples: it is some wall, not before the first
                    assert wall > float(at[up[0, 0] - 1])
                    inside, outside = (float(measured(here + sign * wall * by * row)) for by in (1 - 1e-4, 1 + 1e-4))
                    assert inside <= threshold < outside


def _seeds(seed, count):
    generator = torch.Generator().manual_seed(seed)
    return [int(torch.randint(2**62, (1,), generator=generator)) for _ in range(count)]


def test_a_net_whose_layers_are_rescaled_has_the_same_width_by_filters_alone():
    landscape, here = _net(), _net().here
    views = {name: view.clone() for name, view in landscape.layout.views(here).items()}
    for name, factor in (("0.weight", 5.0), ("0.bias", 5.0), ("2.weight", 0.2)):
        views[name] *= factor
    other = landscape.layout.join(views)
    assert torch.allclose(landscape.outputs(here), landscape.outputs(other))
    a, b = (surface.tunnel(landscape, point, threshold=1.5, count=5) for point in (here, other))
    assert torch.allclose(a.filter, b.filter, rtol=1e-2)
    assert not torch.allclose(a.raw, b.raw, rtol=0.5)
    assert not torch.allclose(a.relative, b.relative, rtol=0.2)


def test_a_cut_that_never_reaches_the_threshold_says_so():
    found = surface.tunnel(_bowl(3), threshold=1.0, reach=0.5, count=3)
    assert found.raw.isinf().all()
    assert found.width() == math.inf
    assert found.reached("relative") == 0.0
    assert "100% of the plain sides never reach it within 0.5" in str(found)


def test_what_is_no_number_is_a_wall():
    class Log(nn.Linear):
        def forward(self, x):
            return super().forward(x).log()

    model = Log(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    landscape = lf.Landscape(model, (torch.ones(2, 1), torch.zeros(2, 1)), loss="mse", device="cpu")
    found = surface.tunnel(landscape, threshold=100.0, count=1, reach=5.0)
    assert sorted(found.relative[0].tolist()) == pytest.approx([1.0, math.inf], rel=2e-3)


def test_many_cuts_begin_as_few_and_memory_changes_nothing():
    landscape = _net()
    few = surface.tunnel(landscape, threshold=1.5, count=2)
    many = surface.tunnel(landscape, threshold=1.5, count=5, memory=8 * landscape.layout.size)
    assert torch.allclose(few.filter, many.filter[:2])
    assert torch.allclose(few.raw, many.raw[:2])
    assert few.passes < many.passes


def test_cuts_are_lines_of_the_landscape():
    landscape = _net()
    seen = []
    found = surface.cuts(landscape, count=3, steps=5, extent=0.5, seed=2, progress=lambda *now: seen.append(now))
    assert found.losses.shape == found.errors.shape == (3, 5)
    assert found.alphas.tolist() == [-0.5, -0.25, 0.0, 0.25, 0.5]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for i, one in enumerate(_seeds(2, 3)):
        row = surface.random(landscape, count=1, seed=one).vectors[0]
        assert float(found.norms[i]) == pytest.approx(float(row.norm()))
        for j, alpha in enumerate(found.alphas):
            assert float(found.losses[i, j]) == pytest.approx(float(landscape.loss(landscape.here + alpha * row)))
    assert len(set(found.losses[:, 0].tolist())) == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"threshold": 0.1}, "above the threshold 0.1"),
        ({"threshold": math.nan}, "above the threshold nan"),
        ({"threshold": 2.0, "count": 0}, "count is 0"),
        ({"threshold": 2.0, "measure": "both"}, "measure is 'both'"),
        ({"threshold": 2.0, "tol": 0.0}, "tol is 0.0"),
        ({"threshold": 2.0, "point": torch.zeros(3)}, "has 3 numbers"),
    ],
)
def test_misuse_is_told(settings, said):
    with pytest.raises(lf.BadInput, match=said):
        surface.tunnel(_net(), **settings)
