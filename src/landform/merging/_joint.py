"""What methods that look at data are given: one landscape, or one for each of several tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.landscape._batches import Tensors

Data: TypeAlias = "Landscape | Mapping[str, Landscape]"


def tasks(data: Data) -> dict[str, Landscape]:
    """Look at what was given.

    Args:
        data: a landscape, or landscapes by the name of their task.

    Returns:
        Landscapes by name; a single one has the name ``"data"``.

    Raises:
        BadInput: when it is neither, or the tasks are of different models.
    """
    if isinstance(data, Landscape):
        return {"data": data}
    if not isinstance(data, Mapping) or not data or not all(isinstance(one, Landscape) for one in data.values()):
        raise BadInput(
            f"data is a {type(data).__name__}: give a landscape, lf.Landscape(model, data), or a dictionary of one for "
            "each task."
        )
    found = {str(name): one for name, one in data.items()}
    names = list(found)
    first = found[names[0]]
    ours = {slot.name: slot.shape for slot in first.layout.slots}
    for name in names[1:]:
        theirs = {slot.name: slot.shape for slot in found[name].layout.slots}
        for key in [*ours, *theirs]:
            if ours.get(key) != theirs.get(key):
                told = " and ".join(
                    f"{list(one[key])} for {task}" if key in one else f"not there for {task}"
                    for task, one in ((names[0], ours), (name, theirs))
                )
                raise BadInput(f"The tasks are of different models: {key} is {told}; give landscapes of one model.")
        for what, mine, other in (
            ("loss", first._loss_name, found[name]._loss_name),
            ("device", first.device, found[name].device),
            ("dtype", first.dtype, found[name].dtype),
            ("batchnorm", first.batchnorm, found[name].batchnorm),
        ):
            if mine != other:
                raise BadInput(
                    f"The tasks {names[0]} and {name} have {what} {mine} and {other}: make their landscapes alike."
                )
    return found


def together(data: Data) -> Landscape:
    """One landscape over the samples of all tasks, in a fixed mixed order, so that BatchNorm sees them mixed.

    Args:
        data: a landscape, or landscapes by task.

    Returns:
        The landscape given, where there is one alone; else a new one, on which each sample counts as much as another.
    """
    every = list(tasks(data).values())
    first = every[0]
    if len(every) == 1:
        return first
    held = [one._data for one in every if isinstance(one._data, Tensors)]
    inputs, targets = [one.inputs for one in held], [one.targets for one in held]
    mixed: Any
    if len(held) == len(every) and _alike(inputs) and _alike(targets):
        order = torch.randperm(sum(map(len, held)), generator=torch.Generator().manual_seed(0)).to(first.device)
        mixed = (torch.cat(inputs)[order], torch.cat(targets)[order])
    else:
        mixed = _InTurn(every)
    return Landscape(
        first._model,
        mixed,
        loss=first._loss_name if first._loss_name in ("cross-entropy", "mse") else first._loss,
        batch_size=first._batch_size,
        device=first.device,
        dtype=first.dtype,
        batchnorm=first.batchnorm,
        forward=first._forward,
        weight_decay=first.weight_decay,
    )


def each(data: Data, count: int) -> list[Landscape]:
    """A landscape for each source.

    Args:
        data: one for all, or as many as sources, in their order.
        count: how many sources.

    Returns:
        One for each.

    Raises:
        BadInput: when there are several, but not as many as sources.
    """
    every = list(tasks(data).values())
    if len(every) not in (1, count):
        raise BadInput(
            f"There are {len(every)} tasks in data ({', '.join(tasks(data))}) and {count} sources: give one Landscape "
            "for all, or one for each source in their order."
        )
    return every * count if len(every) == 1 else every


def buffers_at(landscape: Landscape, point: Tensor) -> dict[str, Tensor]:
    """BatchNorm's statistics that belong to a merged point, where the landscape finds them anew.

    Args:
        landscape: the landscape.
        point: ``[P]``.

    Returns:
        Buffers by name; none where there is nothing to find.
    """
    return landscape.calibrate(point) if landscape.batchnorm == "recompute" else {}


def shares(weights: tuple[float, ...]) -> Tensor:
    """Weights that add up to 1, ``[n]``, float64.

    Args:
        weights: as given.

    Returns:
        The shares.

    Raises:
        BadInput: when one is negative, or they add up to nothing.
    """
    given = torch.tensor(weights, dtype=torch.float64)
    if not bool((given >= 0).all() & given.isfinite().all()) or not float(given.sum()) > 0:
        raise BadInput(f"The weights are {list(weights)}: give numbers of 0 or more, not all of them 0.")
    return given / given.sum()


def weighed(points: Tensor, by: Tensor) -> Tensor:
    """``sum over i of by_i points_i``, summed in float64.

    Args:
        points: ``[n, P]``.
        by: ``[n]``.

    Returns:
        ``[P]``, of the type of the points.
    """
    wide = torch.float32 if points.device.type == "mps" else torch.float64
    total = torch.zeros(points.shape[1], dtype=wide, device=points.device)
    for share, point in zip(by.tolist(), points, strict=True):
        total.add_(point, alpha=share)
    return total.to(points)


def _alike(tensors: list[Tensor]) -> bool:
    return len({(t.shape[1:], t.dtype) for t in tensors}) == 1


class _InTurn:
    """Batches of several streams, one of each in turn, to be gone through again and again."""

    def __init__(self, every: list[Landscape]) -> None:
        self._every = every

    def __iter__(self) -> Iterator[Any]:
        for batches in zip_longest(*(one._data.batches(one._batch_size) for one in self._every)):
            yield from (batch for batch in batches if batch is not None)
