"""CKA, Procrustes and canonical correlations against plain numpy, and what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from landform import functions as fn
from landform.errors import BadInput


def pair(samples: int = 30, p: int = 6, q: int = 9, seed: int = 0) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(seed)
    common = torch.randn(samples, 4, generator=made, dtype=torch.float64)
    mixed = [common @ torch.randn(4, d, generator=made, dtype=torch.float64) for d in (p, q)]
    x, y = (m + 0.7 * torch.randn(m.shape, generator=made, dtype=torch.float64) + 3 for m in mixed)
    return x, y


def plain_kernel(x: np.ndarray, kernel: str, bandwidth: float) -> np.ndarray:
    if kernel == "linear":
        return x @ x.T
    squares = np.array([[((a - b) ** 2).sum() for b in x] for a in x])
    between = sorted(squares[np.triu_indices(len(x), 1)])
    median = between[(len(between) - 1) // 2]
    return np.exp(-squares / (2 * bandwidth**2 * median))


def plain_hsic(k: np.ndarray, m: np.ndarray, unbiased: bool) -> float:
    n = len(k)
    if not unbiased:
        h = np.eye(n) - 1 / n
        return float(np.trace(k @ h @ m @ h)) / (n - 1) ** 2
    k, m = (one - np.diag(np.diag(one)) for one in (k, m))
    ones = np.ones(n)
    middle = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (ones @ k @ m @ ones)
    return float((np.trace(k @ m) + middle) / (n * (n - 3)))


def plain_cka(x: Tensor, y: Tensor, kernel: str, unbiased: bool, bandwidth: float = 1.0) -> float:
    k, m = (plain_kernel(t.flatten(1).numpy(), kernel, bandwidth) for t in (x, y))
    scale = plain_hsic(k, k, unbiased) * plain_hsic(m, m, unbiased)
    return plain_hsic(k, m, unbiased) / math.sqrt(scale)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize(("p", "q"), [(6, 9), (50, 40), (3, 60)])
def test_cka_equals_the_definition(kernel: str, unbiased: bool, p: int, q: int) -> None:
    x, y = pair(p=p, q=q)
    for bandwidth in (1.0, 0.4):
        found = fn.cka(x, y, kernel=kernel, unbiased=unbiased, bandwidth=bandwidth)
        assert found == pytest.approx(plain_cka(x, y, kernel, unbiased, bandwidth), rel=1e-9)
    assert fn.cka(x, x, kernel=kernel, unbiased=unbiased) == pytest.approx(1)


def test_unbiased_cka_of_unrelated_features_is_near_zero() -> None:
    made = torch.Generator().manual_seed(1)
    x, y = (torch.randn(50, 2000, generator=made) for _ in range(2))
    assert fn.cka(x, y) > 0.9  # what the biased one says of noise
    assert abs(fn.cka(x, y, unbiased=True)) < 0.1


@pytest.mark.parametrize(("p", "q"), [(6, 9), (9, 6), (50, 40)])
def test_procrustes_equals_the_best_rotation(p: int, q: int) -> None:
    x, y = (t.numpy() for t in pair(p=p, q=q))
    width = max(p, q)
    x, y = (np.pad(t - t.mean(0), ((0, 0), (0, width - t.shape[1]))) for t in (x, y))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    turn, _ = scipy.linalg.orthogonal_procrustes(y, x)
    assert fn.procrustes(*pair(p=p, q=q)) == pytest.approx(np.linalg.norm(x - y @ turn), rel=1e-9)


@pytest.mark.parametrize("keep", [1.0, 0.9])
def test_canonical_correlations_equal_plain_cca_of_the_leading_directions(keep: float) -> None:
    x, y = (t.numpy() - t.numpy().mean(0) for t in pair(samples=60))

    def leading(t: np.ndarray) -> np.ndarray:
        u, s, _ = np.linalg.svd(t, full_matrices=False)
        shares = np.cumsum(s**2) / np.sum(s**2)
        return u[:, : int(np.argmax(shares >= keep - 1e-12)) + 1]

    ux, uy = leading(x), leading(y)
    turn, rho, _ = np.linalg.svd(ux.T @ uy, full_matrices=False)
    found = fn.canonical(*pair(samples=60), keep=keep)
    assert found.kept == (ux.shape[1], uy.shape[1])
    np.testing.assert_allclose(found.correlations.numpy(), rho, rtol=1e-8)
    assert found.svcca == pytest.approx(rho.mean())
    variates = ux @ turn  # canonical variates of x, and what each carries of its features
    weights = np.abs(variates.T @ x).sum(1)
    assert found.pwcca == pytest.approx((weights * rho).sum() / weights.sum())


@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
def test_rotation_scale_and_shift_change_nothing(seed: int, scale: float, shift: float) -> None:
    x, y = pair(seed=seed)
    made = torch.Generator().manual_seed(seed + 1)
    turn = torch.linalg.qr(torch.randn(9, 9, generator=made, dtype=torch.float64)).Q
    moved = scale * y @ turn + shift
    for kernel in ("linear", "rbf"):
        for unbiased in (False, True):
            before = fn.cka(x, y, kernel=kernel, unbiased=unbiased)
            assert fn.cka(x, moved, kernel=kernel, unbiased=unbiased) == pytest.approx(before, abs=1e-8)
    assert fn.procrustes(x, moved) == pytest.approx(fn.procrustes(x, y), abs=1e-8)
    assert fn.procrustes(y, moved) == pytest.approx(0, abs=1e-6)
    assert fn.canonical(x, moved).svcca == pytest.approx(fn.canonical(x, y).svcca, abs=1e-8)
    assert fn.cka(y, x) == pytest.approx(fn.cka(x, y), abs=1e-10)


@given(seed=st.integers(0, 10_000))
def test_procrustes_is_a_metric(seed: int) -> None:
    x, y = pair(seed=seed)
    z, _ = pair(seed=seed + 1)
    assert fn.procrustes(x, y) == pytest.approx(fn.procrustes(y, x), abs=1e-10)
    assert fn.procrustes(x, y) <= fn.procrustes(x, z) + fn.procrustes(z, y) + 1e-9
    assert 0 <= fn.procrustes(x, y) <= math.sqrt(2)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e6 / 3])
def test_what_does_not_vary_has_no_similarity(value: float) -> None:
    x, _ = pair()
    still = torch.full((30, 4), value, dtype=torch.float64)
    for kernel in ("linear", "rbf"):
        for unbiased in (False, True):
            assert math.isnan(fn.cka(x, still, kernel=kernel, unbiased=unbiased))
    assert math.isnan(fn.procrustes(x, still))
    assert fn.canonical(x, still).kept[1] == 0
    assert math.isnan(fn.canonical(x, still).svcca)


def test_misuse_is_told_in_a_sentence() -> None:
    x, y = pair()
    with pytest.raises(BadInput, match="30 and 29 samples"):
        fn.cka(x, y[:29])
    with pytest.raises(BadInput, match="There are 3 samples: this takes 4 or more"):
        fn.cka(x[:3], y[:3], unbiased=True)
    with pytest.raises(BadInput, match="no kernel 'poly'"):
        fn.cka(x, y, kernel="poly")
    with pytest.raises(BadInput, match="bandwidth is 0"):
        fn.cka(x, y, kernel="rbf", bandwidth=0)
    with pytest.raises(BadInput, match="keep is 2"):
        fn.canonical(x, y, keep=2)
    with pytest.raises(BadInput, match="activations of number 1 hold NaN"):
        fn.procrustes(x, y / 0 * 0)
