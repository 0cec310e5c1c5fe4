"""Every measurement of a landscape against a deep-copied model and a plain loop over batches."""

from __future__ import annotations

import copy
import dataclasses
from collections import UserDict

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from landform.errors import BadInput
from landform.landscape import Landscape, Reading
from landform.layout import Layout

N, POINTS = 23, 5
GOOD = (torch.randn(8, 6), torch.randint(0, 3, (8,)))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))


def cnn() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4 * 4, 3))


def by_value() -> nn.Module:
    class ByValue(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = super().forward(x)
            return y * 2 if float(self.weight.detach().sum()) > 0 else y

    return ByValue(6, 3)


CASES = {
    "mlp": (mlp, (6,), None),
    "mlp, decay": (mlp, (6,), 0.1),
    "batch norm": (cnn, (1, 6, 6), None),
    "no stack": (by_value, (6,), None),
}


def make(case: str, dtype: torch.dtype = torch.float64, **options):
    torch.manual_seed(3)
    build, shape, decay = CASES[case]
    model = build().to(dtype)
    x, y = torch.randn(N, *shape, dtype=dtype), torch.randint(0, 3, (N,))
    landscape = Landscape(model, (x, y), batch_size=7, device="cpu", weight_decay=decay or 0.0, **options)
    points = landscape.here + 0.2 * torch.randn(POINTS, landscape.layout.size, dtype=dtype)
    return model, landscape, points, x, y


def plain(model: nn.Module, point: torch.Tensor, x: torch.Tensor) -> nn.Module:
    """A copy of the model at a point, its running statistics those of ten lines of plain code."""
    other = copy.deepcopy(model)
    Layout.of(model).load_(other, point)
    norms = [m for m in other.modules() if isinstance(m, nn.BatchNorm2d)]
    means, variances, weights = [[] for _ in norms], [[] for _ in norms], []
    hooks = [
        norm.register_forward_pre_hook(
            lambda m, a, i=i: (
                means[i].append(a[0].mean((0, 2, 3))),
                variances[i].append(a[0].var((0, 2, 3), unbiased=True)),
                None,
            )[2]
        )
        for i, norm in enumerate(norms)
    ]
    other.eval()
    for norm in norms:
        norm.train()
    for batch in x.split(7):
        with torch.no_grad():
            other(batch)
        weights.append(len(batch))
    share = torch.tensor(weights, dtype=x.dtype) / sum(weights)
    for i, (norm, hook) in enumerate(zip(norms, hooks, strict=True)):
        hook.remove()
        norm.running_mean.copy_(share @ torch.stack(means[i]))
        norm.running_var.copy_(share @ torch.stack(variances[i]))
    return other.eval()


@pytest.mark.parametrize("case", CASES)
def test_measurements_equal_a_plain_loop(case: str) -> None:
    model, landscape, points, x, y = make(case)
    losses, errors = landscape.loss(points), landscape.error(points)
    outputs, gradients = landscape.outputs(points), landscape.gradient(points)
    for k, point in enumerate(points):
        other = plain(model, point, x)
        expected = other(x)
        loss = F.cross_entropy(expected, y) + landscape.weight_decay / 2 * point.square().sum()
        torch.testing.assert_close(losses[k], loss.detach())
        torch.testing.assert_close(errors[k], (expected.argmax(1) != y).double().mean(), rtol=1e-15, atol=0)
        torch.testing.assert_close(outputs[k], expected.detach())
        decay = landscape.weight_decay * point
        wanted = torch.autograd.grad(F.cross_entropy(expected, y), list(other.parameters()))
        torch.testing.assert_close(gradients[k], torch.cat([g.reshape(-1) for g in wanted]) + decay)
        torch.testing.assert_close(landscape.loss(point), losses[k])
        torch.testing.assert_close(landscape.gradient(point), gradients[k])
        torch.testing.assert_close(landscape.outputs(point), outputs[k])
    reading = landscape.read(points)
    assert isinstance(reading, Reading)
    assert torch.equal(reading.loss, losses)
    assert torch.equal(reading.error, errors)


def test_one_program_or_one_by_one_is_told_and_agrees() -> None:
    _, landscape, points, *_ = make("mlp")
    assert "in one program" in landscape.explain()
    assert "one by one" in make("no stack")[1].explain()
    together = landscape.loss(points)
    landscape.__dict__["_stackable"] = "told so by the test"
    assert "one by one: told so by the test" in landscape.explain()
    torch.testing.assert_close(landscape.loss(points), together)


def test_float32_and_the_users_model_left_alone() -> None:
    model, landscape, points, x, y = make("batch norm", torch.float32)
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    value = landscape.loss(points)
    landscape.gradient(points[0])
    assert value.dtype == torch.float64
    assert landscape.gradient(points[0]).dtype == torch.float32
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    precise = Landscape(model, (x, y), batch_size=7, device="cpu", dtype=torch.float64)
    torch.testing.assert_close(precise.loss(points.double()), value, rtol=1e-5, atol=1e-6)


def test_batches_with_their_own_statistics_are_the_same_for_one_point_and_many() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)).double()
    data = (torch.randn(300, 4, dtype=torch.float64), torch.randint(0, 2, (300,)))
    landscape = Landscape(model, data, device="cpu", batchnorm="batch")
    assert "in one program" in landscape.explain()
    expected = F.cross_entropy(copy.deepcopy(model).train()(data[0]), data[1]).detach()
    torch.testing.assert_close(landscape.loss(torch.stack([landscape.here] * 3)), expected.expand(3))


