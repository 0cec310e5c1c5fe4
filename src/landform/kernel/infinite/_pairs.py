"""What the closed forms share: the result, the inputs, and tiles of pairs with symmetric halves once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from landform.errors import BadInput


@dataclass(frozen=True)
class Kernels:
    """Both kernels of a network of infinite width.

    Attributes:
        nngp: covariance of the outputs at initialisation, ``[n, m]``, of each output apart.
        ntk: tangent kernel, ``[n, m]``: the full one is this times the identity over outputs.
    """

    nngp: Tensor
    ntk: Tensor


def read(x: Tensor, y: Tensor | None, dims: int, dtype: torch.dtype | None, shape: str) -> tuple[Tensor, Tensor | None]:
    """Check two sets of inputs and widen them.

    Args:
        x: the first set.
        y: the second, or None for the first again.
        dims: dimensions each must have.
        dtype: to compute in; by default float64, but float32 on MPS, which has no float64.
        shape: of one set, in words.

    Returns:
        The sets in the dtype to compute in.

    Raises:
        BadInput: when they do not fit.
    """
    for given in (x,) if y is None else (x, y):
        if not isinstance(given, Tensor) or given.dim() != dims or not given.numel():
            got = f"shape {list(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
            raise BadInput(f"Inputs are {shape}, none of them 0; got {got}.")
        if not bool(torch.isfinite(given).all()):
            raise BadInput("The inputs hold NaN or infinity: remove or mend those samples.")
    if y is not None and x.shape[1:] != y.shape[1:]:
        raise BadInput(f"Both sets hold inputs of one shape; got {list(x.shape[1:])} and {list(y.shape[1:])}.")
    if dtype not in (None, torch.float32, torch.float64):
        raise BadInput(f"Closed forms are computed in float64 or float32; got dtype={dtype}.")
    wide = dtype or (torch.float32 if x.device.type == "mps" else torch.float64)
    return x.to(wide), None if y is None else y.to(wide)


def spread(name: str, value: float) -> float:
    """Check a standard deviation.

    Args:
        name: of the setting.
        value: the number.

    Returns:
        It.

    Raises:
        BadInput: when it is negative or not finite.
    """
    if not 0 <= value < float("inf"):
        raise BadInput(f"{name} is a standard deviation, 0 or more; got {value}.")
    return float(value)


def tiles(n: int, m: int | None, rows: int) -> Iterator[tuple[slice, slice]]:
    """Cut ``[n, m]`` into tiles; where m is None, ``[n, n]`` into those on and above the diagonal.

    Args:
        n: rows.
        m: columns, or None.
        rows: edge of a tile.

    Yields:
        Rows and columns of each tile.
    """
    for i in range(0, n, rows):
        for j in range(i if m is None else 0, n if m is None else m, rows):
            yield slice(i, i + rows), slice(j, j + rows)


def assemble(n: int, m: int | None, rows: int, tile: Callable[[slice, slice], Tensor]) -> Tensor:
    """Compute a matrix tile by tile, mirrored where it is symmetric.

    Args:
        n: rows.
        m: columns, or None for symmetric.
        rows: edge of a tile.
        tile: what gives ``[k, rows, columns]`` for a tile.

    Returns:
        ``[k, n, m]``.
    """
    wide = n if m is None else m
    found: Tensor | None = None
    for i, j in tiles(n, m, rows):
        part = tile(i, j)
        if m is None and i == j:
            part = part.triu() + part.triu(1).transpose(1, 2)
        if found is None:
            found = part.new_zeros(len(part), n, wide)
        found[:, i, j] = part
        if m is None and i != j:
            found[:, j, i] = part.transpose(1, 2)
    assert found is not None
    return found
