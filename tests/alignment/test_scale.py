"""The scale of ReLU units: found, chosen, and the function stays the same."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shapes_of_models import OTHERS, landscape, vectors, zoo
from torch import Tensor, nn

import landform as lf
from landform import alignment
from landform.alignment._scale import rescaled, scalable

ZOO = zoo()

# Shares of the groups whose units have a scale to choose. Behind a normalisation its own weights make the units.
FREE = {
    "mlp": (3, 3), "mlp layer ntk": (3, 3), "lenet": (4, 4), "resnet20 batch": (12, 12), "resnet20 pad none": (12, 12),
    "vgg11 group": (15, 15), "rnn": (0, 2), "gated": (1, 2), "depthwise": (0, 1), "experts": (2, 3),
    # In attention the values, and the stream behind its normalisations; not queries and keys, nor GELU's units.
    "transformer": (3, 9), "attention": (2, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", list(FREE))
def test_scales_are_found_and_change_nothing(name: str) -> None:
    torch.manual_seed(0)
    where = landscape(*(ZOO[name]() if name in ZOO else (OTHERS[name][0](), OTHERS[name][1]())))
    found = alignment.symmetries(where)
    made = torch.Generator().manual_seed(1)
    point = where.here * (1 + torch.rand(where.layout.size, generator=made, dtype=torch.float64))
    result = alignment.balance(where, point, symmetries=found)
    assert (len(result.scales), len(found.groups)) == FREE[name]
    assert {*result.scales, *result.fixed} == set(found.names)
    buffers = where.calibrate(point) or None
    before, after = where.outputs(point, buffers=buffers), where.outputs(result.point, buffers=buffers)
    torch.testing.assert_close(after, before, rtol=1e-8, atol=1e-8 * float(before.abs().max()))
    assert result.after <= result.before
    assert result.after == pytest.approx(float(result.point.norm()))


def test_both_sides_of_a_unit_weigh_the_same() -> None:
    where = landscape(*ZOO["mlp"]())
    result = alignment.balance(where, where.here)
    assert result.converged
    views = where.layout.views(result.point)
    for name, after in (("dense1", "dense2"), ("dense2", "dense3"), ("dense3", "readout")):
        makes = views[f"{name}.weight"].square().sum(1) + views[f"{name}.bias"].square()
        reads = views[f"{after}.weight"].square().sum(0)
        torch.testing.assert_close(makes, reads, rtol=1e-5, atol=0)
    again = alignment.balance(where, result.point)
    torch.testing.assert_close(again.point, result.point, rtol=1e-5, atol=1e-9)


def test_a_planted_scale_is_undone() -> None:
    where = landscape(*ZOO["vgg11 none"]())
    found = alignment.symmetries(where)
    sides = scalable(where, found)
    made = torch.Generator().manual_seed(0)
    tensors = where.layout.views(where.here)
    for group in found.groups:
        scale = (4 * torch.rand(group.shape, generator=made, dtype=torch.float64) - 2).exp()
        tensors = rescaled(tensors, found, group, sides[group.name], scale)
    hidden = found.apply(where.layout.join(tensors), found.random(3))
    torch.testing.assert_close(where.outputs(hidden), where.outputs(where.here))
    ours, theirs = (alignment.balance(where, point, symmetries=found).point for point in (where.here, hidden))
    result = alignment.align(where, ours, theirs, symmetries=found)
    torch.testing.assert_close(result.point, ours, rtol=1e-4, atol=1e-6)
    assert alignment.align(where, where.here, hidden, symmetries=found).after > 1


@given(seed=st.integers(0, 10_000))
def test_no_other_scale_has_a_smaller_norm(seed: int) -> None:
    where, found, sides, result = KEPT
    made = torch.Generator().manual_seed(seed)
    tensors = where.layout.views(result.point)
    for group in found.groups:
        scale = (0.5 * torch.randn(group.shape, generator=made, dtype=torch.float64)).exp()
        tensors = rescaled(tensors, found, group, sides[group.name], scale)
    assert float(where.layout.join(tensors).norm()) >= result.after * (1 - 1e-6)


def _kept() -> tuple[
    lf.Landscape, alignment.Symmetries, dict[str, tuple[frozenset[str], frozenset[str]]], alignment.Balanced
]:
    where = landscape(*ZOO["mlp"]())
    found = alignment.symmetries(where)
    return where, found, scalable(where, found), alignment.balance(where, where.here)


KEPT = _kept()


def test_dead_units_keep_their_scale() -> None:
    model = lf.models.mlp(inputs=(5,), classes=3, width=4, depth=1)
    with torch.no_grad():
        model.readout.weight[:, 2] = 0
    where = landscape(model, vectors())
    result = alignment.balance(where, model.double())
    assert float(result.scales["dense1"][2]) == 1
    assert bool(torch.isfinite(result.point).all())


def test_units_that_see_their_scale_are_left() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.last = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.two(self.one(x).tanh()).relu())

    torch.manual_seed(0)
    result = alignment.balance(landscape(Half(), vectors()), landscape(Half(), vectors()).here)
    assert list(result.scales) == ["two"]
    assert result.fixed == ("one",)
