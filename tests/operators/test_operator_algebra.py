"""Sums, multiples, restrictions, parts, matrices and SciPy, against plain matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_cases import make, relative
from scipy.sparse.linalg import eigsh

from landform.errors import BadInput
from landform.layout import Layout
from landform.operators import from_matrix


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 4), st.floats(-3, 3), st.integers(0, 1000))
def test_algebra_is_that_of_matrices(rows: int, size: int, k: int, factor: float, seed: int) -> None:
    a, b, V = random(rows, size, seed=seed), random(rows, size, seed=seed + 1), random(size, k, seed=seed + 2)
    A, B = from_matrix(a), from_matrix(b)
    U = random(rows, k, seed=seed + 3)
    for made, wanted in ((A + B, a + b), (A - B, a - b), (factor * A, factor * a), (A * factor, factor * a), (-A, -a),
                         (2 * (A - B) + A, 3 * a - 2 * b)):  # fmt: skip
        assert made.shape == (rows, size)
        torch.testing.assert_close(made @ V, wanted @ V)
        torch.testing.assert_close(made.T @ U, wanted.T @ U)
        torch.testing.assert_close(made.dense(), wanted)
        if k:
            torch.testing.assert_close(made @ V[:, 0], wanted @ V[:, 0])
    square, M = random(size, size, seed=seed + 4), random(size, 2, seed=seed + 5)
    torch.testing.assert_close(from_matrix(square).restricted(M).dense(), M.T @ square @ M)
    torch.testing.assert_close(from_matrix(square).restricted(M).T.dense(), (M.T @ square @ M).T)


def test_a_matrix_knows_whether_it_is_symmetric() -> None:
    a = random(5, 5)
    assert not from_matrix(a).symmetric
    assert from_matrix(a + a.T).symmetric
    assert (from_matrix(a + a.T) + from_matrix(a)).symmetric is False
    assert from_matrix(a + a.T).T.shape == (5, 5)


def test_products_and_gradients_are_counted() -> None:
    made = make("tanh")
    H, G = made.landscape.hessian(made.point), made.landscape.gauss_newton(made.point)
    assert (H.products, H.gradients) == (0, 0.0)
    H @ made.point
    H @ random(H.size, 4)
    assert H.products == 5
    assert H.gradients == pytest.approx(5 * H.costs[0])
    both = 2 * (H - G)
    both @ random(H.size, 3)
    assert (both.products, H.products, G.products) == (3, 8, 3)
    assert both.gradients == pytest.approx(3 * (H.costs[0] + G.costs[0]))
    anew = made.landscape.hessian(made.point, memory=0)
    anew @ random(H.size, 4)
    assert anew.gradients == pytest.approx(4 * H.costs[0] + 1)  # graphs are recorded once for the block
    # The first layer has 2 products of 6 x 8 numbers in a gradient, the second 3 of 8 x 3; a Hessian product has 2
    # and 6.
    assert H.costs[0] == pytest.approx((2 * 48 + 6 * 24) / (2 * 48 + 3 * 24))


@pytest.mark.parametrize("memory", [0, 1e9])
@pytest.mark.parametrize("name", ["residual", "tied", "unused and frozen", "lstm"])
def test_parts_are_diagonal_blocks(name: str, memory: float) -> None:
    made = make(name)
    layout = made.landscape.layout
    for make_one in (made.landscape.hessian, made.landscape.gauss_newton, made.landscape.functional_hessian):
        H = make_one(made.point, memory=memory)
        whole = H.dense()
        for part in (layout.part(layout.names[0]), layout.part(layout.names[-2], layout.names[0]), layout.part()):
            block = H.part(part)
            at, v = part.positions, random(part.size, 3)
            torch.testing.assert_close(block @ v, whole[at][:, at] @ v, rtol=1e-11, atol=1e-13)
            assert block.layout is not None
            assert block.layout.names == tuple(slot.name for slot in part.slots)
            assert block.products == 3
            assert block.gradients > 0
            torch.testing.assert_close((2.0 * H).part(part) @ v, 2 * whole[at][:, at] @ v, rtol=1e-11, atol=1e-13)
    M = random(H.size, 3)
    torch.testing.assert_close(H.restricted(M).dense(), M.T @ whole @ M, rtol=1e-10, atol=1e-12)


def test_scipy_finds_the_same_eigenvalues() -> None:
    made = make("attention")
    H = made.landscape.hessian(made.point)
    found = eigsh(H.to_scipy(), k=3, which="LA", return_eigenvectors=False, v0=np.ones(H.size))
    exact = torch.linalg.eigvalsh(H.dense())[-3:].numpy()
    assert np.allclose(np.sort(found), exact, rtol=1e-8)
    single = make("attention", torch.float32)
    product = single.landscape.hessian(single.point).to_scipy().matvec(np.ones(H.size))
    assert product.dtype == np.float32
    assert relative(torch.from_numpy(product), H @ torch.ones(H.size, dtype=torch.float64)) < 1e-5


def test_vectors_of_another_type_are_taken() -> None:
    made = make("tanh")
    H, v = made.landscape.hessian(made.point), random(make("tanh").point.numel())
    torch.testing.assert_close(H @ v.float(), H @ v.float().double(), rtol=0, atol=0)


MISUSE = {
    "short": (lambda H, L: H @ torch.zeros(3), r"takes a vector \[83\] or a block"),
    "rows": (lambda H, L: H @ torch.zeros(2, 83), "one vector in each column; got a tensor of shape"),
    "whole numbers": (lambda H, L: H @ torch.zeros(83, dtype=torch.long), "floating-point vectors"),
    "list": (lambda H, L: H @ ([1.0] * 83), "got a list"),
    "sum of shapes": (lambda H, L: H + from_matrix(torch.eye(3, dtype=torch.float64)), "add an operator of that shape"),
    "sum of types": (lambda H, L: H + from_matrix(torch.eye(83)), "differ in type or device"),
    "directions": (lambda H, L: H.restricted(torch.zeros(83)), "one in each column"),
    "directions, short": (lambda H, L: H.restricted(torch.zeros(7, 2)), r"takes a vector \[83\]"),
    "dense": (lambda H, L: H.dense(memory=1000), "would take"),
    "part": (lambda H, L: H.part(Layout.of(torch.nn.Linear(2, 2)).part()), "of points of 6 numbers"),
    "part of Jacobian": (lambda H, L: L.jacobian(L.here).part(L.layout.part()), "only a square operator"),
    "infinite": (lambda H, L: float("inf") * H, "finite number"),
    "matrix": (lambda H, L: from_matrix(torch.zeros(3)), "made from a matrix"),
    "layout": (lambda H, L: from_matrix(torch.eye(3), layout=L.layout), "the matrix has 3 columns"),
    "memory": (lambda H, L: L.hessian(L.here, memory=-1), "memory is -1"),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_one_sentence(name: str) -> None:
    act, says = MISUSE[name]
    made = make("tanh")
    H = made.landscape.hessian(made.point)
    with pytest.raises(BadInput, match=says) as caught:
        act(H, made.landscape)
    assert "\n" not in str(caught.value)
    with pytest.raises(TypeError):
        H * torch.eye(83)