def test_statistics_left_as_nan_are_recomputed_and_other_buffers_kept() -> None:
    class Masked(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 3)
            self.norm = nn.BatchNorm1d(4)
            self.register_buffer("mask", torch.tensor([0.0, 0.0, -torch.inf]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(self.norm(x)) + self.mask

    model, data = Masked(), (torch.randn(9, 4), torch.randint(0, 2, (9,)))
    expected = Landscape(model, data, device="cpu").loss(Layout.of(model).point(model))
    model.norm.running_mean.fill_(torch.nan)
    again = Landscape(model, data, device="cpu")
    assert again.loss(again.here) == expected
    assert again.calibrate(again.here)["mask"][2] == -torch.inf


def test_statistics_of_very_many_points_are_found_in_blocks() -> None:
    _, landscape, points, *_ = make("batch norm")
    expected = landscape.calibrate(points)
    landscape.__dict__["_cost"] = dataclasses.replace(landscape._cost, widest=2**20 / (2 * 7))
    assert landscape._together == 2
    for name, buffer in landscape.calibrate(points).items():
        torch.testing.assert_close(buffer, expected[name])


def test_the_fingerprint_depends_on_what_a_point_leaves_out() -> None:
    def made(seed: int, **options) -> Landscape:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
        model[0].requires_grad_(seed < 2)
        model[1].running_mean.fill_(seed)
        return Landscape(model, GOOD, device="cpu", **options)

    assert made(0).fingerprint() == made(1).fingerprint()  # where only the point and its statistics differ
    assert made(0, batchnorm="keep").fingerprint() != made(1, batchnorm="keep").fingerprint()
    assert made(2).fingerprint() != made(3).fingerprint()  # frozen weights
    assert made(0, batch_size=4).fingerprint() != made(0).fingerprint()


def test_gradients_do_not_depend_on_what_the_caller_records() -> None:
    _, landscape, points, *_ = make("mlp, decay")
    expected = landscape.gradient(points)
    with torch.no_grad():
        assert torch.equal(landscape.gradient(points), expected)
    assert not landscape.gradient(points.requires_grad_()).requires_grad


def test_a_model_of_mixed_types_is_measured_in_the_widest() -> None:
    model = nn.Sequential(nn.Linear(6, 4).bfloat16(), nn.Linear(4, 3))
    assert Landscape(model, GOOD, device="cpu").dtype == torch.float32


def test_the_callers_random_numbers_are_left_alone() -> None:
    loader, model = DataLoader(TensorDataset(*GOOD), batch_size=3), mlp()
    state = torch.get_rng_state()
    landscape = Landscape(model, loader, device="cpu")
    landscape.gradient(landscape.here)
    assert torch.equal(torch.get_rng_state(), state)


def test_here_follows_the_model() -> None:
    model, landscape, *_ = make("mlp")
    with torch.no_grad():
        model[0].weight.add_(1.0)
    assert torch.equal(landscape.here, Layout.of(model).point(model))


def test_batchnorm_settings() -> None:
    model, _, points, x, y = make("batch norm")
    model.train()(torch.randn(50, 1, 6, 6, dtype=torch.float64) * 3)  # statistics of other data
    model.eval()
    kept = Landscape(model, (x, y), device="cpu", batchnorm="keep")
    assert kept.batchnorm == "keep"
    torch.testing.assert_close(kept.loss(kept.here), F.cross_entropy(model(x), y).detach())
    batch = Landscape(model, (x, y), device="cpu", batchnorm="batch", batch_size=N)
    other = copy.deepcopy(model).train()
    torch.testing.assert_close(batch.loss(batch.here), F.cross_entropy(other(x), y).detach())
    torch.testing.assert_close(batch.loss(torch.stack([batch.here] * 2))[1], batch.loss(batch.here))
    recomputed = Landscape(model, (x, y), device="cpu")
    assert recomputed.batchnorm == "recompute"
    buffers = recomputed.calibrate(points)
    torch.testing.assert_close(recomputed.loss(points, buffers=buffers), recomputed.loss(points))
    own = dict(model.named_buffers())
    torch.testing.assert_close(recomputed.loss(recomputed.here, buffers=own), kept.loss(kept.here))


def test_other_data_keeps_the_statistics_of_the_training_data() -> None:
    model, landscape, points, x, y = make("batch norm")
    test = (torch.randn(9, 1, 6, 6, dtype=torch.float64) * 2, torch.randint(0, 3, (9,)))
    there = landscape.on(test)
    expected = F.cross_entropy(plain(model, points[0], x)(test[0]), test[1])
    torch.testing.assert_close(there.loss(points[0]), expected.detach())
    torch.testing.assert_close(landscape.subset(4).loss(points[0]),
                               F.cross_entropy(plain(model, points[0], x)(x[:4]), y[:4]).detach())  # fmt: skip
    assert there.fingerprint() != landscape.fingerprint()
    assert landscape.fingerprint() == make("batch norm")[1].fingerprint()


def test_loaders_dicts_and_losses_of_ones_own() -> None:
    model, landscape, points, x, y = make("mlp")
    loader = DataLoader(TensorDataset(x, y), batch_size=5)
    torch.testing.assert_close(Landscape(model, loader, device="cpu").loss(points), landscape.loss(points))
    torch.testing.assert_close(Landscape(model, loader, device="cpu").gradient(points), landscape.gradient(points))
    dicts = [{"x": a, "label": b} for a, b in loader]
    by_forward = Landscape(model, dicts, device="cpu", forward=lambda net, batch: (net(batch["x"]), batch["label"]))
    torch.testing.assert_close(by_forward.loss(points), landscape.loss(points))
    own = Landscape(model, (x, y), device="cpu", loss=lambda z, t: (z.logsumexp(-1) - z[:, 0]).square().mean())
    expected = plain(model, points[1], x)(x)
    torch.testing.assert_close(own.loss(points)[1], (expected.logsumexp(-1) - expected[:, 0]).square().mean().detach())


def test_batches_of_a_tokenizer_are_dicts_to_the_forward() -> None:
    model, landscape, points, x, y = make("mlp")
    batches = [UserDict(x=a, label=b) for a, b in DataLoader(TensorDataset(x.float(), y), batch_size=5)]
    seen: list[object] = []

    def forward(net: nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append((type(batch), batch["x"].dtype))
        return net(batch["x"]), batch["label"]

    found = Landscape(model, batches, device="cpu", dtype=torch.float64, forward=forward)
    torch.testing.assert_close(found.loss(points), landscape.loss(points), rtol=1e-5, atol=1e-6)
    assert set(seen) == {(dict, torch.float64)}  # moved like any other
    assert found.fingerprint() != found.on(batches[:1]).fingerprint()


def test_targets_in_a_dict_weigh_as_their_samples() -> None:
    model, landscape, points, x, y = make("mlp")
    batches = [{"x": a, "label": b} for a, b in zip(x.split(15), y.split(15), strict=True)]
    by_dict = Landscape(model, batches, device="cpu", forward=lambda net, b: ({"z": net(b["x"])}, {"y": b["label"]}),
                        loss=lambda z, t: F.cross_entropy(z["z"], t["y"]))  # fmt: skip
    torch.testing.assert_close(by_dict.loss(points), landscape.loss(points))
    torch.testing.assert_close(by_dict.gradient(points[0]), landscape.gradient(points[0]))
    assert by_dict.read(points).error is None
    with pytest.raises(BadInput, match="puts out a dict"):
        by_dict.outputs(points[0])
    with pytest.raises(BadInput, match="not labels"):
        by_dict.error(points[0])


def test_labels_that_forward_makes() -> None:
    model = nn.Linear(6, 2)
    half = Landscape(model, GOOD, device="cpu", forward=lambda net, batch: (net(batch[0]), batch[1] % 2))
    torch.testing.assert_close(half.loss(half.here).float(), F.cross_entropy(model(GOOD[0]), GOOD[1] % 2).detach())


def test_ignored_labels_are_neither_right_nor_wrong() -> None:
    model, _, points, x, y = make("mlp")
    some = y.clone()
    some[:8] = -100
    landscape = Landscape(model, (x, some), device="cpu")
    expected = (plain(model, points[1], x)(x[8:]).argmax(1) != y[8:]).double().mean()
    torch.testing.assert_close(landscape.error(points)[1], expected)
    torch.testing.assert_close(landscape.error(points[1]), expected)


NOT_LABELS = {
    "one logit": (lambda: nn.Linear(6, 1), (GOOD[0], GOOD[1].clamp(max=1)),
                  lambda z, t: F.binary_cross_entropy_with_logits(z[:, 0], t.float())),
    "classes second": (lambda: nn.Conv1d(2, 3, 1), (torch.randn(4, 2, 5), torch.randint(0, 3, (4, 5))),
                       F.cross_entropy),
    "a label a sequence": (lambda: nn.Linear(2, 3), (torch.randn(4, 4, 2), torch.randint(0, 3, (4,))),
                           lambda z, t: F.cross_entropy(z[:, -1], t)),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_LABELS)
def test_targets_that_are_no_labels_of_the_outputs_have_no_error(name: str) -> None:
    build, data, loss = NOT_LABELS[name]
    landscape = Landscape(build(), data, loss=loss, device="cpu")
    assert landscape.read(landscape.here).error is None
    with pytest.raises(BadInput, match="not labels"):
        landscape.error(landscape.here)


def test_whole_numbers_are_values_where_shapes_agree() -> None:
    model, y = nn.Linear(6, 1), torch.arange(8).view(8, 1)
    landscape = Landscape(model, (GOOD[0], y), loss="mse", device="cpu")
    torch.testing.assert_close(landscape.loss(landscape.here).float(), F.mse_loss(model(GOOD[0]), y.float()).detach())


def test_regression_and_squares_of_labels() -> None:
    model, _, points, x, y = make("mlp")
    target = torch.randn(N, 3, dtype=torch.float64)
    squares = Landscape(model, (x, target), loss="mse", device="cpu")
    assert not squares.has_labels
    assert squares.read(points).error is None
    torch.testing.assert_close(squares.loss(points)[2], F.mse_loss(plain(model, points[2], x)(x), target).detach())
    with pytest.raises(BadInput, match="not labels"):
        squares.error(points)
    onehot = Landscape(model, (x, y), loss="mse", device="cpu")
    wanted = F.mse_loss(plain(model, points[0], x)(x), F.one_hot(y, 3).double())
    torch.testing.assert_close(onehot.loss(points)[0], wanted.detach())


def test_sequences_of_labels() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9)).double()
    tokens = torch.randint(0, 9, (6, 5))
    landscape = Landscape(model, (tokens, tokens.roll(1, 1)), device="cpu")
    points = torch.stack([landscape.here, landscape.here * 2])
    expected = F.cross_entropy(model(tokens).flatten(0, 1), tokens.roll(1, 1).flatten())
    torch.testing.assert_close(landscape.loss(points)[0], expected.detach())
    assert landscape.error(points)[0] == (model(tokens).argmax(-1) != tokens.roll(1, 1)).double().mean()


def test_unused_parameters_have_zero_gradient_and_frozen_ones_none() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 2), nn.Linear(3, 3)
            self.used.bias.requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    landscape = Landscape(Partly(), (torch.randn(5, 4), torch.randint(0, 2, (5,))), device="cpu")
    gradient = landscape.gradient(landscape.here)
    assert bool((landscape.layout.part("unused").of(gradient) == 0).all())
    assert landscape.layout.frozen == ("used.bias",)


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 9))
def test_batches_and_blocks_of_any_size_give_the_same_mean(samples: int, batch: int, points: int) -> None:
    torch.manual_seed(samples)
    model = nn.Linear(3, 2).double()
    x, y = torch.randn(samples, 3, dtype=torch.float64), torch.randint(0, 2, (samples,))
    where = torch.randn(points, 8, dtype=torch.float64)
    whole = Landscape(model, (x, y), batch_size=samples, device="cpu")
    cut = Landscape(model, (x, y), batch_size=batch, device="cpu")
    torch.testing.assert_close(cut.loss(where), whole.loss(where))
    torch.testing.assert_close(cut.gradient(where), whole.gradient(where))
    assert torch.equal(cut.error(where).isclose(whole.error(where)), torch.ones(points, dtype=torch.bool))


