"""Eigenvectors of the Hessian and principal components, against dense algebra."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import landform as lf
from landform import surface


def _net(hidden):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 3))
    data = (torch.randn(30, 6), torch.arange(30) % 3)
    return lf.Landscape(model, data, device="cpu", dtype=torch.float64)


@pytest.mark.parametrize("hidden", [4, 30])  # the whole matrix, and ARPACK
@pytest.mark.parametrize("smallest", [False, True])
def test_eigenvectors_are_those_of_the_whole_matrix(hidden, smallest):
    landscape = _net(hidden)
    point = landscape.here
    whole = torch.autograd.functional.hessian(lambda p: _loss(landscape, p), point)
    values = torch.linalg.eigvalsh(whole)
    wanted = values[:2] if smallest else values.flip(0)[:2]
    found = surface.hessian(landscape, point, smallest=smallest, tol=1e-8)
    assert torch.allclose(found.values, wanted, rtol=1e-5, atol=1e-9)
    for value, row in zip(found.values, found.vectors, strict=True):
        assert torch.allclose(whole @ row, value * row, atol=1e-4)
        assert row[row.abs().argmax()] > 0
    assert found.norms.tolist() == pytest.approx([1.0, 1.0])
    assert found.angle == pytest.approx(90.0, abs=1e-4)
    assert f"{float(found.values[0]):.4g}" in str(found)
    again = surface.hessian(landscape, point, smallest=smallest, tol=1e-8)
    assert torch.equal(found.vectors, again.vectors)


def _loss(landscape, point):
    """The loss written out, for autograd."""
    inputs, targets = landscape._data.inputs, landscape._data.targets
    views = landscape.layout.views(point)
    hidden = (inputs @ views["0.weight"].T + views["0.bias"]).tanh()
    return torch.nn.functional.cross_entropy(hidden @ views["2.weight"].T + views["2.bias"], targets)


def test_too_few_products_are_told():
    with pytest.raises(lf.BadInput, match="did not converge"):
        surface.hessian(_net(30), count=5, smallest=True, tol=1e-14, most=1)
    with pytest.raises(lf.BadInput, match="has no 500 eigenvectors"):
        surface.hessian(_net(4), count=500)


@given(seed=st.integers(0, 1000), n=st.integers(4, 9), about=st.sampled_from(["last", "mean"]))
def test_principal_components_are_those_of_the_singular_values(seed, n, about):
    landscape = _net(4)
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(n, landscape.layout.size, generator=generator, dtype=torch.float64).cumsum(0)
    found = surface.principal(landscape, points, about=about, memory=3 * 16 * landscape.layout.size)
    origin = points[-1] if about == "last" else points.mean(0)
    _, sizes, rows = torch.linalg.svd(points - origin, full_matrices=False)
    assert torch.allclose(found.shares, sizes[:2].square() / sizes.square().sum())
    assert torch.allclose((found.vectors @ rows[:2].T).abs(), torch.eye(2, dtype=torch.float64), atol=1e-7)
    assert torch.allclose(found.origin, origin)
    assert torch.allclose(found.marks, (points - origin) @ found.vectors.T, atol=1e-9)
    assert bool((found.marks[0] <= 0).all())


def test_a_plane_of_components_shows_its_trajectory(tmp_path):
    data = lf.data.clusters(per_class=10)
    model = lf.models.build("mlp", inputs=tuple(data.train.inputs.shape[1:]), classes=data.classes, width=6)
    run = lf.train(model, data, lf.Recipe(epochs=3, batch_size=10, lr=0.1), out=tmp_path / "run", device="cpu")
    landscape = lf.Landscape(model, data, device="cpu")
    found = surface.principal(landscape, run.trajectory.points)
    plane = surface.plane(landscape, directions=found, steps=5)
    shown = plane.project(run.trajectory.points)
    assert torch.allclose(shown.coordinates, found.marks, atol=1e-4)
    assert shown.share == pytest.approx(float(found.shares.sum()), abs=1e-4)
    assert float(plane.alphas[0]) < float(found.marks[:, 0].min())
    assert "of the squared distance from the last" in str(found)


def test_a_random_walk_has_the_shares_that_the_note_names():
    landscape = _net(30)
    steps = torch.randn(400, landscape.layout.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = surface.principal(landscape, steps.cumsum(0), about="mean").shares
    assert shares.tolist() == pytest.approx([6 / math.pi**2, 1.5 / math.pi**2], abs=0.03)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (lambda size: torch.zeros(1, size), "1 point cannot span 2 directions"),
        (lambda size: torch.ones(4, size), "at one place"),
        (lambda size: torch.arange(5.0)[:, None].expand(5, size), "on fewer axes"),
        (lambda size: torch.zeros(4, size - 1), "A point of this model is"),
        (lambda size: torch.full((4, size), math.nan), "Point 0 holds NaN"),
    ],
)
def test_points_that_span_no_plane_are_refused(points, said):
    landscape = _net(4)
    with pytest.raises(lf.BadInput, match=said):
        surface.principal(landscape, points(landscape.layout.size))
