"""Thinned and voted task vectors against loops over coordinates."""

from __future__ import annotations

import hashlib
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from merge_cases import array, layout, near, points

from landform.errors import BadInput
from landform.layout import Layout
from landform.merging import Part, ask, get, merge
from landform.merging._sparse import Kept
from landform.merging._thresholds import _by_digits, largest

NAMES = ["ties", "dare", "dare_ties", "della", "della_linear", "breadcrumbs", "breadcrumbs_ties"]


def kept_by_size(delta: np.ndarray, density: float, gamma: float = 0.0) -> np.ndarray:
    """Sort, drop the largest, keep the next, drop the rest."""
    keep = max(1, int(density * len(delta)))
    top = min(int(gamma * len(delta)), len(delta) - keep)
    if density == 1:
        keep, top = len(delta), 0
    order = sorted(range(len(delta)), key=lambda i: -abs(delta[i]))
    result = np.zeros_like(delta)
    for i in order[top : top + keep]:
        result[i] = delta[i]
    return result


def kept_by_draw(delta: np.ndarray, probability: np.ndarray, seed: int, name: str, row: int) -> np.ndarray:
    key = hashlib.sha256(f"{seed}\0{row}\0{name}".encode()).digest()[:8]
    made = torch.Generator().manual_seed(int.from_bytes(key, "big", signed=True))
    return np.where(torch.rand(delta.shape, generator=made).numpy() < probability, delta, 0)


def voted(deltas: np.ndarray, weights: list[float], elect: str, undecided: str, normalise: bool) -> np.ndarray:
    """Coordinate by coordinate."""
    result = np.zeros(deltas.shape[1])
    for k in range(deltas.shape[1]):
        values = [w * d for w, d in zip(weights, deltas[:, k], strict=True)]
        vote = sum(values) if elect == "mass" else sum(np.sign(values))
        side = np.sign(vote)
        if side == 0 and undecided == "positive":
            side = 1
        chosen = [(w, v) for w, v in zip(weights, values, strict=True) if v * side > 0]
        if chosen:
            result[k] = sum(v for _, v in chosen) / (sum(w for w, _ in chosen) if normalise else 1)
    return result


def added(deltas: np.ndarray, weights: list[float], normalise: bool) -> np.ndarray:
    total = sum(w * d for w, d in zip(weights, deltas, strict=True))
    return total / sum(weights) if normalise else total


def pieces(per: str) -> list[tuple[str, slice, tuple[int, ...]]]:
    """Where thresholds hold: over everything, or tensor by tensor."""
    own = layout()
    if per == "point":
        return [("point", slice(0, own.size), (own.size,))]
    return [(slot.name, slice(slot.start, slot.stop), slot.shape) for slot in own.slots]


@pytest.mark.parametrize("per", ["point", "tensor"])
@pytest.mark.parametrize(
    ("density", "gamma"), [(0.2, 0.0), (0.5, 0.1), ([0.1, 0.9, 1.0], 0.02), (1.0, 0.1), (0.97, 0.2)]
)
@pytest.mark.parametrize("elect", ["mass", "count"])
def test_ties_and_breadcrumbs_are_the_loops(per: str, density: float | list[float], gamma: float, elect: str) -> None:
    base, sources = near()
    weights = [1.0, 0.5, 2.0]
    deltas = array(sources - base)
    densities = density if isinstance(density, list) else [density] * 3
    thin = {False: np.empty_like(deltas), True: np.empty_like(deltas)}
    for _, here, _ in pieces(per):
        for row, own in enumerate(densities):
            thin[False][row, here] = kept_by_size(deltas[row, here], own)
            thin[True][row, here] = kept_by_size(deltas[row, here], own, gamma)
    common = {"base": base, "weights": weights, "layout": layout(), "per": per, "density": density, "scale": 0.7}
    for normalise in (True, False):
        for undecided in ("base", "positive"):
            ties = merge(sources, method="ties", elect=elect, undecided=undecided, normalise=normalise, **common)
            wanted = 0.7 * voted(thin[False], weights, elect, undecided, normalise)
            np.testing.assert_allclose(array(ties.point - base), wanted, atol=1e-12)
        crumbs = merge(sources, method="breadcrumbs", gamma=gamma, normalise=normalise, **common)
        np.testing.assert_allclose(array(crumbs.point - base), 0.7 * added(thin[True], weights, normalise), atol=1e-12)
        both = merge(sources, method="breadcrumbs_ties", gamma=gamma, elect=elect, normalise=normalise, **common)
        wanted = 0.7 * voted(thin[True], weights, elect, "base", normalise)
        np.testing.assert_allclose(array(both.point - base), wanted, atol=1e-12)


