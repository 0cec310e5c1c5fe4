"""Per-sample quantities against gradients taken one sample at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from landform.curvature import exact_trace, gradient_noise, logit_cosines, piecewise_linear
from landform.errors import BadInput
from landform.landscape import Landscape


class Twice(nn.Module):
    """One layer used twice: its weight meets itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.inner(torch.relu(self.inner(x.flatten(1))))))


class ByHand(nn.Module):
    """Parameters that no layer owns, so that no rule covers them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(16, 6) / 4)
        self.last = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(x.flatten(1) @ self.first))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 4)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.one(x))
        return self.head((x + self.act(self.two(x))).mean((2, 3)))


def nets() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    flat = nn.Flatten()
    return {
        "relu": nn.Sequential(flat, nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)),
        "tanh": nn.Sequential(flat, nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4)),
        "conv": nn.Sequential(
            nn.Conv2d(1, 4, 3, padding="same"),
            nn.LeakyReLU(),
            nn.Conv2d(4, 4, 2, stride=2, groups=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            flat,
            nn.Linear(4, 4),
        ),
        "conv1d": nn.Sequential(nn.Flatten(2), nn.Conv1d(1, 3, 3, padding=1), nn.ReLU(), flat, nn.Linear(48, 4)),
        "batchnorm": nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), flat, nn.Linear(16, 4)),
        "groupnorm": nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), flat, nn.Linear(16, 4)),
        "layernorm": nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), flat, nn.Linear(16, 4)),
        "prelu": nn.Sequential(flat, nn.Linear(16, 8), nn.PReLU(), nn.Linear(8, 4)),
        "twice": Twice(),
        "by hand": ByHand(),
        "residual": Residual(),
    }


BENT = {
    "tanh": "Tanh",
    "groupnorm": "GroupNorm",
    "layernorm": "LayerNorm",
    "twice": "depends on itself",
}


def made(name: str, loss: str = "cross-entropy", samples: int = 21) -> tuple[Landscape, Tensor, Tensor, nn.Module]:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(samples, 1, 4, 4, generator=draw, dtype=torch.float64)
    y = torch.arange(samples) % 4
    net = nets()[name].double().eval()
    norm = "keep" if name == "batchnorm" else None
    return Landscape(net, (x, y), loss=loss, batch_size=8, batchnorm=norm, device="cpu"), x, y, net


def output_hessian(landscape: Landscape, logits: Tensor, label: Tensor) -> Tensor:
    return torch.autograd.functional.hessian(lambda z: landscape._loss(z[None], label[None]), logits)


def plain(landscape: Landscape, x: Tensor, y: Tensor, net: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Jacobian ``[N, C, P]``, Hessians over outputs ``[N, C, C]``, Hessian ``[P, P]``, the long way."""

    def outputs(point: Tensor) -> Tensor:
        return functional_call(net, landscape.layout.views(point), x)

    point = landscape.here
    logits = outputs(point).detach()
    inner = torch.stack([output_hessian(landscape, z, t) for z, t in zip(logits, y, strict=True)])
    whole = torch.autograd.functional.hessian(lambda p: landscape._loss(outputs(p), y), point)
    return jacrev(outputs)(point), inner, whole


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
@pytest.mark.parametrize("name", list(nets()))
def test_exact_traces(name: str, loss: str) -> None:
    landscape, x, y, net = made(name, loss)
    J, inner, H = plain(landscape, x, y, net)
    diagonal = torch.einsum("ncp,ncd,ndp->p", J, inner, J) / len(x)
    found = exact_trace(landscape, landscape.here)
    assert found.value == pytest.approx(float(diagonal.sum()), rel=1e-9)
    assert found.samples == len(x)
    assert found.backward_passes == (3 if loss == "cross-entropy" else 4)
    for slot in landscape.layout.slots:
        own = float(diagonal[slot.start : slot.stop].sum())
        assert found.layers[slot.name] == pytest.approx(own, rel=1e-8, abs=1e-12)
    why = piecewise_linear(landscape, landscape.here)
    agree = float(H.trace()) == pytest.approx(found.value, rel=1e-9)
    if name in BENT:
        assert BENT[name] in str(why)
        assert not agree
        with pytest.raises(BadInput, match="differ here, because"):
            exact_trace(landscape, landscape.here, of="hessian")
    else:
        assert why is None
        assert agree
        assert exact_trace(landscape, landscape.here, of="hessian").value == found.value


