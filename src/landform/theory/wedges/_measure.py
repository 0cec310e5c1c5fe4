"""Measuring the toy landscape: random planes, barriers, tunnels, connectors. Exact wherever algebra has the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.theory.wedges._toy import Wedges, _shrunk


@dataclass(frozen=True)
class InPlane:
    """The lowest place of an affine plane.

    Attributes:
        loss: the lowest loss in the plane.
        start: the loss at its origin.
        wedge: the wedge it is nearest to there.
        losses: the lowest distance to each wedge, ``[W]``.
        point: where the lowest loss is, ``[D]``.
    """

    loss: float
    start: float
    wedge: int
    losses: Tensor
    point: Tensor


def best_in_plane(
    toy: Wedges, origin: Tensor, directions: Tensor, *, tol: float = 1e-6, steps: int = 20_000
) -> InPlane:
    """Find the lowest loss in ``origin + directions z``.

    The distance to one wedge is convex, so its minimum is that of a least-squares problem for wedges without
    thickness, and of a quickly descended one for thick wedges; the least of all wedges is the answer.

    Args:
        toy: the landscape.
        origin: ``[D]``.
        directions: ``[D, d]``; the columns need not be orthogonal.
        tol: for thick wedges: stop once 50 steps gain no more than this share of the loss at the origin.
        steps: for thick wedges: how many steps at most.

    Returns:
        The lowest place.

    Raises:
        BadInput: when the shapes do not fit.
    """
    if origin.shape != (toy.dimension,) or directions.dim() != 2 or len(directions) != toy.dimension:
        raise BadInput(
            f"A plane is an origin [{toy.dimension}] and directions [{toy.dimension}, d]; got {list(origin.shape)} and "
            f"{list(directions.shape)}."
        )
    start, ways = origin.double(), torch.linalg.qr(directions.double())[0]
    offsets = toy.coordinates(start)  # [W, s]
    slopes = toy.coordinates(ways.T.contiguous()).permute(1, 2, 0)  # [W, s, d]
    solve = _thin if toy.thickness == 0 else _thick
    steps_to = solve(slopes, offsets, toy.thickness, tol, steps)  # [W, d]
    left = _shrunk(offsets + (slopes @ steps_to.unsqueeze(2)).squeeze(2), toy.thickness)
    losses = left.norm(dim=1)
    which = int(losses.argmin())
    return InPlane(
        loss=float(losses[which]),
        start=float(toy.loss(start)),
        wedge=which,
        losses=losses,
        point=start + ways @ steps_to[which],
    )


def _thin(slopes: Tensor, offsets: Tensor, thickness: float, tol: float, steps: int) -> Tensor:
    """Least squares: ``argmin_z |b + G z|``."""
    found: Tensor = torch.linalg.lstsq(slopes, -offsets.unsqueeze(2), driver="gelsd").solution
    return found.squeeze(2)


def _thick(slopes: Tensor, offsets: Tensor, thickness: float, tol: float, steps: int) -> Tensor:
    """Nesterov's descent on ``|shrink(b + G z)|^2 / 2``, begun anew whenever it rises."""
    bound = torch.linalg.matrix_norm(slopes, ord=2).square().amax()
    z = torch.zeros(len(slopes), slopes.shape[2], 1, dtype=slopes.dtype)
    ahead, weight = z, 1.0
    before = torch.full((len(slopes),), math.inf, dtype=slopes.dtype)
    small = tol * _shrunk(offsets, thickness).norm(dim=1)
    for step in range(steps):
        left = _shrunk(offsets.unsqueeze(2) + slopes @ ahead, thickness)
        gradient = slopes.transpose(1, 2) @ left
        new = ahead - gradient / bound
        grown = 0.5 * (1 + math.sqrt(1 + 4 * weight**2))
        ahead = new + (weight - 1) / grown * (new - z)
        z, weight = new, grown
        if step % 50 == 49:
            now = _shrunk(offsets.unsqueeze(2) + slopes @ z, thickness).flatten(1).norm(dim=1)
            if bool((now > before).any()):
                ahead, weight = z, 1.0
            if bool(((before - now).abs() <= small).all()):
                break
            before = now
    return z.squeeze(2)


def barrier(toy: Wedges, a: Tensor, b: Tensor, *, steps: int = 101, arc: bool = False) -> float:
    """The highest loss between two points, less the mean of the ends.

    Args:
        toy: the landscape.
        a: ``[D]``.
        b: ``[D]``.
        steps: places that are looked at, the middle among them where the number is odd.
        arc: go along the arc about the origin, on which the radius goes in a line from one to the other.

    Returns:
        The height.
    """
    t = torch.linspace(0, 1, steps, dtype=torch.float64).unsqueeze(1)
    line = a + t * (b - a)
    if arc:
        ends = a.norm() + t * (b.norm() - a.norm())
        units = a / a.norm() + _slerp(a / a.norm(), b / b.norm(), t)
        line = ends * units
    losses = toy.loss(line)
    return float(losses.max() - 0.5 * (losses[0] + losses[-1]))


