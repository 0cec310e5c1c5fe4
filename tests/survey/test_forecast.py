"""What a survey will cost is told beforehand, and what costs most is left out first."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path

import pytest
from small_run import SmallRun

from landform.probes import Moment, Probe
from landform.survey import Forecast, survey


def slow(pause: float, name: str, moment: Moment) -> dict[str, float]:
    time.sleep(pause)
    return {name: float(moment.record.step)}


def probe(name: str, pause: float) -> Probe:
    return Probe(name, partial(slow, pause, name), needs=(), cost=9.0)


@pytest.mark.timing
def test_the_forecast_comes_true(plain_run: SmallRun, tmp_path: Path) -> None:
    told: list[Forecast] = []
    probes = [probe("quick", 0.01), probe("slow", 0.05)]
    atlas = survey(plain_run.folder, plain_run.train, probes=probes, forecast=told.append, out=tmp_path)
    (forecast,) = told
    spent = sum(each.seconds for name in ("quick", "slow") for each in atlas.results(name))
    assert forecast.seconds == pytest.approx(spent, rel=0.5)
    assert forecast.whole == forecast.seconds
    assert forecast.left_out == {}
    assert str(forecast).startswith("Measuring will take about")


@pytest.mark.timing
def test_what_costs_most_is_left_out_first(plain_run: SmallRun, tmp_path: Path) -> None:
    told: list[Forecast] = []
    probes = [probe("quick", 0.002), probe("slow", 0.1)]
    trained = max(plain_run.trajectory.seconds)
    atlas = survey(
        plain_run.folder,
        plain_run.train,
        probes=probes,
        budget=0.45 / trained,
        least=0,
        forecast=told.append,
        out=tmp_path,
    )
    assert len(atlas["quick"].values) == 9
    taken = len(atlas["slow"].values)
    assert 2 <= taken <= 5
    ((left, total),) = told[0].left_out.values()
    assert total - left == pytest.approx(taken - 2, abs=1)
    assert told[0].whole > told[0].seconds
    assert "left out for it are slow" in str(told[0])
    assert any(note.startswith("slow was left out") for note in atlas.notes)
    assert not any(note.startswith("quick") for note in atlas.notes)


def test_a_budget_is_never_under_two_minutes(plain_run: SmallRun, tmp_path: Path) -> None:
    told: list[Forecast] = []
    survey(plain_run.folder, plain_run.train, probes=["loss"], budget=1e-9, forecast=told.append, out=tmp_path)
    assert told[0].allowance == 120.0
    assert told[0].left_out == {}


def test_sentences() -> None:
    assert str(Forecast(100, 100, math.inf, {})) == "Measuring will take about 1.7 min."
    assert "of the 2.0 min allowed" in str(Forecast(100, 100, 120, {}))
    assert "onset at 3 of 6 times" in str(Forecast(7200, 9000, 8000, {"onset": (3, 6)}))
