"""What a Hessian product costs, in gradients, and how much memory it takes, as samples and parameters grow.

Each row runs in a process of its own, so that its peak memory is its own: the same landscape is made, one gradient is
taken, then a Hessian is made with the memory that is allowed, and products are taken. Shown beside the gradient's peak
is how far the Hessian's lies above it; it must stay under what `memory=` allows and what one batch's graph takes,
however many samples there are. Cost grows linearly where the columns of ratios stay level. CPU time, medians.

    python benchmarks/curvature_scaling.py [--tiny] [--memory 256]

The largest is the character transformer of about 10 million parameters, on text of $LANDFORM_DATA (or, without it,
random characters).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

# Before torch is imported: one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

MIB = 2**20
# Transformers by width and depth; the widest has about 10 million parameters.
SIZES = {"tiny": ((16, 1), (32, 1)), "usual": ((32, 2), (96, 3), (192, 4), (384, 6))}
CONTEXT = {"tiny": 16, "usual": 64}
SAMPLES = {"tiny": (8, 16, 32), "usual": (16, 32, 64)}
BATCH = 8


def measure(width: int, depth: int, samples: int, context: int, memory: float, repeats: int) -> dict[str, Any]:
    """One row, in this process.

    Args:
        width: of the transformer.
        depth: its blocks.
        samples: texts.
        context: characters of each.
        memory: bytes allowed for graphs.
        repeats: how many products are timed.

    Returns:
        What was measured.
    """
    import torch

    import landform as lf

    torch.set_num_threads(1)
    inputs, targets, classes = texts(samples, context)
    model = lf.models.transformer(inputs=(context,), classes=classes, width=width, depth=depth, heads=4)
    landscape = lf.Landscape(model, (inputs, targets), batch_size=BATCH, device="cpu")
    here = landscape.here
    gradients = timed(lambda: landscape.gradient(here), repeats)
    before = peak()
    H: Any = landscape.hessian(here, memory=memory, check=False)
    v = torch.randn(H.size, generator=torch.Generator().manual_seed(0))
    v = v / v.norm()
    products = timed(lambda: H @ v, repeats)
    return {
        "parameters": H.size,
        "samples": samples,
        "gradient": gradients,
        "product": products,
        "peak": before,
        "above": peak() - before,
        "graph": H.graph_bytes,
        "kept": H.kept,
        "batches": H.batches,
        "vector": H.size * 4,
    }


def texts(samples: int, context: int) -> tuple[Any, Any, int]:
    """Texts and what follows each character; random ones where there is no data folder."""
    import torch

    import landform as lf

    if os.environ.get("LANDFORM_DATA"):
        data = lf.data.characters(length=context)
        inputs, targets, classes = data.train.inputs[:samples], data.train.targets[:samples], data.classes
        assert classes is not None
        assert len(inputs) == samples
        return inputs, targets, classes
    drawn = torch.randint(0, 65, (samples, context + 1), generator=torch.Generator().manual_seed(0))
    return drawn[:, :-1], drawn[:, 1:], 65


def timed(act: Any, repeats: int) -> float:
    """Median CPU seconds, after one to warm up."""
    act()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        act()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def peak() -> int:
    """Most memory this process has held, in bytes."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def row(**settings: Any) -> dict[str, Any]:
    """One row, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--row", json.dumps(settings)], stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print rows, and whether what is promised holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small enough to try the script")
    parser.add_argument("--repeats", type=int, default=3, help="products timed in each row")
    parser.add_argument("--memory", type=float, default=256, help="MiB that kept graphs may take")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.row:
        print(json.dumps(measure(**json.loads(given.row))))
        return
    kind = "tiny" if given.tiny else "usual"
    common = {"context": CONTEXT[kind], "memory": given.memory * MIB, "repeats": given.repeats}
    sizes, samples = SIZES[kind], SAMPLES[kind]
    print(f"load {os.getloadavg()[0]:.1f}; one thread; batches of {BATCH}; graphs may take {given.memory:.0f} MiB")
    print(
        f"{'parameters':>12}{'samples':>9}{'product/g':>11}{'ns/(P n)':>10}{'kept':>8}"
        f"{'graph MiB':>11}{'peak of g':>11}{'above':>8}{'allowed':>9}"
    )
    # One axis at a time: samples on the second size, parameters on the fewest samples; without graphs kept, and with.
    grid = [(sizes[1], n) for n in samples] + [(size, samples[0]) for size in sizes if size != sizes[1]]
    for (width, depth), n in grid:
        for memory in (0.0, given.memory * MIB):
            found = row(width=width, depth=depth, samples=n, **{**common, "memory": memory})
            # Beside the graphs kept: one batch's graph and its second pass, a handful of vectors, the process itself.
            allowed = memory + 3 * found["graph"] + 8 * found["vector"] + 16 * MIB
            each = found["product"] / found["parameters"] / (n * common["context"])
            print(
                f"{found['parameters']:>12,}{n:>9}{found['product'] / found['gradient']:>11.2f}{each * 1e9:>10.3f}"
                f"{found['kept']:>4}/{found['batches']:<3}{found['graph'] / MIB:>11.1f}{found['peak'] / MIB:>11.0f}"
                f"{found['above'] / MIB:>8.0f}{allowed / MIB:>9.0f}"
                + ("" if found["above"] <= allowed else "  more than allowed"),
                flush=True,
            )


if __name__ == "__main__":
    main()
