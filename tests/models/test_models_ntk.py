"""The NTK parametrisation computes the same functions, and moves differently."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from zoo_cases import CASES, batch, make

from landform import models
from landform.models import NTKConv2d, NTKLinear
from landform.models._layers import GAINS

ALL = pytest.mark.parametrize("case", CASES)


@ALL
def test_rescaled_weights_give_the_standard_net_exactly(case: str) -> None:
    ntk, standard = make(case, parametrisation="ntk", seed=1).eval(), make(case, seed=2).eval()
    generator = torch.Generator().manual_seed(3)
    factors = models.scales(ntk)
    owners = dict(standard.named_parameters())
    assert list(factors) == list(owners)
    with torch.no_grad():
        for name, parameter in ntk.named_parameters():  # a net that has left its initialisation, biases and all
            parameter.add_(torch.randn(parameter.shape, generator=generator))
            owners[name].copy_(parameter * factors[name])
    x = batch(case, dtype=torch.float32)
    assert torch.equal(ntk(x), standard(x))


@ALL
def test_one_seed_gives_one_function_in_both(case: str) -> None:
    x = batch(case, dtype=torch.float32)
    assert torch.equal(make(case, seed=5, parametrisation="ntk").eval()(x), make(case, seed=5).eval()(x))


@ALL
def test_scales_of_a_standard_net_are_one(case: str) -> None:
    assert set(models.scales(make(case)).values()) == {1.0}


@pytest.mark.parametrize("case", ["mlp", "mlp-deep", "cnn", "resnet20-pad", "transformer", "rnn"])
def test_outputs_vary_alike_over_seeds(case: str) -> None:
    """Variance over 200 independent seeds each; its relative error is about sqrt(2 / 200) = 0.1 for each of the two.

    Averaged over outputs and samples it is rarely more; 0.5 is over three standard errors of the ratio.
    """
    x = batch(case, dtype=torch.float32)
    with torch.no_grad():
        spread = [
            torch.stack([make(case, seed=s, parametrisation=p).eval()(x) for s in seeds]).var(0).mean()
            for p, seeds in (("standard", range(200)), ("ntk", range(1000, 1200)))
        ]
    assert math.isclose(spread[0], spread[1], rel_tol=0.5)


@pytest.mark.parametrize("case", [c for c, (_, _, options) in CASES.items() if "init" not in options])
def test_weights_are_unit_normal(case: str) -> None:
    layers = [m for m in make(case, parametrisation="ntk").modules() if isinstance(m, NTKLinear | NTKConv2d)]
    assert layers
    drawn = torch.cat([m.weight.detach().reshape(-1) for m in layers])
    assert abs(drawn.mean()) < 5 / math.sqrt(len(drawn))
    assert abs(drawn.var() - 1) < 5 * math.sqrt(2 / len(drawn))
    assert all(m.bias is None or not m.bias.any() for m in layers)


def test_torch_init_is_that_of_pytorch() -> None:
    ours = models.mlp(inputs=(300,), classes=2, width=(400,), init="torch", seed=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = nn.Linear(300, 400)
    dense = ours.get_submodule("dense1")
    for mine, reference in zip(dense.parameters(), theirs.parameters(), strict=True):
        # both uniform: same bounds, same quantiles
        share = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
        distance = (mine.quantile(share) - reference.quantile(share)).abs().max()
        assert distance < 0.15 / math.sqrt(300)
        assert mine.abs().max() <= 1 / math.sqrt(300)


@pytest.mark.parametrize("name", list(GAINS))
def test_gains_keep_the_mean_square(name: str) -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(300)
    z = torch.from_numpy(nodes)
    phi = {"relu": torch.relu, "tanh": torch.tanh, "gelu": torch.nn.functional.gelu}[name]
    square = (torch.from_numpy(weights / weights.sum()) * phi(z).square()).sum()
    assert math.isclose(GAINS[name] ** 2 * square, 1, rel_tol=1e-9)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_a_deep_mlp_keeps_its_signal(activation: str) -> None:
    """Ten layers of 256 units: the outputs' mean square, averaged over ten seeds, is about that of the inputs.

    Single ReLU and GELU nets of this depth scatter by a factor of about 1.6 (measured), their mean by about 1.2.
    """
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    options = {"inputs": (256,), "classes": 256, "width": 256, "depth": 10, "activation": activation}
    with torch.no_grad():
        squares = torch.stack([models.build("mlp", seed=s, **options)(x).square().mean() for s in range(10)])
    assert 0.5 < squares.mean() < 2


def test_weights_share_no_numbers_with_data_of_the_same_seed() -> None:
    model = models.build("mlp", inputs=(50,), classes=3, width=40, seed=0, parametrisation="ntk")
    x = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    weight = model.get_parameter("dense1.weight").detach()
    correlation = torch.corrcoef(torch.stack([x.reshape(-1), weight.reshape(-1)]))[0, 1]
    assert correlation.abs() < 5 / 2000**0.5


@pytest.mark.parametrize("name", ["resnet20", "wide_resnet"])
def test_a_residual_net_without_normalisation_starts_sane_and_trains(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(32, 1, 8, 8, generator=generator)
    y = torch.randint(3, (32,), generator=generator)
    options = {"depth": 28, "widen": 1} if name == "wide_resnet" else {}
    model = models.build(name, inputs=(1, 8, 8), classes=3, width=8, norm="none", **options)
    assert 0.05 < model(x).std() < 10
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(40):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_tangent_kernel_does_not_grow_with_width() -> None:
    """Trace of the NTK at width 512 over that at 64: about 1 in NTK parametrisation, about 8 in the standard one."""
    x = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))

    def trace(width: int, parametrisation: str) -> float:
        total = 0.0
        model = models.build("mlp", inputs=(16,), classes=1, width=width, parametrisation=parametrisation, depth=2)
        for sample in x:
            slopes = torch.autograd.grad(model(sample[None]).squeeze(), list(model.parameters()))
            total += sum(float(s.square().sum()) for s in slopes)
        return total

    assert 0.6 < trace(512, "ntk") / trace(64, "ntk") < 1.6
    assert trace(512, "standard") / trace(64, "standard") > 4


def test_layers_describe_themselves() -> None:
    text = repr(models.small_cnn(inputs=(1, 8, 8), classes=2, parametrisation="ntk"))
    assert "NTKConv2d(1, 12, kernel_size=3, stride=2, padding=1, bias=True" in text
    assert "NTKLinear(24, 2, bias=True" in text