def test_by_default_thresholds_are_as_in_the_papers() -> None:
    base, sources = near()
    assert merge(sources, method="ties", base=base, layout=layout()).per == "point"
    assert merge(sources, method="breadcrumbs", base=base, layout=layout()).per == "tensor"


@pytest.mark.parametrize("rescale", ["paper", "norm", "none"])
@pytest.mark.parametrize("per", ["point", "tensor"])
@pytest.mark.parametrize("name", ["dare", "dare_ties", "della", "della_linear"])
def test_random_drops_are_the_loops(name: str, per: str, rescale: str) -> None:
    base, sources = near()
    weights, densities = [1.0, 0.5, 2.0], [0.3, 0.6, 1.0]
    deltas = array(sources - base)
    thin = np.empty_like(deltas)
    probability = np.empty_like(deltas)
    for tensor, here, shape in pieces("tensor"):
        for row, density in enumerate(densities):
            delta = deltas[row, here].reshape(shape)
            p = np.full(shape, density)
            if name.startswith("della") and density < 1:
                rows = delta.reshape(1, -1) if delta.ndim < 2 else delta.reshape(len(delta), -1)
                p = np.empty_like(rows)
                for i, values in enumerate(rows):
                    for rank, j in enumerate(sorted(range(len(values)), key=lambda j: abs(values[j]))):
                        p[i, j] = density - 0.2 + 0.4 * rank / (len(values) - 1)
                p = p.reshape(shape)
            kept = kept_by_draw(delta, p, 7, tensor, row) if density < 1 else delta
            thin[row, here], probability[row, here] = kept.reshape(-1), p.reshape(-1)
    if rescale == "paper":
        thin = thin / probability
    if rescale == "norm":
        for _, here, _ in pieces(per):
            for row in range(3):
                rest = abs(thin[row, here]).sum()
                thin[row, here] *= abs(deltas[row, here]).sum() / rest if rest else 1
    more = {"epsilon": 0.2} if name.startswith("della") else {}
    found = merge(
        sources, method=name, base=base, weights=weights, layout=layout(), per=per, seed=7, density=densities,
        rescale=rescale, scale=0.7, **more,
    )  # fmt: skip
    votes = name in ("dare_ties", "della")
    wanted = voted(thin, weights, "mass", "base", True) if votes else added(thin, weights, False)
    np.testing.assert_allclose(array(found.point - base), 0.7 * wanted, atol=1e-6)


def test_a_block_of_a_large_tensor_is_drawn_for_as_in_the_whole() -> None:
    sources = points(1, 300_000, dtype=torch.float32)
    method = get("dare")
    asked = ask(method, ["a"], base=True)
    assert method.part is not None
    whole = method.part(Part("a", sources, 0 * sources[0]), Kept(), asked)
    for first, last in ((0, 70_000), (70_000, 150_000), (150_000, 300_000)):
        block = Part("a", sources[:, first:last], 0 * sources[0, first:last], first)
        assert torch.equal(method.part(block, Kept(), asked), whole[first:last])


def test_dropping_keeps_the_mean_and_follows_the_seed() -> None:
    base, delta = torch.zeros(200_000), torch.ones(200_000)
    found = merge([delta], method="dare", base=base, density=0.1).point
    assert set(found.tolist()) == {0.0, 10.0}
    assert float(found.mean()) == pytest.approx(1, abs=6 * 3 / math.sqrt(200_000))
    same = merge([delta], method="dare", base=base, density=0.1)
    assert torch.equal(same.point, found)
    assert not torch.equal(merge([delta], method="dare", base=base, density=0.1, seed=1).point, found)
    twice = merge([delta, delta], method="dare", base=base, density=0.1).point
    assert set(twice.tolist()) == {0.0, 10.0, 20.0}  # sources are drawn for independently
    state = torch.get_rng_state()
    merge([delta], method="della_linear", base=base)
    assert torch.equal(torch.get_rng_state(), state)


