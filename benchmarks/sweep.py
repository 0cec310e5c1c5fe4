"""A sweep over thousands of small networks against the loop that everyone writes: how many are trained and measured.

The plain loop trains one network after the other on one thread: a module, ``torch.optim.SGD`` with momentum, batches
cut from tensors in memory; then it reads loss and accuracy on training and test data, and the norm of the full
gradient. `lf.sweep` over `Networks` does the same for the same networks, those of one shape in stacks, in processes of
one thread. The plain loop is timed on some of the networks of each width, in turns with a stack; the sweep on all.

    python benchmarks/sweep.py [--quick] [--processes N] [--seeds N] [--together K]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import landform as lf
from landform.engine import cores
from landform.sweeps import Networks

GRID: dict[str, list[Any]] = {"width": [8, 16, 32], "lr": [0.003, 0.01, 0.03, 0.1]}
RECIPE = lf.Recipe(epochs=10, batch_size=32, momentum=0.9)


def plain(data: lf.data.Dataset, width: int, lr: float, seed: int, recipe: lf.Recipe) -> dict[str, float]:
    """The loop everyone writes, for one network, and what is read of it."""
    net = lf.models.mlp(inputs=(64,), classes=10, width=width, seed=seed)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=recipe.momentum)
    x, y = data.train.inputs, data.train.targets
    generator = torch.Generator().manual_seed(seed)
    for _ in range(round(recipe.epochs)):
        for at in torch.randperm(len(x), generator=generator).split(recipe.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(net(x[at]), y[at]).backward()
            optimizer.step()
    optimizer.zero_grad()
    found: dict[str, float] = {}
    for name, split in (("train", data.train), ("test", data.test)):
        out = net(split.inputs)
        loss = F.cross_entropy(out, split.targets)
        if name == "train":
            loss.backward()
        found[f"{name}_loss"] = float(loss.detach())
        found[f"{name}_accuracy"] = float((out.argmax(1) == split.targets).float().mean())
    found["gradient_norm"] = float(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).norm())
    return found


def seconds(run: Callable[[], object]) -> float:
    """Process CPU seconds of one run."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def check(networks: Networks, data: lf.data.Dataset) -> None:
    """Both do the same: networks trained long enough to agree in accuracy, where their order of the data differs."""
    recipe = networks.recipe
    ours = networks.many([{"width": 32, "lr": 0.01}] * 4, range(4))
    theirs = [plain(data, 32, 0.01, seed, recipe) for seed in range(4)]
    mine = statistics.mean(one["test_accuracy"] for one in ours)
    other = statistics.mean(100 * one["test_accuracy"] for one in theirs)
    if abs(mine - other) > 3:
        raise AssertionError(f"on test data the sweep's networks reach {mine:.1f}%, those of the loop {other:.1f}%")


def per_core(networks: Networks, data: lf.data.Dataset, repeats: int, sample: int) -> tuple[float, float]:
    """CPU seconds that a network takes on one thread: in the plain loop, and in stacks."""
    recipe = networks.recipe
    alone: list[float] = []
    stacked: list[float] = []
    for width in repeats * GRID["width"]:
        size = networks.size({"width": width})
        settings = [{"width": width, "lr": GRID["lr"][k % len(GRID["lr"])]} for k in range(size)]
        stacked.append(seconds(partial(networks.many, settings, range(size))) / size)
        loop = [partial(plain, data, width, float(one["lr"]), 0, recipe) for one in settings[:sample]]
        alone.append(sum(map(seconds, loop)) / sample)
        print(
            f"width {width:>3}: plain {1e3 * alone[-1]:7.1f} ms a network, in a stack of {size} "
            f"{1e3 * stacked[-1]:6.1f} ms: {alone[-1] / stacked[-1]:4.1f} times quicker",
            flush=True,
        )
    return statistics.mean(alone), statistics.mean(stacked)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few networks, trained shortly")
    parser.add_argument("--processes", type=int, default=cores(), help="of one thread each; as many as there are cores")
    parser.add_argument("--seeds", type=int, default=200, help="for each of the 12 places of the grid")
    parser.add_argument("--together", type=int, help="networks in a stack, at most; as many as the cache holds")
    given = parser.parse_args()
    torch.set_num_threads(1)
    recipe = lf.Recipe(epochs=1, batch_size=32, momentum=0.9) if given.quick else RECIPE
    networks = Networks(recipe=recipe, together=given.together, device="cpu")
    data = lf.data.digits()
    print(
        f"torch {torch.__version__}; MLPs 64-w-10, {len(data.train):,} digits, {recipe.epochs:g} epochs, batches of 32"
    )
    if not given.quick:
        check(networks, data)
    plain_each, stack_each = per_core(networks, data, *((1, 2) if given.quick else (3, 8)))
    print(f"one thread, all widths: {plain_each / stack_each:.1f} times quicker in stacks (CPU time)")
    seeds = 2 if given.quick else given.seeds
    with tempfile.TemporaryDirectory(prefix="landform-") as place:
        begin = time.perf_counter()
        found = lf.sweep(networks, GRID, seeds=seeds, out=Path(place), engine="local", processes=given.processes)
        wall = time.perf_counter() - begin
    if found.failures:
        raise AssertionError(f"{len(found.failures)} units failed: {next(iter(found.failures.values()))}")
    each = wall / len(found)
    print(
        f"the sweep: {len(found):,} networks trained and measured in {wall:.1f} s, {1 / each:.1f} a second, by "
        f"{given.processes} processes of one thread (their start, the files and the table included)"
    )
    print(
        f"the plain loop on one thread would take {plain_each * len(found):.0f} s: {plain_each / each:.1f} times as "
        f"long, {plain_each / each / given.processes:.1f} times for each core"
    )
    print(f"at this pace 100,000 such networks take {1e5 * each * given.processes / 3600:.2f} hours of one core")


if __name__ == "__main__":
    main()