def _slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """From the unit vector a towards b along a great circle, less a."""
    angle = torch.atan2((b - (a @ b) * a).norm(), a @ b)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle) - a


def tunnel(toy: Wedges, point: Tensor, directions: Tensor, threshold: float, *, tol: float = 1e-6) -> Tensor:
    """How far one can go straight before the loss passes a threshold.

    A tunnel ends where the distance to the wedge it began in passes the threshold, unless the line is then still near
    another wedge; each distance is convex along a line, so the place is found by bisection.

    Args:
        toy: the landscape.
        point: where to begin, ``[D]``, of loss at most the threshold.
        directions: ``[k, D]``; distances are counted in units of each.
        threshold: the loss that makes a wall.
        tol: relative error.

    Returns:
        Half-widths, ``[k]``; infinity where there is no wall.

    Raises:
        BadInput: when the point lies above the threshold.
    """
    here = float(toy.loss(point))
    if not here <= threshold:
        raise BadInput(f"The loss at the point is {here:.4g}, above the threshold {threshold:g}: give a higher one.")
    found = []
    for way in directions.double():
        at, inside = 0.0, {int(toy.nearest(point))}
        while True:  # as long as the line passes from one wedge to the next below the threshold
            far = max(_leaves(toy, point.double(), way, which, threshold, tol) for which in inside)
            if math.isinf(far) or far <= at:
                at = max(at, far)
                break
            at = far
            low = (toy.distances(point + at * way) <= threshold).nonzero()[:, 0].tolist()
            fresh = set(low) - inside
            if not fresh:
                break
            inside = fresh
        found.append(at)
    return torch.tensor(found, dtype=torch.float64)


def _leaves(toy: Wedges, point: Tensor, way: Tensor, which: int, threshold: float, tol: float) -> float:
    """Where a line last has a distance of at most the threshold to one wedge."""
    offset, slope = toy.coordinates(point, which), toy.coordinates(way, which)
    if float(slope.norm()) < 1e-12 * float(way.norm()):
        return math.inf
    if toy.thickness == 0:
        a, b, c = float(slope @ slope), float(slope @ offset), float(offset @ offset) - threshold**2
        root = b * b - a * c
        return (math.sqrt(root) - b) / a if root >= 0 else 0.0
    low, high = 0.0, 1.0

    def over(t: float) -> bool:
        return float(_shrunk(offset + t * slope, toy.thickness).norm()) > threshold

    while not over(high):
        low, high = high, 2 * high
    while high - low > tol * high:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if over(middle) else (middle, high)
    return 0.5 * (low + high)


def common(toy: Wedges, which: Sequence[int], *, tol: float = 1e-9) -> int:
    """Dimension of the common part of some wedges: D less what their short directions span together.

    Args:
        toy: the landscape; thickness makes no difference.
        which: their numbers.
        tol: relative size below which a singular value counts as zero.

    Returns:
        The dimension.
    """
    if toy.axes is not None:
        return toy.dimension - len(torch.unique(toy.axes[list(which)]))
    spanned = torch.cat([toy.basis(k) for k in which], dim=1)
    return toy.dimension - int(torch.linalg.matrix_rank(spanned, rtol=tol))


def connect(toy: Wedges, point: Tensor, which: Sequence[int]) -> Tensor:
    """The nearest point of the common part of some wedges, taken as without thickness.

    Args:
        toy: the landscape.
        point: ``[D]``.
        which: the wedges.

    Returns:
        ``[D]``: the star of segments from it to any points of these wedges has loss zero.
    """
    if toy.axes is not None:
        found = point.clone()
        found[torch.unique(toy.axes[list(which)])] = 0
        return found
    spanned = torch.cat([toy.basis(k) for k in which], dim=1)
    left, values, _ = torch.linalg.svd(spanned, full_matrices=False)
    basis = left[:, values > 1e-9 * values.max()]
    inside: Tensor = basis @ (basis.T @ point.double())
    return point - inside


def connector(toy: Wedges, a: Tensor, b: Tensor, *, only_middle: bool = False) -> tuple[Tensor, float]:
    """A connector of two pieces between two optima, and its barrier.

    Args:
        toy: the landscape.
        a: an optimum, ``[D]``.
        b: another, ``[D]``.
        only_middle: bring the loss of the middle alone down, orthogonally to ``b - a``, as the recipe for networks
            says, and not that of the way to it: then it falls onto one wedge, and the way to the other optimum keeps
            a barrier.

    Returns:
        The middle, ``[D]``, and the highest loss on the two segments.
    """
    middle = 0.5 * (a + b)
    if only_middle:
        along = (b - a) / (b - a).norm()
        for _ in range(1000):
            way = toy.step(middle)
            if float(way.norm()) < 1e-9 * float(a.norm()):
                break
            middle = middle - (way - (way @ along) * along)
    else:
        middle = connect(toy, middle, [int(toy.nearest(a)), int(toy.nearest(b))])
    return middle, max(barrier(toy, a, middle), barrier(toy, middle, b))
