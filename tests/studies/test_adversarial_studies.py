"""The two studies of adversarial robustness: resumable, their numbers those of plain loops, their pages made."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landform as lf
from landform import store
from landform.errors import BadInput
from landform.report import write_gallery
from landform.studies import (
    ADVERSARIAL_KERNEL,
    ADVERSARIAL_LANDSCAPE,
    STUDIES,
    adversarial_kernel,
    adversarial_landscape,
    carried,
    claims_of_adversarial_kernel,
    claims_of_adversarial_landscape,
    ordered,
    read_claims,
    rise_of,
    settings_of_robust,
    top_of,
)
from landform.studies import _adversarial_kernel as kernel_study
from landform.studies import _adversarial_landscape as landscape_study
from landform.studies._adversarial_kernel_dynamics import lazy
from landform.studies._adversarial_kernel_parts import Wide, closed
from landform.studies._adversarial_landscape import raw
from landform.studies._adversarial_landscape_measure import look

ROBUST = replace(landscape_study.SCALES["tiny"], recipe=replace(landscape_study.SCALES["tiny"].recipe, epochs=3.0))
KERNEL = replace(kernel_study.SCALES["tiny"], seeds=1)


@pytest.fixture(scope="module")
def robust(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("robust") / "here"
    adversarial_landscape(folder, protocol=ROBUST, device="cpu")
    return folder


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples") / "here"
    adversarial_kernel(folder, protocol=KERNEL, device="cpu")
    return folder


def test_every_way_of_training_is_measured(robust: Path) -> None:
    results = ADVERSARIAL_LANDSCAPE.results(robust)
    assert set(results) == {setting.id for setting in settings_of_robust(ROBUST)}
    for name, every in results.items():
        assert [each["seed"] for each in every] == [0, 1]
        assert ("planes" in every[0]) == (name in ("standard", "alone-0.1", "alone-0.2"))
        for each in every:
            assert each["adversarial loss"] >= each["clean"]["centre"]
            assert rise_of(each) == pytest.approx(
                (each["clean"]["losses"][0] + each["clean"]["losses"][-1]) / 2 - each["clean"]["centre"]
            )
            assert all(one["strong"] <= one["clean"] for one in each["robust"].values())
    claims = read_claims(robust)
    assert len({claim.id for claim in claims}) == len(claims) == 13
    again = claims_of_adversarial_landscape(ROBUST, results, "own")
    assert [c.to_json() for c in again] == [c.to_json() for c in claims]
    assert ADVERSARIAL_LANDSCAPE.read(store.read_json(robust / "study.json")["protocol"]) == ROBUST


def test_more_seeds_are_added_and_nothing_is_done_twice(robust: Path, tmp_path: Path) -> None:
    adversarial_landscape(tmp_path, protocol=replace(ROBUST, seeds=1), device="cpu")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}
    adversarial_landscape(tmp_path, protocol=ROBUST, device="cpu")
    assert {n: (tmp_path / "results" / n).stat().st_mtime_ns for n in before} == before
    one, other = ADVERSARIAL_LANDSCAPE.results(tmp_path), ADVERSARIAL_LANDSCAPE.results(robust)
    for name in one:
        for mine, theirs in zip(one[name], other[name], strict=True):  # alone or in a stack
            assert mine["norm"] == pytest.approx(theirs["norm"], rel=1e-4)


def test_sharpness_is_that_of_a_plain_loop() -> None:
    data = ROBUST.dataset()
    net = ROBUST.net(data, 3)
    found = look(ROBUST, data, net, 3, "cpu", planes=False)
    rows = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[: ROBUST.samples]
    x, y = data.train.inputs[rows].double(), data.train.targets[rows]
    plain = copy.deepcopy(net).double()
    landscape = lf.Landscape(plain, (x, y), device="cpu")
    directions = lf.surface.random(landscape, landscape.here, ROBUST.directions, seed=3).vectors
    rises = []
    for direction in directions:
        for sign in (1.0, -1.0):
            moved = copy.deepcopy(plain)
            nn.utils.vector_to_parameters(landscape.here + sign * direction, moved.parameters())
            rises.append(float((F.cross_entropy(moved(x), y) - F.cross_entropy(plain(x), y)).detach()))
    assert rise_of(found) == pytest.approx(sum(rises) / len(rises), rel=1e-3, abs=1e-5)
    top = float(torch.linalg.eigvalsh(landscape.hessian(landscape.here).dense())[-1])
    assert top_of(found) == pytest.approx(top, rel=0.02)
    assert found["norm"] == pytest.approx(float(landscape.here.norm()))


def test_normalisation_is_taken_back() -> None:
    data = lf.data.digits(per_class=5)
    found = raw(data)
    told = data.transform["normalise"]
    torch.testing.assert_close(
        found.train.inputs, data.train.inputs * told["std"][0] + told["mean"][0], rtol=1e-5, atol=1e-6
    )
    assert float(found.train.inputs.min()) == 0.0
    assert float(found.train.inputs.max()) == 1.0
    assert "normalise" not in found.transform
    assert raw(found) is found


def test_parts_of_the_kernel_study(examples: Path) -> None:
    results = ADVERSARIAL_KERNEL.results(examples)
    assert {part: len(each) for part, each in results.items()} == {"closed": 1, "transfer": 1, "dynamics": 1}
    (one,), (two,), (three,) = (results[name] for name in ("closed", "transfer", "dynamics"))
    assert one["fgsm"] <= one["natural"]
    assert -1 <= ordered(one) <= 1
    assert [row["width"] for row in two["widths"]] == list(KERNEL.widths)
    assert all(-1 <= row["cosine"]["in time"] <= 1 for row in two["widths"])
    assert two["widths"][1]["apart"] < two["widths"][0]["apart"]
    for way in three["ways"].values():
        assert len(way["times"]) == len(way["distances"]) == KERNEL.looks
        assert way["distances"][0][0] == 0.0
        assert way["times"][0] <= way["lazy"] <= way["times"][-1]
    assert [each["onset"] for each in three["linearised"]] == list(KERNEL.onsets)
    claims = read_claims(examples)
    assert len({claim.id for claim in claims}) == len(claims) == 13
    again = claims_of_adversarial_kernel(KERNEL, results, "own")
    assert [c.to_json() for c in again] == [c.to_json() for c in claims]
    assert ADVERSARIAL_KERNEL.read(store.read_json(examples / "study.json")["protocol"]) == KERNEL


def test_the_closed_form_is_kernel_regression() -> None:
    data = KERNEL.dataset()
    train, test = KERNEL.pair(data, 0, KERNEL.samples)
    assert set(train.targets.unique().tolist()) == {-1.0, 1.0}
    found = closed(KERNEL, data, 0, "cpu")

    def ntk(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return lf.kernel.infinite.dense(a, b, sigma_b=0.1).ntk

    weights = torch.linalg.solve(ntk(train.inputs, train.inputs), train.targets)
    leaf = test.inputs.clone().requires_grad_()
    outputs = ntk(leaf, train.inputs) @ weights
    assert found["natural"] == pytest.approx(float((outputs * test.targets > 0).double().mean()))
    (slope,) = torch.autograd.grad(outputs.sum(), leaf)
    moved = (test.inputs - KERNEL.eps * test.targets * slope.sign()).clamp(0, 1)
    after = (ntk(moved, train.inputs) @ weights * test.targets > 0) & (outputs * test.targets > 0)
    assert found["fgsm"] == pytest.approx(float(after.double().mean()), abs=1e-9)
    assert found["first"][-1]["natural"] == pytest.approx(found["natural"])


def test_a_wide_network_starts_at_zero_with_the_kernel_of_infinite_width() -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 9, dtype=torch.float64)
    net = Wide(9, 20000, 0).double()
    assert float(net(x).detach().abs().max()) == 0.0
    landscape = lf.Landscape(net, (x, torch.zeros(4, 1, dtype=torch.float64)), loss="mse", device="cpu")
    finite = lf.kernel.ntk(landscape, landscape.here, kind="trace")
    infinite = lf.kernel.infinite.dense(x, sigma_b=0.1).ntk
    torch.testing.assert_close(finite, infinite, rtol=0.05, atol=0.02)


def test_when_a_kernel_is_lazy() -> None:
    times = [0.0, 1.0, 2.0, 3.0]
    assert lazy(times, [1.0, 0.5, 0.05, 0.0]) == pytest.approx(1 + 0.4 / 0.45)
    assert lazy(times, [1.0, 0.05, 0.2, 0.0]) == pytest.approx(2.5)
    assert lazy(times, [0.0, 0.0, 0.0, 0.0]) == 0.0
    row = {"natural": 0.9, "white": 0.5, "transfer": {"in time": 0.6}}
    assert carried(row) == pytest.approx(0.75)
    assert math.isnan(carried({**row, "white": 0.9}))


def test_a_pair_of_classes_is_learnt_alone() -> None:
    protocol = replace(KERNEL, paired=True, positive=(3,), negative=(5, 7))
    whole = protocol.dataset()
    data = protocol.learnt(whole)
    assert data.classes == 2
    for split, every in ((data.train, whole.train), (data.test, whole.test)):
        held = [i for i, label in enumerate(every.targets.tolist()) if label in (3, 5, 7)]
        assert torch.equal(split.inputs, every.inputs[held])
        assert split.targets.tolist() == [int(label == 3) for label in every.targets[held].tolist()]
    assert protocol.learnt(data) is not data
    assert replace(protocol, paired=False).learnt(whole) is whole
    assert kernel_study.KernelProtocol.from_json(protocol.to_json()) == protocol


def test_pages_and_galleries(robust: Path, examples: Path, tmp_path: Path) -> None:
    for study, name, words in (
        (robust, "adversarial-landscape", ("Sharpness, both ways", "Accuracy under attack", "PGD alone, 0.1")),
        (
            examples,
            "adversarial-kernel",
            ("Useful and robust by the place", "kernel held", "predictor, cut off"),
        ),
    ):
        page = lf.report(study, tmp_path / f"{name}.html").read_text(encoding="utf-8")
        for word in words:
            assert word in page
        place = write_gallery(study, tmp_path / "gallery", commit="abc")
        assert place == tmp_path / "gallery" / name / "own"
        assert len(list((place / "figures").glob("*.png"))) >= 9
        assert json.loads((place / "claims.json").read_text()) == [c.to_json() for c in read_claims(study)]
        assert name in STUDIES


def test_misuse_is_told(robust: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no scale 'large' of adversarial-landscape"):
        adversarial_landscape(tmp_path, scale="large")
    with pytest.raises(BadInput, match="no scale 'large' of adversarial-kernel"):
        adversarial_kernel(tmp_path, scale="large")
    with pytest.raises(BadInput, match="another steps"):
        adversarial_landscape(robust, protocol=replace(ROBUST, steps=9))
    with pytest.raises(BadInput, match="a small and a larger radius"):
        replace(ROBUST, eps=(0.2, 0.1))
    with pytest.raises(BadInput, match="at least 1 and 3"):
        replace(ROBUST, directions=1)
    with pytest.raises(BadInput, match="share some"):
        replace(KERNEL, positive=(1,), negative=(1, 2))
    with pytest.raises(BadInput, match="Onsets lie within"):
        replace(KERNEL, onsets=(9.0,))
    with pytest.raises(BadInput, match="ascending widths"):
        replace(KERNEL, widths=(8, 4))
    with pytest.raises(BadInput, match="no set of labelled images"):
        adversarial_kernel(tmp_path / "a", protocol=replace(KERNEL, data_options={}))
    for name in ("adversarial-landscape", "adversarial-kernel"):
        empty = tmp_path / name
        empty.mkdir()
        protocol = ROBUST if name.endswith("landscape") else KERNEL
        store.write_json(
            empty / "study.json", {"schema": 1, "study": name, "scale": "own", "protocol": protocol.to_json()}
        )
        with pytest.raises(BadInput, match="holds too few results"):
            lf.report(empty)
