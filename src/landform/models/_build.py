"""Models by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from landform.models._checks import one_of
from landform.models._layers import Parametrisation
from landform.models._lenet import lenet
from landform.models._mlp import mlp
from landform.models._quantum import quantum_patches
from landform.models._resnet import resnet18, resnet20
from landform.models._rnn import rnn
from landform.models._small_cnn import small_cnn
from landform.models._transformer import transformer
from landform.models._vgg import vgg11
from landform.models._wide_resnet import wide_resnet

_ZOO: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "small_cnn": small_cnn,
    "lenet": lenet,
    "vgg11": vgg11,
    "resnet20": resnet20,
    "resnet18": resnet18,
    "wide_resnet": wide_resnet,
    "transformer": transformer,
    "rnn": rnn,
    "quantum_patches": quantum_patches,
}


def names() -> tuple[str, ...]:
    """List the models.

    Returns:
        The names that `build` knows, each also a function of this room.
    """
    return tuple(_ZOO)


def build(
    name: str,
    *,
    inputs: Sequence[int],
    classes: int,
    width: int | Sequence[int] | None = None,
    seed: int = 0,
    parametrisation: Parametrisation = "standard",
    **options: Any,
) -> nn.Module:
    """Make a model by name.

    The parameters are a pure function of name, options and seed: on the CPU, in float32, whatever the global generator,
    the default type or the default device.

    Args:
        name: one of `names`.
        inputs: shape of one input, without the batch.
        classes: how many outputs.
        width: the model's width; its own default if not given.
        seed: of the initialisation.
        parametrisation: ``"standard"`` or ``"ntk"``.
        **options: further options of the model's function.

    Returns:
        The model, in training mode.

    Raises:
        BadInput: when the name or an option is unknown, or an option makes no sense.
    """
    maker = _ZOO[one_of("model", name, names())]
    known = inspect.signature(maker).parameters
    for option in options:
        one_of(f"option of {name}", option, tuple(known))
    if width is not None:
        one_of(f"option of {name}", "width", tuple(known))
        options["width"] = width
    return maker(inputs=inputs, classes=classes, seed=seed, parametrisation=parametrisation, **options)
