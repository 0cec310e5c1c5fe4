"""Small models of every shape that symmetries have to be found in, beside those of the zoo."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landform as lf


def images() -> Tensor:
    return torch.randn(7, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def vectors() -> Tensor:
    return torch.randn(7, 5, generator=torch.Generator().manual_seed(1))


def sequences() -> Tensor:
    return torch.randn(7, 6, 5, generator=torch.Generator().manual_seed(2))


def texts() -> Tensor:
    return torch.randint(0, 5, (7, 6), generator=torch.Generator().manual_seed(3))


def landscape(model: nn.Module, inputs: Tensor, dtype: torch.dtype = torch.float64) -> lf.Landscape:
    with torch.no_grad():
        outputs = model.eval()(inputs)
    classes = outputs.shape[-1]
    targets = torch.randint(0, classes, outputs.shape[:-1], generator=torch.Generator().manual_seed(4))
    return lf.Landscape(model, (inputs, targets), device="cpu", dtype=dtype)


def zoo() -> dict[str, Callable[[], tuple[nn.Module, Tensor]]]:
    """Every model of the zoo, in its forms."""

    def image(name: str, **options: object) -> Callable[[], tuple[nn.Module, Tensor]]:
        return lambda: (lf.models.build(name, inputs=(3, 16, 16), classes=3, **options), images())

    found: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
        "mlp": lambda: (lf.models.mlp(inputs=(5,), classes=3, width=8), vectors()),
        "mlp layer ntk": lambda: (
            lf.models.mlp(inputs=(5,), classes=3, width=8, norm="layer", parametrisation="ntk"),
            vectors(),
        ),
        "lenet": image("lenet"),
        "resnet18": image("resnet18", width=4),
        "transformer": lambda: (lf.models.transformer(inputs=(6,), classes=5, width=8, heads=2), texts()),
        "transformer tied": lambda: (
            lf.models.transformer(inputs=(6,), classes=5, width=8, heads=4, tied=True, parametrisation="ntk"),
            texts(),
        ),
        "rnn": lambda: (lf.models.rnn(inputs=(6, 5), classes=3, width=6, depth=2), sequences()),
        "rnn masked": lambda: (lf.models.rnn(inputs=(6, 5), classes=3, width=6, masked=True), sequences()),
    }
    for norm in ("none", "batch", "group"):
        found[f"small_cnn {norm}"] = image("small_cnn", width=8, norm=norm, head="flatten")
        found[f"vgg11 {norm}"] = image("vgg11", width=4, norm=norm)
        found[f"resnet20 {norm}"] = image("resnet20", width=8, norm=norm)
        found[f"resnet20 pad {norm}"] = image("resnet20", width=4, norm=norm, shortcut="pad")
        found[f"wide_resnet {norm}"] = image("wide_resnet", width=4, widen=2, depth=10, norm=norm)
    return found


class SelfAttention(nn.Module):
    """torch's own attention on a residual stream."""

    def __init__(self, separate: bool = False) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(5, 8), nn.Linear(8, 3)
        options = {"kdim": 8, "vdim": 8} if separate else {}
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        if separate:  # other sizes would give three matrices; the same do it when told that they differ
            self.attention._qkv_same_embed_dim = False
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                self.attention.register_parameter(name, nn.Parameter(torch.randn(8, 8)))
            self.attention.register_parameter("in_proj_weight", None)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        return self.leave(h + self.attention(h, h, h, need_weights=False)[0])


