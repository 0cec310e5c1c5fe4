"""Fisher merging: the diagonal against plain loops, and quadratic losses whose optimum is known."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landform as lf
from landform import merging
from landform.errors import BadInput
from landform.merging import fisher_diagonal


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(count: int, classes: int, seed: int = 0) -> Tensor:
    return torch.randint(0, classes, (count,), generator=torch.Generator().manual_seed(seed))


class Sequences(nn.Module):
    """A table, a recurrence by hand, outputs at each position."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.step, self.leave = nn.Embedding(5, 4), nn.Linear(8, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        state, found = x.new_zeros(len(x), 4, dtype=self.step.weight.dtype), []
        for t in range(x.shape[1]):
            state = torch.tanh(self.step(torch.cat([self.table(x[:, t]), state], -1)))
            found.append(self.leave(state))
        return torch.stack(found, 1)


def models() -> dict[str, tuple[nn.Module, Tensor, Tensor]]:
    torch.manual_seed(0)
    pictures = draw(9, 2, 8, 8, seed=3)
    text = torch.randint(0, 5, (6, 4), generator=torch.Generator().manual_seed(5))
    return {
        "dense": (lf.models.mlp(inputs=(4,), classes=3, width=5, activation="tanh"), draw(11, 4), labels(11, 3)),
        "conv": (lf.models.small_cnn(inputs=(2, 8, 8), classes=3, width=3), pictures, labels(9, 3)),
        "sequence": (Sequences(), text, torch.randint(0, 3, (6, 4), generator=torch.Generator().manual_seed(6))),
    }


def plain(model: nn.Module, x: Tensor, y: Tensor, kind: str, loss: str) -> Tensor:
    """One sample at a time, one label at a time, by autograd."""
    model = model.double().eval()
    parameters = list(model.parameters())
    total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    for i in range(len(x)):
        out = model(x[i : i + 1])
        if kind == "empirical":
            one = F.cross_entropy(out.flatten(0, -2), y[i : i + 1].flatten()) if loss == "cross-entropy" else None
            terms = [(1.0, one if one is not None else F.mse_loss(out, y[i : i + 1]))]
        elif loss == "cross-entropy":
            rows = out.flatten(0, -2)
            share = rows.softmax(-1).detach() / len(rows)
            terms = [
                (float(share[t, c]), -rows[t].log_softmax(-1)[c])
                for t in range(len(rows))
                for c in range(rows.shape[1])
            ]
        else:
            terms = [(2 / out.numel(), value) for value in out.flatten()]
        for weight, value in terms:
            grads = torch.autograd.grad(value, parameters, retain_graph=True)
            total += weight * torch.cat([g.flatten() for g in grads]).square()
    return total / len(x)


@pytest.mark.parametrize("name", models())
@pytest.mark.parametrize("kind", ["true", "empirical"])
@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
def test_the_diagonal_is_that_of_plain_loops(name: str, kind: str, loss: str) -> None:
    model, x, y = models()[name]
    if loss == "mse":
        with torch.no_grad():
            y = draw(*model.double().eval()(x).shape, seed=7)
    where = lf.Landscape(model.double(), (x, y), loss=loss, device="cpu", batch_size=4)
    found = fisher_diagonal(where, where.here, kind=kind)
    assert found.how == ("exact" if kind == "true" else "empirical")
    assert found.gradients == (1 if kind == "empirical" else 12 if name == "sequence" else 3)
    torch.testing.assert_close(found.values, plain(model, x, y, kind, loss))


def test_the_true_diagonal_is_that_of_the_operator() -> None:
    model, x, y = models()["sequence"]
    where = lf.Landscape(model.double(), (x, y), device="cpu")
    torch.testing.assert_close(fisher_diagonal(where, where.here).values, where.fisher(where.here).dense().diagonal())


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
def test_drawn_labels_give_the_exact_diagonal_in_the_mean(loss: str) -> None:
    model, x, y = models()["sequence"]
    y = y if loss == "cross-entropy" else draw(6, 4, 3)
    where = lf.Landscape(model.double(), (x, y), loss=loss, device="cpu")
    exact = fisher_diagonal(where, where.here).values
    few, many = (fisher_diagonal(where, where.here, kind="sampled", draws=n, seed=1) for n in (40, 1500))
    far, near = (float((one.values - exact).norm() / exact.norm()) for one in (few, many))
    assert far < 0.5
    assert near < 0.05
    again = fisher_diagonal(where, where.here, kind="sampled", draws=40, seed=1)
    assert torch.equal(again.values, few.values)
    assert again.how == "sampled"


def test_labels_that_do_not_count() -> None:
    model, x, y = models()["sequence"]
    y = y.clone()
    y[:, 2:] = -100
    where = lf.Landscape(model.double(), (x, y), device="cpu")
    shorter = lf.Landscape(model.double(), (x[:, :2], y[:, :2]), device="cpu")
    for kind in ("true", "empirical"):
        torch.testing.assert_close(
            fisher_diagonal(where, where.here, kind=kind).values, fisher_diagonal(shorter, where.here, kind=kind).values
        )


def test_many_classes_are_drawn() -> None:
    model = nn.Linear(4, 30).double()
    where = lf.Landscape(model, (draw(7, 4), labels(7, 30)), device="cpu")
    found = fisher_diagonal(where, where.here, draws=2)
    assert (found.how, found.gradients) == ("sampled", 2)


