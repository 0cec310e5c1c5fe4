"""Connectors of many points: stars and simplices of low loss that join m optima.

Fort & Jastrzebski 2019: between independent optima there are not only paths but sets of as many dimensions as there are
optima, less one. They are found by minimising the mean loss over the whole connector, ``E_l L(phi(l))`` with shares l
drawn over it, by its free nodes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.paths._contract import at_least, many_points
from landform.paths._curve import RECIPE
from landform.paths._mixture import Progress, descend
from landform.paths._reading import others, read
from landform.paths._simplex import Geometry, Kind, bezier, pieces, star
from landform.paths._values import Values
from landform.training import Recipe

Method: TypeAlias = Literal["whole", "midpoint"]

# Shares on each edge at which it is judged, the points themselves left out.
_EDGE = 9
# More faces than this have more nodes than any training visits.
_MOST = 12


@dataclass(frozen=True)
class Spread:
    """Loss and error at many points of a connector.

    Attributes:
        mean: loss.
        standard_error: of that mean, as drawn.
        highest: loss.
        error_mean: share of wrong labels; None where the targets are not labels.
        error_highest: likewise.
        shares: where it was read: how much of each point, ``[n, m]``.
        losses: ``[n]``, float64.
        errors: ``[n]``; None likewise.
    """

    mean: float
    standard_error: float
    highest: float
    error_mean: float | None
    error_highest: float | None
    shares: Tensor = field(repr=False)
    losses: Tensor = field(repr=False)
    errors: Tensor | None = field(repr=False)


@dataclass(frozen=True)
class Reading:
    """A connector as it was read on one data set.

    Attributes:
        inside: at points drawn evenly over the connector; of a star, over its arms.
        edges: along the edges between all pairs of optima; None for a star, which has none.
        optima: loss of the optima, ``[m]``.
    """

    inside: Spread
    edges: Spread | None
    optima: Tensor = field(repr=False)


@dataclass(frozen=True)
class Connector:
    """A trained connector of m optima.

    Attributes:
        kind: ``"star"``, ``"bezier"`` or ``"pieces"``.
        method: ``"whole"`` or ``"midpoint"``.
        nodes: the optima, then the free nodes, ``[m + F, P]``.
        names: for each free node the optima that it lies between, by number.
        trained: as it was read.
        plain: before training, at the same shares: the star of straight arms, or the plain simplex of the optima.
        steps: how many steps the free nodes were trained for.
        begin: where they began; always ``"linear"``, on the plain star or simplex.
        seed: of the batches, of the shares trained on and of those read.
        batchnorm: where BatchNorm's statistics came from.
        on: the same on further data, by name: trained and plain.
        earlier: (steps, mean, highest) inside after fewer steps, where it was trained in several legs.
        recipe: how it was trained.
        losses: loss of each step's batch at the step's shares, before the step, ``[steps]``.
    """

    kind: Kind
    method: Method
    nodes: Tensor = field(repr=False)
    names: tuple[tuple[int, ...], ...] = field(repr=False)
    trained: Reading
    plain: Reading
    steps: int
    begin: str
    seed: int
    batchnorm: str
    on: Mapping[str, tuple[Reading, Reading]] = field(repr=False)
    earlier: tuple[tuple[int, float, float], ...]
    recipe: Recipe = field(repr=False)
    losses: Tensor = field(repr=False)
    _how: _How = field(kw_only=True, repr=False)

    def points(self, shares: Tensor) -> Tensor:
        """Points of the connector.

        Args:
            shares: how much of each optimum, ``[n, m]``, not negative, each row of sum one.

        Returns:
            ``[n, P]``.
        """
        return self._how.geometry.weigh(shares).to(self.nodes) @ self.nodes

    def more(self, steps: int | None = None, *, progress: Progress | None = None) -> Connector:
        """Go on training from where it is, with the schedule anew, and keep on record what it was like.

        Args:
            steps: how many more; by default as many as there were.
            progress: called with (steps done, steps in all).

        Returns:
            Another connector.
        """
        inside = self.trained.inside
        begun = replace(self, earlier=(*self.earlier, (self.steps, inside.mean, inside.highest)))
        return _trained(begun, self.steps if steps is None else steps, progress)

    def __str__(self) -> str:
        optima = len(self.trained.optima)
        legs = [*self.earlier, (self.steps, self.trained.inside.mean, self.trained.inside.highest)]
        told = ", ".join(f"mean {mean:.4g}, highest {top:.4g} after {steps} steps" for steps, mean, top in legs)
        plain = self.plain.inside
        return (
            f"{self.kind} of {optima} optima, {len(self.names)} free nodes, begun {self.begin}, seed {self.seed}: "
            f"{told}; plain mean {plain.mean:.4g}, highest {plain.highest:.4g}"
        )


@dataclass(frozen=True)
class _How:
    """What a connector is read and trained on."""

    landscape: Landscape
    further: Mapping[str, Landscape]
    geometry: Geometry
    shares: Tensor
    draws: int


def connector(
    landscape: Landscape,
    optima: Tensor,
    *,
    kind: Kind = "bezier",
    method: Method = "whole",
    sizes: Sequence[int] | None = None,
    steps: int = 2000,
    recipe: Recipe | None = None,
    draws: int = 1,
    samples: int = 256,
    seed: int = 0,
    on: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Connector:
    """Train a star or a simplex of low loss that joins m optima.

    Args:
        landscape: whose mean loss over the connector is minimised, weight decay included; its data have to be in
            memory.
        optima: ``[m, P]``, at least two.
        kind: ``"bezier"``: a simplex bent by one free node for each pair, ``sum l_i^2 V_i + sum 2 l_i l_j C_ij``;
            ``"pieces"``: a simplex of straight pieces, cut at the free barycentres of its faces; ``"star"``: arms from
            a free hub, each bent at a free middle.
        method: ``"whole"`` minimises the mean loss over the connector; ``"midpoint"`` the loss of the free nodes alone,
            kept at right angles to the span of the optima (the procedure of Fort & Jastrzebski; the pieces between are
            then as they are). Not for ``"bezier"``, which does not run through its nodes.
        sizes: of ``"pieces"``, how many optima the faces have whose barycentres are free: by default all; ``(m,)`` is
            the centre alone, which leaves the faces between the optima as they are.
        steps: how many steps the free nodes are trained for.
        recipe: batch size, optimiser, learning rate and its schedule; Adam at 0.01 falling in a cosine by default.
        draws: how many points of the connector are drawn for a batch.
        samples: at how many points the inside is read.
        seed: of the batches, of the shares trained on and of those read.
        on: further data to read it on, by name.
        progress: called with (steps done, steps in all).

    Returns:
        The connector, beside the plain star or simplex.

    Raises:
        BadInput: when the optima are not the landscape's or fewer than two, or the training diverges.
    """
    points = many_points(landscape, optima, 2)
    m = len(points)
    at_least("steps", steps, 0)
    at_least("samples", samples, 2)
    at_least("draws", draws, 1)
    if sizes is not None and kind != "pieces":
        raise BadInput(f"sizes belongs to kind='pieces', and the kind is {kind!r}: leave it out.")
    if kind == "pieces":
        wrong = [size for size in sizes or () if not 2 <= size <= m]
        if wrong or (sizes is not None and not len(sizes)):
            raise BadInput(f"sizes is {sizes!r}: give numbers from 2 to {m}, how many optima a face has.")
        if m > _MOST:
            raise BadInput(f"A simplex of {m} optima has {2**m} faces: give kind='bezier' or 'star', or fewer optima.")
        geometry = pieces(m, sizes)
    elif kind in ("star", "bezier"):
        geometry = star(m) if kind == "star" else bezier(m)
    else:
        raise BadInput(f"There is no connector of the kind {kind!r}: give 'star', 'bezier' or 'pieces'.")
    if method not in ("whole", "midpoint") or (method == "midpoint" and kind == "bezier"):
        raise BadInput(
            f"The method {method!r} does not go with {kind!r}: give 'whole', or 'midpoint' for a star or pieces."
        )
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        shares = geometry.inside(samples)
    how = _How(landscape, others(landscape, on), geometry, shares, draws)
    nodes = torch.cat([points, geometry.begin.to(points) @ points])
    plain = _read(how, nodes)
    begun = Connector(
        kind,
        method,
        nodes,
        geometry.names,
        plain[0],
        plain[0],
        0,
        "linear",
        seed,
        landscape.batchnorm,
        {name: (one, one) for name, one in zip(how.further, plain[1:], strict=True)},
        (),
        recipe or RECIPE,
        torch.empty(0),
        _how=how,
    )
    return _trained(begun, steps, progress)


def _trained(begun: Connector, steps: int, progress: Progress | None) -> Connector:
    at_least("steps", steps, 0)
    if not steps:
        return begun
    how, m = begun._how, len(begun.trained.optima)
    optima, free = begun.nodes[:m], begun.nodes[m:]
    geometry = how.geometry
    if begun.method == "whole":

        def draw() -> Tensor:
            return geometry.weigh(geometry.draw(how.draws))

        held = None
    else:
        ones = torch.eye(len(begun.nodes), dtype=torch.float64)[m:]

        def draw() -> Tensor:
            return ones[torch.randint(len(ones), (how.draws,))]

        held = torch.linalg.qr((optima[1:] - optima[0]).T.cpu().double())[0].to(optima)
    found = descend(
        how.landscape,
        optima,
        free,
        draw,
        steps=steps,
        recipe=begun.recipe,
        seed=begun.seed + begun.steps,  # another leg draws anew
        held=held,
        progress=progress,
    )
    nodes = torch.cat([optima, found.free.to(optima)])
    readings = _read(how, nodes)
    return replace(
        begun,
        nodes=nodes,
        trained=readings[0],
        steps=begun.steps + steps,
        on={name: (one, begun.on[name][1]) for name, one in zip(how.further, readings[1:], strict=True)},
        losses=torch.cat([begun.losses, found.losses]),
    )


def _read(how: _How, nodes: Tensor) -> list[Reading]:
    """Read a connector on each landscape."""
    m, geometry = how.shares.shape[1], how.geometry
    edges = _edges(m) if geometry.kind != "star" else how.shares[:0]
    shares = torch.cat([how.shares, edges, torch.eye(m, dtype=torch.float64)])

    inside, beside = slice(0, len(how.shares)), slice(len(how.shares), len(shares) - m)
    found: list[Reading] = []
    for values in read([how.landscape, *how.further.values()], nodes, geometry.weigh(shares)):
        outer = _spread(shares[beside], values, beside) if len(edges) else None
        found.append(Reading(_spread(shares[inside], values, inside), outer, values.losses[-m:]))
    return found


def _spread(shares: Tensor, values: Values, part: slice) -> Spread:
    losses = values.losses[part]
    errors = None if values.errors is None else values.errors[part]
    return Spread(
        float(losses.mean()),
        float(losses.std() / len(losses) ** 0.5),
        float(losses.max()),
        None if errors is None else float(errors.mean()),
        None if errors is None else float(errors.max()),
        shares,
        losses,
        errors,
    )


def _edges(m: int) -> Tensor:
    """Shares along all edges, ``[pairs * 9, m]``."""
    t = torch.linspace(0, 1, _EDGE + 2, dtype=torch.float64)[1:-1, None]
    own = torch.eye(m, dtype=torch.float64)
    return torch.cat([(1 - t) * own[i] + t * own[j] for i, j in itertools.combinations(range(m), 2)])
