"""Zipping: pairs against a plain greedy loop, weights against plain matrices, copies that zip into themselves."""

from __future__ import annotations

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import landform as lf
from landform import alignment, merging
from landform.errors import BadInput
from landform.merging._units import by_order, by_similarity, mean


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---------------------------------------------------------------------------------------------- which units become one


def plain(similarity: Tensor, alpha: float, beta: float) -> tuple[list[set[int]], list[int]]:
    """Clusters of units, by looking at every pair at every step."""
    half = len(similarity) // 2
    clusters = {i: {i} for i in range(2 * half)}
    alike = {(i, j): float(similarity[i, j]) for i in range(2 * half) for j in range(2 * half) if i != j}
    budget, within = [int(beta * half + 1e-9)] * 2, [0, 0]

    def side(i: int, j: int) -> int | None:
        models = {unit >= half for unit in clusters[i] | clusters[j]}
        return int(models.pop()) if len(models) == 1 else None

    for _ in range(half):
        best = None
        for i in sorted(clusters):
            for j in sorted(clusters):
                if i == j or (side(i, j) is not None and not budget[side(i, j)]):
                    continue
                if best is None or alike[i, j] > alike[best]:
                    best = (i, j)
        i, j = min(best), max(best)
        own = side(i, j)
        if own is not None:
            budget[own] -= 1
            within[own] += 1
        for k in clusters:
            if k not in (i, j):
                alike[i, k] = alike[k, i] = alpha * min(alike[i, k], alike[j, k])
        clusters[i] |= clusters.pop(j)
    return [clusters[i] for i in sorted(clusters)], within


@settings(max_examples=60)
@given(
    st.integers(1, 9), st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.integers(0, 10**6)
)
def test_units_are_merged_as_the_plain_loop_merges_them(half: int, alpha: float, beta: float, seed: int) -> None:
    rows = draw(2 * half, 4, seed=seed)
    rows = F.normalize(rows, dim=1)
    similarity = rows @ rows.T
    similarity = (similarity + similarity.T) / 2
    found = by_similarity(similarity, alpha, beta)
    clusters, within = plain(similarity, alpha, beta)
    assert [set((found.labels == k).nonzero().flatten().tolist()) for k in range(half)] == clusters
    assert found.within == tuple(within)
    assert found.across == sum(min(c) < half <= max(c) for c in clusters)
    assert [int(found.counts(model).sum()) for model in (0, 1)] == [half, half]


@given(st.integers(1, 12), st.integers(0, 10**6))
def test_without_a_budget_and_with_perfect_partners_it_is_the_permutation(half: int, seed: int) -> None:
    order = torch.randperm(half, generator=torch.Generator().manual_seed(seed))
    rows = torch.linalg.qr(draw(half, half, seed=seed))[0]
    both = torch.cat([rows, rows[order.argsort()]])  # unit i of the first is unit order[i] of the second
    found, wanted = by_similarity(both @ both.T, 0.5, 0.5), by_order(order)
    assert torch.equal(found.labels, wanted.labels)
    assert found.across == half
    assert found.alike == pytest.approx(1)


def test_what_makes_units_is_averaged_and_what_reads_them_is_summed() -> None:
    found = by_similarity(torch.tensor([[1.0, 0.9, 0, 0], [0.9, 1, 0, 0], [0, 0, 1, 0.8], [0, 0, 0.8, 1]]), 1.0, 1.0)
    assert found.labels.tolist() == [0, 0, 1, 1]
    weights = [draw(2, 3, seed=k) for k in (1, 2)]
    torch.testing.assert_close(mean(weights, {0: found}), torch.stack([w.mean(0) for w in weights]))
    torch.testing.assert_close(mean(weights, {}), (weights[0] + weights[1]) / 2)
    readers = [draw(3, 2, seed=k) for k in (3, 4)]
    read = [found.read(w, 1, k) for k, w in enumerate(readers)]
    torch.testing.assert_close(read[0], torch.stack([readers[0].sum(1), 0 * readers[0][:, 0]], 1))
    torch.testing.assert_close(read[1], torch.stack([0 * readers[1][:, 0], readers[1].sum(1)], 1))


# ---------------------------------------------------------------------------------------------- whole models


