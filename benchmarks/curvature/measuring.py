"""Go round the libraries, task by task, judge what they say, and print a table for each task."""

from __future__ import annotations

import statistics
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import judging
import reference
from pool import Worker
from problems import APART, Problem

TASKS = ("eigenpairs", "tracked", "trace", "exact", "density", "product", "gauss-newton")
TOL, TRACE_TOL, STEPS = 1e-3, 0.02, 64
# Tolerances tried in turn until the answer is right, so that each library does as little as it can: a residual of 1e-2
# is usually enough for values good to 1e-3; power iteration that moves by less than 1e-3 is often not there yet.
LADDER = {
    "landform": (1e-3,), "curvlinops": (1e-2, 1e-3), "hessian-eigenthings": (1e-2, 1e-3),
    "pyhessian": (1e-3, 1e-5), "landscaper": (1e-3, 1e-5),
}  # fmt: skip
TITLES = {
    "eigenpairs": "5 eigenvalues of largest magnitude to 1e-3", "trace": "trace to a standard error of 2%",
    "exact": "trace of the Hessian without probes", "density": f"spectral density, {STEPS} steps",
    "product": "one Hessian product", "gauss-newton": "one Gauss-Newton product",
}  # fmt: skip
TARGETS = {
    ("A", "eigenpairs"): "1/3", ("B", "eigenpairs"): "1/4", ("A", "density"): "0.6", ("B", "density"): "0.6",
    ("A", "trace"): "0.7 a probe", ("B", "trace"): "0.7 a probe", ("A", "product"): "1.4 g", ("B", "product"): "3.0 g",
    ("A", "gauss-newton"): "1.2 g", ("P", "gauss-newton"): "0.6 g", ("R", "exact"): "8 g",
}  # fmt: skip


