"""The model of random logit gradients: its matrix against a plain sum, and every prediction against draws."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from landform.errors import BadInput
from landform.theory.logits import LogitModel, fit, freezing, participation, predict


def plain_matrix(draw) -> torch.Tensor:
    """G as the paper writes it, one input at a time."""
    r = draw.gradients.shape[-1]
    total = torch.zeros(r, r, dtype=torch.float64)
    for p, jacobian in zip(draw.probabilities, draw.gradients, strict=True):
        total += jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian
    return total / len(draw.labels)


@pytest.mark.parametrize("dimension", [15, 400])
def test_matrix_and_gradient_against_plain_sums(dimension: int) -> None:
    draw = LogitModel(dimension, 4, 12, sigma_z=2.0, sigma_class=0.5).draw(1)
    assert draw.gradients.shape == (12, 4, min(dimension, 4 + 16 + 48))
    G = plain_matrix(draw)
    torch.testing.assert_close(draw.factor.T @ draw.factor, G)
    expected = torch.linalg.eigvalsh(G).flip(0)[: len(draw.eigenvalues)]
    torch.testing.assert_close(draw.eigenvalues, expected.clamp_min(0), atol=1e-12, rtol=1e-8)
    top = draw.vectors(3)
    torch.testing.assert_close(G @ top, top * draw.eigenvalues[:3], atol=1e-10, rtol=1e-8)
    torch.testing.assert_close(draw.vectors(4)[:, :3].abs(), top.abs(), atol=1e-6, rtol=1e-6)
    assert draw.trace == pytest.approx(float(G.trace()))
    assert draw.frobenius == pytest.approx(float(G.norm()))
    assert draw.ratio == pytest.approx(float(G.trace() / G.norm()))
    slopes = torch.zeros(G.shape[0], dtype=torch.float64)
    for p, y, jacobian in zip(draw.probabilities, draw.labels, draw.gradients, strict=True):
        for k in range(4):
            slopes += (p[k] - float(k == y)) * jacobian[k] / 12
    torch.testing.assert_close(draw.gradient, slopes)
    assert draw.confinement() == pytest.approx(
        float((draw.vectors(4).T @ slopes).square().sum() / slopes.square().sum())
    )


def test_vectors_in_a_large_space_have_the_inner_products_of_gaussian_ones() -> None:
    model = LogitModel(dimension=2000, classes=3, samples=20, sigma_e=1.0, sigma_c=0.0)
    for draw in (model.draw(0), LogitModel(dimension=50, classes=3, samples=20, sigma_e=1.0, sigma_c=0.0).draw(0)):
        rows = draw.gradients.flatten(0, 1)
        gram = rows @ rows.T
        assert float(gram.diagonal().mean()) == pytest.approx(1, abs=0.05)
        off = gram - gram.diagonal().diag()
        assert float(off.square().sum() / (60 * 59)) == pytest.approx(1 / draw.model.dimension, rel=0.1)
        assert float(off.mean()) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("sigma_z", [0.0, 0.5, 2.0, 15.0, 40.0])
def test_participation_of_gaussian_logits(sigma_z: float) -> None:
    z = sigma_z * torch.randn(100_000, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert participation(10, sigma_z) == pytest.approx(float(torch.softmax(z, 1).square().sum(1).mean()), rel=0.01)
    assert freezing(10) == pytest.approx(2.146, abs=1e-3)


SETTINGS = {
    "no spread": LogitModel(500, samples=150, sigma_z=0.0),
    "spread": LogitModel(500, samples=150, sigma_z=2.0),
    "stated": LogitModel(),
    "weak": LogitModel(sigma_c=0.2, sigma_z=2.0),
    "large": LogitModel(dimension=20_000, samples=120, sigma_z=2.0),
    "few classes": LogitModel(dimension=5000, classes=3, samples=200, sigma_z=1.0),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_spectrum_and_confinement_as_predicted(name: str) -> None:
    model = SETTINGS[name]
    outliers, edges, ratios, traces, norms, inside, law = ([] for _ in range(7))
    for seed in range(2):
        draw, predicted = model.draw(seed), predict(model, seed)
        k = model.classes - 1
        assert len(predicted.outliers) == k  # C - 1, not C: what all logits share moves no probability
        values = draw.eigenvalues
        outliers.append(float(values[:k].mean()) / predicted.outliers.mean())
        edges.append(float(values[k]) / predicted.edge)
        ratios.append(draw.ratio / predicted.ratio)
        inside.append(draw.confinement())
        law.append(predicted.confinement())
        traces.append(draw.trace / predicted.trace)
        norms.append(draw.frobenius / predicted.frobenius)
    assert np.mean(outliers) == pytest.approx(1, abs=0.05)
    assert np.mean(edges) == pytest.approx(1, abs=0.12 if name == "stated" else 0.05)
    for numbers in (ratios, traces, norms):
        assert np.mean(numbers) == pytest.approx(1, abs=0.05)
    assert np.mean(inside) == pytest.approx(np.mean(law), abs=0.05)
    gap = float(values[k - 1] / values[k])
    assert gap > (1.7 if name == "weak" else 5)


def test_the_stated_parameters_hold_two_thirds_of_the_gradient() -> None:
    model = LogitModel(dimension=1000, classes=10, samples=300, sigma_c=1.0, sigma_e=0.7, sigma_z=15.0)
    found = [model.draw(seed).confinement(10) for seed in range(6)]
    assert np.mean(found) == pytest.approx(0.65, abs=0.1)
    assert np.mean([predict(model, seed).confinement(10) for seed in range(12)]) == pytest.approx(0.65, abs=0.1)
    assert LogitModel(sigma_c=0.0).draw(0).confinement(10) < 0.05


def test_outliers_leave_the_bulk_at_the_predicted_strength() -> None:
    critical = predict(LogitModel(500, samples=150, sigma_c=0.5, sigma_z=2.0)).critical
    assert predict(LogitModel(500, samples=150, sigma_c=0.1, sigma_z=2.0)).critical == pytest.approx(critical, rel=1e-6)
    below, above = (LogitModel(500, samples=150, sigma_c=factor * critical, sigma_z=2.0) for factor in (0.6, 2.5))
    assert len(predict(below).outliers) == 0
    draw, predicted = below.draw(0), predict(below)
    assert float(draw.eigenvalues[0]) == pytest.approx(predicted.edge, rel=0.05)
    assert float(draw.alignment().mean()) < 0.15
    draw, predicted = above.draw(0), predict(above)
    assert len(predicted.outliers) == 9
    assert float(draw.eigenvalues[:9].mean()) == pytest.approx(predicted.outliers.mean(), rel=0.05)
    assert float(draw.eigenvalues[0]) > 1.5 * predicted.edge
    assert float(draw.alignment().mean()) > 0.7
    assert predicted.shares.min() > 0.8


def test_the_largest_eigenvalue_falls_with_the_variance_of_the_logits() -> None:
    spread = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0)
    models = [LogitModel(sigma_z=s, samples=200, dimension=400) for s in spread]
    drawn = [np.mean([float(model.draw(seed).eigenvalues[0]) for seed in range(3)]) for model in models]
    law = [predict(model).outliers[0] for model in models]
    assert all(b < a for a, b in itertools.pairwise(drawn))
    assert all(b < a for a, b in itertools.pairwise(law))
    # Far out it falls as 1 - E sum p^2 does.
    mean = predict(models[2]).outliers.mean() / (1 - participation(10, 2.0)) * 9
    assert mean == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize("dimension", [800, 3000])
def test_the_bulk_has_the_predicted_density(dimension: int) -> None:
    model = LogitModel(dimension=dimension, samples=120, sigma_z=2.0)
    predicted = predict(model)
    values = model.draw(0).eigenvalues.numpy()[9:]
    values = values[values > 1e-3 * predicted.edge]
    grid = np.linspace(1e-3, 1.05, 500) * predicted.edge
    density = predicted.density(grid)
    assert (density >= 0).all()
    assert density[grid > 1.02 * predicted.edge].max() < 0.01 * density.max()
    pieces = (density[1:] + density[:-1]) / 2 * np.diff(grid)
    above = np.append(pieces[::-1].cumsum()[::-1], 0)
    measured = (values[:, None] > grid).sum(0) / dimension
    assert np.abs(above - measured).max() < 0.025


def test_a_fit_finds_the_model_back() -> None:
    model = LogitModel(dimension=3000, samples=200, classes=5, sigma_c=0.8, sigma_e=1.2, sigma_z=2.0, sigma_class=0.6)
    draw = model.draw(0)
    seen = draw.cosines()
    assert seen.same_logit_same_class == pytest.approx(model.same_logit_same_class, abs=0.02)
    assert seen.same_logit == pytest.approx(model.same_logit, abs=0.02)
    assert seen.different_logit == pytest.approx(0, abs=0.01)
    found = fit(
        same_logit_same_class=seen.same_logit_same_class,
        same_logit=seen.same_logit,
        different_logit=seen.different_logit,
        sigma_z=2.0,
        square_length=float(draw.gradients.square().sum(2).mean()),
        dimension=3000,
        classes=5,
        samples=200,
    )
    for name in ("sigma_c", "sigma_e", "sigma_class"):
        assert getattr(found, name) == pytest.approx(getattr(model, name), rel=0.05)
    assert found.square_length == pytest.approx(model.square_length, rel=0.05)
    predicted = predict(model)
    values = draw.eigenvalues
    assert float(values[:4].mean()) == pytest.approx(predicted.outliers[:4].mean(), rel=0.1)
    assert float(values[: len(predicted.outliers)].sum()) == pytest.approx(predicted.outliers.sum(), rel=0.05)
    assert draw.frobenius == pytest.approx(predicted.frobenius, rel=0.05)
    assert math.isnan(predicted.critical)
    plain = fit(
        same_logit_same_class=0.3, same_logit=0.2, different_logit=-0.01, sigma_z=1.0, square_length=4.0,
        dimension=10, classes=3, samples=9, by_class=False,
    )  # fmt: skip
    assert (plain.sigma_c, plain.sigma_class) == (pytest.approx(math.sqrt(0.8)), 0.0)


def test_cosines_against_all_pairs() -> None:
    draw = LogitModel(dimension=40, classes=3, samples=8, sigma_z=1.0).draw(0)
    units = draw.gradients / draw.gradients.norm(dim=2, keepdim=True)
    same, own, different = [], [], []
    for i in range(8):
        for j in range(8):
            if i == j:
                continue
            for k in range(3):
                for other in range(3):
                    (same if k == other else different).append(float(units[i, k] @ units[j, other]))
            if draw.labels[i] == draw.labels[j]:
                own.append(float(units[i, draw.labels[i]] @ units[j, draw.labels[i]]))
    found = draw.cosines()
    assert found.same_logit == pytest.approx(np.mean(same))
    assert found.different_logit == pytest.approx(np.mean(different))
    assert found.same_logit_same_class == pytest.approx(np.mean(own))


def test_measured_logits_and_labels_are_taken() -> None:
    model = LogitModel(dimension=50, classes=3, samples=6)
    z, y = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    draw = model.draw(0, logits=z, labels=y)
    torch.testing.assert_close(draw.probabilities, torch.softmax(z.double(), 1))
    assert torch.equal(draw.labels, y)
    assert predict(model, logits=z, labels=y).trace == pytest.approx(draw.trace, rel=0.5)


KNOWN = {"same_logit_same_class": 0.3, "same_logit": 0.2, "different_logit": 0.0, "sigma_z": 1.0, "square_length": 1.0,
         "dimension": 10, "classes": 3, "samples": 9}  # fmt: skip
MISUSE = {
    "classes": (lambda: LogitModel(classes=1), "classes is 1"),
    "sigma": (lambda: LogitModel(sigma_e=-1.0), "sigma_e is -1.0"),
    "memory": (lambda: LogitModel().draw(memory=1e3), "GiB, over the"),
    "logits": (lambda: LogitModel(samples=5).draw(logits=torch.zeros(5, 3)), r"logits are \[N, C\] = \[5, 10\]"),
    "labels": (lambda: LogitModel(samples=2).draw(labels=torch.tensor([0, 10])), r"whole numbers 0\.\.9"),
    "cosine": (lambda: fit(**{**KNOWN, "same_logit": 1.2}), "between -1 and 1"),
    "length": (lambda: fit(**{**KNOWN, "square_length": 0.0}), "give a number above 0"),
    "order": (lambda: fit(**{**KNOWN, "different_logit": 0.5}), "No such model"),
    "softmax": (lambda: participation(0, 1.0), "no softmax of 0"),
    "alone": (lambda: LogitModel(classes=5, samples=1).draw().cosines(), "No two of the inputs"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_one_sentence(name: str) -> None:
    act, says = MISUSE[name]
    with pytest.raises(BadInput, match=says):
        act()
