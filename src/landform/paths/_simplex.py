"""Geometry of connectors of m points: how much of each node a point of the connector has.

Every connector is a map from barycentric coordinates ``lambda`` (m shares, not negative, of sum one) to mixtures of
nodes: the m points themselves and free nodes, which begin where the map is that of the plain simplex.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Kind: TypeAlias = Literal["star", "bezier", "pieces"]
Weigh: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Geometry:
    """A connector's map.

    Attributes:
        kind: which.
        names: for each free node the points that it lies between, by number.
        begin: where each free node begins, as shares of the points, ``[F, m]``.
        weigh: from shares ``[n, m]`` to weights of all nodes, the points first, ``[n, m + F]``.
        draw: shares drawn from torch's own generator, ``[n, m]``, as training goes over the connector.
        inside: shares at which it is judged, likewise.
    """

    kind: Kind
    names: tuple[tuple[int, ...], ...]
    begin: Tensor
    weigh: Weigh
    draw: Callable[[int], Tensor]
    inside: Callable[[int], Tensor]


def star(m: int) -> Geometry:
    """Arms from a hub to each point, each of two straight pieces: hub and middles of the arms are free.

    The hub has the shares ``1 / m``; a point of arm k lies between it and point k.

    Args:
        m: how many points.

    Returns:
        The map; shares off the arms are taken to the arm of the largest share.
    """
    own = torch.eye(m, dtype=torch.float64)
    hub = torch.full((1, m), 1 / m, dtype=torch.float64)

    def weigh(shares: Tensor) -> Tensor:
        shares = shares.double()
        top = shares.argmax(1)
        t = ((shares.amax(1) - 1 / m) / (1 - 1 / m)).clamp(0, 1)  # 0 at the hub, 1 at the point
        at = torch.arange(len(shares))
        weights = torch.zeros(len(shares), 2 * m + 1, dtype=torch.float64)
        weights[at, top] = (2 * t - 1).clamp_min(0)
        weights[at, m] = (1 - 2 * t).clamp_min(0)
        weights[at, m + 1 + top] = 1 - (2 * t - 1).abs()
        return weights

    def draw(n: int) -> Tensor:
        t, arms = torch.rand(n, 1, dtype=torch.float64), torch.randint(m, (n,))
        return t * own[arms] + (1 - t) * hub

    names = (tuple(range(m)), *((k,) for k in range(m)))
    return Geometry("star", names, torch.cat([hub, (own + hub) / 2]), weigh, draw, draw)


def bezier(m: int) -> Geometry:
    """The Bezier simplex of degree two: ``sum_i l_i^2 V_i + sum_{i<j} 2 l_i l_j C_ij`` with a free C for each pair.

    With two points it is the Bezier curve of one bend, as is each of its edges.

    Args:
        m: how many points.

    Returns:
        The map.
    """
    pairs = torch.tensor(list(itertools.combinations(range(m), 2)))

    def weigh(shares: Tensor) -> Tensor:
        shares = shares.double()
        return torch.cat([shares.square(), 2 * shares[:, pairs[:, 0]] * shares[:, pairs[:, 1]]], 1)

    begin = torch.eye(m, dtype=torch.float64)[pairs].mean(1)
    return Geometry("bezier", tuple(map(tuple, pairs.tolist())), begin, weigh, _faces(m), _whole(m))


def pieces(m: int, sizes: Sequence[int] | None = None) -> Geometry:
    """The simplex cut at the barycentres of its faces, which are free: straight pieces.

    With the shares in falling order ``l_(1) >= l_(2) >= ...`` and S_j the set of the j largest,
    ``phi = sum_j j (l_(j) - l_(j + 1)) B(S_j)``, where B(S) is the node of the face S. Faces whose size is not among
    ``sizes`` have no node of their own, but the mean of those of the faces one size smaller.

    Args:
        m: how many points.
        sizes: how many points the faces have whose barycentres are free; by default all, from 2 to m.

    Returns:
        The map.
    """
    free = set(range(2, m + 1) if sizes is None else sizes)
    faces = [face for size in range(1, m + 1) for face in itertools.combinations(range(m), size)]
    names = tuple(face for face in faces if len(face) in free and len(face) > 1)
    place = {face: m + k for k, face in enumerate(names)}
    table = torch.zeros(2**m, m + len(names), dtype=torch.float64)
    for face in faces:
        row = table[sum(2**k for k in face)]
        if len(face) == 1:
            row[face[0]] = 1.0
        elif face in place:
            row[place[face]] = 1.0
        else:
            below = [sum(2**k for k in rest) for rest in itertools.combinations(face, len(face) - 1)]
            row += table[below].mean(0)

    def weigh(shares: Tensor) -> Tensor:
        ordered, which = shares.double().sort(1, descending=True)
        steps = (ordered - torch.nn.functional.pad(ordered[:, 1:], (0, 1))) * torch.arange(1, m + 1)
        sets = (2**which).cumsum(1)
        return torch.einsum("nj,njk->nk", steps, table[sets])

    begin = torch.zeros(len(names), m, dtype=torch.float64)
    for k, face in enumerate(names):
        begin[k, list(face)] = 1 / len(face)
    return Geometry("pieces", names, begin, weigh, _faces(m), _whole(m))


def _whole(m: int) -> Callable[[int], Tensor]:
    """Shares even over the whole simplex: Dirichlet with all parameters one."""

    def draw(n: int) -> Tensor:
        spread = -torch.rand(n, m, dtype=torch.float64).clamp_min(1e-12).log()
        return spread / spread.sum(1, keepdim=True)

    return draw


def _faces(m: int) -> Callable[[int], Tensor]:
    """Shares even over a face whose size is drawn first: high-dimensional simplices have next to no edge otherwise."""

    def draw(n: int) -> Tensor:
        spread = -torch.rand(n, m, dtype=torch.float64).clamp_min(1e-12).log()
        sizes = torch.randint(2, m + 1, (n, 1))
        kept = torch.rand(n, m).argsort(1).argsort(1) < sizes
        spread = spread * kept
        return spread / spread.sum(1, keepdim=True)

    return draw
