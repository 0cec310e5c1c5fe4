"""landform beside PyHessian, curvlinops with SciPy's eigsh, hessian-eigenthings and Landscaper.

Each library runs in a process of its own, on one thread, with its own Python (`make peers` makes the environments; one
that is absent is left out), and is given the same weights and the same float32 data. Repeats go round the libraries.
A time is that of the whole answer, from the model to the numbers, with making the operator; a product alone is timed on
an operator that has been made. The unit g is one gradient over the same data by a plain loop, measured in each process
between the repeats. Ratios are of process CPU time, ours over the best peer whose answer is right; right is what agrees
with float64 references made without landform, within the tolerance asked for.

A is an MLP 784-256-256-10 with tanh and R the same with ReLU, B a residual CNN with GroupNorm (20 thousand parameters,
28x28), P a plain CNN, C ResNet-20 on 3x32x32 (BatchNorm as at evaluation): 2,048 random inputs around random
class means, in batches of 256, each model trained for some steps. The convolutional ones take a part of the
samples (B and P 512, C 256) unless --full is given, with memory in proportion; of C only the product is timed unless
other tasks are named.

    python benchmarks/curvature [--models A,B] [--tasks eigenpairs,trace] [--repeats 3] [--peers FOLDER] [--quick]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import problems
import torch
from measuring import TASKS, Bench
from pool import ENVIRONMENTS, Worker, interpreter

ROOT = Path(__file__).resolve().parents[2]
USUAL = {
    "A": ("eigenpairs", "tracked", "trace", "density", "product", "gauss-newton"), "R": ("exact",),
    "B": ("eigenpairs", "trace", "density", "product"), "P": ("gauss-newton",), "C": ("product",),
}  # fmt: skip


def run(name: str, tasks: list[str], libraries: dict[str, Path], given: argparse.Namespace, folder: Path) -> None:
    """Everything about one model."""
    parts = {} if given.full else {"B": 512, "P": 512, "C": 256}
    samples, batch = (64, 32) if given.quick else (parts.get(name, 2048), 256)
    path = folder / f"{name}.pt"
    problems.make(name, samples, batch, given.quick, path)
    problem = problems.load(path)
    shape = "tiny" if given.quick else problems.MODELS[name][0]
    print(f"\n### {name}: {shape}, {problem.size:,} parameters, {samples:,} samples in batches of {batch}", flush=True)
    workers = [Worker(library, python, path) for library, python in libraries.items()]
    try:
        bench = Bench(problems.load(path), workers, given.repeats, given.patience, given.quick)
        for task in tasks:
            bench.do(task)
    finally:
        for worker in workers:
            worker.close()


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(USUAL), help="of A, R, B, P, C")
    parser.add_argument("--tasks", default="", help=f"of {', '.join(TASKS)}; the usual ones of each model if not given")
    parser.add_argument("--libraries", default="landform," + ",".join(ENVIRONMENTS), help="which to run")
    parser.add_argument("--repeats", type=int, default=5, help="at most so many")
    parser.add_argument("--patience", type=float, default=12.0, help="seconds after which a library does not repeat")
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv-peers", help="folder with environments a and b")
    parser.add_argument("--full", action="store_true", help="all 2,048 samples for B, P and C: an hour or more")
    parser.add_argument("--quick", action="store_true", help="tiny models, one repeat: does it run?")
    given = parser.parse_args()
    models, asked = given.models.split(","), [t for t in given.tasks.split(",") if t]
    for wrong in [m for m in models if m not in USUAL] + [t for t in asked if t not in TASKS]:
        parser.error(f"{wrong!r} is none of {', '.join(USUAL)} or {', '.join(TASKS)}")
    if given.quick:
        given.repeats, given.patience = 1, 2.0
    torch.set_num_threads(1)
    libraries, absent = {}, []
    for library in given.libraries.split(","):
        python = interpreter(library, given.peers)
        if python is None:
            absent.append(library)
        else:
            libraries[library] = python
    begin = time.perf_counter()
    print(f"load {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores, torch {torch.__version__}, one thread, float32")
    if absent:
        print(f"No environment for {', '.join(absent)}: they are left out (`make peers` makes them).")
    with tempfile.TemporaryDirectory() as folder:
        for name in models:
            tasks = [t for t in asked or USUAL[name] if t != "tracked" or name == "A"]
            run(name, tasks, libraries, given, Path(folder))
    print(f"\n{(time.perf_counter() - begin) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
