"""A data set divided among clients, evenly or not."""

from __future__ import annotations

from itertools import accumulate
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from landform.data._random import seeded
from landform.errors import BadInput

Division: TypeAlias = Literal["iid", "labels", "dirichlet"]

# Draws of a Dirichlet division until no client is left with too little.
_TRIES = 1000


def partition(
    targets: Tensor,
    clients: int,
    division: Division = "iid",
    *,
    alpha: float = 0.5,
    equal: bool = False,
    least: int = 1,
    seed: int = 0,
) -> tuple[Tensor, ...]:
    """Divide samples among clients, so that each has its own and none is left.

    Args:
        targets: labels, or numbers to predict, ``[n, ...]``.
        clients: how many clients there are.
        division: ``"iid"`` shuffles and cuts; ``"labels"`` sorts by target and cuts, so that each client knows few
            classes; ``"dirichlet"`` gives every client shares of the classes drawn from a Dirichlet distribution.
        alpha: its parameter: near 0 each class is with one client, large it is as iid.
        equal: clients of a Dirichlet division have equally many samples, and differ in classes alone.
        least: samples that each has at least.
        seed: decides the division.

    Returns:
        The places of each client's samples, ascending. Sizes differ by one at most, but for a Dirichlet division that
        is not ``equal``.

    Raises:
        BadInput: when there are too few samples, or a Dirichlet division needs labels and there are none.
    """
    count = len(targets)
    if division not in get_args(Division):
        raise BadInput(f"There is no division {division!r}: give one of {', '.join(get_args(Division))}.")
    if clients < 1 or least < 1 or clients * least > count:
        raise BadInput(f"{count} samples cannot be divided among {clients} clients with {least} each: ask for fewer.")
    made = seeded("partition", division, seed)
    if division == "dirichlet":
        found = _dirichlet(targets, clients, alpha, equal, least, made)
    else:
        order = torch.randperm(count, generator=made)
        if division == "labels":
            # By label, and at random among equal ones.
            flat = targets.detach().cpu().reshape(count, -1)[:, 0]
            order = order[torch.sort(flat[order], stable=True).indices]
        found = _cut(order, _even(count, clients))
    return tuple(places.sort().values for places in found)


def _dirichlet(
    targets: Tensor, clients: int, alpha: float, equal: bool, least: int, made: torch.Generator
) -> list[Tensor]:
    if targets.is_floating_point() or targets.ndim != 1:
        raise BadInput("A Dirichlet division goes by labels, one for each sample: give 'iid' or 'labels' instead.")
    if not alpha > 0:
        raise BadInput(f"The parameter of a Dirichlet division is {alpha}: give a number above 0.")
    labels = targets.detach().cpu()
    every = [(labels == label).nonzero().flatten() for label in sorted(set(labels.tolist()))]
    pools = [places[torch.randperm(len(places), generator=made)] for places in every]
    if equal:
        return _equal(pools, clients, alpha, made)
    for _ in range(_TRIES):
        shares = [_drawn(alpha, clients, made) for _ in pools]
        cuts = [_whole(share, len(pool)) for share, pool in zip(shares, pools, strict=True)]
        if min(sum(cut[c] for cut in cuts) for c in range(clients)) >= least:
            parts = [_cut(pool, cut) for pool, cut in zip(pools, cuts, strict=True)]
            return [torch.cat([part[c] for part in parts]) for c in range(clients)]
    raise BadInput(
        f"No Dirichlet division with alpha={alpha} gave each of {clients} clients {least} samples: give equal=True, a "
        "larger alpha, or fewer clients."
    )


def _equal(pools: list[Tensor], clients: int, alpha: float, made: torch.Generator) -> list[Tensor]:
    """Each client takes as many as any other, class by class as its own shares say while the class lasts.

    Clients take in turn, a sample at a time, so that what is left at the end is not one client's fate.
    """
    places = [pool.tolist() for pool in pools]
    shares = [_drawn(alpha, len(pools), made).tolist() for _ in range(clients)]
    sizes = _even(sum(map(len, places)), clients)
    numbers = torch.rand(max(sizes), clients, generator=made, dtype=torch.float64).tolist()
    taken: list[list[int]] = [[] for _ in range(clients)]
    for turn, row in enumerate(numbers):
        for client, number in enumerate(row):
            if turn < sizes[client]:
                label = _chosen(shares[client], [len(left) for left in places], number)
                taken[client].append(places[label].pop())
    return [torch.tensor(found) for found in taken]


def _chosen(shares: list[float], left: list[int], number: float) -> int:
    """A class that is left, by a client's shares; by what is left where it shares in none of these."""
    weights = [share if count else 0.0 for share, count in zip(shares, left, strict=True)]
    if not sum(weights) > 0:
        weights = [float(count) for count in left]
    goal, last = number * sum(weights), 0
    for label, weight in enumerate(weights):
        if weight:
            last, goal = label, goal - weight
            if goal < 0:
                break
    return last


def _drawn(alpha: float, count: int, made: torch.Generator) -> Tensor:
    """Shares from a symmetric Dirichlet distribution, ``[count]``.

    Logarithms of gamma numbers, by ``G(a) = G(a + 1) U^(1/a)``: with a small parameter the numbers themselves are 0.
    """
    gamma = torch._standard_gamma(torch.full((count,), alpha + 1, dtype=torch.float64), generator=made)
    uniform = torch.rand(count, generator=made, dtype=torch.float64).clamp_min(1e-300)
    return torch.softmax(gamma.log() + uniform.log() / alpha, 0)


def _whole(shares: Tensor, count: int) -> list[int]:
    """Whole numbers with that sum, in those shares."""
    ends = (shares.cumsum(0) * count).round().long()
    ends[-1] = count
    return torch.diff(ends, prepend=ends.new_zeros(1)).tolist()


def _even(count: int, parts: int) -> list[int]:
    return [count // parts + (part < count % parts) for part in range(parts)]


def _cut(order: Tensor, sizes: list[int]) -> list[Tensor]:
    ends = list(accumulate(sizes))
    return [order[end - size : end] for size, end in zip(sizes, ends, strict=True)]
