from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landform.errors import BadInput
from landform.recording import every, log_spaced
from landform.recording._times import Plan, Times, partner_gap, thin


@given(n=st.integers(2, 200), until=st.integers(1, 10**6))
def test_log_spaced_gives_n_different_steps_from_0_to_the_end(n: int, until: int) -> None:
    steps = log_spaced(n, until)
    assert len(steps) == min(n, until + 1)
    assert steps[0] == 0
    assert steps[-1] == until
    assert all(b > a for a, b in itertools.pairwise(steps))


@given(n=st.integers(10, 100), until=st.integers(2000, 10**6))
def test_log_spaced_steps_grow_in_proportion_once_there_is_room(n: int, until: int) -> None:
    steps = np.array(log_spaced(n, until))
    ratios = steps[2:] / steps[1:-1]
    late = ratios[(steps[2:] - steps[1:-1] >= 20)]
    if len(late) > 2:
        assert late.max() / late.min() < 1.06  # the ratio that is left, up to rounding


def test_every() -> None:
    assert every(3, 10) == (0, 3, 6, 9, 10)
    assert every(5, 10) == (0, 5, 10)
    assert every(20, 10) == (0, 10)


@pytest.mark.parametrize(
    "call", [(log_spaced, 1, 5), (log_spaced, 5, 0), (every, 0, 5), (every, 2, 0), (every, 1.5, 9)]
)
def test_too_small_a_number_is_refused(call) -> None:
    with pytest.raises(BadInput, match="must be"):
        call[0](*call[1:])


@pytest.mark.parametrize("bad", [0, -3, 2.5, True, [1.5], [-1], ["a"], None, torch.tensor(2.5)])
def test_what_is_no_time_is_refused(bad) -> None:
    with pytest.raises(BadInput, match=r"\bat must be"):
        Times.parse(bad, "at")


def test_times_from_anything_that_holds_whole_numbers() -> None:
    for given_times in ([5, 1, 5], np.array([1, 5]), torch.tensor([5, 1]), range(1, 9, 4), iter((1, 5))):
        assert Times.parse(given_times, "at").steps == (1, 5)
    assert Times.parse(np.int64(7), "at").every == 7


@given(
    listed=st.lists(st.integers(0, 60), min_size=1), gap=st.integers(0, 9), more=st.lists(st.integers(0, 60)),
    each=st.integers(0, 7), each_resumable=st.integers(0, 7),
)  # fmt: skip
def test_a_plan_walks_through_the_steps_it_should(listed, gap, more, each, each_resumable) -> None:
    at = Times(every=each) if each else Times.parse(listed, "at")
    resumable = Times(every=each_resumable) if each_resumable else Times.parse(more, "resumable_at")
    plan = Plan(at, gap, resumable)
    planned = set(range(0, 100, each)) if each else set(listed)
    expected = (
        planned
        | {step + gap for step in planned}
        | (set(range(0, 100, each_resumable)) if each_resumable else set(more))
    )
    walked, step = [], -1
    while (following := plan.after(step)) is not None and following < 90:
        walked.append(following)
        step = following
    assert walked == sorted(step for step in expected if step < 90)
    if not each and not each_resumable:
        assert plan.steps == tuple(sorted(expected | {0}))
    else:
        assert plan.steps is None


def test_gaps() -> None:
    assert partner_gap(0.4, 100) == 40
    assert partner_gap(0.4, 1) == 1
    assert partner_gap(None, 100) == 0
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(BadInput, match="no distance between partners"):
            partner_gap(bad, 10)


@given(n=st.integers(2, 60), until=st.integers(60, 5000), gap=st.integers(0, 50), most=st.integers(4, 130))
def test_thinning_keeps_the_ends_and_as_many_as_fit(n: int, until: int, gap: int, most: int) -> None:
    plan = Plan(Times(log_spaced(n, until)), gap, Times((7,)))

    def size(plan: Plan) -> int:
        return 10 * len(plan.steps or ())

    if size(Plan(Times((0, until)), gap, Times((7,)))) > 10 * most:
        with pytest.raises(BadInput, match="is too little"):
            thin(plan, size, 10 * most)
        return
    thinned = thin(plan, size, 10 * most)
    assert size(thinned) <= 10 * most
    assert {0, until} <= set(thinned.at.steps) <= set(plan.at.steps)
    if thinned is not plan:
        # Partners may fall on other times, so that a few more would have fitted; without them it is as full as can be.
        assert size(thinned) >= (5 * most if gap else 10 * (most - 1))
        places = [plan.at.steps.index(step) for step in thinned.at.steps]
        distances = np.diff(places)
        assert distances.max() - distances.min() <= 1
