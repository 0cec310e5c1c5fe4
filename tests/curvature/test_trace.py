"""Traces, diagonals and norms: unbiased, with errors that hold, for the products that were asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from spectra import SPECTRA, Dense, bulk, with_spectrum

from landform.curvature import diagonal, krylov, trace
from landform.curvature._xtrace import _each
from landform.errors import BadInput
from landform.layout import Layout

NETWORK_LIKE = np.concatenate(
    [[60.0, 34, 32, 17, 12, 10, -10], 0.5 * np.random.default_rng(0).normal(size=293) ** 2 - 0.05]
)


def three_layers() -> Layout:
    net = torch.nn.Sequential(torch.nn.Linear(10, 12), torch.nn.Linear(12, 10), torch.nn.Linear(10, 3))
    layout = Layout.of(net)
    assert layout.size == 295
    return layout


@pytest.mark.parametrize("method", ["auto", "hutchinson", "hutch++", "xtrace"])
@pytest.mark.parametrize("name", ["network", "flat"])
def test_coverage_of_the_standard_error(method: str, name: str) -> None:
    values = NETWORK_LIKE if name == "network" else np.random.default_rng(1).normal(size=300) ** 2
    H = Dense(with_spectrum(values, torch.float32))
    most = 60 if method == "hutch++" else 200
    z = []
    for seed in range(60):
        found = trace(H, method=method, tol=0.05, max_products=most, seed=seed)
        z.append((found.value - values.sum()) / found.standard_error)
    scores = np.abs(z)
    assert (scores < 2).mean() > 0.86  # 0.954 if it were Gaussian; the spread of 60 draws is 0.03
    assert (scores < 1).mean() > 0.5
    assert (scores < 1).mean() < 0.95  # nor is it much too large
    assert abs(np.mean(z)) < 0.5


def test_auto_takes_the_outliers_out() -> None:
    H = Dense(with_spectrum(NETWORK_LIKE, torch.float32))
    plain, auto = trace(H, method="hutchinson", max_products=300), trace(H)
    assert auto.converged
    assert auto.products < 0.3 * plain.products
    assert auto.deflated > 0
    assert auto.standard_error <= 0.02 * auto.value
    assert H.products == plain.products + auto.products


def test_a_basis_is_used_at_no_cost() -> None:
    H = Dense(with_spectrum(NETWORK_LIKE))
    basis = krylov(H, 40)
    found = trace(basis, tol=0.05)
    assert found.deflated >= 40
    assert found.products == H.products - 40
    assert abs(found.value - NETWORK_LIKE.sum()) < 3 * found.standard_error


def test_a_basis_of_the_whole_space_is_exact() -> None:
    H = Dense(with_spectrum(NETWORK_LIKE[:20]))
    found = trace(krylov(H, 20), method="hutchinson")
    assert found.value == pytest.approx(NETWORK_LIKE[:20].sum(), rel=1e-10)
    assert found.standard_error < 1e-8
    assert found.converged
    assert found.frobenius.value == pytest.approx(np.sqrt((NETWORK_LIKE[:20] ** 2).sum()), rel=1e-8)


def test_the_trace_of_a_diagonal_matrix_is_found_at_once() -> None:
    values = torch.linspace(1, 2, 50, dtype=torch.float64)
    found = trace(Dense(torch.diag(values)), method="hutchinson")
    assert found.value == pytest.approx(float(values.sum()), rel=1e-12)
    assert found.standard_error < 1e-6
    assert found.products <= 5


@pytest.mark.parametrize("method", ["auto", "hutchinson", "hutch++", "xtrace"])
def test_stopped_short_says_so(method: str) -> None:
    H = Dense(with_spectrum(SPECTRA["indefinite"]))
    found = trace(H, tol=1e-4, max_products=18, method=method)
    assert not found.converged
    assert found.products <= 18
    assert H.products == found.products
    assert "raise max_products" in found.status


def test_frobenius_norm_ratio_and_participation() -> None:
    values = NETWORK_LIKE
    found = trace(Dense(with_spectrum(values)), tol=0.005, max_products=250)
    truth = np.sqrt((values**2).sum())
    assert abs(found.frobenius.value - truth) < 3 * found.frobenius.standard_error + 1e-3 * truth
    assert found.ratio == pytest.approx(values.sum() / truth, rel=0.03)
    assert found.participation == pytest.approx(found.ratio**2)


@pytest.mark.parametrize("method", ["auto", "hutchinson", "hutch++"])
def test_layers_sum_to_the_trace_and_cover_theirs(method: str) -> None:
    layout = three_layers()
    matrix = with_spectrum(NETWORK_LIKE[:295])
    H = Dense(matrix, layout)
    inside, total = 0, 0
    for seed in range(12):
        found = trace(H, method=method, tol=0.03, max_products=60, seed=seed)
        assert found.layers is not None
        assert sum(e.value for e in found.layers.values()) == pytest.approx(found.value, rel=1e-8)
        for slot in layout.slots:
            estimate = found.layers[slot.name]
            truth = float(matrix.diagonal()[slot.start : slot.stop].sum())
            inside += abs(estimate.value - truth) < 2 * estimate.standard_error
            total += 1
    assert inside / total > 0.88


@pytest.mark.parametrize("with_basis", [False, True])
def test_diagonal_and_its_errors(with_basis: bool) -> None:
    matrix = with_spectrum(np.linspace(1, 5, 100)) + torch.diag(torch.linspace(0, 9, 100, dtype=torch.float64))
    H = Dense(matrix)
    found = diagonal(krylov(H, 30) if with_basis else H, tol=0.03, max_products=500)
    z = ((found.values - matrix.diagonal()) / found.standard_errors).abs()
    assert found.converged
    assert found.error <= 0.03
    assert float((z < 2).double().mean()) > 0.8
    true = float((found.values - matrix.diagonal()).norm() / matrix.diagonal().norm())
    assert 0.5 < true / found.error < 2.0


def test_xtrace_is_what_its_definition_says() -> None:
    """Each test vector's estimate against a plain loop that leaves it out."""
    H = with_spectrum(NETWORK_LIKE[:40])
    tests = torch.randn(40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tests *= 40**0.5 / tests.norm(dim=0)
    basis, _ = torch.linalg.qr(H @ tests)
    expected = []
    for i in range(5):
        others = [j for j in range(5) if j != i]
        Q, _ = torch.linalg.qr(H @ tests[:, others])
        out = tests[:, i] - Q @ (Q.T @ tests[:, i])
        out *= ((40 - 4) / (out @ out)) ** 0.5
        expected.append(float((Q.T @ H @ Q).trace() + out @ H @ out))
    np.testing.assert_allclose(_each(tests, H @ tests, basis, H @ basis).numpy(), expected, rtol=1e-8)


def test_low_rank_is_exact_by_xtrace() -> None:
    values = np.concatenate([[5.0, 3.0, 1.0], np.zeros(97)])
    found = trace(Dense(with_spectrum(values)), method="xtrace")
    assert found.value == pytest.approx(9.0, rel=1e-8)
    assert found.standard_error == 0
    assert found.converged


def test_seeded() -> None:
    H = Dense(with_spectrum(NETWORK_LIKE))
    assert trace(H, seed=1).value == trace(H, seed=1).value
    assert trace(H, seed=1).value != trace(H, seed=2).value


def test_misuse() -> None:
    H = Dense(with_spectrum(bulk([1.0], size=20)))
    with pytest.raises(BadInput, match="method is"):
        trace(H, method="hutch")
    with pytest.raises(BadInput, match="tol is"):
        trace(H, tol=0.0)
    with pytest.raises(BadInput, match="max_products"):
        trace(H, max_products=0)
    with pytest.raises(BadInput, match="its own subspace"):
        trace(krylov(H, 5), method="xtrace")
    with pytest.raises(BadInput, match="NaN"):
        trace(Dense(torch.full((5, 5), torch.nan)))
