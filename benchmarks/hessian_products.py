"""One Hessian and one Gauss-Newton product, in gradients of the same model and data.

A is an MLP 784-256-256-10 with tanh, B a residual convolutional network with GroupNorm and ReLU on 28x28 inputs (about
20 thousand parameters), and B' the same without GroupNorm and without shortcuts. 2,048 samples in batches of 256,
cross-entropy, one thread; process CPU time, medians of interleaved repeats, since machines are shared. The gradient is
landform's own; a loop written by hand is shown beside it.

    python benchmarks/hessian_products.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landform.landscape import Landscape

TARGETS = {"A": {"Hessian": 1.4, "Gauss-Newton": 1.2}, "B": {"Hessian": 3.0}, "B'": {"Gauss-Newton": 0.6}}


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.b = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norm_a, self.norm_b = nn.GroupNorm(4, out), nn.GroupNorm(4, out)
        self.short = nn.Identity() if inside == out else nn.Conv2d(inside, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add them."""
        inner = self.norm_b(self.b(F.relu(self.norm_a(self.a(x)))))
        return F.relu(inner + self.short(x))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 10))


def residual() -> nn.Module:
    stem = [nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.GroupNorm(4, 8), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)]
    return nn.Sequential(*stem, Block(8, 8, 1), Block(8, 16, 2), Block(16, 32, 2), *head)


def plain() -> nn.Module:
    layers: list[nn.Module] = []
    for inside, out, stride in ((1, 8, 1), (8, 8, 1), (8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1)):
        layers += [nn.Conv2d(inside, out, 3, stride, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "A": (mlp, (784,)), "B": (residual, (1, 28, 28)), "B'": (plain, (1, 28, 28)),
}  # fmt: skip


def measure(name: str, samples: int, repeats: int) -> None:
    torch.manual_seed(0)
    build, shape = MODELS[name]
    model, x, y = build(), torch.randn(samples, *shape), torch.randint(0, 10, (samples,))
    own = list(model.parameters())
    landscape = Landscape(model, (x, y), batch_size=256, device="cpu")
    w = landscape.here
    v = torch.randn(len(w))

    def by_hand() -> None:
        for a, b in zip(x.split(256), y.split(256), strict=True):
            torch.autograd.grad(F.cross_entropy(model(a), b), own)

    H, H0 = landscape.hessian(w), landscape.hessian(w, memory=0)
    G, G0 = landscape.gauss_newton(w), landscape.gauss_newton(w, memory=0)
    runs: dict[str, Callable[[], object]] = {
        "gradient": lambda: landscape.gradient(w), "by hand": by_hand, "Hessian": lambda: H @ v,
        "Hessian, nothing kept": lambda: H0 @ v, "Gauss-Newton": lambda: G @ v,
        "Gauss-Newton, nothing kept": lambda: G0 @ v,
    }  # fmt: skip
    taken: dict[str, list[float]] = {what: [] for what in runs}
    for round_ in range(repeats + 1):
        for what, run in runs.items():
            begin = time.process_time()
            run()
            if round_:  # the first warms up
                taken[what].append(time.process_time() - begin)
    unit = statistics.median(taken["gradient"])
    held = [f"{op.kept} of {op.batches} batches of {op.graph_bytes / 2**20:.0f} MiB" for op in (H, G)]
    print(f"{name}: P = {len(w):,}, g = {unit * 1e3:.0f} ms; kept: Hessian {held[0]}, Gauss-Newton {held[1]}")
    counted = {"Hessian": H.costs[0], "Gauss-Newton": G.costs[0]}
    for what, times in taken.items():
        if what != "gradient":
            said = f"{what:27s} {statistics.median(times) / unit:5.2f} g"
            if what in counted:
                said += f"   counted {counted[what]:.2f}"
            if what in TARGETS[name]:
                said += f"   target {TARGETS[name][what]}"
            print(f"  {said}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the samples, fewer repeats")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"load {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores (shared with other jobs where it exceeds 1)")
    for name in MODELS:
        measure(name, 512 if given.quick else 2048, 5 if given.quick else 9)


if __name__ == "__main__":
    main()
