"""Symmetries of models made of random steps: whatever is found has to leave the function as it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes_of_models import landscape, vectors
from torch import Tensor, nn

from landform import alignment

STEPS = [
    "dense",
    "relu",
    "residual",
    "bias",
    "blocks",
    "merge",
    "swap",
    "halves",
    "glu",
    "norm",
    "own_norm",
    "cat",
    "stack",
    "sum",
    "mix",
    "batched",
    "attend",
    "cut",
    "pool",
    "repeat",
    "gather",
]


class Program(nn.Module):
    """Steps on a tensor [batch, *axes]; a step that does not fit is passed over."""

    def __init__(self, steps: list[tuple[str, int]], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.steps = steps
        self.weights = nn.ParameterDict()
        self.made = torch.Generator().manual_seed(seed)
        self.enter = nn.Linear(5, 12)
        self.forward(torch.zeros(2, 5))

    def weight(self, name: str, *shape: int) -> Tensor:
        if name not in self.weights:
            self.weights[name] = nn.Parameter(torch.randn(*shape, generator=self.made) / shape[-1] ** 0.5)
        return self.weights[name]

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        for number, (step, choice) in enumerate(self.steps):
            h = self.step(h, step, choice, f"{number}")
        return F.linear(h.flatten(1), self.weight("leave", 3, h[0].numel()))

    def step(self, h: Tensor, step: str, choice: int, name: str) -> Tensor:
        last, dims = h.shape[-1], h.dim() - 1
        axis = 1 + choice % dims
        if step == "dense":
            return F.linear(h, self.weight(name, (6, 8, 12)[choice % 3], last))
        if step == "bias":
            return h + self.weight(name, last)
        if step == "relu":
            return h.relu()
        if step == "residual":
            return h + F.linear(h.relu(), self.weight(name, last, last))
        if step == "blocks" and dims < 4:
            inner = (2, 3, 4)[choice % 3]
            return h.unflatten(-1, (last // inner, inner)) if last % inner == 0 and last > inner else h
        if step == "merge" and dims > 1:
            return h.flatten(-2)
        if step == "swap" and dims > 1:
            return h.transpose(-1, -1 - (1 + choice % (dims - 1)))
        if step == "norm":
            return F.layer_norm(h, (last,), self.weight(name, last)) if last > 1 else h
        if step == "own_norm" and dims > 1:
            return h * self.weight(name, *h.shape[-2:])
        if step == "halves" and h.shape[axis] % 2 == 0:
            one, other = h.chunk(2, axis)
            return one * other
        if step == "glu" and h.shape[axis] % 2 == 0:
            return F.glu(h, axis)
        if step == "cat" and h[0].numel() < 60:
            return torch.cat([h.relu(), F.linear(h, self.weight(name, last, last))], axis)
        if step == "stack" and dims < 3 and h[0].numel() < 60:
            return torch.stack([h.relu(), F.linear(h, self.weight(name, last, last)), h], axis)
        if step == "sum" and dims > 1:
            return h.sum(axis)
        if step == "mix" and dims > 1:
            return torch.einsum("bij,jk->bik", h.flatten(1, -2), self.weight(name, last, 4))
        if step == "batched" and dims == 2:
            return torch.bmm(h.transpose(0, 1), self.weight(name, h.shape[1], last, 4)).transpose(0, 1)
        if step == "attend" and dims == 2:
            return (h @ h.transpose(1, 2)).softmax(-1) @ F.linear(h, self.weight(name, 6, last))
        if step == "cut":
            at = max(1, h.shape[axis] // 3)
            return h.narrow(axis, h.shape[axis] - at, at) if choice % 2 else h.select(axis, 0) if dims > 1 else h
        if step == "pool" and dims == 2:
            return F.max_pool1d(h, 2) if last % 2 == 0 else h
        if step == "repeat" and h[0].numel() < 30:
            return h.repeat_interleave(2, axis) if choice % 2 else h.repeat(*([1] * dims), 2)
        if step == "gather":
            return h.index_select(axis, torch.tensor([0, h.shape[axis] - 1])) if h.shape[axis] > 1 else h
        return h


@settings(max_examples=40)
@given(
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), min_size=1, max_size=12),
    seed=st.integers(0, 99),
)
def test_what_is_found_leaves_any_model_as_it_is(steps: list[tuple[str, int]], seed: int) -> None:
    model = Program(steps, seed)
    where = landscape(model, vectors())
    found = alignment.symmetries(where)  # tries one permutation itself, and raises if it changes anything
    for draw in (1, 2):
        assert alignment.check(where, found, seed=draw) < 1e-9
    point = where.here
    moved = found.apply(point, found.random(3))
    assert torch.equal(found.apply(moved, found.invert(found.random(3))), point)
    for method in ("weights", "activations"):
        result = alignment.align(where, point, moved, method=method, symmetries=found)
        assert method == "activations" or result.after <= result.before * (1 + 1e-9)
        torch.testing.assert_close(where.outputs(result.point), where.outputs(point), rtol=1e-6, atol=1e-6)
    balanced = alignment.balance(where, point, symmetries=found)
    assert balanced.after <= balanced.before * (1 + 1e-9)
    torch.testing.assert_close(where.outputs(balanced.point), where.outputs(point), rtol=1e-6, atol=1e-6)
