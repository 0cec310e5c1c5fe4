"""The two forms of a kernel, as matrices in float64: what every function of this room begins with."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from landform.errors import BadInput


def wide(tensor: Tensor) -> Tensor:
    """Take a tensor to float64, in which sums do not cancel; MPS has none, so from there it goes to the CPU.

    Args:
        tensor: any.

    Returns:
        The same numbers, without their graph.
    """
    tensor = tensor.detach()
    return tensor.cpu().double() if tensor.device.type == "mps" else tensor.double()


def check_form(kernel: Any, what: str = "kernel") -> Tensor:
    """Refuse what is neither a trace kernel nor a full one.

    Args:
        kernel: ``[n, m]``, or ``[n, m, K, L]``.
        what: what to call it.

    Returns:
        The kernel.

    Raises:
        BadInput: when it has another shape, holds whole numbers, is empty, or holds NaN or infinity.
    """
    if not isinstance(kernel, Tensor) or kernel.dim() not in (2, 4):
        got = f"shape {list(kernel.shape)}" if isinstance(kernel, Tensor) else f"a {type(kernel).__name__}"
        raise BadInput(
            f"A {what} is a tensor [n, m], or [n, m, K, K] with a block for each pair of samples; got {got}."
        )
    if not kernel.dtype.is_floating_point:
        raise BadInput(f"The {what} holds {kernel.dtype}: give floating-point numbers.")
    if not kernel.numel():
        raise BadInput(f"The {what} is empty ({list(kernel.shape)}): give at least one sample.")
    # The sum is finite only if every entry is; an overflow of the sum itself is looked at more closely.
    if not bool(torch.isfinite(kernel.sum())):
        bad = ~torch.isfinite(kernel)
        if bool(bad.any()):
            first = bad.flatten(1).any(1).nonzero()[0]
            raise BadInput(
                f"The {what} holds NaN or infinity in {int(bad.sum())} of its {kernel.numel()} numbers, first in row "
                f"{int(first)}: look whether the network has diverged, or take the kernel in float64."
            )
    return kernel


def as_matrix(kernel: Tensor) -> Tensor:
    """Lay a kernel out as a matrix, samples slow and outputs fast.

    Args:
        kernel: ``[n, m]``, or ``[n, m, K, L]``.

    Returns:
        ``[n, m]``, or ``[n K, m L]``.
    """
    if kernel.dim() == 2:
        return kernel
    n, m, rows, columns = kernel.shape
    return kernel.permute(0, 2, 1, 3).reshape(n * rows, m * columns)


def outputs_of(kernel: Tensor) -> int:
    """How many outputs a kernel has a row for, for each sample: 1 for a trace kernel.

    Args:
        kernel: ``[n, m]``, or ``[n, m, K, L]``.

    Returns:
        K.
    """
    return 1 if kernel.dim() == 2 else kernel.shape[2]


def tolerance(kernel: Tensor) -> float:
    """How far a kernel may be from symmetric, or below zero, and count as rounded, relative to its largest part.

    Args:
        kernel: in the type in which it was computed.

    Returns:
        The root of what that type can tell, at least 1e-5: a kernel may have been float32 before.
    """
    return max(math.sqrt(torch.finfo(kernel.dtype).eps), 1e-5)


def symmetric(kernel: Any, what: str = "kernel") -> Tensor:
    """Lay a kernel of samples with themselves out as a symmetric matrix in float64.

    Args:
        kernel: ``[n, n]``, or ``[n, n, K, K]``.
        what: what to call it.

    Returns:
        ``[N, N]``, with N = n or n K.

    Raises:
        BadInput: when it is not finite, square and symmetric.
    """
    kernel = check_form(kernel, what)
    matrix = wide(as_matrix(kernel))
    if kernel.shape[0] != kernel.shape[1] or matrix.shape[0] != matrix.shape[1]:
        raise BadInput(
            f"The {what} has shape {list(kernel.shape)}: here it must be that of samples with themselves, [n, n] or "
            "[n, n, K, K]."
        )
    apart, largest = float((matrix - matrix.T).abs().max()), float(matrix.abs().max())
    if apart > tolerance(kernel) * largest:
        raise BadInput(
            f"The {what} is not symmetric: entries differ from those across the diagonal by up to {apart:.3g}, where "
            f"the largest is {largest:.3g}; give the kernel of samples with themselves, in one order."
        )
    return 0.5 * (matrix + matrix.T)


def decompose(kernel: Any, what: str = "kernel") -> tuple[Tensor, Tensor]:
    """Find eigenvalues and eigenvectors of a positive kernel.

    Args:
        kernel: ``[n, n]``, or ``[n, n, K, K]``.
        what: what to call it.

    Returns:
        Eigenvalues, descending, ``[N]``, those below rounding set to zero; and eigenvectors, one a column, ``[N, N]``.

    Raises:
        BadInput: when the kernel has eigenvalues below zero, which no kernel of a network has.
    """
    matrix = symmetric(kernel, what)
    values, vectors = torch.linalg.eigh(matrix)
    values, vectors = values.flip(0), vectors.flip(1)
    least, largest = float(values[-1]), float(values.abs().max())
    if least < -tolerance(kernel) * largest:
        raise BadInput(
            f"The {what} is not positive: its least eigenvalue is {least:.3g}, its largest {float(values[0]):.3g}; a "
            "kernel is a matrix of inner products, so look how it was made."
        )
    floor = len(values) * torch.finfo(torch.float64).eps * largest
    return torch.where(values > floor, values, 0.0), vectors
