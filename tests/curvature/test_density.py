"""Densities against exact spectra: moments, shares, bands, and what a basis already holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spectra import SPECTRA, Dense, bulk, with_spectrum

from landform.curvature import density, eigenpairs, krylov, shape
from landform.errors import BadInput


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SPECTRA)
def test_first_four_moments_within_their_errors(name: str, dtype: torch.dtype) -> None:
    values = SPECTRA[name]
    found = density(Dense(with_spectrum(values, dtype)), probes=24, steps=12, exact=False, seed=3)
    assert found.products == 24 * 12
    for order in (1, 2, 3, 4):
        moment = found.moment(order)
        assert abs(moment.value - np.mean(values**order)) < 3.5 * moment.standard_error
    assert abs(found.trace.value - values.sum()) < 3.5 * found.trace.standard_error


def test_coverage_of_the_error_of_a_moment() -> None:
    values = bulk([3.0, 2.0], size=200, width=0.5)
    H = Dense(with_spectrum(values))
    inside = 0
    for seed in range(60):
        moment = density(H, probes=10, steps=4, exact=False, seed=seed).moment(2)
        inside += abs(moment.value - np.mean(values**2)) < 2 * moment.standard_error
    assert 47 <= inside <= 60  # 55.6 expected of Student's t with 9 degrees of freedom


def test_each_probe_is_the_textbooks_quadrature() -> None:
    values = SPECTRA["outliers"]
    matrix = with_spectrum(values)
    basis = krylov(Dense(matrix), 15, seed=4)
    found = density(basis, steps=15)
    start = basis.basis[:, 0]
    for order in range(1, 30):
        # Gauss quadrature of 15 nodes is exact up to degree 29.
        power = start
        for _ in range(order):
            power = matrix @ power
        assert found.moment(order).value == pytest.approx(float(start @ power), rel=1e-7)
    assert found.products == 0
    assert math.isnan(found.moment(1).standard_error)


def test_exact_where_it_is_small() -> None:
    values = bulk([2.0, -1.0], size=100)
    found = density(Dense(with_spectrum(values)))
    assert found.exact
    np.testing.assert_allclose(found.nodes[0].numpy(), np.sort(values), atol=1e-10)
    assert found.negative.value == pytest.approx((values < 0).mean())
    assert found.negative.standard_error == 0
    assert float(found.band.max()) == 0
    assert density(Dense(torch.eye(2000)), probes=1, steps=5).exact is False


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("exact", [True, False])
def test_it_integrates_to_one_and_is_where_the_spectrum_is(scale: str, exact: bool) -> None:
    values = bulk([30.0, 4.0, -3.0], width=0.2)
    found = density(Dense(with_spectrum(values)), scale=scale, exact=exact, points=2000)
    grid = found.grid if scale == "linear" else torch.asinh(found.grid / found.linear)
    assert float(torch.trapezoid(found.density, grid)) == pytest.approx(1.0, abs=1e-3)
    assert bool((grid.diff() > 0).all())
    assert float(found.grid[0]) < -3
    assert float(found.grid[-1]) > 30


def test_shares_of_the_two_signs_and_of_the_outliers() -> None:
    values = np.concatenate([[20.0, -15.0], np.full(48, 0.5), np.full(150, -0.5), np.zeros(100)])
    found = density(Dense(with_spectrum(values)), probes=30, steps=6, exact=False)
    for share, truth in ((found.negative, 151 / 300), (found.positive, 49 / 300)):
        assert abs(share.value - truth) < 3 * share.standard_error
        assert share.standard_error < 0.05
    squares = values**2
    outliers = found.outliers(beyond=1.0)
    assert abs(outliers.value - squares[:2].sum() / squares.sum()) < 3 * outliers.standard_error + 0.02


def test_probes_as_a_block_are_the_same_probes() -> None:
    H = Dense(with_spectrum(SPECTRA["indefinite"]))
    alone, together = (density(H, probes=4, steps=10, exact=False, block=block) for block in (1, 3))
    np.testing.assert_allclose(alone.nodes.numpy(), together.nodes.numpy(), atol=1e-10)


def test_top_eigenpairs_at_no_further_product() -> None:
    H = Dense(with_spectrum(SPECTRA["outliers"]))
    found = density(H, probes=2, steps=64, exact=False, keep=True)
    assert len(found.bases) == 2
    pairs = eigenpairs(found.bases[0], 5)
    assert pairs.products == 0
    np.testing.assert_allclose(pairs.values.numpy(), [8, 5, 3, 2, 1.5], rtol=1e-3)
    longer = density(found.bases, steps=70)
    assert longer.products == 12


def test_shape_exact_and_estimated() -> None:
    values = bulk([8.0, 5.0, -2.5], size=200, width=0.3)
    H = Dense(with_spectrum(values))
    exact = shape(H)
    shares = np.abs(values) / np.abs(values).sum()
    truth = {
        "trace": values.sum(),
        "frobenius": np.sqrt((values**2).sum()),
        "ratio": values.sum() / np.sqrt((values**2).sum()),
        "positive": (values > 0).mean(),
        "negative": (values < 0).mean(),
        "participation": values.sum() ** 2 / (values**2).sum(),
        "effective_rank": np.exp(-(shares * np.log(shares)).sum()),
    }
    found = density(H, probes=40, steps=30, exact=False)
    estimated = shape(found)
    assert 0 < found.resolution() < 0.2
    below = [int((nodes < 1.0).sum()) - 1 for nodes in found.nodes]  # the nodes on the two sides of a place
    beside = [float(w[i : i + 2].max()) for w, i in zip(found.weights, below, strict=True)]
    assert found.resolution(1.0) == pytest.approx(np.mean(beside))
    assert found.resolution(-1e9) == pytest.approx(float(found.weights[:, 0].mean()))  # beyond the first
    assert estimated.products == 0
    for name, value in truth.items():
        assert getattr(exact, name).value == pytest.approx(value, rel=1e-8), name
        assert getattr(exact, name).standard_error == 0
        estimate = getattr(estimated, name)
        cut = found.resolution() if name in ("positive", "negative") else 0.01 * abs(value)
        assert abs(estimate.value - value) < 3 * estimate.standard_error + cut, name


@settings(max_examples=15)
@given(st.integers(0, 100), st.floats(-3, 3), st.floats(0.2, 5))
def test_moments_move_with_shift_and_scale(seed: int, shift: float, scale: float) -> None:
    matrix = with_spectrum(bulk([3.0, -2.0], size=80), seed=seed)
    plain = density(Dense(matrix), probes=3, steps=8, exact=False)
    moved = Dense(scale * matrix + shift * torch.eye(80, dtype=torch.float64))
    found = density(moved, probes=3, steps=8, exact=False)
    np.testing.assert_allclose(found.nodes.numpy(), scale * plain.nodes.numpy() + shift, atol=1e-8)
    np.testing.assert_allclose(found.weights.numpy(), plain.weights.numpy(), atol=1e-8)


def test_misuse() -> None:
    H = Dense(with_spectrum(SPECTRA["outliers"]))
    with pytest.raises(BadInput, match="scale is"):
        density(H, scale="cubic")
    with pytest.raises(BadInput, match="probes is 0"):
        density(H, probes=0)
    with pytest.raises(BadInput, match="at least one"):
        density([])
    with pytest.raises(BadInput, match="no quadrature"):
        density(krylov(H, 10, start=torch.ones(300)))
    with pytest.raises(BadInput, match="no Krylov basis"):
        density(["basis"])
    with pytest.raises(BadInput, match="positive"):
        density(H, width=-1.0)
    with pytest.raises(BadInput, match="NaN"):
        density(Dense(torch.full((5, 5), torch.nan)))
