"""The matrix of barriers between 20 points of a small MLP against loops of ``load_state_dict`` and evaluate.

The plain loop goes over pairs and alphas, eleven a line, as it is mostly written; the thrifty one reads each of the
points once, as landform does. All read loss and error; the loops run the model on all samples at once, without graph.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landform as lf

ALPHAS = 11


def loop(model: nn.Module, states: list[dict[str, Tensor]], x: Tensor, y: Tensor, *, thrifty: bool) -> Tensor:
    """The loop that everyone writes: barriers of loss and error, ``[2, n, n]``."""

    def read(state: dict[str, Tensor]) -> list[float]:
        model.load_state_dict(state)
        with torch.no_grad():
            outputs = model(x)
            return [F.cross_entropy(outputs, y).item(), (outputs.argmax(1) != y).double().mean().item()]

    alphas = torch.linspace(0, 1, ALPHAS).tolist()
    own = [read(state) for state in states] if thrifty else []
    found = torch.zeros(2, len(states), len(states), dtype=torch.float64)
    for i, j in itertools.combinations(range(len(states)), 2):
        a, b = states[i], states[j]
        inner = [
            read({name: (1 - alpha) * a[name] + alpha * b[name] for name in a})
            for alpha in (alphas[1:-1] if thrifty else alphas)
        ]
        line = torch.tensor([own[i], *inner, own[j]] if thrifty else inner, dtype=torch.float64)
        found[:, i, j] = found[:, j, i] = line.amax(0) - (line[0] + line[-1]) / 2
    return found


def seconds(run: Callable[[], object]) -> float:
    """Process CPU seconds of one run."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def compare(width: int, depth: int, samples: int, count: int, rounds: int) -> None:
    """Print a line of the table for one model and one number of samples."""
    data = lf.data.digits()
    x, y = data.train.inputs[:samples], data.train.targets[:samples]
    nets = [lf.models.mlp(inputs=(64,), classes=10, width=width, depth=depth, seed=seed) for seed in range(count)]
    recipes = [lf.Recipe(epochs=2, batch_size=50, lr=0.1, seed=seed) for seed in range(count)]
    points = torch.stack([run.point for run in lf.train_many(nets, data, recipes, device="cpu")])
    states = [{name: value.clone() for name, value in net.state_dict().items()} for net in nets]
    landscape = lf.Landscape(nets[0], (x, y), device="cpu")
    model = lf.models.mlp(inputs=(64,), classes=10, width=width, depth=depth)

    def ours() -> Tensor:
        found = lf.paths.barrier_matrix(landscape, points, steps=ALPHAS)
        return torch.stack([found.heights, found.error_heights])

    ways = {
        "ours": ours,
        "plain": lambda: loop(model, states, x, y, thrifty=False),
        "thrifty": lambda: loop(model, states, x, y, thrifty=True),
    }
    right = ways["plain"]()
    for way in ways.values():
        found = way()
        torch.testing.assert_close(found[0], right[0], rtol=1e-4, atol=1e-5)
        # A sample on the edge between two classes may fall to either side.
        torch.testing.assert_close(found[1], right[1], rtol=0, atol=2 / samples)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(seconds(way))
    middle = {name: statistics.median(each) for name, each in taken.items()}
    own = taken["ours"]
    print(
        f"| {'-'.join(map(str, [64, *[width] * depth, 10]))} | {count} | {samples} | {middle['ours']:.3f} | "
        f"{min(own):.3f} - {max(own):.3f} | {middle['plain']:.3f} | {middle['ours'] / middle['plain']:.2f} | "
        f"{middle['ours'] / middle['thrifty']:.2f} |",
        flush=True,
    )


def main(quick: bool = False) -> None:
    """Print the table."""
    count, rounds = (4, 1) if quick else (20, 5)
    print(
        f"\nBarriers of loss and error, {ALPHAS} alphas a line (one thread; medians of {rounds} rounds, CPU seconds)\n"
    )
    print("| MLP | points | samples | landform | from - to | plain loop | to the plain loop | to the thrifty loop |")
    print("|---|---:|---:|---:|---|---:|---:|---:|")
    for width, depth, samples in ((32, 1, 256), (64, 1, 256), (64, 1, 1000), (32, 3, 1000)):
        compare(width, depth, samples, count, rounds)
