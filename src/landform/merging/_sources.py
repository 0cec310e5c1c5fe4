"""What may be merged in memory: points and models of one layout, seen as parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.layout import Layout
from landform.merging._method import Part

Buffers: TypeAlias = Mapping[str, Tensor]
# What a part is computed in, by what is given.
_WORK = {torch.float32: torch.float32, torch.float64: torch.float64}


@dataclass(frozen=True)
class Sources:
    """Points in memory.

    Attributes:
        points: of the sources, each ``[P]``, on one device and of one type; a matrix ``[n, P]`` if they were given so.
        base: ``[P]``, or None.
        layout: what a point holds, or None where nobody said.
        buffers: of each source, or empty.
        given: the type of the merged point, if it is not that of the sources.
    """

    points: Tensor | tuple[Tensor, ...]
    base: Tensor | None
    layout: Layout | None
    buffers: tuple[Buffers, ...]
    given: torch.dtype | None = None

    @property
    def room(self) -> Tensor:
        """Memory for the merged point, ``[P]``."""
        first = self.points[0]
        return torch.empty(len(first), dtype=self.given or first.dtype, device=first.device)

    @property
    def spans(self) -> list[tuple[str, int, int, tuple[int, ...]]]:
        """Name, start, stop and shape of each tensor; one of all numbers where no layout is known."""
        if self.layout is None:
            size = len(self.points[0])
            return [("point", 0, size, (size,))]
        return [(slot.name, slot.start, slot.stop, slot.shape) for slot in self.layout.slots]

    @property
    def matrix(self) -> Tensor:
        """The points as ``[n, P]``."""
        return self.points if isinstance(self.points, Tensor) else torch.stack(self.points)

    def __iter__(self) -> Iterator[Part]:
        """The parts, one for each tensor."""
        for name, start, stop, shape in self.spans:
            rows = (
                self.points[:, start:stop]  # without a copy
                if isinstance(self.points, Tensor)
                else torch.stack([point[start:stop] for point in self.points])
            )
            work = _WORK.get(rows.dtype, torch.float32)
            base = None if self.base is None else self.base[start:stop].to(work).view(shape)
            yield Part(name, rows.to(work).reshape(len(rows), *shape), base)


def read_sources(
    points: Sequence[Tensor | nn.Module] | Tensor,
    base: Tensor | nn.Module | None,
    layout: Layout | None,
    buffers: Sequence[Buffers] | None,
) -> Sources:
    """Look at what is to be merged.

    Args:
        points: ``[n, P]``, or a sequence of ``[P]`` and models.
        base: ``[P]``, a model, or None.
        layout: what a point holds, or None: then that of the first model, if there is one.
        buffers: of each source, or None: then those of models.

    Returns:
        The sources.

    Raises:
        BadInput: when they are not points of one layout, type and device.
    """
    if isinstance(points, Tensor) and points.dim() != 2:
        raise BadInput(f"points has shape {list(points.shape)}: give a matrix [n, P], or a sequence of points [P].")
    if not isinstance(points, Tensor | Sequence) or isinstance(points, str):
        raise BadInput(f"points is a {type(points).__name__}: give a sequence of points or models, or a matrix [n, P].")
    given: list[Any] = [*points, *([] if base is None else [base])]
    names = [*(f"source {i + 1}" for i in range(len(points))), "the base"]
    if not len(points):
        raise BadInput("There is nothing to merge: give at least two points or models.")
    models = [thing for thing in given if isinstance(thing, nn.Module)]
    if layout is None and models:
        layout = Layout.of(models[0])
    _same_frozen(models, [name for name, thing in zip(names, given, strict=False) if isinstance(thing, nn.Module)])
    first: Tensor | None = None
    read: list[Tensor] = []
    for name, thing in zip(names, given, strict=False):
        point = _point(name, thing, layout)
        first = point if first is None else first
        if len(point) != len(first):
            raise BadInput(
                f"{_cap(name)} has {len(point)} numbers and source 1 {len(first)}: only points of one architecture "
                "can be merged."
            )
        if point.dtype != first.dtype:
            raise BadInput(
                f"{_cap(name)} is {_type(point)} and source 1 {_type(first)}: bring them to one type first, "
                f"as by .to({first.dtype})."
            )
        read.append(point.to(first.device))
    own = buffers
    if own is None and models and all(isinstance(thing, nn.Module) for thing in points):
        own = [{key: value.detach() for key, value in model.named_buffers()} for model in points]  # type: ignore[union-attr]
    count = len(points)
    rows = points.detach() if isinstance(points, Tensor) else tuple(read[:count])
    return Sources(rows, read[count] if base is not None else None, layout, _same_buffers(own, count))


def merge_buffers(buffers: Sequence[Buffers], weights: Sequence[float]) -> dict[str, Tensor]:
    """Make buffers for a merged point without looking at data.

    Args:
        buffers: of each source.
        weights: of the sources, for the mean.

    Returns:
        Floating-point buffers averaged where they differ, all others of the first source.
    """
    if not buffers:
        return {}
    total = sum(weights)
    positive = min(weights) >= 0 and total > 0  # a mean of variances needs such weights
    share = [weight / total for weight in weights] if positive else [1 / len(buffers)] * len(buffers)
    merged: dict[str, Tensor] = {}
    for name, first in buffers[0].items():
        rest = [own[name].to(first.device, first.dtype) for own in buffers[1:]]
        if not first.is_floating_point() or all(torch.equal(first, other) for other in rest):
            merged[name] = first.clone()
        else:
            wide = torch.stack([first, *rest]).to(_WORK.get(first.dtype, torch.float32))
            merged[name] = torch.tensordot(wide.new_tensor(share), wide, dims=1).to(first.dtype)
    return merged


def _point(name: str, given: Any, layout: Layout | None) -> Tensor:
    if isinstance(given, nn.Module):
        assert layout is not None
        _same_layout(name, Layout.of(given), layout)
        return layout.point(given)
    if not isinstance(given, Tensor):
        raise BadInput(f"{_cap(name)} is a {type(given).__name__}: give a point, a 1-D tensor, or a model.")
    if given.dim() != 1 or not given.is_floating_point() or not len(given):
        raise BadInput(
            f"{_cap(name)} is a {_type(given)} tensor of shape {list(given.shape)}: a point is floating-point numbers "
            "in one row."
        )
    if layout is not None and len(given) != layout.size:
        ends = [slot for slot in layout.slots if slot.start <= len(given) < slot.stop]
        where = f" (it would end in {ends[0].name} {list(ends[0].shape)})" if ends else ""
        raise BadInput(
            f"{_cap(name)} has {len(given)} numbers and a point of this layout {layout.size}{where}: only points of "
            "one architecture can be merged."
        )
    return given.detach()


def _same_layout(name: str, theirs: Layout, ours: Layout) -> None:
    """Name the first parameter in which two architectures differ."""
    here, there = ({slot.name: slot.shape for slot in layout.slots} for layout in (ours, theirs))
    for key in {**here, **there}:
        shapes = [f"{list(shapes[key])}" if key in shapes else "missing" for shapes in (there, here)]
        if shapes[0] != shapes[1]:
            raise BadInput(
                f"Parameter {key} is {shapes[0]} in {name} and {shapes[1]} in what it is merged with: only models of "
                "one architecture can be merged, with the same parameters frozen."
            )
    if ours.names != theirs.names:
        raise BadInput(f"{_cap(name)} has the parameters of the others in another order: build it as they were built.")


def _same_frozen(models: Sequence[nn.Module], names: Sequence[str]) -> None:
    """Refuse models that differ in what a point leaves out."""
    fixed = [{key: p.detach() for key, p in model.named_parameters() if not p.requires_grad} for model in models]
    for name, own in zip(names[1:], fixed[1:], strict=False):
        for key, value in own.items():
            first = fixed[0].get(key)
            if first is not None and (first.shape != value.shape or not torch.equal(first, value.to(first.device))):
                raise BadInput(
                    f"The frozen parameter {key} of {name} is not that of {names[0]}, and a point does not hold it: "
                    "let it require a gradient to have it merged, or copy one into all."
                )


def _same_buffers(buffers: Sequence[Buffers] | None, count: int) -> tuple[Buffers, ...]:
    if buffers is None:
        return ()
    if len(buffers) != count:
        raise BadInput(f"buffers holds those of {len(buffers)} models for {count} sources: give a mapping for each.")
    for i, own in enumerate(buffers):
        for key in {**buffers[0], **own}:
            if key not in own or key not in buffers[0] or own[key].shape != buffers[0][key].shape:
                raise BadInput(
                    f"Buffer {key} of source {i + 1} is not like that of source 1: only models of one architecture can "
                    "be merged."
                )
    return tuple(buffers)


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _cap(name: str) -> str:
    return name[:1].upper() + name[1:]
