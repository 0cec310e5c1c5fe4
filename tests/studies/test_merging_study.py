"""The study of merging in seconds: its groups, its numbers beside plain loops, and that it can be killed."""

from __future__ import annotations

import copy
import importlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import landform as lf
from landform import store
from landform.engine import Processes
from landform.errors import BadInput
from landform.report import write_gallery
from landform.studies import (
    CHOICES,
    MERGING,
    SETTINGS,
    claims_of_merging,
    fixed,
    merging_study,
    predict,
    read_claims,
    rise,
    settings_of,
)
from landform.studies._merging import SCALES
from landform.studies._merging_ensembles import Members, rank_one
from landform.studies._merging_groups import _change, adapt
from landform.studies._merging_measure import Judge, connection, convexity, directedness, merges

TINY = replace(
    SCALES["tiny"],
    data_options={"flat": False, "per_class": 8},
    model_options={"width": 8, "depth": 2},
    recipe=replace(SCALES["tiny"].recipe, epochs=2.0),
    tune=replace(SCALES["tiny"].tune, epochs=1.0),
    parent=1.0,
    forks=(0.0, 1.0),
    curve=2,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merging") / "here"
    merging_study(folder, protocol=TINY, device="cpu")
    return folder


def test_every_setting_and_seed_is_measured(study: Path) -> None:
    results = MERGING.results(study)
    assert set(results) == {*SETTINGS, "forks"} - {"text"}
    for setting, every in results.items():
        assert [each["seed"] for each in every] == [0, 1]
        if setting == "forks":
            continue
        for each in every:
            (pair,) = each["pairs"]
            assert set(pair["methods"]) == set(CHOICES)
            assert ("why" in pair["methods"]["ties"]) == (setting == "start")
            assert all(0 <= one["error"] <= 1 for one in pair["methods"].values() if "error" in one)
            assert ("plane" in each) == (each["seed"] == 0)
    claims = read_claims(study)
    assert len({claim.id for claim in claims}) == len(claims) == 13
    assert [c.to_json() for c in claims_of_merging(TINY, results, "own")] == [c.to_json() for c in claims]


def test_groups_are_what_they_say() -> None:
    data = TINY.dataset()
    made = {name: SETTINGS[name].make(TINY, data, 0, "cpu") for name in settings_of(TINY)}
    for name, group in made.items():
        assert group.points.shape == (2, len(group.joint))
        assert (group.base is None) == (name == "start")
        assert group.one_task == (name not in ("classes", "rotations", "adapters"))
        assert not group.points[0].equal(group.points[1])
    first = nn.utils.parameters_to_vector(TINY.net(0).parameters()).detach()
    assert made["order"].base is not None
    assert made["order"].base.equal(first)
    low, high = (set(task.train.targets.tolist()) for task in made["classes"].tasks)
    assert low == {0, 1, 2, 3, 4}
    assert high == {5, 6, 7, 8, 9}
    plain, turned = made["rotations"].tasks
    assert plain.train.inputs.equal(data.train.inputs)
    assert turned.train.targets.equal(data.train.targets)
    assert not turned.train.inputs.allclose(data.train.inputs)
    assert all(task.train.targets.equal(data.train.targets) for task in made["noise"].tasks)


def test_a_turn_of_ninety_degrees_is_rot90() -> None:
    from landform.studies import _merging_groups as groups

    data = TINY.dataset()
    turned = groups._turned(data.train, 90.0).inputs
    both = [torch.rot90(data.train.inputs, k, (2, 3)) for k in (1, -1)]
    assert any(torch.allclose(turned, one, atol=1e-4) for one in both)


def test_numbers_are_those_of_a_plain_loop() -> None:
    data = TINY.dataset()
    group = SETTINGS["classes"].make(TINY, data, 0, "cpu")
    judge = Judge.of(group, [0, 1], "cpu")
    assert isinstance(judge.data, dict)
    assert len(judge.data) == 2
    net, point = group.net, group.points.mean(0)
    nn.utils.vector_to_parameters(point, net.parameters())
    with torch.no_grad():
        wrong = total = 0
        for task in group.tasks:
            wrong += int((net(task.test.inputs).argmax(1) != task.test.targets).sum())
            total += len(task.test.targets)
    assert float(judge.error(point[None])[0]) == pytest.approx(wrong / total)
    found = merges(judge, group.points, group.base, seed=0)
    assert found["mean"]["error"] == pytest.approx(wrong / total)
    assert found["task_arithmetic"]["settings"]["scale"] in (0.3, 0.5, 0.7, 1.0)
    # At a scale of one half the sum of two task vectors is the mean; the best scale has no larger training loss.
    assert found["task_arithmetic"]["loss"] <= found["mean"]["loss"] + 1e-6


def test_connection_and_convexity_of_a_bowl() -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 3, dtype=torch.float64)
    y = x @ torch.randn(3, 2, dtype=torch.float64)
    landscape = lf.Landscape(nn.Linear(3, 2).double(), (x, y), loss="mse", device="cpu")
    points = torch.randn(4, landscape.layout.size, dtype=torch.float64)
    found = convexity(landscape, points, seed=0)
    assert found["sets"] == found["around"] == 1.0
    assert found["gain"] > 0
    assert found["curvature"] > 0
    # A quadratic has the second difference d' H d everywhere.
    d = points[1] - points[0]
    hessian = landscape.hessian(points[0])
    least = min(
        float((points[j] - points[i]) @ (hessian @ (points[j] - points[i]))) for i in range(4) for j in range(i + 1, 4)
    )
    assert found["curvature"] == pytest.approx(least, rel=1e-6)
    assert float(d @ (hessian @ d)) >= least - 1e-9


