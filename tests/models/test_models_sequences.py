"""What the transformer and the recurrent network promise about time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from zoo_cases import CLASSES, batch, make

from landform import models
from landform.errors import BadInput


@pytest.mark.parametrize("case", ["transformer", "transformer-tied"])
def test_a_later_symbol_leaves_earlier_outputs_alone(case: str) -> None:
    model = make(case).double().eval()
    x = batch(case)
    y = model(x)
    for t in range(x.shape[1]):
        changed = x.clone()
        changed[:, t] = (changed[:, t] + 1) % CLASSES
        z = model(changed)
        torch.testing.assert_close(z[:, :t], y[:, :t], rtol=0, atol=1e-12)
        assert (z[:, t] - y[:, t]).abs().amax(-1).min() > 1e-6


def test_every_output_sees_all_earlier_symbols() -> None:
    model = make("transformer").double().eval()
    x = batch("transformer")
    y = model(x)
    for t in range(x.shape[1]):
        changed = x.clone()
        changed[:, t] = (changed[:, t] + 1) % CLASSES
        assert ((model(changed) - y)[:, t:].abs().amax(-1) > 1e-9).all()


def test_a_shorter_text_is_the_beginning_of_a_longer_one() -> None:
    model = make("transformer").double().eval()
    x = batch("transformer")
    torch.testing.assert_close(model(x[:, :4]), model(x)[:, :4])


def test_attention_is_the_textbook_formula() -> None:
    """The block's attention against softmax(QK' / sqrt(d)) V, written out for each head and position."""
    model = make("transformer").double()
    attention = model.get_submodule("blocks.0.attention")
    x = torch.randn(2, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    project, contract = (attention.get_submodule(n) for n in ("project", "contract"))
    q, k, v = project(x).split(8, dim=-1)
    mixed = torch.zeros_like(x)
    for head in (slice(0, 4), slice(4, 8)):
        for t in range(5):
            scores = (q[:, t : t + 1, head] * k[:, : t + 1, head]).sum(-1) / 2
            mixed[:, t, head] = (scores.softmax(-1).unsqueeze(-1) * v[:, : t + 1, head]).sum(1)
    torch.testing.assert_close(attention(x), contract(mixed))


def test_a_tied_readout_is_the_embedding() -> None:
    model = make("transformer-tied")
    assert model.get_parameter("readout.weight") is model.get_parameter("symbols.weight")
    assert not any(name.startswith("readout") for name, _ in model.named_parameters())
    logits = model.eval()(batch("transformer-tied"))
    assert 0.3 < logits.std() < 3  # the unit normal table is scaled down on the way out


def test_too_long_a_text_is_refused() -> None:
    with pytest.raises(BadInput, match=r"T <= 6; got \[1, 7\]"):
        make("transformer")(torch.zeros(1, 7, dtype=torch.long))


@pytest.mark.parametrize(("activation", "depth"), [("tanh", 1), ("relu", 2)])
def test_an_rnn_is_the_textbook_recursion(activation: str, depth: int) -> None:
    """Against torch's own recurrent layer, with the weights copied."""
    model = models.build("rnn", inputs=(7, 3), classes=4, width=5, depth=depth, activation=activation, init="torch")
    reference = nn.RNN(3, 5, num_layers=depth, nonlinearity=activation, batch_first=True)
    with torch.no_grad():
        for i in range(depth):
            cell = f"cells.{i}"
            getattr(reference, f"weight_ih_l{i}").copy_(model.get_parameter(f"{cell}.input.weight"))
            getattr(reference, f"bias_ih_l{i}").copy_(model.get_parameter(f"{cell}.input.bias"))
            getattr(reference, f"weight_hh_l{i}").copy_(model.get_parameter(f"{cell}.recurrent.weight"))
            getattr(reference, f"bias_hh_l{i}").zero_()
    x = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    expected = model.get_submodule("readout")(reference(x)[0][:, -1])
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("parametrisation", ["standard", "ntk"])
def test_left_padding_changes_nothing(depth: int, parametrisation: str) -> None:
    model = models.build(
        "rnn",
        inputs=(5, 3),
        classes=4,
        width=6,
        depth=depth,
        masked=True,
        init="torch",
        parametrisation=parametrisation,
    )
    x = _present(torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0)))
    padding = torch.cat([torch.full((2, 4, 2), 7.0), torch.zeros(2, 4, 1)], -1)
    assert torch.equal(model(torch.cat([padding, x], 1)), model(x))


def test_the_state_is_held_over_a_gap() -> None:
    model = models.rnn(inputs=(5, 3), classes=4, width=6, masked=True)
    x = _present(torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0)))
    gap = x.clone()
    gap[:, 2, -1] = 0
    assert torch.equal(model(gap), model(torch.cat([x[:, :2], x[:, 3:]], 1)))
    assert not torch.equal(model(gap), model(x))


def test_padding_gets_no_gradient() -> None:
    model = models.rnn(inputs=(5, 3), classes=4, width=6, masked=True)
    x = _present(torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0)))
    x[:, :2, -1] = 0
    x.requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x)
    assert not slope[:, :2].any()
    assert slope[:, 2:, :2].abs().amin() > 0


def test_any_length_will_do() -> None:
    model = models.rnn(inputs=(5, 3), classes=4)
    assert model(torch.zeros(2, 1, 3)).shape == model(torch.zeros(2, 40, 3)).shape == (2, 4)
    with pytest.raises(BadInput, match="T >= 1"):
        model(torch.zeros(2, 0, 3))


def test_the_recurrent_matrix_starts_critical() -> None:
    """Variance width^-1 for tanh, twice that for ReLU, times recurrent_scale squared."""
    for activation, scale, expected in (("tanh", 1.0, 1.0), ("relu", 1.0, 2.0), ("tanh", 1.5, 2.25)):
        model = models.build("rnn", inputs=(5, 3), classes=4, width=100, activation=activation, recurrent_scale=scale)
        variance = 100 * model.get_parameter("cells.0.recurrent.weight").var().item()
        assert abs(variance / expected - 1) < 0.1  # standard error: sqrt(2 / 10,000)


def _present(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(*x.shape[:2], 1)], -1)
