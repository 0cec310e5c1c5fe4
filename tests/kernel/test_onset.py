"""Training from a time on, against the trainings done by hand."""

import copy
import importlib
from dataclasses import replace

import pytest
import torch
from torch import nn

import landform as lf
from landform import kernel
from landform.data import Dataset
from landform.errors import BadInput
from landform.models import build


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return lf.data.digits(per_class=20)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return build("mlp", inputs=(1, 8, 8), classes=10, width=16, depth=2, seed=0)


def by_hand(net: nn.Module, data: Dataset, recipe: lf.Recipe) -> tuple[float, float]:
    trained = copy.deepcopy(net)
    lf.train(trained, (data.train.inputs, data.train.targets), recipe, device="cpu")
    seen = lf.Landscape(trained, data, device="cpu")
    return float(seen.error(seen.here)), float(seen.on(data.test).error(seen.here))


def test_the_trainings_are_those_of_the_loop(digits: Dataset, net: nn.Module) -> None:
    landscape = lf.Landscape(net, digits, device="cpu")
    sets = {"train": landscape, "test": landscape.on(digits.test)}
    found = kernel.onset(landscape, landscape.here, sets, epochs=4, lr=0.02, batch_size=32, samples=50, seed=3)
    assert found.sets == ("train", "test")
    expanded = by_hand(kernel.linearise(net), digits, found.recipe)
    plain = by_hand(net, digits, found.recipe)
    assert found.linearised.last.tolist() == pytest.approx(expanded)
    assert found.nonlinear is not None
    assert found.nonlinear.last.tolist() == pytest.approx(plain)
    assert found.advantage.tolist() == pytest.approx([a - b for a, b in zip(expanded, plain, strict=True)])
    frozen = copy.deepcopy(net)
    for name, parameter in frozen.named_parameters():
        parameter.requires_grad_(name.startswith("readout"))
    assert found.probe is not None
    assert found.probe.last.tolist() == pytest.approx(by_hand(frozen, digits, found.recipe))
    # All courses begin where the point is.
    own = [float(one.error(landscape.here)) for one in sets.values()]
    for course in (found.linearised, found.nonlinear, found.probe):
        assert course.errors[0].tolist() == pytest.approx(own)
        assert float(course.epochs[-1]) == 4.0
        assert bool((course.best <= course.last).all())
    assert found.own.tolist() == pytest.approx(own)


def test_the_machine_is_ridge_regression_on_the_trace_kernel(digits: Dataset, net: nn.Module) -> None:
    landscape = lf.Landscape(net, digits, device="cpu", dtype=torch.float64)
    test = landscape.on(digits.test)
    found = kernel.onset(landscape, landscape.here, {"test": test}, epochs=0.2, samples=60, nonlinear=False, seed=5)
    assert found.nonlinear is None
    assert bool(found.advantage.isnan().all())
    chosen = torch.randperm(len(digits.train), generator=torch.Generator().manual_seed(5))[:60]
    x, y = digits.train.inputs[chosen], digits.train.targets[chosen]
    k = kernel.ntk(landscape, landscape.here, x, kind="full").diagonal(dim1=2, dim2=3).sum(-1)
    cross = kernel.ntk(landscape, landscape.here, digits.test.inputs, x, kind="full").diagonal(dim1=2, dim2=3).sum(-1)
    hot = torch.nn.functional.one_hot(y, 10).double()
    ridges = kernel.ridge_path(k, 13, low=1e-5)

    def left_out(ridge: torch.Tensor) -> float:
        wrong = 0
        for i in range(60):
            rest = [j for j in range(60) if j != i]
            a = torch.linalg.solve(k[rest][:, rest] + ridge * torch.eye(59, dtype=k.dtype), hot[rest])
            wrong += int((k[i, rest] @ a).argmax() != y[i])
        return wrong / 60

    best = min(left_out(ridge) for ridge in ridges)
    errors = {
        float(((cross @ torch.linalg.solve(k + ridge * torch.eye(60, dtype=k.dtype), hot)).argmax(1)
               != digits.test.targets).double().mean())
        for ridge in ridges if left_out(ridge) == pytest.approx(best)
    }  # fmt: skip
    assert any(float(found.machine) == pytest.approx(error, abs=1e-9) for error in errors)


def test_statistics_of_batchnorm_are_those_of_the_point() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 10))
    data = lf.data.digits(per_class=10)
    landscape = lf.Landscape(net, data, device="cpu")
    found = kernel.onset(landscape, landscape.here, epochs=1, lr=0.05, samples=20)
    assert found.linearised.errors[0].tolist() == pytest.approx(found.own.tolist(), abs=0.02)
    assert not found.linearised.diverged
    assert float(net[2].num_batches_tracked) == 0  # the user's model is left alone


def test_a_step_that_is_too_large_is_told_of(digits: Dataset, net: nn.Module) -> None:
    landscape = lf.Landscape(net, digits, loss="cross-entropy", device="cpu")
    found = kernel.onset(landscape, landscape.here, epochs=2, lr=1e30, samples=0, nonlinear=False)
    assert found.linearised.diverged or float(found.linearised.last) > 0.5
    assert bool(found.machine.isnan().all())


