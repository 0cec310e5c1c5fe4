"""Averages along a run against plain loops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from merge_cases import array, layout, model, points
from torch import Tensor

import landform as lf
from landform.errors import BadInput, Damaged
from landform.merging import average, merge
from landform.merging._average import _chosen, _fading


def run(folder: Path, norm: str = "none", dtype: torch.dtype | None = None) -> lf.Trajectory:
    """Points that drift at random, recorded at uneven times."""
    net = model(0, norm)
    made = torch.Generator().manual_seed(0)
    with lf.Recorder(folder, net, epoch=10, at=[0, 1, 2, 4, 8, 16, 25, 30, 40], dtype=dtype, pairs=None) as recorder:
        for step in range(40):
            for tensor in [*net.parameters(), *net.buffers()]:
                if tensor.is_floating_point():
                    tensor.data += 0.1 * torch.rand(tensor.shape, generator=made)
                else:
                    tensor.data += 1
            recorder.step(loss=1.0 / (step + 1))
    return lf.Trajectory(folder)


def test_swa_is_the_mean_since_a_time(tmp_path: Path) -> None:
    trajectory = run(tmp_path / "a")
    assert trajectory.epochs == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 3, 4]
    every = trajectory.points[:]
    found = average(trajectory)
    torch.testing.assert_close(found.point, every[[7, 8]].mean(0))
    assert found.method == "swa"
    assert found.facts == {"points": "2 from 3 to 4"}
    assert [layer.name for layer in found.layers] == list(trajectory.layout.names)
    assert found.total.norm == pytest.approx(float((found.point - every[8]).norm()), rel=1e-5)
    assert found.total.norms[-1] == 0
    torch.testing.assert_close(average(trajectory, since=0.2, until=2.6).point, every[2:7].mean(0))
    spaced = average(trajectory, since=0, every=1.4)
    torch.testing.assert_close(spaced.point, every[[4, 6, 8]].mean(0))


def test_lawa_takes_the_last_few(tmp_path: Path) -> None:
    trajectory = run(tmp_path / "a")
    every = trajectory.points[:]
    torch.testing.assert_close(average(trajectory, how="lawa", last=2).point, every[[7, 8]].mean(0))
    torch.testing.assert_close(average(trajectory, how="lawa").point, every[[3, 5, 7, 8]].mean(0))
    torch.testing.assert_close(average(trajectory, how="lawa", last=3, every=0).point, every[6:].mean(0))


def test_ema_is_the_recursion(tmp_path: Path) -> None:
    trajectory = run(tmp_path / "a")
    every = array(trajectory.points[:])
    wanted = every[0]
    for point in every[1:]:
        wanted = 0.7 * wanted + 0.3 * point
    np.testing.assert_allclose(array(average(trajectory, how="ema", decay=0.7).point), wanted, atol=1e-6)
    wanted = every[0]
    for point, before, now in zip(every[1:], trajectory.epochs, trajectory.epochs[1:], strict=False):
        keep = 0.5 ** ((now - before) / 1.5)
        wanted = keep * wanted + (1 - keep) * point
    np.testing.assert_allclose(array(average(trajectory, how="ema", half_life=1.5).point), wanted, atol=1e-6)
    last = average(trajectory, how="ema", decay=0)
    torch.testing.assert_close(last.point, trajectory.points[-1])


@given(st.floats(0.05, 5), st.lists(st.floats(0.01, 2), min_size=1, max_size=8))
def test_a_point_between_that_changes_nothing_changes_nothing(half_life: float, gaps: list[float]) -> None:
    """With a half-life, what a piecewise constant way gives does not depend on how often it is looked at."""
    times = [0.0, *np.cumsum(gaps).tolist()]
    weights = _fading(times, None, half_life)
    assert sum(weights) == pytest.approx(1)
    middle = times[-2] + 0.3 * (times[-1] - times[-2])
    finer = _fading([*times[:-1], middle, times[-1]], None, half_life)
    assert finer[:-2] == pytest.approx(weights[:-1])
    assert finer[-2] + finer[-1] == pytest.approx(weights[-1])


def test_plain_points_have_places_for_times() -> None:
    rows = points(8, layout().size)
    for given_points in (rows, list(rows)):
        found = average(given_points, layout=layout())
        torch.testing.assert_close(found.point, rows[6:].mean(0))
        assert len(found.layers) == len(layout().slots)
    torch.testing.assert_close(average(rows, how="lawa").point, rows[2:].mean(0))
    torch.testing.assert_close(average(rows, since=1, until=5, every=2).point, rows[[1, 3, 5]].mean(0))
    torch.testing.assert_close(average(rows[:3], how="ema").point, merge(rows[:3], weights=[0.81, 0.09, 0.1]).point)


def test_times_that_are_an_epoch_apart_but_for_rounding() -> None:
    times = [0.1 * i for i in range(31)]  # such as 0.30000000000000004
    assert _chosen(times, "swa", 0.0, None, 0.3, None) == list(range(0, 31, 3))


def test_types_as_the_run_has_them(tmp_path: Path) -> None:
    trajectory = run(tmp_path / "a", dtype=torch.bfloat16)
    found = average(trajectory, since=0)
    assert found.point.dtype == trajectory.points[0].dtype
    torch.testing.assert_close(found.point, trajectory.points[:].mean(0))


def test_statistics_are_averaged_or_found_anew(tmp_path: Path) -> None:
    trajectory = run(tmp_path / "a", "batch")
    found = average(trajectory)
    assert found.facts["buffers"] == "averaged over the sources"
    two: list[dict[str, Tensor]] = [trajectory.records[i].buffers for i in (7, 8)]
    for name, buffer in found.buffers.items():
        wanted = two[0][name] if "tracked" in name else (two[0][name] + two[1][name]) / 2
        torch.testing.assert_close(buffer, wanted)
    data = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    where = lf.Landscape(model(0, "batch"), data, device="cpu")
    anew = average(trajectory, data=where)
    assert anew.facts["buffers"] == "found over the data"
    for name, buffer in where.calibrate(anew.point).items():
        assert torch.equal(buffer, anew.buffers[name])


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    trajectory = run(tmp_path / "a")
    path = sorted((tmp_path / "a" / "points").iterdir())[-1]
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(Damaged, match=path.name):
        average(lf.Trajectory(tmp_path / "a"))
    torch.testing.assert_close(average(trajectory, until=3, since=2).point, trajectory.points[6:8].mean(0))


P = points(8)
WRONG = {
    "how": (lambda: average(P, how="eam"), "no average 'eam'.*did you mean 'ema'"),
    "what": (lambda: average(3), "points is a int: give a run"),
    "decay of swa": (lambda: average(P, decay=0.5), "decay belongs to 'ema', and how is 'swa'"),
    "last of ema": (lambda: average(P, how="ema", last=3), "last belongs to 'lawa'"),
    "decay": (lambda: average(P, how="ema", decay=1), r"decay is 1: give a number in \[0, 1\)"),
    "half-life": (lambda: average(P, how="ema", half_life=0), "half_life is 0: give a number above 0"),
    "both": (lambda: average(P, how="ema", half_life=1, decay=0.1), "Both decay and half_life"),
    "since": (lambda: average(P, since=math.nan), "since is nan: give a time"),
    "last": (lambda: average(P, how="lawa", last=1), "last is 1: give a whole number of at least 2"),
    "few": (lambda: average(P, since=6.5), "There are 8 points, of which 1 lie from 6.5 to 7: an average takes two"),
    "far": (lambda: average(P, since=0, every=10), "1 lie, at least 10 apart, from 0 to 7"),
    "none": (lambda: average(P[:0]), "nothing to merge|There are 0 points"),
    "nan": (lambda: average(P * math.nan), "The point at 6 holds NaN"),
    "data": (lambda: average(P, data=3), "data is no landscape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_misuse_is_one_sentence(name: str) -> None:
    call, said = WRONG[name]
    with pytest.raises(BadInput, match=said):
        call()


def test_a_run_knows_its_layout(tmp_path: Path) -> None:
    trajectory = run(tmp_path / "a")
    with pytest.raises(BadInput, match="knows its layout"):
        average(trajectory, layout=trajectory.layout)
