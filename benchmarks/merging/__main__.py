"""Two folders of 1 GB merged into one: memory, and time beside that of copying one with cp.

Run it on a quiet machine. The folders are made once, of random numbers, in shards as the hub has them; every way is run
in turn, each merge in a process of its own, and medians are told: of the merge, and of its process, imports and all.
`cp` leaves what it writes in the memory of the system; a merge waits until it is on the disk, so `cp` is also measured
with a `sync` of its files.

    python benchmarks/merging [--quick] [--folder PLACE] [--rounds 5] [--threads 2] [--ways NAME ...] [--peer PYTHON]

With `--peer`, the Python of an environment that has mergekit (`make peers`), its linear and ties take their turn too,
and what it makes of twelve recipes for small random models is held against what landform makes of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch

# Seconds before each run. A virtual machine gives memory that was freed back to its host within seconds, and takes a
# second for each GB to have it again: without a pause that falls on some of the runs.
_PAUSE = 5.0
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from peer import compare, ran  # noqa: E402
from random_models import make  # noqa: E402

WAYS: tuple[tuple[str, dict[str, object]], ...] = (
    ("mean", {"method": "mean"}),
    ("mean, no report", {"method": "mean", "report": False}),
    ("slerp, each tensor", {"method": "slerp", "per": "tensor"}),
    ("task_arithmetic", {"method": "task_arithmetic", "base": "c"}),
    ("ties, each tensor", {"method": "ties", "per": "tensor", "base": "c"}),
    ("ties, whole point", {"method": "ties", "per": "point", "base": "c"}),
    ("dare", {"method": "dare", "base": "c"}),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="folders of 50 MB, one round")
    parser.add_argument("--folder", type=Path, help="where the folders are made; a temporary place by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default=None, help="both by default")
    parser.add_argument("--ways", nargs="+", choices=tuple(dict(WAYS)), help="some of the ways; all by default")
    parser.add_argument("--peer", type=Path, help="the Python of an environment with mergekit")
    asked = parser.parse_args()
    print(f"torch {torch.__version__}, {asked.threads} threads")
    size, rounds = (50e6, 1) if asked.quick else (1e9, asked.rounds)
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        for dtype in ("float32", "bfloat16") if asked.dtype is None else (asked.dtype,):
            folder = Path(place) / dtype
            for seed, name in enumerate("abc"):
                kind = getattr(torch, dtype)
                width = int((size / kind.itemsize / (32 + 16 * 6)) ** 0.5) // 8 * 8
                make(folder / name, seed, width=width, layers=6, dtype=kind, shards=3)
            ways = {name: way for name, way in WAYS if asked.ways is None or name in asked.ways}
            measure(folder, rounds, asked.threads, asked.peer, ways)
            shutil.rmtree(folder)
    if asked.peer is not None:
        compare(asked.peer)


def measure(
    folder: Path, rounds: int, threads: int, peer: Path | None, ways: Mapping[str, Mapping[str, object]]
) -> None:
    """Run every way in turn, and print medians.

    Args:
        folder: with the folders a, b and c.
        rounds: how often.
        threads: of torch.
        peer: the Python of an environment with mergekit, or None.
        ways: what is merged how, by name.
    """
    size = sum(file.stat().st_size for file in (folder / "a").iterdir())
    theirs = ("mergekit, linear", "mergekit, ties") if peer is not None else ()
    seconds: dict[str, list[float]] = {name: [] for name in ("cp", "cp and sync", *ways, *theirs)}
    peaks: dict[str, list[float]] = {name: [] for name in (*ways, *theirs)}
    whole: dict[str, list[float]] = {name: [] for name in peaks}
    out = folder / "out"
    for _ in range(rounds):
        for name in ("cp", "cp and sync"):
            time.sleep(_PAUSE)
            start = time.perf_counter()
            subprocess.run(["cp", "-r", str(folder / "a"), str(out)], check=True)
            if "sync" in name:
                subprocess.run(["sync", *map(str, out.iterdir())], check=True)
            seconds[name].append(time.perf_counter() - start)
            shutil.rmtree(out)
        for name, way in ways.items():
            command = [sys.executable, str(HERE / "worker.py"), str(folder), str(threads), json.dumps(way)]
            time.sleep(_PAUSE)
            start = time.perf_counter()
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            whole[name].append(time.perf_counter() - start)
            seconds[name].append(told["seconds"])
            peaks[name].append(told["peak"])
            shutil.rmtree(out)
        for name in theirs:
            assert peer is not None
            took, peak = ran(peer, folder, name.partition(", ")[2], out, threads)
            seconds[name].append(took)
            whole[name].append(took)
            peaks[name].append(peak)
            shutil.rmtree(out)
    base = {name: statistics.median(seconds[name]) for name in ("cp", "cp and sync")}
    print(f"\n{folder.name}, folders of {size / 1e9:.2f} GB", flush=True)
    print(f"{'':22}{'seconds':>9}{'times cp':>10}{'and sync':>10}{'process':>9}{'peak MB':>9}   all seconds")
    for name, found in seconds.items():
        middle = statistics.median(found)
        more = " " * 18
        if name in peaks:
            more = f"{statistics.median(whole[name]):9.2f}{max(peaks[name]) / 1e6:9.0f}"
        every = " ".join(f"{one:.2f}" for one in found)
        print(f"{name:22}{middle:9.2f}{middle / base['cp']:10.1f}{middle / base['cp and sync']:10.1f}{more}   {every}")


if __name__ == "__main__":
    main()
