"""Figures as descriptions: which numbers, which axes, which gaps. Nothing is drawn here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landform.report import Axis, Material, Measured, Series, figures
from landform.report._figure import decades, extent
from landform.report._figures import learning_rate, step_cosine, training_curve, windows
from landform.report._figures import loss as loss_figure

EPOCHS = np.array([0.0, 0.1, 0.2, 0.4, 0.8, 8.0])
LOSSES = np.array([[2.3, 2.0, 1.5, 1.0, 0.5, 0.01], [2.3, 2.1, 1.6, 1.2, 0.9, 0.8]])


def material(**measured: Measured) -> Material:
    return Material("run", measured=measured)


def test_the_loss_has_one_series_a_set_with_the_true_numbers() -> None:
    figure = loss_figure(material(loss=Measured(EPOCHS, LOSSES, ("train", "test"))))
    assert figure is not None
    assert [series.name for series in figure.series] == ["train", "test"]
    for series, row in zip(figure.series, LOSSES, strict=True):
        np.testing.assert_array_equal(series.x, EPOCHS)
        np.testing.assert_array_equal(series.y, row)
    assert len({series.colour for series in figure.series}) == 2
    assert figure.caption
    assert figure.fools


@pytest.mark.parametrize(
    ("epochs", "times", "scale"),
    [
        (EPOCHS, "auto", "log"),
        (EPOCHS, "linear", "linear"),
        (np.linspace(0, 10, 11), "auto", "linear"),
        (np.linspace(0, 10, 11), "log", "log"),
        (np.zeros(1), "log", "linear"),
    ],
)
def test_time_is_log_where_the_records_are(epochs: np.ndarray, times: str, scale: str) -> None:
    figure = loss_figure(material(loss=Measured(epochs, np.ones((1, len(epochs))))), times)  # type: ignore[arg-type]
    assert figure is not None
    assert figure.x.scale == scale


def test_the_start_has_its_place_on_a_log_axis_and_the_axis_says_so() -> None:
    figure = loss_figure(material(loss=Measured(EPOCHS, LOSSES, ("train", "test"))))
    assert figure is not None
    assert figure.x.zero_at is not None
    assert 0 < figure.x.zero_at < 0.1
    assert "epoch 0" in figure.x.label
    assert figure.x.place(EPOCHS)[0] == figure.x.zero_at
    np.testing.assert_array_equal(figure.x.place(EPOCHS)[1:], EPOCHS[1:])
    assert figure.x.ticks(np.array([0.1, 8.0]))[0] == (figure.x.zero_at, "0")


def test_values_are_log_only_where_all_are_positive_and_far_apart() -> None:
    def scale(*values: float) -> str:
        figure = loss_figure(material(loss=Measured(np.arange(len(values), dtype=float), np.array([values]))))
        assert figure is not None
        return figure.y.scale

    assert scale(1.0, 0.01) == "log"
    assert scale(1.0, 0.5) == "linear"
    assert scale(1.0, 0.0, 0.001) == "linear"
    assert scale(1.0, float("nan"), 0.001) == "log"


def test_what_is_not_finite_is_a_gap() -> None:
    values = np.array([[1.0, np.inf, np.nan, 0.5]])
    figure = loss_figure(material(loss=Measured(np.arange(4.0), values)))
    assert figure is not None
    np.testing.assert_array_equal(np.isnan(figure.series[0].y), [False, True, True, False])


def test_no_figure_without_numbers() -> None:
    nothing = Measured(np.arange(3.0), np.full((1, 3), np.nan))
    assert figures(material(loss=nothing)) == []
    assert figures(Material("empty")) == []
    assert figures(Material("empty", curves={"loss": (np.empty(0), np.empty(0))})) == []


def test_every_measured_quantity_has_its_figure_in_order() -> None:
    one = Measured(EPOCHS, LOSSES[:1])
    names = ("loss", "error", "gradient_norm", "distance", "parameter_norm", "step_cosine")
    steps = np.linspace(0, 8, 1000)
    curves = {"loss": (steps, 1 / (1 + steps)), "lr": (steps, 1 - steps / 8)}
    found = figures(Material("run", measured=dict.fromkeys(names, one), curves=curves))
    assert [figure.name for figure in found] == [
        "loss",
        "error",
        "training-curve",
        "learning-rate",
        "gradient-norm",
        "distance",
        "parameter-norm",
        "step-cosine",
    ]
    assert found[1].y.percent


def test_cosines_are_shown_from_minus_one_to_one() -> None:
    figure = step_cosine(material(step_cosine=Measured(EPOCHS[1:], np.array([[0.9, 0.5, 0.0, -0.2, 0.1]]))))
    assert figure is not None
    assert figure.y.limits is not None
    assert figure.y.limits[0] <= -1
    assert figure.y.limits[1] >= 1
    assert figure.reference == 0.0
    assert figure.x.zero_at is None  # nothing was measured at the start


def test_a_constant_learning_rate_needs_no_figure() -> None:
    steps = np.arange(10.0)
    assert learning_rate(Material("run", curves={"lr": (steps, np.full(10, 0.1))})) is None
    assert learning_rate(Material("run", curves={"lr": (steps, 0.1 / (1 + steps))})) is not None


def test_a_long_training_curve_is_a_median_with_a_band() -> None:
    random = np.random.default_rng(0)
    steps, values = np.arange(1000.0), random.random(1000)
    figure = training_curve(Material("run", curves={"loss": (steps, values)}))
    assert figure is not None
    (series,) = figure.series
    assert len(series.x) == 100
    assert series.low is not None
    assert series.high is not None
    plain = [np.median(values[i : i + 10]) for i in range(0, 1000, 10)]
    np.testing.assert_allclose(series.y, plain)
    assert (series.low <= series.y).all()
    assert (series.y <= series.high).all()


@given(st.lists(st.floats(0.0, 1e6, allow_subnormal=False), min_size=1, max_size=60), st.integers(1, 20))
def test_windows_keep_every_value_within_their_reach(values: list[float], count: int) -> None:
    y = np.array(values)
    at, middle, low, high = windows(np.arange(len(y), dtype=float), y, count)
    assert len(at) == min(count, len(y))
    assert (np.diff(at) > 0).all()
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert y.min() <= low.min()
    assert high.max() <= y.max()


def test_a_window_of_nothing_finite_is_a_gap() -> None:
    y = np.array([1.0, 2.0, np.nan, np.inf, 3.0, 4.0])
    _, middle, _, _ = windows(np.arange(6.0), y, 3)
    np.testing.assert_array_equal(middle, [1.5, np.nan, 3.5])


@given(st.floats(-12, 12), st.floats(0, 15))
def test_ticks_are_few_and_within_reach(power: float, reach: float) -> None:
    low, high = 10.0**power, 10.0 ** (power + reach)
    ticks = decades(low, high)
    assert len(ticks) <= 12
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in ticks)
    assert ticks == sorted(ticks)
    if reach >= 2:
        assert len(ticks) >= 1


def test_a_log_axis_places_only_what_has_a_place() -> None:
    axis = Axis("x", "log")
    np.testing.assert_array_equal(axis.place(np.array([-1.0, 0.0, 2.0])), [np.nan, np.nan, 2.0])
    assert extent([Series("a", np.array([0.0, 3.0, np.nan]), np.array([1.0, 1.0, 1.0]))], "x") == (3.0, 3.0)
    assert extent([], "x") is None


def test_a_log_axis_is_marked_where_a_few_round_values_are() -> None:
    axis = Axis("patches (log scale)", "log")
    assert [text for _, text in axis.ticks(np.array([16.0, 4.0, 9.0, 4.0]))] == ["4", "9", "16"]
    assert [text for _, text in axis.ticks(np.array([0.12345, 1.0, 20.0]))] == ["1", "10"]  # no round number
    assert [text for _, text in axis.ticks(np.array([1.0, 1.1, 100.0]))] == ["1", "2", "5", "10", "20", "50", "100"]
    assert axis.ticks(np.empty(0)) == []