class Residual(nn.Module):
    """A stream that layers read and write, one of them from the stream into itself, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.same = nn.Linear(5, 6), nn.Linear(6, 6)
        self.up, self.down, self.leave = nn.Linear(6, 7), nn.Linear(7, 6), nn.Linear(6, 3)
        self.spare = nn.Parameter(torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        h += torch.relu(self.same(h))
        h += self.down(torch.relu_(self.up(h))) + self.spare
        return self.leave(h)


def image(name: str, **options: object) -> tuple[nn.Module, Tensor]:
    return lf.models.build(name, inputs=(3, 16, 16), classes=3, **options), draw(30, 3, 16, 16)


def zoo() -> dict[str, tuple[nn.Module, Tensor, tuple[str, ...]]]:
    """A model, inputs, layers to stop at."""
    torch.manual_seed(0)
    return {
        "mlp": (lf.models.mlp(inputs=(5,), classes=3, width=8, activation="gelu"), draw(40, 5), ("dense2", "readout")),
        "cnn": (*image("small_cnn", width=4, head="flatten"), ("conv2", "conv3")),
        "cnn batch": (*image("small_cnn", width=4, norm="batch"), ("conv3", "readout")),
        "vgg": (*image("vgg11", width=4, norm="batch"), ("conv3", "conv7", "readout")),
        "resnet": (*image("resnet20", width=4, norm="batch"), ("blocks.3", "blocks.7", "readout")),
        "resnet pad": (*image("resnet20", width=4, norm="batch", shortcut="pad"), ("readout",)),
        "wide resnet": (*image("wide_resnet", width=4, widen=1, depth=10, norm="batch"), ("blocks.2", "readout")),
        "residual": (Residual(), draw(40, 5), ("leave",)),
        "rnn": (lf.models.rnn(inputs=(6, 5), classes=3, width=6, depth=2), draw(40, 6, 5), ("readout",)),
    }


def landscape(model: nn.Module, x: Tensor) -> lf.Landscape:
    y = torch.arange(len(x)) % 3
    return lf.Landscape(model.double(), (x, y), device="cpu", batch_size=20)


def apart(where: lf.Landscape, seed: int = 3) -> Tensor:
    return where.here + 0.1 * draw(where.layout.size, seed=seed)


@pytest.mark.parametrize("name", zoo())
def test_a_model_and_its_permuted_copy_give_the_same_function(name: str) -> None:
    model, x, stops = zoo()[name]
    where = landscape(model, x)
    groups = alignment.symmetries(where)
    point = apart(where)
    other = groups.apply(point, groups.random(1))
    wanted = where.outputs(point)
    zipped = merging.zip_models(where, point, other, symmetries=groups)
    with torch.no_grad():
        torch.testing.assert_close(zipped(x), wanted)
    torch.testing.assert_close(where.layout.point(zipped.branches[0]), point)
    assert zipped.share == 1
    assert zipped.kept == zipped.paired == ()
    for stop in stops:
        zipped = merging.zip_models(where, point, other, stop_at=stop, symmetries=groups)
        with torch.no_grad():
            heads = zipped(x)
            for head, branch in zip(heads, zipped.branches, strict=True):
                torch.testing.assert_close(head, wanted)
                torch.testing.assert_close(branch(x), wanted)
        assert 0 < zipped.share < 1
        assert set(zipped.units) | set(zipped.kept) == set(groups.names)


@pytest.mark.parametrize("name", ["mlp", "resnet"])
@pytest.mark.parametrize("match", ["zip", "permute", "none"])
def test_a_model_zipped_with_itself_is_itself(name: str, match: str) -> None:
    model, x, _ = zoo()[name]
    where = landscape(model, x)
    point = apart(where)
    zipped = merging.zip_models(where, point, point, match=match)
    torch.testing.assert_close(where.layout.point(zipped.branches[0]), point)


def matrices(units: merging.UnitsMerged) -> tuple[Tensor, Tensor]:
    """M ``[n, 2n]`` and U ``[2n, n]`` written out."""
    belongs = F.one_hot(units.labels, units.size).double()
    return belongs.T / belongs.sum(0)[:, None], belongs


def correlations(*features: Tensor) -> Tensor:
    return torch.corrcoef(torch.cat(features, 1).T)


@pytest.mark.parametrize("stop", [None, "dense2", "readout"])
def test_the_weights_of_a_dense_network_are_the_papers_products(stop: str | None) -> None:
    model, x, _ = zoo()["mlp"]
    model = lf.models.mlp(inputs=(5,), classes=3, width=6, depth=2, activation="tanh")
    where = landscape(model, x)
    a, b = apart(where, 4), apart(where, 5)
    zipped = merging.zip_models(where, a, b, stop_at=stop, alpha=0.6, beta=0.4)
    ours, theirs = (where.layout.views(point) for point in (a, b))
    h = [torch.tanh(x @ own["dense1.weight"].T + own["dense1.bias"]) for own in (ours, theirs)]
    k = [
        torch.tanh(one @ own["dense2.weight"].T + own["dense2.bias"])
        for one, own in zip(h, (ours, theirs), strict=True)
    ]
    pairs = {"dense1": by_similarity(correlations(*h), 0.6, 0.4), "dense2": by_similarity(correlations(*k), 0.6, 0.4)}
    n = 6
    wanted = [dict(ours), dict(theirs)]
    reached = ("dense1",) if stop == "dense2" else ("dense1", "dense2")
    assert set(zipped.units) == set(reached)
    merge, unmerge = matrices(pairs["dense1"])
    assert torch.equal(zipped.units["dense1"].labels, pairs["dense1"].labels)
    for out in wanted:
        for key in ("dense1.weight", "dense1.bias"):
            out[key] = merge[:, :n] @ ours[key] + merge[:, n:] @ theirs[key]
    read = [ours["dense2.weight"] @ unmerge[:n], theirs["dense2.weight"] @ unmerge[n:]]
    if stop == "dense2":
        for out, weight in zip(wanted, read, strict=True):
            out["dense2.weight"] = weight
    else:
        merge, unmerge = matrices(pairs["dense2"])
        for out in wanted:
            out["dense2.weight"] = merge[:, :n] @ read[0] + merge[:, n:] @ read[1]
            out["dense2.bias"] = merge[:, :n] @ ours["dense2.bias"] + merge[:, n:] @ theirs["dense2.bias"]
        last = [ours["readout.weight"] @ unmerge[:n], theirs["readout.weight"] @ unmerge[n:]]
        for out, weight in zip(wanted, last, strict=True):
            out["readout.weight"] = weight if stop else (last[0] + last[1]) / 2
            out["readout.bias"] = out["readout.bias"] if stop else (ours["readout.bias"] + theirs["readout.bias"]) / 2
    assert len(zipped.branches) == (2 if stop else 1)
    for branch, out in zip(zipped.branches, wanted, strict=False):
        found = where.layout.views(where.layout.point(branch))
        for key, tensor in out.items():
            torch.testing.assert_close(found[key], tensor, msg=key)


def test_a_residual_stream_is_one_group_by_all_its_readings() -> None:
    model, x, _ = zoo()["residual"]
    where = landscape(model, x)
    a, b = apart(where, 4), apart(where, 5)
    zipped = merging.zip_models(where, a, b)
    stream: list[list[Tensor]] = []
    for point in (a, b):
        where.layout.load_(model, point)
        read = []
        hooks = [
            layer.register_forward_pre_hook(lambda module, given, read=read: read.append(given[0].clone()))
            for layer in (model.same, model.up, model.leave)
        ]
        with torch.no_grad():
            model(x)
        for hook in hooks:
            hook.remove()
        stream.append(read)
    table = torch.stack([correlations(*both) for both in zip(*stream, strict=True)]).mean(0)
    name = next(group.name for group in alignment.symmetries(where).groups if group.size == 6)
    assert torch.equal(zipped.units[name].labels, by_similarity(table, 0.7, 0.5).labels)
    merge, unmerge = matrices(zipped.units[name])
    ours, theirs = (where.layout.views(point)["same.weight"] for point in (a, b))
    wanted = merge[:, :6] @ ours @ unmerge[:6] + merge[:, 6:] @ theirs @ unmerge[6:]
    torch.testing.assert_close(zipped.branches[0].same.weight.detach(), wanted)


def test_units_that_do_not_vary_go_together_where_they_are_the_same() -> None:
    model = lf.models.mlp(inputs=(5,), classes=3, width=6, depth=1)
    x = draw(60, 5)
    where = landscape(model, x)
    point = apart(where)
    views = {name: view.clone() for name, view in where.layout.views(point).items()}
    views["dense1.bias"][:3] = -100  # dead
    point = where.layout.join(views)
    groups = alignment.symmetries(where)
    zipped = merging.zip_models(where, point, groups.apply(point, groups.random(4)))
    with torch.no_grad():
        torch.testing.assert_close(zipped(x), where.outputs(point))


# ---------------------------------------------------------------------------------------------- as a module


def test_shared_layers_run_once_and_are_trained_together() -> None:
    model, x, _ = zoo()["resnet"]
    where = landscape(model, x)
    zipped = merging.zip_models(where, apart(where, 4), apart(where, 5), stop_at="blocks.7")
    first, second = zipped.branches
    calls: list[str] = []
    for name in ("conv", "norm", "blocks.1.conv2"):
        assert first.get_submodule(name) is second.get_submodule(name)
        plain = first.get_submodule(name).forward
        first.get_submodule(name).forward = lambda t, name=name, plain=plain: (calls.append(name), plain(t))[1]
    heads = zipped(x)
    assert calls == ["conv", "norm", "blocks.1.conv2"]
    alone = [branch(x) for branch in zipped.branches]
    for head, own in zip(heads, alone, strict=True):
        torch.testing.assert_close(head, own)
    (heads[0].square().sum() + heads[1].sum()).backward()
    together = first.conv.weight.grad.clone()
    first.conv.weight.grad = None
    (alone[0].square().sum() + alone[1].sum()).backward()
    torch.testing.assert_close(together, first.conv.weight.grad)
    count = sum(p.numel() for p in zipped.parameters())
    assert count == round((2 - zipped.share) * where.layout.size)


def test_batchnorm_is_found_over_the_data_of_all_tasks() -> None:
    model, x, _ = zoo()["cnn batch"]
    where = landscape(model, x)
    tasks = {"first": where.on((x[:12], torch.zeros(12).long())), "second": where.on((x[12:], torch.ones(18).long()))}
    a, b = apart(where, 4), apart(where, 5)
    whole, parts = (merging.zip_models(data, a, b, stop_at="conv3") for data in (where, tasks))
    for zipped in (whole, parts):
        for branch in zipped.branches:
            own = zipped.branches[0].norm1.running_mean
            assert branch.norm1.running_mean is own
    torch.testing.assert_close(whole.branches[1].conv1.weight, parts.branches[1].conv1.weight)
    one = lf.Landscape(whole.branches[1], (x, torch.arange(30) % 3), device="cpu", batch_size=20)
    for name, buffer in one.calibrate(one.here).items():
        if buffer.is_floating_point():
            torch.testing.assert_close(dict(whole.branches[1].named_buffers())[name], buffer)
    kept = lf.Landscape(model, (x, torch.arange(30) % 3), device="cpu", batchnorm="keep")
    nets = [copy.deepcopy(model), copy.deepcopy(model)]
    for net, point, value in zip(nets, (a, b), (1.0, 3.0), strict=True):
        where.layout.load_(net, point)
        net.norm1.running_mean.fill_(value)
    merged = merging.zip_models(kept, *nets, match="none").branches[0]
    torch.testing.assert_close(merged.norm1.running_mean, torch.full((4,), 2.0).double())


def test_it_is_saved_and_read_again() -> None:
    model, x, _ = zoo()["vgg"]
    where = landscape(model, x)
    zipped = merging.zip_models(where, apart(where, 4), apart(where, 5), stop_at="conv7")
    file = io.BytesIO()
    torch.save(zipped, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    with torch.no_grad():
        for one, other in zip(zipped(x), again(x), strict=True):
            torch.testing.assert_close(one, other)
    other = merging.zip_models(where, apart(where, 6), apart(where, 7), stop_at="conv7")
    other.load_state_dict(zipped.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(other(x)[1], zipped(x)[1])
    assert "two heads" in repr(zipped)
    assert merging.zip_models(where, apart(where, 4), apart(where, 5)).units["conv1"].alike > 0
    # A zipped model is a model: landscapes take it, each head, or both.
    both = lf.Landscape(
        zipped, (x, torch.arange(30) % 3), forward=lambda net, batch: (net(batch[0])[1], batch[1]), device="cpu"
    )
    head = lf.Landscape(zipped.branches[1], (x, torch.arange(30) % 3), device="cpu")
    assert both.layout.size == sum(p.numel() for p in zipped.parameters())
    torch.testing.assert_close(both.loss(both.here), head.loss(head.here))


def test_attention_heads_are_put_together_as_they_stand() -> None:
    text = torch.randint(0, 5, (30, 6), generator=torch.Generator().manual_seed(3))
    model = lf.models.transformer(inputs=(6,), classes=5, width=8, heads=2).double()
    targets = torch.randint(0, 5, tuple(model(text).shape[:-1]), generator=torch.Generator().manual_seed(4))
    where = lf.Landscape(model, (text, targets), device="cpu")
    point = apart(where)
    zipped = merging.zip_models(where, point, point, stop_at="readout")
    assert any("attention" in name for name in zipped.paired)
    with torch.no_grad():
        torch.testing.assert_close(zipped(text)[1], where.outputs(point))
    # Between two models each weight of a head is a mean of both, as no unit that reads it is merged otherwise.
    other = apart(where, 9)
    zipped = merging.zip_models(where, point, other, match="none")
    torch.testing.assert_close(where.layout.point(zipped.branches[0]), (point + other) / 2)


def test_what_is_wrong_is_said() -> None:
    model, x, _ = zoo()["mlp"]
    where = landscape(model, x)
    a, b = apart(where, 4), apart(where, 5)
    for arguments, options, said in (
        ((where, a, b), {"stop_at": "dens2"}, "no layer 'dens2': near ones are dense2"),
        ((where, a, b), {"stop_at": "dense1"}, "no units that are made before 'dense1'"),
        ((where, a, b), {"alpha": 2.0}, "alpha is 2.0"),
        ((where, a, b), {"match": "optimal"}, "match is 'optimal'"),
        ((where, a, b[:3]), {}, "got a tensor of shape"),
        ((where, a, torch.full_like(b, torch.nan)), {}, "b holds NaN"),
    ):
        with pytest.raises(BadInput, match=said):
            merging.zip_models(*arguments, **options)
