"""Minimum-energy paths on landscapes whose saddle is known, and the polygon they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import landform as lf
from landform.errors import BadInput
from landform.paths import minimum_energy_path
from landform.paths._string import _filled, along


class Valley(nn.Module):
    """The mean of its squares is ``(x^2 - 1)^2 + 4 (y - x^2)^2``: minima at (-1, 1) and (1, 1), a saddle at (0, 0)."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        x, y = self.x
        outputs = torch.stack([x.square() - 1, 2 * (y - x.square())]) * 2**0.5
        return outputs.expand(len(inputs), 2)


@pytest.fixture
def valley() -> lf.Landscape:
    data = (torch.zeros(2, 1, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64))
    return lf.Landscape(Valley(), data, loss="mse", device="cpu")


def at(x: float, y: float) -> Tensor:
    return torch.tensor([x, y], dtype=torch.float64)


def test_the_highest_point_is_the_saddle(valley: lf.Landscape) -> None:
    found = minimum_energy_path(valley, at(-1, 1), at(1, 1), nodes=9, rounds=2, steps=200, lr=0.02)
    assert found.straight.height == pytest.approx(5.0)  # at (0, 1)
    assert found.barrier.height == pytest.approx(1.0, abs=0.02)
    torch.testing.assert_close(found.nodes[found.top], at(0, 0), rtol=0, atol=0.02)
    assert float(found.across.max()) < 0.1
    assert torch.equal(found.nodes[[0, -1]], torch.stack([at(-1, 1), at(1, 1)]))
    gaps = torch.linalg.vector_norm(found.nodes[1:] - found.nodes[:-1], dim=1)
    assert float(gaps.max() / gaps.min()) < 1.2  # evenly spread
    assert found.gradients == sum([7] * 200) * 1 + (len(found.nodes) - 2) * 200 + len(found.nodes) - 2
    assert found.begin == "linear"
    assert found.losses.tolist() == pytest.approx(valley.loss(found.nodes).tolist())


def test_points_are_put_in_where_the_path_rises_between_two(valley: lf.Landscape) -> None:
    found = minimum_energy_path(valley, at(-1, 1), at(1, 1), nodes=4, rounds=3, steps=50, lr=0.02, most=8)
    assert 4 < len(found.nodes) <= 8
    still = minimum_energy_path(valley, at(-1, 1), at(1, 1), nodes=4, rounds=3, steps=50, lr=0.02, most=4)
    assert len(still.nodes) == 4


def test_no_point_is_put_in_for_a_rise_that_is_small_beside_the_path(valley: lf.Landscape) -> None:
    # Straight up to (0, 1), where the loss is 5: half way between the last two it is hardly above the higher of them.
    path = torch.stack([at(-1, 1), at(0, 1), at(0.01, 1.0), at(-0.005, 1.0), at(1, 1)])
    ends, middle = valley.loss(path[1:4]), valley.loss((path[2:4] + path[1:3]) / 2)
    assert (middle > torch.maximum(ends[1:], ends[:-1])).any()  # it does rise
    assert len(_filled(valley, path, 25)) == len(path)
    # Where nothing lies higher than the ends, the same rise is all there is.
    assert len(_filled(valley, path[1:4], 25)) > 3


def test_without_steps_it_is_the_straight_line(valley: lf.Landscape) -> None:
    found = minimum_energy_path(valley, at(-1, 1), at(1, 1), steps=0, rounds=1)
    assert found.barrier.height == pytest.approx(found.straight.height)
    assert found.gradients == 5


@given(st.integers(2, 6), st.floats(0, 1), st.integers(0, 1000))
def test_a_polygon_is_walked_by_its_length(count: int, t: float, seed: int) -> None:
    nodes = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    places = np.concatenate([[0.0], np.linalg.norm(np.diff(nodes.numpy(), axis=0), axis=1).cumsum()])
    found = along(nodes, torch.tensor([0.0, t, 1.0], dtype=torch.float64))
    plain = [np.interp(t * places[-1], places, nodes[:, i].numpy()) for i in range(3)]
    torch.testing.assert_close(found[1], torch.tensor(plain), rtol=1e-6, atol=1e-6)
    assert torch.equal(found[[0, 2]], nodes[[0, -1]])


def test_a_path_to_oneself_is_a_point(valley: lf.Landscape) -> None:
    here = at(-1, 1)
    found = minimum_energy_path(valley, here, here, steps=3)
    torch.testing.assert_close(found.nodes, here.expand(7, 2))
    assert found.barrier.height == 0


def test_misuse_is_told_in_a_sentence(valley: lf.Landscape) -> None:
    a, b = at(-1, 1), at(1, 1)
    with pytest.raises(BadInput, match="nodes is 2"):
        minimum_energy_path(valley, a, b, nodes=2)
    with pytest.raises(BadInput, match="most is 5"):
        minimum_energy_path(valley, a, b, nodes=7, most=5)
    with pytest.raises(BadInput, match="above 0"):
        minimum_energy_path(valley, a, b, lr=0)
    with pytest.raises(BadInput, match="string diverged"):
        minimum_energy_path(valley, a, b, lr=1e200)
    with pytest.raises(BadInput, match="second point holds NaN"):
        minimum_energy_path(valley, a, b * float("nan"))
