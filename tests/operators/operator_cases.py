"""One list of (model, data, loss) for every operator, and dense references in plain double backward."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from landform.landscape import Landscape

N, BATCH, CLASSES = 17, 5, 3  # a ragged last batch of 2


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.norm, self.head = nn.Linear(4, 12), nn.LayerNorm(4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.head(self.norm(x + F.scaled_dot_product_attention(q, k, v)).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.inside, self.head = kind(4, 3, batch_first=True), nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inside(x)[0][:, -1])


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, CLASSES)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.b(torch.tanh(self.a(x)))))


class Partly(nn.Module):
    """One parameter frozen, one never used."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.unused, self.head = nn.Linear(6, 5), nn.Linear(2, 2), nn.Linear(5, CLASSES)
        self.a.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.gelu(self.a(x)))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3, padding=1, stride=2)
        self.b = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.norm, self.head = nn.GroupNorm(2, 4), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.a(x))
        return self.head((x + torch.tanh(self.norm(self.b(x)))).mean((2, 3)))


def mlp(act: type[nn.Module], *norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), *norm, act(), nn.Linear(8, CLASSES))


def cnn(norm: nn.Module, act: type[nn.Module] = nn.ReLU) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), norm, act(), nn.Conv2d(4, 2, 2, dilation=2, padding=1), act(),
                         nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, CLASSES))  # fmt: skip


def batch_norm() -> nn.Module:
    model = cnn(nn.BatchNorm2d(4), nn.Tanh).double()
    model.train()(torch.randn(40, 2, 6, 6, dtype=torch.float64))  # statistics that are not those of a new layer
    return model


def custom_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean of logcosh of the difference to the one-hot label, convex, weighted by the sample's label."""
    difference = outputs - F.one_hot(targets, CLASSES)
    each = (F.softplus(2 * difference) - difference).sum(-1)
    return (each * (1 + targets)).mean()


def squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs, F.one_hot(targets, CLASSES).to(outputs.dtype))


@dataclass(frozen=True)
class Case:
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    loss: str | Callable[..., Tensor] = "cross-entropy"
    decay: float = 0.0
    smooth: bool = True
    batchnorm: Any = None


VECTOR, IMAGE, SEQUENCE = (6,), (2, 6, 6), (5, 4)
CASES = {
    "tanh": Case(lambda: mlp(nn.Tanh), VECTOR),
    "tanh, mse": Case(lambda: mlp(nn.Tanh), VECTOR, "mse"),
    "tanh, custom": Case(lambda: mlp(nn.Tanh), VECTOR, custom_loss),
    "tanh, decay": Case(lambda: mlp(nn.Tanh), VECTOR, decay=0.3),
    "relu": Case(lambda: mlp(nn.ReLU), VECTOR, smooth=False),
    "gelu": Case(lambda: mlp(nn.GELU), VECTOR),
    "layer norm": Case(lambda: mlp(nn.Tanh, nn.LayerNorm(8)), VECTOR),
    "instance norm": Case(lambda: cnn(nn.InstanceNorm2d(4, affine=True), nn.GELU), IMAGE, smooth=False),
    "group norm": Case(lambda: cnn(nn.GroupNorm(2, 4)), IMAGE, smooth=False),
    "batch norm, kept": Case(batch_norm, IMAGE, smooth=False, batchnorm="keep"),
    "residual": Case(Residual, IMAGE),
    "residual, mse": Case(Residual, IMAGE, "mse"),
    "attention": Case(Attention, SEQUENCE),
    "rnn": Case(lambda: Recurrent(nn.RNN), SEQUENCE),
    "lstm": Case(lambda: Recurrent(nn.LSTM), SEQUENCE),
    "gru": Case(lambda: Recurrent(nn.GRU), SEQUENCE),
    "tied": Case(Tied, VECTOR, custom_loss),
    "unused and frozen": Case(Partly, VECTOR, decay=0.1),
}


@dataclass(frozen=True)
class Made:
    case: Case
    model: nn.Module
    landscape: Landscape
    point: Tensor
    x: Tensor
    y: Tensor


def make(name: str, dtype: torch.dtype = torch.float64, **options: Any) -> Made:
    case = CASES[name]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = case.build().float().to(dtype)  # the same numbers in either type
        x, y = torch.randn(N, *case.shape).to(dtype), torch.randint(0, CLASSES, (N,))
    options = {"loss": case.loss, "batch_size": BATCH, "batchnorm": case.batchnorm, **options}
    landscape = Landscape(model, (x, y), device="cpu", weight_decay=case.decay, **options)
    generator = torch.Generator().manual_seed(7)
    point = landscape.here.float() + 0.1 * torch.randn(landscape.layout.size, generator=generator)
    return Made(case, model, landscape, point.to(dtype), x, y)


def _at_point(made: Made) -> tuple[nn.Module, list[nn.Parameter]]:
    model = copy.deepcopy(made.model).double().eval()
    own = [p for p in model.parameters() if p.requires_grad]
    torch.nn.utils.vector_to_parameters(made.point.double(), own)
    return model, own


def _value(made: Made) -> Callable[[Tensor, Tensor], Tensor]:
    if callable(made.case.loss):
        return made.case.loss
    return F.cross_entropy if made.case.loss == "cross-entropy" else squares


@contextmanager
def _plain_recurrence() -> Iterator[None]:
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


def _rows(of: Tensor, by: list[Tensor]) -> Tensor:
    """The Jacobian of a vector, row by row."""
    rows = []
    for value in of.reshape(-1):
        grads = torch.autograd.grad(value, by, retain_graph=True, allow_unused=True) if value.requires_grad else [None]
        rows.append(torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1)
                               for g, p in zip(grads, by, strict=True)]))  # fmt: skip
    return torch.stack(rows)


def dense_hessian(made: Made) -> Tensor:
    """Full batch, in float64, one row at a time; attention and recurrent layers by plain operations."""
    model, own = _at_point(made)
    with sdpa_kernel(SDPBackend.MATH), _plain_recurrence():
        loss = _value(made)(model(made.x.double()), made.y)
        grads = torch.autograd.grad(loss, own, create_graph=True, allow_unused=True, materialize_grads=True)
        rows = []
        for g, p in zip(grads, own, strict=True):
            if not g.requires_grad:
                rows.append(torch.zeros(p.numel(), made.point.numel(), dtype=torch.float64))
                continue
            rows.append(_rows(g, own))
    return torch.cat(rows) + made.case.decay * torch.eye(made.point.numel(), dtype=torch.float64)


def explicit_jacobian(made: Made) -> Tensor:
    """Rows for each sample and output, ``[N * K, P]``."""
    model, own = _at_point(made)
    return _rows(model(made.x.double()), own)


def loss_hessian(made: Made) -> Tensor:
    """Of the mean loss by all outputs, ``[N * K, N * K]``."""
    model, _ = _at_point(made)
    z = model(made.x.double()).detach()
    found = torch.autograd.functional.hessian(lambda z: _value(made)(z, made.y), z)
    return found.reshape(z.numel(), z.numel())


def relative(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())