def test_layers_and_ways_between_two_points() -> None:
    data = TINY.dataset()
    group = SETTINGS["start"].make(TINY, data, 0, "cpu")
    judge = Judge.of(group, [0, 1], "cpu")
    found = connection(judge, group.points, 0, 0)
    assert found["curve"] is None
    assert len(found["layers"]) == 3
    a, b = group.points
    last = [slot for slot in judge.train.layout.slots if slot.name.startswith(list(found["layers"])[-1])]
    moved = a.clone()
    for slot in last:
        moved[slot.start : slot.stop] = b[slot.start : slot.stop]
    ends = (float(judge.train.loss(a)) + float(judge.train.loss(moved))) / 2
    assert list(found["layers"].values())[-1] == pytest.approx(
        float(judge.train.loss((a + moved) / 2)) - ends, abs=1e-5
    )


def test_directions_of_task_vectors() -> None:
    data = TINY.dataset()
    group = SETTINGS["rotations"].make(TINY, data, 0, "cpu")
    found = directedness(group, "cpu")
    assert group.base is not None
    one, other = (group.points - group.base).double()
    assert found["cosine"] == pytest.approx(float(torch.cosine_similarity(one, other, dim=0)), rel=1e-6)
    assert 0 < found["mask"] <= 1
    assert 0 <= found["overlap"] <= 1
    assert 0 < found["rank"] <= 1


def test_adapters_change_what_they_say() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    parent = copy.deepcopy(net)
    x = torch.randn(5, 1, 8, 8)
    adapt(net, 2, seed=0)
    assert net(x).equal(parent(x))
    assert [name for name, p in net.named_parameters() if p.requires_grad] == ["0.a", "0.b", "3.a", "3.b"]
    with torch.no_grad():
        net[0].b.normal_()
        net[3].b.normal_()
    point = lf.Layout.of(parent).point(parent) + _change(net, parent)
    lf.Layout.of(parent).load_(parent, point)
    assert torch.allclose(net(x), parent(x), atol=1e-5)
    assert torch.linalg.matrix_rank(net[3].change) == 2
    group = SETTINGS["adapters"].make(TINY, TINY.dataset(), 0, "cpu")
    assert group.base is not None
    views = lf.Layout.of(group.net).views(group.points[0] - group.base)
    assert all(torch.linalg.matrix_rank(v, rtol=1e-4) <= 4 for v in views.values() if v.dim() == 2)


