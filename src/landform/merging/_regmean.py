"""RegMean: each linear layer as near as can be to what every source's layer puts out on its own inputs.

For a layer with inputs X_i at source i and Gram matrix ``G_i = X_i' X_i`` the least squares

``min over W of sum over i of w_i ||X_i (W - W_i)'||^2``

have the closed form ``W = (sum w_i W_i G_i) (sum w_i G_i)^-1`` (Jin, Ren, Preotiuc-Pietro and Cheng 2023, eq. 2).
Before, the numbers off the diagonal of G_i are scaled by ``scale``. A convolution is linear in the patches that it
reads; a bias is the weight of one more input, which is always 1. Gram matrices are means over samples, so that tasks of
any size count alike; where inputs do not vary, it is the mean of the sources that stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landform.landscape import Landscape
from landform.merging._joint import Data, buffers_at, each, shares, together, weighed
from landform.merging._layers import double
from landform.merging._method import Asked, Method, Whole
from landform.merging._settings import choice, number
from landform.per_sample import Layer, Outer, Rules, count, cut


@dataclass(frozen=True)
class _Linear:
    """A linear layer, or a block of its rows.

    Attributes:
        key: what gradients of single samples call it.
        weight: the parameter.
        start: its first row.
        rows: how many rows.
        bias: the parameter that is added, where it is solved for too.
        turned: whether the parameter is ``[inputs, outputs]``.
        size: of the Gram matrix.
    """

    key: str
    weight: str
    start: int
    rows: int
    bias: str | None
    turned: bool
    size: int


def _merge(data: Data, points: Tensor, base: Tensor | None, asked: Asked) -> Whole:
    landscapes, weights = each(data, len(points)), shares(asked.weights)
    layout = landscapes[0].layout
    merged = weighed(points, weights)
    views = {name: view.clone() for name, view in layout.views(merged).items()}
    plans = [
        _layers(one, point, asked.settings["bias"] == "joint") for one, point in zip(landscapes, points, strict=True)
    ]
    linear = [layer for layer in plans[0] if all(layer in others for others in plans[1:])]
    ranks: dict[str, float] = {}
    for some in _in_memory(linear, asked.settings["memory"]):
        sums: dict[str, Tensor] = {}
        right: dict[str, Tensor] = {}
        for landscape, point, share in zip(landscapes, points, weights.tolist(), strict=True):
            own = layout.views(point)
            for layer, gram in _grams(landscape, point, some).items():
                scaled = _scaled(gram, asked.settings["scale"]) * share
                away = (_rows(layer, own) - _rows(layer, views)).to(scaled)
                sums[layer.key] = sums.get(layer.key, 0.0) + scaled
                right[layer.key] = right.get(layer.key, 0.0) + away @ scaled
        for layer in some:
            step, ranks[layer.key] = _solved(sums.pop(layer.key), right.pop(layer.key))
            _put(layer, views, _rows(layer, views) + step.to(merged))
    point = layout.join(views)
    solved = tuple(dict.fromkeys(name for one in linear for name in (one.weight, one.bias) if name))
    facts = {
        "solved": solved,
        "averaged": tuple(name for name in layout.names if name not in solved),
        "rank": ranks,
        "scale": asked.settings["scale"],
    }
    return Whole(point, facts, buffers_at(together(data), point))


def _layers(landscape: Landscape, point: Tensor, biases: bool) -> list[_Linear]:
    """The linear layers of a model, as the first samples show them."""
    batch = cut(next(iter(landscape._data.batches(2))), slice(0, 2))
    shapes = {slot.name: slot.shape for slot in landscape.layout.slots}
    found: list[_Linear] = []
    for layer in _seen(Rules(landscape, point, batch), batch):
        name, _, rest = layer.weight.partition("[")
        if not isinstance(layer.part, Outer) or len(shapes[name]) < 2:
            continue
        part = layer.part
        inner, outer = part.inputs.shape[2], part.cotangents.shape[3]
        # The bias of a block of rows is itself a block of a longer one: it is averaged.
        bias = layer.bias if biases and layer.bias is not None and shapes[layer.bias] == (outer,) else None
        start = int(rest[:-2]) if rest else 0
        found.append(_Linear(layer.weight, name, start, outer, bias, part.turned, inner + (bias is not None)))
    every = [layer.bias for layer in found]
    # A bias that several layers add is no layer's own.
    return [one if every.count(one.bias) == 1 else _without(one) for one in found]


def _without(layer: _Linear) -> _Linear:
    if layer.bias is None:
        return layer
    return _Linear(layer.key, layer.weight, layer.start, layer.rows, None, layer.turned, layer.size - 1)


def _in_memory(layers: Sequence[_Linear], memory: float) -> Iterator[list[_Linear]]:
    """Layers whose Gram matrices, of the sum and of one source, are held together."""
    some: list[_Linear] = []
    held = 0
    for layer in layers:
        size = 16 * layer.size**2
        if some and held + size > memory:
            yield some
            some, held = [], 0
        some.append(layer)
        held += size
    if some:
        yield some


def _grams(landscape: Landscape, point: Tensor, layers: Sequence[_Linear]) -> dict[_Linear, Tensor]:
    """``X' X`` over the data for each layer, divided by the number of samples, ``[size, size]``, float64."""
    wanted = {layer.key: layer for layer in layers}
    wide = double(point)
    found = {
        layer: torch.zeros(layer.size, layer.size, dtype=wide, device=landscape.device) for layer in wanted.values()
    }
    samples = 0
    buffers = None
    for batch in landscape._data.batches(landscape._batch_size):
        rules = Rules(landscape, point, batch, buffers=buffers)
        buffers, size, step = rules.buffers, count(batch), rules.together()
        samples += size
        for start in range(0, size, step):
            for seen in _seen(rules, cut(batch, slice(start, min(start + step, size)))):
                layer = wanted.get(seen.weight)
                if layer is None or not isinstance(seen.part, Outer):
                    continue
                rows = seen.part.inputs.flatten(0, 1)
                gram = (rows.T @ rows).to(wide)
                inner = len(gram)
                found[layer][:inner, :inner] += gram
                if layer.bias is not None:
                    sums = rows.sum(0).to(wide)
                    found[layer][inner, :inner] += sums
                    found[layer][:inner, inner] += sums
                    found[layer][inner, inner] += len(rows)
    return {layer: gram / samples for layer, gram in found.items()}