def test_della_keeps_the_large_more_often() -> None:
    delta = torch.linspace(-1, 1, 100_001)
    found = merge([delta], method="della_linear", base=0 * delta, density=0.5, epsilon=0.4, rescale="none").point
    size = delta.abs()
    for low in (0.0, 0.25, 0.5, 0.75):
        here = (size >= low) & (size < low + 0.25)
        assert float((found[here] != 0).float().mean()) == pytest.approx(0.1 + 0.8 * (low + 0.125), abs=0.02)


class Large:
    """A layout of one tensor."""

    def __init__(self, *shape: int) -> None:
        net = torch.nn.Module()
        net.weight = torch.nn.Parameter(torch.zeros(shape))
        self.layout = Layout.of(net)


@pytest.mark.parametrize("shape", [(150_000,), (400, 500), (3, 100_000)])
@pytest.mark.parametrize("name", [*NAMES, "task_arithmetic", "wise_ft", "karcher"])
def test_large_tensors_go_in_pieces_that_change_nothing(
    name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = points(2, math.prod(shape), dtype=torch.float32)
    base = 0.3 * points(1, math.prod(shape), 5, torch.float32)[0]
    own = Large(*shape).layout
    more = {"of": "deltas"} if name == "karcher" else {}
    found = merge(sources, method=name, base=base, layout=own, **more)
    monkeypatch.setattr("landform.merging._pieces.PIECE", 10**9)
    whole = merge(list(sources), method=name, base=base, layout=own, **more)
    torch.testing.assert_close(found.point, whole.point, atol=1e-6, rtol=1e-6)
    assert found.total.changed > 0


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=40),
    st.sampled_from([torch.float32, torch.float64]),
    st.data(),
)
def test_magnitudes_by_rank_are_those_of_sorting(values: list[float], dtype: torch.dtype, data: st.DataObject) -> None:
    numbers = torch.tensor(values, dtype=dtype) * (1 if dtype == torch.float32 else 1 / 3)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=3)))
    ranks = data.draw(st.lists(st.integers(1, len(values)), min_size=1, max_size=3))
    rows = torch.stack([numbers, numbers.flip(0) / 2])
    edges = [0, *cuts, len(values)]
    parts = [Part(str(i), rows[:, a:b]) for i, (a, b) in enumerate(itertools.pairwise(edges))]
    for ways in (largest, _by_digits):
        found = ways(parts, lambda row, size: ranks)
        for row, own in zip(rows, found, strict=True):
            ordered = sorted(row.abs().tolist(), reverse=True)
            assert list(own) == [ordered[rank - 1] for rank in ranks]


