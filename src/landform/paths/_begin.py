"""Where the bends of a path begin."""

from __future__ import annotations

import copy
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.paths._contract import one_point

Begin: TypeAlias = Literal["linear", "random"]


def begin_at(
    landscape: Landscape, a: Tensor, b: Tensor, bends: int, begin: Begin | Tensor, seed: int
) -> tuple[Tensor, str]:
    """Say where the bends of a path begin.

    Args:
        landscape: whose points.
        a: one end, ``[P]``.
        b: the other, ``[P]``.
        bends: how many.
        begin: what was asked for.
        seed: of random bends.

    Returns:
        The bends ``[bends, P]``, and what that is called.

    Raises:
        BadInput: when there is no such beginning, or not one point for each bend.
    """
    if isinstance(begin, Tensor):
        given = begin[None] if begin.dim() == 1 else begin
        landscape.layout.check(given)
        if len(given) != bends:
            raise BadInput(f"begin holds {len(given)} points for {bends} bends: give one for each.")
        return torch.stack([one_point(landscape, point, "given") for point in given]), "given"
    if begin == "linear":
        shares = torch.linspace(0, 1, bends + 2).to(a)[1:-1, None]
        return torch.lerp(a.expand(bends, -1), b.expand(bends, -1), shares), "linear"
    if begin == "random":
        return fresh(landscape, bends, seed), "random"
    raise BadInput(f"begin is {begin!r}: give 'linear', 'random', or points [bends, P].")


def fresh(landscape: Landscape, count: int, seed: int) -> Tensor:
    """Points drawn as the model's own layers initialise themselves.

    Args:
        landscape: whose model.
        count: how many.
        seed: of the draw.

    Returns:
        ``[count, P]``.

    Raises:
        BadInput: when a parameter belongs to a module that cannot initialise itself.
    """
    net = landscape._function.net
    owners = {id(p): module for module in net.modules() for p in module._parameters.values() if p is not None}
    lost = [type(owners[id(p)]).__name__ for p in net.parameters() if not hasattr(owners[id(p)], "reset_parameters")]
    if lost:
        raise BadInput(f"{lost[0]} has no reset_parameters, so that random bends cannot be drawn: give them as points.")

    drawn: list[Tensor] = []
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for _ in range(count):
            model = copy.deepcopy(landscape._model).cpu()
            for module in model.modules():
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
            drawn.append(landscape.layout.point(model).to(landscape.device, landscape.dtype))
    return torch.stack(drawn)
