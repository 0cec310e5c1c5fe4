"""Recorded trainings: cut and resumed to the bit, and children that differ only in their noise."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from landform.attacks import Attack
from landform.data import Dataset, Split
from landform.errors import BadInput
from landform.recording import Recorder, Trajectory
from landform.training import Recipe, Recording, spawn, train, train_many
from landform.training._noise import order

N = 40


def data() -> Dataset:
    made = torch.Generator().manual_seed(0)
    x, y = torch.randn(N, 6, generator=made), torch.randint(0, 3, (N,), generator=made)
    return Dataset("made", Split(x, y), Split(x[:7], y[:7]), 3, {})


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


class Cut(Exception):
    """Stands for whatever ends a training too early."""


def cut_after(steps: int):
    def progress(done: int, total: int) -> None:
        if done >= steps:
            raise Cut

    return progress


RECIPES = {
    "sgd": Recipe(epochs=4, batch_size=8, schedule="cosine", label_noise=0.1),
    "no momentum": Recipe(epochs=4, batch_size=8, momentum=0.0),
    "adamw": Recipe(epochs=4, batch_size=8, optimizer="adamw", lr=0.01, warmup=1),
    "adversary": Recipe(epochs=4, batch_size=8, adversary=Attack("l2", 0.3, 2), adversarial=0.6),
}
EVERY = Recording(at=3, pairs=0.4, resumable_at=(6, 12))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("how", ["loop", "stack"])
def test_cut_and_resumed_equals_uncut_to_the_bit(name: str, how: str, tmp_path: Path) -> None:
    recipes = [dataclasses.replace(RECIPES[name], seed=k, lr=RECIPES[name].lr / (k + 1)) for k in range(3)]
    options = {"device": "cpu", "how": how, "recording": EVERY}
    uncut = train_many([net(k) for k in range(3)], data(), recipes,
                       outs=[tmp_path / f"uncut{k}" for k in range(3)], **options)  # fmt: skip
    assert uncut[0].how.stack == (how == "stack")
    outs = [tmp_path / f"cut{k}" for k in range(3)]
    with pytest.raises(Cut):
        train_many([net(k) for k in range(3)], data(), recipes, outs=outs, progress=cut_after(30), **options)
    models = [net(k) for k in range(3)]
    resumed = train_many(models, data(), recipes, outs=outs, resume=True, **options)
    for k in range(3):
        assert torch.equal(resumed[k].point, uncut[k].point)
        assert torch.equal(resumed[k].losses, uncut[k].losses)
        a, b = Trajectory(tmp_path / f"uncut{k}"), Trajectory(outs[k])
        assert a.steps == b.steps
        assert torch.equal(a.points[:], b.points[:])
        for mine, other in zip(a.records[:], b.records[:], strict=True):
            assert mine.buffers.keys() == other.buffers.keys()
            assert all(torch.equal(v, other.buffers[n]) for n, v in mine.buffers.items())
        assert all(torch.equal(x, y) for c in a.curves for x, y in zip(a.curves[c], b.curves[c], strict=True))
    again = train_many(models, data(), recipes, outs=outs, resume=True, **options)
    assert torch.equal(again[1].point, uncut[1].point)


def test_what_is_recorded(tmp_path: Path) -> None:
    model, before = net(), copy.deepcopy(net())
    trained = train(model, data(), RECIPES["sgd"], out=tmp_path / "run", recording=EVERY, device="cpu")
    run = trained.trajectory
    assert run is not None
    assert run.steps == sorted({*range(0, 20, 3), 20, *range(2, 20, 3), 6, 12, 22} - {22})
    assert [r.step for r in run.resumable] == [0, 6, 12, 20]
    assert run.records[0].step == 0
    assert torch.equal(run.points[0], run.layout.point(before))
    assert torch.equal(run.points[-1], trained.point)
    assert torch.equal(run.points[-1], run.layout.point(model))
    steps, losses = run.curves["loss"]
    assert steps.tolist() == list(range(1, 21))
    assert torch.equal(losses.float(), trained.losses)
    assert run.curves["lr"][1].tolist() == pytest.approx(RECIPES["sgd"].rates(range(20), 5).tolist())
    settings = run.run["settings"]
    assert Recipe.from_json(settings["recipe"]) == RECIPES["sgd"]
    assert settings["how"] == {"stack": False, "why": "it is one run", "size": 1, "place": 0}
    assert run.records[3].buffers.keys() == {n for n, _ in model.named_buffers()}


def test_default_times_and_the_choice_on_record(tmp_path: Path) -> None:
    outs = [tmp_path / str(k) for k in range(4)]
    trained = train_many([net(k) for k in range(4)], data(), Recipe(epochs=40, batch_size=8), outs=outs, device="cpu")
    run = Trajectory(outs[2])
    assert run.steps[0] == 0
    assert run.steps[-1] == 200
    assert len(run.resumable) == 50
    assert run.run["settings"]["how"]["stack"] == trained[2].how.stack
    assert run.run["settings"]["how"]["place"] == 2
    assert len(run.pairs) >= 45


def test_children_start_from_weights_and_momentum_and_differ_in_noise_only(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPES["sgd"], label_noise=0.0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    parent = train(model, data(), recipe, out=tmp_path / "run", recording=EVERY, device="cpu")
    run = parent.trajectory
    untouched = copy.deepcopy(model.state_dict())
    children = spawn(run, model, data(), at=(0, 2.4), children=2, device="cpu", recording=Recording(at=1, pairs=None))
    assert all(torch.equal(v, untouched[k]) for k, v in model.state_dict().items())
    assert len({tuple(child.point.tolist()) for child in children} | {tuple(parent.point.tolist())}) == 5
    again = Trajectory(tmp_path / "run")
    assert [child.parent["step"] for child in again.children] == [0, 0, 12, 12]
    for child in again.children:
        start = run.at(step=child.parent["step"])
        assert child.steps == list(range(start.step, 21))
        assert torch.equal(child.points[0], start.point)
        assert torch.equal(child.records[0].momentum, start.momentum)
    # By hand: the first step of a child of epoch 2.4 with its own order, its parent's momentum and rate.
    from landform.training._noise import order, seed_of

    start = run.at(step=12)
    seed = seed_of(recipe.seed, "child", 12, 1)
    run.layout.load_(model, start.point)
    at = order(N, seed, 2)[16:24]
    x, y = data().train.inputs[at], data().train.targets[at]
    loss = nn.functional.cross_entropy(model(x), y)
    gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(model.parameters()))])
    rate = float(recipe.rates([12], 5)[0])
    expected = start.point - rate * (recipe.momentum * start.momentum + gradient)
    torch.testing.assert_close(again.children[3].points[1], expected)


@pytest.mark.parametrize("how", ["loop", "stack"])
def test_children_of_several_times_are_one_stack_and_equal_each_alone(how: str, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    set_ = data()
    train(model, (set_.train.inputs.double(), set_.train.targets), RECIPES["sgd"], out=tmp_path / "run",
          recording=EVERY, device="cpu")  # fmt: skip
    pair = (set_.train.inputs.double(), set_.train.targets)
    together = spawn(tmp_path / "run", model, pair, at=(0, 1.2, 2.4), children=2, device="cpu", how=how, record=False)
    for i, time in enumerate((0, 1.2, 2.4)):
        alone = spawn(tmp_path / "run", model, pair, at=time, children=2, device="cpu", how="loop", record=False)
        for child in range(2):
            torch.testing.assert_close(together[2 * i + child].point, alone[child].point)
            assert len(together[2 * i + child].losses) == 20 - (0, 6, 12)[i]


def test_children_share_their_parents_wrong_labels(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPES["no momentum"], label_noise=0.5)
    trained = train(net(), data(), recipe, out=tmp_path / "run", recording=EVERY, device="cpu")
    children = spawn(tmp_path / "run", net(), data(), at=2, children=1, device="cpu")
    assert children[0].recipe.label_seed == trained.recipe.seed
    assert children[0].recipe.seed != trained.recipe.seed


def plain_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("how", ["loop", "stack"])
def test_children_of_the_end_stay_there(how: str, tmp_path: Path) -> None:
    parent = train(plain_net(), data(), Recipe(epochs=2, batch_size=8), out=tmp_path / "run", device="cpu")
    told: list[tuple[int, int]] = []
    children = spawn(tmp_path / "run", plain_net(), data(), at=(0, 2), children=1, device="cpu", how=how,
                     progress=lambda done, total: told.append((done, total)))  # fmt: skip
    assert [len(child.losses) for child in children] == [10, 0]
    assert torch.equal(children[1].point, parent.point)
    assert not children[1].diverged
    assert told == sorted(told)
    assert len({total for _, total in told}) == 1


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_children_of_a_loop_of_ones_own(kind: str, tmp_path: Path) -> None:
    set_, model = data(), plain_net()
    make = {"sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "adam": lambda p: torch.optim.Adam(p, lr=0.1)}
    optimizer = make[kind](model.parameters())
    with Recorder(tmp_path / "run", model, optimizer, epoch=5, at=[0, 5, 10], resumable_at=[0, 5, 10]) as recorder:
        for step in range(10):
            at = order(N, 0, step // 5)[step % 5 * 8 : step % 5 * 8 + 8]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(set_.train.inputs[at]), set_.train.targets[at]).backward()
            optimizer.step()
            recorder.step()
    recipe = Recipe(epochs=2, batch_size=8, optimizer=kind, lr=0.1)
    children = spawn(tmp_path / "run", plain_net(), set_, at=(0, 1, 2), children=1, recipe=recipe, device="cpu",
                     how="stack", recording=Recording(at=1, pairs=None))  # fmt: skip
    Trajectory(tmp_path / "run").at(step=5).restore(model, optimizer)
    at = order(N, children[1].recipe.seed, 1)[:8]
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(set_.train.inputs[at]), set_.train.targets[at]).backward()
    optimizer.step()
    torch.testing.assert_close(children[1].trajectory.points[1], children[1].trajectory.layout.point(model))


def test_children_that_would_differ_in_more_than_noise_are_refused(tmp_path: Path) -> None:
    recipe = Recipe(epochs=2, batch_size=8)
    train(plain_net(), data(), recipe, out=tmp_path / "run", device="cpu")
    model, other = plain_net(), data()
    model[1] = nn.Tanh()
    other.train.inputs[0] += 1
    refused = {
        "model is not that": {"model": model},
        "data are not those": {"data": other},
        "5 steps an epoch, and this recipe 4": {"recipe": dataclasses.replace(recipe, batch_size=10)},
        "after the recipe's end": {"recipe": dataclasses.replace(recipe, epochs=1), "at": 2},
        "keeps no exp_avg": {"recipe": dataclasses.replace(recipe, optimizer="adam")},
    }
    for says, given in refused.items():
        with pytest.raises(BadInput, match=says):
            spawn(tmp_path / "run", **{"model": plain_net(), "data": data(), "at": 1, **given}, device="cpu")
    with pytest.raises(BadInput, match="another architecture"):
        train(model, data(), recipe, out=tmp_path / "run", resume=True, device="cpu")


def test_a_record_holds_the_models_state_and_restores_it(tmp_path: Path) -> None:
    def made() -> nn.Module:
        model = net()
        model.register_buffer("cache", torch.ones(2), persistent=False)
        return model

    trained = train(made(), data(), RECIPES["sgd"], out=tmp_path / "run", device="cpu")
    model = made()
    trained.trajectory.records[-1].restore(model)
    assert torch.equal(trained.trajectory.layout.point(model), trained.point)
    assert torch.equal(model[1].running_mean, trained.buffers["1.running_mean"])


def test_a_run_cut_before_its_first_record_keeps_to_its_recipe(tmp_path: Path) -> None:
    train(net(), data(), RECIPES["sgd"], out=tmp_path / "run", device="cpu")
    for file in (tmp_path / "run" / "points").iterdir():
        file.unlink()
    with pytest.raises(BadInput, match="another recipe"):
        train(net(), data(), RECIPES["adamw"], out=tmp_path / "run", resume=True, device="cpu")
    again = train(net(), data(), RECIPES["sgd"], out=tmp_path / "run", resume=True, device="cpu")
    assert torch.equal(again.point, train(net(), data(), RECIPES["sgd"], device="cpu").point)


def test_misuse_is_one_sentence(tmp_path: Path) -> None:
    options = {"recording": EVERY, "device": "cpu"}
    train(net(), data(), RECIPES["sgd"], out=tmp_path / "run", **options)
    with pytest.raises(BadInput, match="holds a run already"):
        train(net(), data(), RECIPES["sgd"], out=tmp_path / "run", **options)
    with pytest.raises(BadInput, match="another recipe"):
        train(net(), data(), RECIPES["adamw"], out=tmp_path / "run", resume=True, **options)
    other = data()
    other.train.inputs[0] += 1
    with pytest.raises(BadInput, match="another data"):
        train(net(), other, RECIPES["sgd"], out=tmp_path / "run", resume=True, **options)
    with pytest.raises(BadInput, match="resume them together"):
        train_many([net(), net()], data(), RECIPES["sgd"], outs=[tmp_path / "run", tmp_path / "run2"], resume=True,
                   **options) if (tmp_path / "run2").mkdir() or _copy(tmp_path) else None  # fmt: skip
    with pytest.raises(BadInput, match="give each run its own"):
        train_many([net(), net()], data(), RECIPES["sgd"], outs=[tmp_path / "a", tmp_path / "a"], **options)
    with pytest.raises(BadInput, match="children is 0"):
        spawn(tmp_path / "run", net(), data(), at=1, children=0)
    with pytest.raises(BadInput, match="no spawn time"):
        spawn(tmp_path / "run", net(), data(), at=())
    train(net(), data(), RECIPES["sgd"], out=tmp_path / "run", overwrite=True, **options)


def _copy(tmp_path: Path) -> bool:
    import shutil

    shutil.rmtree(tmp_path / "run2")
    shutil.copytree(tmp_path / "run", tmp_path / "run2")
    return True
