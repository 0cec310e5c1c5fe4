"""Claims and their verdicts, on curves of which the verdict is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from landform.errors import BadInput, Damaged
from landform.studies import SCALES, Claim, bundle, claims_of, read_claims, write_claims

PROTOCOL = replace(
    SCALES["small"],
    recipe=replace(SCALES["small"].recipe, epochs=100.0),
    spawns=(0.0, 1.0, 2.0, 4.0, 8.0, 16.0),
)
SPAWNS = np.array(PROTOCOL.spawns)
ONSETS = np.array([0.0, 1.0, 4.0, 20.0, 40.0, 60.0, 100.0])
DENSE = np.concatenate([[0.0], np.geomspace(0.1, 100, 60)])


class Fake:
    """As much of an atlas as claims look at."""

    def __init__(self, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
        self._curves = curves

    def names(self) -> tuple[str, ...]:
        return tuple(self._curves)

    def __getitem__(self, name: str) -> Any:
        times, values = self._curves[name]
        dim = "on" if name.startswith("onset") else "set"
        dims = ("time", "on") if dim == "on" else ("set", "time")
        both = np.stack([values, values], axis=1 if dim == "on" else 0)
        return SimpleNamespace(dims=dims, values=both, coords={"time": times, dim: np.array(["train", "test"])})


def falling(times: np.ndarray, first: float, last: float, half: float) -> np.ndarray:
    return last + (first - last) / (1 + (times / half) ** 3)


def paper(seed: int = 0, **changes: tuple[np.ndarray, np.ndarray]) -> Any:
    """A run that does what the paper says."""
    noise = 1 + 0.01 * np.random.default_rng(seed).normal()
    velocity = falling(DENSE, 1.0, 0.2, 3.0) * noise
    curves = {
        "children_barrier_error": (SPAWNS, falling(SPAWNS, 0.8, 0.0, 1.2) * noise),
        "children_kernel_distance": (SPAWNS, falling(SPAWNS, 0.5, 0.2, 2.0) * noise),
        "children_disagreement": (SPAWNS, falling(SPAWNS, 0.3, 0.1, 2.0)),
        "kernel_velocity": (DENSE, velocity),
        "kernel_velocity_per_lr": (DENSE, 10 * velocity),
        "onset_linearised": (ONSETS, falling(ONSETS, 0.6, 0.095, 2.0) * noise),
        "onset_nonlinear": (ONSETS, np.full(len(ONSETS), 0.09)),
        "error": (DENSE, falling(DENSE, 0.9, 0.1, 5.0)),
    }
    return Fake({**curves, **changes})


def verdicts(*atlases: Any) -> dict[str, Claim]:
    return {claim.id: claim for claim in claims_of(PROTOCOL, list(atlases), "small")}


def test_a_run_that_does_what_the_paper_says_reproduces_it() -> None:
    found = verdicts(paper(0), paper(1), paper(2))
    assert len(found) == 9
    moving = found.pop("measures-move-together")
    assert moving.value is not None
    assert {claim.verdict for claim in found.values()} == {"reproduced"}
    basin = found["basin-fixed-early"]
    # 0.8 falls linearly from spawn 2 to spawn 4 through a tenth of itself.
    at2, at4 = falling(np.array([2.0, 4.0]), 0.8, 0.0, 1.2)
    assert basin.value == pytest.approx(2 + 2 * (at2 - 0.08) / (at2 - at4), rel=1e-6)
    assert basin.interval is not None
    assert basin.interval[0] <= basin.value <= basin.interval[1]
    assert found["kernel-improves-threefold"].value == pytest.approx(0.6 / falling(ONSETS, 0.6, 0.095, 2.0)[2])
    assert found["basin-fixed-early"].seeds == 3
    assert found["basin-fixed-early"].settings["scale"] == "small"


def test_one_seed_has_no_interval() -> None:
    claim = verdicts(paper())["basin-fixed-early"]
    assert claim.interval is None
    assert claim.seeds == 1


def test_without_a_barrier_there_is_nothing_to_see() -> None:
    flat = {"children_barrier_error": (SPAWNS, np.full(len(SPAWNS), 0.004))}
    claim = verdicts(paper(**flat))["basin-fixed-early"]
    assert claim.verdict == "not at this scale"
    assert "one basin from the beginning" in claim.why


def test_a_barrier_that_stays_contradicts_it() -> None:
    stays = {"children_barrier_error": (SPAWNS, np.linspace(0.8, 0.5, len(SPAWNS)))}
    assert verdicts(paper(**stays))["basin-fixed-early"].verdict == "contradicted"
    late = {"children_barrier_error": (SPAWNS, falling(SPAWNS, 0.8, 0.0, 4.0))}
    assert verdicts(paper(**late))["basin-fixed-early"].verdict == "in part"


def test_a_kernel_that_never_improves_contradicts_it() -> None:
    same = {"onset_linearised": (ONSETS, np.full(len(ONSETS), 0.6))}
    found = verdicts(paper(**same))
    assert found["kernel-improves-threefold"].verdict == "contradicted"
    assert found["kernel-meets-training"].verdict == "contradicted"
    assert found["advantage-is-early"].verdict == "contradicted"
    assert found["kernel-closes-the-gap"].verdict == "not at this scale"
    slow = {"onset_linearised": (ONSETS, falling(ONSETS, 0.6, 0.095, 12.0))}
    assert verdicts(paper(**slow))["kernel-improves-threefold"].verdict == "not at this scale"


def test_no_shares_are_told_of_a_gap_that_is_hardly_there() -> None:
    for end in (0.59, 0.7):  # the run ends where its initial kernel does, or worse
        claim = verdicts(paper(error=(DENSE, falling(DENSE, 0.9, end, 5.0))))["kernel-closes-the-gap"]
        assert claim.verdict == "not at this scale"
        assert claim.value is None
        assert "hardly a gap" in claim.why


def test_a_kernel_that_rests_or_speeds_up_is_told() -> None:
    rests = {"kernel_velocity_per_lr": (DENSE, falling(DENSE, 1.0, 0.0, 3.0))}
    assert verdicts(paper(**rests))["velocity-stays"].verdict == "contradicted"
    rises = {"kernel_velocity_per_lr": (DENSE, 0.2 + DENSE / 50)}
    found = verdicts(paper(**rises))
    assert found["velocity-falls"].verdict == "contradicted"
    assert found["velocity-stays"].verdict == "reproduced"  # by the ratio, it is nearly constant in the second half


def test_a_fall_at_the_very_start_is_seen_and_noise_is_none() -> None:
    times = np.unique(np.r_[np.linspace(0, 0.4, 9), DENSE])
    quick = {"kernel_velocity_per_lr": (times, falling(times, 1.4, 0.6, 0.15))}  # long over within the first epochs
    claim = verdicts(paper(**quick))["velocity-falls"]
    assert claim.verdict == "reproduced"
    assert claim.value is not None
    assert 2 < claim.value < 1.4 / 0.6
    assert "by epoch 0.15" in claim.why
    noise = 1 + 0.15 * np.random.default_rng(0).normal(size=len(DENSE))
    assert verdicts(paper(kernel_velocity_per_lr=(DENSE, noise)))["velocity-falls"].verdict == "contradicted"


def test_seeds_that_are_far_apart_settle_nothing() -> None:
    far = {"onset_linearised": (ONSETS, np.where((ONSETS > 0) & (ONSETS < 10), 0.03, falling(ONSETS, 0.6, 0.095, 2.0)))}
    claim = verdicts(paper(), paper(**far))["kernel-improves-threefold"]
    assert claim.verdict == "in part"
    assert "seeds are too far apart" in claim.why


def test_what_was_not_measured_is_told_so() -> None:
    found = verdicts(Fake({"error": (DENSE, DENSE)}))
    assert {claim.verdict for claim in found.values()} == {"not measured"}
    assert all(claim.value is None for claim in found.values())


def test_gaps_in_a_curve_do_not_become_numbers() -> None:
    holed = falling(SPAWNS, 0.8, 0.0, 1.2)
    holed[2] = np.nan
    claim = verdicts(paper(children_barrier_error=(SPAWNS, holed)))["basin-fixed-early"]
    assert claim.value is not None
    assert 2 < claim.value < 4


def test_curves_of_several_seeds_share_their_times() -> None:
    other = Fake({"error": (np.array([0.0, 2.0]), np.array([0.5, 0.25]))})
    one = Fake({"error": (np.array([0.0, 1.0]), np.array([0.5, 0.4]))})
    found = bundle([one, other], "error", set="test")  # type: ignore[list-item]
    assert found.epochs.tolist() == [0.0, 1.0, 2.0]
    np.testing.assert_array_equal(found.values, [[0.5, 0.4, np.nan], [0.5, np.nan, 0.25]])
    np.testing.assert_array_equal(found.mean, [0.5, 0.4, 0.25])
    assert not bundle([one], "error", set="nowhere")  # type: ignore[list-item]
    assert not bundle([one], "nothing")  # type: ignore[list-item]


def test_claims_are_kept_in_a_file_that_says_everything(tmp_path: Path) -> None:
    claims = claims_of(PROTOCOL, [paper(0), paper(1)], "small")
    path = write_claims(tmp_path, claims)
    assert path.name == "claims.json"
    for before, after in zip(claims, read_claims(tmp_path), strict=True):
        assert after.to_json() == before.to_json()
        wanted = (
            "id",
            "paper",
            "statement",
            "definition",
            "expected",
            "value",
            "interval",
            "seeds",
            "settings",
            "verdict",
        )
        assert set(wanted) <= set(after.to_json())
    path.write_text(path.read_text()[:100])
    with pytest.raises(Damaged, match="damaged"):
        read_claims(tmp_path)
    with pytest.raises(BadInput, match=r"no claims\.json"):
        read_claims(tmp_path / "elsewhere")
