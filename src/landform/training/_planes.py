"""Random planes, drawn from a seed."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.layout import Layout
from landform.training._directions import Dense, Fastfood, Sparse
from landform.training._noise import generator
from landform.training._plane import Plane

PlaneKind: TypeAlias = Literal["orthonormal", "unit", "sparse", "fastfood"]
KINDS = ("orthonormal", "unit", "sparse", "fastfood")
MEMORY = 2**31


def plane(
    of: nn.Module | Layout | int,
    dimension: int,
    *,
    kind: PlaneKind = "orthonormal",
    seed: int = 0,
    memory: float = MEMORY,
) -> Plane:
    """Draw a random plane.

    Args:
        of: the model, its layout, or P.
        dimension: d.
        kind: ``"orthonormal"``: columns of a Gaussian matrix made orthonormal; ``"unit"``: Gaussian columns of length
            one, not orthogonal (Larsen et al. 2022); ``"sparse"``: sqrt(P) numbers of one size and random sign in each
            column, one in each of as many runs of weights; ``"fastfood"``: columns of length one of products of
            Hadamard, diagonal and permutation matrices, never held (Le, Sarlos & Smola 2013; Li et al. 2018). The first
            two hold d P numbers, the third d sqrt(P), the last 4 P.
        seed: decides the draw; of two planes of one seed and kind (the first two), the smaller lies in the larger.
        memory: bytes that the directions may take.

    Returns:
        The plane.

    Raises:
        BadInput: when it does not fit into the space or the memory.
    """
    return planes(of, dimension, 1, kind=kind, seed=seed, memory=memory)[0]


def planes(
    of: nn.Module | Layout | int,
    dimension: int,
    count: int,
    *,
    kind: PlaneKind = "orthonormal",
    seed: int = 0,
    memory: float = MEMORY,
) -> list[Plane]:
    """Draw several random planes.

    Those of the dense kinds share one draw, and each has the sign of every weight drawn anew: each is as random as one
    drawn by itself, two of them overlap hardly more than two drawn apart do (``(d + 2) / P`` of each lies in the other
    on average, not ``d / P``), and in a stack the products of all are one.

    Args:
        of: the model, its layout, or P.
        dimension: d.
        count: how many.
        kind: as for `plane`.
        seed: decides the draw; the first of many is the one that `plane` draws.
        memory: bytes that the directions of all may take.

    Returns:
        The planes.

    Raises:
        BadInput: when they do not fit into the space or the memory.
    """
    size = of if isinstance(of, int) else of.size if isinstance(of, Layout) else Layout.of(of).size
    if isinstance(dimension, bool) or not isinstance(dimension, int) or not 1 <= dimension <= size:
        raise BadInput(f"A plane of {dimension!r} dimensions does not lie in a space of {size:,}: give 1 to {size:,}.")
    if count < 1:
        raise BadInput(f"count is {count}: give at least 1.")
    if kind not in KINDS:
        raise BadInput(f"There is no plane of kind {kind!r}: give {', '.join(map(repr, KINDS))}.")
    entries = round(math.sqrt(size))
    block = 1 << max(0, (dimension - 1).bit_length())
    bytes_of = {
        # While columns are made orthogonal they are held twice, in float64.
        "orthonormal": 20 * dimension * size + 4 * count * size,
        "unit": 4 * dimension * size + 4 * count * size,
        "sparse": 12 * dimension * entries * count,
        "fastfood": 24 * (-(-size // block) * block) * count,
    }
    if bytes_of[kind] > memory:
        fitting = [k for k in ("sparse", "fastfood") if bytes_of[k] <= memory]
        give = f"kind={' or '.join(map(repr, fitting))}, or memory=" if fitting else "fewer dimensions, or memory="
        raise BadInput(
            f"{'A plane' if count == 1 else f'{count} planes'} of kind {kind!r} with {dimension:,} directions of "
            f"{size:,} numbers would take {bytes_of[kind] / 2**30:.3g} GiB, over the {memory / 2**30:.3g} allowed: "
            f"give {give}."
        )
    if kind == "sparse":
        return [_sparse(size, dimension, entries, seed, number) for number in range(count)]
    if kind == "fastfood":
        return [_fastfood(size, dimension, block, seed, number) for number in range(count)]
    rows = _dense_rows(size, dimension, kind, seed)
    return [Dense(size, dimension, kind, seed, number, rows, _signs(size, seed, number)) for number in range(count)]


def plane_of(directions: Tensor) -> Plane:
    """Make a plane of directions of one's own, such as the main ones of a run.

    Args:
        directions: M, ``[P, d]``, as they are.

    Returns:
        The plane.

    Raises:
        BadInput: when they are no such matrix, or hold NaN or infinity.
    """
    if not isinstance(directions, Tensor) or directions.dim() != 2 or not directions.is_floating_point():
        raise BadInput("The directions of a plane are a floating-point matrix [P, d], one in each column.")
    if not 1 <= directions.shape[1] <= len(directions) or not bool(torch.isfinite(directions).all()):
        raise BadInput("The directions of a plane are finite, at least one, and no more than there are parameters.")
    size, dimension = directions.shape
    rows = directions.detach().cpu().T.contiguous()
    return Dense(size, dimension, "given", None, 0, rows, torch.ones(1, 1, dtype=rows.dtype))


def _dense_rows(size: int, dimension: int, kind: str, seed: int) -> Tensor:
    # Row by row, so that fewer rows are the first of many.
    rows = torch.stack([torch.randn(size, generator=generator(seed, "plane", i)) for i in range(dimension)])
    if kind == "unit":
        rows /= torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        return rows
    basis: Tensor
    basis, triangle = torch.linalg.qr(rows.double().T)
    signs = torch.where(triangle.diagonal() < 0, -1.0, 1.0)  # as Gram and Schmidt have them
    return (basis * signs).T.float().contiguous()


def _signs(size: int, seed: int, number: int) -> Tensor:
    if number == 0:
        return torch.ones(1, 1)
    return _random_signs((1, size), seed, "plane signs", number)


def _sparse(size: int, dimension: int, entries: int, seed: int, number: int) -> Sparse:
    edges = torch.linspace(0, size, entries + 1, dtype=torch.float64).round().long()
    widths = edges.diff()
    drawn = torch.rand(1, dimension, entries, generator=generator(seed, "sparse plane", number))
    places = edges[:-1] + (drawn * widths).long().minimum(widths - 1)
    signs = _random_signs((1, dimension, entries), seed, "sparse signs", number)
    return Sparse(size, dimension, "sparse", seed, number, places, signs)


def _fastfood(size: int, dimension: int, n: int, seed: int, number: int) -> Fastfood:
    blocks = -(-size // n)
    draw = generator(seed, "fastfood", number)
    order = torch.rand(1, blocks, n, generator=draw).argsort(2)
    gains = torch.randn(1, blocks, n, generator=draw)
    shares = torch.full((blocks,), 1.0)
    shares[-1] = (size - (blocks - 1) * n) / n
    gains /= (shares * gains[0].square().mean(1)).sum().sqrt()
    signs = _random_signs((1, blocks, n), seed, "fastfood signs", number)
    return Fastfood(size, dimension, "fastfood", seed, number, signs, order, order.argsort(2), gains)


def _random_signs(shape: tuple[int, ...], *names: object) -> Tensor:
    return (2 * torch.randint(0, 2, shape, generator=generator(*names), dtype=torch.int8) - 1).float()
