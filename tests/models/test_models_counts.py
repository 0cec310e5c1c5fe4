"""Parameter counts known from the papers and from arithmetic, and the sizes models scale by."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from landform import models


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


KNOWN: list[tuple[str, tuple[int, ...], dict[str, Any], int]] = [
    ("lenet", (3, 32, 32), {}, 62_006),
    ("lenet", (1, 28, 28), {}, 44_426),
    ("resnet20", (3, 32, 32), {}, 272_474),
    ("resnet20", (3, 32, 32), {"shortcut": "pad"}, 269_722),
    ("resnet20", (3, 32, 32), {"norm": "group"}, 272_474),
    # without normalisation a bias for each scale and shift: 16 + 6 x 16 + 7 x 32 + 7 x 64 fewer
    ("resnet20", (3, 32, 32), {"norm": "none"}, 272_474 - 784),
    ("resnet18", (3, 32, 32), {}, 11_173_962),
    ("wide_resnet", (3, 32, 32), {"depth": 16, "widen": 4}, 2_748_890),
    ("wide_resnet", (3, 32, 32), {"depth": 40, "widen": 2}, 2_243_546),
    ("vgg11", (3, 32, 32), {}, 9_225_610),
    ("vgg11", (3, 32, 32), {"norm": "batch"}, 9_225_610 + 2752),
    ("small_cnn", (3, 32, 32), {"width": (12, 24, 24)}, 336 + 2616 + 5208 + 250),
    ("mlp", (64,), {}, 64 * 65 * 3 + 65 * 10),
]


@pytest.mark.parametrize(("name", "inputs", "options", "expected"), KNOWN)
def test_known_counts(name: str, inputs: tuple[int, ...], options: dict[str, Any], expected: int) -> None:
    assert count(models.build(name, inputs=inputs, classes=10, **options)) == expected


@pytest.mark.parametrize("name", ["lenet", "resnet20", "small_cnn"])
def test_both_parametrisations_have_the_same_parameters(name: str) -> None:
    standard, ntk = (models.build(name, inputs=(3, 16, 16), classes=10, parametrisation=p) for p in ("standard", "ntk"))
    shapes = [{n: p.shape for n, p in net.named_parameters()} for net in (standard, ntk)]
    assert list(shapes[0].items()) == list(shapes[1].items())


@given(
    inputs=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    hidden=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    classes=st.integers(1, 4),
    bias=st.booleans(),
    norm=st.booleans(),
)
def test_an_mlp_has_the_layers_it_was_asked_for(
    inputs: list[int], hidden: list[int], classes: int, bias: bool, norm: bool
) -> None:
    model = models.mlp(
        inputs=inputs, classes=classes, width=hidden, bias=bias, norm="layer" if norm else "none", activation="tanh"
    )
    sizes = [math.prod(inputs), *hidden, classes]
    dense = sum((into + bias) * out for into, out in pairwise(sizes))
    assert count(model) == dense + 2 * norm * sum(hidden)
    assert model(torch.zeros(2, *inputs)).shape == (2, classes)


def test_one_width_and_a_depth_mean_that_many_layers() -> None:
    one, other = models.mlp(inputs=(6,), classes=3, width=7, depth=2), models.mlp(inputs=(6,), classes=3, width=(7, 7))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_transformer_counts_its_tied_table_once() -> None:
    width, depth, context, symbols = 8, 3, 6, 5
    block = (
        2 * 2 * width
        + (width + 1) * 3 * width
        + (width + 1) * width
        + (width + 1) * 4 * width
        + (4 * width + 1) * width
    )
    body = (symbols + context) * width + depth * block + 2 * width
    for tied, readout in ((True, 0), (False, (width + 1) * symbols)):
        model = models.transformer(inputs=(context,), classes=symbols, width=width, depth=depth, heads=2, tied=tied)
        assert count(model) == body + readout


def test_an_rnn_has_two_matrices_a_layer() -> None:
    model = models.rnn(inputs=(9, 4), classes=3, width=5, depth=2, masked=True)
    assert count(model) == (3 + 1) * 5 + 25 + (5 + 1) * 5 + 25 + 6 * 3


@pytest.mark.parametrize("name", ["small_cnn", "vgg11", "resnet20", "resnet18", "wide_resnet"])
@pytest.mark.parametrize("side", [8, 9, 28, 33])
def test_any_image_of_at_least_eight_pixels_will_do(name: str, side: int) -> None:
    model = models.build(name, inputs=(2, side, side + 1), classes=3, width=2).eval()
    assert model(torch.zeros(1, 2, side, side + 1)).shape == (1, 3)


def test_width_scales_every_layer_of_lenet() -> None:
    model = models.lenet(inputs=(3, 32, 32), classes=10, width=12)
    assert [p.shape[0] for n, p in model.named_parameters() if n.endswith("weight")] == [12, 32, 240, 168, 10]


def test_group_norm_never_has_groups_of_one_channel() -> None:
    for width, groups in ((1, 1), (2, 1), (12, 3), (16, 4), (64, 8), (7, 1)):
        model = models.small_cnn(inputs=(1, 8, 8), classes=2, width=(width,), norm="group")
        (norm,) = (m for m in model if isinstance(m, nn.GroupNorm))
        assert norm.num_groups == groups
