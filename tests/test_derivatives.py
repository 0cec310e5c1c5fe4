"""What cannot be differentiated twice by default can be inside the context, and rightly."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landform.derivatives import second_order_safe
from landform.errors import BadInput
from landform.layout import Layout


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return F.scaled_dot_product_attention(q, k, v)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.inside = kind(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x)[0]


def product(model: nn.Module, x: Tensor, v: Tensor) -> Tensor:
    own = list(model.parameters())
    first = torch.autograd.grad(model(x).square().sum(), own, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in first])
    second = torch.autograd.grad(flat @ v, own, allow_unused=True, materialize_grads=True)
    return torch.cat([g.reshape(-1) for g in second])


@pytest.mark.parametrize(
    "make",
    [Attention, lambda: Recurrent(nn.LSTM), lambda: Recurrent(nn.GRU), lambda: Recurrent(nn.RNN),
     lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(5)),
     lambda: nn.Sequential(nn.Linear(4, 6), nn.MaxPool1d(2))],
    ids=["attention", "lstm", "gru", "rnn", "batch norm in training", "max pool"],
)  # fmt: skip
def test_products_equal_finite_differences_of_the_gradient(make) -> None:
    torch.manual_seed(0)
    model = make().double()
    layout = Layout.of(model)
    x, v = torch.randn(2, 5, 4, dtype=torch.float64), torch.randn(layout.size, dtype=torch.float64)
    with second_order_safe():
        exact = product(model, x, v)
    here, step = layout.point(model), 1e-6
    sides = []
    for sign in (1, -1):
        layout.load_(model, here + sign * step * v)
        grads = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
        sides.append(torch.cat([g.reshape(-1) for g in grads]))
    torch.testing.assert_close(exact, (sides[0] - sides[1]) / (2 * step), rtol=1e-6, atol=1e-6)


def test_float32_attention_works_inside() -> None:
    torch.manual_seed(0)
    model = Attention()
    with second_order_safe():
        assert torch.isfinite(product(model, torch.randn(2, 5, 4), torch.randn(60))).all()


def test_what_cannot_is_said_in_a_sentence() -> None:
    x = torch.randn(1, 2, 4, 8, requires_grad=True)
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # called by name, so nothing can replace it
    (first,) = torch.autograd.grad(fused(x, x, x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(BadInput, match=r"cannot be differentiated twice: derivative for .*flash_attention") as caught:
        twice(first, x)
    assert "\n" not in str(caught.value)


def twice(first: Tensor, x: Tensor) -> None:
    with second_order_safe():
        torch.autograd.grad(first.sum(), x)


def test_other_errors_pass_through_and_settings_come_back() -> None:
    before = torch.backends.mkldnn.enabled
    with pytest.raises(RuntimeError, match="size"), second_order_safe():
        torch.ones(3) @ torch.ones(4)
    assert torch.backends.mkldnn.enabled == before