def test_members_of_rank_one_are_networks_of_their_own() -> None:
    net = TINY.net(0)
    members = Members(copy.deepcopy(net), 3, seed=0)
    x = TINY.dataset().test.inputs[:6]
    found = members(x)
    assert found.shape == (6, 3, 10)
    layers = [layer for layer in members.modules() if hasattr(layer, "reads")]
    for m in range(3):
        alone = copy.deepcopy(net)
        for plain, layer in zip((one for one in alone.modules() if isinstance(one, nn.Linear)), layers, strict=True):
            plain.weight.data *= torch.outer(layer.gives[m], layer.reads[m])
        assert torch.allclose(found[:, m], alone(x), atol=1e-5)
    told = rank_one(TINY, TINY.dataset(), 0, "cpu", count=2)
    assert len(told["members"]) == 2
    assert 0 <= told["ensemble"] <= 1


@pytest.mark.skipif("LANDFORM_DATA" not in os.environ, reason="needs the text in $LANDFORM_DATA")
def test_parts_of_a_text() -> None:
    group = SETTINGS["text"].make(replace(TINY, text=10), TINY.dataset(), 0, "cpu")
    first, second = group.tasks
    assert first.train.inputs.shape == (8, 64)
    assert first.test.inputs.shape == (2, 64)
    assert not first.train.inputs.equal(second.train.inputs)
    judge = Judge.of(group, [0, 1], "cpu")
    assert 0 < float(judge.error(group.points)[0]) < 1


def test_when_the_mode_is_fixed() -> None:
    def forks(*heights: float | None) -> dict[str, object]:
        return {"epochs": [0.0, 1.0, 2.0], "barriers": {"order": list(heights)}}

    assert fixed(forks(1.0, 0.55, 0.1), "order", 10.0) == pytest.approx(0.2)
    assert fixed(forks(1.0, 0.2, 0.0), "order", 10.0) == pytest.approx(0.15)
    assert fixed(forks(1.0, 0.5, 0.4), "order", 10.0) == 1.0
    assert math.isnan(fixed(forks(0.001, 0.5, 0.0), "order", 10.0))
    assert math.isnan(fixed(forks(None, 0.5, 0.0), "order", 10.0))


def _pair(distance: float, barrier: float, outcome: float) -> dict[str, object]:
    return {
        "features": {"distance": distance, "barrier": barrier},
        "sources": [0.1, 0.1],
        "methods": {"mean": {"error": 0.1 + outcome}, "ties": {"why": "no base"}},
    }


def test_what_can_be_foretold_is_and_what_cannot_is_not() -> None:
    made = np.random.default_rng(0)
    results = {
        "order": [
            {"seed": seed, "pairs": [_pair(made.normal(), b, 0.3 * b) for b in made.random(20)]} for seed in range(4)
        ]
    }
    found = predict(results, "best")
    assert found is not None
    assert found.rho["all"] > 0.9
    assert abs(found.rho["distance"]) < 0.35
    assert abs(found.rho["ends"]) < 0.35
    assert found.rho["barrier"] == pytest.approx(1.0)
    assert rise(results["order"][0]["pairs"][0], "mean") == pytest.approx(found.truth[0])
    noise = {
        "order": [
            {"seed": seed, "pairs": [_pair(made.normal(), made.normal(), made.normal()) for _ in range(20)]}
            for seed in range(4)
        ]
    }
    random = predict(noise, "mean")
    assert random is not None
    assert abs(random.rho["all"]) < 0.35
    assert predict({"order": results["order"][:1]}, "mean") is None


def test_the_page_and_the_gallery(study: Path, tmp_path: Path) -> None:
    page = lf.report(study, tmp_path / "page.html").read_text(encoding="utf-8")
    for words in ("The common ground of merging", "Every way of merging", "Told beforehand", "regmean", "never"):
        assert words in page
    place = write_gallery(study, tmp_path / "gallery", commit="abc")
    assert place == tmp_path / "gallery" / "merging" / "own"
    text = (place / "index.md").read_text(encoding="utf-8")
    assert "| regmean |" in text
    assert "abc" in text
    assert len(list((place / "figures").glob("*.png"))) >= 8
    assert json.loads((place / "claims.json").read_text()) == [c.to_json() for c in read_claims(study)]


