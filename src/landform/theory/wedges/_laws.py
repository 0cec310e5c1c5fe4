"""What the toy landscape is predicted to show, each law in one place.

Unless said otherwise points are Gaussian with coordinates of spread 1 (lengths scale with the spread), optima are the
nearest points of loss zero of such points, s = D - n counts the short directions of a wedge, and wedges have no
thickness.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, optimize, special, stats

from landform.errors import BadInput
from landform.theory.wedges._toy import Orientation

Numbers = NDArray[np.float64]


def _short(dimension: int, long: int) -> int:
    if not 0 <= long < dimension:
        raise BadInput(f"An n-wedge has 0 <= n < D; got n = {long} and D = {dimension}.")
    return dimension - long


def threshold_law(dimension: int, long: int, *, thickness: float = 0.0) -> float:
    """Dimension from which on a random plane through a Gaussian point meets a wedge: ``d = D - n``.

    A wedge of half thickness h is met earlier, where ``d = s min_t E (sqrt(1 + t^2) |x| - t h)_+^2`` with x standard
    normal: the s dimensions less the statistical dimension of the cone under which the point sees the wedge
    (Amelunxen, Lotz, McCoy & Tropp 2014). It is s for h = 0.

    Args:
        dimension: D.
        long: n.
        thickness: half thickness, in units of the spread of the point's coordinates.

    Returns:
        The dimension.
    """
    short = _short(dimension, long)
    if thickness == 0:
        return float(short)

    def cone(log_t: float) -> float:
        t = math.exp(log_t)
        return _excess(math.hypot(1.0, t), t * thickness)

    return short * min(1.0, float(optimize.minimize_scalar(cone, bounds=(-12, 8), method="bounded").fun))


def plane_law(dimension: int, long: int, plane: int, *, wedges: int = 1, thickness: float = 0.0) -> float:
    """Expected lowest loss in a random plane of dimension d through a Gaussian point.

    One wedge: what is left of s Gaussian coordinates off a random d-dimensional subspace, that is a chi variable with
    s - d degrees of freedom: ``L = L_0 sqrt(1 - d/s)``, zero from d = s on. Of W wedges the lowest counts, the least
    of W such variables, independent as far as wedges share little; ``L_0 sqrt(1 - d/s)`` is then an upper bound.
    With thickness, by Gordon's comparison theorem: ``L = min_a [sqrt(s E (sqrt(1 + a^2) |x| - h)_+^2) - a sqrt(d)]_+``.

    Args:
        dimension: D.
        long: n.
        plane: d.
        wedges: W.
        thickness: half thickness, for one wedge.

    Returns:
        The loss, in units of the spread of the point's coordinates; d = 0 gives that at the point itself.

    Raises:
        BadInput: when thickness is asked for with several wedges.
    """
    short = _short(dimension, long)
    if thickness:
        if wedges > 1:
            raise BadInput("The law for wedges with thickness is that of one wedge: give wedges=1 or thickness=0.")

        def comparison(log_a: float) -> float:
            a = math.exp(log_a)
            return math.sqrt(short * _excess(math.hypot(1.0, a), thickness)) - a * math.sqrt(plane)

        at_rest = math.sqrt(short * _excess(1.0, thickness))
        best = optimize.minimize_scalar(comparison, bounds=(-12, 12), method="bounded").fun
        return max(0.0, min(at_rest, float(best)))
    free = short - plane
    if free <= 0:
        return 0.0
    if wedges == 1:
        return math.sqrt(2) * math.exp(special.gammaln((free + 1) / 2) - special.gammaln(free / 2))
    top = math.sqrt(free) + 8
    return float(integrate.quad(lambda x: stats.chi.sf(x, free) ** wedges, 0, top, limit=200)[0])


def barrier_law(dimension: int, long: int, *, at: float = 0.5, thickness: float = 0.0) -> float:
    """Loss on the straight line between optima on two wedges: ``sqrt(s (1 - s/D)) min(t, 1 - t)``, a tent.

    At the middle it is ``0.5 sqrt(s (1 - s/D))``. With thickness h, for wedges along axes,
    ``L^2 = s (1 - s/D) min over the two wedges of E (|w clip(x, h) + (1 - w) y| - h)_+^2`` with w = max(t, 1 - t) and
    standard normal x, y.

    Args:
        dimension: D.
        long: n.
        at: t, where on the line.
        thickness: half thickness.

    Returns:
        The loss, in units of the spread of the coordinates.
    """
    short = _short(dimension, long)
    apart = short * (1 - short / dimension)
    near = min(at, 1 - at)
    if thickness == 0 or near <= 0:
        return near * math.sqrt(apart)
    x = np.linspace(-8, 8, 1601)
    weights = stats.norm.pdf(x) * (x[1] - x[0])
    moved = (1 - near) * np.clip(x, -thickness, thickness)
    # E (|m + near y| - h)_+^2 for a normal y: two tails of a shifted normal.
    beyond = _tail(moved - thickness, near) + _tail(-moved - thickness, near)
    return math.sqrt(apart * float((weights * beyond).sum()))


def midpoint_law(dimension: int, long: int, *, orientation: Orientation = "axes") -> float:
    """What is left of the barrier if only the loss of the middle is brought down, orthogonally to the straight line.

    The middle falls onto one wedge; there its distance from the other is q times what the ends have from each other's
    wedge, and the way to the end on that other one has a barrier of ``2 q / (1 + q)`` of the straight line's. Along
    axes ``q = n / (D + n)``, which leaves a share of ``2 n / (D + 2 n)`` (2/3 without the constraint); for random
    directions ``q^2 = (n^2 + s n) / (D + n)^2``.

    Args:
        dimension: D.
        long: n.
        orientation: of the wedges.

    Returns:
        The loss.
    """
    short = _short(dimension, long)
    square = long**2 + (short * long if orientation == "random" else 0)
    q = math.sqrt(square) / (dimension + long)
    return 2 * q / (1 + q) * barrier_law(dimension, long)


def tunnel_law(dimension: int, long: int, threshold: float, *, thickness: float = 0.0) -> float:
    """Half-width of a tunnel along a random straight line: ``threshold * sqrt(D / s)``.

    With half thickness h, from the middle of a wedge, the t at which ``s E (t |x| / sqrt(D) - h)_+^2 = threshold^2``.

    Args:
        dimension: D.
        long: n.
        threshold: the loss that makes a wall.
        thickness: half thickness.

    Returns:
        The distance from the optimum to the wall.
    """
    short = _short(dimension, long)
    thin = threshold * math.sqrt(dimension / short)
    if thickness == 0:
        return thin

    def over(t: float) -> float:
        return math.sqrt(short * _excess(t / math.sqrt(dimension), thickness)) - threshold

    high = thin
    while over(high) < 0:
        high *= 2
    return float(optimize.brentq(over, 0.5 * high if over(0.5 * high) < 0 else 0.0, high))


def angle_law(dimension: int, long: int, *, one_start: bool = False) -> float:
    """Angle in degrees, seen from the origin, between optima on two wedges.

    90 where each comes from a start of its own; ``arccos(1 - s/D)`` where both are the nearest points of one start.

    Args:
        dimension: D.
        long: n.
        one_start: whether they come from one point.

    Returns:
        The angle.
    """
    short = _short(dimension, long)
    return math.degrees(math.acos(1 - short / dimension)) if one_start else 90.0


def arc_law(dimension: int, long: int, *, one_start: bool = False) -> float:
    """Loss half way along the arc about the origin: the straight line's, divided by the cosine of half the angle.

    The loss grows in proportion to the distance from the origin, to which the chord's middle is nearer than the arc's.

    Args:
        dimension: D.
        long: n.
        one_start: whether both optima are the nearest points of one start.

    Returns:
        The loss.
    """
    return barrier_law(dimension, long) / math.cos(math.radians(angle_law(dimension, long, one_start=one_start)) / 2)


def angular_width_law(dimension: int, long: int, threshold: float, radius: float) -> float:
    """Angle in degrees through which one can turn from an optimum before the loss passes a threshold.

    ``arcsin(threshold / radius * sqrt(D / s))``: the wedge is endless along the radius, as wide as ever across, and so
    the narrower in angle the further out.

    Args:
        dimension: D.
        long: n.
        threshold: the loss that makes a wall.
        radius: distance of the optimum from the origin.

    Returns:
        The angle; 90 where no turn reaches the wall.
    """
    sine = tunnel_law(dimension, long, threshold) / radius
    return math.degrees(math.asin(sine)) if sine < 1 else 90.0


def cosine_density(dimension: int, long: int, cosines: Numbers) -> Numbers:
    """Density of the cosines of the principal angles between the short spaces of two wedges of random directions.

    With a = s/D <= 1/2, squared cosines x follow Wachter's law (1980): the density
    ``sqrt(x (b - x)) / (2 pi a x (1 - x))`` on [0, b], b = 4 a (1 - a): no two short directions are nearer than that.

    Args:
        dimension: D.
        long: n, at least D / 2.
        cosines: where, in [0, 1].

    Returns:
        The density of the cosine at each, of mass 1.

    Raises:
        BadInput: when the wedges are short in more than half of the directions.
    """
    share = _short(dimension, long) / dimension
    if share > 0.5:
        raise BadInput("Wedges that are short in more than half of the directions share short ones: give n >= D / 2.")
    x = np.asarray(cosines, dtype=np.float64) ** 2
    top = 4 * share * (1 - share)
    inside = (x > 0) & (x < top)
    safe = np.where(inside, x, 0.5 * top)
    density = np.sqrt(safe * (top - safe)) / (2 * np.pi * share * safe * (1 - safe))
    return np.asarray(np.where(inside, density * 2 * np.sqrt(safe), 0.0))


def _excess(spread: float, over: float) -> float:
    """``E (|x| - h)_+^2`` for a normal x of this spread."""
    return float(2 * _tail(np.asarray(-over), spread))


def _tail(mean: Numbers, spread: float) -> Numbers:
    """``E (m + spread x)_+^2`` for a standard normal x: ``(m^2 + v) Phi(m / s) + m s phi(m / s)``."""
    u = mean / spread
    return np.asarray((mean**2 + spread**2) * stats.norm.cdf(u) + mean * spread * stats.norm.pdf(u))
