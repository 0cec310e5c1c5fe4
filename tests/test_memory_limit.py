"""What promises to stay within so much memory does so where the system gives no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Everything that is measured here would take well over a gigabyte if it were held; the process is given half of one
# beyond what it has when everything is imported.
SCRIPT = """
import resource
import sys
from pathlib import Path

import torch
from torch import nn

import landform as lf
from landform import kernel, merging

torch.set_num_threads(1)
torch.manual_seed(0)
folder = Path(sys.argv[1])
model = nn.Sequential(nn.Linear(64, 1000), nn.Tanh(), nn.Linear(1000, 1000), nn.Tanh(), nn.Linear(1000, 10))
x, y = torch.randn(2000, 64), torch.arange(2000) % 10
landscape = lf.Landscape(model, (x, y), batch_size=100, device="cpu")
here = landscape.here  # a million numbers, 4 MB
first, second = (folder / f"{name}.safetensors" for name in "ab")
if sys.argv[2] == "merge":
    from safetensors.torch import save_file

    for path in (first, second):
        save_file({f"layer{i}": torch.randn(4000, 4000, dtype=torch.float32) for i in range(6)}, str(path))  # 384 MB

if sys.argv[2] == "barrier":
    wide = nn.Sequential(nn.Linear(64, 2500), nn.Tanh(), nn.Linear(2500, 2500), nn.Tanh(), nn.Linear(2500, 10))
    over = lf.Landscape(wide, (x[:200], y[:200]), batch_size=100, device="cpu")  # 6.4 million numbers, 26 MB

# Libraries load what they load at their first use, before the limit is drawn.
lf.Landscape(model, (x[:2], y[:2]), device="cpu").hessian(here) @ here
kernel.ntk(landscape, here, x[:2], kind="trace")


def limit(more: float) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + int(more)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def per_sample() -> None:  # what everyone writes: 2,000 gradients of a million numbers
    torch.stack([landscape.subset(torch.tensor([i])).gradient(here) for i in range(300)])


JOBS = {
    "hessian": lambda: landscape.hessian(here, memory=1e8) @ torch.stack([here, here], 1),
    "eigenpairs": lambda: lf.curvature.eigenpairs(
        landscape.hessian(here, memory=5e7), 2, tol=0.3, max_basis=12, max_products=30
    ),
    "ntk": lambda: kernel.ntk(landscape, here, x[:300], kind="trace", memory=2e8),
    "sketch": lambda: kernel.sketch(landscape, here, x[:200], size=512, memory=2e8).kernel(),
    "points": lambda: landscape.loss(torch.stack([here] * 20)),
    "barrier": lambda: lf.paths.barrier(over, over.here, over.here + 0.01, refine=0, memory=1e8),
    "merge": lambda: merging.merge_files([first, second], folder / "merged.safetensors", method="mean"),
    "naive": per_sample,
}
limit(5e8)
try:
    JOBS[sys.argv[2]]()
except (MemoryError, RuntimeError) as why:
    print("out of memory" if "alloc" in str(why) or isinstance(why, MemoryError) else why)
    sys.exit(3)
"""


def run(job: str, folder: Path) -> subprocess.CompletedProcess[str]:
    # One heap for all threads: each would set 64 MB of addresses aside for its own.
    env = {**os.environ, "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(folder), job]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=300)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system has no such limit")
@pytest.mark.parametrize("job", ["hessian", "eigenpairs", "ntk", "sketch", "points", "barrier", "merge"])
def test_it_stays_within_half_a_gigabyte(job: str, tmp_path: Path) -> None:
    done = run(job, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system has no such limit")
def test_the_limit_is_one(tmp_path: Path) -> None:
    done = run("naive", tmp_path)
    assert done.returncode == 3, done.stdout + done.stderr[-2000:]
    assert "out of memory" in done.stdout
