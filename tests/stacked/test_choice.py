"""Costs are counted rightly, and the choice follows them the same way every time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from landform.stacked import Cost, choose, count
from landform.stacked._choice import CONV_LEAST, CONV_LIMIT, DENSE_LEAST, DENSE_LIMIT, SIZE_LIMIT

CPU = torch.device("cpu")


def test_dense_and_convolution_are_counted_apart() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, 5))
    x = torch.randn(7, 2, 6, 6)
    cost = count(lambda: net(x), 7)
    assert cost.conv == 2 * (3 * 16) * (2 * 9)
    assert cost.dense == 2 * 3 * 16 * 5
    assert cost.widest == 3 * 16


@pytest.mark.parametrize(
    ("cost", "models", "size", "stack"),
    [
        (Cost(1e4, 0, 64), 8, 1000, True),
        (Cost(1e4, 0, 64), DENSE_LEAST - 1, 1000, False),
        (Cost(1e4, 1e3, 64), CONV_LEAST, 1000, True),
        (Cost(DENSE_LIMIT["cpu"] / 32 * 1.1, 0, 64), 8, 1000, False),
        (Cost(0, CONV_LIMIT / 32 * 1.1, 64), 8, 1000, False),
        (Cost(1e4, 0, 64), 8, int(SIZE_LIMIT["cpu"]) + 1, False),
    ],
)
def test_the_choice_follows_the_count(cost: Cost, models: int, size: int, stack: bool) -> None:
    choice = choose(cost, 32, CPU, models=models, size=size)
    assert choice.stack == stack
    assert choice == choose(cost, 32, CPU, models=models, size=size)
    assert choice.why