def test_misuse_is_told_in_a_sentence(digits: Dataset, net: nn.Module) -> None:
    landscape = lf.Landscape(net, digits, device="cpu")
    with pytest.raises(BadInput, match="NaN"):
        kernel.onset(landscape, landscape.here * float("nan"))
    numbers = replace(digits, classes=None)
    pair = (numbers.train.inputs, torch.zeros(len(numbers.train), 10))
    with pytest.raises(BadInput, match="not labels"):
        kernel.onset(lf.Landscape(net, pair, loss="mse", device="cpu"), landscape.here)
    loader = [(digits.train.inputs[:8], digits.train.targets[:8])]
    with pytest.raises(BadInput, match="stream of batches"):
        kernel.onset(lf.Landscape(net, loader, device="cpu"), landscape.here)
    with pytest.raises(BadInput, match="lr"):
        kernel.onset(landscape, landscape.here, lr=-1.0)


def test_a_machine_is_judged_by_some_of_many_samples(
    digits: Dataset, net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("landform.kernel._onset")
    landscape = lf.Landscape(net, digits, device="cpu")
    count = len(digits.test)
    settings = {"epochs": 0.1, "samples": 40, "nonlinear": False}
    whole = kernel.onset(landscape, landscape.here, {"test": landscape.on(digits.test)}, **settings)
    monkeypatch.setattr(module, "_JUDGED", count)
    again = kernel.onset(landscape, landscape.here, {"test": landscape.on(digits.test)}, **settings)
    assert again.machine.equal(whole.machine)
    monkeypatch.setattr(module, "_JUDGED", count // 2)
    half = kernel.onset(landscape, landscape.here, {"test": landscape.on(digits.test)}, **settings)
    rows = torch.randperm(count, generator=torch.Generator().manual_seed(1))[: count // 2]
    some = {"test": landscape.on((digits.test.inputs[rows], digits.test.targets[rows]))}
    monkeypatch.undo()
    assert half.machine.equal(kernel.onset(landscape, landscape.here, some, **settings).machine)
    assert half.own.equal(whole.own)


class Scaled(nn.Module):
    """What its last linear layer puts out is not what it puts out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 3 * self.body(x)


@pytest.mark.parametrize("width", [16, 4])  # more features than classes, and fewer
def test_the_last_layer_stands_alone_where_it_makes_the_outputs(digits: Dataset, width: int) -> None:
    module = importlib.import_module("landform.kernel._onset")
    net = build("mlp", inputs=(1, 8, 8), classes=10, width=width, depth=2, seed=0)
    pair = (digits.test.inputs, digits.test.targets)
    landscape = lf.Landscape(net, digits, device="cpu")
    probed, (features, labels), on = module._last_layer(net, landscape, {"test": pair})
    assert isinstance(probed, nn.Linear)
    assert features.shape == (len(digits.train), probed.in_features)
    assert labels.equal(digits.train.targets)
    assert torch.allclose(probed(on["test"][0]), landscape.on(digits.test).outputs(landscape.here))
    other = Scaled()
    landscape = lf.Landscape(other, digits, device="cpu")
    probed, (inputs, _), on = module._last_layer(other, landscape, {"test": pair})
    assert isinstance(probed, Scaled)
    assert inputs.equal(digits.train.inputs)
    assert on["test"][0].equal(digits.test.inputs)
    assert module._last_layer(nn.Linear(64, 10), landscape, {}) is None
    recipe = lf.Recipe(epochs=2, batch_size=32, lr=0.02, momentum=0.9)
    frozen = copy.deepcopy(other)
    for name, parameter in frozen.named_parameters():
        parameter.requires_grad_(name.startswith("body.3"))
    found = kernel.onset(landscape, landscape.here, epochs=2, lr=0.02, batch_size=32, samples=0, nonlinear=False)
    assert found.probe is not None
    assert float(found.probe.last) == pytest.approx(by_hand(frozen, digits, recipe)[0])


def test_of_many_samples_some_are_read_on_the_way(
    digits: Dataset, net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("landform.kernel._onset")
    landscape = lf.Landscape(net, digits, device="cpu")
    settings = {"epochs": 3, "lr": 0.05, "batch_size": 32, "samples": 0, "seed": 1}
    whole = kernel.onset(landscape, landscape.here, {"test": landscape.on(digits.test)}, **settings)
    monkeypatch.setattr(module, "_JUDGED", 30)
    some = kernel.onset(landscape, landscape.here, {"test": landscape.on(digits.test)}, **settings)
    for name in ("linearised", "nonlinear", "probe"):
        one, other = getattr(whole, name), getattr(some, name)
        assert one.last.equal(other.last)
        assert other.best.tolist() == one.errors[int(other.errors[:, 0].argmin())].tolist()
        assert {round(30 * float(error), 9) % 1 for error in other.errors[:, 0]} == {0.0}


def test_a_training_in_bfloat16_ends_near_that_in_full(digits: Dataset, net: nn.Module) -> None:
    landscape = lf.Landscape(net, digits, device="cpu")
    settings = {"epochs": 2, "lr": 0.02, "batch_size": 32, "samples": 0}
    full = kernel.onset(landscape, landscape.here, **settings)
    half = kernel.onset(landscape, landscape.here, precision="bfloat16", **settings)
    assert half.recipe.precision == "bfloat16"
    for name in ("linearised", "nonlinear"):
        assert abs(float(getattr(full, name).last) - float(getattr(half, name).last)) < 0.1
