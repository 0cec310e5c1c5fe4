"""The kernel by its products, and from some of its columns, against the kernel formed."""

from __future__ import annotations

import pytest
import torch
from plain_kernels import as_plain_matrix, full_kernel, random_kernel
from torch import nn

import landform as lf
from landform import curvature
from landform.errors import BadInput
from landform.kernel._nystroem import nystroem
from landform.kernel._operator import operator

D = torch.float64


def made(batch_size: int = 4) -> tuple[lf.Landscape, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3)).double()
    x, y = torch.randn(9, 4, dtype=D), torch.randint(0, 3, (9,))
    return lf.Landscape(model, (x, y), batch_size=batch_size, device="cpu"), full_kernel(model, x)


@pytest.mark.parametrize("memory", [0, 2**30])
def test_products_are_those_of_the_kernel(memory: int) -> None:
    landscape, kernel = made()
    full = operator(landscape, landscape.here, memory=memory)
    matrix = as_plain_matrix(kernel)
    torch.testing.assert_close(full.dense(), matrix)
    v = torch.randn(27, 2, dtype=D)
    torch.testing.assert_close(full @ v, matrix @ v)
    torch.testing.assert_close(full.T @ v[:, 0], matrix @ v[:, 0])
    traced = operator(landscape, landscape.here, kind="trace", memory=memory)
    torch.testing.assert_close(traced.dense(), torch.einsum("nmkk->nm", kernel))
    assert traced.products == 9
    assert traced.gradients > full.gradients / 27 > 0
    torch.testing.assert_close((2 * full) @ v, 2 * matrix @ v)


def test_conjugate_gradients_and_lanczos_take_it() -> None:
    landscape, kernel = made()
    K, matrix = operator(landscape, landscape.here), as_plain_matrix(kernel)
    b = torch.randn(27, dtype=D)
    found = curvature.solve(K, b, damping=0.1, tol=1e-8)
    assert found.converged
    torch.testing.assert_close(found.vector, torch.linalg.solve(matrix + 0.1 * torch.eye(27, dtype=D), b))
    pairs = curvature.eigenpairs(K, 3, tol=1e-8)
    torch.testing.assert_close(pairs.values, torch.linalg.eigvalsh(matrix).flip(0)[:3])
    with pytest.raises(BadInput, match="'full' or 'trace'"):
        operator(landscape, landscape.here, kind="half")  # type: ignore[arg-type]


