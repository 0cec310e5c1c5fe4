"""One merge in a process of its own: how long it took, and the most memory the process ever held."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from landform.merging import merge_files


def peak() -> int:
    """The most memory this process has held, imports and all, in bytes."""
    with open("/proc/self/status", encoding="ascii") as status:
        return 1024 * int(next(line for line in status if line.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    folder, threads, way = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    torch.set_num_threads(threads)
    if "base" in way:
        way["base"] = folder / way["base"]
    start = time.perf_counter()
    merge_files([folder / "a", folder / "b"], folder / "out", **way)
    print(json.dumps({"seconds": time.perf_counter() - start, "peak": peak()}))
