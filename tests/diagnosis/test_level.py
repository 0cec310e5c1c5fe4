import numpy as np
import pytest

from landform.diagnosis import learn, table_of
from landform.diagnosis._level import levelled


@pytest.fixture(scope="module")
def rows(made_landscapes):
    return made_landscapes(4)


@pytest.fixture(scope="module")
def grid():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((240, 6)) * np.arange(1, 7)
    return values, values[:, 0] + rng.standard_normal(240) > 0.3


def test_a_shifted_grid_comes_back_and_a_part_of_one_stays(grid):
    values, flat = grid
    back = levelled(values + 0.7, values, flat, flat)
    for regime in (True, False):
        share = ((flat == regime).sum() / ((flat == regime).sum() + 40)) ** 2
        moved = (values + 0.7 - back)[flat == regime]
        assert moved.mean() == pytest.approx(0.75 * share * 0.7, rel=0.05)
    close = values * 0.5
    np.testing.assert_array_equal(levelled(close, values, flat, flat), close)


def test_few_rows_are_left_alone_and_the_two_regimes_are_not_mixed(grid):
    values, flat = grid
    np.testing.assert_array_equal(levelled(values[:1], values, flat[:1], flat), values[:1])
    moved = levelled(values + 0.7, values, flat, flat)
    hot = levelled(values[~flat] + 0.7, values[~flat], flat[~flat], flat[~flat])
    np.testing.assert_allclose(moved[~flat], hot)


def test_order_is_kept_and_so_is_what_is_unknown(grid):
    values, flat = grid
    holes = values + 0.3
    holes[::5, 2] = np.nan
    moved = levelled(holes, values, flat, flat)
    np.testing.assert_array_equal(np.isnan(moved), np.isnan(holes))
    for regime in (True, False):
        before, after = holes[flat == regime, 1], moved[flat == regime, 1]
        assert (np.diff(after[np.argsort(before)]) >= -1e-12).all()


def test_answers_for_a_grid_of_other_data_gain_by_it(rows):
    """All curvatures larger and all barriers higher, as other data make them: the answers are still the same."""
    other = table_of(
        [
            {**row, "hessian_t": row["hessian_t"] + 1.5, "hessian_e": row["hessian_e"] + 1.5, "cka": row["cka"] ** 2}
            for row in rows
        ]
    )
    known = table_of(rows)
    judge = learn(known, "temperature")
    plain = judge.answer(known).first
    alone, together = (judge.answer(other, together=way).first for way in (False, True))
    assert np.abs(together - plain).mean() < 0.9 * np.abs(alone - plain).mean()