class Blocks:
    """A kernel that counts what is read of it."""

    def __init__(self, kernel: torch.Tensor) -> None:
        self.kernel, self.read = kernel, 0

    def __call__(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        self.read += len(rows) * len(columns)
        return self.kernel[rows][:, columns]


def decaying(n: int, outputs: int = 0) -> torch.Tensor:
    size = n * max(outputs, 1)
    Q, _ = torch.linalg.qr(torch.randn(size, size, dtype=D, generator=torch.Generator().manual_seed(0)))
    matrix = (Q * torch.logspace(0, -8, size, dtype=D)) @ Q.T
    return matrix.reshape(n, outputs, n, outputs).permute(0, 2, 1, 3) if outputs else matrix


@pytest.mark.parametrize("outputs", [0, 3])
@pytest.mark.parametrize("choose", ["pivots", "uniform"])
def test_the_stated_error_is_the_error(outputs: int, choose) -> None:
    kernel = decaying(30, outputs)
    matrix, blocks = as_plain_matrix(kernel), Blocks(kernel)
    diagonal = matrix.diagonal().reshape(30, -1)
    found = nystroem(blocks, 30, 10, diagonal=diagonal, choose=choose, check=10)
    assert len(set(found.chosen.tolist())) == 10
    assert blocks.read == 30 * 20 + 1
    assert found.blocks_read == 20
    left = matrix - found.matrix()
    assert torch.linalg.eigvalsh(left)[0] > -1e-12
    assert found.error == pytest.approx((left.trace() / matrix.trace()).item(), rel=1e-6)
    assert found.bound == pytest.approx(left.trace().item(), rel=1e-6)
    assert torch.linalg.eigvalsh(left)[-1].item() <= found.bound
    assert abs(found.frobenius - left.norm().item()) <= 4 * found.frobenius_error + 1e-12
    every = nystroem(Blocks(kernel), 30, 10, diagonal=diagonal, choose=choose, check=30)
    assert every.frobenius == pytest.approx((matrix - every.matrix()).norm().item(), rel=1e-6)
    assert every.frobenius_error == 0.0  # nothing was left to chance
    rows = (found.chosen[:, None] * max(outputs, 1) + torch.arange(max(outputs, 1))).reshape(-1)
    torch.testing.assert_close(found.matrix()[rows], matrix[rows], rtol=1e-6, atol=1e-9)
    values = found.eigenvalues()
    true = torch.linalg.eigvalsh(matrix).flip(0)[: len(values)]
    assert (true - values > -1e-12).all()
    assert (true - values <= found.bound).all()
    y = torch.randn(30, max(outputs, 1), dtype=D)
    size = len(matrix)
    direct = torch.linalg.solve(found.matrix() + 0.1 * torch.eye(size, dtype=D), y.reshape(size, -1)).reshape(y.shape)
    torch.testing.assert_close(found.solve(y, 0.1), direct)
    again = nystroem(Blocks(kernel), 30, 10, choose=choose, check=10)
    torch.testing.assert_close(again.factor, found.factor)


def test_all_samples_or_the_full_rank_give_the_kernel() -> None:
    kernel = random_kernel(12, 0, rank=4)
    found = nystroem(Blocks(kernel), 12, 12, together=2)
    assert len(found.chosen) <= 6
    torch.testing.assert_close(found.matrix(), kernel)
    assert found.error < 1e-10
    whole = nystroem(Blocks(decaying(12)), 12, 12)
    torch.testing.assert_close(whole.matrix(), decaying(12), rtol=1e-5, atol=1e-8)
    single = nystroem(Blocks(decaying(30).float()), 30, 25)
    torch.testing.assert_close(single.matrix().float(), decaying(30).float(), rtol=1e-3, atol=1e-5)


def test_pivots_beat_uniform_columns_where_samples_differ() -> None:
    """A hundred samples alike and a few that are not: columns drawn uniformly miss the few."""
    drawing = torch.Generator().manual_seed(0)
    features = torch.cat([torch.ones(100, 1) @ torch.randn(1, 40, generator=drawing), 3 * torch.eye(40)[:8]]).double()
    kernel = features @ features.T
    pivots, uniform = (nystroem(Blocks(kernel), 108, 12, choose=choose) for choose in ("pivots", "uniform"))
    assert pivots.error < 1e-9
    assert uniform.error > 100 * pivots.error


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda k: nystroem(Blocks(k), 6, 7), "rank from 1 to 6"),
        (lambda k: nystroem(Blocks(k), 6, 2, diagonal=torch.ones(5)), "diagonal has 6"),
        (lambda k: nystroem(lambda r, c: k[r][:, :2], 6, 3, diagonal=k.diagonal(), together=3), "must be"),
        (lambda k: nystroem(Blocks(-k), 6, 2, diagonal=k.diagonal()), "none of one positive"),
        (lambda k: nystroem(Blocks(k), 6, 2).solve(torch.ones(6), 0.0), "above 0"),
        (lambda k: nystroem(Blocks(k), 6, 2).solve(torch.ones(5), 1.0), "do not fit 6"),
        (lambda k: nystroem(Blocks(0 * k), 6, 2), "diagonal is zero"),
    ],
)
def test_misuse_is_said_in_a_sentence(call, said) -> None:
    with pytest.raises(BadInput, match=said):
        call(random_kernel(6, 0))
