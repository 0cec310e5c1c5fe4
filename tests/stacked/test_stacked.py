"""A stack of models against a plain loop over deep copies, for every kind of layer networks are made of."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landform.errors import BadInput
from landform.layout import Layout
from landform.stacked import Function, Stacked, Unstackable, stack
from landform.stacked._tensor import _RULES

N, B = 3, 5


class Residual(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = norm
        self.second = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.head = nn.Linear(4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.norm(self.first(x)))
        h = h + self.second(h)
        h = F.max_pool2d(h, 2)
        return self.head(h.mean(dim=(2, 3)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.place = nn.Parameter(torch.randn(7, 8))
        self.qkv = nn.Linear(8, 24)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        b, t = tokens.shape
        x = self.embed(tokens) + self.place[:t]
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        q, k, v = (p.view(b, t, 2, 4).transpose(1, 2) for p in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + y.transpose(1, 2).reshape(b, t, 8)
        return self.out(F.gelu(x))[:, -1]


class Recurrence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(4, 6)
        self.across = nn.Linear(6, 6)
        self.head = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(x.shape[0], 6)
        for t in range(x.shape[1]):
            h = torch.tanh(self.inside(x[:, t]) + self.across(h))
        return self.head(h)


class Odd(nn.Module):
    """Operations without a rule of their own, which torch.vmap carries out."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(4, 4))
        self.scale = nn.Parameter(torch.randn(()))
        self.last = nn.Bilinear(4, 4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.einsum("bi,ij->bj", x, self.a).cumsum(1) * self.scale
        y = torch.stack([y, x], 0).flip(0)[1]
        return self.last(y, x @ torch.linalg.matrix_exp(self.a * 0.1))


def images() -> torch.Tensor:
    return torch.randn(B, 3, 8, 8)


CASES = {
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 6, bias=False)), lambda: torch.randn(B, 4)),
    "dense on sequences": (lambda: nn.Sequential(nn.Linear(4, 7), nn.GELU(), nn.Flatten(), nn.Linear(14, 6)),
                           lambda: torch.randn(B, 2, 4)),
    "convolutions": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, dilation=1), nn.LeakyReLU(), nn.Conv2d(4, 5, 2),
                                           nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 6)), images),
    "one-dimensional": (lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.SiLU(), nn.AvgPool1d(2), nn.Flatten(),
                                              nn.LazyLinear(6)), lambda: torch.randn(B, 3, 8)),
    "group norm": (lambda: Residual(nn.GroupNorm(2, 4)), images),
    "batch norm": (lambda: Residual(nn.BatchNorm2d(4)), images),
    "instance norm": (lambda: Residual(nn.InstanceNorm2d(4, affine=True)), images),
    "attention, tied": (Attention, lambda: torch.randint(0, 11, (B, 6))),
    "recurrence": (Recurrence, lambda: torch.randn(B, 3, 4)),
    "no rule": (Odd, lambda: torch.randn(B, 4)),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(3, 2, 2), nn.PReLU(), nn.Flatten(), nn.LazyLinear(6)),
                   images),
}  # fmt: skip


def make(case: str) -> tuple[nn.Module, Layout, torch.Tensor, torch.Tensor]:
    torch.manual_seed(7)
    build, data = CASES[case]
    model, x = build().double(), data()
    x = x.double() if x.is_floating_point() else x
    model(x)  # settles lazy layers, and running statistics
    layout = Layout.of(model)
    points = layout.point(model) + 0.3 * torch.randn(N, layout.size, dtype=torch.float64)
    return model.eval(), layout, points, x


def plainly(model: nn.Module, layout: Layout, point: torch.Tensor) -> nn.Module:
    other = copy.deepcopy(model)
    layout.load_(other, point)
    return other


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shared", [True, False], ids=["shared inputs", "own inputs"])
def test_outputs_losses_and_gradients_equal_a_loop(case: str, shared: bool) -> None:
    model, layout, points, x = make(case)
    own = torch.stack([x if shared else x.roll(k, 0) for k in range(N)])
    targets = torch.randint(0, 6, (N, B))
    function = Function(model, layout, device=torch.device("cpu"), dtype=torch.float64)
    leaf = points.clone().requires_grad_()

    outputs = function.many(layout.views(leaf), {}, lambda net: net(x if shared else stack(own)))
    losses = F.cross_entropy(outputs, stack(targets), label_smoothing=0.1)
    (gradient,) = torch.autograd.grad(losses.raw.sum(), leaf)

    for k in range(N):
        other = plainly(model, layout, points[k])
        expected = other(own[k])
        loss = F.cross_entropy(expected, targets[k], label_smoothing=0.1)
        wanted = torch.autograd.grad(loss, [p for p in other.parameters() if p.requires_grad])
        torch.testing.assert_close(outputs.raw[k], expected)
        torch.testing.assert_close(losses.raw[k], loss)
        torch.testing.assert_close(gradient[k], torch.cat([g.reshape(-1) for g in wanted]))
        (one,) = (function(layout.views(points[k]), {}, lambda net: net(own[k])),)  # noqa: B023
        torch.testing.assert_close(one, expected)


