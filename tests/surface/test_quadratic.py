"""The surface to second order, against finite differences and the dense Hessian."""

import math

import pytest
import torch
from torch import nn

import landform as lf
from landform import surface


def _landscape(*layers, **settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), *layers, nn.Tanh(), nn.Linear(4, 3))
    data = (torch.randn(24, 5), torch.arange(24) % 3)
    return lf.Landscape(model, data, device="cpu", dtype=torch.float64, **settings)


@pytest.mark.parametrize("directions", ["filter", "gaussian"])
def test_derivatives_are_those_of_the_surface(directions):
    landscape = _landscape(weight_decay=0.1)
    step = 1e-3
    plane = surface.plane(landscape, directions=directions, extent=step, steps=3)
    found = surface.quadratic(landscape, plane)
    z = plane.losses
    assert found.value == plane.centre_loss
    slopes = [(z[2, 1] - z[0, 1]) / (2 * step), (z[1, 2] - z[1, 0]) / (2 * step)]
    assert found.slopes.tolist() == pytest.approx([float(s) for s in slopes], rel=1e-4)
    bends = [[z[2, 1] - 2 * z[1, 1] + z[0, 1], (z[2, 2] - z[2, 0] - z[0, 2] + z[0, 0]) / 4]]
    bends += [[bends[0][1], z[1, 2] - 2 * z[1, 1] + z[1, 0]]]
    assert torch.allclose(found.curvature, torch.tensor(bends).double() / step**2, rtol=1e-3, atol=1e-4)
    assert torch.allclose(found.on(plane), z, atol=1e-7)


def test_principal_curvatures_are_those_of_steps_of_length_one():
    landscape = _landscape()
    torch.manual_seed(1)
    skewed = torch.randn(2, landscape.layout.size).double() * torch.tensor([[1.0], [7.0]])
    plane = surface.plane(landscape, directions=skewed, steps=3)
    found = surface.quadratic(landscape, plane)
    steps = found.axes @ plane.directions
    assert torch.allclose(steps @ steps.T, torch.eye(2).double(), atol=1e-9)
    whole = landscape.hessian(landscape.here).dense()
    assert torch.allclose(steps @ whole @ steps.T, torch.diag(found.principal), atol=1e-9)
    basis = torch.linalg.qr(skewed.T).Q
    assert torch.allclose(torch.linalg.eigvalsh(basis.T @ whole @ basis).flip(0), found.principal)


def test_a_quadratic_loss_is_foretold_everywhere():
    model = nn.Linear(3, 2)
    data = (torch.randn(12, 3), torch.randn(12, 2))
    landscape = lf.Landscape(model, data, loss="mse", device="cpu", dtype=torch.float64)
    plane = surface.plane(landscape, extent=5.0, steps=7)
    found = surface.quadratic(landscape, plane)
    assert torch.allclose(found.on(plane), plane.losses)
    assert found.radius(plane, 1e-6) == math.inf
    assert "curvatures" in str(found)
    bent = _landscape()
    far = surface.plane(bent, extent=20.0, steps=41)
    radius = surface.quadratic(bent, far).radius(far)
    assert 0 < radius < 20 * float(far.basis.norms.max())
    line = surface.line(bent, directions=far.basis, steps=5)
    assert torch.allclose(surface.quadratic(bent, line).curvature, surface.quadratic(bent, far).curvature[:1, :1])


def test_statistics_held_at_the_centre_are_said():
    recomputed = _landscape(nn.BatchNorm1d(4))
    kept = _landscape(nn.BatchNorm1d(4), batchnorm="keep")
    for landscape, fixed in ((recomputed, True), (kept, False)):
        found = surface.quadratic(landscape, surface.plane(landscape, steps=3))
        assert found.fixed_statistics is fixed
        assert ("held at the centre's" in str(found)) is fixed


def test_a_surface_of_another_model_is_refused():
    plane = surface.plane(_landscape(), steps=3)
    other = lf.Landscape(nn.Linear(5, 3), (torch.randn(6, 5), torch.arange(6) % 3), device="cpu")
    with pytest.raises(lf.BadInput, match="another model"):
        surface.quadratic(other, plane)
