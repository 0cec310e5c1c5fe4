"""A transformer of ten million parameters, surveyed on a CPU: what is foretold of time and memory, and what it took.

A character GPT is trained for a little while on Python's own sources (or on ``--text``), and twice more from there on
different halves: two fine-tunes. Of the first the top ten eigenvalues and the trace of the Hessian, a line and a plane,
the barrier to the other and the estimated tangent kernel are measured, after `landform.survey.rehearse` has told from
few sequences how long that will take and how much memory it will hold.

    python benchmarks/large_model.py [--quick] [--width 320 --depth 8] [--sequences 128] [--kernel 256] [--threads 2]
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import landform as lf
from landform.probes import Moment, Probe, Value, get
from landform.survey import rehearse

LENGTH = 128  # characters of a sequence


def text(folder: Path, characters: int) -> Path:
    """Python's own sources, as one text."""
    path = folder / "text.txt"
    found = ""
    for source in sorted(Path(argparse.__file__).parent.glob("*.py")):
        found += "".join(c for c in source.read_text(encoding="utf-8", errors="ignore") if c.isascii())
        if len(found) >= characters:
            break
    path.write_text(found[:characters], encoding="utf-8")
    return path


def barrier_to(other: Tensor) -> Probe:
    """The barrier on the straight line to another point."""

    def barrier(moment: Moment) -> dict[str, Value | float]:
        found = lf.paths.barrier(moment.landscape, moment.point, other.to(moment.point), steps=11, refine=0)
        return {"barrier_to_other": found.height, "losses_to_other": Value(found.losses, ("place",))}

    return Probe("barrier_to_other", barrier, times=1, cost=11.0)


def line(steps: int, seed: int) -> Probe:
    """The loss along a random filter-normalised line."""

    def along(moment: Moment, steps: int, seed: int) -> dict[str, Value]:
        found = lf.surface.line(moment.landscape, center=moment.point, steps=steps, seed=seed)
        return {"line_losses": Value(found.losses, ("place",))}

    return Probe("random_line", along, settings={"steps": steps, "seed": seed}, times=1, cost=10.0)


def main() -> None:
    """Train, rehearse, survey, and print what was foretold beside what it took."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--quick", action="store_true", help="a small model on few sequences, to see what is printed")
    asked.add_argument("--width", type=int, default=320)
    asked.add_argument("--depth", type=int, default=8)
    asked.add_argument("--sequences", type=int, default=128, help="for curvature, surfaces and barriers")
    asked.add_argument("--kernel", type=int, default=256, help="sequences of the kernel")
    asked.add_argument("--steps", type=int, default=60, help="training steps, and half as many for each fine-tune")
    asked.add_argument("--batch", type=int, default=4, help="sequences at a time in measuring")
    asked.add_argument("--threads", type=int, default=2)
    asked.add_argument("--text", type=Path)
    of = asked.parse_args()
    if of.quick:
        of.width, of.depth, of.sequences, of.kernel, of.steps = 32, 2, 32, 32, 20
    torch.set_num_threads(of.threads)
    with tempfile.TemporaryDirectory(prefix="landform-") as place:
        folder = Path(place)
        data = lf.data.characters(of.text or text(folder, 400_000), length=LENGTH)
        assert data.classes is not None
        model = lf.models.transformer(
            inputs=(LENGTH,), classes=data.classes, width=of.width, depth=of.depth, heads=8, seed=0
        )
        size = lf.Layout.of(model).size
        print(f"A transformer of {size:,} parameters, {LENGTH} characters a sequence, {data.classes} symbols.")
        x, y = data.train.inputs, data.train.targets
        recipe = lf.Recipe(
            optimizer="adamw", lr=1e-3, momentum=0.0, batch_size=16, epochs=of.steps * 16 / len(x), schedule="cosine"
        )
        begun = time.perf_counter()
        once = lf.Recording(at=1, pairs=None)
        lf.train(model, (x, y), recipe, out=folder / "base", recording=once, device="cpu")
        base = lf.Trajectory(folder / "base").points[-1]
        ends, half = [], len(x) // 2
        for number, part in enumerate((slice(0, half), slice(half, None))):
            lf.Layout.of(model).load_(model, base)
            own = replace(recipe, seed=number + 1, lr=3e-4, epochs=of.steps // 2 * 16 / half)
            lf.train(model, (x[part], y[part]), own, out=folder / f"fine-{number}", recording=once, device="cpu")
            ends.append(lf.Trajectory(folder / f"fine-{number}").points[-1])
        print(f"Trained in {time.perf_counter() - begun:.0f} s.")
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        some, more = rows[: of.sequences], rows[: of.kernel]
        train = lf.Landscape(model, (x[some], y[some]), batch_size=of.batch, device="cpu")
        sets = {"train": train, "kernel": train.on((x[more], y[more]))}
        probes = [
            get("eigenvalues").using(k=10, tol=0.05).at(1).on("train"),
            get("trace").using(tol=0.1, max_products=12).at(1).on("train"),
            line(steps=21, seed=0).on("train"),
            get("plane_around").using(steps=9).at(1).on("train"),
            barrier_to(ends[1]).on("train"),
            get("kernel_sketch").using(samples=of.kernel).at(1).on("kernel"),
        ]
        told = rehearse(folder / "fine-0", sets, probes=probes)
        print(told, flush=True)
        begun = time.perf_counter()
        atlas = lf.survey(folder / "fine-0", sets, probes=probes)
        took = time.perf_counter() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        spent = {stored.probe: stored.seconds for stored in atlas.stored()}
        print(f"{'probe':20}{'foretold':>12}{'took':>12}{'memory foretold':>18}")
        for part in told.parts:
            held = "" if part.bytes is None else f"{part.bytes / 1e9:.2f} GB"
            print(f"{part.probe:20}{part.seconds:>10.1f} s{spent.get(part.probe, float('nan')):>10.1f} s{held:>18}")
        held = f"{(told.bytes or 0) / 1e9:.2f} GB"
        print(f"{'all':20}{told.seconds:>10.1f} s{took:>10.1f} s{held:>18}, held {peak / 1e9:.2f} GB")
        print(f"time: {took / told.seconds:.2f} of what was foretold; memory: {peak / (told.bytes or 1):.2f} of it")
        for note in atlas.notes:
            print(note)
        one = {name: float(atlas[name].values.reshape(-1)[0]) for name in atlas.names() if atlas[name].values.size == 1}
        values = atlas["eigenvalues"].values.reshape(-1)
        print("eigenvalues:", ", ".join(f"{value:.3g}" for value in values))
        print(f"trace: {one['trace']:.4g} +- {one['trace_error']:.2g}")
        print(f"barrier between the two fine-tunes: {one['barrier_to_other']:.4g}")
        print(f"kernel: relative error {one['sketch_error']:.3f}, effective rank {one['sketch_effective_rank']:.1f}")


if __name__ == "__main__":
    main()
