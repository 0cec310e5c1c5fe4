"""Bring one point as near to another as permutations of units can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from landform.alignment._activations import Correlations, Table, correlate
from landform.alignment._blocks import Permutations
from landform.alignment._contract import end, seeded
from landform.alignment._descent import Descent, descend, movable
from landform.alignment._find import symmetries as find_symmetries
from landform.alignment._sinkhorn import Sinkhorn, match_by_loss
from landform.alignment._symmetries import Symmetries
from landform.alignment._weights import match_weights
from landform.errors import BadInput
from landform.landscape import Landscape

Method: TypeAlias = Literal["weights", "activations", "sinkhorn"]


@dataclass(frozen=True)
class Alignment:
    """A point with its units permuted to match another's.

    Attributes:
        point: the second point, permuted, ``[P]``: the same function.
        buffers: its buffers, permuted along, if they were given; empty otherwise.
        permutations: by group, ``[*copies, size]``: unit i of ``point`` is unit ``p[i]`` of the second point.
        objective: at the start and after each sweep, of the best start: for ``"weights"`` the squared distance of the
            points, for ``"activations"`` the mean correlation of matched units, for ``"sinkhorn"`` the loss at the
            midpoint.
        converged: whether the last sweep changed nothing.
        method: how units were matched.
        before: distance of the points as they were.
        after: distance of the first point and ``point``.
        symmetries: the groups of units.
    """

    point: Tensor
    buffers: dict[str, Tensor]
    permutations: dict[str, Tensor]
    objective: tuple[float, ...]
    converged: bool
    method: Method
    before: float
    after: float
    symmetries: Symmetries = field(repr=False)

    @property
    def moved(self) -> float:
        """Share of the units that are not where they were."""
        orders = self.permutations.values()
        total = sum(order.numel() for order in orders)
        return sum(int((o != torch.arange(o.shape[-1])).sum()) for o in orders) / total if total else 0.0


def align(
    landscape: Landscape,
    a: Tensor | nn.Module,
    b: Tensor | nn.Module,
    *,
    method: Method = "weights",
    symmetries: Symmetries | None = None,
    start: Permutations | None = None,
    restarts: int = 1,
    sweeps: int = 100,
    seed: int = 0,
    buffers: Mapping[str, Tensor] | None = None,
    sinkhorn: Sinkhorn | None = None,
) -> Alignment:
    """Permute the units of ``b`` to match those of ``a``; the function at ``b`` stays the same.

    Args:
        landscape: whose model it is.
        a: the point to come near to, ``[P]``, or a model.
        b: the point to permute, ``[P]``, or a model.
        method: ``"weights"``: the least distance, by coordinate descent; no data are looked at. ``"activations"``: the
            largest correlation of what is read of the units, over the landscape's data. ``"sinkhorn"``: the least loss
            half way between the points, by training from what weight matching gives.
        symmetries: of the model, where they are known already.
        start: permutations of ``b`` to begin with; if not given, weight matching begins with a pass from the inputs and
            outputs inwards.
        restarts: how often to begin; the first time as ``start`` says, then from random permutations. The best is kept.
        sweeps: the most sweeps over the groups.
        seed: of the order of groups and of random starts.
        buffers: the buffers of ``b``, such as a record's, to be permuted along; a model brings its own.
        sinkhorn: how ``"sinkhorn"`` trains.

    Returns:
        The permuted point and how it was found.

    Raises:
        BadInput: when a point is not one of this landscape, or holds NaN.
    """
    if method not in ("weights", "activations", "sinkhorn"):
        raise BadInput(f"There is no method {method!r}: give 'weights', 'activations' or 'sinkhorn'.")
    if restarts < 1 or sweeps < 1:
        raise BadInput(f"restarts is {restarts} and sweeps {sweeps}: give at least 1.")
    first, ours = end(landscape, a, "a")
    second, own = end(landscape, b, "b")
    found = find_symmetries(landscape) if symmetries is None else symmetries
    begin = None if start is None else {**found.identity(), **start}
    found.check(begin or {})
    given = own if buffers is None else buffers
    if method == "activations":
        tables = correlate(landscape, found, (first, second), (ours or None, dict(given) or None))
        descent = _by_activations(found, tables, first, second, begin, restarts, sweeps, seed)
    else:
        descent = _by_weights(found, first, second, begin, restarts, sweeps, seed)
    if method == "sinkhorn":
        descent = match_by_loss(
            landscape,
            found,
            first,
            second,
            start=descent.permutations if begin is None else begin,
            settings=sinkhorn or Sinkhorn(),
            generator=seeded(seed),
        )
    point = found.apply(second, descent.permutations)
    return Alignment(
        point,
        found.move(given, descent.permutations),
        descent.permutations,
        descent.objective,
        descent.converged,
        method,
        _distance(first, second),
        _distance(first, point),
        found,
    )


def _by_weights(
    found: Symmetries, a: Tensor, b: Tensor, begin: Permutations | None, restarts: int, sweeps: int, seed: int
) -> Descent:
    made = seeded(seed)
    views = found.layout.views(a), found.layout.views(b)
    every = []
    for number in range(restarts):
        start = begin if not number else found.random(_draw(made))
        every.append(match_weights(found, *views, start=start, sweeps=sweeps, generator=made))
    chosen = max(every, key=lambda descent: descent.objective[-1])
    squares = sum(float(p.cpu().double().square().sum()) for p in (a, b))
    held = _held(found, *views)
    distances = tuple(max(0.0, squares - 2 * (value + held)) for value in chosen.objective)
    return Descent(chosen.permutations, distances, chosen.converged)


def _by_activations(
    found: Symmetries,
    tables: list[Table],
    a: Tensor,
    b: Tensor,
    begin: Permutations | None,
    restarts: int,
    sweeps: int,
    seed: int,
) -> Descent:
    made = seeded(seed)
    every = []
    for number in range(restarts):
        start = found.identity() if begin is None else begin
        matcher = Correlations(found, tables, start if not number else found.random(_draw(made)))
        groups = [group for group in movable(found) if group.name in matcher.read]
        every.append(descend(matcher, groups, sweeps, made))
    chosen = max(every, key=lambda descent: descent.objective[-1])
    unread = [name for name in found.names if name not in matcher.read]
    if unread:  # what no product sums over is matched by weights, the others held
        views = found.layout.views(a), found.layout.views(b)
        rest = match_weights(found, *views, start=chosen.permutations, sweeps=sweeps, generator=made, only=unread)
        chosen = replace(chosen, permutations=rest.permutations)
    return chosen


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).cpu().double().norm())


def _draw(made: torch.Generator) -> int:
    return int(torch.randint(2**31, (), generator=made))


def _held(found: Symmetries, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Inner product over the parameters that no group acts on."""
    total = 0.0
    for name, blocks in found.blocks.items():
        for block in blocks:
            if name in a and not any(block.groups):
                total += float(torch.dot(*(block.take(t[name]).reshape(-1).cpu().double() for t in (a, b))))
    return total
