"""Training in planes against a plain loop over torch's own optimisers, and the directions against their definitions."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from landform.data import Dataset, Split
from landform.errors import BadInput
from landform.layout import Layout
from landform.recording import Trajectory
from landform.training import Recipe, Recording, plane, plane_of, planes, spawn, train, train_many
from landform.training._noise import order

N = 50
KINDS = ["orthonormal", "unit", "sparse", "fastfood"]


def data(dtype: torch.dtype = torch.float64) -> Dataset:
    made = torch.Generator().manual_seed(0)
    x = torch.randn(N, 6, generator=made, dtype=dtype)
    y = torch.randint(0, 3, (N,), generator=made)
    return Dataset("made", Split(x, y), Split(x[:7], y[:7]), 3, {})


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)).double()


def plain_loop(model: nn.Module, recipe: Recipe, M: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
    """Training of z as anyone writes it: ``functional_call`` at ``theta_0 + M z``."""
    model = copy.deepcopy(model).train()
    set_, names = data(), [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    origin = torch.cat([p.detach().flatten() for p in model.parameters()])
    z = torch.zeros(M.shape[1], dtype=torch.float64, requires_grad=True)
    kinds = {
        "sgd": lambda: torch.optim.SGD([z], lr=1.0, momentum=recipe.momentum, nesterov=recipe.nesterov),
        "adam": lambda: torch.optim.Adam([z], lr=1.0, betas=recipe.betas),
        "adamw": lambda: torch.optim.AdamW([z], lr=1.0, betas=recipe.betas, weight_decay=0.0),
    }
    optimizer = kinds[recipe.optimizer]()
    per_epoch, losses = recipe.steps_per_epoch(N), []
    for step in range(recipe.steps(N)):
        epoch, place = divmod(step, per_epoch)
        at = order(N, recipe.seed, epoch)[place * recipe.batch_size : (place + 1) * recipe.batch_size]
        optimizer.param_groups[0]["lr"] = float(recipe.rates([step], per_epoch)[0])
        optimizer.zero_grad()
        theta = origin + M @ z
        parts = [p.view(shape) for p, shape in zip(theta.split([s.numel() for s in shapes]), shapes, strict=True)]
        out = torch.func.functional_call(model, dict(zip(names, parts, strict=True)), set_.train.inputs[at])
        loss = F.cross_entropy(out, set_.train.targets[at])
        (loss + 0.5 * recipe.weight_decay * theta.square().sum()).backward()
        optimizer.step()
        losses.append(loss.item())
    return (origin + M @ z).detach(), losses


RECIPES = {
    "sgd": Recipe(epochs=3, batch_size=16, momentum=0.0, weight_decay=0.02),
    "momentum": Recipe(epochs=3, batch_size=16, schedule="cosine"),
    "nesterov": Recipe(epochs=2, batch_size=16, nesterov=True, weight_decay=0.01),
    "adam": Recipe(epochs=3, batch_size=16, optimizer="adam", lr=0.05, weight_decay=0.02),
    "adamw": Recipe(epochs=3, batch_size=16, optimizer="adamw", lr=0.05),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RECIPES)
def test_a_run_in_a_plane_equals_the_plain_loop(name: str, kind) -> None:
    model, recipe = net(), RECIPES[name]
    within = plane(model, 7, kind=kind, seed=3)
    expected, losses = plain_loop(model, recipe, within.matrix().double())
    origin = Layout.of(model).point(model)
    trained = train(model, data(), recipe, planes=within, device="cpu")
    torch.testing.assert_close(trained.losses, torch.tensor(losses, dtype=torch.float64))
    torch.testing.assert_close(trained.point, expected)
    assert torch.equal(Layout.of(model).point(model), trained.point)
    assert trained.coordinates is not None
    torch.testing.assert_close(origin + within.matrix().double() @ trained.coordinates, trained.point)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_stack_of_planes_equals_its_members_alone(optimizer: str) -> None:
    base = Recipe(epochs=2.5, batch_size=16, optimizer=optimizer)
    models = [net(k) for k in range(9)]
    shared = planes(models[0], 5, 3, seed=1)  # one draw, other signs
    each = [*shared, plane(models[0], 5, seed=2), plane(models[0], 8, kind="unit"),
            *planes(models[0], 6, 2, kind="sparse"), *planes(models[0], 6, 2, kind="fastfood")]  # fmt: skip
    recipes = [dataclasses.replace(base, lr=0.02 * (k + 1), seed=k, weight_decay=0.01 * k) for k in range(9)]
    alone = [copy.deepcopy(model) for model in models]
    together = train_many(models, data(), recipes, planes=each, how="stack", device="cpu")
    assert together[0].how.stack
    for model, recipe, within, one in zip(alone, recipes, each, together, strict=True):
        trained = train(model, data(), recipe, planes=within, device="cpu")
        torch.testing.assert_close(one.losses, trained.losses)
        torch.testing.assert_close(one.point, trained.point)
        torch.testing.assert_close(one.coordinates, trained.coordinates)
        assert len(one.coordinates) == within.dimension
        for name, buffer in trained.buffers.items():
            torch.testing.assert_close(one.buffers[name], buffer)


def test_one_plane_for_all_and_the_whole_space() -> None:
    model, whole = net(), net()
    size = Layout.of(model).size
    recipe = Recipe(epochs=2, batch_size=16, weight_decay=0.01)
    everything = plane_of(torch.eye(size, dtype=torch.float64))
    confined = train(model, data(), recipe, planes=everything, device="cpu")
    torch.testing.assert_close(confined.point, train(whole, data(), recipe, device="cpu").point)
    same = plane(model, 4)
    ends = train_many([net(), net()], data(), recipe, planes=same, device="cpu", how="stack")
    torch.testing.assert_close(ends[0].point, ends[1].point)


@pytest.mark.parametrize("kind", KINDS)
@given(size=st.integers(5, 300), share=st.floats(0.01, 1.0), seed=st.integers(0, 50), number=st.integers(0, 3))
def test_pull_is_the_adjoint_of_lift(kind, size: int, share: float, seed: int, number: int) -> None:
    dimension = max(1, int(share * size))
    one = planes(size, dimension, number + 1, kind=kind, seed=seed)[number].to(torch.device("cpu"), torch.float64)
    made = torch.Generator().manual_seed(seed)
    z, g = (torch.randn(1, n, generator=made, dtype=torch.float64) for n in (dimension, size))
    assert float((one.lift(z) * g).sum()) == pytest.approx(float((z * one.pull(g)).sum()), abs=1e-9)
    torch.testing.assert_close(one.lift(z)[0], one.matrix() @ z[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dimension", [1, 20, 100])
def test_columns_are_what_they_are_said_to_be(kind, dimension: int) -> None:
    for one in planes(1000, dimension, 2, kind=kind, seed=4):
        M = one.matrix()
        lengths = M.norm(dim=0)
        torch.testing.assert_close(lengths, torch.ones(dimension), rtol=0.06 if kind == "fastfood" else 1e-5, atol=0)
        gram = (M.T @ M).double() - torch.eye(dimension)
        if kind == "orthonormal":
            assert gram.abs().max() < 1e-5
        elif dimension > 1:  # as random unit vectors are
            off = gram - gram.diagonal().diag()
            # The squares of fastfood's gains, which two columns share, make it twice that of Gaussian ones.
            likely = 2 if kind == "fastfood" else 1
            assert 0.7 < float(off.square().sum() / (dimension * (dimension - 1)) * 1000) / likely < 1.4
        if kind == "sparse":
            assert ((M != 0).sum(0) == 32).all()


def test_fastfood_against_its_definition() -> None:
    (one,) = planes(21, 5, 1, kind="fastfood", seed=2)
    H = torch.tensor([[(-1.0) ** bin(i & j).count("1") for j in range(8)] for i in range(8)]) / math.sqrt(8)
    rows = []
    for b in range(3):
        permuted = (H @ torch.diag(one.signs[0, b]))[one.order[0, b]]
        rows.append(H @ torch.diag(one.gains[0, b]) @ permuted)
    torch.testing.assert_close(one.matrix(), torch.cat(rows)[:21, :5])


@pytest.mark.parametrize("n", [1, 2, 64, 512, 32768])
def test_the_hadamard_transform(n: int) -> None:
    from scipy.linalg import hadamard

    from landform.training._directions import _hadamard

    x = torch.randn(2, n, dtype=torch.float64)
    y = _hadamard(x)
    torch.testing.assert_close(_hadamard(y), x)  # it is its own inverse
    if n <= 512:
        torch.testing.assert_close(y, x @ torch.from_numpy(hadamard(n)).double() / math.sqrt(n))
    else:
        torch.testing.assert_close(y[:, 0], x.sum(1) / math.sqrt(n))


def test_planes_of_one_seed_are_nested_and_those_of_many_differ() -> None:
    for kind in ("orthonormal", "unit"):
        small, large = (plane(300, d, kind=kind, seed=7).matrix() for d in (5, 40))
        torch.testing.assert_close(small, large[:, :5], atol=1e-6, rtol=1e-5)
    overlaps = []
    for seed in range(6):
        many = [one.matrix() for one in planes(400, 20, 3, seed=seed)]
        torch.testing.assert_close(many[0], plane(400, 20, seed=seed).matrix())
        overlaps += [float((many[i].T @ many[j]).square().sum()) / 20 for i, j in ((0, 1), (0, 2), (1, 2))]
    # (d + 2) / P, where planes drawn apart have d / P in common.
    assert sum(overlaps) / len(overlaps) == pytest.approx(22 / 400, rel=0.12)


def test_a_million_parameters_and_ten_thousand_dimensions() -> None:
    size, dimension = 1_000_000, 10_000
    for kind, most in (("fastfood", 64 * 2**20), ("sparse", 256 * 2**20)):
        (one,) = planes(size, dimension, 1, kind=kind, memory=most)
        held = sum(
            t.numel() * t.element_size()
            for t in (getattr(one, f.name) for f in dataclasses.fields(one))
            if isinstance(t, torch.Tensor)
        )
        assert held <= most
        z, g = torch.randn(1, dimension), torch.randn(1, size)
        up = one.lift(z)
        assert float(up.square().sum() / z.square().sum()) == pytest.approx(1, abs=0.1)
        assert float((up * g).sum()) == pytest.approx(float((z * one.pull(g)).sum()), rel=1e-3, abs=1.0)
    with pytest.raises(BadInput, match=r"kind='sparse' or 'fastfood', or memory="):
        plane(size, dimension)


def test_every_device_comes_to_the_same(device: torch.device) -> None:
    recipe = Recipe(epochs=2, batch_size=16, optimizer="adam", lr=0.05, weight_decay=0.01)

    def ends(where: torch.device) -> list[torch.Tensor]:
        models = [net(k).float() for k in range(len(KINDS))]
        within = [plane(models[0], 6, kind=kind) for kind in KINDS]
        found = train_many(models, data(torch.float32), recipe, planes=within, device=where)
        return [one.point for one in found]

    for mine, other in zip(ends(device), ends(torch.device("cpu")), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


class Cut(Exception):
    """Stands for whatever ends a training too early."""


@pytest.mark.parametrize("how", ["loop", "stack"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_recorded_cut_and_resumed_to_the_bit(how: str, optimizer: str, tmp_path: Path) -> None:
    recipe = Recipe(epochs=4, batch_size=16, optimizer=optimizer, lr=0.05)
    models = [net(k) for k in range(3)]
    within = [plane(models[0], 4, seed=k) for k in range(2)] + [plane(models[0], 6, kind="fastfood")]
    options = {"planes": within, "how": how, "device": "cpu", "recording": Recording(at=3, resumable_at=(3, 9))}
    uncut = train_many([net(k) for k in range(3)], data(), recipe,
                       outs=[tmp_path / f"u{k}" for k in range(3)], **options)  # fmt: skip

    def progress(done: int, total: int) -> None:
        if done >= (11 if how == "stack" else 27):
            raise Cut

    outs = [tmp_path / f"c{k}" for k in range(3)]
    with pytest.raises(Cut):
        train_many([net(k) for k in range(3)], data(), recipe, outs=outs, progress=progress, **options)
    resumed = train_many(models, data(), recipe, outs=outs, resume=True, **options)
    for k in range(3):
        assert torch.equal(resumed[k].point, uncut[k].point)
        assert torch.equal(resumed[k].losses, uncut[k].losses)
        a, b = Trajectory(tmp_path / f"u{k}"), Trajectory(outs[k])
        assert torch.equal(a.points[:], b.points[:])
        # What is recorded are points of the model, all of them in the plane.
        moved = a.points[:] - a.points[0]
        M = within[k].matrix().double()
        inside = torch.linalg.lstsq(M, moved.T).solution
        torch.testing.assert_close((M @ inside).T, moved)
        assert a.run["settings"]["plane"]["dimension"] == within[k].dimension
        assert a.records[-1].momentum is None  # it is no direction in the space of points
        assert a.records[-1].optimizer["plane.coordinates"].shape[0] >= within[k].dimension


def test_another_plane_or_origin_is_not_gone_on_with(tmp_path: Path) -> None:
    recipe = Recipe(epochs=1, batch_size=16)
    train(net(), data(), recipe, planes=plane(net(), 4), out=tmp_path / "a", device="cpu")
    for model, within in ((net(), plane(net(), 4, seed=1)), (net(1), plane(net(), 4)), (net(), None)):
        with pytest.raises(BadInput, match="made with another plane"):
            train(model, data(), recipe, planes=within, out=tmp_path / "a", resume=True, device="cpu")
    with pytest.raises(BadInput, match="confined to a plane"):
        spawn(tmp_path / "a", net(), data(), at=0)
    own = plane_of(torch.eye(Layout.of(net()).size)[:, :3])
    assert "checksum" in own.describe()


MISUSE = {
    "dimension": (lambda: plane(10, 11), "11 dimensions does not lie in a space of 10"),
    "half": (lambda: plane(10, 2.5), "2.5 dimensions"),
    "kind": (lambda: plane(10, 2, kind="flat"), "no plane of kind 'flat'"),
    "count": (lambda: planes(10, 2, 0), "count is 0"),
    "memory": (lambda: plane(10**6, 100, memory=1e3), "give fewer dimensions, or memory="),
    "matrix": (lambda: plane_of(torch.zeros(3)), r"matrix \[P, d\]"),
    "wide": (lambda: plane_of(torch.zeros(2, 3)), "no more than there are parameters"),
    "size": (lambda: train(net(), data(), planes=plane(10, 2)), "its plane is one in 10: make it by"),
    "no plane": (lambda: train(net(), data(), planes=[torch.eye(3)]), "its plane is a Tensor"),
    "number": (lambda: train_many([net(), net()], data(), Recipe(), planes=[plane(net(), 2)]), "1 planes for 2 models"),
    "adamw": (lambda: train(net(), data(), Recipe(optimizer="adamw", weight_decay=0.1), planes=plane(net(), 2)),
              "AdamW decays weights apart"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_one_sentence(name: str) -> None:
    act, says = MISUSE[name]
    with pytest.raises(BadInput, match=says):
        act()
