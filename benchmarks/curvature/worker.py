"""One library in a process of its own, told over standard input what to do, one repeat at a time.

    python worker.py LIBRARY FILE

Each line in is a request, ``{"task": ..., ...}``; each line out is what came of it: seconds of CPU and by the clock,
and the answer, or the error in a sentence.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from problems import Problem, load, probe, sketch, tiny


def library(name: str, problem: Problem) -> Any:
    """The adapter of one library; only that library is imported."""
    if name == "landform":
        from ours import Landform

        return Landform(problem)
    import peers

    return peers.ADAPTERS[name](problem)


def warm_up(name: str) -> None:
    """Do everything once on a tiny problem: what a library imports and compiles at first use is none of its answers."""
    problem = tiny()
    adapter = library(name, problem)
    for task, options in (
        ("eigenpairs", {"k": 2, "tol": 1e-1}), ("density", {"steps": 8}), ("probes", {"count": 2}),
        ("trace", {"tol": 0.5}), ("exact", {}),
    ):  # fmt: skip
        if hasattr(adapter, task):
            with contextlib.suppress(Exception):  # it will say so when it is asked
                getattr(adapter, task)(**options, **({} if task == "exact" else {"seed": 0}))


def answer(adapter: Any, problem: Problem, request: dict[str, Any], held: dict[str, Any]) -> dict[str, Any]:
    """Do one task and say what it took; an operator whose products are timed is held while they are."""
    task = request.pop("task")
    run: Callable[[], Any]
    if task == "gradient":
        run = problem.gradient
    elif task in ("product", "gauss-newton"):
        v = probe(problem.size, 1).float()
        if task not in held:
            held.clear()
            held[task] = adapter.product(task)
            held[task](v)  # the operator is made, and its first product taken, before the clock runs
        run = lambda: held[task](v)  # noqa: E731
    else:
        held.clear()
        run = lambda: getattr(adapter, task)(**request)  # noqa: E731
    torch.manual_seed(request.get("seed", 0))  # for the libraries that draw from torch's own generator
    wall, cpu = time.perf_counter(), time.process_time()
    found = run()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if isinstance(found, torch.Tensor):
        found = {"sketch": sketch(found)}
    return {"cpu": cpu, "wall": wall, **(found or {})}


def main() -> None:
    # Libraries print: what they print goes to standard error, and this process answers where it was asked.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    name, path = sys.argv[1:]
    problem = load(path)
    try:
        warm_up(name)
        adapter = library(name, problem)
        print(json.dumps({"ready": True}), file=out)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=out)
        return
    held: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = answer(adapter, problem, request, held)
        except Exception as error:  # whatever a library raises is its answer
            said = str(error).strip().split("\n")[0]
            reply = {"error": f"{type(error).__name__}: {said}"}
        print(json.dumps(reply), file=out)


if __name__ == "__main__":
    main()
