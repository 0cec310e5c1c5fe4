"""The study end to end, in seconds: the same claims however often it is killed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import landform as lf
from landform import paths
from landform.engine import Processes
from landform.errors import BadInput
from landform.report import write_gallery
from landform.studies import SCALES, Protocol, deep_vs_kernel, read, read_claims
from landform.studies._deep_vs_kernel import atlases

SMALL = replace(
    SCALES["tiny"],
    data_options={"train_size": 120, "test_size": 60},
    recipe=replace(SCALES["tiny"].recipe, epochs=3.0),
    model_options={"width": 12, "depth": 2},
    spawns=(0.0, 0.5, 1.0, 2.0),
    onsets=(0.0, 1.0, 3.0),
    onset={"epochs": 1.0, "lr": 0.05, "batch_size": 32, "samples": 20},
    records=4,
    kernel=12,
    curvature=1,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "here"
    deep_vs_kernel(folder, protocol=SMALL, device="cpu")
    return folder


def test_it_trains_measures_and_claims(study: Path) -> None:
    claims = read_claims(study)
    assert len(claims) == 9
    assert sorted(path.name for path in study.glob("seed-*")) == ["seed-0", "seed-1"]
    for seed in range(2):
        run = lf.Trajectory(study / f"seed-{seed}")
        assert len(run.children) == 8
        assert run.run["settings"]["command"]["model"]["options"]["seed"] == seed
        assert run.run["settings"]["recipe"]["seed"] == seed
    points = [lf.Trajectory(study / f"seed-{seed}").points[0] for seed in range(2)]
    assert not points[0].equal(points[1])  # each seed has an initialisation of its own


def test_what_it_claims_is_what_direct_calls_measure(study: Path) -> None:
    run = lf.Trajectory(study / "seed-1")
    data = lf.data.digit_sums(train_size=120, test_size=60)
    net = lf.models.build("mlp", inputs=(128,), classes=10, width=12, depth=2)
    test = lf.Landscape(net, data, device="cpu").on(data.test)
    kin = [child for child in run.children if child.parent is not None and child.parent["step"] == 0]
    line = paths.barrier(test, kin[0].points[-1], kin[1].points[-1], steps=21, refine=0)
    barrier = read(atlases(study, 2), "children_barrier_error", "test")
    assert barrier.values[1, 0] == pytest.approx(line.error_height)
    error = read(atlases(study, 2), "error", "test")
    assert error.values[1, -1] == pytest.approx(float(test.error(run.points[-1])))


def test_several_processes_give_the_same_claims(study: Path, tmp_path: Path) -> None:
    deep_vs_kernel(tmp_path / "there", protocol=SMALL, device="cpu", engine=Processes(2))
    assert (tmp_path / "there" / "claims.json").read_text() == (study / "claims.json").read_text()


def test_more_seeds_can_be_asked_for_later(tmp_path: Path) -> None:
    one = replace(SMALL, seeds=1, curvature=0)
    deep_vs_kernel(tmp_path, protocol=one, device="cpu")
    before = (tmp_path / "seed-0" / "run.json").read_text()
    claims = deep_vs_kernel(tmp_path, protocol=replace(one, seeds=2), device="cpu")
    assert (tmp_path / "seed-0" / "run.json").read_text() == before
    assert max(claim.seeds for claim in claims) == 2


def test_controls_change_one_thing_each(tmp_path: Path) -> None:
    deep_vs_kernel(tmp_path, protocol=replace(SMALL, seeds=1, curvature=0), controls=True, device="cpu")
    told = {
        path.name: json.loads((path / "study.json").read_text())["protocol"]
        for path in (tmp_path / "controls").glob("*")
    }
    assert set(told) == {"smaller-step", "other-schedule", "another-task"}
    assert told["smaller-step"]["recipe"]["lr"] == pytest.approx(SMALL.recipe.lr / (1 - SMALL.recipe.momentum) / 3)
    assert told["other-schedule"]["recipe"]["schedule"]["name"] == "constant"
    assert told["another-task"]["data"]["name"] == "digits"
    page = lf.report(tmp_path).read_text()
    assert "What changes the verdicts" in page
    assert "smaller step" in page


def test_the_page_tells_the_story_first(study: Path) -> None:
    page = lf.report(study, drawings="png").read_text()
    head = page[page.index("<main>") : page.index("What was measured")]
    assert "Two networks (mlp," in head
    assert "the final linearly connected basin is determined" in head
    assert "landform reproduce" not in page  # a protocol of one's own has no command
    for name in ("moving-together", "barrier-lines", "onset-errors", "kernel-distances", "correlations"):
        assert f'id="{name}"' in page
        assert (study / "figures" / f"{name}.png").stat().st_size > 5000
    assert 'src="http' not in page


def test_what_is_kept_in_a_gallery(study: Path, tmp_path: Path) -> None:
    place = write_gallery(study, tmp_path / "gallery", commit="abc")
    assert place == tmp_path / "gallery" / "deep-vs-kernel" / "own"
    assert (place / "claims.json").read_text() == (study / "claims.json").read_text()
    text = (place / "index.md").read_text()
    assert "commit `abc`" in text
    for name in re.findall(r"\((figures/[^)]+)\)", text):
        assert (place / name).is_file()
    assert text.count("| the final linearly connected basin") == 1
    assert not list(place.glob("**/*.safetensors"))


_CHILD = """
import sys
from test_deep_vs_kernel import SMALL
from landform.studies import deep_vs_kernel
deep_vs_kernel(sys.argv[1], protocol=SMALL, device="cpu")
"""


def test_killed_at_random_moments_it_gives_the_same_claims(study: Path, tmp_path: Path) -> None:
    # LANDFORM_KILLS=20 for the long version.
    kills = int(os.environ.get("LANDFORM_KILLS", "3"))
    rng = random.Random(0)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    begun = [sys.executable, "-c", _CHILD, str(tmp_path / "cut")]
    done = 0
    for _ in range(4 * kills):
        process = subprocess.Popen(begun, env=environment, stderr=subprocess.DEVNULL)
        pause = rng.uniform(2.5, 7.0)
        try:
            process.wait(pause)
            break  # it came to its end
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += 1
        if done >= kills:
            break
        time.sleep(0.05)
    assert done >= min(kills, 1)
    deep_vs_kernel(tmp_path / "cut", protocol=SMALL, device="cpu")
    assert (tmp_path / "cut" / "claims.json").read_text() == (study / "claims.json").read_text()


def test_another_study_in_the_folder_is_refused(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="another recipe"):
        deep_vs_kernel(study, protocol=replace(SMALL, recipe=replace(SMALL.recipe, lr=0.9)), device="cpu")
    (tmp_path / "seed-0").mkdir()
    with pytest.raises(BadInput, match="holds runs but no"):
        deep_vs_kernel(tmp_path, protocol=SMALL, device="cpu")
    with pytest.raises(BadInput, match="no scale 'huge'"):
        deep_vs_kernel(tmp_path / "x", scale="huge")
    numbers = replace(lf.data.digit_sums(train_size=20, test_size=20), classes=None)
    monkeypatch.setattr("landform.studies._deep_vs_kernel.loaded", lambda name, options: numbers)
    with pytest.raises(BadInput, match="no classes"):
        deep_vs_kernel(tmp_path / "y", protocol=SMALL)


def test_a_protocol_says_what_is_wrong_with_it() -> None:
    with pytest.raises(BadInput, match="within the 3 epochs"):
        replace(SMALL, spawns=(0.0, 3.0))
    with pytest.raises(BadInput, match="at least 1 and 2"):
        replace(SMALL, children=1)
    assert isinstance(SMALL.using(seeds=None), Protocol)
    assert np.isfinite(SMALL.recipe.lr)
