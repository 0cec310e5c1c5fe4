"""Random vectors that depend on a seed and a number alone, on every device."""

from __future__ import annotations

import torch
from torch import Tensor

_MIX = 0x9E3779B97F4A7C15


def generator(seed: int, number: int) -> torch.Generator:
    """Make the generator of the draw of this number.

    Args:
        seed: the seed.
        number: which draw.

    Returns:
        A generator on the CPU.
    """
    return torch.Generator().manual_seed((seed * 0x2545F491 + (number + 1) * _MIX) % 2**63)


def gaussian(size: int, seed: int, number: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Draw a vector of independent standard normal numbers.

    Args:
        size: P.
        seed: the seed.
        number: which draw.
        dtype: of the vector.
        device: of the vector.

    Returns:
        ``[P]``.
    """
    return torch.randn(size, generator=generator(seed, number)).to(device, dtype)


def signs(size: int, seed: int, number: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Draw a vector of independent signs (a Rademacher vector).

    Args:
        size: P.
        seed: the seed.
        number: which draw.
        dtype: of the vector.
        device: of the vector.

    Returns:
        ``[P]``, entries 1 and -1.
    """
    drawn = torch.randint(0, 2, (size,), generator=generator(seed, number), dtype=torch.int8)
    return (2 * drawn - 1).to(device, dtype)
