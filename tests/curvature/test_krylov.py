"""The basis: orthonormal, extendable, restartable, kept; and what cannot be used is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spectra import SPECTRA, Dense, with_spectrum

from landform.curvature import Krylov, eigenpairs, krylov
from landform.errors import BadInput

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def plain_lanczos(matrix: np.ndarray, start: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The textbook's three-term recurrence with explicit full orthogonalisation."""
    basis = [start / np.linalg.norm(start)]
    alphas, betas = [], []
    for _ in range(steps):
        rest = matrix @ basis[-1]
        alphas.append(basis[-1] @ rest)
        for _ in range(2):
            for vector in basis:
                rest = rest - (vector @ rest) * vector
        betas.append(np.linalg.norm(rest))
        basis.append(rest / betas[-1])
    return np.array(alphas), np.array(betas)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SPECTRA)
def test_basis_is_orthonormal_and_projects(name: str, dtype: torch.dtype) -> None:
    H = Dense(with_spectrum(SPECTRA[name], dtype))
    made = krylov(H, 60)
    V, tolerance = made.basis.double(), TOLERANCE[dtype]
    assert V.shape == (300, made.size)
    assert float((V.T @ V - torch.eye(made.size)).abs().max()) < tolerance
    scale = np.abs(SPECTRA[name]).max()
    assert float((V.T @ H.matrix.double() @ V - made.projected).abs().max()) < tolerance * scale
    assert float((H.matrix.double() @ V - made.images().double()).abs().max()) < tolerance * scale
    assert H.products == made.products == 60


def test_a_basis_of_one_vector() -> None:
    made = krylov(Dense(with_spectrum(SPECTRA["decaying"])), 1)
    assert made.size == made.products == 1


