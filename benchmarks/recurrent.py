"""The Gram matrix of the Recurrent NTK against a plain vectorised sketch of its recursion, as ratios of CPU time.

The sketch is the recursion as it is written (Alemohammad et al. 2021) on whole n x n matrices in float64, all pairs, no
symmetry. Both give the same matrix, on one thread. Medians of interleaved repeats.

    python benchmarks/recurrent.py [--quick]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from landform.kernel.infinite import RecurrentNTK


def plain(x: Tensor, kernel: RecurrentNTK) -> Tensor:
    """The recursion on whole matrices: sequences of one length, one layer of ReLU, no initial state."""
    w, u, b = kernel.sigma_w**2, kernel.sigma_u**2, kernel.sigma_b**2
    state = tangent = torch.zeros(len(x), len(x), dtype=x.dtype)
    for step in range(x.shape[1]):
        at = x[:, step]
        k = u * at @ at.T / x.shape[2] + b + w * state
        roots = k.diagonal().sqrt()
        both = roots[:, None] * roots[None]
        c = (k / both).clamp(-1, 1)
        slope = (math.pi - c.acos()) / (2 * math.pi)
        state = both * (c * slope + (1 - c * c).sqrt() / (2 * math.pi))
        tangent = (k + w * tangent) * slope
    return kernel.sigma_v**2 * (state + tangent)


def seconds(run: Callable[[], object]) -> float:
    """Process CPU seconds of one run."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


def compare(count: int, length: int, repeats: int) -> None:
    """Print one comparison."""
    x = torch.randn(count, length, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernel = RecurrentNTK(sigma_w=1.4, sigma_b=0.1)
    torch.testing.assert_close(kernel.gram(x), plain(x, kernel), rtol=1e-6, atol=1e-6)
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(seconds(lambda: kernel.gram(x)))
        theirs.append(seconds(lambda: plain(x, kernel)))
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(
        f"{count} sequences of {length} steps: {mine:.2f} CPU s, plain {other:.2f} CPU s: {other / mine:.1f} times as "
        "quick"
    )


def main() -> None:
    """Run every comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    if quick:
        compare(60, 20, 1)
        return
    for count, length in ((1000, 150), (300, 150), (100, 400)):
        compare(count, length, 5)


if __name__ == "__main__":
    main()
