"""Curvature layer by layer: shares of eigenvectors, coupling between layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from landform.curvature._contract import Symmetric, check_count, check_operator, product, wide
from landform.curvature._draws import signs
from landform.curvature._eigenpairs import Eigenpairs
from landform.curvature._estimate import Estimate
from landform.errors import BadInput
from landform.layout import Layout, Slot

By: TypeAlias = Literal["module", "parameter"]


@dataclass(frozen=True)
class Coupling:
    """How the curvature of one layer is tied to another's.

    Attributes:
        layers: names of the L layers.
        squares: squared Frobenius norm of each block ``||H_ab||_F^2``, ``[L, L]``.
        standard_errors: of each, ``[L, L]``; 0 where it is exact.
        products: products spent.
        seed: of the probes.
    """

    layers: tuple[str, ...]
    squares: Tensor
    standard_errors: Tensor
    products: int
    seed: int

    @property
    def cosines(self) -> Tensor:
        """``||H_ab||_F / sqrt(||H_aa||_F ||H_bb||_F)``, ``[L, L]``: 1 on the diagonal, 0 for uncoupled layers."""
        norms = self.squares.clamp_min(0).sqrt()
        own = norms.diagonal().sqrt()
        return norms / torch.outer(own, own).clamp_min(1e-300)

    @property
    def across(self) -> float:
        """Share of ``||H||_F^2`` that lies outside the diagonal blocks."""
        return 1.0 - float(self.squares.diagonal().sum() / self.squares.sum())


def layers_of(layout: Layout, by: By = "module") -> dict[str, tuple[Slot, ...]]:
    """Group the parameters of a point into layers.

    Args:
        layout: the layout.
        by: "module" puts a module's own parameters together (weight and bias), "parameter" keeps each apart.

    Returns:
        The slots of each layer, by name, in order.

    Raises:
        BadInput: when ``by`` is something else.
    """
    if by not in ("module", "parameter"):
        raise BadInput(f"by is {by!r}: give 'module' or 'parameter'.")
    found: dict[str, list[Slot]] = {}
    for slot in layout.slots:
        name = slot.name.rpartition(".")[0] or slot.name if by == "module" else slot.name
        found.setdefault(name, []).append(slot)
    return {name: tuple(slots) for name, slots in found.items()}


def by_module(layers: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Add up what is known of parameters into what is known of modules.

    Args:
        layers: an estimate for each parameter, such as `Trace.layers`.

    Returns:
        An estimate for each module; standard errors are added, since the parts come from the same probes.
    """
    found: dict[str, Estimate] = {}
    for name, part in layers.items():
        module = name.rpartition(".")[0] or name
        before = found.get(module, Estimate(0.0, 0.0))
        found[module] = Estimate(before.value + part.value, before.standard_error + part.standard_error)
    return found


def layer_shares(vectors: Tensor | Eigenpairs, layout: Layout, *, by: By = "module") -> tuple[tuple[str, ...], Tensor]:
    """Share of each vector's squared length that lies in each layer.

    Args:
        vectors: ``[P]``, ``[P, k]``, or eigenpairs.
        layout: which slice is which parameter.
        by: "module" or "parameter".

    Returns:
        Names of the layers, and shares ``[L, k]`` that sum to 1 over the layers.
    """
    columns = vectors.vectors if isinstance(vectors, Eigenpairs) else vectors
    columns = columns.reshape(columns.shape[0], -1)
    _check(columns, layout)
    squares = wide(columns).square()
    groups = layers_of(layout, by)
    rows = [
        sum((squares[s.start : s.stop].sum(0) for s in slots), squares.new_zeros(columns.shape[1]))
        for slots in groups.values()
    ]
    shares = torch.stack(rows).cpu().double()
    return tuple(groups), shares / shares.sum(0).clamp_min(1e-300)


def coupling_of(pairs: Eigenpairs, layout: Layout, *, by: By = "module") -> Coupling:
    """Coupling of layers within the span of some eigenvectors, for no further product.

    Args:
        pairs: eigenpairs.
        layout: which slice is which parameter.
        by: "module" or "parameter".

    Returns:
        The squared Frobenius norms of the blocks of ``sum over i of value_i v_i v_i.T``.
    """
    _check(pairs.vectors, layout)
    vectors = wide(pairs.vectors)
    groups = layers_of(layout, by)
    grams = []
    for slots in groups.values():
        parts = [vectors[slot.start : slot.stop] for slot in slots]
        grams.append(sum((part.T @ part for part in parts), vectors.new_zeros(len(pairs), len(pairs))))
    stacked = torch.stack(grams).cpu().double()
    weighted = stacked * torch.outer(pairs.values, pairs.values)
    squares = torch.einsum("aij,bij->ab", weighted, stacked)
    return Coupling(tuple(groups), squares, torch.zeros_like(squares), 0, pairs.seed)


def coupling(operator: Symmetric, *, probes: int = 8, by: By = "module", seed: int = 0) -> Coupling:
    """Coupling of layers in the whole operator, by probes that live in one layer each.

    A random sign vector v in layer b gives ``||(H v)_a||^2``, whose mean is ``||H_ab||_F^2``; a block and its transpose
    are two estimates of the same number, and are averaged.

    Args:
        operator: a symmetric operator with a layout.
        probes: for each layer; at least 2.
        by: "module" or "parameter".
        seed: of the probes.

    Returns:
        The squared Frobenius norms of all blocks, for probes x layers products.

    Raises:
        BadInput: when the operator has no layout.
    """
    check_operator(operator)
    check_count("probes", probes, 2)
    layout = getattr(operator, "layout", None)
    if layout is None:
        raise BadInput("This operator does not know which slice of a vector is which layer: it has no layout.")
    groups = layers_of(layout, by)
    count = len(groups)
    each = torch.zeros(probes, count, count, dtype=torch.float64)
    for b, (_, own) in enumerate(groups.items()):
        for j in range(probes):
            drawn = signs(operator.size, seed, 4_000_000 + j * count + b, dtype=operator.dtype, device=operator.device)
            vector = torch.zeros_like(drawn)
            for slot in own:
                vector[slot.start : slot.stop] = drawn[slot.start : slot.stop]
            squares = wide(product(operator, vector)).square()
            for a, (_, slots) in enumerate(groups.items()):
                each[j, a, b] = sum(float(squares[s.start : s.stop].sum()) for s in slots)
    each = 0.5 * (each + each.transpose(1, 2))
    errors = each.std(0) / probes**0.5
    return Coupling(tuple(groups), each.mean(0), errors, probes * count, seed)


def _check(vectors: Tensor, layout: Layout) -> None:
    if vectors.shape[0] != layout.size:
        raise BadInput(
            f"The vectors have {vectors.shape[0]:,} entries, but a point of this layout has {layout.size:,}."
        )
