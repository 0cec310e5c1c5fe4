"""The study of freed networks in seconds: its numbers beside plain reckoning, its page, and that it goes on."""

from __future__ import annotations

import copy
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import landform as lf
from landform import models, store
from landform.errors import BadInput
from landform.layout import Layout
from landform.report import write_gallery
from landform.studies import (
    NEEDLE,
    STUDIES,
    accuracy,
    claims_of_needle,
    needle_study,
    over,
    read_claims,
    rises,
)
from landform.studies._needle import SCALES
from landform.studies._needle_claims import chosen, climb, decay

TINY = replace(
    SCALES["tiny"],
    subject=replace(
        SCALES["tiny"].subject,
        data_options={"train_size": 80, "test_size": 120, "canvas": 8},
        model_options={"width": [2, 2], "head": "flatten", "init": "torch"},
        samples=40,
    ),
    relax=(0.0, 1.0, 2.0),
    after=2.0,
    every=1.0,
    train=80,
    validation=40,
    test=80,
    seeds=1,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("needle") / "here"
    needle_study(folder, protocol=TINY, device="cpu")
    return folder


def test_everything_is_measured(study: Path) -> None:
    found = NEEDLE.results(study)
    (part,) = found["relaxed"]
    assert [run["relax"] for run in part["efcn"]] == [0.0, 1.0, 2.0]
    assert part["cnn"]["epochs"] == part["fcn"]["epochs"]
    assert part["cnn"]["epochs"][-1] == 4.0
    for run in part["efcn"]:
        # At its start a freed network is the convolutional one.
        place = part["cnn"]["epochs"].index(run["relax"])
        assert run["deviation"][0] == run["distance"][0] == 0
        assert all(run[key][0] == part["cnn"][key][place] for key in ("train", "validation", "test"))
        assert 0 < run["deviation"][-1] < run["distance"][-1] < part["fcn"]["deviation"][-1]
    assert len(part["ends"]) == len(part["back"]) == len(part["curvature"]["ends"]) == 4
    assert part["back"][0]["test"][0] == part["efcn"][0]["test"][-1]
    assert part["back"][0]["test"][-1] == pytest.approx(part["ends"][0]["folded"], abs=0.02)
    assert all(end["local"] + sum(end["energy"]) == pytest.approx(1) for end in part["ends"])
    claims = read_claims(study)
    assert len({claim.id for claim in claims}) == len(claims)
    assert [c.to_json() for c in claims_of_needle(TINY, found, "own")] == [c.to_json() for c in claims]
    twice = {"relaxed": [part, {**part, "seed": 1}]}
    assert [c.verdict for c in claims_of_needle(TINY, twice, "own")] == [c.verdict for c in claims]
    (premise,) = (claim for claim in claims if claim.id == "premise")
    both = [accuracy(part[name], "best", 2.0) for name in ("cnn", "fcn")]
    assert premise.value == pytest.approx(100 * (both[0] - both[1]))
    assert NEEDLE.read(store.read_json(study / "study.json")["protocol"]) == TINY


def test_a_run_beside_a_plain_one(study: Path) -> None:
    (part,) = NEEDLE.results(study)["relaxed"]
    data, held = TINY.load()
    net = TINY.subject.net(data, 0)
    recipe = replace(TINY.recipe, seed=0)
    lf.train(net, data, replace(recipe, epochs=1.0), device="cpu")
    made = models.freed(net, (1, 8, 8))
    lf.train(made.net, data, replace(recipe, epochs=2.0, seed=1000), device="cpu")
    with torch.no_grad():
        for split, key in ((data.test, "test"), (held, "validation")):
            wrong = float((made.net(split.inputs).argmax(1) != split.targets).double().mean())
            assert part["efcn"][1][key][-1] == pytest.approx(wrong)
    point = Layout.of(made.net).point(made.net)
    assert part["efcn"][1]["deviation"][-1] == pytest.approx(float(made.deviation(point)), rel=1e-4)
    local = copy.deepcopy(made.net)
    Layout.of(local).load_(local, made.without_off(point))
    with torch.no_grad():
        wrong = float((local(data.test.inputs).argmax(1) != data.test.targets).double().mean())
    assert part["ends"][1]["without_off"] == pytest.approx(wrong)


def test_samples_for_validation_are_others(study: Path) -> None:
    for held in ("train", "test"):
        protocol = replace(TINY, held=held, train=60 if held == "train" else 80, validation=20, test=60)
        data, apart = protocol.load()
        assert (len(data.train), len(apart), len(data.test)) == (protocol.train, 20, 60)
        every = torch.cat([data.train.inputs, apart.inputs, data.test.inputs]).flatten(1)
        assert len(every.unique(dim=0)) == len(every)
    pooled, _ = replace(TINY, pooled=2).load()
    assert pooled.train.inputs.shape[1:] == (1, 4, 4)
    assert pooled.train.inputs[0, 0, 1, 2] == pytest.approx(
        float(TINY.load()[0].train.inputs[0, 0, 2:4, 4:6].mean()), abs=1e-6
    )


def test_numbers_of_claims() -> None:
    run = {"epochs": [0, 1, 2, 3], "validation": [0.1, 0.5, 0.3, 0.4], "test": [0.2, 0.6, 0.35, 0.3]}
    assert accuracy(run, "best") == pytest.approx(0.65)  # the start does not count
    assert accuracy(run, "last") == pytest.approx(0.7)
    assert accuracy(run, "best", 1) == accuracy(run, "last", 1) == pytest.approx(0.4)
    assert math.isnan(accuracy({**run, "validation": [0.1, 0.5, 0.3, None]}, "best"))
    better = {**run, "validation": [0.9, 0.9, 0.2, 0.9], "relax": 1.0}
    worse = {**run, "validation": [0.9, 0.9, 0.25, 0.9], "relax": 2.0}
    part = {"efcn": [{**run, "relax": 0.0}, worse, better, run], "cnn": run, "fcn": run}
    assert chosen(part) == 2
    protocol = replace(TINY, relax=(0.0, 1.0, 2.0, 3.0), after=1.0)
    assert over(protocol, part, 2, "cnn", "last") == pytest.approx(0.0)
    assert over(protocol, part, 0, "fcn", "last") == pytest.approx(0.3)
    assert climb([1.0, 3.0, 2.0]) == 1.0
    assert climb([1.0, 0.5, 0.0]) == 0.0
    assert math.isnan(climb([]))
    assert math.isinf(climb([1.0, None, 0.0]))
    told = {"barriers": {"heights": [[0.0, 0.5], [0.5, 0.0]], "losses": [1.0, 0.0]}}
    assert rises(told)[0][1] == 0.0  # a straight descent has half the difference as its barrier
    assert decay({"away": [0, 1, 2], "mean_square": [5.0, 3.0, 1.0]}) == 3.0
    assert math.isnan(decay({"away": [], "mean_square": []}))


def test_the_page_and_the_gallery(study: Path, tmp_path: Path) -> None:
    page = lf.report(study, tmp_path / "page.html").read_text(encoding="utf-8")
    for words in ("Freed of convolution", "Freed at different times", "What one unit sees", "Hills between solutions"):
        assert words in page
    place = write_gallery(study, tmp_path / "gallery", commit="abc")
    assert "| freed after 1 |" in (place / "index.md").read_text(encoding="utf-8")
    assert len(list((place / "figures").glob("*.png"))) == 11
    assert json.loads((place / "claims.json").read_text()) == [c.to_json() for c in read_claims(study)]


def test_it_goes_on_where_it_stopped(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(study, folder)
    kept = (folder / "results" / "relaxed-0.json").stat().st_mtime_ns
    needle_study(folder, protocol=TINY, seeds=2, device="cpu")
    assert (folder / "results" / "relaxed-0.json").stat().st_mtime_ns == kept
    first, second = NEEDLE.results(folder)["relaxed"]
    assert first["cnn"]["test"] != second["cnn"]["test"]
    assert all(claim.seeds == 2 for claim in read_claims(folder) if claim.id in ("deviation", "over-cnn", "bump"))


def test_misuse_is_told(study: Path, tmp_path: Path) -> None:
    assert STUDIES["needle"].run is needle_study
    with pytest.raises(BadInput, match="no scale 'large' of needle"):
        needle_study(tmp_path, scale="large")
    with pytest.raises(BadInput, match="another after: go on with"):
        needle_study(study, protocol=replace(TINY, after=3.0))
    with pytest.raises(BadInput, match="ascending from 0"):
        replace(TINY, relax=(1.0, 2.0, 3.0))
    with pytest.raises(BadInput, match="3 epochs apart for 2"):
        replace(TINY, every=3.0)
    with pytest.raises(BadInput, match="has 80 samples to train, and 120 are needed"):
        replace(TINY, held="train").load()
    with pytest.raises(BadInput, match="'train' or 'test'"):
        replace(TINY, held="both")
    with pytest.raises(BadInput, match="at least one seed"):
        replace(TINY, seeds=0)
    empty = store.make_folder(tmp_path / "empty")
    told = {"schema": 1, "study": "needle", "scale": "own", "protocol": TINY.to_json()}
    store.write_json(empty / "study.json", told)
    with pytest.raises(BadInput, match="holds too few results yet"):
        lf.report(empty)
