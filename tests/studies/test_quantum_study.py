"""The study of quantum networks over patches in seconds: its numbers beside plain ones, its claims, its page."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import landform as lf
from landform import store
from landform.errors import BadInput
from landform.report import write_gallery
from landform.studies import (
    QUANTUM,
    STUDIES,
    QuantumVariant,
    claims_of_quantum,
    plateau_slope,
    quantum_study,
    read_claims,
)
from landform.studies._quantum import SCALES, _lines, _wanted, _with_mnist
from landform.studies._quantum_claims import exponents
from landform.studies._quantum_classical import PatchMLP
from landform.studies._quantum_measure import _before_gap, plateau
from landform.studies._quantum_protocol import power

TINY = replace(
    SCALES["tiny"],
    data_options={"flat": False, "per_class": 6},
    recipe=replace(SCALES["tiny"].recipe, epochs=2.0),
    falling=(1e-2, 1e-2),
    summed=(4,),
    controlled=(4,),
    products=6,
    steps=3,
    kernel=6,
    draws=9,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantum") / "here"
    quantum_study(folder, protocol=TINY, device="cpu")
    return folder


def test_every_variant_and_seed_is_measured(study: Path) -> None:
    found = QUANTUM.results(study)
    assert {kind: len(parts) for kind, parts in found.items()} == {
        "network": 2 * len(TINY.variants()), "barrier": 1, "plateau": 2,
    }  # fmt: skip
    assert len(TINY.variants()) == 2 + 1 + 2 + 1
    assert len(SCALES["tiny"].variants()) == 2 + 1 + 1 + 4 + 2
    for part in found["network"]:
        assert part["eigenvalues"][0] > 0
        assert 0 <= part["test_error"] <= 1
        assert ("looks" in part) == (part["subject"] == TINY.usual.name)
        assert part["loss"] <= part["last_loss"]
    told = store.read_json(study / "study.json")
    assert QUANTUM.read(told["protocol"]) == TINY
    claims = read_claims(study)
    assert len({claim.id for claim in claims}) == len(claims) == 21
    assert [c.to_json() for c in claims_of_quantum(TINY, found, "own")] == [c.to_json() for c in claims]


def test_the_curvature_is_that_of_a_plain_hessian(study: Path) -> None:
    data = TINY.dataset()
    net = TINY.net(data, TINY.usual, 0)
    landscape = lf.Landscape(net, data, dtype=torch.float64, device="cpu")
    point = store.read_tensors(study / "points" / f"{TINY.usual.name}-0.safetensors")[0]["point"].double()
    (part,) = [p for p in QUANTUM.results(study)["network"] if p["subject"] == TINY.usual.name and p["seed"] == 0]
    assert part["loss"] == pytest.approx(float(landscape.loss(point)), rel=1e-4)
    values = torch.linalg.eigvalsh(landscape.hessian(point).dense())
    assert part["eigenvalues"][0] == pytest.approx(float(values[-1]), rel=2e-2)
    outputs = landscape.outputs(point).softmax(-1)
    matrices = torch.diag_embed(outputs) - outputs[:, :, None] * outputs[:, None]
    assert part["softness"] == pytest.approx(float(matrices.diagonal(dim1=1, dim2=2).sum(1).mean()), rel=1e-4)
    other = store.read_tensors(study / "points" / f"{TINY.usual.name}-1.safetensors")[0]["point"].double()
    (line,) = QUANTUM.results(study)["barrier"]
    middle = line["losses"][line["alphas"].index(0.5)]
    assert middle == pytest.approx(float(landscape.loss((point + other) / 2)), rel=1e-3)


def test_angles_are_those_of_pixels_before_they_were_normalised() -> None:
    from sklearn.datasets import load_digits

    data = TINY.dataset()
    assert set(data.train.targets.tolist()) == {0, 1, 2}
    net = TINY.net(data, TINY.usual, 0)
    angles = net._pixels(data.train.inputs).detach()
    raw = {tuple((image / 16 * 2 * math.pi / 8).round(4).ravel()) for image in load_digits().images}
    assert all(tuple(row.numpy().astype(float).round(4)) in raw for row in angles[:5])
    assert float(angles.min()) == pytest.approx(0.0, abs=1e-6)


def test_digits_are_brought_to_the_side_of_the_paper() -> None:
    medium = replace(SCALES["medium"], data_options={"flat": False, "per_class": 2})
    assert medium.dataset().train.inputs.shape == (20, 1, 14, 14)
    net = medium.net(medium.dataset(), medium.usual, 0)
    assert sum(p.numel() for p in net.parameters()) == 4 * (6 * 5 + 16) * 8 + 196
    assert _with_mnist(replace(medium, data_options={"per_class": 2})).data in ("digits", "mnist")


def test_the_classical_network_has_as_many_parameters_and_is_a_plain_loop() -> None:
    data = TINY.dataset()
    variant = QuantumVariant(4, 3, "root", 0.01)
    quantum = TINY.net(data, variant, 0)
    net = TINY.net(data, replace(variant, classical=True), 0)
    assert isinstance(net, PatchMLP)
    ours, theirs = (sum(p.numel() for p in model.parameters()) for model in (net, quantum))
    assert ours == pytest.approx(theirs, rel=0.15)
    x = data.train.inputs[:3]
    pixels = (net.angle * x.flatten(1) + net.shift)[:, net.places]
    total = sum(
        torch.tanh(torch.tanh(pixels[:, k] @ net.hidden[k] + net.bias[k]) @ net.out[k] + net.out_bias[k])
        for k in range(4)
    )
    torch.testing.assert_close(net(x), total * 10 / 2)


def test_gradients_of_all_circuits_at_once_are_those_of_each_alone(tmp_path: Path) -> None:
    few = replace(TINY, qubits=(2, 3), layers=(2,), draws=4)
    plateau(tmp_path, few, "cpu", "one", 5)
    told = store.read_json(tmp_path / "results" / "one.json")
    net = lf.models.quantum_patches(
        inputs=(1, 2, 2), classes=2, qubits=2, depth=2, patch=2, patches=4, scale=1.0, aggregation="sum", seed=5
    )
    image = torch.rand(1, 1, 2, 2, generator=torch.Generator().manual_seed(5))
    each = []
    for k in range(4):
        alone = lf.models.quantum_patches(inputs=(1, 2, 2), classes=2, qubits=2, depth=2, patch=2, patches=1, scale=1.0)
        with torch.no_grad():
            alone.blocks.copy_(net.blocks[k : k + 1])
            alone.encoding.copy_(net.encoding[k : k + 1])
        alone(image)[0, 1].backward()
        each.append(alone.blocks.grad[0, 1, 1, 0, 0])
    assert told["variance"][0][0] == pytest.approx(float(torch.stack(each).double().var()), rel=1e-4)


def test_powers_and_slopes_are_found() -> None:
    assert power([4, 9, 25], [3 * p**-1.3 for p in (4, 9, 25)]) == pytest.approx(-1.3)
    assert math.isnan(power([4, 9], [1.0, 0.0]))
    part = {"qubits": [2, 4, 6], "variance": [[0.5 * 2.0**-n for n in (2, 4, 6)]]}
    assert plateau_slope(part, "variance", 0) == pytest.approx(-1.0)
    assert _before_gap([9.0, 8.0, 7.0, 0.1, 0.09], 3) == 3
    made = [
        {"subject": replace(TINY.usual, patches=p).name, "seed": s, "eigenvalues": [(s + 1) * p**-1.2]}
        for s in (0, 1) for p in TINY.patches
    ]  # fmt: skip
    found = exponents(TINY, {"network": made}, lambda part: part["eigenvalues"][0])
    assert found == pytest.approx([-1.2, -1.2])
    assert exponents(TINY, {"network": made[:-1]}, lambda part: part["eigenvalues"][0]) == pytest.approx([-1.2])


def test_every_scale_says_what_it_does(tmp_path: Path) -> None:
    assert STUDIES["quantum-patches"].scales == ("small", "tiny", "medium", "paper")
    for protocol in SCALES.values():
        told = json.loads(json.dumps(protocol.to_json()))
        assert QUANTUM.read(told) == protocol
        networks, lines = _wanted(protocol, tmp_path, "cpu"), _lines(protocol, tmp_path, "cpu")
        assert len({unit.name for unit in networks}) == len(networks)
        assert len(lines) == (protocol.seeds if protocol.seeds > 2 else 1)
        assert SCALES["paper"].falling == (1e-2, 5e-3, 2.5e-3, 1e-3)


def test_the_page_and_the_gallery(study: Path, tmp_path: Path) -> None:
    page = lf.report(study, tmp_path / "page.html").read_text(encoding="utf-8")
    for words in ("Quantum networks over patches", "Barren plateaus", "Deeper and sharper", "The plane of a run"):
        assert words in page
    place = write_gallery(study, tmp_path / "gallery", commit="abc")
    assert place == tmp_path / "gallery" / "quantum-patches" / "own"
    assert len(list((place / "figures").glob("*.png"))) == 9
    text = (place / "index.md").read_text(encoding="utf-8")
    assert "| quantum, sum | 4 |" in text


def test_it_goes_on_and_misuse_is_told(study: Path, tmp_path: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (study / "results").glob("*.json")}
    gone = study / "results" / "barrier-0-1.json"
    text = gone.read_text()
    gone.unlink()
    quantum_study(study, protocol=TINY, device="cpu")
    after = {path.name: path.stat().st_mtime_ns for path in (study / "results").glob("*.json")}
    assert {name for name in before if before[name] != after[name]} == {"barrier-0-1.json"}
    assert gone.read_text() == text
    with pytest.raises(BadInput, match="no scale 'large' of quantum-patches"):
        quantum_study(tmp_path, scale="large")
    with pytest.raises(BadInput, match="another draws: go on with"):
        quantum_study(study, protocol=replace(TINY, draws=16))
    with pytest.raises(BadInput, match="have 4 among them"):
        replace(TINY, patches=(9, 16))
    with pytest.raises(BadInput, match="a falling rate for each"):
        replace(TINY, depths=(1, 2, 3))
    with pytest.raises(BadInput, match="no set of labelled grey images"):
        quantum_study(tmp_path, protocol=replace(TINY, data_options={}))
    with pytest.raises(BadInput, match="11 are asked for"):
        quantum_study(tmp_path, protocol=replace(TINY, classes=11))
