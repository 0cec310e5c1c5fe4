"""Randomness as a pure function of what it is for; the global generators are neither read nor moved."""

from __future__ import annotations

import hashlib

import torch


def seeded(*names: object) -> torch.Generator:
    """Make a generator that depends on the names alone.

    Args:
        names: what the randomness is for, such as ``("label noise", seed)``.

    Returns:
        A freshly seeded generator on the CPU, so that every device sees the same draws.
    """
    digest = hashlib.blake2b(repr(names).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
