"""Tangent kernels of finite networks come to that of infinite width as they grow wider.

    python examples/finite_width.py [--widths 32,64,...] [--draws 4] [--out width.png]

Networks with one and two hidden ReLU layers in the NTK parametrisation, without biases, on 24 digits; the exact kernel
of each (`lf.kernel.ntk`) against `lf.kernel.infinite.dense`. Printed and drawn: the Frobenius norm of the difference
over that of the kernel, mean and standard error over draws, and the same for the mean of the draws.
"""

from __future__ import annotations

import argparse
import math
from itertools import pairwise

import torch
from torch import Tensor, nn

import landform as lf


class Dense(nn.Module):
    """``h <- sqrt(2) relu(W h / sqrt(n))`` with every entry of W standard normal, and one output."""

    def __init__(self, inputs: int, width: int, depth: int, seed: int) -> None:
        """Draw the weights."""
        super().__init__()
        drawing = torch.Generator().manual_seed(seed)
        sizes = [inputs, *[width] * depth, 1]
        self.weights = nn.ParameterList(torch.randn(out, inside, generator=drawing) for inside, out in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Run it; the variances are those of `infinite.dense` with its usual settings."""
        for number, weight in enumerate(self.weights):
            x = nn.functional.linear(x, weight) * math.sqrt(2.0 / weight.shape[1])
            if number < len(self.weights) - 1:
                x = x.relu()
        return x


def differences(widths: list[int], depth: int, draws: int) -> list[tuple[float, float, float]]:
    """Mean relative difference, its standard error, and that of the mean kernel, for each width."""
    x = lf.data.digits().train.inputs[:24]
    # The read-out has the gain of the layers before it.
    limit = lf.kernel.infinite.dense(x, depth=depth, readout=(math.sqrt(2.0), 0.0)).ntk
    found = []
    for width in widths:
        kernels = []
        for seed in range(draws):
            model = Dense(x.shape[1], width, depth, seed)
            landscape = lf.Landscape(model, (x, torch.zeros(len(x), 1)), loss="mse", device="cpu")
            kernels.append(lf.kernel.ntk(landscape, landscape.here, x, kind="trace"))
        off = torch.tensor([float((k - limit).norm() / limit.norm()) for k in kernels])
        mean = float((torch.stack(kernels).mean(0) - limit).norm() / limit.norm())
        found.append((float(off.mean()), float(off.std() / math.sqrt(draws)), mean))
    return found


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default="32,64,128,256,512,1024,2048,4096")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--out", default="width.png")
    given = parser.parse_args()
    torch.set_num_threads(1)
    widths = [int(width) for width in given.widths.split(",")]
    found = {depth: differences(widths, depth, given.draws) for depth in (1, 2)}
    print("| width | 1 hidden layer | mean kernel | 2 hidden layers | mean kernel |\n|---:|---:|---:|---:|---:|")
    for i, width in enumerate(widths):
        cells = [f"{found[d][i][0]:.3f} +- {found[d][i][1]:.3f} | {found[d][i][2]:.3f}" for d in (1, 2)]
        print(f"| {width} | {' | '.join(cells)} |")
    draw(widths, found, given.out)


def draw(widths: list[int], found: dict[int, list[tuple[float, float, float]]], out: str) -> None:
    """One line for each depth, over a line that falls as one over the root of the width."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for (depth, rows), colour, marker in zip(found.items(), ("#1b75b8", "#d9661f"), "os", strict=True):
        axes.errorbar(
            widths, [row[0] for row in rows], yerr=[row[1] for row in rows], color=colour, marker=marker, capsize=3,
            label=f"{depth} hidden layer{'s' if depth > 1 else ''}",
        )  # fmt: skip
    first = found[1][0][0] * math.sqrt(widths[0])
    axes.plot(widths, [first / math.sqrt(width) for width in widths], color="#777777", ls=":", label="width$^{-1/2}$")
    axes.set(xscale="log", yscale="log", xlabel="width", ylabel="difference from infinite width, relative")
    axes.set_title("Finite tangent kernels against the limit", loc="left")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    main()
