"""Two folders of 1 GB merged into one: memory, and time beside that of copying one with cp.

Run it on a quiet machine. The folders are made once, of random numbers, in shards as the hub has them; every way is
run in turn, each merge in a process of its own, and medians are told. `cp` leaves what it writes in the memory of the
system; a merge waits until it is on the disk, so `cp` is also measured with a `sync` of its files.

    python benchmarks/merging [--quick] [--folder PLACE] [--rounds 5] [--threads 2] [--peer PYTHON]

With `--peer` the Python of an environment that has mergekit (see benchmarks/peers.sh), what it makes of small random
models by linear, slerp, ties and task_arithmetic is held against what landform makes of the same recipe.
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
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

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
    parser.add_argument("--peer", type=Path, help="the Python of an environment with mergekit")
    asked = parser.parse_args()
    print(f"torch {torch.__version__}, {asked.threads} threads")
    size, rounds = (50e6, 1) if asked.quick else (1e9, asked.rounds)
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        for dtype in ("float32", "bfloat16") if asked.dtype is None else (asked.dtype,):
            folder = Path(place) / dtype
            for seed, name in enumerate("abc"):
                make(folder / name, seed, getattr(torch, dtype), size)
            measure(folder, rounds, asked.threads)
            shutil.rmtree(folder)
    if asked.peer is not None:
        from peer import compare

        compare(asked.peer)


def make(folder: Path, seed: int, dtype: torch.dtype, size: float) -> None:
    """A transformer's tensors, random, in three shards.

    Args:
        folder: for them.
        seed: of the numbers.
        dtype: of the tensors.
        size: bytes, roughly.
    """
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    width = max(
        8, int((size / dtype.itemsize / 128) ** 0.5) // 8 * 8
    )  # 32 of embedding, 8 blocks of 12, all times width
    shapes = {"embed.weight": (32 * width, width)}
    for number in range(8):
        one = f"layers.{number}"
        shapes |= {
            f"{one}.norm.weight": (width,),
            f"{one}.attention.weight": (4 * width, width),
            f"{one}.up.weight": (4 * width, width),
            f"{one}.down.weight": (width, 4 * width),
        }
    names = list(shapes)
    folder.mkdir(parents=True)
    told: dict[str, str] = {}
    for number, mine in enumerate((names[:1], names[1:17], names[17:]), start=1):
        file = f"model-{number:05d}-of-00003.safetensors"
        # Around what all have in common, as models that began from one are.
        shared = torch.Generator().manual_seed(99)
        tensors = {
            name: (torch.randn(shapes[name], generator=shared) + 0.1 * torch.randn(shapes[name])).to(dtype)
            for name in mine
        }
        save_file(tensors, folder / file, {"format": "pt"})
        told.update(dict.fromkeys(mine, file))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": told}))
    (folder / "config.json").write_text("{}")


def measure(folder: Path, rounds: int, threads: int) -> None:
    """Run every way in turn, and print medians.

    Args:
        folder: with the folders a, b and c.
        rounds: how often.
        threads: of torch.
    """
    size = sum(file.stat().st_size for file in (folder / "a").iterdir())
    seconds: dict[str, list[float]] = {name: [] for name in ("cp", "cp and sync", *dict(WAYS))}
    peaks: dict[str, list[float]] = {name: [] for name in dict(WAYS)}
    out = folder / "out"
    for _ in range(rounds):
        for name in ("cp", "cp and sync"):
            start = time.perf_counter()
            subprocess.run(["cp", "-r", str(folder / "a"), str(out)], check=True)
            if "sync" in name:
                subprocess.run(["sync", *map(str, out.iterdir())], check=True)
            seconds[name].append(time.perf_counter() - start)
            shutil.rmtree(out)
        for name, way in WAYS:
            command = [sys.executable, str(HERE / "worker.py"), str(folder), str(threads), json.dumps(way)]
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            seconds[name].append(told["seconds"])
            peaks[name].append(told["peak"])
            shutil.rmtree(out)
    base = {name: statistics.median(seconds[name]) for name in ("cp", "cp and sync")}
    print(f"\n{folder.name}, folders of {size / 1e9:.2f} GB")
    print(f"{'':22}{'seconds':>9}{'times cp':>10}{'and sync':>10}{'peak MB':>9}   all seconds")
    for name, found in seconds.items():
        middle = statistics.median(found)
        peak = f"{max(peaks[name]) / 1e6:9.0f}" if name in peaks else " " * 9
        every = " ".join(f"{one:.2f}" for one in found)
        print(f"{name:22}{middle:9.2f}{middle / base['cp']:10.1f}{middle / base['cp and sync']:10.1f}{peak}   {every}")


if __name__ == "__main__":
    main()
