"""The kernel of federated averaging against its definition, simulation and training."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from landform.errors import BadInput
from landform.theory import federated as fed


def unit(n: int, d: int, seed: int = 0) -> Tensor:
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x / x.norm(dim=1, keepdim=True)


def weights(m: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_wide_network_has_the_limit_kernel() -> None:
    x = unit(8, 5)
    limit, finite = fed.limit_gram(x), fed.gram(x, weights(200_000, 5))
    assert float((limit - finite).abs().max()) < 4 * 0.5 / math.sqrt(200_000)
    assert torch.equal(limit.diagonal(), torch.full((8,), 0.5, dtype=torch.float64))
    torch.testing.assert_close(limit, fed.limit_gram(x, x), atol=1e-7, rtol=0)
    assert float(torch.linalg.eigvalsh(limit).min()) > 0
    with pytest.raises(BadInput, match="unit length"):
        fed.limit_gram(2 * x)


def test_the_gram_matrix_by_its_definition() -> None:
    x, u, w = unit(4, 3), weights(7, 3), weights(7, 3, 1)
    found = fed.gram(x, u, w, x[:2])
    for i in range(4):
        for j in range(2):
            both = sum(float(u[r] @ x[i] >= 0) * float(w[r] @ x[j] >= 0) for r in range(7)) / 7
            assert float(found[i, j]) == pytest.approx(float(x[i] @ x[j]) * both)
    assert fed.asymmetry(fed.gram(x, u)) == 0
    assert fed.asymmetry(fed.gram(x, u, w)) > 0
    assert fed.asymmetry(torch.zeros(2, 2)) == 0


@given(
    st.integers(1, 4), st.integers(1, 6), st.floats(0.05, 3.0), st.floats(0.2, 1.5), st.booleans(), st.integers(0, 99)
)
@settings(max_examples=30)
def test_lazy_rounds_are_local_descent(
    clients: int, steps: int, rate: float, server: float, uneven: bool, seed: int
) -> None:
    kernel = fed.limit_gram(unit(9, 3, seed))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    sizes = [9 - 2 * (clients - 1), *[2] * (clients - 1)]
    places = list(order.split(sizes))
    share = [size / 9 for size in sizes] if uneven else None
    rates = [rate / size for size in sizes] if uneven else rate
    found = fed.lazy_rounds(kernel, places, local_lr=rates, local_steps=steps, server_lr=server, weights=share)
    r = torch.randn(9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    curve = [0.5 * float(r @ r)]
    start = r.clone()
    for _ in range(3):  # in the space of predictions, step by step
        moved = torch.zeros_like(r)
        for c, at in enumerate(places):
            own, eta = r.clone(), rates[c] if isinstance(rates, list) else rates
            for _ in range(steps):
                own = own - eta * kernel[:, at] @ own[at]
            moved += (1 / clients if share is None else share[c]) * (own - r)
        r = r + server * moved
        curve.append(0.5 * float(r @ r))
    assert found.losses(start, 3).tolist() == pytest.approx(curve, rel=1e-7)
    slow = found.residuals(start, 400)[-2:].norm(dim=1)
    if found.radius < 0.99 and float(slow[0]) > 1e-12:
        assert float(slow[1] / slow[0]) <= found.radius * 1.05 + 1e-9


def test_bounds() -> None:
    factor = fed.contraction_bound(0.082, local_lr=0.3, local_steps=5, clients=4)
    assert factor == pytest.approx(1 - 0.3 * 0.082 * 5 / 8)
    rounds = fed.rounds_bound(0.082, 0.1, local_lr=0.3, local_steps=5, clients=4)
    assert factor**rounds == pytest.approx(0.1)
    with pytest.raises(BadInput, match="give smaller rates"):
        fed.rounds_bound(10.0, 0.1, local_lr=1.0, local_steps=9, clients=1)
    with pytest.raises(BadInput, match="between 0 and 1"):
        fed.rounds_bound(0.1, 1.5, local_lr=0.1, local_steps=1, clients=1)
    limit = fed.limit_gram(unit(6, 20))
    y = torch.ones(6)
    plain = float(torch.linalg.inv(limit).sum())
    assert fed.generalisation_bound(limit, y) == pytest.approx(math.sqrt(2 * plain / 6))


def test_clients_must_divide_the_samples() -> None:
    kernel = fed.limit_gram(unit(4, 3))
    with pytest.raises(BadInput, match="each of the 4 samples"):
        fed.lazy_rounds(kernel, [torch.arange(3)], local_lr=0.1, local_steps=1)
    with pytest.raises(BadInput, match="2 clients"):
        fed.lazy_rounds(kernel, [torch.arange(2), torch.arange(2, 4)], local_lr=[0.1], local_steps=1)
