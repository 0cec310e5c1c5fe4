"""Several points side by side over the same batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.functions._contract import check_numbers
from landform.functions._watch import LayerWatch, UnitWatch
from landform.landscape import Landscape

Own: TypeAlias = Sequence[Mapping[str, Tensor] | None] | None


@dataclass(frozen=True)
class Step:
    """What n points give for one batch.

    Attributes:
        outputs: of each, ``[B, ...]``.
        targets: of the batch.
        seen: what the watches have taken, for each point and each watch.
    """

    outputs: list[Tensor]
    targets: Any
    seen: list[list[dict[str, Any]]]


def walk(
    landscape: Landscape,
    points: Tensor,
    buffers: Own = None,
    watches: Sequence[LayerWatch | UnitWatch] = (),
    most: int | None = None,
) -> Iterator[Step]:
    """Go through the data once, each batch at all points, so that nothing has to be kept from batch to batch.

    Args:
        landscape: the landscape.
        points: ``[n, P]``.
        buffers: for each point buffers to use instead of the landscape's own, or None.
        watches: what to look at inside the model.
        most: samples at a time, where fewer than the landscape's own will do.

    Yields:
        What the points give, batch by batch.

    Raises:
        BadInput: when the model puts out something else than one tensor of numbers.
    """
    given = [None] * len(points) if buffers is None else list(buffers)
    # One point is one block, with its buffers: calibrated, where the landscape recomputes them.
    blocks = [next(landscape._blocks(point, own)) for point, own in zip(points, given, strict=True)]
    size = landscape._batch_size
    if most is not None and landscape.batchnorm != "batch":  # there, what is in a batch is part of the function
        size = min(size, most)
    with torch.no_grad():
        for batch in landscape._data.batches(size):
            outputs: list[Tensor] = []
            seen: list[list[dict[str, Any]]] = []
            for place, (block, own) in enumerate(blocks):
                with ExitStack() as looking:
                    for watch in watches:
                        looking.enter_context(watch.on())
                    out, targets = landscape._function(
                        landscape.layout.views(block), own, partial(landscape._on_batch, batch)
                    )
                if not isinstance(out, Tensor) or out.dim() < 2:
                    got = f"of shape {list(out.shape)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
                    raise BadInput(f"Functions are compared by outputs [batch, ..., outputs]; the model's are {got}.")
                check_numbers(out, "outputs", place)
                outputs.append(out)
                seen.append([watch.taken() for watch in watches])
            yield Step(outputs, targets, seen)
