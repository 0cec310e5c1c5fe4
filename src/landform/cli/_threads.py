"""On how many threads torch runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from landform.errors import BadInput


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Run what is inside on so many torch threads.

    Args:
        count: how many; None leaves it as it is.

    Raises:
        BadInput: when there are fewer than one.
    """
    if count is None:
        yield
        return
    if count < 1:
        raise BadInput(f"--threads is {count}: give at least 1.")
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def few() -> int | None:
    """One thread, on which small nets run best, unless the user has said otherwise."""
    return None if "OMP_NUM_THREADS" in os.environ else 1
