"""Closed forms against neural-tangents, quadrature, sampled networks, and what must hold of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landform.errors import BadInput
from landform.kernel.infinite import ACTIVATIONS, Convolution, convolutional, dense, dual

TABLE = json.loads(Path(__file__).with_name("infinite_reference.json").read_text())
NAMED = {key: torch.tensor(TABLE[key], dtype=torch.float64) for key in ("flat", "flat2", "images", "images2")}
SPREADS = {"sigma_w": 1.3, "sigma_b": 0.2, "readout": (1.1, 0.3)}


@pytest.mark.parametrize("case", TABLE["cases"], ids=lambda c: "-".join(str(v) for v in list(c.values())[:4]))
def test_values_of_neural_tangents(case) -> None:
    if case["kind"] == "dense":
        options = {"activation": case["activation"], "depth": case["depth"]}
        found = dense(NAMED["flat"], NAMED["flat2"], **options, **SPREADS)
    else:
        layers = (Convolution(3, case["stride"], case["padding"]), Convolution(3))
        options = {"layers": layers, "pooling": case["kind"], "activation": case["activation"]}
        found = convolutional(NAMED["images"], NAMED["images2"], **options, **SPREADS)
    for name in ("nngp", "ntk"):
        expected = torch.tensor(case[name], dtype=torch.float64)
        torch.testing.assert_close(getattr(found, name), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("zeros", "named"), [(0, "valid"), (1, "same")])
def test_padding_by_a_number_of_zeros(zeros: int, named: str) -> None:
    counted, by_name = (convolutional(NAMED["images"], layers=(Convolution(3, padding=p),)) for p in (zeros, named))
    torch.testing.assert_close(counted.ntk, by_name.ntk)


@pytest.mark.parametrize("name", ["erf", "gelu"])
def test_closed_duals_are_quadrature(name) -> None:
    phi = {"erf": torch.erf, "gelu": torch.nn.functional.gelu}[name]
    k11, k22 = torch.tensor([0.3, 1.0, 2.0]).double(), torch.tensor([1.5, 1.0, 0.7]).double()
    k12 = torch.tensor([-0.9, 0.2, 0.99]).double() * (k11 * k22).sqrt()
    for ours, theirs in zip(ACTIVATIONS[name](k12, k11, k22), dual(phi)(k12, k11, k22), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_a_sampled_network_of_width_4096() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 6)
    found = dense(x, depth=1, sigma_w=1.3, sigma_b=0.2)
    draws, ntks, nngps, width = 12, [], [], 4096
    for _ in range(draws):
        w, b, v = (torch.randn(*s, requires_grad=True) for s in ((width, 6), (width,), (width,)))
        shift = torch.randn((), requires_grad=True)
        hidden = torch.relu(1.3 / math.sqrt(6) * x @ w.T + 0.2 * b)
        out = 1.3 / math.sqrt(width) * hidden @ v + 0.2 * shift
        rows = [
            torch.cat([g.flatten() for g in torch.autograd.grad(o, (w, b, v, shift), retain_graph=True)]) for o in out
        ]
        jacobian = torch.stack(rows)
        ntks.append(jacobian @ jacobian.T)
        nngps.append((1.3**2 * hidden @ hidden.T / width + 0.04).detach())
    for many, exact in ((ntks, found.ntk), (nngps, found.nngp)):
        stack = torch.stack(many)
        error = stack.std(0) / math.sqrt(draws)
        assert bool(((stack.mean(0) - exact).abs() < 5 * error + 1e-5).all())


@pytest.mark.parametrize("activation", ["relu", "erf", "gelu"])
@pytest.mark.parametrize("kind", ["dense", "flatten", "mean"])
def test_slopes_are_finite_where_inputs_meet(kind, activation) -> None:
    x = NAMED["images"].clone().requires_grad_()
    other = torch.cat([NAMED["images"][:1], torch.zeros_like(NAMED["images"][:1])])

    def kernel(a, b=None):
        if kind == "dense":
            return dense(a, b, depth=3, activation=activation).ntk
        return convolutional(a, b, pooling=kind, activation=activation).ntk

    for value in (kernel(x), kernel(x, other)):
        (slope,) = torch.autograd.grad(value.sum(), x)
        assert bool(torch.isfinite(slope).all())
    # On the diagonal the slope is that of the sum over both places.
    small = x.detach()[:1].clone().requires_grad_()
    (slope,) = torch.autograd.grad(kernel(small).sum(), small)
    step = 1e-4 * torch.ones_like(small)
    with torch.no_grad():
        expected = (kernel(small + step) - kernel(small - step)).sum() / 2e-4
    torch.testing.assert_close(slope.sum(), expected, rtol=1e-5, atol=1e-7)


def test_float32_diagonal_is_exact() -> None:
    x = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    wide = dense(x.double(), depth=5).ntk.diagonal()
    for found in (dense(x, depth=5).ntk, dense(x, x.clone(), depth=5).ntk, dense(x, depth=5, dtype=torch.float32).ntk):
        torch.testing.assert_close(found.diagonal().double(), wide, rtol=1e-6, atol=0)


@pytest.mark.parametrize("pooling", ["flatten", "mean"])
def test_tiles_change_nothing(pooling) -> None:
    x = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    whole, cut = convolutional(x, pooling=pooling), convolutional(x, x.clone(), pooling=pooling, memory=110_000)
    torch.testing.assert_close(cut.ntk, whole.ntk, rtol=1e-7, atol=1e-9)
    with pytest.raises(BadInput, match="One pair"):
        convolutional(x, pooling=pooling, memory=10)


@given(st.integers(0, 10_000), st.integers(0, 4), st.sampled_from(["relu", "erf", "gelu", "leaky_relu:0.2"]))
def test_what_holds_of_every_dense_kernel(seed, depth, activation) -> None:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(6, 4, generator=draw, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=draw, dtype=torch.float64))[0]
    found, turned = dense(x, depth=depth, activation=activation), dense(x @ turn, depth=depth, activation=activation)
    for k, other in ((found.ntk, turned.ntk), (found.nngp, turned.nngp)):
        assert torch.equal(k, k.T)
        assert float(torch.linalg.eigvalsh(k)[0]) > -1e-9 * float(k.diagonal().max())
        torch.testing.assert_close(k, other, rtol=1e-7, atol=1e-9)
    if "relu" in activation:
        torch.testing.assert_close(
            dense(3 * x, x, depth=depth, activation=activation).ntk,
            3 * dense(x, x.clone(), depth=depth, activation=activation).ntk,
            rtol=1e-6,
            atol=1e-9,
        )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: dense(x, depth=-1), "depth"),
        (lambda x: dense(x, activation="tan"), "Unknown activation"),
        (lambda x: dense(x, activation="leaky_relu:a"), "with a number"),
        (lambda x: dense(x, sigma_w=-1), "standard deviation"),
        (lambda x: dense(x, x[:, :2]), "one shape"),
        (lambda x: dense(x / 0), "NaN"),
        (lambda x: convolutional(x), "images"),
        (lambda x: convolutional(x[None, None], layers=(Convolution(7, padding="valid"),)), "do not fit"),
        (lambda x: convolutional(x[None, None], layers=(Convolution(2, padding=-1),)), "number of zeros"),
    ],
)
def test_misuse_is_told(call, said) -> None:
    with pytest.raises(BadInput, match=said):
        call(torch.zeros(3, 4))
