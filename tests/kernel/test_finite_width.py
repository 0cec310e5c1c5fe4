"""The exact kernels of finite networks against the analytic kernel of infinite width."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import landform as lf


class _Scaled(nn.Module):
    """The NTK parametrisation written out: standard normal weights, scaled as they are used."""

    def __init__(self, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        sizes = [inputs, *[width] * depth, 1]
        self.weights = nn.ParameterList(torch.randn(b, a) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for i, weight in enumerate(self.weights):
            x = nn.functional.linear(x, weight) * math.sqrt(2.0 / weight.shape[1])
            x = x.relu() if i < len(self.weights) - 1 else x
        return x


class _Convolved(nn.Module):
    """One convolution and a pooled read-out, likewise."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(width, 1, 3, 3))
        self.last = nn.Parameter(torch.randn(1, width))

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.conv2d(x, self.first, padding=1).mul(math.sqrt(2.0 / 9)).relu()
        return nn.functional.linear(h.mean((2, 3)), self.last) * math.sqrt(2.0 / self.last.shape[1])


def _off(model: nn.Module, x: Tensor, limit: Tensor) -> Tensor:
    landscape = lf.Landscape(model, (x, torch.zeros(len(x), 1)), loss="mse", device="cpu")
    kernel = lf.kernel.ntk(landscape, landscape.here, x, kind="trace")
    return (kernel - limit) / limit.norm()


@pytest.mark.parametrize("depth", [1, 2])
def test_dense_kernels_come_to_the_limit_as_the_root_of_the_width(depth: int) -> None:
    torch.manual_seed(depth)
    x = torch.randn(8, 5)
    limit = lf.kernel.infinite.dense(x, depth=depth, readout=(math.sqrt(2.0), 0.0)).ntk
    narrow, wide = (torch.stack([_off(_Scaled(5, width, depth), x, limit) for _ in range(12)]) for width in (64, 1024))
    fall = narrow.square().sum((1, 2)).mean().sqrt() / wide.square().sum((1, 2)).mean().sqrt()
    assert 2 < float(fall) < 8  # four, but for chance
    # The mean of the wide ones is the limit, within its standard error.
    error = wide.std(0) / math.sqrt(len(wide))
    assert float((wide.mean(0).abs() / error.clamp_min(1e-4)).median()) < 2.5


def test_a_network_of_width_4096_is_within_its_standard_error() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 4)
    limit = lf.kernel.infinite.dense(x, depth=1, readout=(math.sqrt(2.0), 0.0)).ntk
    draws = torch.stack([_off(_Scaled(4, 4096, 1), x, limit) for _ in range(8)])
    error = draws.std(0) / math.sqrt(len(draws))
    assert float((draws.mean(0).abs() / error).median()) < 2.5
    assert float(draws.mean(0).norm()) < 0.03


def test_pooled_convolutions_come_to_the_limit() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 1, 4, 4)
    layer = lf.kernel.infinite.Convolution(size=3, padding="same")
    limit = lf.kernel.infinite.convolutional(x, layers=(layer,), pooling="mean", readout=(math.sqrt(2.0), 0.0)).ntk
    narrow, wide = (torch.stack([_off(_Convolved(width), x, limit) for _ in range(10)]) for width in (32, 2048))
    assert float(wide.mean(0).norm()) < 0.06
    assert float(wide.square().sum((1, 2)).mean()) < float(narrow.square().sum((1, 2)).mean()) / 8
