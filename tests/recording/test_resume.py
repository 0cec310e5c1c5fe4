from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from landform.errors import BadInput
from landform.recording import Recorder, Trajectory
from landform.recording._plain import decode, encode

CUT, END = 12, 25
INPUTS = torch.randn(END + 1, 8, 4, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    """Batch norm (buffers), dropout (torch's generator), tied weights, a scalar parameter, a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.fixed = nn.Linear(4, 4).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.dropout(self.norm(self.first(x)), 0.3, self.training)
        return self.scale * self.fixed(self.second(x))


def net() -> Net:
    torch.manual_seed(3)
    return Net()


def train(model: nn.Module, optimizer, scheduler, recorder: Recorder | None, first: int, last: int) -> None:
    for step in range(first, last):

        def closure(step: int = step) -> torch.Tensor:
            optimizer.zero_grad()
            noise = random.random() + np.random.rand()  # noqa: NPY002 (what loops use)
            loss = (model(INPUTS[step] * noise) - INPUTS[step]).square().mean()
            loss.backward()
            return loss

        loss = optimizer.step(closure)
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            scheduler.step(loss.detach())
        elif scheduler is not None:
            scheduler.step()
        if recorder is not None:
            recorder.step(loss=loss)


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([t.detach().double().reshape(-1) for t in model.state_dict().values()])


def two_groups(model: nn.Module) -> list[dict]:
    norm = list(model.norm.parameters())
    rest = [p for p in model.parameters() if not any(p is q for q in norm)]
    return [{"params": norm, "lr": 0.02}, {"params": rest}]


OPTIMIZERS = {
    "sgd": lambda m: torch.optim.SGD(m.parameters(), 0.05),
    "momentum": lambda m: torch.optim.SGD(m.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adamw": lambda m: torch.optim.AdamW(m.parameters(), 0.01),
    "groups": lambda m: torch.optim.Adam(two_groups(m), 0.01, amsgrad=True),
    "fused": lambda m: torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], 0.01, fused=True),
    "tensor-lr": lambda m: torch.optim.Adam(m.parameters(), torch.tensor(0.01), foreach=False),
    "rmsprop": lambda m: torch.optim.RMSprop(m.parameters(), 0.01, momentum=0.5, centered=True),
    "part": lambda m: torch.optim.Adam([m.first.weight, m.scale], 0.01),
    "lbfgs": lambda m: torch.optim.LBFGS([p for p in m.parameters() if p.requires_grad], 0.05, max_iter=3),
    "adafactor": lambda m: torch.optim.Adafactor(m.parameters(), 0.01),
}
SCHEDULERS = {
    "none": lambda o: None,
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 20),
    "steps": lambda o: lr_scheduler.MultiStepLR(o, [5, 5, 18]),
    "cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=30),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "chain": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=4), lr_scheduler.ExponentialLR(o, 0.9)], [4]
    ),
}
CASES = [(name, "none") for name in OPTIMIZERS] + [("momentum", name) for name in SCHEDULERS if name != "none"]


@pytest.mark.filterwarnings("ignore:The epoch parameter in")  # SequentialLR of torch 2.6, to itself
@pytest.mark.parametrize(("optimizer_name", "scheduler_name"), CASES)
def test_a_run_cut_and_resumed_equals_the_uncut_run(optimizer_name: str, scheduler_name: str, tmp_path: Path) -> None:
    def make():
        model = net()
        optimizer = OPTIMIZERS[optimizer_name](model)
        return model, optimizer, SCHEDULERS[scheduler_name](optimizer)

    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    uncut, optimizer, scheduler = make()
    train(uncut, optimizer, scheduler, None, 0, END)
    state = optimizer.state_dict()

    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    model, optimizer, scheduler = make()
    folder, kinds = tmp_path / "run", {"epoch": 5, "at": [3, 9, 20], "resumable_at": [CUT]}
    recorder = Recorder(folder, model, optimizer, scheduler=scheduler, **kinds)
    train(model, optimizer, scheduler, recorder, 0, CUT + 4)  # beyond the record, to be forgotten
    recorder.close()

    model, optimizer, scheduler = make()
    random.seed(99)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(1.0)
    record = Trajectory(folder).resumable[-1]
    assert record.step == CUT
    record.restore(model, optimizer, scheduler)
    recorder = Recorder(folder, model, optimizer, scheduler=scheduler, **kinds, resume=True)
    assert recorder.steps == CUT
    train(model, optimizer, scheduler, recorder, CUT, END)
    recorder.close()

    assert torch.equal(flat(model), flat(uncut))
    assert_same(optimizer.state_dict(), state)
    trajectory = Trajectory(folder)
    assert trajectory.steps == [0, 3, 5, 9, 11, 12, 20, 22]
    assert trajectory.curves["loss"][0].tolist() == list(range(1, END + 1))
    assert trajectory.verify() == []
    assert trajectory.seconds == sorted(trajectory.seconds)


def assert_same(one: object, other: object) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert type(one) is type(other)
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


def recorded(folder: Path, **kinds) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    with Recorder(folder, model, optimizer, **({"epoch": 5, "at": [4], "resumable_at": [6]} | kinds)) as recorder:
        train(model, optimizer, None, recorder, 0, 8)
    return model, optimizer


def test_optimizer_state_is_kept_as_points(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    with Recorder(tmp_path / "run", model, optimizer, epoch=5, at=[4], resumable_at=[6]) as recorder:
        train(model, optimizer, None, recorder, 0, 6)
        moments = torch.cat(
            [optimizer.state[p]["exp_avg"].reshape(-1) for _, p in model.named_parameters() if p.requires_grad]
        )
    record = Trajectory(tmp_path / "run").resumable[0]
    assert record.optimizer.keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert torch.equal(record.momentum, moments)
    assert torch.equal(record.optimizer["exp_avg"], moments)
    assert record.optimizer["step"].tolist() == [6.0] * len(record.layout.slots)
    assert Trajectory(tmp_path / "run").records[0].momentum is None


def test_weights_alone_leave_the_generators_alone(tmp_path: Path) -> None:
    recorded(tmp_path / "run")
    trajectory = Trajectory(tmp_path / "run")
    model = net()
    for record in (trajectory.at(step=4), trajectory.at(step=6)):
        before = torch.get_rng_state()
        record.restore(model)
        assert torch.equal(torch.get_rng_state(), before)
        own = torch.cat([p.detach().reshape(-1) for p in model.parameters() if p.requires_grad])
        assert torch.equal(own, record.point)
        assert torch.equal(model.norm.running_mean, record.buffers["norm.running_mean"])
    trajectory.at(step=6).restore(model, generators=True)
    assert not torch.equal(torch.get_rng_state(), before)


def test_restoring_into_the_wrong_objects(tmp_path: Path) -> None:
    model, optimizer = recorded(tmp_path / "run")
    trajectory = Trajectory(tmp_path / "run")
    resumable, plain = trajectory.at(step=6), trajectory.at(step=4)
    before = flat(model)
    for arguments in ((model, optimizer), (model, None, lr_scheduler.ExponentialLR(optimizer, 0.9))):
        with pytest.raises(BadInput, match="keeps no optimiser state"):
            plain.restore(*arguments)
    with pytest.raises(BadInput, match="holds no scheduler"):
        resumable.restore(model, optimizer, lr_scheduler.ExponentialLR(optimizer, 0.9))
    with pytest.raises(BadInput, match="state of AdamW, not of SGD"):
        resumable.restore(model, torch.optim.SGD(model.parameters(), 0.1))
    with pytest.raises(BadInput, match="holds other parameters"):
        resumable.restore(model, torch.optim.AdamW(two_groups(model), 0.1))
    with pytest.raises(BadInput, match="parameters are not those of the run"):
        resumable.restore(nn.Linear(2, 2))
    odd = net()
    odd.norm = nn.BatchNorm1d(4, track_running_stats=False)
    with pytest.raises(BadInput, match=r"a buffer norm\.\w+ of shape .*, which the model has not"):
        resumable.restore(odd)
    torch.manual_seed(77)
    with pytest.raises(BadInput, match=r"frozen parameter fixed\.weight is not what it was"):
        resumable.restore(Net())
    assert torch.equal(flat(model), before)


def test_going_on_from_where_the_model_does_not_stand(tmp_path: Path) -> None:
    model, _ = recorded(tmp_path / "run")
    kinds = {"epoch": 5, "at": [4]}
    with pytest.raises(BadInput, match="stands at none of the points recorded"):
        Recorder(tmp_path / "run", model, resume=True, **kinds)
    with pytest.raises(BadInput, match=r"has no record of step 5: it has 0, 4, 6"):
        Recorder(tmp_path / "run", model, resume=5, **kinds)
    Trajectory(tmp_path / "run").at(step=4).restore(model)
    with pytest.raises(BadInput, match=r"stands at none of the points .* at step 6: restore one first"):
        Recorder(tmp_path / "run", model, resume=6, **kinds)
    for resume in (True, 4):
        with Recorder(tmp_path / "run", model, resume=resume, **kinds) as recorder:
            assert recorder.steps == 4


def test_resuming_where_nothing_lies_yet_begins(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run", net(), epoch=5, at=1, resume=True) as recorder:
        assert recorder.steps == 0
    assert Trajectory(tmp_path / "run").steps == [0]


def test_going_on_from_a_coarsely_stored_point_and_from_step_0(tmp_path: Path) -> None:
    model = net()
    Recorder(tmp_path / "run", model, epoch=5, at=1, dtype=torch.bfloat16).close()
    with Recorder(tmp_path / "run", model, epoch=5, at=1, dtype=torch.bfloat16, resume=0) as recorder:
        assert recorder.steps == 0  # the very model, whose rounded point is the recorded one


def test_a_damaged_record_is_written_again_when_the_run_comes_past(tmp_path: Path) -> None:
    model, optimizer = recorded(tmp_path / "run", at=[2, 4, 7], pairs=None, resumable_at=[2])
    whole = Trajectory(tmp_path / "run").points[2]
    path = tmp_path / "run" / "points" / "000000004.safetensors"
    path.write_bytes(b"")
    record = Trajectory(tmp_path / "run").resumable[0]
    record.restore(model, optimizer)
    kinds = {"epoch": 5, "at": [2, 4, 7], "pairs": None, "resume": True}
    with Recorder(tmp_path / "run", model, optimizer, **kinds) as recorder:
        assert recorder.recorded == (0, 2, 7)
        train(model, optimizer, None, recorder, 2, 8)
        recorder.flush()
        assert recorder.recorded == (0, 2, 7, 4)
    trajectory = Trajectory(tmp_path / "run")
    assert trajectory.verify() == []
    assert torch.equal(trajectory.points[2], whole)


def test_state_that_cannot_be_kept_is_said(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = lr_scheduler.ConstantLR(optimizer)
    scheduler.odd = object()
    recorder = Recorder(tmp_path / "run", model, optimizer, scheduler=scheduler, epoch=5, at=[4], resumable_at=[1])
    recorder.step()
    with pytest.raises(BadInput, match="The state of the scheduler holds a object, which cannot be kept"):
        recorder.close()


def test_plain_values_come_back() -> None:
    value = {
        "a": [1, 2.5, None, True, "x", float("inf")],
        3: (1, (2, [])),
        "count": Counter({5: 2}),
        "array": np.arange(4, dtype=np.uint32),
        "scalar": np.float64(0.1),
        "nested": {"tensor": torch.arange(3), "tuple": {}},
        (1, 2): torch.tensor(0.5, dtype=torch.bfloat16),
    }
    tensors: dict[str, torch.Tensor] = {}
    back = decode(encode(value, tensors, "x"), tensors)
    assert np.array_equal(back.pop("array"), value["array"])
    assert type(back["count"]) is Counter
    del value["array"]
    assert_same(back, value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_model_on_a_gpu(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 512), nn.Dropout(), nn.Linear(512, 64)).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    kept: dict[int, torch.Tensor] = {}

    def steps(recorder: Recorder | None, first: int, last: int) -> None:
        for step in range(first, last):
            optimizer.zero_grad()
            x = torch.full((32, 64), float(step), device="cuda") / last
            loss = (model(x) - x).square().mean()
            loss.backward()
            optimizer.step()
            if recorder is not None:
                recorder.step(loss=loss)
            kept[step + 1] = torch.cat([p.detach().reshape(-1) for p in model.parameters()]).cpu()

    with Recorder(tmp_path / "run", model, optimizer, epoch=5, at=1, resumable_at=[10]) as recorder:
        steps(recorder, 0, 20)
    trajectory = Trajectory(tmp_path / "run")
    assert all(torch.equal(trajectory.at(step=n).point, point) for n, point in kept.items())
    assert len(trajectory.curves["loss"][0]) == 20
    trajectory.resumable[0].restore(model, optimizer)
    first = dict(kept)
    steps(None, 10, 20)
    assert torch.allclose(kept[20], first[20], atol=1e-5)
