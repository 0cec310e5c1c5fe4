"""Many small networks in stacks: the same as one by one, measured as anyone would, and the same bits wherever."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import landform as lf
from landform.diagnosis import read_table
from landform.engine import Processes
from landform.errors import BadInput
from landform.sweeps import Networks

TINY = Networks(recipe=lf.Recipe(epochs=2, batch_size=20, lr=0.1), data_options={"per_class": 10}, together=4)
GRID = {"width": [4, 6], "lr": [0.05, 0.1], "label_noise": [0.0, 0.2]}


def test_networks_of_a_stack_are_those_trained_alone() -> None:
    together = TINY.many([{"width": 5, "lr": lr} for lr in (0.05, 0.1, 0.2)], [0, 1, 2])
    for lr, seed, found in zip((0.05, 0.1, 0.2), range(3), together, strict=True):
        alone = TINY(width=5, lr=lr, seed=seed)
        assert found.keys() == alone.keys()
        for name in alone:
            assert found[name] == pytest.approx(alone[name], rel=1e-4, abs=1e-5), name


def test_what_is_measured_is_what_one_would_measure() -> None:
    (found,) = Networks(recipe=TINY.recipe, data_options=TINY.data_options, curvature=True, keep=True).many(
        [{"width": 6, "label_noise": 0.3}], [3]
    )
    data = lf.data.digits(per_class=10, label_noise=0.3)
    net = lf.models.mlp(inputs=(64,), classes=10, width=6, seed=3)
    start = lf.Layout.of(net).point(net)
    lf.train(net, data, lf.Recipe(epochs=2, batch_size=20, lr=0.1, seed=3), device="cpu")
    point = lf.Layout.of(net).point(net)
    assert torch.equal(found["point"], point)
    out = net(data.train.inputs)
    loss = F.cross_entropy(out, data.train.targets)
    assert found["train_loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert found["train_error"] == pytest.approx(100 * (out.argmax(1) != data.train.targets).float().mean().item())
    right = (net(data.test.inputs).argmax(1) == data.test.targets).float().mean().item()
    assert found["test_accuracy"] == pytest.approx(100 * right, rel=1e-5)
    norm = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))]).norm()
    assert found["gradient_norm"] == pytest.approx(norm.item(), rel=1e-4)
    assert found["from_start"] == pytest.approx((point - start).norm().item(), rel=1e-5)
    hessian = lf.Landscape(net, data, device="cpu").hessian(point).dense()
    assert found["hessian_top"] == pytest.approx(torch.linalg.eigvalsh(hessian)[-1].item(), rel=1e-2)
    assert found["hessian_trace"] == pytest.approx(hessian.trace().item(), rel=0.2)
    assert (found["parameters"], found["samples"]) == (len(point), 100)


def test_cells_that_cannot_be_stacked_are_parted() -> None:
    settings = [{"width": width, "lr": lr, "batch_size": b} for width in (4, 8) for b in (10, 20) for lr in range(10)]
    groups = TINY.groups(settings)
    assert sorted(k for group in groups for k in group) == list(range(40))
    for group in groups:
        assert len(group) <= 4
        assert len({(settings[k]["width"], settings[k]["batch_size"]) for k in group}) == 1
    assert max(map(len, groups)) - min(map(len, groups)) <= 1


def test_recipes_that_a_stack_cannot_share_are_parted() -> None:
    adversary = lf.attacks.Attack(eps=0.1, steps=1)
    settings = [{"adversary": one, "adversarial": part} for one in (None, adversary) for part in (0.5, 1.0)]
    groups = TINY.groups([{**one, "lr": lr} for one in settings for lr in (0.1, 0.2)])
    # Without an adversary its share says nothing.
    assert sorted(map(sorted, groups)) == [[0, 1, 2, 3], [4, 5], [6, 7]]


def test_engines_agree_to_the_bit_and_the_table_is_read(tmp_path: Path) -> None:
    here = lf.sweep(TINY, GRID, seeds=3, out=tmp_path / "here")
    there = lf.sweep(TINY, GRID, seeds=3, out=tmp_path / "there", engine=Processes(1))
    assert len(here) == 24
    assert here.table.read_bytes() == there.table.read_bytes()
    table = read_table(here.table)
    assert set(table["width"]) == {4, 6}
    assert {"label_noise", "train_error", "train_loss", "test_loss", "test_accuracy", "parameters"} <= set(
        table.columns
    )
    assert 0 < table["train_error"].max() <= 100
    # More seeds later: what is there stays as it is.
    more = lf.sweep(TINY, GRID, seeds=4, out=tmp_path / "here")
    assert len(more) == 32
    assert [row.numbers for row in more if row.seed != 3] == [row.numbers for row in here]


def test_one_that_diverges_spoils_no_other() -> None:
    wild, tame = TINY.many([{"lr": 1e6}, {"lr": 0.1}], [0, 0])
    assert tame["train_loss"] == pytest.approx(TINY(lr=0.1, seed=0)["train_loss"], rel=1e-4)
    assert not wild["train_loss"] < 10


def test_misuse(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no model 'mpl'"):
        Networks("mpl")
    with pytest.raises(BadInput, match="together is 0"):
        Networks(together=0)
    with pytest.raises(BadInput, match="'colour' is no setting"):
        lf.sweep(TINY, {"colour": ["red"]}, out=tmp_path)
    lf.sweep(TINY, {"width": [3]}, out=tmp_path)
    with pytest.raises(BadInput, match="mlp on digits with other settings"):
        lf.sweep(Networks(), {"width": [3]}, out=tmp_path)
