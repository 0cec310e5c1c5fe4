"""Graphs are kept under the memory allowed, and what is kept changes no product."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from operator_cases import CASES, make, relative

MAKERS = ["hessian", "gauss_newton", "fisher_empirical"]


def maker(made, name: str):
    if name == "fisher_empirical":
        return lambda point, **options: made.landscape.fisher(point, kind="empirical", **options)
    return getattr(made.landscape, name)


@pytest.mark.parametrize("name", ["tanh", "residual", "attention", "lstm", "batch norm, kept", "tied"])
@pytest.mark.parametrize("kind", MAKERS)
def test_any_budget_gives_the_same_products(name: str, kind: str) -> None:
    assert name in CASES
    made = make(name)
    make_one = maker(made, kind)
    everything = make_one(made.point, memory=float("inf"))
    V = torch.randn(everything.size, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    wanted = everything @ V
    assert everything.kept == everything.batches == 4
    for share, kept in ((0.0, 0), (0.9, 0), (1.05, 1), (2.1, 2), (3.1, 3)):
        some = make_one(made.point, memory=share * everything.graph_bytes)
        assert some.kept == kept
        torch.testing.assert_close(some @ V, wanted, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(some @ V[:, 1], wanted[:, 1], rtol=1e-12, atol=1e-14)
        assert some.batches == 4
    assert make_one(made.point, memory=0).graph_bytes == everything.graph_bytes
    torch.testing.assert_close(everything @ V, wanted, rtol=0, atol=0)  # the same vector, the same bits


SCRIPT = """
import os, sys, torch
from torch import nn
from landform.landscape import Landscape
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
torch.set_num_threads(1)
torch.manual_seed(0)
layers = [m for _ in range(12) for m in (nn.Linear(64, 64), nn.Tanh())]
model = nn.Sequential(*layers, nn.Linear(64, 3))
place = Landscape(model, (torch.randn(40000, 64), torch.randint(0, 3, (40000,))), batch_size=2000, device="cpu")
w = place.here
place.gradient(w)
place.hessian(w, memory=0) @ w
start = resident()
H = place.hessian(w, memory=float(sys.argv[1]))
H @ w
print(H.kept, H.batches, H.graph_bytes, resident() - start)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_grows_no_further_than_allowed() -> None:
    def grown(memory: float) -> tuple[int, int, int, int]:
        done = subprocess.run([sys.executable, "-c", SCRIPT, str(memory)], capture_output=True, text=True, check=True)
        kept, batches, each, bytes_ = map(int, done.stdout.split())
        return kept, batches, each, bytes_

    kept, batches, each, nothing = grown(0)
    assert (kept, batches) == (0, 20)
    budget = 100 * 2**20
    kept, _, _, some = grown(budget)
    assert kept == budget // each
    assert 4 < kept < 20
    assert some < 1.15 * budget + 4 * each
    assert some > 0.8 * kept * each  # what is counted is really held
    _, _, _, everything = grown(float("inf"))
    assert everything > some + 0.8 * (20 - kept) * each
    assert nothing < 4 * each


def test_batches_of_unequal_length_count_by_what_they_put_out() -> None:
    from landform.landscape import Landscape

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(9, 16), torch.nn.Linear(16, 16), torch.nn.Tanh(),
                                torch.nn.Linear(16, 9)).double()  # fmt: skip
    lengths = [4, 40, 4, 4]
    tokens = [torch.randint(0, 9, (8, n)) for n in lengths]
    landscape = Landscape(model, [(t, t.roll(1, 1)) for t in tokens], device="cpu")
    H = landscape.hessian(landscape.here, memory=0)
    assert landscape.hessian(landscape.here, memory=3 * H.graph_bytes).kept == 1  # the second would take ten times that
    assert landscape.hessian(landscape.here, memory=11.5 * H.graph_bytes).kept == 2
    v = torch.randn(H.size, dtype=torch.float64)
    assert relative(H @ v, landscape.hessian(landscape.here) @ v) < 1e-12
