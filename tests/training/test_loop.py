"""The loop against torch's own optimisers in a plain loop, and a stack against the loop."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landform.data import Augment, Dataset, Split
from landform.errors import BadInput
from landform.training import Constant, Cosine, Cyclic, Recipe, Step, train, train_many
from landform.training._noise import generator, order

N = 50


def data(shape: tuple[int, ...] = (6,), dtype: torch.dtype = torch.float32, **options) -> Dataset:
    made = torch.Generator().manual_seed(0)
    x = torch.randn(N, *shape, generator=made, dtype=dtype)
    y = torch.randint(0, 3, (N,), generator=made)
    return Dataset("made", Split(x, y), Split(x[:7], y[:7]), 3, {}, **options)


def mlp(seed: int = 0, dtype: torch.dtype = torch.float32, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3)).to(dtype)


def cnn(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)).to(dtype)


def plain_loop(model: nn.Module, set_: Dataset, recipe: Recipe) -> tuple[nn.Module, list[float]]:
    """Training as anyone writes it."""
    model = copy.deepcopy(model).train()
    x, y = set_.train.inputs, set_.train.targets
    kinds = {
        "sgd": lambda p: torch.optim.SGD(p, lr=1.0, momentum=recipe.momentum, nesterov=recipe.nesterov,
                                         weight_decay=recipe.weight_decay, foreach=False),
        "adam": lambda p: torch.optim.Adam(p, betas=recipe.betas, weight_decay=recipe.weight_decay, foreach=False),
        "adamw": lambda p: torch.optim.AdamW(p, betas=recipe.betas, weight_decay=recipe.weight_decay, foreach=False),
    }  # fmt: skip
    optimizer = kinds[recipe.optimizer](model.parameters())
    per_epoch, total = recipe.steps_per_epoch(N), recipe.steps(N)
    losses = []
    for step in range(total):
        epoch, place = divmod(step, per_epoch)
        at = order(N, recipe.seed, epoch)[place * recipe.batch_size : (place + 1) * recipe.batch_size]
        optimizer.param_groups[0]["lr"] = float(recipe.rates([step], per_epoch)[0])
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[at]), y[at], label_smoothing=recipe.label_smoothing)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses


RECIPES = {
    "sgd": Recipe(epochs=3, batch_size=16, momentum=0.0),
    "momentum": Recipe(epochs=3, batch_size=16, weight_decay=1e-2),
    "nesterov": Recipe(epochs=2.3, batch_size=7, nesterov=True, schedule="cosine"),
    "adam": Recipe(epochs=3, batch_size=16, optimizer="adam", lr=0.01, weight_decay=0.1,
                   schedule=Step(at=(1,), share=False)),
    "adamw": Recipe(epochs=3, batch_size=16, optimizer="adamw", lr=0.01, weight_decay=0.1, warmup=1),
    "smooth": Recipe(epochs=2, batch_size=25, label_smoothing=0.2, schedule=Cyclic(period=1)),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_one_model_equals_torchs_own_optimiser(name: str) -> None:
    set_, model = data(), mlp()
    expected, losses = plain_loop(model, set_, RECIPES[name])
    trained = train(model, set_, RECIPES[name], device="cpu")
    torch.testing.assert_close(trained.losses, torch.tensor(losses), rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    if RECIPES[name].optimizer == "sgd":  # to the last bit
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


@pytest.mark.parametrize("net", [mlp, cnn], ids=["mlp", "batch norm"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_stack_equals_its_members_alone(net, optimizer: str) -> None:
    shape = (6,) if net is mlp else (1, 6, 6)
    base = Recipe(epochs=2.5, batch_size=16, optimizer=optimizer)
    recipes = [
        dataclasses.replace(base, lr=0.01 * (k + 1), seed=k, weight_decay=0.01 * k, label_noise=0.1 * k,
                            momentum=0.9 if k else 0.0, schedule=Cosine() if k == 1 else Constant())
        for k in range(4)
    ]  # fmt: skip
    models = [net(k, torch.float64) for k in range(4)]
    alone = [copy.deepcopy(model) for model in models]
    set_ = data(shape, torch.float64)
    together = train_many(models, set_, recipes, device="cpu", how="stack")
    assert together[0].how.stack
    for model, recipe, one in zip(alone, recipes, together, strict=True):
        trained = train(model, set_, recipe, device="cpu")
        torch.testing.assert_close(one.losses, trained.losses)
        torch.testing.assert_close(one.point, trained.point)
        for name, buffer in trained.buffers.items():
            torch.testing.assert_close(one.buffers[name], buffer)
    for model, other in zip(models, alone, strict=True):
        for mine, theirs in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
            torch.testing.assert_close(mine, theirs)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    first = order(20, 1, 2)
    torch.rand(5)
    assert torch.equal(order(20, 1, 2), first)
    assert not torch.equal(order(20, 1, 3), first)
    assert not torch.equal(order(20, 2, 2), first)
    assert sorted(first.tolist()) == list(range(20))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_same_seed_gives_the_same_bits_and_the_callers_generator_is_left_alone(dropout: float) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = train(mlp(dropout=dropout), data(), Recipe(epochs=2, batch_size=16), device="cpu")
    torch.manual_seed(5)
    again = train(mlp(dropout=dropout), data(), Recipe(epochs=2, batch_size=16), device="cpu")
    assert torch.equal(first.point, again.point)
    torch.manual_seed(5)
    model = mlp(dropout=dropout)
    torch.set_rng_state(state)
    train(model, data(), Recipe(epochs=1, batch_size=16), device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    other = train(mlp(dropout=dropout), data(), Recipe(epochs=2, batch_size=16, seed=1), device="cpu")
    assert not torch.equal(first.point, other.point)


class Functional(nn.Linear):
    """Dropout that is no module."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(F.dropout(x, 0.5, self.training))


