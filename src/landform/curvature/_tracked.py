"""Eigenpairs along a path, each search begun from what the last one found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from landform.curvature._contract import Symmetric
from landform.curvature._eigenpairs import Eigenpairs, Judge, Which, aligned, eigenpairs


def tracked(
    operators: Iterable[Symmetric],
    k: int = 1,
    *,
    tol: float = 1e-3,
    which: Which = "largest",
    judge: Judge = "residuals",
    seed: int = 0,
) -> Iterator[Eigenpairs]:
    """Follow eigenpairs along neighbouring points, as in ``tracked(map(landscape.hessian, run.points), 5)``.

    Every search after the first begins from the eigenvectors before, which saves products where points are near each
    other; a start from vectors that have turned away costs about as much as one from random ones. A share of each start
    is drawn anew, so that a direction that rises from the bulk is found; each result has residuals of its own.

    Args:
        operators: the operator at each point, of one size; made one at a time where it is an iterator.
        k: how many pairs (at each end for "both").
        tol: relative error asked for of each.
        which: which end, as for `eigenpairs`.
        judge: what is held against it, as for `eigenpairs`.
        seed: of the random part of the starts.

    Yields:
        The pairs at each point, with the signs of their vectors as at the point before.
    """
    before: Eigenpairs | None = None
    for operator in operators:
        start = None if before is None else before.vectors
        found = eigenpairs(operator, k, tol=tol, which=which, judge=judge, start=start, seed=seed)
        before = found if before is None else aligned(found, before)
        yield before
