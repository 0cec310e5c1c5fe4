"""What is accepted as an end of an alignment, and what is said otherwise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.layout import Layout


def seeded(seed: int) -> torch.Generator:
    """Begin a stream of random numbers."""
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise BadInput(f"seed is {seed!r}: give a whole number.")
    return torch.Generator().manual_seed(seed)


def end(landscape: Landscape, given: Tensor | nn.Module, name: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Look at one of two points.

    Args:
        landscape: what it is a point of.
        given: ``[P]``, or a model.
        name: what to call it.

    Returns:
        The point where and as the landscape computes; the buffers, where it is a model.

    Raises:
        BadInput: when it is no point of this landscape's model, or holds NaN or infinity.
    """
    buffers: dict[str, Tensor] = {}
    if isinstance(given, nn.Module):
        _same_model(landscape.layout, given, name)
        buffers = {key: buffer.detach().clone() for key, buffer in given.named_buffers()}
        given = landscape.layout.point(given)
    size = landscape.layout.size
    if not isinstance(given, Tensor) or given.dim() != 1 or not given.is_floating_point():
        got = f"shape {list(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
        raise BadInput(f"{name} has to be a point, {size} floating-point numbers in one row, or a model; got {got}.")
    if len(given) != size:
        ends = [slot for slot in landscape.layout.slots if slot.start <= len(given) < slot.stop]
        where = f" (it would end in {ends[0].name} {list(ends[0].shape)})" if ends else ""
        raise BadInput(
            f"{name} has {len(given)} numbers, but this landscape's model {size}{where}: units can be matched between "
            "two points of one architecture only."
        )
    if not bool(torch.isfinite(given).all()):
        bad = int((~torch.isfinite(given)).nonzero()[0])
        slot = next(slot for slot in landscape.layout.slots if slot.start <= bad < slot.stop)
        raise BadInput(f"{name} holds NaN or infinity, first in {slot.name}: look whether its run has diverged.")
    return given.detach().to(landscape.device, landscape.dtype), buffers


def _same_model(layout: Layout, model: nn.Module, name: str) -> None:
    """Name the first tensor in which two architectures differ."""
    ours = {slot.name: slot.shape for slot in layout.slots}
    theirs = {slot.name: slot.shape for slot in Layout.of(model).slots}
    for key, shape in ours.items():
        if key not in theirs:
            raise BadInput(f"{name} has no parameter {key} {list(shape)}, which the landscape's model has.")
        if theirs[key] != shape:
            raise BadInput(
                f"Parameter {key} is {list(theirs[key])} in {name} and {list(shape)} in the landscape's model: units "
                "can be matched between two models of one architecture only."
            )
    for key, shape in theirs.items():
        if key not in ours:
            raise BadInput(f"{name} has a parameter {key} {list(shape)}, which the landscape's model does not have.")
