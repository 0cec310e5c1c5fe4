"""Gradients of single samples over all data, against one backward pass for each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sample_models import made
from torch import Tensor, nn

import landform as lf
from landform.curvature import exact_trace
from landform.per_sample import Direct, Lookup, Outer, Part, Rules, count, cut, gram, sample_gradients


def _data(samples: int = 7) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    return torch.randn(samples, 5, generator=draw, dtype=torch.float64), torch.arange(samples) % 3


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).double()


def _slopes(landscape: lf.Landscape) -> Tensor:
    """All gradients of the samples' losses as sample_gradients gives them, ``[n, P]``."""

    def slopes(outputs: Tensor, targets: Any) -> Tensor:
        leaf = outputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(landscape._loss(leaf, targets) * len(leaf), leaf)
        return slope.unsqueeze(0)

    rows = []
    for k, parts, _ in sample_gradients(landscape, landscape.here, slopes):
        assert k == 0
        rows.append(torch.cat([parts[n].rows()[:, 0] for n in landscape.layout.names], -1))
    return torch.cat(rows)


def _one_by_one(landscape: lf.Landscape, samples: int) -> Tensor:
    return torch.stack([landscape.subset([i]).gradient(landscape.here) for i in range(samples)])


def test_batches_are_cut_to_what_fits_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = _data()
    landscape = lf.Landscape(_net(), (x, y), batch_size=5, device="cpu")
    expected = _one_by_one(landscape, len(x))
    torch.testing.assert_close(_slopes(landscape), expected)
    rules = Rules(landscape, landscape.here, (x, y))
    monkeypatch.setattr("landform.per_sample._gradients._CHUNK", 2 * rules.running())
    assert rules.together() == 2
    assert rules.together(more=rules.running()) == 1
    assert rules.together(pulls=1000) == 1
    torch.testing.assert_close(_slopes(landscape), expected)


def test_batches_of_a_stream_may_be_dicts_of_any_length() -> None:
    x, y = _data()

    def forward(net: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return net(batch["features"]), batch["label"]

    loader = [{"features": x[i:j], "label": y[i:j]} for i, j in ((0, 3), (3, 4), (4, 7))]
    stream = lf.Landscape(_net(), loader, forward=forward, device="cpu")
    plain = lf.Landscape(_net(), (x, y), device="cpu")
    torch.testing.assert_close(_slopes(stream), _one_by_one(plain, len(x)))
    found, expected = (exact_trace(one, one.here) for one in (stream, plain))
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert found.samples == len(x)


class _Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x).tanh().mean(1)
        return out


def test_batches_of_a_stream_may_hold_sequences_of_another_length() -> None:
    model = _Pooled().double()
    loader = [(torch.randn(3, steps, 2, dtype=torch.float64), torch.arange(3)) for steps in (4, 6)]
    expected = torch.cat([_one_by_one(lf.Landscape(model, pair, device="cpu"), 3) for pair in loader])
    torch.testing.assert_close(_slopes(lf.Landscape(model, loader, device="cpu")), expected)


def test_frozen_parameters_have_no_part() -> None:
    x, y = _data()
    model = _net()
    model[0].weight.requires_grad_(False)
    landscape = lf.Landscape(model, (x, y), device="cpu")
    assert "0.weight" not in landscape.layout.names
    torch.testing.assert_close(_slopes(landscape), _one_by_one(landscape, len(x)))


@pytest.mark.parametrize("kind", ["dense", "positions", "table", "direct", "mixed"])
def test_gram_is_that_of_the_rows(kind: str) -> None:
    torch.manual_seed(1)
    steps = 1 if kind == "dense" else 4

    def drawn(samples: int) -> Part:
        if kind == "direct" or (kind == "mixed" and samples == 3):
            return Direct(torch.randn(samples, 2, 15, dtype=torch.float64))
        cotangents = torch.randn(samples, 2, steps, 3, dtype=torch.float64)
        if kind == "table":
            return Lookup(torch.randint(5, (samples, steps)), cotangents, 5)
        return Outer(torch.randn(samples, steps, 5, dtype=torch.float64), cotangents)

    left, right = drawn(3), drawn(4)
    expected = torch.einsum("bkp,clp->bkcl", left.rows(), right.rows())
    torch.testing.assert_close(gram(left, right), expected)


def test_a_turned_weight_pairs_with_its_like() -> None:
    a, d = torch.randn(3, 1, 4), torch.randn(3, 2, 1, 5)
    plain, turned = Outer(a, d), Outer(a, d, turned=True)
    torch.testing.assert_close(gram(turned, turned), gram(plain, plain))
    torch.testing.assert_close(gram(turned, turned), torch.einsum("bkp,clp->bkcl", turned.rows(), turned.rows()))


def test_cutting_leaves_what_all_samples_share() -> None:
    batch = {"x": torch.arange(6).view(3, 2), "scale": torch.tensor(2.0), "name": "a"}
    part = cut(batch, slice(1, 2))
    assert part["x"].tolist() == [[2, 3]]
    assert part["scale"] is batch["scale"]
    assert (count(batch), count(part)) == (3, 1)


class _Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner(x), x


def test_misuse() -> None:
    x, y = _data()
    landscape = lf.Landscape(_net(), (x, y), device="cpu")
    with pytest.raises(lf.BadInput, match="no samples"):
        Rules(landscape, landscape.here, (x[:0], y[:0]))
    with pytest.raises(lf.BadInput, match="row for each sample"):
        Rules(landscape, landscape.here, {"x": 3})
    with pytest.raises(lf.BadInput, match="sample by sample"):
        Rules(landscape, landscape.here, (x[:, :4], y))
    with pytest.raises(lf.BadInput, match="sample by sample"):
        Rules(landscape, landscape.here, (x.long(), y))
    with pytest.raises(lf.BadInput, match="one point"):
        Rules(landscape, torch.stack([landscape.here] * 2), (x, y))
    with pytest.raises(lf.BadInput, match="7 inputs and 4 targets"):
        lf.kernel.ntk(landscape, landscape.here, (x, y[:4]), kind="loss")
    passed = Rules(landscape, landscape.here, (x, y))((x, y))
    with pytest.raises(lf.BadInput, match="cotangents"):
        passed.pull(torch.ones(len(x), 3, dtype=torch.float64))
    model = _Two().double()
    several = lf.Landscape(model, (x, y), loss=lambda z, t: z[0].square().mean(), device="cpu")
    with pytest.raises(lf.BadInput, match="a tuple"):
        Rules(several, several.here, (x, y))


def test_running_counts_what_has_no_rule_for_each_pull() -> None:
    model, x = made("pictures")
    with torch.no_grad():
        targets = torch.zeros_like(model(x))
    norms = any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    landscape = lf.Landscape(model, (x, targets), loss="mse", batchnorm="keep" if norms else None)
    rules = Rules(landscape, landscape.here, (x, targets))
    anew = sum(s.stop - s.start for s in landscape.layout.slots if rules.kinds[s.name] == "each sample anew")
    assert rules.running(0) >= rules.live
    assert rules.running(2) - rules.running(1) == rules.running(1) - rules.running(0) >= 2 * anew
