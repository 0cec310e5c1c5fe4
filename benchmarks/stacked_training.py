"""A stack of models against a loop over them written in plain PyTorch: process CPU time of whole trainings, as ratios.

The plain loop is the one everyone writes: a module, ``torch.optim.SGD`` with momentum, ``zero_grad``, ``backward``,
``step``; batches are cut from tensors in memory. Both train the same models on the same numbers for the same steps, on
one thread. Medians of interleaved repeats.

    python benchmarks/stacked_training.py [--quick]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landform.training import Recipe, train_many


def mlp(width: int, inputs: int = 64, depth: int = 2) -> nn.Module:
    """A ReLU network of ``depth`` hidden layers."""
    sizes = [inputs] + [width] * depth
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def cnn(channels: int, side: int) -> nn.Module:
    """Three convolutions, two of them strided, and a dense head."""
    c, end = channels, -(-side // 4)
    return nn.Sequential(
        nn.Conv2d(1, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, 2 * c, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(2 * c, 2 * c, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2 * c * end * end, 10),
    )  # fmt: skip


def plain(models: list[nn.Module], x: Tensor, y: Tensor, batch: int, steps: int) -> None:
    """The loop everyone writes, model after model."""
    for k, model in enumerate(models):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(k))
        for step in range(steps):
            at = order[step * batch % len(x) :][:batch]
            optimizer.zero_grad()
            F.cross_entropy(model(x[at]), y[at]).backward()
            optimizer.step()


def seconds(run: Callable[[], object]) -> float:
    """Process CPU seconds of one run."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def compare(name: str, make: Callable[[], nn.Module], shape: tuple[int, ...], runs: int, batch: int, steps: int,
            repeats: int) -> None:  # fmt: skip
    """Print the ratio of a stack, and of what landform chooses, to the plain loop."""
    n = batch * 16
    x, y = torch.randn(n, *shape), torch.randint(0, 10, (n,))
    recipes = [Recipe(epochs=steps / 16, batch_size=batch, lr=0.01, momentum=0.9, seed=k) for k in range(runs)]

    def ours(how: str) -> str:
        trained = train_many([make() for _ in range(runs)], (x, y), recipes, device="cpu", how=how)
        return "stack" if trained[0].how.stack else "loop"

    def theirs() -> None:
        plain([make() for _ in range(runs)], x, y, batch, steps)

    chosen = ours("auto")
    times: dict[str, list[float]] = {"plain": [], "stack": [], "loop": []}
    for _ in range(repeats):
        times["plain"].append(seconds(theirs))
        times["stack"].append(seconds(lambda: ours("stack")))
        times["loop"].append(seconds(lambda: ours("loop")))
    base = statistics.median(times["plain"])
    stack, loop = (statistics.median(times[how]) / base for how in ("stack", "loop"))
    milli = 1e3 * base / steps / runs
    print(
        f"{name:<22} K={runs:<3} batch={batch:<4} plain {milli:7.3f} ms a step   stack {stack:5.2f}   loop {loop:5.2f}"
        f"   chosen: {chosen} {stack if chosen == 'stack' else loop:5.2f}",
        flush=True,
    )


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one shape, few steps")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread; ratios of process CPU time to the plain loop (smaller is quicker)")
    repeats, steps = (1, 8) if quick else (5, 96)
    compare("mlp 64-64-64-10", lambda: mlp(64), (64,), 32, 32, steps, repeats)
    if quick:
        return
    for runs in (2, 4, 8):
        compare("mlp 64-64-64-10", lambda: mlp(64), (64,), runs, 32, steps, repeats)
    for width in (32, 128, 256, 512):
        compare(f"mlp 64-{width}-{width}-10", lambda w=width: mlp(w), (64,), 16, 32, steps, repeats)
    compare("mlp 784-256-256-10", lambda: mlp(256, 784), (784,), 8, 128, steps, repeats)
    for runs in (2, 4, 16):
        compare("cnn 12-24-24, 8x8", lambda: cnn(12, 8), (1, 8, 8), runs, 32, steps, repeats)
    for batch in (16, 32, 128):
        compare("cnn 12-24-24, 14x14", lambda: cnn(12, 14), (1, 14, 14), 16, batch, steps, repeats)


if __name__ == "__main__":
    main()
