"""Sharpness, radius, stability and inverse products where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from spectra import Dense, bulk, with_spectrum
from torch import Tensor, nn

from landform.curvature import (
    Preconditioned,
    adam_denominator,
    average_sharpness,
    radius_curvature,
    sam_sharpness,
    solve,
    stability,
    threshold,
)
from landform.errors import BadInput
from landform.landscape import Landscape

CURVATURES = torch.tensor([4.0, 1.0, 0.5, 0.1], dtype=torch.float64)


def quadratic() -> Landscape:
    """Loss ``sum c_i w_i^2 / 2``: a linear layer of one output on scaled unit vectors, squared error."""
    net = nn.Linear(4, 1, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.1, 0.2, -0.3, 1.0]]))
    inputs = torch.diag((2 * CURVATURES).sqrt())
    return Landscape(net, (inputs, torch.zeros(4, 1).double()), loss="mse", device="cpu")


def test_sam_on_a_quadratic() -> None:
    landscape = quadratic()
    minimum = torch.tensor([1e-9, 1e-6, 1e-6, 1e-6], dtype=torch.float64)
    found = sam_sharpness(landscape, minimum, radius=0.5, steps=60)
    # In a ball around the minimum the worst direction is the top eigenvector.
    top = float(landscape.loss(torch.tensor([0.5, 0.0, 0.0, 0.0]).double()))
    assert found.value == pytest.approx(top, rel=1e-3)
    assert found.first <= found.value
    assert float(found.direction.norm()) == pytest.approx(0.5, rel=1e-6)
    assert found.gradients == 60


def test_sam_first_step_is_along_the_gradient() -> None:
    landscape = quadratic()
    here, slope = landscape.here, landscape.gradient(landscape.here)
    expected = float(landscape.loss(here + 0.05 * slope / slope.norm()) - landscape.loss(here))
    assert sam_sharpness(landscape, here, radius=0.05, steps=1).value == pytest.approx(expected, rel=1e-9)
    scaled = slope * here.abs()
    step = 0.05 * here.abs() * scaled / scaled.norm()
    adaptive = float(landscape.loss(here + step) - landscape.loss(here))
    assert sam_sharpness(landscape, here, radius=0.05, adaptive=True, steps=1).value == pytest.approx(adaptive)


def test_average_sharpness_of_a_quadratic() -> None:
    landscape = quadratic()
    here = landscape.here
    found = average_sharpness(landscape, here, radius=0.3, directions=200)
    # The one filter: a random direction of the point's own norm.
    hessian = torch.autograd.functional.hessian(lambda w: 0.25 * (2 * CURVATURES * w**2).sum(), here)
    expected = 0.5 * 0.3**2 * float(here.square().sum()) * float(hessian.trace()) / 4
    assert abs(found.value.value - expected) < 3 * found.value.standard_error
    assert found.rises.shape == (200,)


def test_radius_on_a_quadratic_does_not_matter_and_on_kinks_does() -> None:
    landscape = quadratic()
    H = torch.diag(CURVATURES)
    direction = torch.tensor([1.0, 2.0, 0.0, -1.0]).double()
    found = radius_curvature(landscape, landscape.here, direction, Dense(H), radii=(1e-2, 1.0, 10.0))
    exact = float(direction @ H @ direction / direction.square().sum())
    assert found.exact == pytest.approx(exact)
    np.testing.assert_allclose(found.slopes.numpy(), exact, rtol=1e-9)
    np.testing.assert_allclose(found.seconds.numpy(), exact, rtol=1e-6)

    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU()).double()
    with torch.no_grad():
        net[0].weight.fill_(0.1)
    kinked = Landscape(net, (torch.ones(1, 1).double(), -torch.ones(1, 1).double()), loss="mse", device="cpu")
    found = radius_curvature(
        kinked, kinked.here, torch.ones(1), Dense(2 * torch.eye(1, dtype=torch.float64)), radii=(0.05, 0.5)
    )
    assert float(found.slopes[0]) == pytest.approx(2.0)  # the smooth piece: (w + 1)^2
    assert float(found.slopes[1]) == pytest.approx(2 * 1.6)  # beyond the kink the slope is 0: (2 * 1.6 - 0) / (2 * 0.5)


def diverges(step: object, dimension: int = 1, steps: int = 4000) -> bool:
    w, state = 1.0, [0.0, 0.0]
    for _ in range(steps):
        w, state = step(w, state)  # type: ignore[operator]
        if abs(w) > 1e3:
            return True
    return abs(w) > 1.0


@pytest.mark.parametrize("factor", [0.99, 1.01])
@pytest.mark.parametrize("rule", ["plain", "heavy ball", "nesterov", "adam"])
def test_thresholds_are_where_a_quadratic_diverges(rule: str, factor: float) -> None:
    lr, m = 0.1, 0.9
    limits = {
        "plain": threshold("sgd", lr),
        "heavy ball": threshold("sgd", lr, momentum=m),
        "nesterov": threshold("sgd", lr, momentum=m, nesterov=True),
        "adam": threshold("adam", lr, beta1=m),
    }
    curvature = factor * limits[rule]

    def step(w: float, state: list[float]) -> tuple[float, list[float]]:
        g = curvature * w
        if rule == "plain":
            return w - lr * g, state
        if rule == "adam":  # its preconditioner held at 1
            average = m * state[0] + (1 - m) * g
            return w - lr * average, [average, 0.0]
        velocity = m * state[0] + g
        return w - lr * (g + m * velocity if rule == "nesterov" else velocity), [velocity, 0.0]

    assert diverges(step) is (factor > 1)


def test_stability_report() -> None:
    H = Dense(with_spectrum(bulk([12.0, 5.0], size=100)))
    report = stability(H, lr=0.15, momentum=0.9)
    assert report.threshold == pytest.approx(3.8 / 0.15)
    assert report.sharpness == pytest.approx(12.0, rel=0.01)
    assert report.stable
    assert not stability(H, lr=0.2).stable
    warm = stability(H, lr=0.15, start=report.pairs.vectors)
    assert warm.products < report.products


def test_adam_sees_the_preconditioned_hessian() -> None:
    H = Dense(with_spectrum(bulk([12.0, 5.0], size=60)))
    second = torch.rand(60, generator=torch.Generator().manual_seed(0)).double() + 0.1
    denominator = adam_denominator(second, step=10)
    truth = torch.linalg.eigvals(H.matrix / denominator[:, None]).real.max()
    report = stability(H, lr=0.01, optimizer="adam", state={"exp_avg_sq": second}, step=10, tol=1e-6)
    assert report.sharpness == pytest.approx(float(truth), rel=1e-5)
    assert report.threshold == pytest.approx(3800.0)
    wrapped = Preconditioned(H, denominator)
    block = torch.eye(60, dtype=torch.float64)[:, :3]
    np.testing.assert_allclose((wrapped @ block).numpy(), wrapped.dense()[:, :3].numpy(), atol=1e-12)


def test_adam_denominator_is_torchs() -> None:
    parameter = nn.Parameter(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    optimizer = torch.optim.Adam([parameter], lr=0.1)
    for _ in range(3):
        before = parameter.detach().clone()
        parameter.grad = parameter.detach() ** 2
        optimizer.step()
    state = optimizer.state[parameter]
    expected = 0.1 * state["exp_avg"] / adam_denominator(state["exp_avg_sq"], step=3)
    np.testing.assert_allclose((before - parameter.detach()).numpy(), expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_solve(dtype: torch.dtype) -> None:
    matrix = with_spectrum(np.linspace(0.5, 20, 80), dtype)
    b = torch.randn(80, generator=torch.Generator().manual_seed(0), dtype=dtype)
    H = Dense(matrix)
    found = solve(H, b, damping=0.5, tol=1e-4)
    truth = torch.linalg.solve(matrix.double() + 0.5 * torch.eye(80), b.double())
    assert found.converged
    assert found.products == H.products
    np.testing.assert_allclose(found.vector.double().numpy(), truth.numpy(), atol=1e-3)
    again = solve(H, b, damping=0.5, tol=1e-4, start=found.vector)
    assert again.products <= 4
    assert solve(H, torch.zeros(80)).residual == 0.0


def test_solve_says_when_it_cannot() -> None:
    H = Dense(with_spectrum(bulk([5.0, -5.0], size=60)))
    found = solve(H, torch.ones(60))
    assert not found.converged
    assert "not positive definite" in found.status
    short = solve(Dense(with_spectrum(np.linspace(1e-3, 20, 80))), torch.ones(80), max_products=5)
    assert not short.converged
    assert short.products <= 5


def test_misuse() -> None:
    landscape, H = quadratic(), Dense(torch.eye(4, dtype=torch.float64))
    bad: list[tuple[str, object]] = [
        ("radius is", lambda: sam_sharpness(landscape, landscape.here, radius=0.0)),
        ("directions is", lambda: average_sharpness(landscape, landscape.here, directions=1)),
        ("direction is zero", lambda: radius_curvature(landscape, landscape.here, torch.zeros(4), H)),
        ("damping is", lambda: solve(H, torch.ones(4), damping=-1.0)),
        (r"\[4\]", lambda: solve(H, torch.ones(3))),
        ("not known", lambda: threshold("lion", 0.1)),
        ("positive learning rate", lambda: threshold("sgd", 0.0)),
        ("less than 1", lambda: threshold("sgd", 0.1, momentum=1.0)),
        ("second moment", lambda: stability(H, lr=0.1, optimizer="adam")),
        ("first step", lambda: adam_denominator(torch.ones(4), step=0)),
        ("positive everywhere", lambda: Preconditioned(H, torch.zeros(4))),
    ]
    for said, call in bad:
        with pytest.raises(BadInput, match=said):
            call()  # type: ignore[operator]


def test_points_are_left_alone() -> None:
    landscape = quadratic()
    before: Tensor = landscape.here
    sam_sharpness(landscape, before, steps=2)
    average_sharpness(landscape, before, directions=2)
    assert torch.equal(before, landscape.here)
