"""Merge points into one."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.layout import Layout
from landform.merging._ask import ask
from landform.merging._joint import Data, together
from landform.merging._layers import Layer, Sums, measure
from landform.merging._method import Asked, Method, Per
from landform.merging._registry import get
from landform.merging._sources import Buffers, Sources, merge_buffers, read_sources
from landform.merging._walk import Sound, walk

# Tensors that a printed merge shows.
_ROWS = 60


@dataclass(frozen=True)
class Merge:
    """Several points made into one, and how.

    Attributes:
        point: the merged point, ``[P]``, where and as the sources are.
        method: its name.
        weights: of the sources, as given; ones where none were.
        settings: of the method, each with its value.
        per: over what the method gathered what it had to know.
        layers: each tensor beside those of the sources; one called "point" where no layout is known.
        total: the same over the whole point.
        facts: what the method says of the whole.
        buffers: that belong to the point: found over the data where there is a landscape with BatchNorm, otherwise made
            of the sources' if these are known; ``facts["buffers"]`` says which.
        layout: of the point, if it is known.
    """

    point: Tensor
    method: str
    weights: tuple[float, ...]
    settings: Mapping[str, Any]
    per: Per
    layers: tuple[Layer, ...]
    total: Layer
    facts: Mapping[str, Any] = field(default_factory=dict)
    buffers: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    layout: Layout | None = field(default=None, repr=False)

    def load_(self, model: nn.Module) -> None:
        """Write the point and its buffers into a model, in place.

        Args:
            model: of the sources' architecture.

        Raises:
            BadInput: when it is not of that architecture, or no layout is known.
        """
        layout = self.layout or Layout.of(model)
        layout.load_(model, self.point)
        own = dict(model.named_buffers())
        with torch.no_grad():
            for name, buffer in self.buffers.items():
                if name not in own or own[name].shape != buffer.shape:
                    raise BadInput(f"{type(model).__name__} has no buffer {name} of shape {list(buffer.shape)}.")
                own[name].copy_(buffer)

    def __str__(self) -> str:
        """A short table."""
        told = ", ".join(f"{name} {_say(value)}" for name, value in self.settings.items() if value is not None)
        lines = [f"{self.method} of {len(self.weights)}, per {self.per}" + (f": {told}" if told else "")]
        if len(set(self.weights)) > 1:
            lines.append(f"weights {_say(self.weights)}")
        lines += [f"{name}: {_say(value)}" for name, value in self.facts.items()]
        head = ("tensor", "size", "moved by", "merged", "cosine to each", "between", "one sign", "changed")
        shown = ((self.total,) if len(self.layers) > 1 else ()) + self.layers[:_ROWS]
        rows = [head, *(_row(layer) for layer in shown)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
            lines.append("  ".join(cells).rstrip())
        if len(self.layers) > _ROWS:
            lines.append(f"and {len(self.layers) - _ROWS} tensors more")
        return "\n".join(lines)


def merge(
    points: Sequence[Tensor | nn.Module] | Tensor,
    *,
    method: str | Method = "mean",
    base: Tensor | nn.Module | None = None,
    weights: Sequence[float] | Tensor | None = None,
    data: Data | None = None,
    layout: Layout | None = None,
    per: Per | None = None,
    seed: int = 0,
    buffers: Sequence[Buffers] | None = None,
    **settings: Any,
) -> Merge:
    """Make one point of several.

    Args:
        points: the sources: a matrix ``[n, P]``, or a sequence of points ``[P]`` and of models.
        method: its name, one of `methods`, or a `Method` of your own.
        base: the point or model that the sources came from; many methods merge the differences from it.
        weights: one for each source; ones if not given.
        data: a landscape, for the methods that look at data, and to find BatchNorm's statistics anew; or one for each
            of several tasks, by name.
        layout: what a point holds; known from a landscape or a model. Without it a point is one tensor.
        per: whether thresholds, norms and angles are of the whole ``"point"`` or of each ``"tensor"``; if not given, as
            the method's paper has it.
        seed: of random drops; what is drawn for a tensor follows from it, the tensor's name and the source's place.
        buffers: of each source, such as a record's; models bring their own.
        **settings: of the method.

    Returns:
        The merged point, with a report on each tensor.

    Raises:
        BadInput: when the sources are not of one architecture, or the method cannot do what is asked.
    """
    chosen = get(method)
    where = None if data is None else together(data)
    sources = read_sources(points, base, layout or (where.layout if where is not None else None), buffers)
    names = [f"source {i + 1}" for i in range(len(sources.points))]
    asked = ask(chosen, names, base=base is not None, weights=weights, settings=settings, per=per, seed=seed)
    if chosen.whole is not None:
        return _with_data(chosen, sources, asked, data, where)
    return walked(chosen, sources, asked, where)


def walked(method: Method, sources: Sources, asked: Asked, data: Landscape | None) -> Merge:
    """Merge sources tensor by tensor.

    Args:
        method: a method that needs no data.
        sources: the sources.
        asked: of the method.
        data: to find BatchNorm's statistics anew, or None.

    Returns:
        The merged point.
    """
    point = sources.room
    sums: dict[str, Sums] = {}
    layers: list[Layer] = []
    facts: dict[str, Any] = {}
    for step, (_, start, stop, _) in zip(walk(method, sources, asked), sources.spans, strict=True):
        assert step.sums is not None
        point[start:stop] = step.tensor.reshape(-1)
        sums[step.name] = step.sums
        layers.append(step.sums.layer(step.name, step.facts if asked.per == "tensor" else None))
        facts = dict(step.facts) if asked.per == "point" or len(sources.spans) == 1 else {}
    return _finished(method, asked, sources, point, layers, sums, facts, {}, data)


def _with_data(method: Method, sources: Sources, asked: Asked, data: Data | None, where: Landscape | None) -> Merge:
    assert method.whole is not None
    if data is None or where is None:
        raise BadInput(f"{method.name} looks at data: give data=, a landscape with the loss and the data.")
    for _ in Sound(sources, asked):
        pass
    base = None if sources.base is None else sources.base.to(where.device, where.dtype)
    found = method.whole(data, sources.matrix.to(where.device, where.dtype), base, asked)
    first = sources.points[0]
    point = found.point.to(first.device, first.dtype)
    sums = {
        part.name: measure(part, point[start:stop].view(part.sources.shape[1:]))
        for part, (_, start, stop, _) in zip(sources, sources.spans, strict=True)
    }
    layers = [own.layer(name) for name, own in sums.items()]
    return _finished(method, asked, sources, point, layers, sums, found.facts, found.buffers, where)


def _finished(
    method: Method,
    asked: Asked,
    sources: Sources,
    point: Tensor,
    layers: Sequence[Layer],
    sums: Mapping[str, Sums],
    facts: Mapping[str, Any],
    own: Buffers,
    data: Landscape | None,
) -> Merge:
    """Add what belongs to the whole: the sums over all tensors, and buffers."""
    buffers, origin = dict(own), "of the method"
    if not buffers and data is not None and data.batchnorm == "recompute":
        buffers, origin = data.calibrate(point), "found over the data"
    elif not buffers and sources.buffers:
        buffers, origin = merge_buffers(sources.buffers, asked.weights), "averaged over the sources"
    total = functools.reduce(operator.add, sums.values()).layer("point")
    return Merge(
        point,
        method.name,
        asked.weights,
        asked.settings,
        asked.per,
        tuple(layers),
        total,
        {**facts, **({"buffers": origin} if buffers else {})},
        buffers,
        sources.layout,
    )


def _row(layer: Layer) -> tuple[str, ...]:
    def each(values: Sequence[float], most: int = 6) -> str:
        return " ".join(f"{value:.3g}" for value in values[:most]) + (" ..." if len(values) > most else "")

    def share(value: float) -> str:
        return "-" if math.isnan(value) else f"{100 * value:.1f} %"

    between = "-" if math.isnan(layer.between) else f"{layer.between:.3f}"
    cosines = " ".join("-" if math.isnan(value) else f"{value:.2f}" for value in layer.cosines[:6])
    return (
        layer.name,
        f"{layer.size:,}",
        each(layer.norms),
        f"{layer.norm:.3g}",
        cosines + (" ..." if len(layer.cosines) > 6 else ""),
        between,
        share(layer.agreement),
        share(layer.changed),
    )


def _say(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(_say(one) for one in value) + ")"
    return str(value)
