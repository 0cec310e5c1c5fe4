"""Randomness as a pure function of names, so that nothing depends on what was drawn before."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def seed_of(*names: object) -> int:
    """Turn names into a seed.

    Args:
        names: what the randomness is for, such as ``(seed, "order", epoch)``.

    Returns:
        A whole number in 0..2^63-1; other names, other number.
    """
    return int.from_bytes(hashlib.blake2b(repr(names).encode(), digest_size=8).digest(), "little") >> 1


def generator(*names: object) -> torch.Generator:
    """A generator that depends on the names alone; on the CPU, so that every device draws the same.

    Args:
        names: what the randomness is for.

    Returns:
        The generator, freshly seeded.
    """
    return torch.Generator().manual_seed(seed_of(*names))


def order(samples: int, seed: int, epoch: int) -> Tensor:
    """The order in which an epoch goes through the data.

    Args:
        samples: how many there are.
        seed: the run's seed.
        epoch: which epoch, from 0.

    Returns:
        A permutation of 0..samples-1, ``[samples]``: a pure function of the arguments.
    """
    return torch.randperm(samples, generator=generator(seed, "order", epoch))
