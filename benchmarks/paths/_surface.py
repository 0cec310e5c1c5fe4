"""A filter-normalised plane of 25 x 25 places beside the loops that are mostly written for it.

The plain loop writes each point into the model and runs it on all samples at once, without a graph; the thrifty one
works the first layer out for the centre and the two directions and mixes what comes (for dense nets). Both read the
loss alone; landform reads loss and error. Landscaper runs in an environment of its own where there is one:
``LANDFORM_PEERS``, or ``.venv-peers`` (``make peers``); its two directions are given to it, as its own are parallel.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landform as lf

Way = Callable[[], Tensor]

# What Landscaper is asked, in its own Python: the model's plane, and the seconds it took.
_LANDSCAPER = """
import io, json, sys, time, contextlib
import torch
torch.set_num_threads(1)
from landscaper import LossLandscape
held = torch.load(sys.argv[1], weights_only=False)
model, x, y, steps = held["model"], held["x"], held["y"], held["steps"]
def loss(net, data):
    return torch.nn.functional.cross_entropy(net(data[0]), data[1]).item()
began = time.process_time()
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    LossLandscape.compute(model, (x, y), held["directions"], loss, steps=steps, distance=1.0, dim=2, device="cpu")
print(json.dumps(time.process_time() - began))
"""


def dense() -> tuple[nn.Module, Tensor, Tensor]:
    """An MLP 784-256-256-10, trained on clusters."""
    data = lf.data.clusters(features=784, train_size=2048, test_size=10, separation=6.0, label_noise=0.1)
    net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    lf.train(net, data, lf.Recipe(epochs=6, batch_size=64, lr=0.05), device="cpu")
    return net.eval(), data.train.inputs, data.train.targets


def small() -> tuple[nn.Module, Tensor, Tensor]:
    """An MLP 64-32-32-10, trained on digits."""
    data = lf.data.digits()
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
    lf.train(net, data, lf.Recipe(epochs=20, batch_size=32, lr=0.1), device="cpu")
    return net.eval(), data.train.inputs, data.train.targets


def images() -> tuple[nn.Module, Tensor, Tensor]:
    """Three convolutions of 32, 32 and 64 channels on images of 28 x 28, trained on stretched digits."""
    data = lf.data.digits()
    chosen = slice(0, 256)
    x = F.interpolate(data.train.inputs[chosen].view(-1, 1, 8, 8), size=28, mode="bilinear")
    y = data.train.targets[chosen]
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1, stride=2), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 49, 10),
    )  # fmt: skip
    lf.train(net, (x, y), lf.Recipe(epochs=5, batch_size=32, lr=0.02), device="cpu")
    return net.eval(), x, y


def loop(net: nn.Module, x: Tensor, y: Tensor, centre: Tensor, vectors: Tensor, line: Tensor, batch: int) -> Tensor:
    """The loop that everyone writes, on ``batch`` samples at a time."""
    found = torch.zeros(len(line), len(line), dtype=torch.float64)
    with torch.no_grad():
        for i, a in enumerate(line.tolist()):
            for j, b in enumerate(line.tolist()):
                nn.utils.vector_to_parameters(centre + a * vectors[0] + b * vectors[1], net.parameters())
                for start in range(0, len(x), batch):
                    part = slice(start, start + batch)
                    found[i, j] += F.cross_entropy(net(x[part]), y[part]).item() * len(x[part]) / len(x)
        nn.utils.vector_to_parameters(centre, net.parameters())
    return found


def thrifty(net: nn.Module, x: Tensor, y: Tensor, centre: Tensor, vectors: Tensor, line: Tensor) -> Tensor:
    """The same with the first layer worked out three times instead of 625 times."""
    first, *rest = net.children()
    size = sum(p.numel() for p in first.parameters())
    found = torch.zeros(len(line), len(line), dtype=torch.float64)
    with torch.no_grad():
        base = []
        for node in (centre, *vectors):
            nn.utils.vector_to_parameters(node[:size], first.parameters())
            base.append(first(x))
        behind = nn.Sequential(*rest)
        for i, a in enumerate(line.tolist()):
            for j, b in enumerate(line.tolist()):
                point = centre + a * vectors[0] + b * vectors[1]
                nn.utils.vector_to_parameters(point[size:], behind.parameters())
                found[i, j] = F.cross_entropy(behind(base[0] + a * base[1] + b * base[2]), y).item()
        nn.utils.vector_to_parameters(centre, net.parameters())
    return found


def landscaper(net: nn.Module, x: Tensor, y: Tensor, vectors: Tensor, steps: int) -> float | None:
    """Seconds that Landscaper takes for a plane, or None where it is not installed."""
    folder = Path(os.environ.get("LANDFORM_PEERS", Path(__file__).resolve().parents[2] / ".venv-peers"))
    python = folder / "b" / "bin" / "python"
    if not python.exists():
        return None
    shapes = [p.shape for p in net.parameters()]
    rows = [
        [part.view(s).clone() for part, s in zip(v.split([s.numel() for s in shapes]), shapes, strict=True)]
        for v in vectors
    ]
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "problem.pt"
        torch.save({"model": net, "x": x, "y": y, "steps": steps, "directions": rows}, file)
        told = subprocess.run(
            [str(python), "-c", _LANDSCAPER, str(file)], capture_output=True, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )  # fmt: skip
    if told.returncode:
        print(f"Landscaper: {(told.stderr.strip().splitlines() or ['it ended'])[-1]}", file=sys.stderr)
        return None
    return float(json.loads(told.stdout.strip().splitlines()[-1]))


def compare(name: str, problem: tuple[nn.Module, Tensor, Tensor], steps: int, rounds: int) -> None:
    """Print the rows of one problem."""
    net, x, y = problem
    landscape = lf.Landscape(net, (x, y), device="cpu")
    centre = landscape.here
    vectors = lf.surface.random(landscape, centre, 2, seed=0).vectors
    line = torch.linspace(-1, 1, steps, dtype=torch.float64)
    said: dict[str, Any] = {}

    def ours(key: str, **settings: Any) -> Way:
        def run() -> Tensor:
            said[key] = lf.surface.plane(landscape, center=centre, directions=vectors, steps=steps, **settings)
            return said[key].losses

        return run

    ways: dict[str, Way] = {
        "plain loop": lambda: loop(net, x, y, centre, vectors, line, len(x)),
        "plain loop, 256 samples at a time": lambda: loop(net, x, y, centre, vectors, line, 256),
        "landform": ours("landform"),
        "landform, 1% of the range": ours("landform, 1% of the range", tolerance=0.01),
        "landform, 1% of each value": ours("landform, 1% of each value", tolerance=0.01, within="value"),
    }
    if isinstance(next(net.children()), nn.Linear):
        ways["loop, first layer once"] = lambda: thrifty(net, x, y, centre, vectors, line)
    right = ways["plain loop"]()
    ways["landform"]()  # what is settled once for a landscape, and what torch loads when it is first asked
    taken: dict[str, list[float]] = {way: [] for way in ways}
    found: dict[str, Tensor] = {}
    for _ in range(rounds):
        for way, run in ways.items():
            began = time.process_time()
            found[way] = run()
            taken[way].append(time.process_time() - began)
    plain = statistics.median(taken["plain loop"])
    span = float(right.max() - right.min())
    for way, times in taken.items():
        apart = (found[way] - right).abs()
        read = f"{int(said[way].read.sum())}" if way in said else f"{steps**2}"
        middle = statistics.median(times)
        print(
            f"| {name} | {way} | {read} | {middle:.3f} | {min(times):.3f} - {max(times):.3f} | {middle / plain:.2f} | "
            f"{float((apart / right).max()):.1e} | {float(apart.max()) / span:.1e} |",
            flush=True,
        )
    seconds = landscaper(net, x, y, vectors, steps)
    if seconds is not None:
        print(f"| {name} | Landscaper | {steps**2} | {seconds:.3f} | | {seconds / plain:.2f} | | |", flush=True)
    print(f"| | | | | | | | {said['landform'].how} |", flush=True)


def main(quick: bool = False) -> None:
    """Print the table."""
    steps, rounds = (9, 1) if quick else (25, 3)
    print(f"\nA filter-normalised plane of {steps} x {steps} places (one thread; medians of {rounds} rounds, CPU s)\n")
    print(
        "| net | way | places read | seconds | from - to | to the plain loop | off, of the value | off, of the range |"
    )
    print("|---|---|---:|---:|---|---:|---:|---:|")
    compare("64-32-32-10, 1437 samples", small(), steps, rounds)
    compare("784-256-256-10, 2048 samples", dense(), steps, rounds)
    compare("convolutions 32-32-64, 256 images", images(), steps, rounds)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main("--quick" in sys.argv)