class VisionAttention(nn.Module):
    """Queries, keys and values cut out of one tensor of five axes, a class token, a table of positions."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.enter, self.project = nn.Linear(5, 12), nn.Linear(12, 36)
        self.contract, self.leave = nn.Linear(12, 12), nn.Linear(12, 3)
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.positions = nn.Parameter(torch.randn(1, 7, 12))
        self.norm = nn.LayerNorm(4) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = torch.cat([self.token.expand(len(x), -1, -1), self.enter(x)], 1) + self.positions
        batch, length, width = h.shape
        q, k, v = self.project(h).reshape(batch, length, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (self.norm(q) @ self.norm(k).transpose(-2, -1) / 2).softmax(-1)
        return self.leave((h + self.contract((weights @ v).transpose(1, 2).reshape(batch, length, width)))[:, 0])


class Rotary(nn.Module):
    """Rotated queries and keys, and two heads that share one head of keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.q, self.k, self.v = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 4)
        self.contract, self.leave = nn.Linear(8, 8), nn.Linear(8, 3)
        angles = torch.outer(torch.arange(6.0), torch.tensor([1.0, 0.1])).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def turn(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        return x * self.cos + torch.cat([-b, a], -1) * self.sin

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        batch, length, _ = h.shape
        q, k, v = (f(h).view(batch, length, -1, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        k, v = self.turn(k).repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        mixed = F.scaled_dot_product_attention(self.turn(q), k, v, is_causal=True)
        return self.leave(h + self.contract(mixed.transpose(1, 2).reshape(batch, length, 8)))


class Experts(nn.Module):
    """Stacked experts, weighed by a router."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.router, self.leave = nn.Linear(5, 8), nn.Linear(8, 4), nn.Linear(8, 3)
        self.up, self.down = nn.Parameter(torch.randn(4, 8, 6)), nn.Parameter(torch.randn(4, 6, 8))

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        inner = torch.einsum("bth,ehf->betf", h, self.up).relu()
        each = torch.einsum("betf,efh->beth", inner, self.down)
        return self.leave(h + torch.einsum("beth,bte->bth", each, self.router(h).softmax(-1)))


class Recurrent(nn.Module):
    """torch's own recurrent layers, two of them, both ways."""

    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.layers, self.leave = kind(5, 4, batch_first=True, num_layers=2, bidirectional=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.layers(x)[0][:, -1])


class Concatenated(nn.Module):
    """Each layer reads the inputs and all layers before it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(7, 5, 3, padding=1)
        self.norm, self.leave = nn.BatchNorm2d(12), nn.Linear(12 * 64, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, self.one(x).relu()], 1)
        x = torch.cat([x, self.two(x).relu()], 1)
        return self.leave(F.avg_pool2d(self.norm(x).relu(), 2).flatten(1))


class InPlace(nn.Module):
    """Results written into a tensor of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.parts, self.leave = nn.ModuleList(nn.Linear(5, 4) for _ in range(3)), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros(len(x), 12, dtype=x.dtype)
        for i, part in enumerate(self.parts):
            out[:, 4 * i : 4 * i + 4] = part(x)
        return self.leave(out.relu_())


class Gated(nn.Module):
    """A gated branch on a residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.gate, self.down, self.leave = (nn.Linear(*s) for s in ((5, 8), (8, 20), (10, 8), (8, 3)))

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        return self.leave(h + self.down(F.glu(self.gate(h))))


class Neighbours(nn.Module):
    """Units that know where they stand."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.inner, self.leave = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        return self.leave(self.inner(h.roll(1, -1) + h.flip(-1)).relu())


class Unknown(nn.Module):
    """A Fourier transform over the units."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.inner, self.leave = nn.Linear(5, 8), nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.inner(torch.fft.rfft(self.enter(x)).real).relu())


def convolutions(*middle: nn.Module, last: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *middle, nn.Flatten(), nn.Linear(last, 3))


# For each the shapes of the permutations of its groups, sorted; a model with inputs.
Case = tuple[Callable[[], nn.Module], Callable[[], Tensor], list[tuple[int, ...]]]
OTHERS: dict[str, Case] = {
    "attention": (SelfAttention, sequences, [(2,), (2, 4), (2, 4), (8,)]),
    "attention of three matrices": (lambda: SelfAttention(True), sequences, [(2,), (2, 4), (2, 4), (8,)]),
    "encoder layer": (
        lambda: nn.Sequential(
            nn.Linear(5, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 3)
        ),
        sequences,
        [(2,), (2, 4), (2, 4), (8,), (16,)],
    ),
    "vision": (VisionAttention, sequences, [(3,), (3, 4), (3, 4), (12,)]),
    # The normalisation's weights are shared by all heads, and by queries and keys.
    "vision, normalised": (lambda: VisionAttention(True), sequences, [(3,), (3, 4), (4,), (12,)]),
    # Rotation holds queries and keys; the values of one head are read by two.
    "rotary": (Rotary, sequences, [(2,), (4,), (8,)]),
    "experts": (Experts, sequences, [(4,), (4, 6), (8,)]),
    "rnn": (lambda: Recurrent(nn.RNN), sequences, [(4,)] * 4),
    "gru": (lambda: Recurrent(nn.GRU), sequences, [(4,)] * 4),
    "lstm": (lambda: Recurrent(nn.LSTM), sequences, [(4,)] * 4),
    "concatenated": (Concatenated, images, [(4,), (5,)]),
    "in place": (InPlace, vectors, [(4,)] * 3),
    "gated": (Gated, vectors, [(8,), (10,)]),
    "neighbours": (Neighbours, vectors, [(6,)]),
    "grouped": (
        lambda: convolutions(nn.Conv2d(8, 12, 3, groups=4), nn.ReLU(), last=1728),
        images,
        [(4,), (4, 2), (4, 3)],
    ),
    "depthwise": (lambda: convolutions(nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), last=1152), images, [(8,)]),
    "transposed": (
        lambda: convolutions(nn.ConvTranspose2d(8, 12, 3, groups=2), nn.ReLU(), last=3072),
        images,
        [(2,), (2, 4), (2, 6)],
    ),
    "shuffled": (
        lambda: convolutions(nn.PixelShuffle(2), nn.PReLU(2), nn.AdaptiveMaxPool2d(4), nn.Dropout(), last=32),
        images,
        [(2,)],
    ),
    "weight norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 8)), nn.Tanh(), nn.Linear(8, 3)),
        vectors,
        [(8,)],
    ),
}  # fmt: skip
