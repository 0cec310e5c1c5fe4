"""What the gradient and the Hessian at the centre say a surface looks like, to be drawn over what it does look like."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.landscape import Landscape
from landform.surface._surface import Surface, places


@dataclass(frozen=True)
class Quadratic:
    """A loss to second order around the centre of a surface, in the surface's coordinates.

    Attributes:
        value: the loss at the centre.
        slopes: its first derivatives, ``[k]``.
        curvature: its second derivatives, ``[k, k]``: the Hessian restricted to the surface.
        principal: curvatures along the principal axes for a step of length one, the highest first, ``[k]``.
        axes: those axes in coordinates, each a step of length one, ``[k, k]``, a row for each.
        fixed_statistics: whether BatchNorm's statistics were held at those of the centre, while the surface recomputes
            them at each place: the two then differ already to first order.
    """

    value: float
    slopes: Tensor
    curvature: Tensor
    principal: Tensor
    axes: Tensor
    fixed_statistics: bool

    def at(self, coordinates: Tensor) -> Tensor:
        """What it foretells.

        Args:
            coordinates: ``[n, k]``.

        Returns:
            Losses, ``[n]``, float64.
        """
        at = coordinates.double()
        return self.value + at @ self.slopes + 0.5 * torch.einsum("ni,ij,nj->n", at, self.curvature, at)

    def on(self, surface: Surface) -> Tensor:
        """What it foretells on the places of a surface.

        Args:
            surface: the surface it was made for, or a finer or wider one in the same coordinates.

        Returns:
            Losses in the surface's shape.
        """
        return self.at(places(surface.axes)).reshape(surface.losses.shape)

    def radius(self, surface: Surface, share: float = 0.1) -> float:
        """How far from the centre the surface is as foretold.

        Args:
            surface: the surface.
            share: how large a difference counts, as a share of how much the loss has changed.

        Returns:
            The L2 distance of the nearest place where they differ by more; infinity where there is none.
        """
        losses, foretold = surface.losses, self.on(surface)
        # What is as small as rounding says nothing.
        least = 1e-6 * max(abs(self.value), 1e-12)
        off = ~((losses - foretold).abs() <= share * (losses - self.value).abs() + least)
        vectors = surface.directions.detach().cpu().double()
        at = places(surface.axes)
        far = torch.einsum("ni,ij,nj->n", at, vectors @ vectors.T, at).clamp_min(0).sqrt().reshape(losses.shape)
        return float(far[off].min()) if bool(off.any()) else float("inf")

    def __str__(self) -> str:
        said = ", ".join(f"{value:.4g}" for value in self.principal.tolist())
        note = ", BatchNorm's statistics held at the centre's" if self.fixed_statistics else ""
        return f"to second order: loss {self.value:.4g} at the centre, curvatures {said} for a step of length one{note}"


def quadratic(landscape: Landscape, surface: Surface) -> Quadratic:
    """Take the gradient and the Hessian at the centre of a surface, restricted to it.

    This costs one gradient over the data and one Hessian-vector product for each direction.

    Args:
        landscape: the one that the surface shows.
        surface: the surface.

    Returns:
        The loss to second order.

    Raises:
        BadInput: when the surface is of another model.
    """
    if len(surface.centre) != landscape.layout.size:
        raise BadInput(
            f"The surface's points have {len(surface.centre)} numbers, but this landscape's {landscape.layout.size}: "
            "it shows another model."
        )
    centre = surface.centre.to(landscape.device, landscape.dtype)
    rows = surface.directions.to(centre)
    slopes = _wide(rows) @ _wide(landscape.gradient(centre))
    products = landscape.hessian(centre) @ rows.T.contiguous()
    whole = _wide(rows) @ _wide(products)
    curvature = (whole + whole.T) / 2
    gram = _wide(rows) @ _wide(rows).T
    # v^T H v for v of length one: the generalised problem for the directions' Gram matrix, by its Cholesky factor.
    inverse = torch.linalg.inv(torch.linalg.cholesky(gram))
    values, vectors = torch.linalg.eigh(inverse @ curvature @ inverse.T)
    return Quadratic(
        float(landscape.loss(centre)),
        slopes,
        curvature,
        values.flip(0),
        (vectors.T @ inverse).flip(0),
        landscape.batchnorm == "recompute",
    )


def _wide(numbers: Tensor) -> Tensor:
    return numbers.detach().cpu().double()
