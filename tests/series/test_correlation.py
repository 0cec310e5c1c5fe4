"""Rank correlations against scipy's, and their nulls against curves whose kinship is known."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from landform.errors import BadInput
from landform.series import correlations, interval


def test_rank_correlations_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=20), np.round(rng.normal(size=20))  # ties too
    found = correlations({"a": a, "b": b}, shuffles=9)
    assert found.rho[0, 1] == pytest.approx(spearmanr(a, b).statistic)
    assert found.steps[0, 1] == pytest.approx(spearmanr(np.diff(a), np.diff(b)).statistic)
    assert found.rho[0, 0] == pytest.approx(1.0)
    np.testing.assert_array_equal(found.rho, found.rho.T)


def test_two_falling_curves_correlate_and_that_proves_nothing() -> None:
    rng = np.random.default_rng(1)
    falling = {name: -np.cumsum(rng.exponential(size=30)) for name in "ab"}
    found = correlations(falling)
    assert found.rho[0, 1] == pytest.approx(1.0)
    assert found.chance[0, 1] > 0.9
    assert found.steps_chance[0, 1] > 0.05


def test_curves_that_move_at_the_same_times_are_told_from_chance() -> None:
    rng = np.random.default_rng(2)
    moves = rng.normal(size=40)
    a, b = np.cumsum(moves), np.cumsum(2 * moves + 0.1 * rng.normal(size=40))
    found = correlations({"a": a, "b": b})
    assert found.chance[0, 1] < 0.05
    assert found.steps_chance[0, 1] < 0.01


def test_the_chance_of_independent_moves_is_evenly_spread() -> None:
    rng = np.random.default_rng(3)
    drawn = []
    for k in range(120):
        a, b = rng.normal(size=(2, 15)).cumsum(1)
        drawn.append(correlations({"a": a, "b": b}, shuffles=99, seed=k).steps_chance[0, 1])
    assert np.mean(np.asarray(drawn) <= 0.1) == pytest.approx(0.1, abs=0.08)
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.1)


def test_gaps_flat_curves_and_short_ones_have_nan() -> None:
    a = np.arange(8.0)
    holed = a.copy()
    holed[:5] = np.nan
    found = correlations({"a": a, "flat": np.ones(8), "holed": holed}, shuffles=9)
    assert np.isnan(found.rho[0, 1])
    assert np.isnan(found.rho[0, 2])
    assert found.count[0, 2] == 3
    with pytest.raises(BadInput, match="one value for each"):
        correlations({"a": a, "b": a[:3]})


def test_the_same_seed_gives_the_same_numbers() -> None:
    rng = np.random.default_rng(4)
    curves = {"a": rng.normal(size=12), "b": rng.normal(size=12)}
    np.testing.assert_array_equal(correlations(curves, seed=1).chance, correlations(curves, seed=1).chance)


def test_students_interval_holds_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    inside = sum((found := interval(rng.normal(2.0, 1.0, size=3))).low <= 2.0 <= found.high for _ in range(400))
    assert 360 <= inside <= 396
    assert np.isnan(interval([1.0]).low)
    assert interval([1.0, np.nan, 3.0]).mean == 2.0
    assert interval([]).count == 0
    with pytest.raises(BadInput, match="level"):
        interval([1.0, 2.0], level=2)
