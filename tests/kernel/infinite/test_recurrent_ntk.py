"""The Recurrent NTK against the paper's recursion in plain loops, and sampled networks."""

from __future__ import annotations

import math
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landform.errors import BadInput
from landform.kernel.infinite import ACTIVATIONS, RecurrentNTK
from landform.kernel.infinite import _recurrent as recurrent

SPREADS = {"sigma_w": 1.3, "sigma_u": 0.8, "sigma_b": 0.3, "sigma_h": 0.5, "sigma_v": 1.1}


def plain(x, y, same, s: RecurrentNTK) -> float:
    """Section 3.2 backward in time and layers, one pair: Theta = sum of Pi Sigma over layers and all pairs of times."""
    phi = ACTIVATIONS[s.activation]

    def table(a, b, same_pair, va=None, vb=None):
        sigma = torch.zeros(s.depth, len(a), len(b), dtype=torch.float64)
        value, slope = torch.zeros_like(sigma), torch.zeros_like(sigma)
        for layer in range(s.depth):
            for t in range(len(a)):
                for r in range(len(b)):
                    below = a[t] @ b[r] / a.shape[1] if layer == 0 else value[layer - 1, t, r]
                    back = value[layer, t - 1, r - 1] if t and r else float(same_pair and t == r) * s.sigma_h**2
                    if bool(t) != bool(r):
                        back = 0.0
                    k = s.sigma_u**2 * below + s.sigma_b**2 + s.sigma_w**2 * back
                    sigma[layer, t, r] = k
                    k = torch.as_tensor(k)
                    k11, k22 = k, k
                    if va is not None:
                        k11, k22 = va[layer, t], vb[layer, r]
                    elif t != r:
                        continue
                    value[layer, t, r], slope[layer, t, r] = phi(k, k11, k22)
        return sigma, value, slope

    va = torch.stack([table(x, x, True)[0][i].diagonal() for i in range(s.depth)])
    vb = torch.stack([table(y, y, True)[0][i].diagonal() for i in range(s.depth)])
    sigma, value, slope = table(x, y, same, va, vb)
    length, other = len(x), len(y)
    read = torch.zeros(length, other, dtype=torch.float64)
    if s.output == "last":
        read[-1, -1] = 1.0
    elif s.output == "mean":
        read[:] = 1 / (length * other)
    else:
        read.diagonal()[:] = 1 / length
    pi = torch.zeros(s.depth + 1, length + 1, other + 1, dtype=torch.float64)
    for layer in reversed(range(s.depth)):
        for t in reversed(range(length)):
            for r in reversed(range(other)):
                above = s.sigma_v**2 * read[t, r] if layer == s.depth - 1 else s.sigma_u**2 * pi[layer + 1, t, r]
                pi[layer, t, r] = slope[layer, t, r] * (s.sigma_w**2 * pi[layer, t + 1, r + 1] + above)
    return float((pi[:-1, :-1, :-1] * sigma).sum() + s.sigma_v**2 * (read * value[-1]).sum())


def sequences(*lengths, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 3, generator=draw, dtype=torch.float64) for n in lengths]


