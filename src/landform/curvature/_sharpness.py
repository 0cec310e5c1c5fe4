"""Sharpness as people use it, and curvature at a stated radius."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from landform.curvature._contract import Symmetric, check_count, check_vector, dot, norm, product, wide
from landform.curvature._draws import gaussian
from landform.curvature._estimate import Estimate, over_probes
from landform.errors import BadInput
from landform.landscape import Landscape


@dataclass(frozen=True)
class SamSharpness:
    """Worst loss found in a ball, less the loss at its centre (Foret et al. 2021; adaptive: Kwon et al. 2021).

    Attributes:
        value: the rise; a lower bound on the true worst case.
        first: the rise after the one step that SAM takes.
        loss: loss at the centre.
        radius: of the ball, ``||e||`` or, adaptive, ``||e / scale||``.
        adaptive: whether each direction is measured in units of its parameter.
        direction: the worst displacement found, ``[P]``.
        gradients: full-data gradients spent.
    """

    value: float
    first: float
    loss: float
    radius: float
    adaptive: bool
    direction: Tensor = field(repr=False)
    gradients: int


@dataclass(frozen=True)
class AverageSharpness:
    """Mean rise of the loss along random directions whose filters have the point's own norms.

    Attributes:
        value: the mean rise over directions of both signs, with its standard error.
        rises: rise along each direction, mean over both signs, ``[n]``.
        radius: step along the direction, relative to the filters' norms.
        loss: loss at the centre.
        seed: of the directions.
    """

    value: Estimate
    rises: Tensor
    radius: float
    loss: float
    seed: int


@dataclass(frozen=True)
class RadiusCurvature:
    """Curvature along one direction over steps of stated length, beside the exact one.

    On networks with kinks they answer different questions: automatic differentiation sees the smooth pieces alone, a
    finite step also sees the kinks it crosses.

    Attributes:
        exact: ``v' H v`` by automatic differentiation, for ``||v|| = 1``.
        radii: step lengths r, ``[n]``.
        slopes: ``v . (g(w + r v) - g(w - r v)) / 2 r``, ``[n]``: mean curvature between the two points.
        seconds: ``(L(w + r v) + L(w - r v) - 2 L(w)) / r^2``, ``[n]``.
        noise: rounding error of ``seconds``, about ``4 eps L / r^2``, ``[n]``: below it there is nothing to read.
    """

    exact: float
    radii: Tensor
    slopes: Tensor
    seconds: Tensor
    noise: Tensor


def sam_sharpness(
    landscape: Landscape,
    point: Tensor,
    *,
    radius: float = 0.05,
    adaptive: bool = False,
    steps: int = 5,
    buffers: Mapping[str, Tensor] | None = None,
) -> SamSharpness:
    """Climb as far as a ball allows.

    The first step is SAM's: along the gradient to the ball's surface. Further steps go on along the surface, projected,
    and the best point counts.

    Args:
        landscape: the landscape.
        point: centre, ``[P]``.
        radius: of the ball.
        adaptive: measure each entry in units of ``|point|``.
        steps: gradient steps; 1 is what SAM itself does.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The sharpness.
    """
    _check_radius(radius)
    check_count("steps", steps, 1)
    landscape.layout.check(point)
    point = point.to(landscape.device, landscape.dtype)
    own = landscape.calibrate(point) if buffers is None else buffers
    scale = point.abs() if adaptive else torch.ones_like(point)
    centre = float(landscape.loss(point, buffers=own))
    moved = torch.zeros_like(point)  # in units of the scale
    best, best_moved, first = -math.inf, moved, 0.0
    for i in range(steps):
        slope = landscape.gradient(point + scale * moved, buffers=own) * scale
        length = norm(slope)
        if length == 0.0:
            break
        reach = radius if i == 0 else 0.5 * radius
        moved = moved + slope * (reach / length)
        outside = norm(moved)
        if i == 0 or outside > radius:
            moved = moved * (radius / outside)
        rise = float(landscape.loss(point + scale * moved, buffers=own)) - centre
        first = rise if i == 0 else first
        if rise > best:
            best, best_moved = rise, moved
    value = best if best > -math.inf else 0.0
    return SamSharpness(value, first, centre, radius, adaptive, scale * best_moved, steps)


def average_sharpness(
    landscape: Landscape,
    point: Tensor,
    *,
    radius: float = 0.1,
    directions: int = 20,
    seed: int = 0,
    buffers: Mapping[str, Tensor] | None = None,
) -> AverageSharpness:
    """Mean rise of the loss along filter-normalised random directions (Li et al. 2018), in both senses.

    Args:
        landscape: the landscape.
        point: centre, ``[P]``.
        radius: step, relative to the norm of each filter.
        directions: how many.
        seed: of the directions.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The mean, with its standard error over directions.
    """
    _check_radius(radius)
    check_count("directions", directions, 2)
    landscape.layout.check(point)
    point = point.to(landscape.device, landscape.dtype)
    own = landscape.calibrate(point) if buffers is None else buffers
    centre = float(landscape.loss(point, buffers=own))
    rises = torch.zeros(directions, dtype=torch.float64)
    for i in range(directions):
        drawn = gaussian(len(point), seed, i, dtype=point.dtype, device=point.device)
        step = radius * landscape.layout.filter_normalise(drawn, point)
        both = [float(landscape.loss(point + sign * step, buffers=own)) for sign in (1.0, -1.0)]
        rises[i] = 0.5 * sum(both) - centre
    return AverageSharpness(over_probes(rises), rises, radius, centre, seed)


def radius_curvature(
    landscape: Landscape,
    point: Tensor,
    direction: Tensor,
    operator: Symmetric,
    *,
    radii: Sequence[float] = (1e-3, 1e-2, 1e-1, 1.0),
    buffers: Mapping[str, Tensor] | None = None,
) -> RadiusCurvature:
    """Curvature along a direction as a function of the step.

    Args:
        landscape: the landscape.
        point: ``[P]``.
        direction: ``[P]``; its length is of no matter.
        operator: the Hessian at the point.
        radii: step lengths.
        buffers: buffers to use instead of the landscape's own.

    Returns:
        The finite curvatures and the exact one; 2 gradients, 2 losses a radius.

    Raises:
        BadInput: when the direction is zero, or a radius is not positive.
    """
    landscape.layout.check(point)
    point = point.to(landscape.device, landscape.dtype)
    vector = check_vector("direction", direction, operator).to(point)
    length = norm(vector)
    if length == 0.0:
        raise BadInput("The direction is zero: curvature needs one to be taken along.")
    vector = vector / length
    own = landscape.calibrate(point) if buffers is None else buffers
    centre = float(landscape.loss(point, buffers=own))
    exact = dot(vector, product(operator, vector.to(operator.dtype)).to(vector))
    slopes, seconds = [], []
    for radius in radii:
        _check_radius(radius)
        ahead, behind = point + radius * vector, point - radius * vector
        difference = wide(landscape.gradient(ahead, buffers=own)) - wide(landscape.gradient(behind, buffers=own))
        slopes.append(float(wide(vector) @ difference) / (2 * radius))
        total = float(landscape.loss(ahead, buffers=own)) + float(landscape.loss(behind, buffers=own))
        seconds.append((total - 2 * centre) / radius**2)
    lengths = torch.tensor(list(radii), dtype=torch.float64)
    noise = 4 * torch.finfo(point.dtype).eps * abs(centre) / lengths**2
    return RadiusCurvature(
        exact, lengths, torch.tensor(slopes, dtype=torch.float64), torch.tensor(seconds, dtype=torch.float64), noise
    )


def _check_radius(radius: float) -> None:
    if not 0 < radius < math.inf:
        raise BadInput(f"The radius is {radius}: give a positive number.")