def test_nan_points_give_nan_and_leave_the_others_alone() -> None:
    _, landscape, points, *_ = make("mlp")
    fine = landscape.loss(points)
    points[1] = torch.nan
    losses = landscape.loss(points)
    assert torch.isnan(losses[1])
    torch.testing.assert_close(losses[[0, 2, 3, 4]], fine[[0, 2, 3, 4]])


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def given(names: dict[str, torch.Tensor], count: int = 3) -> torch.Tensor:
    landscape = Landscape(normed(), GOOD, device="cpu")
    return landscape.loss(torch.stack([landscape.here] * count), buffers=names)


class Random(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(super().forward(x), 0.5, training=True)


MISUSE = {
    "wrong shape": (lambda: Landscape(mlp(), (torch.randn(8, 5), GOOD[1])), "cannot run on the first batch"),
    "NaN": (lambda: Landscape(mlp(), (GOOD[0].clone().index_fill_(0, torch.tensor([3]), torch.nan), GOOD[1])),
            "NaN or infinity in 1 of 8 samples, first in sample 3"),
    "labels": (lambda: Landscape(mlp(), (GOOD[0], GOOD[1] + 7)), "3 outputs: labels must lie in 0..2"),
    "negative label": (lambda: Landscape(mlp(), (GOOD[0], GOOD[1] - 5)), "labels must lie in"),
    "empty": (lambda: Landscape(mlp(), (GOOD[0][:0], GOOD[1][:0])), "empty"),
    "lengths": (lambda: Landscape(mlp(), (GOOD[0], GOOD[1][:3])), "8 inputs but 3 targets"),
    "empty loader": (lambda: Landscape(mlp(), []), "empty"),
    "iterator": (lambda: Landscape(mlp(), iter([GOOD])), "only once"),
    "number": (lambda: Landscape(mlp(), 3), "got int"),
    "one tensor": (lambda: Landscape(mlp(), GOOD[0]), "got Tensor"),
    "dict": (lambda: Landscape(mlp(), [{"x": GOOD[0]}, {"x": GOOD[0]}]), "give forward="),
    "shuffled": (lambda: Landscape(mlp(), DataLoader(TensorDataset(*GOOD), batch_size=4, shuffle=True)), "shuffle"),
    "nothing to train": (lambda: Landscape(nn.ReLU(), GOOD), "no parameter to train"),
    "vector loss": (lambda: Landscape(mlp(), GOOD, loss=lambda z, t: F.cross_entropy(z, t, reduction="none")),
                    r"returned a tensor of shape \[8\]"),
    "loss of nothing": (lambda: Landscape(mlp(), GOOD, loss=lambda z, t: 1.0), "returned a float"),
    "loss fails": (lambda: Landscape(mlp(), (GOOD[0], torch.randn(8, 2)), loss="mse"), "cannot be taken"),
    "loss name": (lambda: Landscape(mlp(), GOOD, loss="hinge"), "no loss named 'hinge'"),
    "broadcast": (lambda: Landscape(nn.Linear(6, 1), (GOOD[0], torch.randn(8)), loss="mse"), "the same shape"),
    "one sample over": (lambda: (one := Landscape(normed(), GOOD, batch_size=7, device="cpu")).loss(one.here),
                        "batch of one sample"),
    "buffer name": (lambda: given({"module.1.running_mean": torch.ones(3, 4)}), "no buffer module"),
    "buffers of one point": (lambda: given({"1.running_mean": torch.ones(4)}), r"has to be \[3, 4\]"),
    "targets without rows": (lambda: Landscape(mlp(), GOOD, forward=lambda net, b: (net(b[0]), None),
                                               loss=lambda z, t: z.square().mean()), "no tensor with a row"),
    "a number": (lambda: Landscape(mlp(), (torch.tensor(1.0), torch.tensor(1))), "one row for each sample"),
    "random dict": (lambda: Landscape(Random(6, 3), GOOD, forward=lambda net, b: ({"z": net(b[0])}, b[1]),
                                      loss=lambda z, t: z["z"].mean()), "dropout that is always on"),
    "random": (lambda: Landscape(Random(6, 3), GOOD), "dropout that is always on"),
    "device": (lambda: Landscape(mlp(), GOOD, device="nonsense"), "no device 'nonsense'"),
    "batchnorm name": (lambda: Landscape(mlp(), GOOD, batchnorm="always"), "batchnorm is 'always'"),
    "batchnorm none": (lambda: Landscape(cnn(), (torch.randn(4, 1, 6, 6), GOOD[1][:4]), batchnorm="none"),
                       "has BatchNorm"),
    "batch size": (lambda: Landscape(mlp(), GOOD, batch_size=0), "at least 1"),
    "point": (lambda: Landscape(mlp(), GOOD).loss(torch.zeros(3)), "got a tensor of shape"),
    "subset": (lambda: Landscape(mlp(), GOOD).subset(torch.tensor([9])), "outside the 8"),
    "no points": (lambda: Landscape(mlp(), GOOD).loss(torch.zeros(0, 83)), "set of points is empty"),
    "subset of none": (lambda: Landscape(mlp(), GOOD).subset(0), "at least one index"),
    "subset by mask": (lambda: Landscape(mlp(), GOOD).subset(torch.tensor([True] * 5)), "outside the 8"),
    "subset of loader": (lambda: Landscape(mlp(), [GOOD]).subset(3), "data in memory"),
    "other data": (lambda: Landscape(mlp(), GOOD).on((torch.randn(3, 2), GOOD[1][:3])), "cannot run on the first"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_one_sentence(name: str) -> None:
    act, says = MISUSE[name]
    with pytest.raises(BadInput, match=says) as caught:
        act()
    assert "\n" not in str(caught.value)
