"""The study of recurrent kernels: its parts against plain references, its claims on made-up numbers, its page."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from landform.data import Split
from landform.errors import BadInput
from landform.kernel.infinite import RecurrentNTK
from landform.report import report
from landform.studies import (
    RECURRENT,
    RecurrentProtocol,
    accuracies,
    claims_of_recurrent,
    ranks,
    read_claims,
    recurrent_study,
    sets_needed,
)
from landform.studies._recurrent import SCALES
from landform.studies._recurrent_measure import sampled, sequences
from landform.studies._recurrent_methods import COMPARED, RBF, RNTK, classify, gru, kernels_of, rows_of

TINY = SCALES["tiny"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recurrent")
    recurrent_study(folder, protocol=replace(TINY, draws=(40, 20), sequences=2), device="cpu")
    return folder


def test_all_parts_come_out_and_the_page_is_written(study: Path) -> None:
    found = RECURRENT.results(study)
    assert {kind: len(parts) for kind, parts in found.items()} == {"made": 4, "weights": 2, "drawn": 2}
    claims = {claim.id: claim for claim in read_claims(study)}
    assert claims["weights"].verdict == "reproduced"
    assert claims["accuracy"].verdict == "not measured"
    shares = np.array(found["weights"][0]["shares"])
    assert shares.sum(1) == pytest.approx(1.0)
    page = report(study).read_text()
    assert "What every time step weighs" in page
    assert "Finite networks on their way" in page


def test_what_is_there_is_kept_and_more_seeds_may_be_asked_for(study: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (study / "results").iterdir()}
    said: list[str] = []
    recurrent_study(study, protocol=replace(TINY, draws=(40, 20), sequences=2), device="cpu", say=said.append)
    assert {path.name: path.stat().st_mtime_ns for path in (study / "results").iterdir()} == before
    assert "0 of 8 parts are left" in said[0]
    with pytest.raises(BadInput, match="another sequences and draws"):
        recurrent_study(study, protocol=TINY, device="cpu")
    described = {"protocol": SCALES["medium"].to_json()}
    assert RECURRENT.read(described["protocol"]) == SCALES["medium"]


def test_cross_validation_is_what_a_plain_loop_gives() -> None:
    protocol = replace(TINY, folds=3, penalties=(0.1, 10.0), sigma_b=(0.0, 0.4))
    train, test = sequences(protocol, "late", 0.4, seed=3)
    rows = [*rows_of(train), *rows_of(test)]
    found = classify(kernels_of(RNTK, protocol, rows), train.targets, test.targets, protocol, seed=5)
    y, n = train.targets.numpy(), len(train)
    scores: dict[tuple[float, float], tuple[float, float]] = {}
    for b, c in itertools.product(protocol.sigma_b, protocol.penalties):
        k = RecurrentNTK(sigma_w=protocol.sigma_w[0], sigma_b=b).gram(rows)
        k = (k / k.diagonal().sqrt()[:, None] / k.diagonal().sqrt()).numpy()
        right = 0
        for kept, held in StratifiedKFold(3, shuffle=True, random_state=5).split(y, y):
            machine = SVC(C=c, kernel="precomputed").fit(k[kept][:, kept], y[kept])
            right += (machine.predict(k[held][:, kept]) == y[held]).sum()
        whole = SVC(C=c, kernel="precomputed").fit(k[:n, :n], y)
        scores[b, c] = right / n, float((whole.predict(k[n:, :n]) == test.targets.numpy()).mean())
    best = max(score for score, _ in scores.values())
    chosen = [accuracy for score, accuracy in scores.values() if score == best]
    assert found.validated == pytest.approx(best)
    assert found.accuracy == pytest.approx(np.mean(chosen))
    assert found.tied == len(chosen)


def test_kernels_have_unit_diagonals() -> None:
    train, _ = sequences(TINY, "early", 0.4, seed=0)
    rows = rows_of(train)
    assert {len(row) for row in rows} == set(train.lengths.tolist())  # type: ignore[union-attr]
    for method in COMPARED[:-1]:
        for _, kernel in kernels_of(method, TINY, rows):
            torch.testing.assert_close(kernel.diagonal(), torch.ones(len(rows), dtype=torch.float64))
    (_, first), *_ = kernels_of(RBF, TINY, [torch.zeros(2, 1), torch.ones(3, 1)])
    assert 0 < float(first[0, 1]) < 1


def test_the_class_is_where_it_should_be() -> None:
    protocol = replace(TINY, samples=400, signal=3.0)
    for subject, place in (("early", slice(0, 3)), ("late", slice(-3, None))):
        train, _ = sequences(protocol, subject, 0.4, seed=1)
        rows = rows_of(train)
        means = torch.stack([torch.stack([r[place, 0] for r, y in zip(rows, train.targets, strict=True) if y == label])
                             .mean(0) for label in (0, 1)])  # fmt: skip
        assert float((means[1] - means[0]).norm()) > 5 * float((means[1] + means[0]).norm())


def test_drawn_networks_are_those_of_the_kernel() -> None:
    kernel = RecurrentNTK(sigma_w=1.1, sigma_u=0.7, sigma_b=0.2, sigma_h=0.4, sigma_v=0.9)
    pair = [torch.randn(length, 2, generator=torch.Generator().manual_seed(length)) for length in (2, 3)]
    width = 5
    found = sampled(kernel, pair, width, 1, torch.Generator().manual_seed(7))
    draw = torch.Generator().manual_seed(7)
    shapes = ((width, width), (width, 2), (width,), (width,))
    weights = [torch.randn(1, *shape, generator=draw)[0].requires_grad_() for shape in shapes]
    w, u, b, v = weights
    rows = []
    for sequence in pair:
        h = 0.4 * torch.randn(1, width, generator=draw)[0]
        for step in sequence:
            h = torch.relu(1.1 / width**0.5 * w @ h + 0.7 / 2**0.5 * u @ step + 0.2 * b)
        out = 0.9 / width**0.5 * v @ h
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(out, weights)]))
    assert float(found[0]) == pytest.approx(float(rows[0] @ rows[1]), rel=1e-5)


def test_a_gru_learns_what_is_easy() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    split = Split(torch.randn(60, 5, 1, generator=draw) * 0.1 + labels[:, None, None] * 2.0, labels)
    found = gru(split, split, 2, replace(TINY, gru_epochs=12.0, gru_rates=(1e-2, 1e-5)), seed=0, device="cpu")
    assert found.accuracy > 0.95
    assert found.settings == {"lr": 1e-2}


def parts(**accuracy: float) -> dict[str, dict[str, float]]:
    return {name: {"accuracy": value} for name, value in accuracy.items()}


def test_claims_about_sets_say_over_how_many() -> None:
    methods = {"NTK": 0.8, "RBF": 0.7, "polynomial": 0.6, "GRU": 0.5}
    found = {
        "set": [
            {"subject": name, "seed": seed, "methods": parts(RNTK=0.9 + shift, **methods)}
            for name, shift in (("a", 0.0), ("b", 0.02), ("c", -0.02))
            for seed in (0, 1)
        ]
    }
    assert accuracies(found)["b"]["RNTK"] == pytest.approx(0.92)
    assert ranks(found)["RNTK"] == 1.0
    assert sets_needed([0.1, 0.12, 0.08]) == pytest.approx((2.8 * 0.02 / 0.02) ** 2)
    claims = {claim.id: claim for claim in claims_of_recurrent(RecurrentProtocol(sets=()), found, "own")}
    assert claims["accuracy"].value == pytest.approx(0.1)
    assert claims["accuracy"].seeds == 3
    assert claims["accuracy"].verdict == "reproduced"
    assert "about 8 sets" in claims["accuracy"].why
    worse = {"set": [{"subject": "a", "seed": 0, "methods": parts(RNTK=0.5, **methods)}]}
    assert {c.id: c.verdict for c in claims_of_recurrent(RecurrentProtocol(sets=()), worse, "own")}["gru"] == "in part"


def test_misuse() -> None:
    with pytest.raises(BadInput, match="shortest made sequence"):
        replace(TINY, informative=20)
    with pytest.raises(BadInput, match="second larger"):
        replace(TINY, widths=(32, 8))
    with pytest.raises(BadInput, match="at least one seed"):
        replace(TINY, seeds=0)
    with pytest.raises(BadInput, match="no scale"):
        recurrent_study("x", scale="huge")
