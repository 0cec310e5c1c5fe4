"""Models that use their parameters in every way there is a rule for, and in ways there is none for."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Tied(nn.Module):
    """An embedding that is also the read-out, and weights used by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8, padding_idx=3)
        self.dense = nn.Linear(8, 8)
        self.places = nn.Parameter(torch.randn(5, 8))
        self.matrix = nn.Parameter(torch.randn(8, 8))
        self.gain = nn.Parameter(torch.randn(()))
        self.readout = nn.Linear(8, 11, bias=False)
        self.readout.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        h = self.table(x) + self.places
        h = h + torch.tanh(self.dense(h))
        h = (h @ self.matrix) * self.gain
        out: Tensor = self.readout(h @ self.matrix.T)
        return out


class Across(nn.Module):
    """Attention to something else, so that its projection is used in three blocks of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        other = x[:, :3].sin()
        out: Tensor = self.norm(self.attend(x, other, other, need_weights=False)[0])
        return out


class Recurrent(nn.Module):
    """One of torch's recurrent layers."""

    def __init__(self, kind: type[nn.RNNBase], **options: object) -> None:
        super().__init__()
        self.layer = kind(8, 6, num_layers=2, batch_first=True, **options)  # type: ignore[arg-type]
        self.readout = nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.readout(self.layer(x)[0][:, -1])
        return out


class Pictures(nn.Module):
    """Convolutions of every make, norms, a residual, an activation in place, a pooled read-out."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.batch = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, padding="same", dilation=2, groups=2)
        self.point = nn.Conv2d(8, 4, 1)
        self.group = nn.GroupNorm(2, 4)
        self.round = nn.Conv2d(4, 6, (3, 2), padding=(1, 0), padding_mode="circular")
        self.readout = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.batch(self.first(x)), inplace=True)
        h = h + F.relu(self.grouped(h))
        h = F.gelu(self.round(self.group(self.point(h))))
        out: Tensor = self.readout(h.mean((2, 3)))
        return out


class Waves(nn.Module):
    """One axis, weight norm, a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.along = nn.Conv1d(8, 6, 3, padding=1, stride=2, bias=False)
        self.back = nn.ConvTranspose1d(6, 6, 3)
        self.readout = nn.utils.parametrizations.weight_norm(nn.Linear(6, 2))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.readout(F.gelu(self.back(self.along(x.transpose(1, 2)))).mean(2))
        return out


def _sequence() -> Tensor:
    return torch.randn(5, 6, 8)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "tied": (Tied, lambda: torch.randint(0, 11, (5, 5))),
    "across": (Across, _sequence),
    "rnn": (lambda: Recurrent(nn.RNN, nonlinearity="relu"), _sequence),
    "gru": (lambda: Recurrent(nn.GRU, bias=False), _sequence),
    "lstm": (lambda: Recurrent(nn.LSTM, bidirectional=True), _sequence),
    "lstm projected": (lambda: Recurrent(nn.LSTM, proj_size=4, bias=False), _sequence),
    "pictures": (Pictures, lambda: torch.randn(5, 3, 9, 9)),
    "waves": (Waves, _sequence),
    "volumes": (
        lambda: nn.Sequential(
            nn.Conv3d(2, 3, 2, stride=(1, 2, 1), bias=True), nn.Tanh(), nn.Flatten(), nn.Linear(36, 2)
        ),
        lambda: torch.randn(5, 2, 3, 4, 4),
    ),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), _sequence),
}


def made(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    """A model in evaluation mode, and inputs for it."""
    torch.manual_seed(0)
    make, inputs = MODELS[name]
    model, x = make(), inputs()
    with torch.no_grad():
        model(x)  # lazy layers take their shapes
    model = model.to(dtype).eval()
    return model, x.to(dtype) if x.is_floating_point() else x


def plain_jacobian(model: nn.Module, x: Tensor) -> Tensor:
    """Gradients of every output of every sample, one backward pass each, ``[N, K, P]``."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    samples = []
    for one in torch.split(x, 1):
        outputs = model(one).flatten()
        rows = [
            torch.autograd.grad(out, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
            for out in outputs
        ]
        samples.append(torch.stack([torch.cat([g.flatten() for g in row]) for row in rows]))
    return torch.stack(samples)
