"""RegMean: least squares layer by layer, against inputs caught by hooks and plain solves."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landform as lf
from landform import merging
from landform.errors import BadInput


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(count: int, classes: int = 3, seed: int = 0) -> Tensor:
    return torch.randint(0, classes, (count,), generator=torch.Generator().manual_seed(seed))


def patches(module: nn.Module, x: Tensor) -> Tensor:
    """Rows that a layer multiplies by its weight, with a 1 for the bias."""
    if isinstance(module, nn.Conv1d):
        x = F.pad(x, (module.padding[0],) * 2)
        size, step = module.kernel_size[0], module.stride[0]
        rows = torch.stack([x[:, :, i : i + size].flatten(1) for i in range(0, x.shape[2] - size + 1, step)], 1)
    elif isinstance(module, nn.Conv2d):
        rows = F.unfold(x, module.kernel_size, module.dilation, module.padding, module.stride).transpose(1, 2)
    else:
        rows = x
    rows = rows.flatten(0, -2)
    return rows if module.bias is None else torch.cat([rows, rows.new_ones(len(rows), 1)], 1)


def caught(kept: list[Tensor], module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
    kept.append(given[0])


def solved(model: nn.Module, x: Tensor, points: Tensor, names: list[str], scale: float, weights: list[float]) -> dict:
    """Weights by name as the paper has them; what layers share is one sum over all calls."""
    layout = lf.layout.Layout.of(model)
    modules = dict(model.named_modules())
    grams: dict[str, list[Tensor]] = {name: [] for name in names}
    for point in points:
        layout.load_(model, point)
        seen: dict[str, list[Tensor]] = {name: [] for name in names}
        hooks = [modules[name].register_forward_hook(partial(caught, seen[name])) for name in names]
        with torch.no_grad():
            model.eval()(x)
        for hook in hooks:
            hook.remove()
        for name in names:
            rows = torch.cat([patches(modules[name], one) for one in seen[name]])
            grams[name].append(rows.T @ rows)
    found = {}
    for name in names:
        above, below = 0.0, 0.0
        for gram, point, weight in zip(grams[name], points, weights, strict=True):
            views = layout.views(point)
            rows = views[f"{name}.weight"].flatten(1)
            if f"{name}.bias" in views:
                rows = torch.cat([rows, views[f"{name}.bias"][:, None]], 1)
            small = gram.clone()
            for i in range(len(gram)):
                for j in range(len(gram)):
                    if i != j:
                        small[i, j] *= scale
            above, below = above + weight * rows @ small, below + weight * small
        rows = torch.linalg.solve(below, above.T).T
        weight = layout.views(points[0])[f"{name}.weight"]
        found[f"{name}.weight"] = rows[:, : weight[0].numel()].reshape(weight.shape)
        if rows.shape[1] > weight[0].numel():
            found[f"{name}.bias"] = rows[:, -1]
    return found


class Shared(nn.Module):
    """One layer read through time, a table, a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.step = nn.Embedding(5, 3), nn.Linear(6, 3)
        self.norm, self.leave = nn.LayerNorm(3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = self.table(x[:, 0])
        for t in range(1, x.shape[1]):
            state = torch.tanh(self.step(torch.cat([self.table(x[:, t]), state], -1)))
        return self.leave(self.norm(state))


def cases() -> dict[str, tuple[nn.Module, Tensor, list[str], tuple[str, ...]]]:
    """A model, its inputs, its linear layers, what is averaged."""
    torch.manual_seed(0)
    pictures = draw(24, 2, 6, 6, seed=1)
    convs = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Conv2d(4, 3, (1, 2), bias=False),
        nn.Conv2d(3, 6, 1, groups=3),
        nn.Flatten(),
        nn.Linear(36, 3),
    )
    text = torch.randint(0, 5, (60, 4), generator=torch.Generator().manual_seed(2))
    series = nn.Sequential(nn.Conv1d(2, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(21, 3))
    return {
        "dense": (
            nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 3)),
            draw(40, 4),
            ["0", "2", "4"],
            (),
        ),
        "convolutions": (convs, pictures, ["0", "2"], ("3.weight", "3.bias")),
        "series": (series, draw(40, 2, 7), ["0", "3"], ()),
        "shared": (Shared(), text, ["step", "leave"], ("table.weight", "norm.weight", "norm.bias")),
    }


@pytest.mark.parametrize("name", cases())
@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_each_layer_is_the_plain_solve(name: str, scale: float) -> None:
    model, x, layers, averaged = cases()[name]
    model = model.double()
    where = lf.Landscape(model, (x, labels(len(x))), device="cpu", batch_size=16)
    points = where.here + 0.3 * draw(3, where.layout.size, seed=3)
    weights = [1.0, 0.5, 2.0]
    result = merging.merge(points, method="regmean", data=where, scale=scale, weights=weights)
    views = where.layout.views(result.point)
    for key, wanted in solved(model, x, points, layers, scale, weights).items():
        torch.testing.assert_close(views[key], wanted, atol=1e-7, rtol=1e-6)
    assert result.facts["averaged"] == averaged
    mean = where.layout.views(torch.einsum("n,np->p", torch.tensor(weights).double() / 3.5, points))
    for key in averaged:
        torch.testing.assert_close(views[key], mean[key])


