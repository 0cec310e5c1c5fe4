"""A survey that is stopped, by a budget, Ctrl-C or SIGKILL, keeps what it has and goes on where it stopped."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_run import SmallRun, calls, counting_probe, record, survey_in_child, write_run

from landform.atlas import Atlas
from landform.engine import InProcess, Unit
from landform.survey import survey
from landform.survey._plan import coarse_to_fine


def test_the_budget_leaves_times_spread_evenly(small_run: SmallRun, tmp_path: Path) -> None:
    here = small_run.train.here
    trajectory = write_run(tmp_path / "long", [here + 0.01 * step for step in range(33)], small_run.model)
    log = tmp_path / "log"
    probe = counting_probe(log, pause=0.02)
    atlas = survey(trajectory, small_run.train, probes=probe, budget=0.2 / 32, least=0)  # 32 s of training
    steps = list(atlas["sum"].coords["step"])
    assert 2 <= len(steps) <= 10
    assert steps == sorted(coarse_to_fine(33)[: len(steps)])
    assert atlas.notes[0].startswith(f"sum was left out at {33 - len(steps)} of 33 times: the budget of 0.2 s is used")
    # What is there counts: the same budget gives no more, a larger one goes on.
    assert len(survey(trajectory, small_run.train, probes=probe, budget=0.2 / 32, least=0)["sum"].values) == len(steps)
    assert len(calls(log)) == len(steps)
    atlas = survey(trajectory, small_run.train, probes=probe, budget=0.1, least=0)
    assert len(calls(log)) == 33
    assert atlas.notes == ()
    # However small, the first time is measured.
    tiny = survey(trajectory, small_run.train, probes=probe, budget=1e-9, least=0, out=tmp_path / "tiny")
    assert list(tiny["sum"].coords["step"]) == [0]


class Interrupting(InProcess):
    """Presses Ctrl-C in the middle of the fifth unit."""

    def _run(self, unit: Unit):  # type: ignore[no-untyped-def]
        self.ran = getattr(self, "ran", 0) + 1
        if self.ran == 5:
            raise KeyboardInterrupt
        return super()._run(unit)


def test_an_interrupted_survey_keeps_what_it_has_and_goes_on(small_run: SmallRun, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(KeyboardInterrupt):
        survey(small_run.folder, small_run.train, probes=counting_probe(log), engine=Interrupting())
    atlas = Atlas(small_run.folder)
    assert list(atlas["sum"].coords["step"]) == [0, 4, 8, 16]
    assert atlas.notes == ("sum was left out at 5 of 9 times: it was interrupted; survey again to go on.",)
    log.unlink()
    atlas = survey(small_run.folder, small_run.train, probes=counting_probe(log))
    assert len(calls(log)) == 5
    assert atlas["sum"].shape == (9,)
    assert atlas.notes == ()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
def test_a_killed_survey_loses_no_finished_result(tmp_path: Path) -> None:
    here = record(tmp_path / "origin").train.here
    trajectory = write_run(tmp_path / "run", [here + step for step in range(120)], record(tmp_path / "m").model)
    log, chance = tmp_path / "log", random.Random(11)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["small_run", "landform.survey"])
    total, finished, killed = 360, 0, 0
    for _ in range(12):
        started = context.Event()
        child = context.Process(target=survey_in_child, args=(str(trajectory.folder), str(log), started.set))
        child.start()
        assert started.wait(120)
        time.sleep(chance.uniform(0.02, 0.25))
        child.kill()
        child.join()
        killed += child.exitcode == -signal.SIGKILL
        lines = calls(log)
        log.unlink(missing_ok=True)
        told = max([int(line.split()[1]) for line in lines if line.startswith("done")], default=finished)
        atlas = Atlas(trajectory.folder)
        there = len(atlas.stored())
        assert there >= told >= finished
        measured = [line for line in lines if not line.startswith("done")]
        assert len(measured) == len(set(measured))
        # Each call brought a result, but for the one during which it was killed.
        assert there - finished <= len(measured) <= there - finished + 1
        finished = there
        if finished == total:
            break
    assert killed >= 6
    assert finished > 0
    survey_in_child(str(trajectory.folder), str(log), lambda: None)
    assert sum(not line.startswith("done") for line in calls(log)) == total - finished
    atlas = Atlas(trajectory.folder)
    expected = [float((here + step).double().sum()) for step in range(120)]
    for name in ("a", "b", "c"):
        np.testing.assert_array_equal(atlas[name].values, expected)
    assert not [file for file in (trajectory.folder / "atlas").iterdir() if file.name.endswith(".tmp")]


@given(st.integers(0, 200))
def test_every_beginning_of_coarse_to_fine_is_spread_evenly(count: int) -> None:
    order = coarse_to_fine(count)
    assert sorted(order) == list(range(count))
    for stop in range(3, count + 1):
        gaps = np.diff(sorted(order[:stop]))
        assert gaps.max() <= 2 * gaps.min() + 1
    assert order[: min(count, 2)] == [0, count - 1][: min(count, 2)] or count == 1
