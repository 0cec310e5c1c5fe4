"""What merge refuses, and how it says so."""

from __future__ import annotations

import math

import pytest
import torch
from merge_cases import layout, model, near, points
from torch import nn

import landform as lf
from landform.errors import BadInput
from landform.merging import merge


def _nan() -> list[torch.Tensor]:
    _, sources = near()
    sources[1, 2] = math.nan
    return [*sources]


def _frozen(seed: int) -> nn.Module:
    net = model(seed)
    next(net.parameters()).requires_grad_(False)
    return net


def _other_order() -> nn.Module:
    net = nn.Module()
    net.b, net.a = nn.Linear(2, 2), nn.Linear(2, 2)
    return net


def _one_order() -> nn.Module:
    net = nn.Module()
    net.a, net.b = nn.Linear(2, 2), nn.Linear(2, 2)
    return net


def mlp(width: int, depth: int) -> nn.Module:
    return lf.models.mlp(inputs=(4,), classes=3, width=width, depth=depth)


P = points()
WRONG = {
    "unknown method": (
        lambda: merge(P, method="tsak_arithmetic"),
        "no method 'tsak_arithmetic'.*did you mean 'task_arithmetic'",
    ),
    "no word": (lambda: merge(P, method=3), "method is 3"),
    "unknown setting": (lambda: merge(P, normalize=False), "no setting 'normalize'.*did you mean 'normalise'"),
    "not a flag": (lambda: merge(P, normalise=3), "normalise of mean is 3: give True or False"),
    "not a number": (
        lambda: merge(P, method="wise_ft", base=P[0], alpha="a"),
        "alpha of wise_ft is 'a': give a number",
    ),
    "no base": (lambda: merge(P, method="task_arithmetic"), "task_arithmetic works on differences from a base"),
    "one source": (lambda: merge([P[0]]), "mean merges at least 2 sources, and 1 given"),
    "none": (lambda: merge([]), "nothing to merge"),
    "a vector": (lambda: merge(P[0]), r"points has shape \[23\]"),
    "no sequence": (lambda: merge(3), "points is a int"),
    "text": (lambda: merge(["a", "b"]), "Source 1 is a str"),
    "base text": (lambda: merge(P, base="a"), "The base is a str"),
    "weights count": (lambda: merge(P, weights=[1, 2]), "2 weights for 3 sources"),
    "weights text": (lambda: merge(P, weights=["a"] * 3), "one number for each source"),
    "weights nan": (lambda: merge(P, weights=[1, math.nan, 1]), "finite"),
    "weights sum": (lambda: merge(P, weights=[1, -1, 0]), "sum to zero"),
    "weights zero": (lambda: merge(P, weights=[0, 0, 0]), "sum to zero"),
    "lengths": (lambda: merge([P[0], P[1, :5]]), "Source 2 has 5 numbers and source 1 23"),
    "base length": (lambda: merge(P, base=P[0, :4]), "The base has 4 numbers"),
    "layout": (
        lambda: merge(P, layout=layout()),
        r"Source 1 has 23 numbers and a point of this layout 73 \(it would end in dense1.bias",
    ),
    "types": (lambda: merge([P[0], P[1].float()]), r"Source 2 is float32 and source 1 float64.*\.to\(torch.float64\)"),
    "whole numbers": (lambda: merge(P.long()), "Source 1 is a int64 tensor"),
    "nan": (lambda: merge(_nan(), layout=layout()), "Source 2 holds NaN or infinity in dense1.weight"),
    "nan base": (lambda: merge(P, method="wise_ft", base=P[0] * math.inf), "The base holds NaN or infinity in point"),
    "per": (lambda: merge(P, per="layer"), "per is 'layer'"),
    "seed": (lambda: merge(P, seed=0.5), "seed is 0.5"),
    "data": (lambda: merge(P, data=(P, P)), "data is a tuple: give a landscape"),
    "other model": (
        lambda: merge([model(), mlp(6, 2)]),
        r"Parameter dense1.weight is \[6, 4\] in source 2 and \[5, 4\]",
    ),
    "missing": (lambda: merge([model(), mlp(5, 1)]), r"is missing in source 2"),
    "order": (lambda: merge([_one_order(), _other_order()]), "in another order"),
    "frozen": (lambda: merge([_frozen(0), _frozen(1)]), "frozen parameter dense1.weight of source 2"),
    "buffers count": (lambda: merge(P, buffers=[{}]), "buffers holds those of 1 models for 3"),
    "buffers differ": (lambda: merge(P, buffers=[{}, {"a": P}, {}]), "Buffer a of source 2"),
}


@pytest.mark.parametrize("name", WRONG)
def test_misuse_is_one_sentence(name: str) -> None:
    call, said = WRONG[name]
    with pytest.raises(BadInput, match=said):
        call()
