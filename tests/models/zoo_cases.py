"""The models every test of the zoo runs over: small, all options that change the arithmetic."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from landform import models

# name of the case -> (model, shape of one input, options)
CASES: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "mlp": ("mlp", (6,), {"width": 8}),
    "mlp-deep": ("mlp", (1, 2, 4), {"width": (8, 6, 5, 4), "activation": "gelu", "norm": "layer", "init": "torch"}),
    "mlp-dropout": ("mlp", (6,), {"width": 16, "depth": 2, "activation": "tanh", "dropout": 0.3}),
    "mlp-linear": ("mlp", (6,), {"depth": 0, "bias": False}),
    "cnn": ("small_cnn", (1, 8, 8), {"width": 4}),
    "cnn-batch": ("small_cnn", (3, 9, 11), {"width": 4, "norm": "batch", "downsample": "max"}),
    "cnn-group": ("small_cnn", (3, 10, 8), {"width": (4, 6), "norm": "group", "downsample": "mean", "head": "flatten"}),
    "cnn-torch": ("small_cnn", (1, 8, 8), {"width": 4, "init": "torch", "head": "flatten"}),
    "lenet": ("lenet", (1, 16, 20), {"width": 3}),
    "lenet-mean": ("lenet", (3, 17, 16), {"width": 3, "pool": "mean", "activation": "tanh"}),
    "vgg11": ("vgg11", (1, 8, 8), {"width": 2}),
    "vgg11-group": ("vgg11", (3, 32, 32), {"width": 2, "norm": "group"}),
    "resnet20": ("resnet20", (3, 8, 8), {"width": 4}),
    "resnet20-pad": ("resnet20", (1, 9, 8), {"width": 4, "norm": "none", "shortcut": "pad"}),
    "resnet18": ("resnet18", (3, 8, 8), {"width": 2, "norm": "group", "activation": "gelu"}),
    "wide": ("wide_resnet", (3, 8, 8), {"width": 4, "depth": 10, "widen": 2}),
    "wide-none": ("wide_resnet", (1, 8, 9), {"width": 4, "depth": 10, "widen": 1, "norm": "none", "dropout": 0.2}),
    "transformer": ("transformer", (6,), {"width": 8, "heads": 2, "depth": 2}),
    "transformer-tied": ("transformer", (6,), {"width": 8, "heads": 4, "depth": 1, "tied": True, "dropout": 0.1}),
    "rnn": ("rnn", (5, 2), {"width": 6}),
    "rnn-masked": ("rnn", (5, 3), {"width": 6, "depth": 2, "activation": "relu", "masked": True}),
}
CLASSES = 5


def make(case: str, **changes: Any) -> nn.Module:
    """The model of a case, with some options changed."""
    name, inputs, options = CASES[case]
    return models.build(name, inputs=inputs, classes=CLASSES, **{**options, **changes})


def batch(case: str, samples: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    """Inputs for the model of a case, ``[samples, *inputs]``."""
    name, inputs, options = CASES[case]
    generator = torch.Generator().manual_seed(1)
    if name == "transformer":
        return torch.randint(CLASSES, (samples, *inputs), generator=generator)
    x = torch.randn(samples, *inputs, generator=generator, dtype=dtype)
    if options.get("masked"):
        x[..., -1] = (x[..., -1] > 0).to(dtype)
        x[:, -1, -1] = 1
    return x
