"""Probes: what they measure, what they refuse, and how they are found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.probes import DEFAULT, NEEDS, Moment, Probe, Value, get, names
from landform.probes._basic import cosine_between, distance_between, norm_of

numbers = st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=20)


def record(point: Tensor, step: int = 0) -> Any:
    return SimpleNamespace(point=point, step=step)


def nothing(moment: Moment, k: int = 1) -> dict[str, float]:
    return {"nothing": 0.0}


def taking(found: Any) -> dict[str, Value]:
    return Probe("p", lambda moment: found, needs=()).take(Moment(record(torch.zeros(1))))


@pytest.fixture
def landscape() -> Landscape:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
    return Landscape(model, (torch.randn(30, 4), torch.randint(3, (30,))), batch_size=16, device="cpu")


@given(numbers, numbers)
def test_norm_distance_cosine(a: list[float], b: list[float]) -> None:
    size = min(len(a), len(b))
    u, v = a[:size], b[:size]
    norm = sum(x * x for x in u) ** 0.5
    far = sum((x - y) ** 2 for x, y in zip(u, v, strict=True)) ** 0.5
    assert float(norm_of(torch.tensor(u))) == pytest.approx(norm, rel=1e-12)
    assert float(distance_between(torch.tensor(u), torch.tensor(v))) == pytest.approx(far, rel=1e-12)
    both = torch.tensor([u, v])
    assert norm_of(both).shape == (2,)
    assert float(distance_between(both[0], both)[0]) == 0
    other = sum(x * x for x in v) ** 0.5
    cosine = cosine_between(torch.tensor(u), torch.tensor(v))
    if norm * other > 1e-30:
        expected = sum(x * y for x, y in zip(u, v, strict=True)) / (norm * other)
        assert float(cosine) == pytest.approx(expected, abs=1e-9)
        assert float(cosine_between(torch.tensor(u), torch.tensor(u))) == pytest.approx(1)
    elif norm == 0 or other == 0:
        assert bool(cosine.isnan())


def test_sums_are_taken_in_float64() -> None:
    ones = torch.ones(2**25 + 1)  # float32 cannot count that far
    assert float(norm_of(ones)) ** 2 == pytest.approx(2**25 + 1, rel=1e-15)


def test_the_first_probes_on_a_device(device: torch.device, landscape: Landscape) -> None:
    here = Landscape(landscape._model, (torch.randn(30, 4), torch.randint(3, (30,))), device=device)
    moment = Moment(record(here.here.cpu()), landscape=here, start=record(here.here.cpu() + 1))
    for name in ("loss", "error", "gradient_norm"):
        assert get(name).take(moment)[name].numbers.device.type == "cpu"
    assert float(get("loss").take(moment)["loss"].numbers) == float(here.loss(here.here))
    expected = here.gradient(here.here).double().norm() if device.type != "mps" else here.gradient(here.here).norm()
    assert float(get("gradient_norm").take(moment)["gradient_norm"].numbers) == pytest.approx(float(expected), rel=1e-6)


def test_probes_at_one_moment_share_what_they_compute(landscape: Landscape, monkeypatch: pytest.MonkeyPatch) -> None:
    point = landscape.here + 0.1
    expected = landscape.read(point), landscape.gradient(point)
    called: list[str] = []
    calibrate, read = landscape.calibrate, landscape.read
    monkeypatch.setattr(landscape, "calibrate", lambda p: called.append("calibrate") or calibrate(p))
    monkeypatch.setattr(landscape, "read", lambda p, buffers: called.append("read") or read(p, buffers=buffers))
    moment = Moment(record(point), landscape=landscape)
    found = {name: get(name).take(moment)[name].numbers for name in ("loss", "error", "gradient_norm")}
    assert called.count("calibrate") == 1
    assert called.count("read") == 1
    assert torch.equal(found["loss"], expected[0].loss)
    assert torch.equal(found["error"], expected[0].error)
    assert torch.equal(found["gradient_norm"], expected[1].double().norm())


def test_a_probe_sees_what_it_needs_and_nothing_else(landscape: Landscape) -> None:
    given: Any = {need: record(torch.zeros(1)) for need in NEEDS} | {"landscape": landscape}
    moment = Moment(record(landscape.here.double()), **given)
    for need in NEEDS:
        seen = Probe("p", lambda moment, need=need: {"there": float(getattr(moment, need) is not None)}, needs=(need,))
        assert float(seen.take(moment)["there"].numbers) == 1
        blind = Probe("p", lambda moment, need=need: {"there": getattr(moment, need)}, needs=())
        with pytest.raises(BadInput, match=f"add '{need}' to its needs"):
            blind.take(moment)
    # As recorded without a landscape; in the landscape's type with one.
    assert moment.only(()).point.dtype == torch.float64
    assert moment.only(("landscape",)).point.dtype == torch.float32


def test_values() -> None:
    assert taking({"a": 2}) == {"a": Value(torch.tensor(2.0, dtype=torch.float64), (), {})}
    assert taking({"a": torch.tensor(3, dtype=torch.int32)})["a"].numbers.dtype == torch.int32
    labelled = taking({"a": Value(torch.zeros(2, 3), ("x", "y"), {"x": ("u", "v"), "y": [1, 2, 3]})})["a"]
    assert labelled.coords == {"x": ["u", "v"], "y": [1.0, 2.0, 3.0]}
    assert not taking({"a": torch.tensor(1.0, requires_grad=True)})["a"].numbers.requires_grad


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (1.0, "returned a float"),
        ({}, "returned a dict"),
        ({"a": "high"}, "a of probe p is a str"),
        ({"a": torch.zeros(2)}, r"has shape \[2\] and dimensions \(\)"),
        ({"a": Value(torch.zeros(2, 2), ("x", "x"))}, "name each once"),
        ({"a": Value(torch.zeros(2), ("time",))}, "which is taken"),
        ({"a": Value(torch.zeros(2), ("x",), {"x": [1.0]})}, "1 labels along 'x'"),
        ({"a": Value(torch.zeros(2), ("x",), {"y": [1.0, 2.0]})}, "2 labels along 'y'"),
        ({"a b": 1.0}, "cannot name a quantity"),
    ],
)
def test_what_cannot_be_kept_is_refused(found: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        taking(found)


def test_a_probe_is_a_value() -> None:
    probe = Probe("p", nothing, {"k": 2})
    assert probe.using(k=3).settings == {"k": 3}
    assert probe.settings == {"k": 2}
    assert probe.at((0.0, 2.5)).times == (0.0, 2.5)
    assert Probe("p", nothing, times=[1, 2]).times == (1, 2)  # type: ignore[arg-type]
    settings = {"k": 2}
    kept = Probe("p", nothing, settings)
    settings["k"] = 5
    assert kept.settings == {"k": 2}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "a/b"}, "cannot name a probe"),
        ({"needs": ("optimizer",)}, "needs 'optimizer'"),
        ({"times": "some"}, "The times of probe p"),
        ({"times": 0}, "The times of probe p"),
        ({"times": ()}, "The times of probe p"),
        ({"times": (-1.0,)}, "The times of probe p"),
        ({"settings": {"k": torch.zeros(1)}}, "not plain JSON"),
        ({"settings": {"k": float("nan")}}, "not plain JSON"),
        ({"settings": {"q": 1}}, "does not take its settings"),
    ],
)
def test_misuse_is_one_sentence(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Probe(**{"name": "p", "measure": nothing, **changed})


def test_the_registry() -> None:
    assert set(DEFAULT) <= set(names())
    for name in names():
        probe = get(name)
        assert probe.name == name
        assert probe.doc
        assert "\n" not in probe.doc
    with pytest.raises(BadInput, match="There is no probe 'blunter'"):
        get("blunter")
