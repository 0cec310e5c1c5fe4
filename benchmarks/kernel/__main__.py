"""The exact tangent kernel beside the Jacobian recipe of PyTorch and neural-tangents.

Each way runs in a process of its own, on one thread; rounds go through the ways one after the other, so that what else
the machine does falls on all alike. Kernels are judged on a corner of six samples against the Jacobian recipe in
float64. Ratios are medians of CPU seconds over those of the quickest peer whose kernel is right to 1e-4.

    python benchmarks/kernel [--models mlp,cnn] [--kinds trace,full] [--samples 256] [--rounds 3] [--peers FOLDER]
                             [--quick]

neural-tangents needs an old JAX in an environment of its own (`make peers`); without it one line says so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import worker  # noqa: E402

OURS = ("landform", "landform, bfloat16", "landform, estimated")
PEERS = ("torch.func", "neural-tangents, structured", "neural-tangents, Jacobian")
RIGHT = 1e-4
PATIENCE = 150  # seconds for two runs: neural-tangents' Jacobian takes minutes on the MLP


def reference(model: str, kind: str, samples: int) -> Any:
    """A corner of the kernel by one backward pass for each output of each sample, in float64."""
    net = worker.torch_model(model).double()
    x = torch.from_numpy(worker.inputs(model, samples)[: worker.CORNER]).double()
    parameters = list(net.parameters())
    rows = [
        torch.stack(
            [torch.cat([g.flatten() for g in torch.autograd.grad(o, parameters, retain_graph=True)]) for o in out]
        )
        for out in (net(one)[0] for one in torch.split(x, 1))
    ]
    jacobian = torch.stack(rows)
    if kind == "trace":
        return torch.einsum("nkp,mkp->nm", jacobian, jacobian).numpy()
    return torch.einsum("nkp,mlp->nmkl", jacobian, jacobian).numpy()


def run(way: str, python: Path, model: str, kind: str, samples: int) -> dict[str, Any]:
    """One run of one way, in a new process."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    one_core = {
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
        "JAX_PLATFORMS": "cpu",
    }
    try:
        found = subprocess.run(
            [str(python), str(HERE / "worker.py"), way, model, kind, str(samples), "2"],
            capture_output=True,
            text=True,
            env={**os.environ, **threads, **one_core, "TF_CPP_MIN_LOG_LEVEL": "3"},
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done in {PATIENCE} s"}
    lines = [line for line in found.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return {"failed": (found.stderr.strip().splitlines() or ["no output"])[-1][:120]}
    # The second of two: the first has the memory to fetch from the system.
    return {**json.loads(lines[-1]), "peak": max(json.loads(line)["peak"] for line in lines)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="mlp,cnn")
    parser.add_argument("--kinds", default="trace,full")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, default=HERE.parents[1] / ".venv-peers")
    parser.add_argument("--quick", action="store_true", help="8 samples, one round, landform and torch.func alone")
    given = parser.parse_args()
    samples, rounds = (8, 1) if given.quick else (given.samples, given.rounds)
    tangents = given.peers / "nt" / "bin" / "python"
    ways = [*OURS, *(PEERS if tangents.exists() and not given.quick else PEERS[:1])]
    if len(ways) == 4:
        print("No environment for neural-tangents: it is left out (`make peers` makes one).")
    for model in given.models.split(","):
        for kind in given.kinds.split(","):
            compare(model, kind, samples, rounds, ways, tangents)


def compare(model: str, kind: str, samples: int, rounds: int, ways: list[str], tangents: Path) -> None:
    """All ways of one kernel."""
    asked = [way for way in ways if kind == "trace" or way != "landform, estimated"]
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in asked}
    for _ in range(rounds):
        for way in asked:
            python = tangents if way.startswith("neural") else Path(sys.executable)
            if not any("failed" in before for before in runs[way]):
                runs[way].append(run(way, python, model, kind, samples))
    exact = reference(model, kind, samples)
    print(f"\n{model}, {kind}, {samples} samples (medians of {rounds} rounds, one thread)\n")
    print("| way | CPU s | from - to | peak MB | error of the kernel | to the best right peer |")
    print("|---|---:|---:|---:|---:|---:|")
    lines, right = [], []
    for way, found in runs.items():
        failed = [r["failed"] for r in found if "failed" in r]
        if failed:
            lines.append((way, f"failed: {failed[0]}", 0.0))
            continue
        seconds = [r["cpu"] for r in found]
        error = float(np.abs(np.asarray(found[-1]["corner"]) - exact).max() / np.abs(exact).max())
        middle = statistics.median(seconds)
        if way in PEERS and error < RIGHT:
            right.append(middle)
        stated = f" (stated {found[-1]['error']:.2f})" if found[-1]["error"] is not None else ""
        text = (
            f"{middle:.3f} | {min(seconds):.3f} - {max(seconds):.3f} | {max(r['peak'] for r in found):,.0f} | "
            f"{error:.1e}{stated}"
        )
        lines.append((way, text, middle))
    for way, text, middle in lines:
        ratio = f"{middle / min(right):.2f}" if right and middle else "-"
        print(f"| {way} | {text} | {ratio} |")


if __name__ == "__main__":
    main()