@pytest.mark.parametrize("bias", [True, False])
def test_linear_models_give_the_least_squares_of_all_data(bias: bool) -> None:
    model = nn.Linear(5, 2, bias=bias).double()
    data = [(draw(30 + 10 * i, 5, seed=i) + i, draw(30 + 10 * i, 2, seed=i + 9)) for i in range(3)]
    wheres = {
        f"task {i}": lf.Landscape(model, pair, loss="mse", device="cpu", batch_size=16) for i, pair in enumerate(data)
    }

    def optimum(x: Tensor, y: Tensor) -> Tensor:
        rows = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1) if bias else x
        found = torch.linalg.lstsq(rows, y).solution.T
        return torch.cat([found[:, :5].flatten(), *([found[:, 5]] if bias else [])])

    points = torch.stack([optimum(*pair) for pair in data])
    # Each task counts as it is sampled; the paper's Gram matrices are sums, ours means.
    weights = [len(x) for x, _ in data]
    merged = merging.merge(points, method="regmean", data=wheres, scale=1.0, weights=weights)
    best = optimum(*(torch.cat(side) for side in zip(*data, strict=True)))
    torch.testing.assert_close(merged.point, best)
    assert merged.facts["averaged"] == ()


class Attention(nn.Module):
    """Queries from one tensor, keys and values from another, out of one matrix; a matrix the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Parameter(torch.randn(4, 4))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.leave = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.attention(torch.tanh(x @ self.enter), x, x, need_weights=False)[0].mean(1))


def test_parts_of_one_matrix_and_matrices_turned_round() -> None:
    torch.manual_seed(0)
    model, x = Attention().double(), draw(30, 5, 4)
    where = lf.Landscape(model, (x, labels(30)), device="cpu")
    points = where.here + 0.3 * draw(2, where.layout.size)
    found = merging.merge(points, method="regmean", data=where, scale=1.0)
    views, mean = where.layout.views(found.point), where.layout.views(points.mean(0))
    sources = [where.layout.views(point) for point in points]
    # Keys and values, and what goes into the queries, read the data at both sources: their Gram matrices are one.
    torch.testing.assert_close(views["enter"], mean["enter"])
    torch.testing.assert_close(views["attention.in_proj_weight"][4:], mean["attention.in_proj_weight"][4:])
    rows = [torch.tanh(x @ own["enter"]).flatten(0, 1) for own in sources]
    above = sum(own["attention.in_proj_weight"][:4] @ one.T @ one for one, own in zip(rows, sources, strict=True))
    queries = torch.linalg.solve(sum(one.T @ one for one in rows), above.T).T
    torch.testing.assert_close(views["attention.in_proj_weight"][:4], queries)
    assert found.facts["averaged"] == ("attention.in_proj_bias",)  # a part of it for each of the three
    torch.testing.assert_close(views["attention.in_proj_bias"], mean["attention.in_proj_bias"])


def test_little_memory_takes_more_passes_and_gives_the_same() -> None:
    model, x, _, _ = cases()["dense"]
    where = lf.Landscape(model.double(), (x, labels(40)), device="cpu")
    points = where.here + 0.3 * draw(2, where.layout.size)
    wide, narrow = (merging.merge(points, method="regmean", data=where, memory=memory).point for memory in (2**30, 1))
    torch.testing.assert_close(wide, narrow)


def test_inputs_that_do_not_vary_leave_the_mean() -> None:
    model = nn.Linear(4, 3, bias=False).double()
    x = draw(20, 4)
    x[:, 2] = 0
    where = lf.Landscape(model, (x, labels(20)), device="cpu")
    a, b = where.here + draw(2, 12)
    found = merging.merge([a, b], method="regmean", data=where, scale=1.0)
    torch.testing.assert_close(found.point, (a + b) / 2)
    assert found.facts["rank"]["weight"] == 0.75
    torch.testing.assert_close(merging.merge([a, a], method="regmean", data=where).point, a)


def test_biases_may_be_averaged_and_batchnorm_is_found_anew() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)).double()
    where = lf.Landscape(model, (draw(30, 2, 6, 6), labels(30)), device="cpu", batch_size=10)
    points = where.here + 0.2 * draw(2, where.layout.size)
    found = merging.merge(points, method="regmean", data=where, bias="mean")
    views, mean = where.layout.views(found.point), where.layout.views(points.mean(0))
    for key in ("0.bias", "4.bias", "1.weight", "1.bias"):
        torch.testing.assert_close(views[key], mean[key])
    assert set(found.facts["averaged"]) == {"0.bias", "4.bias", "1.weight", "1.bias"}
    for name, buffer in where.calibrate(found.point).items():
        torch.testing.assert_close(found.buffers[name], buffer)


def test_what_is_wrong_is_said() -> None:
    model, x, _, _ = cases()["dense"]
    where = lf.Landscape(model.double(), (x, labels(40)), device="cpu")
    points = where.here + draw(2, where.layout.size)
    for settings, said in (
        ({"scale": 1.5}, "scale of regmean is 1.5"),
        ({"bias": "none"}, "bias of regmean is 'none': give 'joint' or 'mean'"),
        ({"weights": (0, 0)}, "not all of them 0"),
    ):
        with pytest.raises(BadInput, match=said):
            merging.merge(points, method="regmean", data=where, **settings)
    with pytest.raises(BadInput, match="looks at data"):
        merging.merge(points, method="regmean")
