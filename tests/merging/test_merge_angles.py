"""slerp, karcher, model stock against plain formulas on whole vectors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from merge_cases import array, layout, near, points
from scipy.optimize import minimize

from landform.errors import BadInput
from landform.merging import merge


def plain_slerp(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """Turn a's direction towards b's; lengths go along as Shoemake's formula has it."""
    angle = math.acos(float(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b)))
    return (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)


@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 1.0])
def test_slerp_is_the_formula(t: float) -> None:
    a, b = points(2)
    found = merge([a, b], method="slerp", t=t)
    np.testing.assert_allclose(array(found.point), plain_slerp(array(a), array(b), t), atol=1e-12)
    assert found.facts["way"] == "along the arc"
    unit = merge([a / a.norm(), b / b.norm()], method="slerp", t=t).point
    assert float(unit.norm()) == pytest.approx(1)
    cosine = float(a @ b / a.norm() / b.norm())
    assert found.facts["degrees"] == pytest.approx(math.degrees(math.acos(cosine)))
    assert float(unit @ (a / a.norm())) == pytest.approx(math.cos(t * math.acos(cosine)))


def test_slerp_by_tensor_by_weights_and_of_deltas() -> None:
    base, sources = near(2)
    own = layout()
    found = merge(sources, method="slerp", weights=[1, 3], layout=own, per="tensor")
    for slot, layer in zip(own.slots, found.layers, strict=True):
        here = slice(slot.start, slot.stop)
        wanted = plain_slerp(*array(sources)[:, here], 0.75)
        np.testing.assert_allclose(array(found.point[here]), wanted, atol=1e-12)
        assert layer.facts["t"] == 0.75
    turned = merge(sources, method="slerp", base=base, of="deltas", t=0.3)
    np.testing.assert_allclose(array(turned.point - base), plain_slerp(*array(sources - base), 0.3), atol=1e-12)
    torch.testing.assert_close(
        merge(sources, method="slerp", t=0.3).point, merge(sources.flip(0), method="slerp", t=0.7).point
    )


@pytest.mark.parametrize(("factor", "said"), [(1.7, "nearly parallel"), (-0.5, "nearly opposite"), (0.0, "is zero")])
def test_slerp_goes_straight_where_there_is_no_arc(factor: float, said: str) -> None:
    a = points(1)[0]
    found = merge([a, factor * a], method="slerp", t=0.25)
    torch.testing.assert_close(found.point, 0.75 * a + 0.25 * factor * a)
    assert said in found.facts["way"]
    assert said in str(found)


def test_karcher_makes_the_squared_angles_least() -> None:
    sources = points(4, 12)
    weights = np.array([1.0, 2.0, 0.5, 1.0])
    found = merge(sources, method="karcher", weights=weights.tolist())
    assert found.facts["converged"]
    plain = array(sources)
    norms = np.linalg.norm(plain, axis=1)
    units = plain / norms[:, None]

    def spread(direction: np.ndarray) -> float:
        angles = np.arccos(np.clip(units @ direction / np.linalg.norm(direction), -1, 1))
        return float(weights @ angles**2)

    best = minimize(spread, units.mean(0), tol=1e-12)
    point = array(found.point)
    np.testing.assert_allclose(point / np.linalg.norm(point), best.x / np.linalg.norm(best.x), atol=1e-5)
    assert spread(point) <= best.fun + 1e-12
    assert np.linalg.norm(point) == pytest.approx(weights @ norms / weights.sum())


@given(st.floats(0.01, 0.99), st.integers(0, 100))
def test_karcher_of_two_directions_is_slerp(t: float, seed: int) -> None:
    a, b = (p / p.norm() for p in points(2, 10, seed))
    found = merge([a, b], method="karcher", weights=[1 - t, t]).point
    torch.testing.assert_close(found, merge([a, b], method="slerp", t=t).point, atol=1e-8, rtol=0)


