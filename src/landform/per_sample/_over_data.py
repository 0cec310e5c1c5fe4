"""Gradients of all samples of a landscape's data, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from landform.landscape import Landscape
from landform.per_sample._batch import count, cut
from landform.per_sample._gradients import Rules
from landform.per_sample._parts import Part


def sample_gradients(
    landscape: Landscape,
    point: Tensor,
    cotangents: Callable[[Tensor, Any], Tensor],
    *,
    buffers: Mapping[str, Tensor] | None = None,
) -> Iterator[tuple[int, dict[str, Part], Any]]:
    """Go through the data and give the gradients of every sample along some cotangents of its outputs.

    Args:
        landscape: the landscape; its batches are cut where they are too large to run together.
        point: ``[P]``.
        cotangents: a function of (outputs ``[B, ...]``, targets) that gives ``[K, B, ...]``: K backward passes, one at
            a time.
        buffers: buffers to use instead of the landscape's own.

    Yields:
        For each batch and each k: k, each parameter's gradients, one a sample, and the targets of the batch.

    Raises:
        BadInput: when samples are not independent, or the model cannot be gone through sample by sample.
    """
    for batch in landscape._data.batches(landscape._batch_size):
        # Batches of a stream may differ in shape; where they do not, what was seen before serves.
        rules = Rules(landscape, point, batch, buffers=buffers)
        buffers, samples, step = rules.buffers, count(batch), rules.together()
        for start in range(0, samples, step):
            passed = rules(cut(batch, slice(start, min(start + step, samples))))
            outputs = passed.outputs.detach()
            along = cotangents(outputs.view(-1, *rules.shape), passed.targets)
            for k in range(len(along)):
                one = along[k].reshape(1, *outputs.shape)
                yield k, passed.pull(one, last=k == len(along) - 1), passed.targets
