"""Directions that the landscape or a trajectory chooses: steepest curvature, and where a run went."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.surface._contract import MEMORY, at_least, one_point
from landform.surface._directions import Directions, check
from landform.surface._projection import Points

# Up to this many parameters the whole Hessian is made.
_DENSE = 200
# A component of less than this share of the first is rounding.
_ROUNDING = 1e-12


def hessian(
    landscape: Landscape,
    point: Tensor | None = None,
    count: int = 2,
    *,
    smallest: bool = False,
    tol: float = 1e-3,
    most: int = 1000,
    seed: int = 0,
) -> Directions:
    """Eigenvectors of the Hessian of the loss: the directions in which the landscape bends most.

    Where BatchNorm's statistics are recomputed they count as constants in the Hessian, while a surface along these
    directions recomputes them at each place. Where more than eigenvectors is wanted, or fewer products,
    `curvature.eigenpairs` finds them too; ``along`` takes ``pairs.vectors.T``.

    Args:
        landscape: whose loss.
        point: where, ``[P]``; the model's own by default.
        count: how many.
        smallest: those of the lowest eigenvalues, negative ones first, in place of the highest.
        tol: how far the eigenvalues may be off, relatively.
        most: how many Hessian-vector products that may take.
        seed: for the vector that is started from.

    Returns:
        The directions, of norm one, with their eigenvalues. The largest entry of each is positive.

    Raises:
        BadInput: when they are not found to that tolerance.
    """
    here = one_point(landscape, landscape.here if point is None else point, "The centre")
    size = landscape.layout.size
    if at_least("count", count, 1) > size:
        raise BadInput(f"A Hessian of {size} parameters has no {count} eigenvectors.")
    operator = landscape.hessian(here)
    if size <= max(_DENSE, count + 1):
        values, vectors = torch.linalg.eigh(operator.dense().cpu().double())
    else:
        values, vectors = _lanczos(operator, count, smallest, tol, most, seed)
    order = values.argsort(descending=not smallest)[:count]
    rows = vectors.T[order]
    signs = rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()
    rows = rows * signs / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    chosen = values[order]
    which = "lowest" if smallest else "top"
    said = ", ".join(f"{value:.4g}" for value in chosen.tolist())
    many = "s" if count > 1 else ""
    held = ", BatchNorm's statistics held" if landscape.batchnorm == "recompute" else ""
    how = f"{which} eigenvector{many} of the Hessian{held}, eigenvalue{many} {said}"
    return check(Directions(rows.to(here), how, "L2 distance", origin=here, values=chosen))


def principal(
    landscape: Landscape,
    points: Tensor | Points,
    count: int = 2,
    *,
    about: Literal["last", "mean"] = "last",
    memory: float = MEMORY,
) -> Directions:
    """The plane that comes nearest to the points of a trajectory.

    Shares near one do not say that a run lived in a plane: a random walk in any number of dimensions has 0.61 and 0.15
    of its variance along its first two components and draws half cosines there (Antognini & Sohl-Dickstein 2018).

    Args:
        landscape: what they are points of.
        points: ``[n, P]``, or ``trajectory.points``, which are read a few at a time.
        count: how many components.
        about: ``"last"``, the plane goes through the last point and shares are of squared distances from it;
            ``"mean"``, it goes through the mean and shares are of the variance.
        memory: bytes of points that are held at a time.

    Returns:
        The directions, orthonormal, with the points as marks and each component's share.

    Raises:
        BadInput: when there are too few points, or they do not span so much.
    """
    if about not in ("last", "mean"):
        raise BadInput(f"about is {about!r}: give 'last' or 'mean'.")
    layout, n = landscape.layout, len(points)
    at_least("count", count, 1)
    if n <= count:
        raise BadInput(f"{n} point{'s' if n != 1 else ''} cannot span {count} directions: give at least {count + 1}.")
    together = max(1, int(memory / 2 / (8 * layout.size)))
    origin = torch.zeros(layout.size, dtype=torch.float64)
    for start, block in _blocks(landscape, points, together):
        if about == "mean":
            origin += block.sum(0) / n
        elif start + len(block) == n:
            origin = block[-1].clone()
    gram = torch.empty(n, n, dtype=torch.float64)
    for i, left in _blocks(landscape, points, together):
        for j, right in _blocks(landscape, points, together):
            if j <= i:
                part = (left - origin) @ (right - origin).T
                gram[i : i + len(left), j : j + len(right)] = part
                gram[j : j + len(right), i : i + len(left)] = part.T
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    if not float(values[count - 1]) > _ROUNDING * float(values[0]):
        raise BadInput(
            f"The {n} points lie {'at one place' if not float(values[0]) else 'on fewer axes'}: they do not span "
            f"{count} direction{'s' if count > 1 else ''}."
        )
    rows = torch.zeros(count, layout.size, dtype=torch.float64)
    for start, block in _blocks(landscape, points, together):
        rows += vectors[start : start + len(block), :count].T @ (block - origin)
    rows = torch.linalg.qr(rows.T).Q.T
    marks = torch.cat([(block - origin) @ rows.T for _, block in _blocks(landscape, points, together)])
    # What comes later lies to the right and above: a run can be followed from figure to figure.
    signs = torch.where(marks[0] > 0, -1.0, 1.0).double()
    shares = values[:count] / values.sum()
    of = "squared distance from the last" if about == "last" else "variance"
    said = ", ".join(f"{share:.1%}" for share in shares.tolist())
    here = landscape.here
    return check(
        Directions(
            (rows * signs[:, None]).to(here),
            f"principal components of {n} points about the {about}, with {said} of the {of}",
            "L2 distance",
            origin=origin.to(here),
            marks=marks * signs,
            shares=shares,
        )
    )


def _blocks(landscape: Landscape, points: Any, together: int) -> Iterator[tuple[int, Tensor]]:
    """Points a few at a time, in float64 on the CPU, each with the number of its first."""
    for start in range(0, len(points), together):
        block = points[start : start + together]
        landscape.layout.check(block)
        if block.dim() != 2:
            raise BadInput(f"The points have shape {list(block.shape)}: give a set [n, {landscape.layout.size}].")
        wide = block.detach().cpu().double()
        if not bool(torch.isfinite(wide).all()):
            bad = int((~torch.isfinite(wide).all(1)).nonzero()[0])
            one_point(landscape, wide[bad], f"Point {start + bad}")
        yield start, wide


def _lanczos(operator: Any, count: int, smallest: bool, tol: float, most: int, seed: int) -> tuple[Tensor, Tensor]:
    """Eigenpairs of a large symmetric operator by ARPACK, from a start that the seed decides."""
    from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, eigsh

    matrix = operator.to_scipy()
    start = torch.randn(operator.size, generator=torch.Generator().manual_seed(seed)).numpy().astype(matrix.dtype)
    width = max(2 * count + 1, 20)
    try:
        values, vectors = eigsh(
            matrix, k=count, which="SA" if smallest else "LA", v0=start, tol=tol, ncv=width,
            maxiter=max(1, most // (width - count)),
        )  # fmt: skip
    except ArpackNoConvergence:
        raise BadInput(
            f"The Hessian's eigenvectors did not converge to {tol:g} within {most} products: give more, or a larger "
            "tol."
        ) from None
    except ArpackError as why:
        raise BadInput(f"The Hessian's eigenvectors were not found ({why}): is the loss finite there?") from None
    return torch.from_numpy(values).double(), torch.from_numpy(vectors).double()
