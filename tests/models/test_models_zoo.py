"""What holds for every model: shape, seed, gradients, and running as a function of the parameters."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn.attention import SDPBackend, sdpa_kernel
from zoo_cases import CASES, CLASSES, batch, make

from landform import models

BOTH = pytest.mark.parametrize("parametrisation", ["standard", "ntk"])
ALL = pytest.mark.parametrize("case", CASES)


def test_the_cases_cover_every_name() -> None:
    # Angles have no width and no second parametrisation: the quantum networks have a file of their own.
    assert {name for name, _, _ in CASES.values()} | {"quantum_patches"} == set(models.names())
    assert all(callable(getattr(models, name)) for name in models.names())


@ALL
@BOTH
def test_outputs_have_the_stated_shape(case: str, parametrisation: str) -> None:
    y = make(case, parametrisation=parametrisation)(batch(case, 4, torch.float32))
    front = (4, *CASES[case][1]) if case.startswith("transformer") else (4,)
    assert y.shape == (*front, CLASSES)
    assert y.dtype == torch.float32
    assert y.isfinite().all()


@ALL
def test_parameters_are_a_function_of_the_seed_alone(case: str) -> None:
    first = make(case, seed=3).state_dict()
    torch.manual_seed(1234)
    before = torch.get_rng_state()
    with torch.device("meta"):  # neither the default device nor the default type matters
        torch.set_default_dtype(torch.float64)
        try:
            again = make(case, seed=3)
        finally:
            torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), before)
    assert again.state_dict().keys() == first.keys()
    for name, tensor in again.state_dict().items():
        assert tensor.dtype == first[name].dtype
        assert tensor.device.type == "cpu"
        assert torch.equal(tensor, first[name])
    other = dict(make(case, seed=4).named_parameters())
    drawn = [name for name, p in again.named_parameters() if p.std() > 0 or p.numel() == 1]
    assert drawn
    assert not any(torch.equal(other[name], first[name]) for name in drawn)


@ALL
@BOTH
def test_a_gradient_reaches_every_parameter(case: str, parametrisation: str) -> None:
    model = make(case, parametrisation=parametrisation).double().train()
    x = batch(case, 8)
    torch.manual_seed(0)
    weights = torch.randn(model(x).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (model(x) * weights).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@ALL
@BOTH
def test_a_stack_of_three_equals_a_loop(case: str, parametrisation: str) -> None:
    nets = [make(case, seed=s, parametrisation=parametrisation).double().eval() for s in range(3)]
    for i, net in enumerate(nets):  # running statistics and scales that differ too
        _shake(net, i)
    x = batch(case)
    parameters, buffers = stack_module_state(nets)
    skeleton = copy.deepcopy(nets[0])

    def run(p: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        y: Tensor = functional_call(skeleton, (p, b), (x,))
        return y

    with sdpa_kernel(SDPBackend.MATH):
        together = torch.vmap(run)(parameters, buffers)
        torch.testing.assert_close(together, torch.stack([net(x) for net in nets]))


@ALL
@BOTH
def test_second_derivatives_agree_with_differences_of_gradients(case: str, parametrisation: str) -> None:
    # tanh where the model allows: a difference across a kink of a ReLU is no derivative
    smooth = {} if "linear" in case else {"activation": "tanh"}
    model = make(case, parametrisation=parametrisation, **smooth).double().eval()
    x = batch(case)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(5)
    direction = {
        n: torch.randn(p.shape, generator=generator, dtype=torch.float64) / p.numel() ** 0.5
        for n, p in parameters.items()
    }

    def gradient(at: dict[str, Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
        leaves = {n: p.clone().requires_grad_() for n, p in at.items()}
        loss = functional_call(model, leaves, (x,)).square().mean()
        return list(torch.autograd.grad(loss, list(leaves.values()), create_graph=True)), leaves

    with sdpa_kernel(SDPBackend.MATH):
        slope, leaves = gradient(parameters)
        along = sum((g * v).sum() for g, v in zip(slope, direction.values(), strict=True))
        product = torch.autograd.grad(along, list(leaves.values()), allow_unused=True, materialize_grads=True)
        step = 1e-6
        ahead, behind = (gradient({n: p + s * step * direction[n] for n, p in parameters.items()})[0] for s in (1, -1))
    found = torch.cat([p.reshape(-1) for p in product])
    expected = torch.cat([((a - b) / (2 * step)).detach().reshape(-1) for a, b in zip(ahead, behind, strict=True)])
    assert expected.norm() > 0
    assert (found - expected).norm() <= 1e-5 * expected.norm()


@ALL
def test_no_module_works_in_place(case: str) -> None:
    model = make(case).eval()
    x = batch(case, dtype=torch.float32)
    kept = x.clone()
    model(x)
    assert torch.equal(x, kept)
    assert not any(getattr(module, "inplace", False) for module in model.modules())


@ALL
def test_evaluation_does_not_depend_on_the_rest_of_the_batch(case: str) -> None:
    model = make(case).double().eval()
    x = batch(case, 4)
    torch.testing.assert_close(model(x)[2:3], model(x[2:3]))


@pytest.mark.parametrize("case", ["mlp-dropout", "wide-none", "transformer-tied"])
def test_dropout_acts_in_training_only(case: str) -> None:
    model = make(case)
    x = batch(case, dtype=torch.float32)
    torch.manual_seed(0)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def _shake(net: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.2 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype))
