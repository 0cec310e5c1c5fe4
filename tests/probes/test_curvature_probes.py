"""Curvature along a run against dense Hessians taken record by record."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

import landform as lf
from landform.probes import get
from landform.report import draw, figures, gather


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    return torch.randn(60, 5, generator=made, dtype=torch.float64), torch.randint(0, 3, (60,), generator=made)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def run_of(folder: Path, **recipe) -> lf.Trajectory:
    lf.train(net(), pair(), lf.Recipe(epochs=3, batch_size=20, **recipe), out=folder, device="cpu",
             recording=lf.Recording(at=3))  # fmt: skip
    return lf.Trajectory(folder)


def dense(landscape: lf.Landscape, point: torch.Tensor) -> torch.Tensor:
    """The Hessian by differentiating a plain forward pass twice."""
    views, x, y = landscape.layout, *pair()

    def loss(p: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(torch.func.functional_call(net(), views.views(p), (x,)), y)

    return torch.autograd.functional.hessian(loss, point)


def test_eigenvalues_trace_and_confinement_equal_the_dense_hessian(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", lr=0.2)
    landscape = lf.Landscape(net(), pair(), device="cpu")
    probes = [get("eigenvalues").using(k=4, tol=1e-6), get("trace").using(tol=0.01, max_products=3000), get("density")]
    atlas = lf.survey(run, landscape, probes=probes)
    values, errors = atlas["eigenvalues"], atlas["eigenvalue_errors"].values
    for i, step in enumerate(values.coords["step"]):
        point = run.at(step=int(step)).point
        spectrum, vectors = torch.linalg.eigh(dense(landscape, point))
        top = torch.tensor(values.values[i].copy())
        torch.testing.assert_close(top, spectrum.flip(0)[:4], rtol=1e-5, atol=1e-8)
        assert (errors[i] <= 1e-5 * top[0].item() + 1e-8).all()
        gradient = landscape.gradient(point)
        inside = (vectors.flip(1)[:, :4].T @ gradient).square().cumsum(0) / gradient.square().sum()
        torch.testing.assert_close(
            torch.tensor(atlas["gradient_in_top"].values[i].copy()), inside, rtol=1e-3, atol=1e-3
        )
    for i, step in enumerate(atlas["trace"].coords["step"]):
        exact = dense(landscape, run.at(step=int(step)).point).diagonal().sum().item()
        assert abs(atlas["trace"].values[i] - exact) <= max(4 * atlas["trace_error"].values[i], 1e-6)
    for row, grid in zip(atlas["density"].values, atlas["density_grid"].values, strict=True):
        assert torch.trapezoid(torch.tensor(row.copy()), torch.tensor(grid.copy())).item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ({"lr": 0.2, "momentum": 0.0}, 2 / 0.2),
        ({"lr": 0.2, "momentum": 0.9}, (2 + 2 * 0.9) / 0.2),
        ({"lr": 0.01, "optimizer": "adam"}, (2 + 2 * 0.9) / (0.01 * (1 - 0.9))),
    ],
    ids=["gradient descent", "heavy ball", "adam"],
)
def test_the_threshold_is_the_optimisers(tmp_path: Path, recipe, expected: float) -> None:
    run = run_of(tmp_path / "run", **recipe)
    landscape = lf.Landscape(net(), pair(), device="cpu")
    atlas = lf.survey(run, landscape, probes=[get("sharpness").using(tol=1e-6)])
    sharp, edge = atlas["sharpness"].values, atlas["stability_threshold"].values
    assert edge[-1] == pytest.approx(expected, rel=1e-6)
    assert atlas["stability_ratio"].values[-1] == pytest.approx(sharp[-1] / edge[-1])
    hessian = dense(landscape, run.points[-1])
    if "optimizer" not in recipe:
        assert sharp[-1] == pytest.approx(torch.linalg.eigvalsh(hessian)[-1].item(), rel=1e-5)


def test_a_users_own_loop_is_known_by_its_optimiser(tmp_path: Path) -> None:
    model, (x, y) = net(), pair()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    with lf.Recorder(tmp_path / "run", model, optimizer, epoch=1, at=2) as recorder:
        for _ in range(6):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            recorder.step()
    atlas = lf.survey(tmp_path / "run", lf.Landscape(model, (x, y), device="cpu"), probes=[get("sharpness")])
    assert atlas["stability_threshold"].values[-1] == pytest.approx((2 + 2 * 0.5) / 0.1)
    assert math.isfinite(atlas["sharpness"].values[0])


def test_a_diverged_run_leaves_gaps_and_figures_are_drawn(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", lr=1e200, weight_decay=1.0)
    landscape = lf.Landscape(net(), pair(), device="cpu")
    atlas = lf.survey(run, landscape, probes=[get(n) for n in ("eigenvalues", "sharpness", "trace", "density")])
    assert math.isnan(atlas["sharpness"].values[-1])
    assert not math.isnan(atlas["sharpness"].values[0])
    made = {figure.name: figure for figure in figures(gather(atlas))}
    assert {"sharpness", "eigenvalues", "gradient-in-top", "trace", "density"} <= made.keys()
    assert [series.name for series in made["sharpness"].series][-1] == "threshold"
    assert len(made["eigenvalues"].series) == 5
    assert draw(made["density"]).startswith(b"\x89PNG")
