"""A run followed in the terminal."""

from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landform import live
from landform.errors import BadInput
from landform.live._history import History
from landform.live._text import plot, spark
from landform.recording import Trajectory


def test_a_run_is_followed_until_it_ends(tmp_path: Path, fake: Any) -> None:
    run = fake(tmp_path / "mine").record(0)
    frames = live.watch(tmp_path / "mine", every=0.01)
    first = next(frames)
    assert "training" in first.text
    assert "There is no loss to draw yet." in first.text
    run.record(10)
    second = next(frames)
    assert "epoch 1 of 8 (step 10)" in second.text
    assert "loss of the batches" in second.text
    assert second.line.startswith("training, epoch 1 of 8 (step 10), loss 1.395")
    run.record(80)
    run.close()
    *_, last = frames  # ends by itself
    assert last.standing.state == "finished"
    assert "finished" in last.text


def test_it_waits_between_looks(tmp_path: Path, fake: Any) -> None:
    run = fake(tmp_path / "mine").record(0)
    ended = threading.Timer(0.3, run.close)
    ended.start()
    began = time.monotonic()
    count = len(list(live.watch(tmp_path / "mine", every=0.1)))
    ended.join()
    assert 0.25 < time.monotonic() - began < 5
    assert 3 <= count <= 8


def test_a_frame_fits(tmp_path: Path, fake: Any) -> None:
    fake(tmp_path / ("a-long-name-" * 8)).record(0, 30, 80).close()
    for width, height in ((40, 12), (80, 24), (200, 60)):
        frame = next(live.watch(tmp_path / ("a-long-name-" * 8), size=lambda w=width, h=height: (w, h)))  # type: ignore[misc]
        lines = frame.text.splitlines()
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
    plain = next(live.watch(tmp_path / ("a-long-name-" * 8), plain=True)).text
    assert plain.isascii()


def test_measurements_as_they_land(tmp_path: Path) -> None:
    import landform as lf

    data = lf.data.digits(per_class=4)
    net = lf.models.build("mlp", inputs=(1, 8, 8), classes=10, width=4, depth=1, seed=0)
    recipe = lf.Recipe(epochs=2, batch_size=20)
    lf.train(net, data, recipe, out=tmp_path / "mine", recording=lf.Recording(at=[0, 2, 4]), device="cpu")
    landscape = lf.Landscape(net, data, device="cpu")
    lock = lf.Atlas(tmp_path / "mine").lock()
    frames = live.watch(tmp_path / "mine", every=0.01)
    assert "measured" not in next(frames).text.splitlines()[-1]
    lock.release()
    lf.survey(tmp_path / "mine", {"train": landscape}, probes=["loss", "error", "eigenvalues"])
    atlas = lf.Atlas(tmp_path / "mine")
    *_, last = frames
    row = next(line for line in last.text.splitlines() if line.startswith("error"))
    assert row.split()[-2:] == [f"{atlas['error'].values[-1]:.2%}", "2"]
    assert "also measured" in last.text
    assert "eigenvalues" in last.text
    drawn = next(live.watch(tmp_path / "mine", curve="error")).text
    assert "error" in drawn.splitlines()[3]
    history = History(tmp_path / "mine", 2)
    np.testing.assert_allclose(history.measured()["loss"]["train"][1], atlas["loss"].values)


def test_curves_agree_with_the_trajectory(tmp_path: Path, fake: Any) -> None:
    run = fake(tmp_path / "mine").record(0, 7, 20)
    history = History(tmp_path / "mine", 10)
    assert history.curves()["loss"][0][-1] == 2.0
    run.record(35)
    run.writer.write_curves(38, {"loss": ([36, 37, 38], [0.3, 0.2, 0.1])})
    run.close()
    epochs, values = history.curves()["loss"]
    steps, losses = Trajectory(tmp_path / "mine").curves["loss"]
    np.testing.assert_allclose(epochs, steps.numpy() / 10)
    np.testing.assert_allclose(values, losses.numpy())