def test_dropout_that_is_no_module_is_a_function_of_the_seed_too() -> None:
    torch.manual_seed(0)
    models = [Functional(6, 3) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    ends = []
    for number, model in enumerate(models):
        torch.manual_seed(number)
        ends.append(train(model, data(), Recipe(epochs=2, batch_size=16), device="cpu"))
    assert torch.equal(ends[0].point, ends[1].point)
    assert torch.equal(ends[0].losses, ends[1].losses)


class Shares(nn.Module):
    """One normalisation under two names, and a buffer that is replaced, not written into."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm1d(6)
        self.same = self.norm
        self.head = nn.Linear(6, 3)
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return self.head(self.same(x) - self.mean)


@pytest.mark.parametrize("how", ["loop", "stack"])
def test_shared_modules_and_replaced_buffers_are_trained_as_in_a_plain_loop(how: str) -> None:
    set_, recipe = data(), RECIPES["momentum"]
    expected, _ = plain_loop(Shares(), set_, recipe)
    models = [Shares() for _ in range(3)]
    train_many(models, set_, recipe, device="cpu", how=how)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(models[1].state_dict()[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", ["loop", "stack"])
def test_label_noise_in_sequences(how: str) -> None:
    tokens = torch.randint(0, 9, (20, 5), generator=torch.Generator().manual_seed(0))
    net = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9))
    recipes = [Recipe(epochs=1, batch_size=20, label_noise=noise) for noise in (0.0, 0.9)]
    ends = train_many([copy.deepcopy(net), copy.deepcopy(net)], (tokens, tokens), recipes, device="cpu", how=how)
    expected = F.cross_entropy(net(tokens).flatten(0, 1), tokens.flatten()).detach()
    torch.testing.assert_close(ends[0].losses[0], expected)
    assert abs(float(ends[1].losses[0] - expected)) > 1e-3


def test_a_model_of_mixed_types_is_trained_in_the_widest() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8).bfloat16(), nn.Linear(8, 3))
    assert train(model, data(), Recipe(epochs=1), device="cpu").point.dtype == torch.float32


def test_training_inside_no_grad() -> None:
    expected = train(mlp(), data(), Recipe(epochs=1), device="cpu")
    with torch.no_grad():
        assert torch.equal(train(mlp(), data(), Recipe(epochs=1), device="cpu").point, expected.point)


def test_dropout_is_on() -> None:
    dry, wet = (train(mlp(dropout=p), data(), Recipe(epochs=1, batch_size=16), device="cpu") for p in (0.0, 0.5))
    assert not torch.allclose(dry.losses, wet.losses)


def test_augmentation_and_mixup_are_each_runs_own() -> None:
    set_ = data((1, 8, 8), augment=Augment(flip=True, pad=1), mixup=0.4)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    models = [copy.deepcopy(net) for _ in range(3)]
    recipes = [Recipe(epochs=2, batch_size=16, seed=k // 2) for k in range(3)]
    together = train_many(models, set_, recipes, device="cpu", how="stack")
    assert torch.allclose(together[0].losses, together[1].losses)
    assert not torch.allclose(together[0].losses, together[2].losses)
    alone = train(copy.deepcopy(net), set_, recipes[0], device="cpu")
    torch.testing.assert_close(alone.losses, together[0].losses)


def test_label_noise_changes_that_share_of_labels() -> None:
    from landform.training._batches import Batches

    batches = Batches.of(
        data(), [Recipe(label_noise=0.0), Recipe(label_noise=0.4, seed=1)], torch.device("cpu"), torch.float32
    )
    assert torch.equal(batches.targets[0], data().train.targets)
    assert int((batches.targets[1] != data().train.targets).sum()) == 20


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(), [1, 1, 1, 1]),
        (Cosine(), [1, 0.8536, 0.5, 0.1464]),
        (Cosine(final=0.5), [1, 0.9268, 0.75, 0.5732]),
        (Step(at=(0.25, 0.75), by=0.1), [1, 0.1, 0.1, 0.01]),
        (Step(at=(1,), by=0.5, share=False), [1, 1, 0.5, 0.5]),
        (Cyclic(period=1, low=0.0), [1, 0.5, 1, 0.5]),
    ],
)
def test_schedules(schedule, expected) -> None:
    rates = Recipe(epochs=2, lr=2.0, schedule=schedule).rates(range(4), 2)
    assert rates.tolist() == pytest.approx([2 * e for e in expected], abs=1e-3)


def test_warmup_rises_in_a_line() -> None:
    rates = Recipe(epochs=4, lr=1.0, warmup=2).rates(range(8), 2)
    assert rates.tolist() == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1])


@pytest.mark.parametrize(
    "recipe", [*RECIPES.values(), Recipe(schedule=Step(at=(1, 2)), mixup=0.1), Recipe(betas=[0.5, 0.9])]
)
def test_recipes_survive_json(recipe: Recipe) -> None:
    import json

    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_generators_differ_by_name() -> None:
    draws = {torch.rand(1, generator=generator(*names)).item() for names in ((0, "a"), (0, "b"), (1, "a"), ("0", "a"))}
    assert len(draws) == 4


def half_frozen(seed: int) -> nn.Module:
    model = mlp(seed)
    model[0].requires_grad_(False)
    return model


MISUSE = {
    "optimizer": (lambda: Recipe(optimizer="sgdd"), "optimizer cannot be"),
    "schedule": (lambda: Recipe(schedule="sine"), "no schedule named 'sine'"),
    "epochs": (lambda: Recipe(epochs=0), "epochs cannot be 0"),
    "momentum": (lambda: Recipe(momentum=1.0), "momentum cannot be 1.0"),
    "nesterov": (lambda: Recipe(nesterov=True, momentum=0.0), "nesterov cannot be"),
    "no number": (lambda: Recipe(lr="0.1"), "lr cannot be '0.1': give 0 or a number above"),  # type: ignore[arg-type]
    "no seed": (lambda: Recipe(seed=None), "seed cannot be None"),  # type: ignore[arg-type]
    "no schedule": (lambda: Recipe(schedule=3), "schedule cannot be 3"),  # type: ignore[arg-type]
    "endless": (lambda: Recipe(epochs=float("inf")), "epochs cannot be inf"),
    "part of a sample": (lambda: Recipe(batch_size=2.5), "batch_size cannot be 2.5"),
    "period": (lambda: Cyclic(period=0.0), "period of a cyclic schedule is 0"),
    "shape": (lambda: train(mlp(), (torch.randn(9, 5), torch.zeros(9).long())), "cannot be trained on a batch of 9"),
    "labels": (lambda: train(mlp(), (torch.randn(9, 6), torch.arange(9))), "labels must lie in 0..2"),
    "NaN": (lambda: train(mlp(), (torch.full((9, 6), torch.nan), torch.zeros(9).long())), "NaN or infinity in 9 of 9"),
    "vector loss": (lambda: train(mlp(), data(), loss=lambda z, y: (z.sum(1) - y).square()), "not one number"),
    "broadcast": (lambda: train(nn.Linear(6, 1), (torch.randn(9, 6), torch.randn(9)), loss="mse"), "the same shape"),
    "one sample over": (lambda: train(nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3)), data(), Recipe(batch_size=7)),
                        "a batch of 1 samples"),
    "twice": (lambda: train_many([(one := mlp()), one], data(), Recipe()), "same model is given twice"),
    "frozen": (lambda: train_many([half_frozen(0), half_frozen(1)], data(), Recipe()), "frozen weights, and these"),
    "recipes": (lambda: train_many([mlp()], data(), [Recipe(), Recipe()]), "1 models and 2 recipes"),
    "differ": (lambda: train_many([mlp(), mlp()], data(), [Recipe(), Recipe(epochs=1)]), "share epochs"),
    "architectures": (lambda: train_many([mlp(), nn.Linear(6, 3)], data(), Recipe()), "differ in architecture"),
    "loader": (lambda: train(mlp(), torch.utils.data.DataLoader([1])), "lf.Recorder"),
    "how": (lambda: train(mlp(), data(), Recipe(), how="fast"), "how is 'fast'"),
    "smoothing": (lambda: train(mlp(), data(), Recipe(label_smoothing=0.1), loss="mse"), "belongs to cross-entropy"),
    "noise": (lambda: train(mlp(), (torch.randn(9, 6), torch.randn(9, 3)), Recipe(label_noise=0.1), loss="mse"),
              "needs labels"),
    "json": (lambda: Recipe.from_json({"lr": 1}), "not the description of a recipe"),
    "stack": (lambda: train_many([Peeks(), Peeks()], data(), Recipe(), how="stack"), "many"),
}  # fmt: skip


class Peeks(nn.Linear):
    """Looks at its own values, so it cannot run in a stack."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * (1 if self.weight.sum().item() > 0 else 2)


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_one_sentence(name: str) -> None:
    act, says = MISUSE[name]
    with pytest.raises(BadInput, match=says):
        act()


def test_what_cannot_stack_is_looped_over() -> None:
    both = train_many([Peeks(), Peeks()], data(), Recipe(epochs=1), device="cpu")
    assert not both[0].how.stack
    assert torch.equal(both[0].point, both[1].point)
    assert not both[0].diverged


def test_divergence_is_told() -> None:
    assert train(mlp(), data(), Recipe(epochs=5, lr=1e30), device="cpu").diverged
