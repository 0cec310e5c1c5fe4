"""Eigenpairs followed along a descent, against searches that know nothing."""

from __future__ import annotations

import itertools
import statistics

import numpy as np
import pytest
import torch
from spectra import SPECTRA, Dense, with_spectrum
from torch import nn

from landform.curvature import eigenpairs, tracked
from landform.errors import BadInput
from landform.landscape import Landscape


def descent() -> tuple[Landscape, list[torch.Tensor]]:
    draw = torch.Generator().manual_seed(0)
    y = torch.randint(0, 4, (80,), generator=draw)
    x = torch.randn(80, 10, generator=draw, dtype=torch.float64) + 2 * torch.eye(10, dtype=torch.float64)[y]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(10, 30), nn.Tanh(), nn.Linear(30, 4)).double()
    landscape = Landscape(net, (x, y), device="cpu")
    points = [landscape.here]
    for _ in range(12):
        points.append(points[-1] - 0.2 * landscape.gradient(points[-1]))
    return landscape, points


@pytest.mark.parametrize("k", [1, 3])
def test_the_same_values_for_fewer_products(k: int) -> None:
    landscape, points = descent()
    found = list(tracked(map(landscape.hessian, points), k))
    cold = [eigenpairs(landscape.hessian(point), k) for point in points]
    for warm, known, point in zip(found, cold, points, strict=True):
        exact = torch.linalg.eigvalsh(landscape.hessian(point).dense()).flip(0)[:k]
        np.testing.assert_allclose(warm.values.numpy(), exact.numpy(), rtol=2e-3)
        assert warm.converged
        assert known.converged
    assert statistics.median(p.products for p in found[1:]) < statistics.median(p.products for p in cold[1:])
    for a, b in itertools.pairwise(found):
        assert float((a.vectors * b.vectors).sum(0).min()) >= 0


def test_operators_are_taken_one_at_a_time_and_must_be_of_one_size() -> None:
    matrix = Dense(with_spectrum(SPECTRA["outliers"]))
    made = 0

    def operators():
        nonlocal made
        for _ in range(3):
            made += 1
            yield matrix

    readings = tracked(operators(), 2)
    next(readings)
    assert made == 1
    next(readings)
    assert made == 2
    with pytest.raises(BadInput, match="start must be"):
        list(tracked([matrix, Dense(torch.eye(5, dtype=torch.float64))], 1))