def test_settings_of_another_architecture_have_layers_of_their_own(study: Path, tmp_path: Path) -> None:
    place = tmp_path / "study"
    shutil.copytree(study, place)
    for path in (place / "results").glob("classes-*.json"):
        told = store.read_json(path)
        for pair in told["pairs"]:
            pair["connection"]["layers"] = {"blocks.0": 0.1, "blocks.1": 0.2}
        store.write_json(path.with_name(path.name.replace("classes", "text")), {**told, "setting": "text"})
    page = lf.report(place, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Connectivity layer by layer: text" in page


def test_more_seeds_and_several_processes_give_the_same(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        importlib.import_module("landform.studies._merging"), "settings_of", lambda protocol: ("start",)
    )
    merging_study(tmp_path, protocol=replace(TINY, seeds=1), device="cpu", engine=Processes(2))
    merging_study(tmp_path, protocol=TINY, device="cpu")
    _same(tmp_path, study, ("start", "forks"))


def _same(one: Path, other: Path, settings: tuple[str, ...]) -> None:
    """See that results of some settings are the same."""
    results = [MERGING.results(folder) for folder in (one, other)]
    assert set(results[0]) == set(settings)
    for name in settings:
        assert _without_times(results[0][name]) == _without_times(results[1][name])


def _without_times(found: object) -> object:
    if isinstance(found, dict):
        return {key: _without_times(value) for key, value in found.items() if key not in ("seconds", "crc32")}
    return [_without_times(each) for each in found] if isinstance(found, list) else found


def test_it_can_be_killed_at_any_time(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys, torch; torch.set_num_threads(1); from tests_merging import TINY; "
        "import landform.studies._merging as room; room.settings_of = lambda protocol: ('order',); "
        "room.merging_study(sys.argv[1], protocol=TINY, device='cpu')"
    )
    module = Path(__file__).read_text(encoding="utf-8").split("@pytest.fixture")[0]
    (tmp_path / "tests_merging.py").write_text(module, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    folder = tmp_path / "study"
    for wanted in (1, 2):
        child = subprocess.Popen([sys.executable, "-c", code, str(folder)], env=environment)
        until = time.monotonic() + 60
        while len(list((folder / "results").glob("*.json"))) < wanted and time.monotonic() < until:
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert len(list((folder / "results").glob("*.json"))) >= wanted
    monkeypatch.setattr(
        importlib.import_module("landform.studies._merging"), "settings_of", lambda protocol: ("order",)
    )
    merging_study(folder, protocol=TINY, device="cpu")
    _same(folder, study, ("order", "forks"))


def test_misuse_is_told(study: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no scale 'large' of merging"):
        merging_study(tmp_path, scale="large")
    with pytest.raises(BadInput, match="another parent: go on with"):
        merging_study(study, protocol=replace(TINY, parent=2.0))
    with pytest.raises(BadInput, match="an even number"):
        replace(TINY, sources=3)
    with pytest.raises(BadInput, match="within its 2 epochs"):
        replace(TINY, forks=(0.0, 5.0))
    with pytest.raises(BadInput, match="no set of labelled images"):
        merging_study(tmp_path / "a", protocol=replace(TINY, data_options={}))
    (tmp_path / "b" / "results").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"results but no study.json"):
        merging_study(tmp_path / "b", protocol=TINY)
    empty = tmp_path / "empty"
    empty.mkdir()
    store.write_json(
        empty / "study.json", {"schema": 1, "study": "merging", "scale": "own", "protocol": TINY.to_json()}
    )
    with pytest.raises(BadInput, match="holds too few results yet"):
        lf.report(empty)
    store.write_json(empty / "study.json", {"schema": 1, "study": "weather"})
    with pytest.raises(BadInput, match="'weather', which this landform does not know"):
        lf.report(empty)
