"""The study of emergent geometry in seconds: its parts beside plain reckoning, and that it goes on where it stopped."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import landform as lf
from landform import store
from landform.errors import BadInput
from landform.report import write_gallery
from landform.report._bands import band, table_of, told
from landform.studies import (
    EMERGENT,
    EmergentProtocol,
    claims_of_emergent,
    confined,
    emergent_geometry,
    intrinsic,
    order,
    read_claims,
)
from landform.studies._emergent import SCALES
from landform.studies._emergent_along import look, modelled, outliers, threshold
from landform.studies._emergent_numbers import at_the_edge, by_seed, rise, thrown
from landform.studies._held import Given, hold, said, small

_SUBJECTS = {
    name: replace(
        subject,
        data_options={"flat": False, "per_class": 4},
        model_options={**subject.model_options, "width": 6},
        samples=40,
        looks=2,
    )
    for name, subject in SCALES["tiny"].subjects.items()
}
TINY = replace(
    SCALES["tiny"],
    subjects=_SUBJECTS,
    recipe=replace(SCALES["tiny"].recipe, epochs=4.0),
    plane_recipe=replace(SCALES["tiny"].plane_recipe, epochs=2.0),
    grid_steps=8,
    modelled=20,
    radii=(0.1, 1.0),
    dimensions=(2, 5),
    burn_in=(1,),
    edge_steps=12,
    edge_rates=(0.3, 1.5),
    seeds=1,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("emergent") / "here"
    emergent_geometry(folder, protocol=TINY, device="cpu")
    return folder


def test_every_part_is_measured(study: Path) -> None:
    found = EMERGENT.results(study)
    assert {kind: len(parts) for kind, parts in found.items()} == {
        "along": 2, "edge": 1, "grid": 1, "model": 1, "planes": 1, "zone": 2,
    }  # fmt: skip
    for part in found["along"]:
        assert [each["step"] for each in part["looks"]] == [0, part["until"]]
        assert all(0 <= each["full"] <= 1 for each in part["looks"])
        assert part["shape"]["norms"][0] > 0
        assert sum(part["shape"]["shares"]) <= 1 + 1e-9
    for part in found["planes"]:
        assert set(part["accuracy"]) == {"radius 1", "radius 2.5", "kind unit", "kind sparse", "kind fastfood",
                                         "burn-in 1"}  # fmt: skip
        assert all(0 <= value <= 1 for line in part["accuracy"].values() for value in line)
    assert all(len(part["runs"]) == len(TINY.edge_rates) for part in found["edge"])
    claims = read_claims(study)
    assert len({claim.id for claim in claims}) == len(claims) == 26
    assert [c.to_json() for c in claims_of_emergent(TINY, found, "own")] == [c.to_json() for c in claims]
    twice = {kind: [*parts, *({**part, "seed": 1} for part in parts)] for kind, parts in found.items()}
    for one, two in zip(claims, claims_of_emergent(TINY, twice, "own"), strict=True):
        assert (two.seeds, two.verdict) == (2 * one.seeds, one.verdict)
    described = store.read_json(study / "study.json")
    assert EMERGENT.read(described["protocol"]) == TINY


def test_a_look_is_what_plain_algebra_says() -> None:
    subject = TINY.subjects["tanh"]
    data = subject.dataset()
    net = subject.net(data, 0).double()
    x, y = data.train.inputs.double(), data.train.targets
    landscape = lf.Landscape(net, (x, y), device="cpu")
    here = landscape.here
    found = look(TINY, landscape, here, {}, 20, 0)
    values, vectors = torch.linalg.eigh(landscape.hessian(here).dense())
    np.testing.assert_allclose(found["eigenvalues"][:3], values.flip(0)[:3], rtol=0.01)
    gradient = landscape.gradient(here)
    inside = float((vectors[:, -10:].T @ gradient).square().sum() / gradient.square().sum())
    assert found["full"] == pytest.approx(inside, abs=0.05)
    assert threshold(landscape, here) == pytest.approx(2 / float(values[-1]), rel=0.01)
    assert found["logit_variance"] == pytest.approx(float(net(x).detach().var(dim=1).mean()))


def test_the_spectrum_of_the_model_is_that_of_the_gauss_newton_matrix() -> None:
    subject = TINY.subjects["mlp"]
    data = subject.dataset()
    net = subject.net(data, 1)
    landscape = lf.Landscape(net, data, device="cpu")
    found = modelled(TINY, subject, data, landscape, landscape.here, 0)
    rows = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[: TINY.modelled].sort().values
    few = landscape.on((data.train.inputs[rows], data.train.targets[rows]))
    dense = torch.linalg.eigvalsh(few.gauss_newton(few.here).dense().double()).flip(0)
    np.testing.assert_allclose(found["spectrum"][:20], dense[:20], rtol=1e-3, atol=1e-5)


def test_outliers_stand_before_the_largest_gap() -> None:
    values = [9.0, 8, 7, 6, 5, 4.5, 4, 3.5, 3.2, 1.0, 0.9, 0.85, 0.8]
    assert outliers(values, 10) == 9
    assert outliers([*values[:9], 3.0, 1.0, 0.9, 0.8], 10) == 10


def test_numbers_of_claims() -> None:
    assert rise([3.0, 1.0, 2.5, 0.1]) == 2.5
    assert order([0.4, 0.2, -0.05]) == pytest.approx(0.15)
    accuracy = {"a": [0.1, 0.8, 1.0], "b": [0.1, 0.2, 0.3], "c": [0.95, 1.0, 1.0]}
    part = {"free": {"accuracy": 1.0}, "dimensions": [10, 100, 1000], "accuracy": accuracy}
    assert intrinsic(part, "a") == pytest.approx(10**2.5)
    assert math.isnan(intrinsic(part, "b"))
    assert intrinsic(part, "c") == 10
    looks = [{"step": step, "full": share, "eigenvalues": [1.0]} for step, share in ((0, 0.9), (10, 0.4), (100, 0.2))]
    grid = {"runs": [
        {"batch": batch, "rate": rate, "lr": rate * 3, "looks": looks} for batch in (16, 0) for rate in (0.1, 0.9)
    ]}  # fmt: skip
    assert confined(grid) == pytest.approx(0.3)
    assert confined(grid, rate=-1, until=0.5) == pytest.approx(0.4)
    assert confined(grid, batches=(0,), stable=True) == pytest.approx(0.3)
    assert math.isnan(confined(grid, batches=(64,)))
    assert by_seed({"x": [{"seed": 0, "v": 1.0}, {"seed": 0, "v": 3.0}, {"seed": 1, "v": math.nan}]}, "x",
                   lambda p: p["v"])[0] == 2.0  # fmt: skip


def test_edge_and_catapult_of_made_up_runs() -> None:
    def run(rate: float, sharpness: list[float], losses: list[float | None]) -> dict[str, object]:
        return {
            "rate": rate, "lr": 1.0, "start": 1.0, "steps": [0, 1, 3], "sharpness": sharpness,
            "loss_steps": [0, 1, 2, 3], "losses": losses, "diverged": losses[-1] is None,
        }  # fmt: skip

    part = {"runs": [run(0.5, [1.0, 1.9, 2.1], [1, 1, 1, 0.5]), run(0.2, [1.0, 1, 1], [1, 1, 1, 1])]}
    assert at_the_edge(part) == pytest.approx(1.05)
    assert math.isnan(at_the_edge({**part, "runs": part["runs"][1:]}))
    good = run(1.5, [3.0, 2, 1], [1, 4, 2, 0.3])
    assert thrown({"runs": [good]}) == 1
    assert thrown({"runs": [good, run(1.7, [3.4, 3, 3], [1, 0.9, 0.8, 0.5])]}) == 0.5
    assert thrown({"runs": [run(1.5, [3.0], [1, 9, None, None])]}) == 0


def test_descent_is_that_of_a_plain_loop(study: Path) -> None:
    part = EMERGENT.results(study)["edge"][0]
    subject = TINY.subjects["tanh"]
    data = subject.dataset()
    split, run = subject.some(data), part["runs"][0]
    x, y = split.inputs, functional.one_hot(split.targets, 10).float()
    net = replace(subject, model_options={**subject.model_options, "init": "torch"}).net(data, 0)
    losses = []
    for _ in range(3):
        loss = functional.mse_loss(net(x), y)
        losses.append(float(loss.detach()))
        slopes = torch.autograd.grad(loss, list(net.parameters()))
        for weight, slope in zip(net.parameters(), slopes, strict=True):
            weight.data.sub_(slope, alpha=run["lr"])
    assert run["start"] == pytest.approx(losses[0], rel=1e-4)
    assert run["losses"][:3] == pytest.approx(losses, rel=1e-3)


def test_claims_are_held() -> None:
    def given(values: list[float], judge: object = None) -> Given:
        return Given("a", "b", "c", "d", "e", values, judge or said(1.0, 0.5, "it is {:.1f}"), "nothing")  # type: ignore[arg-type]

    assert hold(given([2.0, 2.0]), {}).verdict == "reproduced"
    assert hold(given([0.7]), {}).verdict == "in part"
    assert hold(given([0.1, 3.0]), {}).verdict == "in part"
    assert hold(given([math.nan]), {}).verdict == "not at this scale"
    assert hold(given([math.nan]), {}).why == "nothing"
    assert hold(given([]), {}).verdict == "not measured"
    assert hold(given([0.05], small(0.1, 0.3, "{:.2f}")), {}).verdict == "reproduced"
    assert hold(given([0.5], small(0.1, 0.3, "{:.2f}")), {}).verdict == "contradicted"


def test_bands_are_means_and_standard_errors() -> None:
    table = table_of([[1.0, 2.0, None], [3.0, 4.0]])
    assert np.isnan(table[:, 2]).all()
    line = band("x", [0.0, 1.0, 2.0], table, 0)
    np.testing.assert_allclose(line.y[:2], [2, 3])
    assert line.low is not None
    np.testing.assert_allclose(line.low[:2], [1, 2])
    np.testing.assert_allclose(band("x", [0.0], [[1.0], [100.0]], 0, log=True).y, [10])
    assert told([1.0, 3.0]) == "2.00 ± 1.00"
    assert told([0.5], 1, percent=True) == "50.0"
    assert told([None]) == "–"


def test_the_page_and_the_gallery(study: Path, tmp_path: Path) -> None:
    page = lf.report(study, tmp_path / "page.html").read_text(encoding="utf-8")
    for words in ("Emergent geometry", "The Goldilocks zone", "Training in random planes", "The catapult", "d_int90"):
        assert words in page
    place = write_gallery(study, tmp_path / "gallery", commit="abc")
    assert place == tmp_path / "gallery" / "emergent-geometry" / "own"
    assert "| burn-in 1 |" in (place / "index.md").read_text(encoding="utf-8")
    assert len(list((place / "figures").glob("*.png"))) >= 15
    assert json.loads((place / "claims.json").read_text()) == [c.to_json() for c in read_claims(study)]


def test_it_goes_on_where_it_stopped(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(study, folder)
    gone = folder / "results" / "zone-mlp-0.json"
    before = store.read_json(gone)
    gone.unlink()
    kept = (folder / "results" / "along-mlp-0.json").stat().st_mtime_ns
    emergent_geometry(folder, protocol=TINY, device="cpu")
    assert store.read_json(gone) == before
    assert (folder / "results" / "along-mlp-0.json").stat().st_mtime_ns == kept


def test_misuse_is_told(study: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no scale 'large' of emergent-geometry"):
        emergent_geometry(tmp_path, scale="large")
    with pytest.raises(BadInput, match="another rate: go on with"):
        emergent_geometry(study, protocol=replace(TINY, rate=0.5))
    with pytest.raises(BadInput, match="no subject 'cnn'"):
        replace(TINY, planes_on="cnn")
    with pytest.raises(BadInput, match="have 1 in plane_radii"):
        replace(TINY, plane_radii=(0.5,))
    with pytest.raises(BadInput, match="give at least one of each"):
        replace(TINY, seeds=0)
    (tmp_path / "b" / "results").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"results but no study.json"):
        emergent_geometry(tmp_path / "b", protocol=TINY)
    empty = store.make_folder(tmp_path / "empty")
    told_of = {"schema": 1, "study": "emergent-geometry", "scale": "own", "protocol": TINY.to_json()}
    store.write_json(empty / "study.json", told_of)
    with pytest.raises(BadInput, match="holds too few results yet"):
        lf.report(empty)
    assert isinstance(EmergentProtocol.from_json(TINY.to_json()), EmergentProtocol)
