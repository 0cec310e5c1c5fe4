"""Layers and subspaces against the dense matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spectra import Dense, bulk, with_spectrum

from landform.curvature import (
    by_module,
    confinement,
    coupling,
    coupling_of,
    eigenpairs,
    layer_shares,
    layers_of,
    overlap,
    trace,
)
from landform.errors import BadInput
from landform.layout import Layout

LAYOUT = Layout.of(torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Linear(8, 5), torch.nn.Linear(5, 2)))
MATRIX = with_spectrum(bulk([9.0, 6.0, 4.0, -3.0], size=LAYOUT.size))


def blocks(matrix: np.ndarray) -> np.ndarray:
    groups = list(layers_of(LAYOUT).values())
    spans = [(slots[0].start, slots[-1].stop) for slots in groups]
    return np.array([[(matrix[a:b, c:d] ** 2).sum() for c, d in spans] for a, b in spans])


def test_shares_sum_to_one_and_are_the_plain_ones() -> None:
    pairs = eigenpairs(Dense(MATRIX), 3)
    names, shares = layer_shares(pairs, LAYOUT)
    assert names == ("0", "1", "2")
    np.testing.assert_allclose(shares.sum(0).numpy(), 1.0)
    first = float((pairs.vectors[:56] ** 2).sum(0)[0])
    assert float(shares[0, 0]) == pytest.approx(first)
    names, shares = layer_shares(pairs.vectors[:, 0], LAYOUT, by="parameter")
    assert names == LAYOUT.names
    assert float(shares.sum()) == pytest.approx(1.0)


def test_coupling_of_eigenpairs_is_that_of_their_matrix() -> None:
    pairs = eigenpairs(Dense(MATRIX), 2, which="both", tol=1e-8)
    low = (pairs.vectors * pairs.values) @ pairs.vectors.T
    found = coupling_of(pairs, LAYOUT)
    np.testing.assert_allclose(found.squares.numpy(), blocks(low.numpy()), atol=1e-8)
    assert found.products == 0


def test_coupling_by_probes_covers_the_truth() -> None:
    found = coupling(Dense(MATRIX, LAYOUT), probes=40)
    truth = torch.from_numpy(blocks(MATRIX.numpy()))
    assert found.products == 120
    assert bool(((found.squares - truth).abs() < 4 * found.standard_errors).all())
    assert found.across == pytest.approx(1 - float(truth.diagonal().sum() / truth.sum()), abs=0.1)
    assert bool((found.cosines.diagonal() - 1).abs().max() < 1e-9)


def test_layers_of_a_trace_as_modules() -> None:
    found = trace(Dense(MATRIX, LAYOUT), tol=0.01)
    assert found.layers is not None
    modules = by_module(found.layers)
    assert list(modules) == ["0", "1", "2"]
    assert sum(e.value for e in modules.values()) == pytest.approx(found.value)


def test_confinement() -> None:
    pairs = eigenpairs(Dense(MATRIX), 3, tol=1e-10)
    inside, gradient = pairs.vectors @ torch.ones(3, dtype=torch.float64), torch.randn(2, LAYOUT.size).double()
    assert float(confinement(inside, pairs).total) == pytest.approx(1.0)
    found = confinement(gradient, pairs)
    assert found.shares.shape == (2, 3)
    expected = (gradient[1] @ pairs.vectors).square().sum() / gradient[1].square().sum()
    assert float(found.total[1]) == pytest.approx(float(expected))
    assert float(found.cumulative[1, -1]) == pytest.approx(float(expected))
    skewed = pairs.vectors @ torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double()
    np.testing.assert_allclose(confinement(gradient, skewed).total.numpy(), found.total.numpy(), rtol=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 5))
def test_overlap_by_projectors(seed: int, k: int, j: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(12, n, generator=draw, dtype=torch.float64) for n in (k, j))
    P, Q = (m @ torch.linalg.pinv(m) for m in (a, b))
    expected = float((P @ Q).trace() / (P.trace() * Q.trace()).sqrt())
    assert overlap(a, b) == pytest.approx(expected, abs=1e-10)
    assert overlap(a, b) == pytest.approx(overlap(b, a))
    assert overlap(a, 3 * a) == pytest.approx(1.0)


def test_misuse() -> None:
    with pytest.raises(BadInput, match="by is"):
        layers_of(LAYOUT, "block")
    with pytest.raises(BadInput, match="no layout"):
        coupling(Dense(MATRIX))
    with pytest.raises(BadInput, match="entries"):
        layer_shares(torch.ones(5), LAYOUT)
    with pytest.raises(BadInput, match="entries"):
        coupling_of(eigenpairs(Dense(MATRIX[:5, :5]), 1), LAYOUT)
    with pytest.raises(BadInput, match="shape"):
        confinement(torch.ones(4), torch.eye(5)[:, :2])
    with pytest.raises(BadInput, match="linearly dependent"):
        overlap(torch.ones(5, 2), torch.ones(5, 1))
    with pytest.raises(BadInput, match="dimensions"):
        overlap(torch.ones(5, 1), torch.ones(6, 1))
