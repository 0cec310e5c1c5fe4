"""The study of wedges in seconds: its numbers beside plain reckoning, its page, and that it goes on."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import landform as lf
from landform import store
from landform.errors import BadInput
from landform.report import write_gallery
from landform.studies import (
    WEDGES,
    claims_of_wedges,
    fitted,
    read_claims,
    wedges_study,
)
from landform.studies._wedges import SCALES
from landform.studies._wedges_claims import crossing, flattened, joined, radial, widened
from landform.studies._wedges_nets import snapshots, tunnel

TINY = replace(
    SCALES["tiny"],
    subject=replace(
        SCALES["tiny"].subject, data_options={"flat": False, "per_class": 6}, model_options={"width": 8, "depth": 1}
    ),
    knobs={"L2": (0.0, 0.01), "batch size": (20.0, 10.0), "dropout": (0.0, 0.3), "width": (6.0, 8.0)},
    steps=4,
    seeds=1,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wedges") / "here"
    wedges_study(folder, protocol=TINY, device="cpu")
    return folder


def test_every_part_is_measured(study: Path) -> None:
    found = WEDGES.results(study)
    assert {kind: len(parts) for kind, parts in found.items()} == dict.fromkeys(
        ("cycles", "optima", "planes", "toy", "tunnels"), 1
    )
    (optima,) = found["optima"]
    assert len(optima["straight"]) == len(optima["angles"]) == 3
    assert [each["optima"] for each in optima["joined"]] == [2, 3]
    assert optima["from_first"][0] == optima["from_second"][-1] == 0
    assert optima["from_first"][-1] == optima["from_second"][0] == optima["apart"][0]
    one = optima["scales"].index(1.0)
    assert optima["radial"][one] == pytest.approx(optima["losses"][0], rel=1e-4)
    assert optima["angular"][0] == pytest.approx(optima["losses"][0], rel=1e-4)
    assert set(found["tunnels"][0]["knobs"]) == set(TINY.knobs)
    claims = read_claims(study)
    assert len({claim.id for claim in claims}) == len(claims)
    assert [c.to_json() for c in claims_of_wedges(TINY, found, "own")] == [c.to_json() for c in claims]
    twice = {kind: [*parts, *({**part, "seed": 1} for part in parts)] for kind, parts in found.items()}
    assert [c.verdict for c in claims_of_wedges(TINY, twice, "own")] == [c.verdict for c in claims]
    assert WEDGES.read(store.read_json(study / "study.json")["protocol"]) == TINY


def test_laws_of_the_toy_hold(study: Path) -> None:
    known = {claim.id: claim for claim in read_claims(study)}
    (case,) = WEDGES.results(study)["toy"][0]["cases"]
    assert case["connector"] == pytest.approx(0, abs=1e-9)
    assert known["toy-line"].value is not None
    assert known["toy-line"].value == pytest.approx(abs(case["line"] / case["line_law"] - 1))
    assert known["toy-line"].value < 0.25  # a hundred dimensions only


def test_a_tunnel_ends_where_the_loss_does() -> None:
    data = TINY.subject.dataset()
    net = TINY.subject.net(data, 0)
    lf.train(net, data, replace(TINY.recipe, epochs=20.0), device="cpu")
    found = tunnel(TINY, net, data, "cpu", 0)
    x, y = TINY.subject.some(data).inputs, TINY.subject.some(data).targets
    with torch.no_grad():
        assert found["loss"] == pytest.approx(float(functional.cross_entropy(net(x), y)), rel=1e-4)
    assert found["relative"] == pytest.approx(found["raw"] / found["norm"], rel=1e-6)
    assert found["large"] == pytest.approx(2 * (TINY.threshold - found["loss"]) / (found["raw"] / 2) ** 2)
    low = tunnel(replace(TINY, threshold=0.5 * found["loss"]), net, data, "cpu", 0)
    assert low["raw"] is None
    assert low["large"] is None


def test_snapshots_beside_plain_numbers() -> None:
    data = TINY.subject.dataset()
    nets = [TINY.subject.net(data, k) for k in range(2)]
    landscape = lf.Landscape(nets[0], data, device="cpu")
    test = landscape.on(data.test)
    points = torch.stack([landscape.layout.point(net) for net in nets])
    found = snapshots(landscape, test, data.test.targets, points[0], points)
    with torch.no_grad():
        said = [net(data.test.inputs).argmax(1) for net in nets]
    assert found["apart"] == [pytest.approx(float((said[0] != said[1]).double().mean()))]
    assert found["errors"][0] == pytest.approx(float((said[0] != data.test.targets).double().mean()))
    assert found["mean"] == pytest.approx(float(test.error(points.mean(0))))
    assert snapshots(landscape, test, data.test.targets, points[0], points * math.nan)["barriers"] is None


def test_numbers_of_claims() -> None:
    assert crossing([1.0, 2.0, 3.0], [0.0, 0.5, 2.5], 1.0) == pytest.approx(2.25)
    assert crossing([1.0, 2.0], [0.0, None], 1.0) == 1.0
    assert crossing([1.0, 2.0], [0.0, 0.1], 1.0) == 2.0
    assert crossing([1.0, 2.0], [3.0, 0.1], 1.0) == 1.0
    part = {
        "scales": [0.5, 1.0, 2.0], "radial": [2.0, 0.0, 2.0], "degrees": [0.0, 30.0], "angular": [0.0, 2.0],
    }  # fmt: skip
    assert radial(part) == pytest.approx(0.5 * (0.5 + 0.25) / math.radians(15))
    told = {"ends": 0.1, "mean": 0.2, "plain_mean": 1.1, "highest": 0.05, "plain_highest": 0.11}
    assert joined(told, "mean") == pytest.approx(0.1)
    assert math.isnan(joined(told, "highest"))
    knobs = {
        "width": [{"raw": 1.0, "large": 2.0}, {"raw": 3.0, "large": 1.0}],
        "L2": [{"raw": None, "large": 2.0}, {"raw": 3.0, "large": 3.0}],
        "dropout": [{"raw": 1.0, "large": 2.0}, {"raw": 3.0, "large": None}],
    }
    assert widened({"knobs": knobs}, "width", "raw") == 3
    assert math.isnan(widened({"knobs": knobs}, "L2", "raw"))
    assert math.isnan(widened({"knobs": knobs}, "batch size", "raw"))
    assert flattened({"knobs": knobs}) == 0.5
    d = [0, 10, 50, 100]
    losses = [2 * math.sqrt(1 - each / 200) for each in d]
    short, residual = fitted({"parameters": 1000, "dimensions": d, "losses": losses})
    assert short == pytest.approx(200, rel=0.01)
    assert residual < 0.01


def test_the_page_and_the_gallery(study: Path, tmp_path: Path) -> None:
    page = lf.report(study, tmp_path / "page.html").read_text(encoding="utf-8")
    for words in ("Wedges", "Optima and the origin", "Connectors of many optima", "Cyclic runs", "The toy: laws"):
        assert words in page
    place = write_gallery(study, tmp_path / "gallery", commit="abc")
    assert "| width 8 |" in (place / "index.md").read_text(encoding="utf-8")
    assert len(list((place / "figures").glob("*.png"))) >= 9
    assert json.loads((place / "claims.json").read_text()) == [c.to_json() for c in read_claims(study)]


def test_it_goes_on_where_it_stopped(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(study, folder)
    gone = folder / "results" / "cycles-0.json"
    before = store.read_json(gone)
    gone.unlink()
    kept = (folder / "results" / "toy-0.json").stat().st_mtime_ns
    wedges_study(folder, protocol=TINY, device="cpu")
    assert store.read_json(gone) == before
    assert (folder / "results" / "toy-0.json").stat().st_mtime_ns == kept


def test_misuse_is_told(study: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no scale 'large' of wedges"):
        wedges_study(tmp_path, scale="large")
    with pytest.raises(BadInput, match="another threshold: go on with"):
        wedges_study(study, protocol=replace(TINY, threshold=1.5))
    with pytest.raises(BadInput, match="no knob 'colour'"):
        replace(TINY, knobs={"colour": (1.0, 2.0)})
    with pytest.raises(BadInput, match="two values of each knob"):
        replace(TINY, knobs={"L2": (1.0,)})
    with pytest.raises(BadInput, match="from 2 to all 3 optima"):
        replace(TINY, connected=(4,))
    with pytest.raises(BadInput, match="three wedges or more"):
        replace(TINY, wedges=2)
    empty = store.make_folder(tmp_path / "empty")
    told = {"schema": 1, "study": "wedges", "scale": "own", "protocol": TINY.to_json()}
    store.write_json(empty / "study.json", told)
    with pytest.raises(BadInput, match="holds too few results yet"):
        lf.report(empty)
