"""Densities of Hessians of small models against their dense spectra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from landform.curvature import density
from landform.landscape import Landscape

CLASSES = 4


def landscape(name: str) -> Landscape:
    draw = torch.Generator().manual_seed(0)
    y = torch.randint(0, CLASSES, (90,), generator=draw)
    x = torch.randn(90, 1, 6, 6, generator=draw, dtype=torch.float64)
    x[torch.arange(90), 0, y, y] += 3
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = {
            "tanh": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 24), nn.Tanh(), nn.Linear(24, CLASSES)),
            "relu, mse": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 20), nn.ReLU(), nn.Linear(20, CLASSES)),
            "convolution": lambda: nn.Sequential(
                nn.Conv2d(1, 6, 3), nn.GELU(), nn.Conv2d(6, 8, 3), nn.GELU(), nn.Flatten(), nn.Linear(32, CLASSES)
            ),
            "layer norm": lambda: nn.Sequential(
                nn.Flatten(), nn.Linear(36, 20), nn.LayerNorm(20), nn.Tanh(), nn.Linear(20, CLASSES)
            ),
        }[name]().double()
    loss = "mse" if "mse" in name else "cross-entropy"
    return Landscape(net, (x, y), loss=loss, batch_size=40, device="cpu")


def trained(place: Landscape, steps: int) -> Tensor:
    point = place.here
    for _ in range(steps):
        point = point - 0.3 * place.gradient(point)
    return point


@pytest.mark.parametrize("steps", [0, 60], ids=["at the start", "trained"])
@pytest.mark.parametrize("name", ["tanh", "relu, mse", "convolution", "layer norm"])
def test_first_four_moments_lie_within_the_stated_bands(name: str, steps: int) -> None:
    place = landscape(name)
    H = place.hessian(trained(place, steps))
    values = torch.linalg.eigvalsh(H.dense()).numpy()
    assert H.size < 5000
    found = density(H, probes=16, steps=12, exact=False, seed=7)
    for order in (1, 2, 3, 4):
        moment, truth = found.moment(order), float(np.mean(values**order))
        assert 0 < moment.standard_error < 0.5 * np.mean(np.abs(values) ** order)  # a band that says something
        assert abs(moment.value - truth) < 3.5 * moment.standard_error, order
    exact = density(H, exact=True)
    for order in (1, 2, 3, 4):
        assert exact.moment(order).value == pytest.approx(np.mean(values**order), rel=1e-8)