def test_second_derivatives_pass_through() -> None:
    model, layout, points, x = make("mlp")
    function = Function(model, layout, device=torch.device("cpu"), dtype=torch.float64)
    leaf = points.clone().requires_grad_()
    loss = function.many(layout.views(leaf), {}, lambda net: net(x)).square().mean().raw.sum()
    (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
    (product,) = torch.autograd.grad(gradient.sum(), leaf)
    for k in range(N):
        other = plainly(model, layout, points[k])
        own = list(other.parameters())
        first = torch.autograd.grad(other(x).square().mean(), own, create_graph=True)
        second = torch.autograd.grad(sum(g.sum() for g in first), own)
        torch.testing.assert_close(product[k], torch.cat([g.reshape(-1) for g in second]))


def test_batch_norm_in_training_updates_each_models_own_statistics() -> None:
    model, layout, points, x = make("batch norm")
    function = Function(model, layout, device=torch.device("cpu"), dtype=torch.float64)
    function.net.train()
    buffers = {name: b.expand(N, *b.shape).clone() for name, b in function.buffers.items()}
    outputs = function.many(layout.views(points), buffers, lambda net: net(x))
    for k in range(N):
        other = plainly(model, layout, points[k]).train()
        torch.testing.assert_close(outputs.raw[k], other(x))
        for name, buffer in other.named_buffers():
            torch.testing.assert_close(buffers[name][k], buffer)


class Shares(nn.Module):
    """Goes through one normalisation twice, under two names, and puts a new tensor in a buffer's place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm1d(4)
        self.again = self.first
        self.head = nn.Linear(4, 6)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return self.head(self.again(self.first(x * 2) - self.mean))


@pytest.mark.parametrize("count", [None, N])
def test_shared_and_replaced_buffers_follow(count: int | None) -> None:
    torch.manual_seed(0)
    model, x = Shares().double(), torch.randn(B, 4, dtype=torch.float64)
    layout = Layout.of(model)
    function = Function(model, layout, device=torch.device("cpu"), dtype=torch.float64)
    assert function.buffers.keys() == dict(model.named_buffers()).keys()
    function.net.train()
    points = layout.point(model) if count is None else layout.point(model).expand(count, -1).clone()
    buffers = {name: b.expand((*points.shape[:-1], *b.shape)).clone() for name, b in function.buffers.items()}
    run = function if count is None else function.many
    run(layout.views(points), buffers, lambda net: net(x if count is None else stack(x.expand(count, -1, -1))))
    own = function.buffers["mean"]
    model.train()(x)
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffers[name], buffer.expand_as(buffers[name]))
    assert bool((own == 0).all())


@pytest.mark.parametrize("kept", [lambda m: m.weight * 2, lambda m: iter(m.weight for _ in range(2))])
def test_a_model_that_cannot_be_copied_is_refused(kept) -> None:
    model = nn.Linear(2, 2)
    model.kept = kept(model)
    with pytest.raises(BadInput, match="Linear cannot be copied"):
        Function(model, Layout.of(model), device=torch.device("cpu"), dtype=torch.float32)


@pytest.mark.parametrize("recurrent", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrent_modules_follow_the_point_given(recurrent) -> None:
    torch.manual_seed(0)
    model = recurrent(3, 4, batch_first=True)
    layout = Layout.of(model)
    function = Function(model, layout, device=torch.device("cpu"), dtype=torch.float32)
    x = torch.randn(2, 5, 3)
    for scale in (1.0, 0.5):
        point = layout.point(model) * scale
        expected = plainly(model, layout, point)(x)[0]
        torch.testing.assert_close(function(layout.views(point), {}, lambda net: net(x)[0]), expected)


def test_the_users_model_is_left_alone() -> None:
    model, layout, points, x = make("batch norm")
    model.train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    function = Function(model, layout, device=torch.device("cpu"), dtype=torch.float64)
    function(layout.views(points[0]), {}, lambda net: net(x)).sum()
    assert model.training
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_dropout_noise_differs_between_models() -> None:
    outputs = F.dropout(stack(torch.ones(2, 100)), 0.5, True)
    assert isinstance(outputs, Stacked)
    assert not torch.equal(outputs.raw[0], outputs.raw[1])


@pytest.mark.parametrize("act", [lambda x: x.sum().item(), lambda x: bool(x.sum() > 0), lambda x: x.tolist()])
def test_what_looks_at_values_is_refused_by_name(act) -> None:
    with pytest.raises(Unstackable, match="cannot run for many models at once"):
        act(stack(torch.ones(2, 3)))
    assert issubclass(Unstackable, BadInput)


VALUES = {
    "view": lambda x: x.view(2, -1),
    "reshape tuple": lambda x: x.reshape((3, 2, 2)),
    "permute": lambda x: x.permute(2, 0, 1),
    "permute tuple": lambda x: torch.permute(x, (0, -1, 1)),
    "transpose": lambda x: x.transpose(-1, 0),
    "unsqueeze": lambda x: x.unsqueeze(-1).squeeze(3),
    "squeeze all": lambda x: x[:1].squeeze(),
    "expand": lambda x: x.expand(5, 2, 3, 2),
    "item": lambda x: x[..., 1],
    "slice": lambda x: x[1, None, :2],
    "tensor index": lambda x: x[torch.tensor([1, 0])],
    "mask": lambda x: torch.where(x > 0, x, torch.zeros(())),
    "split": lambda x: x.split(2, 1)[0],
    "split by sizes": lambda x: torch.split(x, [1, 2], dim=1)[1],
    "chunk": lambda x: torch.chunk(x, 2, -1)[1],
    "unbind": lambda x: x.unbind(-1)[1],
    "unbind dim": lambda x: torch.unbind(x, dim=0)[1],
    "cat with plain": lambda x: torch.cat([x, torch.ones(2, 3, 2)], dim=-1),
    "sum": lambda x: x.sum(),
    "sum dims": lambda x: x.sum((0, -1), keepdim=True),
    "mean": lambda x: torch.mean(x, 1),
    "var": lambda x: x.var(dim=1, unbiased=False),
    "std all": lambda x: x.std(),
    "var by position": lambda x: x.var(1, False),
    "std by position": lambda x: torch.std(x, -1, False, True),
    "amax": lambda x: x.amax(-1),
    "logsumexp": lambda x: x.logsumexp(1),
    "softmax": lambda x: F.softmax(x, dim=0),
    "log_softmax": lambda x: x.log_softmax(-1),
    "argmax": lambda x: x.argmax(1),
    "in place": lambda x: x.clone().mul_(2).add_(1),
    "augmented": lambda x: x + x[:, :, :1] * 3 - 1 / (2 + x.abs()),
    "reversed": lambda x: 2.0 - x,
    "power": lambda x: 2**x,
    "plain of more dims": lambda x: x[0] * torch.arange(6.0).view(2, 3, 1),
    "plain first": lambda x: torch.arange(6.0).view(3, 2) - x,
    "matmul": lambda x: x @ x.transpose(1, 2),
    "matmul with plain": lambda x: torch.arange(6.0).view(2, 3) @ x,
    "rmatmul": lambda x: torch.matmul(x, torch.ones(2, 4)),
    "vector product": lambda x: x @ torch.ones(2),
    "t": lambda x: x[0].t(),
    "T": lambda x: x[0].T,
    "clamp": lambda x: x.clamp(min=0.1),
    "layer norm": lambda x: F.layer_norm(x, (3, 2)),
    "pad channels": lambda x: F.pad(x, (0, 0, 1, 1, 0, 2)),
    "pad": lambda x: F.pad(x, (1, 1)),
    "channels without samples": lambda x: F.max_pool2d(x, 2, 1),
    "channels without samples, to one": lambda x: F.adaptive_avg_pool2d(x, (2, 1)),
    "mse": lambda x: F.mse_loss(x, torch.ones(2, 3, 2)),
    "smooth l1": lambda x: F.smooth_l1_loss(x, torch.ones(2, 3, 2)),
    "bce": lambda x: F.binary_cross_entropy_with_logits(x, torch.ones(2, 3, 2)),
    "soft labels": lambda x: F.cross_entropy(x[0], torch.tensor([[0.2, 0.8], [1.0, 0.0], [0.5, 0.5]])),
    "class weights": lambda x: F.cross_entropy(x[0], torch.tensor([0, 1, 1]), weight=torch.tensor([1.0, 3.0])),
    "sum of losses": lambda x: F.cross_entropy(x[0], torch.tensor([0, 1, 1]), reduction="sum"),
    "each loss": lambda x: F.cross_entropy(x[0], torch.tensor([0, 1, 1]), reduction="none"),
    "ignored label": lambda x: F.cross_entropy(x[0], torch.tensor([0, -100, 1])),
    "nll": lambda x: F.nll_loss(x[0].log_softmax(-1), torch.tensor([0, 1, 1])),
}


@pytest.mark.parametrize("name", VALUES)
def test_each_operation_equals_a_loop(name: str) -> None:
    raw = torch.randn(N, 2, 3, 2, generator=torch.Generator().manual_seed(1))
    result = VALUES[name](stack(raw))
    expected = torch.stack([VALUES[name](raw[k]) for k in range(N)])
    assert isinstance(result, Stacked)
    assert result.shape == expected.shape[1:]
    torch.testing.assert_close(result.raw, expected)


def test_rules_are_found_for_what_networks_use() -> None:
    for function in (
        F.linear,
        torch.conv2d,
        F.relu,
        torch.relu,
        F.batch_norm,
        torch.Tensor.add,
        torch.Tensor.__matmul__,
    ):
        assert function in _RULES
