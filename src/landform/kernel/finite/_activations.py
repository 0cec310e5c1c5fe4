"""Kernels of activations: the conjugate kernel, and that of what goes into any layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.kernel.finite._ntk import MEMORY
from landform.kernel.finite._samples import Samples, samples_of
from landform.landscape import Landscape
from landform.per_sample import Rules
from landform.store import size_text


def activations(
    landscape: Landscape,
    point: Tensor,
    x: Any = None,
    x2: Any = None,
    *,
    layer: str | None = None,
    memory: float = MEMORY,
    buffers: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The kernel of what goes into a layer: ``h(x) . h(x')``, summed over positions.

    For the last dense layer, which is taken by default, it is the conjugate kernel: the kernel of training the read-out
    alone, for each output, without its bias.

    Args:
        landscape: gives the model, and the data where ``x`` is None.
        point: ``[P]``.
        x: as for `ntk`.
        x2: as for `ntk`.
        layer: the name of a module with a weight, such as ``"readout"``; the last dense one by default.
        memory: bytes that activations and kernel may take.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        ``[n, m]``.

    Raises:
        BadInput: when there is no such layer, or the activations do not fit.
    """
    left = samples_of(landscape, x, "x", targets=False)
    right = None if x2 is None else samples_of(landscape, x2, "x2", targets=False)
    rules = Rules(landscape, point, left.batch, buffers=buffers)
    weight = _weight(rules, layer)
    two = rules(left.part(slice(0, 2))).entering(weight)
    if two.dtype != rules.point.dtype:
        raise BadInput(f"What goes into {layer} are indices, not activations: name a later layer.")
    count = len(left) + (len(right) if right is not None else 0)
    needed = (count * two[0].numel() + len(left) * len(right or left)) * two.element_size()
    if needed > memory:
        raise BadInput(
            f"Activations of {count:,} samples and their kernel take {size_text(needed)}, and memory= is "
            f"{size_text(memory)}: give more, or fewer samples."
        )
    first = _entering(rules, left, weight)
    return first @ (first if right is None else _entering(rules, right, weight)).T


def _entering(rules: Rules, samples: Samples, weight: str) -> Tensor:
    together = rules.together(0)
    parts = []
    with torch.no_grad():
        for start in range(0, len(samples), together):
            chunk = slice(start, min(start + together, len(samples)))
            parts.append(rules(samples.part(chunk)).entering(weight).flatten(1))
    return torch.cat(parts)


def _weight(rules: Rules, layer: str | None) -> str:
    dense = [name for name, kind in rules.kinds.items() if kind == "dense"]
    if layer is None:
        if not dense:
            raise BadInput("The model has no dense layer with a rule to take as its read-out: name a layer=.")
        return dense[-1]
    named = [name for name in rules.kinds if name.rpartition(".")[0] == layer and name.endswith("weight")]
    if len(named) != 1:
        known = dict.fromkeys(name.rpartition(".")[0] for name in rules.kinds if name.endswith("weight"))
        raise BadInput(f"There is no layer {layer!r} with a weight of its own: the model has {', '.join(known)}.")
    return named[0]
