"""Curvature of random points against their distance from the origin: the Goldilocks zone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from landform.curvature._contract import check_count
from landform.curvature._draws import gaussian, generator
from landform.curvature._shape import shape
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.layout import Layout

Progress: TypeAlias = Callable[[int, int], object]
RADII = (0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0, 20.0)


@dataclass(frozen=True)
class Goldilocks:
    """Shape of the Hessian at random points of several radii (Fort & Scherlis 2018).

    Attributes:
        radii: multiples of the drawn points, ``[r]``.
        ratios: ``Tr(H_d) / ||H_d||_F`` with ``H_d = M.T H M``, between ``-sqrt(d)`` and ``sqrt(d)``, about 0 for a
            spectrum that is symmetric; ``[r, draws]``, nan where the Hessian vanishes.
        positive: share of the eigenvalues of H_d that are positive, likewise.
        losses: loss at the points, likewise.
        norms: L2 norms of the points, likewise.
        dimension: d; None for the Hessian in all parameters.
        products: products with Hessians that it took.
        seed: of the draws.
    """

    radii: Tensor
    ratios: Tensor
    positive: Tensor
    losses: Tensor
    norms: Tensor
    dimension: int | None
    products: int
    seed: int

    @property
    def ratio(self) -> Tensor:
        """Mean ratio at each radius, ``[r]``."""
        return self.ratios.nanmean(1)

    @property
    def positive_share(self) -> Tensor:
        """Mean share of positive curvature at each radius, ``[r]``."""
        return self.positive.nanmean(1)

    @property
    def best(self) -> float:
        """The radius at which the mean ratio is largest."""
        return float(self.radii[self.ratio.nan_to_num(-math.inf).argmax()])


def goldilocks(
    landscape: Landscape,
    radii: Sequence[float] = RADII,
    *,
    points: Tensor | None = None,
    draws: int = 6,
    dimension: int | None = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> Goldilocks:
    """Measure how much positive curvature there is at random points of several distances from the origin.

    Takes d products at each point, with d random directions of length one that need not be orthogonal, as in the
    paper; one draw has the same point, scaled, and the same directions at all radii.

    Args:
        landscape: the loss.
        radii: by what the points are multiplied: for points drawn here, multiples of Xavier's radius.
        points: points of one's own, ``[draws, P]``; drawn by `xavier` if not given.
        draws: how many points to draw.
        dimension: d; None for all parameters, by Lanczos quadrature where they are many (see `shape`).
        seed: decides points and directions.
        progress: called with (points done, points in all).

    Returns:
        The curvature by radius and draw.

    Raises:
        BadInput: when there is no radius, or one that is not above 0.
    """
    if not len(radii) or not all(0 < radius < math.inf for radius in radii):
        raise BadInput("Radii are multiples of a point's distance from the origin: give at least one, each above 0.")
    if points is None:
        check_count("draws", draws, 1)
        points = xavier(landscape, draws, seed=seed)
    landscape.layout.check(points)
    points = points.unsqueeze(0) if points.dim() == 1 else points
    if dimension is not None:
        check_count("dimension", dimension, 1, landscape.layout.size)
    scaled = _scaled_by_radius(landscape.layout).to(points.device)
    shape_ = (len(radii), len(points))
    ratios, positive, losses, norms = (torch.full(shape_, math.nan, dtype=torch.float64) for _ in range(4))
    products, checked = 0, True
    for j, point in enumerate(points):
        directions = None if dimension is None else _unit_columns(landscape, dimension, seed, j)
        for i, radius in enumerate(radii):
            at = torch.where(scaled, radius * point, point).to(landscape.device, landscape.dtype)
            losses[i, j], norms[i, j] = landscape.loss(at), torch.linalg.vector_norm(at.cpu().double())
            H = landscape.hessian(at, check=checked)  # the symmetry of one point's is that of all
            checked = False
            if directions is None:
                found = shape(H, seed=seed)
                ratios[i, j], positive[i, j] = found.ratio.value, found.positive.value
                products += found.products
            else:
                small = H.restricted(directions).dense().to("cpu", torch.float64)
                ratios[i, j], positive[i, j] = _shape_of(small)
                products += len(small)
            if progress is not None:
                progress(j * len(radii) + i + 1, len(radii) * len(points))
    return Goldilocks(
        torch.tensor(list(radii), dtype=torch.float64), ratios, positive, losses, norms, dimension, products, seed
    )


def xavier(landscape: Landscape, draws: int = 1, *, seed: int = 0) -> Tensor:
    """Draw points as Glorot & Bengio (2010) do: weights normal, of variance ``2 / (fan_in + fan_out)``, biases zero.

    Scales and shifts of normalisation layers, and other vectors, are the model's own.

    Args:
        landscape: whose points they are.
        draws: how many.
        seed: decides them.

    Returns:
        ``[draws, P]``.
    """
    points = landscape.here.repeat(draws, 1)
    made = generator(seed, -1)
    for slot, view in zip(landscape.layout.slots, landscape.layout.views(points).values(), strict=True):
        if slot.kind == "bias":
            view.zero_()
        elif len(slot.shape) >= 2:
            fans = (slot.shape[0] + slot.shape[1]) * math.prod(slot.shape[2:])
            drawn = torch.randn(draws, *slot.shape, generator=made, dtype=torch.float64)
            view.copy_(math.sqrt(2 / fans) * drawn)
    return points


def _scaled_by_radius(layout: Layout) -> Tensor:
    """Which numbers of a point grow with the radius: all but those of normalisation layers."""
    scaled = torch.ones(layout.size, dtype=torch.bool)
    for slot in layout.slots:
        scaled[slot.start : slot.stop] = slot.kind != "norm"
    return scaled


def _unit_columns(landscape: Landscape, dimension: int, seed: int, number: int) -> Tensor:
    columns = [
        gaussian(landscape.layout.size, seed, number * dimension + k, dtype=torch.float64, device=torch.device("cpu"))
        for k in range(dimension)
    ]
    directions = torch.stack(columns, dim=1)
    directions /= torch.linalg.vector_norm(directions, dim=0)
    return directions.to(landscape.device, landscape.dtype)


def _shape_of(matrix: Tensor) -> tuple[float, float]:
    """Trace over Frobenius norm, and share of positive eigenvalues; nan for a matrix of zeros."""
    values = torch.linalg.eigvalsh(0.5 * (matrix + matrix.T))
    largest = float(values.abs().max())
    if not 0 < largest < math.inf:
        return math.nan, math.nan
    return float(values.sum() / values.norm()), float((values > 1e-6 * largest).double().mean())
