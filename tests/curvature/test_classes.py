"""The Gauss-Newton matrix by class, against vectors formed one at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from landform.curvature import class_parts
from landform.errors import BadInput
from landform.landscape import Landscape

N, C = 40, 4


def made(kind: str = "tanh", stream: bool = False, **options) -> tuple[Landscape, nn.Module, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(6, 7), nn.ReLU() if kind == "relu" else nn.Tanh(), nn.Linear(7, C)).double()
    y = torch.randint(0, C, (N,), generator=draw)
    x = torch.randn(N, 6, generator=draw, dtype=torch.float64) + 2 * torch.eye(6, dtype=torch.float64)[y]
    data = list(zip(x.split(9), y.split(9), strict=True)) if stream else (x, y)
    return Landscape(net, data, batch_size=9, device="cpu", **options), net, x, y


def plain(landscape: Landscape, net: nn.Module, x: Tensor, y: Tensor) -> dict[str, np.ndarray]:
    """Every vector d_ik, and the parts as dense matrices, by loops over groups."""

    def outputs(point: Tensor) -> Tensor:
        return functional_call(net, landscape.layout.views(point), x)

    J = jacrev(outputs)(landscape.here).detach().numpy()
    p = outputs(landscape.here).softmax(1).detach().numpy()
    labels, size = y.numpy(), landscape.layout.size
    d = np.stack([[J[i].T @ (np.eye(C)[k] - p[i]) for k in range(C)] for i in range(N)])
    parts = {name: np.zeros((size, size)) for name in ("class", "cross", "own", "within", "whole")}
    class_means = []
    for c in range(C):
        mine = labels == c
        weights = [p[mine, k].sum() / N for k in range(C)]
        D = [np.average(d[mine, k], axis=0, weights=p[mine, k]) for k in range(C)]
        others = [k for k in range(C) if k != c]
        mean = np.average([D[k] for k in others], axis=0, weights=[weights[k] for k in others])
        class_means.append(mean)
        parts["class"] += sum(weights[k] for k in others) * np.outer(mean, mean)
        parts["own"] += weights[c] * np.outer(D[c], D[c])
        for k in others:
            parts["cross"] += weights[k] * np.outer(D[k] - mean, D[k] - mean)
        for k in range(C):
            for i in np.flatnonzero(mine):
                parts["within"] += p[i, k] / N * np.outer(d[i, k] - D[k], d[i, k] - D[k])
                parts["whole"] += p[i, k] / N * np.outer(d[i, k], d[i, k])
    return {**parts, "means": np.array(class_means)}


def top(matrix: np.ndarray, count: int) -> np.ndarray:
    return np.linalg.eigvalsh(matrix)[::-1][:count]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_the_parts_are_the_dense_ones(kind: str, stream: bool) -> None:
    landscape, net, x, y = made(kind, stream)
    expected = plain(landscape, net, x, y)
    found = class_parts(landscape, landscape.here, tol=1e-8)
    G = landscape.gauss_newton(landscape.here).dense().numpy()
    np.testing.assert_allclose(expected["whole"], G, atol=1e-12)  # the reference is the matrix
    total = expected["class"] + expected["cross"] + expected["own"] + expected["within"]
    np.testing.assert_allclose(total, G, atol=1e-12)
    np.testing.assert_allclose(found.predicted.numpy(), top(expected["class"], C), rtol=1e-9, atol=1e-12)
    between = expected["class"] + expected["cross"] + expected["own"]
    np.testing.assert_allclose(found.between.numpy(), top(between, 3 * C), rtol=1e-8, atol=1e-12)
    assert found.measured is not None
    np.testing.assert_allclose(found.measured.values.numpy(), top(G, C), rtol=1e-7)
    for name, trace in found.traces.items():
        assert trace == pytest.approx(np.trace(expected[name]), rel=1e-9), name
    assert sum(found.shares.values()) == pytest.approx(1.0)
    basis = np.linalg.qr(expected["means"].T)[0]
    vectors = np.linalg.eigh(G)[1][:, ::-1][:, :C]
    np.testing.assert_allclose(found.inside.numpy(), ((basis.T @ vectors) ** 2).sum(0), rtol=1e-5)
    assert float(found.weights.sum()) == pytest.approx(1.0)
    assert found.samples.tolist() == torch.bincount(y, minlength=C).tolist()


def test_interlacing_holds_and_classes_far_apart_predict_the_outliers() -> None:
    landscape, *_ = made("relu")
    point = landscape.here
    for _ in range(200):
        point = point - 0.3 * landscape.gradient(point)
    found = class_parts(landscape, point)
    assert found.measured is not None
    # G is the class part and something positive: each eigenvalue of the part is at most that of the whole.
    assert bool((found.predicted <= found.measured.values * (1 + 1e-2)).all())
    assert bool((found.between[:C] <= found.measured.values * (1 + 1e-2)).all())
    assert bool((found.predicted <= found.between[:C] * (1 + 1e-9)).all())


def test_weight_decay_shifts_eigenvalues_and_a_missing_class_is_nothing() -> None:
    _, net, x, y = made()
    few = y != 2
    without = Landscape(net, (x[few], y[few]), device="cpu")
    decayed = Landscape(net, (x[few], y[few]), device="cpu", weight_decay=0.25)
    a, b = class_parts(without, without.here, tol=1e-6), class_parts(decayed, without.here, tol=1e-6)
    assert a.measured is not None
    assert b.measured is not None
    torch.testing.assert_close(a.predicted + 0.25, b.predicted)
    torch.testing.assert_close(a.measured.values + 0.25, b.measured.values, rtol=1e-4, atol=1e-6)
    assert a.traces == pytest.approx(b.traces)
    assert not a.means[2].any()
    assert int(a.samples[2]) == 0
    none = class_parts(without, without.here, k=0)
    assert none.measured is None
    assert len(none.inside) == 0


def test_misuse() -> None:
    landscape, net, x, y = made()
    with pytest.raises(BadInput, match=r"take .* GiB, and memory= allows"):
        class_parts(landscape, landscape.here, memory=1000)
    with pytest.raises(BadInput, match="of cross-entropy"):
        class_parts(Landscape(net, (x, y), loss="mse", device="cpu"), landscape.here)
    with pytest.raises(BadInput, match="of cross-entropy"):
        class_parts(Landscape(net, (x, torch.rand(N, C).softmax(1).double()), device="cpu"), landscape.here)
    with pytest.raises(BadInput, match="NaN"):
        class_parts(landscape, landscape.here * torch.nan)
    with pytest.raises(BadInput, match="one point"):
        class_parts(landscape, landscape.here.expand(2, -1))
    with pytest.raises(BadInput, match="k is 1,000"):
        class_parts(landscape, landscape.here, k=1000)
    unlabelled = y.clone()
    unlabelled[3] = -100
    with pytest.raises(BadInput, match="have no label"):
        class_parts(Landscape(net, (x, unlabelled), device="cpu"), landscape.here)
