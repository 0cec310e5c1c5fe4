"""One clear sentence for everything that makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

from landform import models
from landform.errors import BadInput

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("resnet", {"inputs": (3, 8, 8)}, r"'resnet' is unknown: did you mean 'resnet20' or 'resnet18'"),
    ("zebra", {}, r"'zebra' is unknown: give one of mlp, small_cnn"),
    (3, {}, "model 3 is unknown"),
    ("mlp", {"dropuot": 0.1}, "option of mlp 'dropuot' is unknown: did you mean 'dropout'"),
    ("rnn", {"inputs": (5, 3), "norm": "batch"}, "option of rnn 'norm' is unknown"),
    ("mlp", {"inputs": ()}, "inputs of mlp is"),
    ("mlp", {"inputs": 64}, r"inputs of mlp is 64: .* such as \(64,\)"),
    ("mlp", {"inputs": (0,)}, r"inputs\[0\] of mlp is 0: give a whole number of at least 1"),
    ("mlp", {"classes": 0}, "classes is 0"),
    ("mlp", {"classes": True}, "classes is True"),
    ("mlp", {"classes": 2.5}, "classes is 2.5"),
    ("mlp", {"width": 0}, "width is 0"),
    ("mlp", {"width": "64"}, "width is '64'"),
    ("mlp", {"width": ()}, r"width is \(\)"),
    ("mlp", {"width": (4, -1)}, r"width\[1\] is -1"),
    ("mlp", {"width": (4, 4), "depth": 3}, "depth is 3 but width names 2"),
    ("mlp", {"depth": -1}, "depth is -1"),
    ("mlp", {"activation": "rleu"}, "activation 'rleu' is unknown: did you mean 'relu'"),
    ("mlp", {"norm": "batch"}, "norm 'batch' is unknown: give one of none, layer"),
    ("mlp", {"dropout": 1.0}, r"dropout is 1.0: give a number in \[0, 1\)"),
    ("mlp", {"dropout": "0.1"}, "dropout is '0.1'"),
    ("mlp", {"seed": -1}, "seed is -1"),
    ("mlp", {"seed": 0.5}, "seed is 0.5"),
    ("mlp", {"parametrisation": "NTK"}, "parametrisation 'NTK' is unknown"),
    ("mlp", {"init": "xavier"}, "init 'xavier' is unknown"),
    ("small_cnn", {"inputs": (1, 7, 9)}, "at least 8 x 8 pixels, not 7 x 9"),
    ("small_cnn", {"inputs": (8, 8)}, r"\(channels, height, width\)"),
    ("small_cnn", {"inputs": (1, 8, 8), "downsample": "pool"}, "downsample 'pool' is unknown"),
    ("small_cnn", {"inputs": (1, 8, 8), "head": "max"}, "head 'max' is unknown"),
    ("small_cnn", {"inputs": (1, 8, 8), "width": ()}, "width is"),
    ("lenet", {"inputs": (1, 8, 8)}, "lenet takes images of at least 16 x 16"),
    ("lenet", {"inputs": (1, 28, 28), "pool": "avg"}, "pool 'avg' is unknown"),
    ("lenet", {"inputs": (1, 28, 28), "width": (6, 16)}, r"width is \(6, 16\)"),
    ("vgg11", {"inputs": (3, 4, 4)}, "at least 8 x 8"),
    ("vgg11", {"inputs": (3, 8, 8), "norm": "layer"}, "norm 'layer' is unknown"),
    ("resnet20", {"inputs": (3, 8, 8), "norm": "btach"}, "norm 'btach' is unknown: did you mean 'batch'"),
    ("resnet20", {"inputs": (3, 8, 8), "shortcut": "A"}, "shortcut 'A' is unknown"),
    ("resnet18", {"inputs": (3, 8, 8), "classes": 0}, "classes is 0"),
    ("wide_resnet", {"inputs": (3, 8, 8), "depth": 18}, r"depth of wide_resnet is 18: give 6 n \+ 4"),
    ("wide_resnet", {"inputs": (3, 8, 8), "depth": 4}, "depth of wide_resnet is 4"),
    ("wide_resnet", {"inputs": (3, 8, 8), "dropout": -0.1}, "dropout is -0.1"),
    ("wide_resnet", {"inputs": (3, 8, 8), "widen": 0}, "widen is 0"),
    ("transformer", {"inputs": (3, 8)}, r"give the shape of one input without the batch, \(longest text,\)"),
    ("transformer", {"inputs": (8,), "width": 10, "heads": 4}, "width 10 of transformer cannot be shared by 4 heads"),
    ("transformer", {"inputs": (8,), "depth": 0}, "depth is 0"),
    ("rnn", {"inputs": (8,)}, r"\(steps, channels\)"),
    ("rnn", {"inputs": (8, 1), "masked": True}, "at least 2 channels"),
    ("rnn", {"inputs": (8, 1), "activation": "gelu"}, "activation of rnn 'gelu' is unknown"),
    ("rnn", {"inputs": (8, 1), "recurrent_scale": 0}, "recurrent_scale is 0"),
]


@pytest.mark.parametrize(("name", "options", "said"), REFUSED)
def test_refused_in_one_sentence(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        models.build(name, **{"inputs": (6,), "classes": 3, **options})
    assert "\n" not in str(refused.value)
