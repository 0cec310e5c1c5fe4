"""Gradients of single samples against one backward pass for each."""

from __future__ import annotations

import pytest
import torch
from sample_models import MODELS, made, plain_jacobian
from torch import Tensor, nn

import landform as lf
from landform.per_sample import Rules


def _landscape(model: nn.Module, x: Tensor) -> lf.Landscape:
    with torch.no_grad():
        targets = torch.zeros_like(model(x))
    norms = any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    return lf.Landscape(model, (x, targets), loss="mse", batchnorm="keep" if norms else None)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", MODELS)
def test_rules_give_the_gradients_of_plain_backward_passes(name: str) -> None:
    model, x = made(name)
    landscape = _landscape(model, x)
    rules = Rules(landscape, landscape.here, (x, None))
    passed = rules((x, None))
    along = torch.randn(3, len(x), rules.outputs, dtype=x.dtype if x.is_floating_point() else torch.float64)
    parts = passed.pull(along)
    expected = torch.einsum("kbo,bop->bkp", along, plain_jacobian(model, x))
    found = torch.cat([parts[n].rows() for n in landscape.layout.names], -1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    squares = torch.stack([parts[n].squares() for n in landscape.layout.names]).sum(0)
    torch.testing.assert_close(squares, expected.square().sum(-1), rtol=1e-9, atol=1e-10)
    weights = torch.randn(2, len(x), dtype=torch.float64)
    total = torch.cat([parts[n].total(weights) for n in landscape.layout.names], -1)
    torch.testing.assert_close(total, torch.einsum("wb,bkp->wkp", weights, expected), rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", MODELS)
def test_layers_hold_every_parameter_once(name: str) -> None:
    model, x = made(name)
    landscape = _landscape(model, x)
    rules = Rules(landscape, landscape.here, (x, None))
    passed = rules((x, None))
    layers = list(passed.pull_layers(torch.ones(1, len(x), rules.outputs, dtype=torch.float64)))
    held = [n.split("[")[0] for layer in layers for n in (layer.weight, layer.bias) if n is not None]
    assert set(held) == set(landscape.layout.names)
    blocks = sum("[" in layer.weight for layer in layers) + sum(
        layer.bias is not None and "[" in layer.weight for layer in layers
    )
    assert len(held) == len(landscape.layout.names) + blocks


def test_heavy_layers_have_rules_and_only_small_parameters_do_not() -> None:
    model, x = made("encoder")
    landscape = _landscape(model, x)
    kinds = Rules(landscape, landscape.here, (x, None)).kinds
    assert kinds["self_attn.in_proj_weight"] == "dense"
    assert kinds["linear1.bias"] == "bias"
    assert {name for name, kind in kinds.items() if kind == "each sample anew"} == {
        "norm1.weight",
        "norm1.bias",
        "norm2.weight",
        "norm2.bias",
    }


def test_the_model_and_the_global_generator_are_left_alone() -> None:
    model, x = made("pictures", torch.float32)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    state = torch.get_rng_state()
    landscape = _landscape(model, x)
    rules = Rules(landscape, landscape.here, (x, None))
    list(rules((x, None)).pull_layers(torch.ones(1, len(x), 5)))
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(state, torch.get_rng_state())


class _Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x) if float(x.sum()) > 0 else -self.layer(x)
        return out


def test_branches_on_values_are_refused_in_one_sentence() -> None:
    landscape = lf.Landscape(_Branching(), (torch.randn(4, 4), torch.zeros(4, 2)), loss="mse")
    with pytest.raises(lf.BadInput, match="sample by sample"):
        Rules(landscape, landscape.here, (torch.randn(4, 4), None))


def test_statistics_of_the_batch_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    landscape = lf.Landscape(model, (torch.randn(8, 4), torch.zeros(8, 2)), loss="mse", batchnorm="batch")
    with pytest.raises(lf.BadInput, match="batchnorm='keep'"):
        Rules(landscape, landscape.here, (torch.randn(4, 4), None))