def _seen(rules: Rules, batch: object) -> Iterator[Layer]:
    """What goes into each layer; the gradients of nothing are zero."""
    passed = rules(batch)
    nothing = passed.outputs.detach().new_zeros(1, *passed.outputs.shape)
    yield from passed.pull_layers(nothing, last=True)


def _scaled(gram: Tensor, scale: float) -> Tensor:
    """Numbers off the diagonal made smaller."""
    if scale == 1:
        return gram
    return gram * scale + torch.diag(gram.diagonal() * (1 - scale))


def _solved(gram: Tensor, right: Tensor) -> tuple[Tensor, float]:
    """The least step that solves ``step @ gram = right``, and the share of directions in which inputs vary."""
    values, vectors = (t.to(gram) for t in torch.linalg.eigh(gram.cpu() if gram.device.type == "mps" else gram))
    used = values > len(values) * torch.finfo(gram.dtype).eps * values.abs().max()
    inverse = torch.where(used, 1 / torch.where(used, values, 1.0), 0.0)
    return (right @ vectors * inverse) @ vectors.T, float(used.double().mean())


def _rows(layer: _Linear, tensors: dict[str, Tensor]) -> Tensor:
    """Weight, and bias as a last column, ``[outputs, size]``."""
    weight = tensors[layer.weight]
    if layer.turned:
        inner = layer.size - (layer.bias is not None)
        rows = weight[layer.start : layer.start + inner].T
    else:
        rows = weight[layer.start : layer.start + layer.rows].flatten(1)
    return rows if layer.bias is None else torch.cat([rows, tensors[layer.bias][:, None]], 1)


def _put(layer: _Linear, tensors: dict[str, Tensor], rows: Tensor) -> None:
    if layer.bias is not None:
        tensors[layer.bias].copy_(rows[:, -1])
        rows = rows[:, :-1]
    weight = tensors[layer.weight]
    if layer.turned:
        weight[layer.start : layer.start + rows.shape[1]] = rows.T
    else:
        part = weight[layer.start : layer.start + layer.rows]
        part.copy_(rows.reshape(part.shape))


REGMEAN = Method(
    name="regmean",
    doc="Linear layers and convolutions by least squares on the inputs of every source; a mean of the rest.",
    paper="Jin, Ren, Preotiuc-Pietro and Cheng 2023",
    settings={
        "scale": number(0.9, "what Gram matrices are scaled by off their diagonal; 1 for plain least squares", 0, 1),
        "bias": choice(
            "joint", "'joint' solves for biases too, as weights of an input 1; 'mean' averages them", "joint", "mean"
        ),
        "memory": number(2**30, "bytes of Gram matrices that are held at a time", 1),
    },
    whole=_merge,
)