def quadratic(seed: int, count: int = 40) -> tuple[lf.Landscape, Tensor]:
    """Inputs whose coordinates are orthogonal, so that the loss is a sum over coordinates, and its optimum."""
    x = torch.linalg.qr(draw(count, 5, seed=seed))[0] * torch.linspace(1, 3, 5, dtype=torch.float64) * (1 + seed)
    y = draw(count, 2, seed=seed + 10)
    where = lf.Landscape(nn.Linear(5, 2, bias=False).double(), (x, y), loss="mse", device="cpu", batch_size=16)
    return where, torch.linalg.lstsq(x, y).solution.T.flatten()


def test_quadratic_losses_give_the_optimum_of_their_sum() -> None:
    (first, a), (second, b) = quadratic(0), quadratic(2)
    result = merging.merge([a, b], method="fisher", data={"one": first, "other": second}, floor=0.0)
    x, y = (torch.cat([getattr(where._data, key) for where in (first, second)]) for key in ("inputs", "targets"))
    torch.testing.assert_close(result.point, torch.linalg.lstsq(x, y).solution.T.flatten())
    assert result.facts["fisher"] == "exact"


def test_the_formula_with_weights_and_a_floor() -> None:
    model, x, y = models()["dense"]
    where = lf.Landscape(model.double(), (x, y), device="cpu")
    points = where.here + 0.3 * draw(3, where.layout.size, seed=4)
    result = merging.merge(points, method="fisher", data=where, weights=(1, 2, 3), floor=0.05)
    fishers = torch.stack([fisher_diagonal(where, point).values for point in points])
    least = 0.05 * fishers.mean()
    assert result.facts["floored"] == pytest.approx(float((fishers < least).double().mean()))
    kept = fishers.clamp(min=float(least)) * torch.tensor([[1.0], [2.0], [3.0]])
    torch.testing.assert_close(result.point, (kept * points).sum(0) / kept.sum(0))


def test_sources_alike_and_coordinates_nobody_knows() -> None:
    model, x, y = models()["dense"]
    where = lf.Landscape(model.double(), (torch.cat([x[:, :3], 0 * x[:, :1]], 1), y), device="cpu")
    a = where.here
    torch.testing.assert_close(merging.merge([a, a], method="fisher", data=where).point, a)
    b = a + draw(len(a))
    unseen = torch.zeros(5, 4, dtype=torch.bool)
    unseen[:, 3] = True  # weights of an input that is always 0 have no information: there the mean stays
    merged = where.layout.views(merging.merge([a, b], method="fisher", data=where, floor=0.0).point)["dense1.weight"]
    torch.testing.assert_close(merged[unseen], where.layout.views((a + b) / 2)["dense1.weight"][unseen])


def test_a_norm_of_its_own_for_each_source() -> None:
    first, a = quadratic(0)
    second, b = quadratic(2)
    found = merging.merge([a, b], method="fisher", data={"x": first, "y": second}, floor=0.0, normalise="norm").point
    fishers = [fisher_diagonal(where, point).values for where, point in ((first, a), (second, b))]
    one, other = (f / f.norm() for f in fishers)
    torch.testing.assert_close(found, (one * a + other * b) / (one + other))


def test_batchnorm_is_found_anew() -> None:
    x, y = draw(30, 2, 8, 8), labels(30, 3)
    model = lf.models.small_cnn(inputs=(2, 8, 8), classes=3, width=4, norm="batch").double()
    where = lf.Landscape(model, (x, y), device="cpu", batch_size=10)
    points = where.here + 0.1 * draw(2, where.layout.size)
    result = merging.merge(points, method="fisher", data=where)
    for name, buffer in where.calibrate(result.point).items():
        torch.testing.assert_close(result.buffers[name], buffer)


def test_what_is_wrong_is_said() -> None:
    model, x, y = models()["dense"]
    where = lf.Landscape(model.double(), (x, y), device="cpu")
    points = where.here + draw(2, where.layout.size)
    with pytest.raises(BadInput, match=r"3 tasks in data \(a, b, c\) and 2 sources"):
        merging.merge(points, method="fisher", data=dict.fromkeys("abc", where))
    with pytest.raises(BadInput, match="fisher of fisher is 'exact': give 'true'"):
        merging.merge(points, method="fisher", data=where, fisher="exact")
    with pytest.raises(BadInput, match="-1"):
        merging.merge(points, method="fisher", data=where, weights=(1, -1))
    own = lf.Landscape(model, (x, y), loss=lambda out, y: F.cross_entropy(out, y), device="cpu")
    with pytest.raises(BadInput, match="take kind='empirical'"):
        fisher_diagonal(own, own.here)
    torch.testing.assert_close(
        fisher_diagonal(own, own.here, kind="empirical").values,
        fisher_diagonal(where, own.here, kind="empirical").values,
    )
    with pytest.raises(BadInput, match="no Fisher of kind"):
        fisher_diagonal(where, where.here, kind="exact")
    with pytest.raises(BadInput, match="draws is 0"):
        fisher_diagonal(where, where.here, kind="sampled", draws=0)
    other = lf.Landscape(nn.Linear(4, 3).double(), (x, y), device="cpu")
    with pytest.raises(BadInput, match=r"different models: dense1.weight is \[5, 4\] for a and not there for b"):
        merging.merge(points, method="fisher", data={"a": where, "b": other})
    assert math.isfinite(float(merging.merge(points, method="fisher", data=where).point.sum()))
