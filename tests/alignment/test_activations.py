"""Activation matching: planted permutations, correlations against plain ones, streaming."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from shapes_of_models import OTHERS, landscape, texts, zoo
from torch import Tensor, nn

import landform as lf
from landform import alignment
from landform.alignment._watch import Cross
from landform.errors import BadInput

ZOO = zoo()


def many(inputs: Tensor, count: int = 60) -> Tensor:
    made = torch.Generator().manual_seed(8)
    if not inputs.is_floating_point():
        return torch.randint(0, 5, (count, *inputs.shape[1:]), generator=made)
    return torch.randn(count, *inputs.shape[1:], generator=made)


@pytest.mark.parametrize(
    "name",
    ["mlp", "small_cnn none", "vgg11 batch", "resnet20 batch", "resnet20 pad group", "transformer", "rnn",
     "attention", "vision", "experts", "grouped", "lstm", "concatenated", "rotary"],
)  # fmt: skip
def test_a_planted_permutation_is_recovered_exactly(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = ZOO[name]() if name in ZOO else (OTHERS[name][0](), OTHERS[name][1]())
    where = landscape(model, many(inputs))
    found = alignment.symmetries(where)
    noise = torch.randn(where.layout.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a = where.here + 0.1 * where.here.std() * noise
    b = found.apply(a, found.random(1))
    result = alignment.align(where, a, b, method="activations", symmetries=found)
    assert torch.equal(result.point, a)
    assert result.objective[-1] == pytest.approx(1, abs=1e-6)
    assert result.converged


def two_nets(width: int = 12) -> tuple[lf.Landscape, Tensor, Tensor]:
    nets = [lf.models.mlp(inputs=(5,), classes=3, width=width, depth=2, activation="tanh", seed=s) for s in range(2)]
    x = many(torch.zeros(1, 5), 90)
    where = lf.Landscape(nets[0], (x, torch.arange(90) % 3), device="cpu", dtype=torch.float64, batch_size=40)
    return where, where.here, where.layout.point(nets[1]).double()


def test_it_is_the_assignment_of_plain_correlations() -> None:
    where, a, b = two_nets()
    x = many(torch.zeros(1, 5), 90).double()
    hidden: list[list[Tensor]] = []
    for point in (a, b):
        views, h, layers = where.layout.views(point), x, []
        for name in ("dense1", "dense2"):
            h = (h @ views[f"{name}.weight"].T + views[f"{name}.bias"]).tanh()
            layers.append(h)
        hidden.append(layers)
    result = alignment.align(where, a, b, method="activations")
    means = []
    for layer, name in enumerate(("dense1", "dense2")):
        both = np.corrcoef(hidden[0][layer].T.numpy(), hidden[1][layer].T.numpy())[:12, 12:]
        rows, columns = linear_sum_assignment(both, maximize=True)
        assert result.permutations[name].tolist() == columns.tolist()
        means.append(both[rows, columns].mean())
    assert result.objective[-1] == pytest.approx(np.mean(means))
    small = lf.Landscape(where._model, (x, torch.arange(90) % 3), device="cpu", dtype=torch.float64, batch_size=7)
    again = alignment.align(small, a, b, method="activations")
    assert torch.equal(again.point, result.point)
    assert again.objective[-1] == pytest.approx(result.objective[-1])


def test_correlations_of_far_numbers_and_dead_units() -> None:
    made = torch.Generator().manual_seed(0)
    x, y = (1e4 + torch.randn(50, 4, generator=made, dtype=torch.float64) for _ in range(2))
    x[:, 2] = 3.7
    cross = Cross()
    for start in range(0, 50, 13):
        cross.add(x[start : start + 13], y[start : start + 13])
    found = cross.correlations()
    with np.errstate(invalid="ignore"):
        plain = np.corrcoef(x.T.numpy(), y.T.numpy())[:4, 4:]
    assert torch.equal(found[2], torch.zeros(4, dtype=torch.float64))
    kept = [0, 1, 3]
    torch.testing.assert_close(found[kept], torch.from_numpy(plain[kept]), rtol=1e-6, atol=1e-9)


def test_each_point_has_its_own_statistics() -> None:
    model, inputs = ZOO["small_cnn batch"]()
    where = landscape(model, many(inputs))
    other = lf.models.small_cnn(inputs=(3, 16, 16), classes=3, width=8, norm="batch", head="flatten", seed=3)
    a, b = where.here, where.layout.point(other).double()
    fresh = alignment.align(where, a, b, method="activations")
    given = alignment.align(where, a, b, method="activations", buffers=where.calibrate(b))
    assert torch.equal(fresh.point, given.point)
    torch.testing.assert_close(given.buffers["norm1.running_mean"], where.calibrate(fresh.point)["norm1.running_mean"])


def test_a_group_that_nothing_reads_alone_is_matched_by_weights() -> None:
    torch.manual_seed(0)
    make, inputs, _ = OTHERS["vision, normalised"]
    where = landscape(make(), many(inputs()))
    found = alignment.symmetries(where)
    read = {name for one in found.reads for name in one.block.groups}
    assert set(found.names) - read == {"project#2"}
    a = where.here
    result = alignment.align(where, a, found.apply(a, found.random(1)), method="activations")
    assert torch.equal(result.point, a)


def test_another_forward_pass_than_that_of_the_first_samples_is_told() -> None:
    class Turns(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.last = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.one(x).relu()
            return self.last(self.two(h).relu() if len(x) < 10 else h)

    torch.manual_seed(0)
    x = many(torch.zeros(1, 5))
    where = lf.Landscape(Turns(), (x, torch.zeros(60, dtype=torch.long)), device="cpu")
    with pytest.raises(BadInput, match="match units by weights"):
        alignment.align(where, where.here, where.here, method="activations")


def test_texts_and_a_loader() -> None:
    model, _ = ZOO["transformer"]()
    x = many(texts())
    batches = [(x[:30], x[:30]), (x[30:], x[30:])]
    where = lf.Landscape(model, batches, device="cpu", dtype=torch.float64)
    whole = lf.Landscape(model, (x, x), device="cpu", dtype=torch.float64, batch_size=30)
    other = lf.models.transformer(inputs=(6,), classes=5, width=8, heads=2, seed=2)
    b = where.layout.point(other).double()
    found = [alignment.align(one, one.here, b, method="activations") for one in (where, whole)]
    assert torch.equal(found[0].point, found[1].point)
    assert 0 < found[0].objective[-1] < 1


class Streams(nn.Module):
    """Two residual layers, in place or not."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.inplace = inplace
        self.first, self.second, self.third = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for layer in (self.second, self.third):
            if self.inplace:
                h += torch.relu_(layer(h))
            else:
                h = h + torch.relu(layer(h))
        out: Tensor = self.last(h)
        return out


def test_a_model_that_goes_on_in_place_has_the_correlations_of_one_that_does_not() -> None:
    x = many(torch.zeros(1, 5), 90)
    found = []
    for inplace in (False, True):
        torch.manual_seed(0)
        nets = [Streams(inplace).double() for _ in range(2)]
        where = lf.Landscape(nets[0], (x.double(), torch.arange(90) % 3), device="cpu")
        found.append(alignment.align(where, nets[0], nets[1], method="activations"))
    assert found[1].objective == pytest.approx(found[0].objective, rel=1e-12)
    assert found[1].point.equal(found[0].point)
