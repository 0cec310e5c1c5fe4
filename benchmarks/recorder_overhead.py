"""How much slower is a training loop that records itself?

The same loop with and without the recorder, in turn, on one thread: log-spaced times, each with its partner, which
is the default. Printed are ratios of medians: of the training thread's own CPU time (what the recorder takes from
the loop), of the clock (which also counts waiting for the disk), and of the whole process's CPU time (which also
counts the writing in the background). On a busy machine these ratios mostly show the other jobs; the share of the
loop's time that is spent inside the recorder's own calls, taken in a further run each time, bears that better.

    python benchmarks/recorder_overhead.py [--steps 5000] [--repeats 5] [--model mlp cnn]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from landform.recording import Recorder, log_spaced

BATCH, EPOCH = 128, 469  # MNIST's steps an epoch


def mlp() -> tuple[nn.Module, torch.Tensor]:
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    return model, torch.randn(BATCH, 784)


def cnn() -> tuple[nn.Module, torch.Tensor]:
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * 7 * 7, 10),
    )  # fmt: skip
    return model, torch.randn(BATCH, 1, 28, 28)


def run(
    make: Callable[[], tuple[nn.Module, torch.Tensor]],
    steps: int,
    folder: Path | None,
    kind: type[Recorder] = Recorder,
) -> list[float]:
    """Train for some steps; seconds of the thread's CPU, of the clock, and of the process's CPU."""
    torch.manual_seed(0)
    model, inputs = make()
    targets = torch.randint(10, (BATCH,))
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    start = time.thread_time(), time.perf_counter(), time.process_time()
    recorder = None
    if folder is not None:
        recorder = kind(folder, model, optimizer, epoch=EPOCH, at=log_spaced(50, until=steps), pairs=0.4)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        if recorder is not None:
            recorder.step(loss=loss)
    if recorder is not None:
        recorder.close()
    stop = time.thread_time(), time.perf_counter(), time.process_time()
    return [b - a for a, b in zip(start, stop, strict=True)]


def inside(make: Callable[[], tuple[nn.Module, torch.Tensor]], steps: int, folder: Path) -> list[float]:
    """The share of a recorded loop's CPU time and clock time that passes inside the recorder's calls."""
    spent = [0.0, 0.0]

    def timed(call: Callable[..., object], *arguments: object, **named: object) -> object:
        start = time.thread_time(), time.perf_counter()
        result = call(*arguments, **named)
        spent[0] += time.thread_time() - start[0]
        spent[1] += time.perf_counter() - start[1]
        return result

    class Timed(Recorder):
        def __init__(self, *arguments: object, **named: object) -> None:
            timed(super().__init__, *arguments, **named)

        def step(self, *arguments: object, **named: object) -> None:
            timed(super().step, *arguments, **named)

        def close(self) -> None:
            timed(super().close)

    total = run(make, steps, folder, Timed)
    return [spent[0] / (total[0] - spent[0]), spent[1] / (total[1] - spent[1])]


def line_alone(steps: int = 100_000) -> float:
    """Seconds that ``recorder.step(loss=loss)`` takes where there is nothing to record."""
    model, loss = nn.Linear(2, 2), torch.ones(())
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with (
        tempfile.TemporaryDirectory() as folder,
        Recorder(Path(folder) / "run", model, optimizer, epoch=10, at=[steps + 1]) as recorder,
    ):
        start = time.thread_time()
        for _ in range(steps):
            recorder.step(loss=loss)
        return (time.thread_time() - start) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", nargs="+", choices=("mlp", "cnn"), default=("mlp", "cnn"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"load {os.getloadavg()[0]:.2f}, {os.cpu_count()} cores, {given.steps} steps, {given.repeats} repeats")
    print(f"recorder.step(loss=loss) with nothing to record: {line_alone() * 1e6:.2f} us")
    for name in given.model:
        make = {"mlp": mlp, "cnn": cnn}[name]
        run(make, given.steps // 10, None)  # warm up
        plain, recorded, within = [], [], []
        for _ in range(given.repeats):
            plain.append(run(make, given.steps, None))
            with tempfile.TemporaryDirectory() as folder:
                recorded.append(run(make, given.steps, Path(folder) / "run"))
                within.append(inside(make, given.steps, Path(folder) / "timed"))
        before = [statistics.median(times) for times in zip(*plain, strict=True)]
        after = [statistics.median(times) for times in zip(*recorded, strict=True)]
        print(f"{name}: {before[1] / given.steps * 1e3:.2f} ms a step; recorded / plain, medians:")
        for what, a, b in zip(("training thread's CPU", "clock", "process's CPU"), before, after, strict=True):
            print(f"  {what:22s} {b / a:.4f}  (+{(b - a) / given.steps * 1e6:.1f} us a step)")
        shares = [statistics.median(share) for share in zip(*within, strict=True)]
        print(f"  inside the recorder's calls: {shares[0]:.2%} of the thread's CPU, {shares[1]:.2%} of the clock")


if __name__ == "__main__":
    main()
