"""Networks trained from different beginnings lie in one valley once their units are put in order, if they are wide.

    python examples/modulo_permutation.py [--pairs 5] [--epochs 60] [--out permutation.png]

Pairs of ReLU networks on 8 x 8 digits (Adam, 1e-3), and the straight line between the two: as they are, with units
matched by weights or by activations, each of these with the units between rescaled (REPAIR), by weights after the
scales of units are balanced, and by training on the loss half way (Sinkhorn). Printed: the barrier of the training loss
and the test accuracy half way, means over the pairs with 95 % intervals; drawn: the barrier against the width.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

import landform as lf
from landform.series import Interval, interval

SHAPES = [(8,), (64,), (512,), (16,) * 3, (32,) * 3, (128,) * 3, (256,) * 3]
WAYS = (
    "as they are", "weights", "weights, REPAIR", "activations", "activations, REPAIR", "balanced, weights", "sinkhorn"
)  # fmt: skip


def measure(width: tuple[int, ...], pairs: int, epochs: int) -> tuple[dict[str, list[tuple[float, float]]], Interval]:
    """Barrier and accuracy half way of each way, for every pair; and the accuracy of the networks themselves."""
    data = lf.data.digits()
    nets = [lf.models.mlp(inputs=(64,), classes=10, width=width, seed=seed, init="torch") for seed in range(2 * pairs)]
    recipes = [lf.Recipe(epochs=epochs, batch_size=50, optimizer="adam", lr=1e-3, seed=s) for s in range(2 * pairs)]
    points = [trained.point for trained in lf.train_many(nets, data, recipes, device="cpu")]
    landscape = lf.Landscape(nets[0], data, device="cpu")
    test = landscape.on(data.test)
    symmetries = lf.alignment.symmetries(landscape)
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for a, b in zip(points[::2], points[1::2], strict=True):
        found["as they are"].append(straight(landscape, test, a, b))
        for method in ("weights", "activations"):
            other = lf.alignment.align(landscape, a, b, method=method, symmetries=symmetries).point
            found[method].append(straight(landscape, test, a, other))
            found[f"{method}, REPAIR"].append(repaired(landscape, test, a, other, symmetries))
        even = [lf.alignment.balance(landscape, point, symmetries=symmetries).point for point in (a, b)]
        other = lf.alignment.align(landscape, *even, symmetries=symmetries).point
        found["balanced, weights"].append(straight(landscape, test, even[0], other))
        other = lf.alignment.align(landscape, a, b, method="sinkhorn", symmetries=symmetries).point
        found["sinkhorn"].append(straight(landscape, test, a, other))
    return found, interval([1 - float(test.error(point)) for point in points])


def straight(landscape: lf.Landscape, test: lf.Landscape, a: Tensor, b: Tensor) -> tuple[float, float]:
    """Barrier of the loss, and test accuracy half way."""
    return lf.paths.barrier(landscape, a, b).height, 1 - float(test.error((a + b) / 2))


def repaired(
    landscape: lf.Landscape, test: lf.Landscape, a: Tensor, b: Tensor, symmetries: lf.alignment.Symmetries
) -> tuple[float, float]:
    """The same with every point between corrected."""
    steps = torch.linspace(0, 1, 11).tolist()
    points = torch.stack([lf.alignment.repair(landscape, a, b, at=at, symmetries=symmetries).point for at in steps])
    losses = landscape.loss(points)
    return float(losses.max() - (losses[0] + losses[-1]) / 2), 1 - float(test.error(points[5]))


def main() -> None:
    """Train, match, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--out", default="permutation.png")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| hidden layers | accuracy | {' | '.join(WAYS)} |\n|---|---:|{'---:|' * len(WAYS)}")
    table: dict[tuple[int, ...], dict[str, Interval]] = {}
    for width in SHAPES:
        found, accuracy = measure(width, given.pairs, given.epochs)
        table[width] = {way: interval([barrier for barrier, _ in pairs]) for way, pairs in found.items()}
        halves = {way: interval([100 * half for _, half in pairs]) for way, pairs in found.items()}
        cells = [f"{told(table[width][way], 3)} / {told(halves[way], 1)}" for way in WAYS]
        name = f"{len(width)} of {width[0]}"
        print(f"| {name} | {100 * accuracy.mean:.1f} | {' | '.join(cells)} |", flush=True)
    draw(table, given.out)


def told(found: Interval, digits: int) -> str:
    """A mean and half the width of its interval."""
    return f"{found.mean:.{digits}f} ± {found.high - found.mean:.{digits}f}"


def draw(table: dict[tuple[int, ...], dict[str, Interval]], out: str) -> None:
    """Barriers against the width, one panel for each depth."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    depths = sorted({len(width) for width in table})
    figure, panels = plt.subplots(1, len(depths), figsize=(4.5 * len(depths) + 2, 4), sharey=True, layout="constrained")
    styles = [("#777777", "o-"), ("#1b75b8", "s-"), ("#1b75b8", "s:"), ("#d9661f", "^-"), ("#d9661f", "^:"),
              ("#3a8f4d", "D-"), ("#8a4fa3", "v-")]  # fmt: skip
    for panel, depth in zip(panels, depths, strict=True):
        shapes = [width for width in table if len(width) == depth]
        for way, (colour, style) in zip(WAYS, styles, strict=True):
            rows = [table[width][way] for width in shapes]
            means = [row.mean for row in rows]
            low = [row.mean - max(row.low, 1e-6) for row in rows]  # below the axis, where the interval holds zero
            reach = [low, [row.high - row.mean for row in rows]]
            panel.errorbar(
                [w[0] for w in shapes], means, yerr=reach, fmt=style, color=colour, capsize=3, label=way, ms=5
            )
        panel.set(xscale="log", yscale="log", xlabel="width", ylim=(5e-4, 6))
        panel.set_xticks([w[0] for w in shapes], [str(w[0]) for w in shapes])
        panel.minorticks_off()
        panel.set_title(f"{depth} hidden layer{'s' if depth > 1 else ''}", loc="left")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("barrier of the training loss")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    main()
