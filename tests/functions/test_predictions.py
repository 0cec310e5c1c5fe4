"""Measures of outputs against plain loops over samples."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from landform import functions as fn
from landform.errors import BadInput


def logits(n: int = 3, samples: int = 40, classes: int = 4, seed: int = 0, scale: float = 2.0) -> Tensor:
    made = torch.Generator().manual_seed(seed)
    common = torch.randn(samples, classes, generator=made, dtype=torch.float64)
    return scale * (common + torch.randn(n, samples, classes, generator=made, dtype=torch.float64))


def labels(samples: int = 40, classes: int = 4) -> Tensor:
    return torch.randint(0, classes, (samples,), generator=torch.Generator().manual_seed(9))


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(x - top) for x in row]
    return [p / sum(powers) for p in powers]


def plain(name: str, a: list[list[float]], b: list[list[float]]) -> float:
    total = 0.0
    for x, y in zip(a, b, strict=True):
        p, q = softmax(x), softmax(y)
        if name == "disagreement":
            total += x.index(max(x)) != y.index(max(y))
        elif name == "softmax_distance":
            total += sum((s - t) ** 2 for s, t in zip(p, q, strict=True))
        elif name == "output_distance":
            total += sum((s - t) ** 2 for s, t in zip(x, y, strict=True))
        elif name == "symmetric_kl":
            total += sum(s * math.log(s / t) + t * math.log(t / s) for s, t in zip(p, q, strict=True))
        else:
            total += sum(s * t for s, t in zip(x, y, strict=True)) / math.hypot(*x) / math.hypot(*y)
    mean = total / len(a)
    return math.sqrt(mean) if name.endswith("_distance") else mean


NAMES = ("disagreement", "softmax_distance", "output_distance", "symmetric_kl", "logit_cosine")


@pytest.mark.parametrize("name", NAMES)
def test_two_and_many_equal_plain_loops(name: str) -> None:
    every, measure = logits(), getattr(fn, name)
    expected = torch.tensor([[plain(name, a, b) for b in every.tolist()] for a in every.tolist()], dtype=torch.float64)
    torch.testing.assert_close(measure(every), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(measure(every[0], every[2]), expected[0, 2], rtol=1e-10, atol=1e-12)
    sequence = every.unflatten(1, (8, 5))  # [n, N, T, K]: positions count as samples
    torch.testing.assert_close(measure(sequence), expected, rtol=1e-10, atol=1e-12)
    single = measure(every.float())
    torch.testing.assert_close(single, expected, rtol=1e-5, atol=1e-6)
    assert single.dtype == torch.float64


def test_the_far_apart_and_the_equal() -> None:
    sure = torch.tensor([[500.0, -500.0], [500.0, -500.0]])
    assert fn.softmax_distance(sure, -sure).item() == pytest.approx(math.sqrt(2))
    assert fn.symmetric_kl(sure, -sure).item() == pytest.approx(2000.0)
    assert fn.logit_cosine(sure, -sure).item() == pytest.approx(-1.0)
    assert fn.disagreement(sure, -sure).item() == 1.0
    tiny = 1e-200 * logits(1)[0]
    assert fn.logit_cosine(tiny, tiny).item() == pytest.approx(1.0)
    assert fn.logit_cosine(torch.zeros(3, 2), torch.ones(3, 2)).item() == 0.0
    same = logits(1)[0]
    assert [float(getattr(fn, name)(same, same)) for name in NAMES] == pytest.approx([0, 0, 0, 0, 1])


def test_centred_cosine_sees_what_a_softmax_sees() -> None:
    a, b = logits(2)
    shifted = b + torch.randn(len(b), 1, dtype=torch.float64)
    torch.testing.assert_close(fn.logit_cosine(a, shifted, centred=True), fn.logit_cosine(a, b, centred=True))
    assert fn.logit_cosine(a, shifted) != fn.logit_cosine(a, b)


@given(seed=st.integers(0, 10_000), slope=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_disagreement_stays_under_rising_maps_of_the_logits(seed: int, slope: float, shift: float) -> None:
    made = torch.Generator().manual_seed(seed)
    # A grid without ties, so that rounding in the maps cannot make any.
    a, b = (torch.rand(30, 5, generator=made).argsort(1).double() for _ in range(2))
    before = fn.disagreement(a, b)
    assert fn.disagreement(slope * a + shift, torch.exp(b / 2)) == before
    assert fn.disagreement(a**3, torch.atan(slope * b)) == before
    assert fn.disagreement(b, a) == before


def test_error_overlap_equals_sets() -> None:
    every, true = logits(4), labels()
    true[5:8] = -100
    found = fn.error_overlap(every, true)
    counted = [i for i in range(40) if true[i] != -100]
    given_ = every.argmax(-1)
    wrong = [{i for i in counted if given_[m, i] != true[i]} for m in range(4)]
    n = len(counted)
    assert found.samples == n == 37
    for i in range(4):
        assert found.errors[i].item() == pytest.approx(len(wrong[i]) / n)
        for j in range(4):
            both, either = wrong[i] & wrong[j], wrong[i] | wrong[j]
            assert found.both[i, j].item() == pytest.approx(len(both) / n)
            assert found.jaccard[i, j].item() == pytest.approx(len(both) / len(either))
            agree = sum((k in wrong[i]) == (k in wrong[j]) for k in counted) / n
            p, q = len(wrong[i]) / n, len(wrong[j]) / n
            chance = p * q + (1 - p) * (1 - q)
            assert found.consistency[i, j].item() == pytest.approx((agree - chance) / (1 - chance))
            same = sum(int(given_[i, k]) == int(given_[j, k]) for k in both) / len(both)
            assert found.same[i, j].item() == pytest.approx(same)


def test_without_any_error_there_is_no_overlap() -> None:
    right = torch.eye(3)[None].repeat(2, 1, 1)
    found = fn.error_overlap(right, torch.arange(3))
    assert found.both.tolist() == [[0, 0], [0, 0]]
    assert found.jaccard.isnan().all()
    assert found.consistency.isnan().all()
    assert found.same.isnan().all()


@pytest.mark.parametrize("average", ["softmax", "logits"])
def test_ensembles_equal_plain_averages(average: str) -> None:
    every, true = logits(4), labels()
    found = fn.ensemble(every, true, average=average)

    def accuracy(members: list[int]) -> float:
        right = 0
        for i in range(40):
            rows = [softmax(every[m, i].tolist()) if average == "softmax" else every[m, i].tolist() for m in members]
            mean = [sum(column) for column in zip(*rows, strict=True)]
            right += mean.index(max(mean)) == int(true[i])
        return right / 40

    alone = [accuracy([m]) for m in range(4)]
    assert found.members.tolist() == pytest.approx(alone)
    assert float(found.accuracy) == pytest.approx(accuracy([0, 1, 2, 3]))
    assert found.gain == pytest.approx(accuracy([0, 1, 2, 3]) - sum(alone) / 4)
    assert found.gain_over_best == pytest.approx(accuracy([0, 1, 2, 3]) - max(alone))
    for i in range(4):
        for j in range(4):
            expected = accuracy([i, j]) - (alone[i] + alone[j]) / 2 if i != j else 0.0
            assert found.pairs[i, j].item() == pytest.approx(expected)


def test_misuse_is_told_in_a_sentence() -> None:
    every, true = logits(), labels()
    with pytest.raises(BadInput, match=r"shapes \[40, 4\] and \[39, 4\]"):
        fn.disagreement(every[0], every[1][:39])
    broken = every.clone()
    broken[1, 3, 2] = math.nan
    with pytest.raises(BadInput, match="outputs of number 1 hold NaN or infinity in 1 of 160 places"):
        fn.symmetric_kl(broken)
    with pytest.raises(BadInput, match=r"give \[n, samples, \.\.\.\]"):
        fn.disagreement(every[0])
    with pytest.raises(BadInput, match="one class"):
        fn.disagreement(every[:, :, :1])
    with pytest.raises(BadInput, match=r"labels of shape \[40\]"):
        fn.error_overlap(every, true[:3])
    with pytest.raises(BadInput, match="all are -100"):
        fn.ensemble(every, torch.full((40,), -100))
    with pytest.raises(BadInput, match="no average 'vote'"):
        fn.ensemble(every, true, average="vote")
    with pytest.raises(BadInput, match="empty"):
        fn.disagreement(every[:, :0])