def test_magnitudes_over_pieces_longer_than_a_chunk() -> None:
    made = torch.Generator().manual_seed(0)
    base = torch.randn(1_500_000, generator=made)
    source = (base + torch.randn(1_500_000, generator=made)).unsqueeze(0)
    (found,) = largest([Part("a", source, base)], lambda row, size: [1, size // 5, size])
    ordered = (source[0] - base).abs().sort(descending=True).values
    assert list(found) == [float(ordered[i]) for i in (0, 299_999, -1)]


def test_equal_magnitudes_at_the_threshold_are_all_kept() -> None:
    delta = torch.tensor([3.0, -2, 2, 2, 1, 0])
    found = merge([delta], method="ties", base=0 * delta, density=0.4)
    assert found.point.tolist() == [3, -2, 2, 2, 0, 0]
    crumbs = merge([delta], method="breadcrumbs", base=0 * delta, density=0.4, gamma=0.2)
    assert crumbs.point.tolist() == [0, -2, 2, 2, 0, 0]
    few = merge([delta[:2]], method="ties", base=0 * delta[:2], density=0.2)  # at least one is kept
    assert few.point.tolist() == [3, 0]


def test_no_majority_leaves_the_base() -> None:
    a = torch.tensor([1.0, 1, -3])
    b = torch.tensor([-1.0, 2, 1])
    origin = torch.tensor([10.0, 10, 10])
    for undecided, first in (("base", 10.0), ("positive", 11.0)):
        found = merge([origin + a, origin + b], method="ties", base=origin, density=1, undecided=undecided)
        assert found.point.tolist() == [first, 11.5, 7]
    counted = merge([origin + a, origin + b], method="ties", base=origin, density=1, elect="count")
    assert counted.point.tolist() == [10, 11.5, 10]


@pytest.mark.parametrize("name", [*NAMES, "model_stock", "karcher"])
def test_one_tensor_at_a_time_is_each_tensor_alone(name: str) -> None:
    base, sources = near(dtype=torch.float32)
    together = merge(sources, method=name, base=base, layout=layout(), per="tensor", seed=3)
    for slot in layout().slots:
        here = slice(slot.start, slot.stop)
        if name in ("ties", "breadcrumbs", "breadcrumbs_ties", "model_stock", "karcher"):
            alone = merge(sources[:, here], method=name, base=base[here], per="tensor", seed=3)
            assert torch.equal(together.point[here], alone.point)


@pytest.mark.parametrize("name", NAMES)
def test_the_type_changes_rounding_only(name: str, device: torch.device) -> None:
    base, sources = near(dtype=torch.float32)
    exact = merge(sources.double(), method=name, base=base.double(), layout=layout(), seed=2)
    found = merge(sources.to(device), method=name, base=base.to(device), layout=layout(), seed=2)
    assert found.point.device.type == device.type
    torch.testing.assert_close(found.point.cpu().double(), exact.point, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["karcher", "model_stock"])
def test_angles_know_no_order_of_sources(name: str) -> None:
    base, sources = near()
    one, other = (merge(rows, method=name, base=base, layout=layout()) for rows in (sources, sources[[2, 0, 1]]))
    torch.testing.assert_close(one.point, other.point)


@pytest.mark.parametrize("name", ["ties", "breadcrumbs", "breadcrumbs_ties"])
def test_the_order_of_sources_says_nothing(name: str) -> None:
    base, sources = near()
    order = [2, 0, 1]
    one = merge(sources, method=name, base=base, weights=[1, 2, 3], density=[0.3, 0.5, 0.7])
    other = merge(sources[order], method=name, base=base, weights=[3, 1, 2], density=[0.7, 0.3, 0.5])
    torch.testing.assert_close(one.point, other.point)


def test_equal_sources_are_their_own_merge() -> None:
    base, sources = near()
    same = sources[:1].expand(3, -1)
    for name in ("mean", "wise_ft", "karcher", "model_stock", "ties", "dare", "della", "breadcrumbs_ties"):
        more = {"alpha": 1.0} if name == "wise_ft" else {"density": 1.0} if name in NAMES else {}
        if name == "dare":
            more["normalise"] = True
        found = merge(same, method=name, base=base, **more)
        torch.testing.assert_close(found.point, sources[0])
    torch.testing.assert_close(merge(same[:2], method="slerp").point, sources[0])


P = points()
WRONG = {
    "density": (lambda: merge(P, method="ties", base=P[0], density=0), r"density of ties is 0: .* in \(0, 1\]"),
    "densities": (lambda: merge(P, method="ties", base=P[0], density=[0.1]), "density of ties has 1 values for 3"),
    "one of them": (lambda: merge(P, method="ties", base=P[0], density=[0.1, 2, 1]), "density of ties is 2"),
    "negative": (lambda: merge(P, method="ties", base=P[0], weights=[1, 1, -1]), "a weight is negative"),
    "sum": (lambda: merge(P, method="dare", base=P[0], weights=[1, 1, -2], normalise=True), "sum to zero"),
    "epsilon": (lambda: merge(P, method="della", base=P[0], density=0.1), r"from -0.05 to 0.25: choose epsilon"),
    "rescale": (lambda: merge(P, method="dare", base=P[0], rescale=True), "give 'paper', 'norm' or 'none'"),
    "gamma": (lambda: merge(P, method="breadcrumbs", base=P[0], gamma=1), r"give a number in \[0, 1\)"),
    "scales": (lambda: merge(P, method="ties", base=P[0], scale=[1, 1, 1]), "scale of ties is .*: give a number"),
    "elect": (lambda: merge(P, method="ties", base=P[0], elect="sum"), "give 'mass' or 'count'"),
    "no base": (lambda: merge(P, method="dare"), "dare works on differences from a base"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_misuse_is_one_sentence(name: str) -> None:
    call, said = WRONG[name]
    with pytest.raises(BadInput, match=said):
        call()


def test_a_negative_weight_takes_away_where_sums_are_asked() -> None:
    base, sources = near(2)
    found = merge(sources, method="ties", base=base, density=1, weights=[1, -1], normalise=False)
    wanted = voted(array(sources - base), [1, -1], "mass", "base", False)
    np.testing.assert_allclose(array(found.point - base), wanted, atol=1e-12)
