"""Transition times against curves whose transition is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landform.errors import BadInput
from landform.series import joint_transition, transition

TIMES = np.concatenate([[0.0], np.geomspace(0.1, 40, 24)])


def step(middle: float, width: float, before: float, after: float, unit: float = 0.4) -> np.ndarray:
    x = (np.log1p(TIMES / unit) - np.log1p(middle / unit)) / width
    return before + (after - before) / (1 + np.exp(-x))


@given(
    st.floats(0.8, 12.0),
    st.floats(0.05, 0.5),
    st.floats(-3, 3),
    st.floats(0.5, 4.0),
    st.sampled_from([-1, 1]),
)
def test_a_planted_step_is_found_again(middle: float, width: float, before: float, size: float, sign: int) -> None:
    found = transition(TIMES, step(middle, width, before, before + sign * size))
    assert found.found
    assert found.explained > 0.99
    assert found.time == pytest.approx(middle, rel=0.1)
    assert found.low <= found.time <= found.high
    assert found.over > found.time


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        found = transition(TIMES, step(3.0, 0.3, 1.0, 0.1) + 0.08 * rng.normal(size=len(TIMES)))
        inside += found.low <= 3.0 <= found.high
    assert 180 <= inside <= 200  # 95%, with its sampling error


def test_noise_and_flat_curves_have_no_transition() -> None:
    rng = np.random.default_rng(1)
    found = [transition(TIMES, rng.normal(size=len(TIMES))).found for _ in range(50)]
    assert sum(found) <= 3
    assert not transition(TIMES, np.ones(len(TIMES))).found
    assert not transition(TIMES[:5], np.arange(5.0)).found


def test_gaps_are_left_out() -> None:
    curve = step(3.0, 0.2, 1.0, 0.0)
    holed = curve.copy()
    holed[[2, 20]] = np.nan
    assert transition(TIMES, holed).count == len(TIMES) - 2
    assert transition(TIMES, holed).time == pytest.approx(transition(TIMES, curve).time, rel=0.05)


def test_several_curves_narrow_the_interval_and_lone_noise_does_not_count() -> None:
    rng = np.random.default_rng(2)
    noise = [0.1 * rng.normal(size=len(TIMES)) for _ in range(4)]
    curves = {str(i): (TIMES, step(3.0, 0.2 + 0.1 * i, i, i + 1.0) + each) for i, each in enumerate(noise)}
    alone = transition(*curves["0"])
    found = joint_transition({**curves, "noise": (TIMES, rng.normal(size=len(TIMES)))})
    assert set(found.used) == {"0", "1", "2", "3"}
    assert not found.each["noise"].found
    assert found.high - found.low < alone.high - alone.low
    assert found.low <= 3.0 <= found.high
    assert np.isnan(joint_transition({"noise": (TIMES, np.zeros(len(TIMES)))}).time)


def test_a_time_scale_of_the_data_does_not_matter() -> None:
    curve = step(3.0, 0.2, 1.0, 0.0)
    one, other = transition(TIMES, curve), transition(10 * TIMES, 5 * curve - 2, unit=4.0)
    assert other.time == pytest.approx(10 * one.time)
    assert other.high == pytest.approx(10 * one.high)


@pytest.mark.parametrize(
    ("times", "values", "said"),
    [
        ([0, 1, 2], [1, 2], "give one for each"),
        ([0, 2, 1], [1, 2, 3], "must ascend"),
        ([-1, 2, 3], [1, 2, 3], "must ascend"),
    ],
)
def test_misuse_is_told(times: list[float], values: list[float], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        transition(times, values)
    with pytest.raises(BadInput, match="unit is"):
        transition([0, 1], [0, 1], unit=0)