def test_coefficients_are_those_of_the_textbook() -> None:
    matrix = with_spectrum(SPECTRA["decaying"])
    start = torch.randn(300, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    alphas, betas = plain_lanczos(matrix.numpy(), start.numpy(), 25)
    made = krylov(Dense(matrix), 25, start=start)
    np.testing.assert_allclose(made.alphas.numpy(), alphas, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(made.betas.numpy(), betas, rtol=1e-9, atol=1e-10)


def test_extending_is_the_same_as_asking_for_more_at_once() -> None:
    H = Dense(with_spectrum(SPECTRA["outliers"], torch.float32))
    at_once, in_parts = krylov(H, 40, seed=5), krylov(H, 15, seed=5).extend(5).extend(20)
    assert torch.equal(at_once.basis, in_parts.basis)
    assert torch.equal(at_once.projected, in_parts.projected)


def test_saved_and_loaded_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    H = Dense(with_spectrum(SPECTRA["clustered"], torch.float32))
    straight = krylov(H, 45, seed=2)
    krylov(H, 20, seed=2).save(tmp_path / "basis.safetensors")
    resumed = Krylov.load(tmp_path / "basis.safetensors", H)
    assert resumed.size == 20
    assert torch.equal(resumed.extend(25).projected, straight.projected)
    assert resumed.products == 46  # one told whether the operator is the same


def test_a_basis_of_another_operator_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "basis.safetensors"
    krylov(Dense(with_spectrum(SPECTRA["clustered"])), 10).save(file)
    with pytest.raises(BadInput, match="another operator"):
        Krylov.load(file, Dense(with_spectrum(SPECTRA["outliers"])))
    with pytest.raises(BadInput, match="size 300"):
        Krylov.load(file, Dense(torch.eye(5, dtype=torch.float64)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_invariant_subspace_is_left_behind(dtype: torch.dtype) -> None:
    # Three distinct eigenvalues: a Krylov space of one vector has three dimensions.
    values = np.array([3.0] * 4 + [1.0] * 10 + [-2.0] * 6)
    made = krylov(Dense(with_spectrum(values, dtype)), 20)
    assert made.size == 20
    assert made.waiting == 0
    np.testing.assert_allclose(made.ritz().values, np.sort(values), atol=1e-5)
    assert float(made.betas[:3].min()) < 1e-4  # where it broke down
    V = made.basis.double()
    assert float((V.T @ V - torch.eye(20)).abs().max()) < TOLERANCE[dtype]


def test_zero_matrix() -> None:
    made = krylov(Dense(torch.zeros(7, 7)), 7)
    assert np.abs(made.ritz().values).max() == 0
    assert np.abs(made.ritz().residuals).max() == 0


def test_residuals_of_the_coefficients_are_the_true_ones() -> None:
    H = Dense(with_spectrum(SPECTRA["indefinite"]))
    made = krylov(H, 30)
    ritz = made.ritz()
    vectors = made.vectors(ritz.coefficients)
    true = (H.matrix @ vectors - vectors * torch.from_numpy(ritz.values)).norm(dim=0)
    np.testing.assert_allclose(ritz.residuals, true.numpy(), atol=1e-11)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(2, 8), st.integers(9, 25))
def test_a_restart_keeps_the_recurrence_true(seed: int, kept: int, steps: int) -> None:
    H = Dense(with_spectrum(SPECTRA["outliers"][:60]))
    made = krylov(H, steps, seed=seed)
    made.restart(np.arange(steps - kept, steps))
    made.extend(10)
    V = made.basis
    assert made.size == kept + 10
    assert made.restarts == 1
    assert float((V.T @ V - torch.eye(made.size)).abs().max()) < 1e-10
    assert float((V.T @ H.matrix @ V - made.projected).abs().max()) < 1e-10
    assert float((H.matrix @ V - made.images()).abs().max()) < 1e-10


def test_a_start_of_several_vectors() -> None:
    H = Dense(with_spectrum(SPECTRA["clustered"]))
    start = torch.randn(300, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start[:, 2] = start[:, 0] - start[:, 1]  # adds nothing, and is dropped
    made = Krylov(H, start).extend(30)
    assert made.waiting == 2
    ritz = made.ritz()
    made.turn(ritz.coefficients[:, -1])
    towards = (
        H.matrix @ made.vectors(ritz.coefficients[:, -1:])[:, 0]
        - ritz.values[-1] * made.vectors(ritz.coefficients[:, -1:])[:, 0]
    )
    assert abs(float(towards @ made.next)) == pytest.approx(float(towards.norm()), rel=1e-8)
    V = made.extend(5).basis
    assert float((V.T @ H.matrix @ V - made.projected).abs().max()) < 1e-11


@pytest.mark.parametrize("other", [{"steps": 0}, {"steps": 301}, {"steps": 2.5}])
def test_wrong_numbers_of_steps(other: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="steps"):
        krylov(Dense(with_spectrum(SPECTRA["outliers"])), **other)


def test_what_is_no_operator_is_refused() -> None:
    with pytest.raises(BadInput, match="from_matrix"):
        krylov(torch.eye(3), 2)
    with pytest.raises(BadInput, match="no operator"):
        krylov("hessian", 2)
    asymmetric = Dense(torch.randn(20, 20, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(BadInput, match="not symmetric"):
        krylov(asymmetric, 10)
    asymmetric.symmetric = False
    with pytest.raises(BadInput, match="is not symmetric"):
        krylov(asymmetric, 10)
    with pytest.raises(BadInput, match="NaN"):
        krylov(Dense(torch.full((5, 5), torch.nan)), 2)
    wrong = Dense(torch.zeros(4, 5))
    wrong.size = 5
    with pytest.raises(BadInput, match="keep the shape"):
        krylov(wrong, 2)


def test_wrong_starts() -> None:
    H = Dense(torch.eye(5))
    with pytest.raises(BadInput, match=r"\[5\]"):
        krylov(H, 2, start=torch.ones(4))
    with pytest.raises(BadInput, match="zero"):
        krylov(H, 2, start=torch.zeros(5))
    with pytest.raises(BadInput, match="NaN"):
        krylov(H, 2, start=torch.full((5,), torch.inf))
    with pytest.raises(BadInput, match="start already"):
        eigenpairs(krylov(H, 2), 1, start=torch.ones(5))