def test_karcher_where_there_is_no_direction() -> None:
    a, b = points(2)
    torch.testing.assert_close(merge([a, 0 * a, a], method="karcher").point, a)
    assert merge([0 * a, 0 * a], method="karcher").facts["way"] == "none, as all are zero"
    for weights in ([1, 1], [1, 3]):
        found = merge([a, -a], method="karcher", weights=weights)
        assert "opposite" in found.facts["way"]
        torch.testing.assert_close(found.point, a * (weights[0] - weights[1]) / sum(weights))
    assert not merge([a, b], method="karcher", weights=[1, 5], steps=1).facts["converged"]
    base, sources = near(3)
    turned = merge(sources, method="karcher", base=base, of="deltas")
    torch.testing.assert_close(turned.point - base, merge(sources - base, method="karcher").point)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_model_stock_is_the_formula_layer_by_layer(count: int) -> None:
    base, sources = near(count)
    sources = sources + 0.4 * points(1, len(base), 77)  # what they have in common
    found = merge(sources, method="model_stock", base=base, layout=layout())
    assert found.per == "tensor"
    for slot, layer in zip(layout().slots, found.layers, strict=True):
        here = slice(slot.start, slot.stop)
        deltas = array(sources - base)[:, here]
        cosines = [
            deltas[i] @ deltas[j] / np.linalg.norm(deltas[i]) / np.linalg.norm(deltas[j])
            for i in range(count)
            for j in range(i)
        ]
        cosine = float(np.mean(cosines))
        ratio = min(1.0, max(0.0, count * cosine / (1 + (count - 1) * cosine)))
        wanted = ratio * array(sources)[:, here].mean(0) + (1 - ratio) * array(base[here])
        np.testing.assert_allclose(array(found.point[here]), wanted, atol=1e-12)
        assert layer.facts == pytest.approx({"cosine": cosine, "ratio": ratio})


def test_model_stock_of_two_is_perpendicular_to_their_difference() -> None:
    """With deltas of one length the merge is where the altitudes of base and sources meet (the paper's H)."""
    base = points(1, 30, 5)[0]
    d = points(2, 30)
    common = points(1, 30, 9)[0]
    d = d + common
    d = d / d.norm(dim=1, keepdim=True)
    found = merge(base + d, method="model_stock", base=base).point - base
    assert float((found - d[0]) @ d[1]) == pytest.approx(0, abs=1e-12)
    assert float((found - d[1]) @ d[0]) == pytest.approx(0, abs=1e-12)


def test_model_stock_at_its_limits() -> None:
    a, b = points(2)
    away = merge([a, -a + 0.5 * b], method="model_stock", base=0 * a)
    torch.testing.assert_close(away.point, 0 * a)
    assert away.facts["ratio"] == 0
    raw = merge([a, -a + 0.5 * b], method="model_stock", base=0 * a, clip=False)
    assert raw.facts["ratio"] < 0
    still = merge([a, a], method="model_stock", base=a)
    assert still.facts == {"cosine": 0, "ratio": 0}
    assert torch.equal(still.point, a)
    torch.testing.assert_close(merge([a, a], method="model_stock", base=b).point, a)
    opposite = merge([a, -a], method="model_stock", base=0 * a, clip=False)
    torch.testing.assert_close(opposite.point, 0 * a)


P = points()
WRONG = {
    "three": (lambda: merge(P, method="slerp"), "slerp merges 2 sources, and 3 given: merge fewer at a time"),
    "t": (lambda: merge(P[:2], method="slerp", t=1.2), r"t of slerp is 1.2: give a number in \[0, 1\]"),
    "both": (lambda: merge(P[:2], method="slerp", t=0.2, weights=[1, 2]), "both weights and t"),
    "negative": (lambda: merge(P, method="karcher", weights=[1, 2, -1]), "not all at least 0"),
    "zero": (lambda: merge(P, method="karcher", weights=[0, 0, 0]), "sum to zero"),
    "deltas": (lambda: merge(P, method="karcher", of="deltas"), "from a base: give base="),
    "deltas of slerp": (lambda: merge(P[:2], method="slerp", of="deltas"), "from a base: give base="),
    "of": (lambda: merge(P, method="karcher", of="angles"), "of of karcher is 'angles': give 'points' or 'deltas'"),
    "steps": (lambda: merge(P, method="karcher", steps=0), "give a whole number of at least 1"),
    "tolerance": (lambda: merge(P, method="karcher", tolerance=0), "give a number above 0"),
    "weights": (lambda: merge(P, method="model_stock", base=P[0], weights=[1, 1, 1]), "finds the weights by itself"),
    "one": (lambda: merge([P[0]], method="model_stock", base=P[0]), "at least 2 sources, and 1 given: give more"),
}


@pytest.mark.parametrize("name", WRONG)
def test_misuse_is_one_sentence(name: str) -> None:
    call, said = WRONG[name]
    with pytest.raises(BadInput, match=said):
        call()
