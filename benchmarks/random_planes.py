"""Trainings in random planes as one stack against a loop over them written in plain PyTorch, as ratios of CPU time.

The plain loop is the one everyone writes: coordinates z as a parameter, ``theta_0 + M z`` with a matrix M, cut into
weights for ``torch.func.functional_call``, ``backward`` through all of it, ``torch.optim.Adam.step``; batches are cut
from tensors in memory. Both train networks 64-50-50-10 on the same numbers for the same steps, on one thread. Medians
of interleaved repeats. The last part is one product with fastfood and sparse directions of a million weights.

    python benchmarks/random_planes.py [--quick]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landform.layout import Layout
from landform.training import Plane, Recipe, planes, train_many
from landform.training._planes import PlaneKind

EPOCH = 16


def mlp(seed: int) -> nn.Module:
    """A ReLU network 64-50-50-10 without biases."""
    torch.manual_seed(seed)
    sizes = (64, 50, 50, 10)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def plain(
    models: Sequence[nn.Module], matrices: Sequence[Tensor], x: Tensor, y: Tensor, batch: int, steps: int
) -> None:
    """The loop everyone writes, plane after plane."""
    for k, (model, M) in enumerate(zip(models, matrices, strict=True)):
        layout = Layout.of(model)
        origin = layout.point(model)
        z = torch.zeros(M.shape[1], requires_grad=True)
        optimizer = torch.optim.Adam([z], lr=0.01)
        for epoch in range(-(-steps // EPOCH)):
            order = torch.randperm(len(x), generator=torch.Generator().manual_seed(k + 1000 * epoch))
            for at in order.split(batch)[: steps - epoch * EPOCH]:
                optimizer.zero_grad()
                weights = layout.views(origin + M @ z)
                F.cross_entropy(torch.func.functional_call(model, weights, x[at]), y[at]).backward()
                optimizer.step()


def seconds(run: Callable[[], object]) -> float:
    """Process CPU seconds of one run."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def compare(kind: PlaneKind, dimension: int, runs: int, batch: int, steps: int, repeats: int) -> None:
    """Print how many times quicker a stack is than the plain loop with a dense matrix."""
    torch.manual_seed(0)
    x, y = torch.randn(batch * EPOCH, 64), torch.randint(0, 10, (batch * EPOCH,))
    made = planes(mlp(0), dimension, runs, kind=kind)
    matrices = [one.matrix() for one in made]
    recipes = [Recipe(epochs=steps / EPOCH, batch_size=batch, optimizer="adam", lr=0.01, seed=k) for k in range(runs)]

    def ours(how: str, within: Sequence[Plane]) -> None:
        train_many([mlp(k) for k in range(runs)], (x, y), recipes, planes=within, device="cpu", how=how)

    def theirs() -> None:
        plain([mlp(k) for k in range(runs)], matrices, x, y, batch, steps)

    times: dict[str, list[float]] = {"plain": [], "stack": [], "loop": []}
    for _ in range(repeats):
        times["plain"].append(seconds(theirs))
        times["stack"].append(seconds(lambda: ours("stack", made)))
        times["loop"].append(seconds(lambda: ours("loop", made)))
    base, stack, loop = (statistics.median(times[name]) for name in ("plain", "stack", "loop"))
    each = 1e3 / steps / runs
    print(
        f"{kind:<12} d={dimension:<5} K={runs:<3} batch={batch:<4} plain {base * each:6.3f} ms a step   stack "
        f"{stack * each:6.3f} ({base / stack:4.1f} times quicker)   loop {loop * each:6.3f} ({base / loop:4.1f})",
        flush=True,
    )


def large(kind: PlaneKind, size: int, dimension: int, repeats: int) -> None:
    """Print what a product with directions of a large network costs and holds."""
    (one,) = planes(size, dimension, 1, kind=kind)
    held = sum(t.numel() * t.element_size() for t in vars(one).values() if isinstance(t, Tensor))
    z, g = torch.randn(1, dimension), torch.randn(1, size)
    up = statistics.median(seconds(lambda: one.lift(z)) for _ in range(repeats))
    down = statistics.median(seconds(lambda: one.pull(g)) for _ in range(repeats))
    print(
        f"{kind:<12} d={dimension:,} of {size:,}: M z {1e3 * up:.1f} ms, M.T g {1e3 * down:.1f} ms, "
        f"{held / 2**20:.0f} MiB"
    )


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one shape, few steps")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread; process CPU time, the plain loop with a dense matrix")
    repeats, steps = (1, 16) if quick else (5, 96)
    for kind in get_args(PlaneKind)[:1] if quick else get_args(PlaneKind):
        for dimension in (10,) if quick else (10, 100, 300):
            compare(kind, dimension, 32, 64, steps, repeats)
    for kind in ("sparse", "fastfood"):
        large(kind, 10_000 if quick else 1_000_000, 100 if quick else 10_000, repeats)


if __name__ == "__main__":
    main()
