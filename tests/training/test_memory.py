"""The memory of training does not grow with its steps."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import resource, sys, torch
import landform as lf

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
data = torch.randn(512, 3, 32, 32, generator=generator), torch.randint(10, (512,), generator=generator)
net = lf.models.build("small_cnn", inputs=(3, 32, 32), classes=10, width=(32, 64, 64))
seen = []

def told(done, total):
    if done in (20, 100):
        pages = int(open("/proc/self/statm").read().split()[1])
        seen.append(pages * resource.getpagesize())

lf.train(net, data, lf.Recipe(epochs=25, batch_size=128), progress=told, device="cpu")
print((seen[1] - seen[0]) / 2**20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads what Linux tells of a process")
def test_memory_does_not_grow_from_step_to_step() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=300)
    grown = float(done.stdout)
    assert grown < 40, f"80 steps took {grown:.0f} MB more"