@dataclass
class Taken:
    """What one library took, and said last."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    unit: list[float] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)
    rung: int = 0
    factor: float = 1.0  # from what was run to what was asked: probes needed over probes taken

    @property
    def seconds(self) -> float:
        """Median CPU time of what was asked."""
        return statistics.median(self.cpu) * self.factor

    @property
    def share(self) -> float:
        """The same in gradients of the same process."""
        return self.seconds / statistics.median(self.unit)


class Bench:
    """One model before all libraries."""

    def __init__(self, problem: Problem, workers: list[Worker], repeats: int, patience: float, quick: bool) -> None:
        self.problem, self.workers, self.repeats, self.patience = problem, workers, repeats, patience
        self.name, self.size = problem.name, problem.size
        self.steps = min(12, STEPS) if quick else STEPS
        self.probes = 20 if self.name in "AR" or quick else 8
        self.double = deepcopy(problem).double()  # the model's weights are converted in place
        self.sketches: dict[str, list[float]] = {}

    @cached_property
    def truth(self) -> reference.Truth:
        """Computed when first needed; announced, since it takes a while."""
        found = reference.truth(self.problem, self.double, 5, 60 if self.name in "AR" else 16)
        values = " ".join(f"{v:.4g}" for v in found.values)
        print(f"float64 reference: eigenvalues {values} (residual {found.residual:.0e});"
              f" trace {found.trace:.5g} +- {found.trace_error:.2g},"
              f" ||H||_F {found.frobenius:.4g}; Hutchinson would need {found.probes(TRACE_TOL):.0f} probes for 2%",
              flush=True)  # fmt: skip
        return found

    def sketch(self, task: str) -> list[float]:
        """Of a product in float64, computed once."""
        if task not in self.sketches:
            made = reference.hessian_sketch if task == "product" else reference.gauss_newton_sketch
            self.sketches[task] = made(self.double)
        return self.sketches[task]

    def do(self, task: str) -> None:
        """Measure one task and print its table."""
        if task == "tracked":
            self._tracked()
            return
        if task in ("product", "gauss-newton"):
            self.sketch(task)
        else:
            assert self.truth
        taken = {w.library: Taken() for w in self.workers if not (task == "exact" and w.library != "landform")}
        for round_ in range(self.repeats):
            for worker in self.workers:
                t = taken.get(worker.library)
                if t is None or "error" in t.found or (t.cpu and sum(t.cpu) + t.cpu[-1] > self.patience):
                    continue
                self._once(task, worker, t, round_)
        self._print(task, taken)

    def judge(self, task: str, found: dict[str, Any]) -> tuple[bool, str]:
        """Whether it is right, and a word on it."""
        if task == "eigenpairs":
            return judging.eigenvalues(found, self.truth, TOL)
        if task in ("trace", "exact"):
            return judging.trace(found, self.truth)
        if task == "density":
            return judging.density(found, self.truth, self.size)
        return judging.product(found, self.sketch(task))

    def _once(self, task: str, worker: Worker, t: Taken, round_: int) -> None:
        for _ in range(1 if t.cpu else 2):  # the first gradient of a process warms it up
            unit = worker.ask("gradient")
        if "error" in unit:
            t.found = {"error": worker.failed or unit["error"]}
            return
        t.unit.append(unit["cpu"])
        while True:
            asked, options = self._asked(task, worker.library, t)
            t.found = worker.ask(asked, **options)
            if "error" in t.found:
                return
            ladder = LADDER[worker.library]
            wrong = task == "eigenpairs" and round_ == 0 and not self.judge(task, t.found)[0]
            if not (wrong and t.rung + 1 < len(ladder) and t.found["cpu"] < self.patience):
                break
            t.rung += 1
        if task == "trace" and worker.library != "landform":
            t.factor = self.truth.probes(TRACE_TOL) / self.probes
        t.cpu.append(t.found["cpu"])
        t.wall.append(t.found["wall"])

    def _asked(self, task: str, library: str, t: Taken) -> tuple[str, dict[str, Any]]:
        seed = len(t.cpu)
        if task == "eigenpairs":
            return task, {"k": 5, "tol": LADDER[library][t.rung], "seed": seed}
        if task == "trace":
            if library == "landform":
                return task, {"tol": TRACE_TOL, "seed": seed}
            return "probes", {"count": self.probes, "seed": seed}
        if task == "density":
            return task, {"steps": self.steps, "seed": seed}
        return task, {}

    def _print(self, task: str, taken: dict[str, Taken]) -> None:
        target = TARGETS.get((self.name, task))
        print(f"\n{self.name}, {TITLES[task]}" + (f" (asked of landform: {target})" if target else ""))
        print("| library | CPU s | wall s | g | products | answer | right | repeats |\n" + "|---" * 8 + "|")
        right: dict[str, Taken] = {}
        for library, t in taken.items():
            if "error" in t.found or not t.cpu:
                print(f"| {library} | | | | | {t.found.get('error', 'did not start')[:110]} | no | |")
                continue
            good, said = self.judge(task, t.found)
            if good:
                right[library] = t
            if task == "eigenpairs":
                said += f", tol {LADDER[library][t.rung]:.0e}"
            if task == "trace" and library != "landform":
                said += f"; {self.probes} probes run, time for {self.probes * t.factor:.0f} shown"
            elif "also" in t.found:
                said += f"; {t.found['also']}"
            wall = statistics.median(t.wall) * t.factor
            made = t.found.get("products", 1) * t.factor
            print(f"| {library} | {t.seconds:.3f} | {wall:.3f} | {t.share:.2f} | {made:.0f} | {said}"
                  f" | {'yes' if good else '**no**'} | {len(t.cpu)} |")  # fmt: skip
        peers = {library: t for library, t in right.items() if library != "landform"}
        if "landform" in right and peers:
            best = min(peers, key=lambda library: peers[library].seconds)
            ours = right["landform"]
            line = f"landform / {best}: **{ours.seconds / peers[best].seconds:.2f}** of CPU time"
            if task == "trace":
                each = {library: statistics.median(t.cpu) / t.found["products"] for library, t in right.items()}
                cheapest = min(peers, key=lambda library: each[library])
                line += f"; a product {each['landform'] / each[cheapest]:.2f} of {cheapest}'s probe"
            print(line, flush=True)
        elif "landform" in right:
            print("No peer's answer is right: no ratio.", flush=True)
        else:
            print("landform's answer is not right: no ratio.", flush=True)

    def _tracked(self) -> None:
        ours = next((w for w in self.workers if w.library == "landform"), None)
        if ours is None:
            return
        print(f"\n{self.name}, eigenvalues along a run: {len(self.problem.run)} readings, {APART} steps of SGD apart;"
              " products a reading, median (range); landform alone (asked: 5)")  # fmt: skip
        for k in (1, 5):
            found = ours.ask("tracked", k=k, tol=TOL)
            if "error" in found:
                print(found["error"])
                continue
            cold, warm = (f"{statistics.median(n):.0f} ({min(n)}-{max(n)})" for n in (found["cold"], found["warm"]))
            print(f"- top {k}: cold {cold}, worst error {found['off'][0]:.0e}; warm {warm}, worst error"
                  f" {found['off'][1]:.0e}", flush=True)  # fmt: skip
