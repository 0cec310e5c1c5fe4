"""Measurements while training goes on: what they find, what they cost, and that they leave no trace."""

from __future__ import annotations

import gc
import logging
import random
import re
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landform as lf
from landform.errors import BadInput
from landform.recording import Now, Recorder, Trajectory, every, log_spaced

MADE = torch.Generator().manual_seed(5)
INPUTS, LABELS = torch.randn(40, 4, generator=MADE), torch.randint(0, 3, (40,), generator=MADE)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 3))


def train(model: nn.Module, steps: int, folder: Path | None, pause: float = 0.0, **options: Any) -> Recorder | None:
    """A plain loop that draws from every generator; it keeps its gradients from step to step."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)
    recorder = None
    if folder is not None:
        recorder = Recorder(folder, model, optimizer, epoch=10, **{"at": every(5, steps), "pairs": None, **options})
    for step in range(steps):
        noise = random.random() + np.random.rand()  # noqa: NPY002
        if step % 2 == 0:  # gradients that are there already must survive
            optimizer.zero_grad()
        loss = F.cross_entropy(model(INPUTS + 0.01 * noise * torch.randn(40, 4)), LABELS)
        loss.backward()
        optimizer.step()
        time.sleep(pause)
        if recorder is not None:
            recorder.step(loss=loss)
    if recorder is not None:
        recorder.close()
    return recorder


def rude(now: Now) -> float:
    """Does everything that an observer should not."""
    random.random()
    np.random.rand()  # noqa: NPY002
    torch.randn(3)
    now.model.eval()
    loss = F.cross_entropy(now.model(INPUTS), LABELS)
    now.model.train()
    F.cross_entropy(now.model(INPUTS), LABELS).backward()  # moves BatchNorm's statistics
    with torch.no_grad():
        for parameter in now.model.parameters():
            parameter.add_(1.0)
    return float(loss.detach())


def grads(model: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_training_is_unchanged_to_the_bit(tmp_path: Path) -> None:
    plain, recorded, rudely = net(), net(), net()
    train(plain, 30, None)
    after = random.random(), np.random.rand(), torch.rand(())  # noqa: NPY002
    landscape = lf.Landscape(net(), (INPUTS, LABELS))
    names = ["loss", "error", "gradient_norm", "distance", "parameter_norm", "trace", "function_from_start"]
    train(recorded, 30, tmp_path / "run", probes=lf.probes.live(landscape, names), budget=None)
    assert after == (random.random(), np.random.rand(), torch.rand(()))  # noqa: NPY002
    assert all(map(torch.equal, plain.state_dict().values(), recorded.state_dict().values()))
    assert all(map(torch.equal, grads(plain), grads(recorded)))

    def quiet(now: Now) -> float:
        return rude(now) if now.step else 0.0

    train(rudely, 30, tmp_path / "rude", probes=[quiet], budget=None)
    assert all(map(torch.equal, plain.state_dict().values(), rudely.state_dict().values()))
    assert all(map(torch.equal, grads(plain), grads(rudely)))
    assert all(module.training for module in rudely.modules())


def test_live_values_are_those_of_a_survey(tmp_path: Path) -> None:
    model = net()
    landscape = lf.Landscape(net(), (INPUTS, LABELS))
    sets = {"train": landscape, "test": landscape.on((INPUTS[:9], LABELS[:9]))}
    names = ["loss", "error", "gradient_norm", "distance", "parameter_norm", "eigenvalues", "sharpness"]
    told: list[tuple[int, dict[str, float]]] = []
    probes = lf.probes.live(sets, [*names[:5], lf.probes.get("eigenvalues").using(k=2).on("train"), "sharpness"])
    recorder = train(
        model, 20, tmp_path / "run", probes=probes, budget=None, log=lambda step, values: told.append((step, values))
    )
    assert recorder is not None
    assert recorder.skipped == {}
    run = Trajectory(tmp_path / "run")
    atlas = lf.survey(run, sets, probes=[*names[:5], lf.probes.get("eigenvalues").using(k=2).on("train"), "sharpness"])
    for name in ("loss", "error", "gradient_norm", "sharpness"):
        for row, where in enumerate(("train", "test")):
            steps, values = run.curves[f"{where}/{name}"]
            assert steps.tolist() == run.steps == [0, 5, 10, 15, 20]
            np.testing.assert_allclose(values, atlas[name].values[row], rtol=1e-4, atol=1e-6)
    for name in ("distance", "relative_distance", "parameter_norm"):
        np.testing.assert_array_equal(run.curves[name][1], atlas[name].values)
    np.testing.assert_allclose(run.curves["train/eigenvalues.2"][1], atlas["eigenvalues"].values[:, 1], rtol=1e-3)
    assert [step for step, _ in told] == [0, 5, 10, 15, 20]
    assert told[2][1]["test/loss"] == run.curves["test/loss"][1][2]
    assert run.skipped == {}
    assert run.run["settings"]["recorder"]["budget"] is None


def test_what_the_writing_thread_takes_is_the_recorders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from landform.recording import _writer

    pack = _writer.pack_record

    def slowly(*given: Any) -> Any:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
        return pack(*given)

    monkeypatch.setattr(_writer, "pack_record", slowly)
    begun = time.perf_counter()
    with Recorder(tmp_path / "run", net(), epoch=10, at=[0, 5], pairs=None) as recorder:
        for _ in range(5):
            recorder.step(loss=1.0)
        recorder.flush()
        assert recorder.overhead >= 0.04 / (time.perf_counter() - begun)


@pytest.mark.timing
def test_the_budget_is_kept_by_leaving_out(tmp_path: Path) -> None:
    def slow(now: Now) -> float:
        time.sleep(0.01)
        return 1.0

    def quick(now: Now) -> float:
        return float(now.point.norm())

    how: dict[str, Any] = {"probes": [slow, quick], "probes_at": 3, "budget": 0.1, "at": [0, 300]}
    recorder = train(net(), 300, tmp_path / "run", pause=0.004, **how)
    assert recorder is not None
    assert 0.02 < recorder.overhead < 0.1
    run = Trajectory(tmp_path / "run")
    assert run.skipped == recorder.skipped
    taken = run.curves["slow"][0].tolist()
    assert 2 <= len(taken) < 40
    assert sorted([*taken, *run.skipped["slow"]]) == list(range(0, 301, 3))
    assert len(run.curves["quick"][0]) > len(taken)
    assert run.seconds[-1] > 0.9  # of training, which slept that long


def test_shares_of_the_budget() -> None:
    from landform.recording._live import Live
    from landform.recording._times import Times

    names = ("dear", "cheap", "middle")
    live = Live(dict.fromkeys(names, lambda now: 1.0), Times(every=1), None, 0.1)

    def chosen(trained: float, own: float) -> list[str]:
        before = {name: list(account.skipped) for name, account in live._accounts.items()}
        taken, left_out = live.choose(1, trained, own)
        assert sorted(taken + left_out) == sorted(names)
        for name, account in live._accounts.items():
            account.skipped = before[name]  # as if nobody had asked
        return taken

    assert chosen(0.0, 0.0) == ["dear", "cheap", "middle"]  # nobody knows yet what they take
    for name, seconds in (("dear", 10.0), ("cheap", 0.1), ("middle", 1.0)):
        account = live._accounts[name]
        account.taken, account.seconds, account.last = 1, seconds, seconds
    assert chosen(100.0, 11.1) == []  # the first measurements alone took more than 10
    assert chosen(125.0, 11.1) == ["cheap"]
    assert chosen(136.0, 11.1) == ["cheap", "middle"]
    assert chosen(246.0, 11.1) == ["cheap", "middle"]
    assert chosen(248.0, 11.1) == ["dear", "cheap", "middle"]
    assert chosen(248.0, 20.0) == ["cheap", "middle"]  # recording costs too
    live._accounts["middle"].skipped.extend(range(50))  # wants as much as it can get: half of what cheap leaves
    assert chosen(248.0, 11.1) == ["cheap", "middle"]
    assert chosen(470.0, 11.1) == ["dear", "cheap", "middle"]


def test_what_the_first_time_takes_is_foretold() -> None:
    from landform.recording._live import Live
    from landform.recording._times import Times

    costs = {"cheap": ("here", 0.5), "dear": ("here", 20.0), "there": ("there", 50.0), "silent": None}
    probes: dict[str, Any] = {name: lambda now: 1.0 for name in costs}
    for name, cost in costs.items():
        if cost is not None:
            probes[name].cost = cost
    live = Live(probes, Times(every=1), None, 0.1)

    def takes(name: str, seconds: float) -> None:
        account = live._accounts[name]
        account.taken, account.seconds, account.last = account.taken + 1, account.seconds + seconds, seconds

    assert live.choose(0, 0.0, 0.0) == (["cheap", "there", "silent"], ["dear"])
    takes("cheap", 0.01)  # so 20 gradients may take 2 * 0.4 seconds
    takes("there", 0.1)
    takes("silent", 0.1)
    assert live.choose(1, 1.0, 0.21)[0] == []
    for account in live._accounts.values():
        account.skipped.clear()
    assert "dear" not in live.choose(2, 11.0, 0.21)[0]
    for account in live._accounts.values():
        account.skipped.clear()
    assert "dear" in live.choose(3, 16.0, 0.21)[0]


def test_a_probe_that_fails_is_left_out_from_then_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def failing(now: Now) -> float:
        if now.step == 10:
            raise RuntimeError("out of memory")
        return 2.0

    def told(step: int, values: dict[str, float]) -> None:
        if step == 15:
            raise OSError("nobody listens")

    recorder = train(
        net(), 20, tmp_path / "run", probes={"failing": failing, "one": lambda now: 1}, budget=None, log=told
    )
    assert recorder is not None
    assert recorder.skipped == {"failing": [15, 20]} == Trajectory(tmp_path / "run").skipped
    assert Trajectory(tmp_path / "run").curves["failing"][0].tolist() == [0, 5]
    assert Trajectory(tmp_path / "run").curves["one"][0].tolist() == [0, 5, 10, 15, 20]
    assert "failed at step 10 and is taken no more: RuntimeError: out of memory" in caplog.text
    assert "The log failed at step 15 and is told no more" in caplog.text


def test_it_says_what_it_measured(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "landform.recording"):
        train(net(), 10, tmp_path / "run", probes=[lambda now: {"a": 1.0}], probes_at=[0, 7], budget=None)
    assert "Measured during training: <lambda> at 2 of 2 times; the recorder took" in caplog.text
    assert Trajectory(tmp_path / "run").curves["a"][0].tolist() == [0, 7]


def test_a_resumed_run_goes_on_measuring(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    landscape = lf.Landscape(net(), (INPUTS, LABELS))
    how: dict[str, Any] = {"epoch": 5, "at": every(2, 8), "pairs": None, "budget": None}
    with Recorder(
        tmp_path / "run", model, optimizer, probes=lf.probes.live(landscape, ["distance"]), **how
    ) as recorder:
        for _ in range(4):
            recorder.step()
    with torch.no_grad():
        Trajectory(tmp_path / "run").records[-1].restore(model)
    again = lf.probes.live(landscape, ["distance"])
    with Recorder(tmp_path / "run", model, optimizer, probes=again, resume=True, **how) as recorder:
        for _ in range(4):
            with torch.no_grad():
                model[0].bias.add_(1.0)  # type: ignore[union-attr]
            recorder.step()
    steps, values = Trajectory(tmp_path / "run").curves["distance"]
    assert steps.tolist() == [0, 2, 4, 6, 8]
    np.testing.assert_allclose(values, [0, 0, 0, 2 * 6**0.5, 4 * 6**0.5], rtol=1e-6)


def test_numbers_told_after_the_step(tmp_path: Path) -> None:
    model = net()
    with Recorder(tmp_path / "run", model, epoch=5, at=every(2, 4), pairs=None) as recorder:
        for step in range(1, 5):
            recorder.step()
            if step % 2 == 0:
                recorder.note(loss=1.0 / step, accuracy=torch.tensor(0.5))
    curves = Trajectory(tmp_path / "run").curves
    assert [each.tolist() for each in curves["loss"]] == [[2, 4], [0.5, 0.25]]
    assert curves["accuracy"][1].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"probes": [lambda now: 1.0], "budget": 0}, "budget is 0: give a share"),
        ({"probes": []}, "There is no probe to take"),
        ({"probes": ["loss"]}, "Probe str is a str: give functions"),
        ({"probes": [rude, rude]}, "Two probes are named rude"),
        ({"log": print}, "log has nothing to tell"),
        ({"probes": [lambda now: 1.0], "log": 3}, "log is a int"),
        ({"probes": {"bad": lambda now: "high"}}, "Probe bad failed before the first step: bad is a str"),
        ({"probes": {"bad": lambda now: now.point}}, "bad is a Tensor of shape"),
        ({"probes": {"loss": lambda now: 1.0}}, "a value is named 'loss'"),
        ({"probes": {"bad": rude}}, "it changed the model's weights, which was put back"),
        ({"probes": {"bad": lambda now: 1 / 0}}, "ZeroDivisionError"),
        ({"probes": [lambda now: 1.0], "probes_at": "often"}, "a step in probes_at must be a whole number"),
        ({"probes": [lambda now: 1.0], "log": lambda step, values: 1 / 0}, "The log failed at the first step"),
    ],
)
def test_misuse_is_told_before_training(tmp_path: Path, options: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=re.escape(why)):
        train(net(), 1, tmp_path / "run", **options)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["step_cosine"], "step_cosine looks at the record before, not there while training"),
        (["function_to_end"], "looks at the trajectory"),
        ([], "There is no probe to take"),
        ([3], "3 is not a probe"),
    ],
)
def test_probes_that_cannot_be_live(names: list[Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        lf.probes.live(lf.Landscape(net(), (INPUTS, LABELS)), names)


def test_large_values_are_for_a_survey(tmp_path: Path) -> None:
    probes = lf.probes.live(lf.Landscape(net(), (INPUTS, LABELS)), ["density"])
    with pytest.raises(BadInput, match="too many for curves: survey the run"):
        train(net(), 1, tmp_path / "run", probes=probes)
    with pytest.raises(BadInput, match="There is no landscape"):
        lf.probes.live({}, ["loss"])
    with pytest.raises(BadInput, match="'train' is a int"):
        lf.probes.live({"train": 3}, ["loss"])  # type: ignore[dict-item]
    with pytest.raises(BadInput, match="error cannot be measured on train"):
        lf.probes.live(lf.Landscape(nn.Linear(4, 2), (INPUTS, torch.zeros(40, 2)), loss="mse"), ["error"])


def test_nothing_is_held_between_measurements(tmp_path: Path) -> None:
    model = net()
    landscape = lf.Landscape(net(), (INPUTS, LABELS))
    seen: list[weakref.ref[Tensor]] = []
    probes = lf.probes.live(landscape, ["loss", "gradient_norm"]) | {
        "seen": lambda now: len(seen.append(weakref.ref(now.point)) or seen)  # type: ignore[func-returns-value]
    }
    with Recorder(tmp_path / "run", model, epoch=5, at=[0, 2], pairs=None, probes=probes, budget=None) as recorder:
        for _ in range(3):
            recorder.step()
        gc.collect()
        assert len(seen) == 2
        assert not any(point() is not None for point in seen)


def test_log_spaced_probes(tmp_path: Path) -> None:
    train(net(), 40, tmp_path / "run", at=log_spaced(6, 40), probes=lambda now: float(now.epoch), budget=None)
    steps, values = Trajectory(tmp_path / "run").curves["<lambda>"]
    assert steps.tolist() == list(log_spaced(6, 40))
    assert values.tolist() == [step / 10 for step in steps.tolist()]


@pytest.mark.timing
def test_records_are_thinned_to_the_budget(tmp_path: Path) -> None:
    times = tuple(range(201))
    told: dict[str, float] = {}
    for name, how in {"all": {}, "thin": {"thin": True, "budget": 0.03}}.items():
        recorder = train(net(), 200, tmp_path / name, pause=0.002, at=times, **how)
        assert recorder is not None
        told[name] = recorder.overhead
    assert told["thin"] < 0.03
    run = Trajectory(tmp_path / "thin")
    assert run.skipped == recorder.skipped
    assert sorted([*run.steps, *run.skipped["records"]]) == list(times)
    assert run.steps[0] == 0
    assert run.steps[-1] == 200
    assert len(run.curves["loss"][0]) == 200
    assert len(Trajectory(tmp_path / "all").steps) == 201


def test_what_thinning_leaves(tmp_path: Path) -> None:
    # A budget of next to nothing: only what has to be there is there, and partners go with their records.
    how: dict[str, Any] = {"epoch": 10, "pairs": 0.2, "at": every(4, 20), "resumable_at": [8]}
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(tmp_path / "run", model, optimizer, thin=True, budget=1e-9, **how) as recorder:
        for _ in range(20):
            optimizer.step()
            recorder.step(loss=0.5)
    run = Trajectory(tmp_path / "run")
    assert run.steps == [0, 2, 8, 10, 20]
    assert run.pairs == [(0, 1), (2, 3)]
    assert run.skipped == recorder.skipped == {"records": [4, 12, 16]}
    assert run.run["settings"]["recorder"]["thin"] is True
    # And with time enough everything.
    with Recorder(tmp_path / "rich", net(), epoch=10, pairs=0.2, at=every(4, 20), thin=True, budget=1e9) as recorder:
        for _ in range(20):
            recorder.step(loss=0.5)
    assert recorder.skipped == {}
    assert Trajectory(tmp_path / "rich").steps == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]


def test_thinning_where_partners_are_records_too(tmp_path: Path) -> None:
    # 2, 10 and 12 are planned, would be left out, and are there in any case: as partners of what is kept.
    times: dict[str, Any] = {"epoch": 10, "pairs": 0.2, "at": every(2, 20), "resumable_at": [8, 10]}

    def record(until: int, begin: int = 0, **more: Any) -> Recorder:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with Recorder(tmp_path / "run", model, optimizer, thin=True, budget=1e-9, **times, **more) as recorder:
            for _ in range(begin, until):
                optimizer.step()
                recorder.step(loss=0.5)
        return recorder

    assert record(12).skipped == {"records": [4, 6]}
    run = Trajectory(tmp_path / "run")
    assert run.steps == [0, 2, 8, 10, 12]
    assert run.pairs == [(0, 1), (2, 3), (3, 4)]
    assert not any(run.at(step=step).partner for step in run.steps)  # they were asked for

    # Gone on with from 10: what a record costs is not known again before the first.
    assert record(20, begin=10, resume=10).skipped == {"records": [16, 18]}
    run = Trajectory(tmp_path / "run")
    assert run.steps == [0, 2, 8, 10, 12, 14, 20]
    assert run.skipped == {"records": [4, 6, 16, 18]}


def test_thinning_needs_a_budget(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="budget is None"):
        Recorder(tmp_path / "run", net(), epoch=5, at=5, thin=True, budget=None)
    with pytest.raises(BadInput, match="give a share"):
        Recorder(tmp_path / "run", net(), epoch=5, at=5, thin=True, budget=-1)