def test_weight_decay_counts() -> None:
    landscape, *_ = made("relu")
    decayed = Landscape(
        landscape._model, (landscape._data.inputs, landscape._data.targets), weight_decay=0.1, device="cpu"
    )
    for of in ("hessian", "gauss-newton"):
        without = exact_trace(landscape, landscape.here, of=of).value
        found = exact_trace(decayed, decayed.here, of=of).value
        assert found == pytest.approx(without + 0.1 * landscape.layout.size)
    assert found == pytest.approx(float(decayed.gauss_newton(decayed.here).dense().trace()))


def single(landscape: Landscape) -> Tensor:
    """Gradients of single samples, ``[n, P]``."""
    return torch.stack([landscape.subset([i]).gradient(landscape.here) for i in range(len(landscape._data))])


@pytest.mark.parametrize("name", ["relu", "conv", "layernorm", "by hand"])
def test_gradient_noise(name: str) -> None:
    landscape, *_ = made(name)
    g = single(landscape).numpy()
    found = gradient_noise(landscape, landscape.here)
    centred = g - g.mean(0)
    truth = np.sort(np.linalg.eigvalsh(centred @ centred.T / len(g)))[::-1][: len(g) - 1]
    np.testing.assert_allclose(found.eigenvalues.numpy(), truth, atol=1e-12)
    assert found.trace == pytest.approx((centred**2).sum(1).mean())
    products = g @ g.T
    other = ~np.eye(len(g), dtype=bool)
    cosines = (products / np.outer(np.linalg.norm(g, axis=1), np.linalg.norm(g, axis=1)))[other]
    assert found.confusion == pytest.approx(products[other].min())
    assert found.least_cosine == pytest.approx(cosines.min())
    assert found.mean_cosine == pytest.approx(cosines.mean())
    assert found.opposed == pytest.approx((cosines < 0).mean())
    assert found.signal == pytest.approx(products[other].mean())
    assert found.coherence.value == pytest.approx(products[other].mean() / (g**2).sum(1).mean())
    assert found.coherence.standard_error > 0
    assert 1 <= found.effective_rank <= len(g)
    assert replace(found, trace=1.0, signal=0.5).scale == 2.0
    assert replace(found, trace=1.0, signal=-0.5).scale == float("inf")  # no signal above the noise


def test_logit_cosines() -> None:
    landscape, x, y, net = made("relu")
    J, *_ = plain(landscape, x, y, net)
    unit = J / J.norm(dim=2, keepdim=True)
    same, every, different = [], [], []
    for i in range(len(x)):
        for j in range(len(x)):
            if i == j:
                continue
            cosines = unit[i] @ unit[j].T
            every += cosines.diagonal().tolist()
            different += [float(cosines[a, b]) for a in range(4) for b in range(4) if a != b]
            if y[i] == y[j]:
                same.append(float(cosines[y[i], y[i]]))
    found = logit_cosines(landscape, landscape.here)
    assert found.same_logit_same_class == pytest.approx(np.mean(same))
    assert found.same_logit == pytest.approx(np.mean(every))
    assert found.different_logit == pytest.approx(np.mean(different))
    assert (found.samples, found.classes) == (21, 4)
    assert logit_cosines(landscape, landscape.here, samples=9).samples == 9


def test_misuse() -> None:
    landscape, x, y, net = made("relu")
    with pytest.raises(BadInput, match="samples is 1"):
        gradient_noise(landscape, landscape.here, samples=1)
    with pytest.raises(BadInput, match="of is"):
        exact_trace(landscape, landscape.here, of="fisher")
    with pytest.raises(BadInput, match="not labels"):
        logit_cosines(Landscape(net, (x, torch.randn(21, 4)), loss="mse", device="cpu"), landscape.here)
    together, *_ = made("batchnorm")
    batch = Landscape(together._model, (x, y), batchnorm="batch", device="cpu")
    with pytest.raises(BadInput, match="share statistics"):
        exact_trace(batch, batch.here)

    def contrast(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - outputs.mean(0)).square().mean()

    with pytest.raises(BadInput, match="depends on others"):
        exact_trace(Landscape(net, (x, y), loss=contrast, device="cpu"), landscape.here)
    with pytest.raises(BadInput, match="linear in the outputs"):
        exact_trace(Landscape(net, (x, y), loss=lambda z, t: z.mean(), device="cpu"), landscape.here)
