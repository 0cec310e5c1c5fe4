"""Training with products in bfloat16, against the loop that torch's users write with autocast."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landform as lf
from landform.training._noise import order

RECIPE = lf.Recipe(epochs=3, batch_size=16, lr=0.05, momentum=0.9, precision="bfloat16")


def problem():
    made = torch.Generator().manual_seed(0)
    return torch.randn(64, 3, 8, 8, generator=made), torch.randint(0, 4, (64,), generator=made)


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4))


def by_hand(model, x, y):
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=RECIPE.lr, momentum=RECIPE.momentum)
    for step in range(RECIPE.steps(len(x))):
        epoch, place = divmod(step, RECIPE.steps_per_epoch(len(x)))
        at = order(len(x), RECIPE.seed, epoch)[place * 16 : (place + 1) * 16]
        with torch.autocast("cpu", torch.bfloat16):
            outputs = model(x[at])
        optimizer.zero_grad()
        F.cross_entropy(outputs.float(), y[at]).backward()
        optimizer.step()
    return model


def test_it_is_torchs_own_autocast():
    x, y = problem()
    model = net()
    right = by_hand(model, x, y)
    trained = lf.train(model, (x, y), RECIPE, device="cpu")
    wanted = nn.utils.parameters_to_vector(right.parameters()).detach()
    assert trained.point.dtype == torch.float32
    assert torch.allclose(trained.point, wanted, rtol=1e-5, atol=1e-6)


def test_it_is_near_full_precision_and_not_it():
    x, y = problem()
    coarse = lf.train(net(), (x, y), RECIPE, device="cpu")
    full = lf.train(net(), (x, y), dataclasses.replace(RECIPE, precision="full"), device="cpu")
    way = (full.point - nn.utils.parameters_to_vector(net().parameters()).detach()).norm()
    off = (coarse.point - full.point).norm() / way
    assert 0 < off < 0.1


@pytest.mark.parametrize("how", ["stack", "loop"])
def test_a_stack_and_a_loop_agree(how):
    x, y = problem()
    models = [net(seed) for seed in range(3)]
    found = lf.train_many(models, (x, y), RECIPE, how=how, device="cpu")
    for seed, trained in enumerate(found):
        alone = lf.train(net(seed), (x, y), RECIPE, how="loop", device="cpu")
        start = nn.utils.parameters_to_vector(net(seed).parameters()).detach()
        assert (trained.point - alone.point).norm() < 0.05 * (alone.point - start).norm()


def test_the_recipe_keeps_it_and_reads_runs_made_before(tmp_path):
    assert lf.Recipe.from_json(RECIPE.to_json()) == RECIPE
    older = lf.Recipe().to_json()
    del older["precision"]
    assert lf.Recipe.from_json(older) == lf.Recipe()


def test_misuse_is_told():
    with pytest.raises(lf.BadInput, match="precision cannot be 'half'"):
        lf.Recipe(precision="half")
    x, y = problem()
    with pytest.raises(lf.BadInput, match="is for training in float32"):
        lf.train(net().double(), (x.double(), y), RECIPE, device="cpu")
    with pytest.raises(lf.BadInput, match="share precision"):
        lf.train_many([net(), net(1)], (x, y), [RECIPE, dataclasses.replace(RECIPE, precision="full")])
