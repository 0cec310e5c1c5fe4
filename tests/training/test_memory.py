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


_PLANE = """
import resource, torch
import landform as lf
from landform.training import plane

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
data = torch.randn(128, 784, generator=generator), torch.randint(10, (128,), generator=generator)
net = lf.models.build("mlp", inputs=(784,), classes=10, width=690, depth=2)
assert lf.Layout.of(net).size > 1_000_000

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

before = resident()
within = plane(net, 10_000, kind="fastfood")
recipe = lf.Recipe(epochs=3, batch_size=128, optimizer="adam", lr=0.05)
trained = lf.train(net, data, recipe, planes=within, device="cpu")
assert trained.losses[-1] < trained.losses[0]
print((resident() - before) / 2**20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads what Linux tells of a process")
def test_ten_thousand_dimensions_of_a_million_take_little_memory() -> None:
    done = subprocess.run([sys.executable, "-c", _PLANE], capture_output=True, text=True, check=True, timeout=300)
    grown = float(done.stdout)
    assert grown < 250, f"it took {grown:.0f} MB"  # a matrix would take 40,000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads what Linux tells of a process")
def test_memory_does_not_grow_from_step_to_step() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=300)
    grown = float(done.stdout)
    assert grown < 40, f"80 steps took {grown:.0f} MB more"
