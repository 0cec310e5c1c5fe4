"""Adversarial training against a plain loop, alone and in stacks."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landform as lf
from landform.attacks import Attack, random_start
from landform.cli import main
from landform.errors import BadInput
from landform.training import Recipe, train, train_many
from landform.training._noise import generator, order

N, LOW, HIGH = 30, 0.0, 1.0


def samples(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    x = torch.rand(N, *shape, generator=made, dtype=torch.float64)
    x.view(-1)[:2] = torch.tensor([LOW, HIGH], dtype=torch.float64)
    return x, torch.randint(0, 3, (N,), generator=made)


def mlp(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def cnn(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3)).double()


RECIPES = {
    "fgsm, both": Recipe(epochs=2, batch_size=8, lr=0.2, adversary=Attack.fgsm(0.1), adversarial=0.5),
    "pgd only": Recipe(epochs=2, batch_size=8, lr=0.2, adversary=Attack("linf", 0.1, 3)),
    "l2, mostly": Recipe(epochs=2, batch_size=8, lr=0.2, adversary=Attack("l2", 0.3, 2), adversarial=0.7),
}


def plain_loop(model: nn.Module, shape: tuple[int, ...], recipe: Recipe) -> nn.Module:
    model = copy.deepcopy(model).train()
    x, y = samples(shape)
    attack, share = recipe.adversary, recipe.adversarial
    assert attack is not None
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.lr, momentum=recipe.momentum)
    for step in range(recipe.steps(N)):
        epoch, place = divmod(step, recipe.steps_per_epoch(N))
        at = order(N, recipe.seed, epoch)[place * recipe.batch_size : (place + 1) * recipe.batch_size]
        clean, labels = x[at], y[at]
        worst = clean.clone()
        if attack.start == "random":
            worst = clean + random_start(clean, attack, generator(recipe.seed, "adversary", attack.seed, step))
            worst = worst.clamp(LOW, HIGH)
        for _ in range(attack.steps):
            other = copy.deepcopy(model)  # the running statistics do not see the adversary's tries
            worst = worst.detach().requires_grad_()
            (g,) = torch.autograd.grad(F.cross_entropy(other(worst), labels), worst)
            size = g.flatten(1).norm(dim=1).view(-1, *[1] * (g.dim() - 1))
            moved = worst.detach() + attack.length * (g.sign() if attack.norm == "linf" else g / size) - clean
            if attack.norm == "linf":
                moved = moved.clamp(-attack.eps, attack.eps)
            else:
                size = moved.flatten(1).norm(dim=1).view(-1, *[1] * (g.dim() - 1))
                moved = moved * (attack.eps / size).clamp_max(1.0)
            worst = (clean + moved).clamp(LOW, HIGH)
        optimizer.zero_grad()
        loss = (
            share * F.cross_entropy(model(worst.detach()), labels)
            if share == 1
            else (
                (1 - share) * F.cross_entropy(model(clean), labels)
                + share * F.cross_entropy(model(worst.detach()), labels)
            )
        )
        loss.backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("made", [mlp, cnn], ids=["mlp", "batch norm"])
@pytest.mark.parametrize("name", RECIPES)
def test_adversarial_training_is_that_of_a_plain_loop(name: str, made) -> None:
    shape = (6,) if made is mlp else (1, 6, 6)
    expected = plain_loop(made(), shape, RECIPES[name])
    model = made()
    train(model, samples(shape), RECIPES[name], device="cpu")
    for mine, theirs in zip(model.state_dict().values(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("made", [mlp, cnn], ids=["mlp", "batch norm"])
def test_a_stack_equals_its_members_alone(made) -> None:
    shape = (6,) if made is mlp else (1, 6, 6)
    recipes = [replace(RECIPES["l2, mostly"], seed=k, lr=0.1 * (k + 1)) for k in range(3)]
    together = train_many([made(k) for k in range(3)], samples(shape), recipes, device="cpu", how="stack")
    assert together[0].how.stack
    for k, one in enumerate(together):
        alone = train(made(k), samples(shape), recipes[k], device="cpu")
        torch.testing.assert_close(one.point, alone.point, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(one.losses, alone.losses, rtol=1e-7, atol=1e-7)


def test_dropout_of_the_adversary_is_that_of_the_step() -> None:
    from landform.layout import Layout
    from landform.stacked import Function
    from landform.training._gradients import Plain

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    layout = Layout.of(model)
    function = Function(model, layout, device=torch.device("cpu"), dtype=torch.float64)
    function.net.train()
    found = Plain(function, F.cross_entropy, stacked=False, seeds=[3])
    x, y = (t[None] for t in samples((6,)))
    point, out = layout.point(model)[None], torch.empty(1, layout.size, dtype=torch.float64)
    base = found(point, {}, x, y, 5, out)
    slope = found.slopes(point, {}, x, y, 5)
    ahead = found(point, {}, x + 1e-6 * slope, y, 5, out)
    assert float(ahead - base) == pytest.approx(1e-6 * float(slope.square().sum()), rel=1e-3)


def test_it_makes_robust_and_is_recorded(tmp_path: Path) -> None:
    data = lf.data.digits(per_class=30)
    recipe = Recipe(epochs=12, batch_size=30, lr=0.1)
    against = replace(recipe, adversary=Attack("linf", 0.1, 3))
    found = []
    for each in (recipe, against):
        model = lf.models.mlp(inputs=(64,), classes=10, width=32, depth=1)
        train(model, data, each, device="cpu")
        landscape = lf.Landscape(model, data, device="cpu").on(data.test)
        strong = Attack.strong(0.1, steps=10, restarts=2)
        found.append(lf.attacks.robustness(landscape, landscape.here, strong, within=data).accuracy)
    assert found[1] > found[0] + 0.05
    short = replace(against, epochs=2)
    whole = train(
        lf.models.mlp(inputs=(64,), classes=10, width=8, depth=1), data, short, out=tmp_path / "a", device="cpu"
    )
    assert Recipe.from_json(whole.trajectory.run["settings"]["recipe"]) == short
    with pytest.raises(BadInput, match="another recipe"):
        train(lf.models.mlp(inputs=(64,), classes=10, width=8, depth=1), data, replace(short, adversary=None),
              out=tmp_path / "a", device="cpu", resume=True)  # fmt: skip


def test_a_recipe_without_adversary_says_nothing_of_one() -> None:
    assert "adversary" not in Recipe().to_json()
    assert Recipe.from_json(Recipe().to_json()) == Recipe()
    for recipe in RECIPES.values():
        assert Recipe.from_json(recipe.to_json()) == recipe


def test_misuse_is_told() -> None:
    with pytest.raises(BadInput, match="adversarial cannot be 0"):
        Recipe(adversarial=0.0)
    with pytest.raises(BadInput, match="climbs the loss once"):
        Recipe(adversary=Attack(restarts=3))
    with pytest.raises(BadInput, match="share adversary"):
        train_many(
            [mlp(0), mlp(1)],
            samples((6,)),
            [replace(RECIPES["pgd only"], adversary=None), RECIPES["pgd only"]],
            device="cpu",
        )
    tokens = torch.randint(0, 9, (20, 5))
    net = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9))
    with pytest.raises(BadInput, match="floating-point"):
        train(net, (tokens, tokens), replace(RECIPES["pgd only"], epochs=1), device="cpu")


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data-option", "per_class=10", "--epochs", "1", "--records", "2", "--device", "cpu"]
    adversary = ["--adversary", "l2", "--adversary-eps", "0.5", "--adversary-steps", "2", "--adversarial", "0.5"]
    assert main(["train", "--out", str(tmp_path / "run"), *options, *adversary]) == 0
    told = lf.Trajectory(tmp_path / "run").run["settings"]["recipe"]
    assert told["adversary"]["norm"] == "l2"
    assert (told["adversary"]["eps"], told["adversary"]["steps"], told["adversarial"]) == (0.5, 2, 0.5)
    capsys.readouterr()