def test_what_is_measured_during_training(tmp_path: Path, fake: Any) -> None:
    run = fake(tmp_path / "mine").record(0, 10)
    run.writer.write_curves(12, {"train/gradient_norm": ([2, 12], [4.0, 2.0]), "accuracy": ([12], [0.5])})
    run.close()
    text = next(live.watch(tmp_path / "mine")).text
    rows = [line.split() for line in text.splitlines()]
    assert ["gradient_norm", "train", "█▁", "2", "1.2"] in rows
    assert ["accuracy", "▁", "0.5", "1.2"] in rows
    assert "train/gradient_norm: 2" in next(live.watch(tmp_path / "mine", curve="train/gradient_norm")).text


def test_misuse(tmp_path: Path, fake: Any) -> None:
    fake(tmp_path / "mine").record(0, 10).close()
    with pytest.raises(BadInput, match="is not a run"):
        next(live.watch(tmp_path))
    with pytest.raises(BadInput, match="is no folder"):
        next(live.watch(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match="no curve 'lss': it has loss"):
        next(live.watch(tmp_path / "mine", curve="lss"))
    with pytest.raises(BadInput, match="above zero"):
        next(live.watch(tmp_path / "mine", every=0))


def test_a_run_that_goes_away_is_told(tmp_path: Path, fake: Any) -> None:
    run = fake(tmp_path / "mine").record(0)
    frames = live.watch(tmp_path / "mine", every=0.01)
    next(frames)
    os.unlink(tmp_path / "mine" / "run.json")
    with pytest.raises(BadInput, match="no run any more"):
        next(frames)
    run.close()


def test_links_of_ones_own_run_are_followed(tmp_path: Path, fake: Any) -> None:
    fake(tmp_path / "big" / "mine").record(0, 10).close()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(tmp_path / "big" / "mine")
    assert next(live.watch(tmp_path / "runs" / "mine")).standing.step == 10


def rows(x: list[float], y: list[float], **how: Any) -> list[str]:
    return plot(np.array(x, dtype=float), np.array(y, dtype=float), how.pop("width", 42), how.pop("height", 10), **how)


def test_a_falling_line_falls_and_has_no_gap() -> None:
    every = [[line[12:].ljust(30) for line in rows([0, 1], [4.0, 1.0], plain=True)[:-1]]][0]
    places = [[column for column, mark in enumerate(line) if mark == "*"] for line in every]
    assert places[0][0] == 0
    assert places[-1][-1] == 29
    assert sorted(column for row in places for column in row) == list(range(30))
    assert all(above[-1] < below[0] for above, below in itertools.pairwise(places))


def test_where_numbers_are_missing_there_is_a_gap() -> None:
    found = rows([0, 1, 2, 3], [1.0, 1.0, float("nan"), 1.0], plain=True)
    line = next(line for line in found if "*" in line)[12:].ljust(30)
    assert line[:10].count("*") >= 9
    assert line[12:22].count("*") == 0
    assert line[29] == "*"
    assert rows([0, 1], [float("nan"), float("inf")]) == ["(no finite number yet)"]


def test_a_logarithmic_scale_where_values_ask_for_it() -> None:
    found = rows([0, 1, 2], [100.0, 1.0, 0.01], plain=True, height=11)
    labels = [line[:10].strip() for line in found[:-1] if line[:10].strip()]
    assert labels[0] == "100"
    assert labels[-1] == "0.01"
    assert float(labels[1]) == pytest.approx(1.0, rel=0.7)
    assert rows([0, 1], [3.0, 3.0])  # a flat line has a place too
    assert rows([5], [3.0])


def test_bars() -> None:
    assert spark([1, 2, 3]) == "▁▅█"
    assert spark([1.0, float("nan"), 2.0]) == "▁ █"
    assert spark([]) == ""
    assert len(spark(list(range(100)), 12)) == 12
    assert spark([1, 1], plain=True).isascii()
    assert spark([float("nan")]) == " "
