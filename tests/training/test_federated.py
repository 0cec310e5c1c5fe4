"""Federated averaging against a plain loop over clients and torch's own optimisers."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import landform as lf
from landform.data import Augment, Dataset, Split, partition
from landform.errors import BadInput
from landform.training import Federation, LocalMoment, Recipe, Recording, federated
from landform.training._noise import order, seed_of

N = 47


def data(classes: int = 3) -> Dataset:
    made = torch.Generator().manual_seed(0)
    x = torch.randn(N, 6, generator=made, dtype=torch.float64)
    y = torch.randint(0, classes, (N,), generator=made)
    return Dataset("made", Split(x, y), Split(x[:7], y[:7]), classes, {})


def net(seed: int = 0, *, norm: bool = True) -> nn.Module:
    torch.manual_seed(seed)
    middle = [nn.BatchNorm1d(8)] if norm else []
    return nn.Sequential(nn.Linear(6, 8), *middle, nn.Tanh(), nn.Linear(8, 3)).double()


def plain_loop(
    model: nn.Module, places: tuple[Tensor, ...], rules: Federation, recipe: Recipe
) -> tuple[nn.Module, list[list[list[float]]]]:
    """Rounds as anyone writes them: copies of the server, an optimiser for each, a mean of their weights."""
    server, train = copy.deepcopy(model).train(), data().train
    size = min(recipe.batch_size, max(map(len, places)))
    found = []
    for number in range(rules.rounds):
        members = sorted(rules.members(number), key=lambda c: -min(size, len(places[c])))
        weights = rules.weights([len(places[c]) for c in members]).tolist()
        states, told = [], []
        for client in members:
            own, mine = copy.deepcopy(server), places[client]
            batch = min(size, len(mine))
            per = len(mine) // batch
            if recipe.optimizer == "adam":
                optimizer: Any = torch.optim.Adam(own.parameters(), lr=recipe.lr)
            else:
                optimizer = torch.optim.SGD(
                    own.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
                )
            losses = []
            for local in range(rules.local_steps):
                epoch, place = divmod(number * rules.local_steps + local, per)
                drawn = order(len(mine), seed_of(recipe.seed, "client", 0), (client << 40) + epoch)
                at = mine if batch == len(mine) else mine[drawn[place * batch :][:batch]]
                optimizer.zero_grad()
                loss = F.cross_entropy(own(train.inputs[at]), train.targets[at])
                loss.backward()
                optimizer.step()
                losses.append(float(loss.detach()))
            states.append(own.state_dict())
            told.append(losses)
        before, after = server.state_dict(), {}
        for name, old in before.items():
            if not old.is_floating_point():
                after[name] = states[0][name]
            else:
                mean = sum(w * state[name] for w, state in zip(weights, states, strict=True))
                moves = name in dict(server.named_parameters())
                after[name] = old + rules.server_lr * (mean - old) if moves else mean
        server.load_state_dict(after)
        found.append([[losses[k] for losses in told] for k in range(rules.local_steps)])
    return server, found


@pytest.mark.parametrize("how", ["stack", "loop"])
@pytest.mark.parametrize(
    ("rules", "recipe"),
    [
        (Federation(4, 3, 4), Recipe(batch_size=5, momentum=0.9, lr=0.05)),
        (Federation(3, 2, 3, division="dirichlet", alpha=1.0, server_lr=0.7), Recipe(batch_size=64, momentum=0.0)),
        (Federation(5, 4, 3, division="labels", weighting="equal"), Recipe(batch_size=4, optimizer="adam", lr=0.01)),
        (Federation(6, 3, 4, participation=0.5, seed=3), Recipe(batch_size=3, momentum=0.0, weight_decay=0.01)),
        (Federation(2, 1, 5, division="labels"), Recipe(batch_size=100, momentum=0.5)),
    ],
)
def test_it_is_the_plain_loop(rules: Federation, recipe: Recipe, how: Any) -> None:
    # Adam divides the zero gradient of a bias before BatchNorm by its own rounding.
    model = net(norm=recipe.optimizer != "adam")
    there, told = plain_loop(model, rules.divide(data()), rules, recipe)
    found = federated(model, data(), rules, recipe, device="cpu", how=how)
    for name, tensor in there.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(found.losses, torch.tensor(told, dtype=torch.float64), rtol=1e-8, atol=1e-9)
    assert found.how.stack == (how == "stack")
    assert not found.diverged


def test_one_client_and_one_step_is_training() -> None:
    recipe = Recipe(epochs=6, batch_size=N, momentum=0.0)
    model, other = net(), net()
    lf.train(other, data(), recipe, device="cpu")
    found = federated(model, data(), Federation(1, 1, 6), recipe, device="cpu")
    torch.testing.assert_close(found.point, lf.Layout.of(other).point(other))
    assert float(found.spread.max()) < 1e-6


def test_start_losses_are_of_the_servers_model(tmp_path: Path) -> None:
    model = net(norm=False)
    rules, recipe = Federation(4, 3, 5, division="dirichlet", alpha=2.0), Recipe(batch_size=N, momentum=0.0)
    found = federated(
        model, data(), rules, recipe, device="cpu", out=tmp_path / "run", recording=Recording(at=1, pairs=None)
    )
    run = found.trajectory
    assert run is not None
    assert run.steps == list(range(6))
    landscape = lf.Landscape(model, data(), device="cpu")
    torch.testing.assert_close(found.start_losses, landscape.loss(run.points[:5]))
    torch.testing.assert_close(run.curves["loss"][1], found.start_losses)
    torch.testing.assert_close(run.points[5], found.point)
    assert found.sent == 2 * 4 * landscape.layout.size
    kept = run.run["settings"]["federation"]
    assert kept["samples"] == [len(part) for part in found.clients]
    assert kept["local_steps"] == 3
    atlas = lf.survey(run, landscape, probes=["loss", "distance"])
    assert float(atlas["loss"].values[0]) == pytest.approx(float(found.start_losses[0]))


def test_it_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    rules = Federation(4, 3, 8, participation=0.5, division="dirichlet", alpha=2.0)
    recipe = Recipe(batch_size=4, lr=0.05, schedule="cosine")
    kept = Recording(at=2, pairs=None)
    whole = federated(net(), data(), rules, recipe, device="cpu", out=tmp_path / "a", recording=kept)

    def cut(moment: LocalMoment) -> None:
        if (moment.round, moment.step) == (5, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        federated(net(), data(), rules, recipe, device="cpu", out=tmp_path / "b", recording=kept, watch=cut)
    again = federated(net(), data(), rules, recipe, device="cpu", out=tmp_path / "b", recording=kept, resume=True)
    assert again.first == 4
    assert torch.equal(again.point, whole.point)
    assert torch.equal(again.losses, whole.losses[4:])
    assert again.trajectory is not None
    assert again.trajectory.steps == [0, 2, 4, 6, 8]
    assert len(again.trajectory.curves["loss"][1]) == 8
    with pytest.raises(BadInput, match="another federation: resume it"):
        federated(net(), data(), replace(rules, alpha=3.0), recipe, device="cpu", out=tmp_path / "b", resume=True)


def test_clients_are_shown_before_they_meet() -> None:
    seen: list[tuple[int, int, Tensor, Tensor]] = []

    def watch(moment: LocalMoment) -> None:
        seen.append((moment.round, moment.step, moment.server.clone(), moment.points.clone()))

    rules = Federation(3, 2, 2, weighting="equal", server_lr=0.5)
    found = federated(net(), data(), rules, Recipe(batch_size=5), device="cpu", watch=watch)
    assert [(r, k) for r, k, _, _ in seen] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    for _, step, server, points in seen:
        assert (step > 0) != torch.equal(points, server.expand_as(points))
    last, server = seen[2][3], seen[2][2]
    torch.testing.assert_close(seen[3][2], server + 0.5 * (last.mean(0) - server))
    away = (last - last.mean(0)).square().sum(1).mean().sqrt() / (last.mean(0) - server).norm()
    torch.testing.assert_close(found.spread[0], away)


def test_noise_of_the_data_reaches_clients() -> None:
    made = torch.Generator().manual_seed(1)
    x = torch.randn(24, 1, 4, 4, generator=made)
    y = torch.arange(24) % 3
    noisy = Dataset("made", Split(x, y), Split(x[:3], y[:3]), 3, {}, augment=Augment(flip=True), mixup=0.4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    rules, recipe = Federation(4, 2, 3), Recipe(batch_size=6, label_noise=0.3, label_smoothing=0.1)
    first = federated(copy.deepcopy(model), noisy, rules, recipe, device="cpu")
    again = federated(copy.deepcopy(model), noisy, rules, recipe, device="cpu")
    other = federated(copy.deepcopy(model), noisy, rules, replace(recipe, seed=1), device="cpu")
    assert torch.equal(first.point, again.point)
    assert not torch.equal(first.point, other.point)


@given(st.integers(1, 12), st.sampled_from(["iid", "labels", "dirichlet"]), st.booleans(), st.integers(0, 99))
@settings(max_examples=40)
def test_a_division_is_a_division(clients: int, division: Any, equal: bool, seed: int) -> None:
    labels = torch.arange(60) % 4
    found = partition(labels, clients, division, alpha=1.0, equal=equal, seed=seed)
    assert torch.equal(torch.cat(found).sort().values, torch.arange(60))
    sizes = [len(places) for places in found]
    assert min(sizes) >= 1
    if equal or division != "dirichlet":
        assert max(sizes) - min(sizes) <= 1
    again = partition(labels, clients, division, alpha=1.0, equal=equal, seed=seed)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_divisions_are_as_uneven_as_they_say() -> None:
    labels = torch.arange(4000) % 10

    def known(places: Tensor) -> float:
        shares = torch.bincount(labels[places], minlength=10).double() / len(places)
        return float(shares.square().sum())  # 0.1 where all classes are alike, 1 where there is one

    def mean(*given: Any, **options: Any) -> float:
        return sum(map(known, partition(labels, 10, *given, **options))) / 10

    assert mean("iid") < 0.12
    assert mean("labels") == pytest.approx(1.0)
    assert mean("dirichlet", alpha=100.0) < 0.12
    for equal in (False, True):
        assert mean("dirichlet", alpha=0.1, equal=equal) > 0.3
    # Shares of a symmetric Dirichlet have E sum p^2 = (alpha + 1) / (10 alpha + 1).
    wide = torch.stack([torch.tensor(mean("dirichlet", alpha=1.0, equal=True, seed=s)) for s in range(20)]).mean()
    assert float(wide) == pytest.approx(2 / 11, rel=0.15)


def test_misuse_is_told() -> None:
    with pytest.raises(BadInput, match="federation's rounds cannot be 0"):
        Federation(rounds=0)
    with pytest.raises(BadInput, match="cannot be divided among 60 clients"):
        federated(net(), data(), Federation(60))
    with pytest.raises(BadInput, match="goes by labels"):
        partition(torch.randn(20), 4, "dirichlet")
    with pytest.raises(BadInput, match="gave each of 20 clients 9 samples"):
        partition(torch.arange(200) % 2, 20, "dirichlet", alpha=0.01, least=9)
    with pytest.raises(BadInput, match="no division 'fair'"):
        partition(torch.arange(4), 2, "fair")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="Client 1 has places outside"):
        federated(net(), data(), Federation(), clients=[torch.arange(3), torch.tensor([N])])
    with pytest.raises(BadInput, match="5 clients and 1 are given"):
        federated(net(), data(), Federation(5), clients=[torch.arange(3)])
    with pytest.raises(BadInput, match="leave the recipe's adversary out"):
        federated(net(), data(), Federation(), Recipe(adversary=lf.attacks.Attack("linf", 0.1, 1)))
