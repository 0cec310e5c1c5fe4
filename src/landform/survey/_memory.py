"""The memory of this process: how much there is, the most there was, and giving back what is free."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

import torch


class Watch:
    """The most memory that is held while something goes on.

    Attributes:
        most: bytes of the process, or those that torch has taken of the GPU; None where that cannot be told.
    """

    def __init__(self, device: torch.device) -> None:
        self.most: int | None = None
        self._device = device
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif resident() is not None:
            give_back()
            self._thread.start()
        return self

    def __exit__(self, *why: object) -> None:
        self._done.set()
        if self._device.type == "cuda":
            self.most = torch.cuda.max_memory_allocated(self._device)
        elif self._thread.ident is not None:
            self._thread.join()

    def _look(self) -> None:
        while True:
            self.most = max(self.most or 0, resident() or 0)
            if self._done.wait(0.005):
                return


def give_back() -> None:
    """Let the C library give the system what it keeps of freed memory.

    Of the layers and graphs of a large model it keeps gigabytes, in pieces that do not fit what is asked for next; and
    beside them nothing shows that is taken from there.
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def resident() -> int | None:
    """Bytes of this process that lie in memory, where the system tells of them in a file."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
