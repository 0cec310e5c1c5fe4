"""Federated averaging with clients as a stack against a plain loop over clients: process CPU time, as ratios.

The plain loop is the one everyone writes: a copy of the server's model for each client, ``torch.optim.SGD``,
``zero_grad``, ``backward``, ``step``, and a weighted mean of state dicts. Both take the same number of rounds and local
steps on the same numbers of samples, on one thread. Medians of interleaved repeats.

    python benchmarks/federated.py [--quick]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landform.data import Dataset, Split
from landform.training import Federation, Recipe, federated


def mlp(width: int) -> nn.Module:
    """A ReLU network of two hidden layers on 64 numbers."""
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


def cnn(channels: int) -> nn.Module:
    """Two convolutions on 8x8 images, and a dense head."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, channels, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * channels, 10),
    )  # fmt: skip


def plain(
    model: nn.Module, x: Tensor, y: Tensor, places: tuple[Tensor, ...], steps: int, rounds: int, batch: int
) -> None:
    """The loop everyone writes, client after client."""
    total = sum(map(len, places))
    clients = [copy.deepcopy(model) for _ in places]
    for number in range(rounds):
        mean: dict[str, Tensor] = {}
        for client, at in zip(clients, places, strict=True):
            client.load_state_dict(model.state_dict())
            optimizer = torch.optim.SGD(client.parameters(), lr=0.05)
            order = at[torch.randperm(len(at), generator=torch.Generator().manual_seed(number))]
            for step in range(steps):
                rows = order[step * batch % (len(at) - batch + 1) :][:batch]
                optimizer.zero_grad()
                F.cross_entropy(client(x[rows]), y[rows]).backward()
                optimizer.step()
            for name, tensor in client.state_dict().items():
                share = tensor * (len(at) / total)
                mean[name] = mean[name] + share if name in mean else share
        model.load_state_dict(mean)


def seconds(run: Callable[[], object]) -> float:
    """Process CPU seconds of one run."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def compare(name: str, make: Callable[[], nn.Module], clients: int, batch: int, steps: int, rounds: int, repeats: int,
            how: str = "auto") -> None:  # fmt: skip
    """Print the ratio of the plain loop's time to that of the stack."""
    x, y = torch.randn(64 * clients, 64), torch.randint(0, 10, (64 * clients,))
    rules = Federation(clients, steps, rounds)
    recipe = Recipe(batch_size=batch, lr=0.05, momentum=0.0)
    chosen = ""

    def ours() -> None:
        nonlocal chosen
        chosen = "stack" if federated(make(), (x, y), rules, recipe, device="cpu", how=how).how.stack else "loop"

    places = rules.divide(_set(x, y))
    ours()  # what is imported and counted once
    plain(make(), x, y, places, 1, 1, batch)
    theirs: list[float] = []
    mine: list[float] = []
    for _ in range(repeats):
        theirs.append(seconds(lambda: plain(make(), x, y, places, steps, rounds, batch)))
        mine.append(seconds(ours))
    a, b = statistics.median(theirs), statistics.median(mine)
    print(
        f"{name:<18} N={clients:<4} K={steps:<3} batch={batch:<3} plain {1e3 * a / rounds:8.2f} ms a round   "
        f"{chosen} {1e3 * b / rounds:8.2f} ms   {a / b:5.2f} times as quick",
        flush=True,
    )


def _set(x: Tensor, y: Tensor) -> Dataset:
    return Dataset("made", Split(x, y), Split(x[:0], y[:0]), 10, {})


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one shape, few rounds")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread; process CPU time")
    repeats, rounds = (1, 3) if quick else (5, 20)
    compare("mlp 64-32-32-10", lambda: mlp(32), 32, 16, 5, rounds, repeats)
    if quick:
        return
    for clients in (4, 8, 16, 64):
        compare("mlp 64-32-32-10", lambda: mlp(32), clients, 16, 5, rounds, repeats)
    for steps in (1, 20):
        compare("mlp 64-32-32-10", lambda: mlp(32), 32, 16, steps, rounds, repeats)
    compare("mlp 64-128-128-10", lambda: mlp(128), 32, 16, 5, rounds, repeats)
    compare("cnn 4-8, 8x8", lambda: cnn(4), 16, 16, 5, rounds, repeats)


if __name__ == "__main__":
    main()