@pytest.mark.parametrize("output", ["last", "mean", "each"])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_the_recursion_in_plain_loops(activation, depth, output) -> None:
    kernel = RecurrentNTK(**SPREADS, depth=depth, activation=activation, output=output)
    rows = sequences(4, 4, 4) if output == "each" else sequences(4, 7, 1, 5)
    columns = sequences(4, 4, seed=1) if output == "each" else sequences(6, 1, 3, seed=1)
    symmetric, cross = kernel.gram(rows), kernel.gram(rows, columns)
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            assert float(symmetric[i, j]) == pytest.approx(plain(a, b, i == j, kernel), rel=1e-6, abs=1e-9)
        for j, b in enumerate(columns):
            assert float(cross[i, j]) == pytest.approx(plain(a, b, False, kernel), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("output", ["last", "mean", "each"])
@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    bias=st.sampled_from([0.0, 0.4]),
    start=st.sampled_from([0.0, 0.6]),
    still=st.booleans(),
)
def test_one_layer_of_relu_is_what_any_activation_gives(output, lengths, bias, start, still) -> None:
    rows = sequences(*(lengths if output != "each" else [lengths[0]] * len(lengths)))
    if still:  # nothing comes in: where there is no bias either, variances are zero
        rows[0] = torch.zeros_like(rows[0])
    kernel = RecurrentNTK(sigma_b=bias, sigma_h=start, output=output)
    quick = kernel.kernels(rows)
    with mock.patch.object(recurrent, "walk_relu", recurrent.RecurrentNTK._walk):
        slow = kernel.kernels(rows)
    torch.testing.assert_close(quick.ntk, slow.ntk, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(quick.nngp, slow.nngp, rtol=1e-9, atol=1e-12)


def test_gradients_with_respect_to_the_sequences() -> None:
    kernel, x = RecurrentNTK(**SPREADS), sequences(4)[0]
    moved = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(kernel.gram(moved[None])[0, 0], moved)
    nudge = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    up, down = (float(kernel.gram((x + sign * 1e-5 * nudge)[None])) for sign in (1, -1))
    assert float((found * nudge).sum()) == pytest.approx((up - down) / 2e-5, rel=1e-6)


def test_padded_and_listed_sequences_agree() -> None:
    rows = sequences(4, 7, 2)
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=math.nan)
    lengths = torch.tensor([4, 7, 2])
    kernel = RecurrentNTK(**SPREADS)
    torch.testing.assert_close(kernel.gram(padded, lengths=lengths), kernel.gram(rows), rtol=0, atol=0)
    single = RecurrentNTK(**SPREADS, dtype="float32").gram(rows)
    torch.testing.assert_close(single.double(), kernel.gram(rows), rtol=2e-3, atol=1e-4)
    assert float(torch.linalg.eigvalsh(kernel.gram(rows))[0]) > 0


def test_sampled_networks_by_extrapolation_over_two_widths() -> None:
    x, y = (row.float() for row in sequences(4, 7))
    exact = float(RecurrentNTK(**SPREADS).gram([x], [y]))
    means, errors = [], []
    draw = torch.Generator().manual_seed(0)
    for width, count in ((32, 3000), (128, 1500)):
        w = torch.randn(count, width, width, generator=draw)
        u = torch.randn(count, width, 3, generator=draw)
        b, v = torch.randn(count, width, generator=draw), torch.randn(count, width, generator=draw)
        grads = []
        for sequence in (x, y):
            weights = [p.clone().requires_grad_() for p in (w, u, b, v)]
            h = 0.5 * torch.randn(count, width, generator=draw)
            for step in sequence:
                g = 1.3 / math.sqrt(width) * (weights[0] @ h[..., None])[..., 0]
                h = torch.relu(g + 0.8 / math.sqrt(3) * weights[1] @ step + 0.3 * weights[2])
            out = 1.1 / math.sqrt(width) * (weights[3] * h).sum()
            grads.append(torch.autograd.grad(out, weights))
        kernel = sum((p * q).flatten(1).sum(1) for p, q in zip(*grads, strict=True)).double()
        means.append(float(kernel.mean()))
        errors.append(float(kernel.std()) / math.sqrt(count))
    limit = (4 * means[1] - means[0]) / 3
    error = math.hypot(4 * errors[1], errors[0]) / 3
    assert error < 0.05 * exact
    assert abs(limit - exact) < 4 * error + 0.01 * exact


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: RecurrentNTK(depth=0), "depth"),
        (lambda: RecurrentNTK(output="sum"), "output"),
        (lambda: RecurrentNTK(output="each").gram(sequences(3, 4)), "one length"),
        (lambda: RecurrentNTK().gram(torch.zeros(2, 3)), "Sequences"),
        (lambda: RecurrentNTK().gram(torch.zeros(2, 3, 1), lengths=torch.tensor([1, 4])), "from 1 to 3"),
    ],
)
def test_misuse_of_sequences_is_told(call, said) -> None:
    with pytest.raises(BadInput, match=said):
        call()
