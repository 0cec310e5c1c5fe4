"""Two networks trained from other seeds: a barrier on the straight line between them, next to none on a trained curve.

    python examples/connected_optima.py [--data moved_digits|cifar10] [--samples 4000] [--epochs 10] [--steps 400]
                                        [--seeds 2] [--out curve.png]

Small CNNs; for each pair of seeds the straight line, then Bezier curves and chains whose bends begin on the line or as
the layers initialise themselves, after a number of steps and after twice as many. Garipov et al. 2018 train for as long
as the networks themselves; what is left of a barrier depends on that number, so both are printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import landform as lf
from landform.report import draw, profile

# What the table shows beside the straight line: kind, bends, and where these begin.
CURVES = (("bezier", 1, "linear"), ("bezier", 1, "random"), ("chain", 1, "linear"), ("bezier", 3, "linear"))


def trained(name: str, samples: int, epochs: int, seeds: list[int]) -> tuple[lf.data.Dataset, lf.Landscape, Tensor]:
    """The data, the landscape and the points of networks trained from other seeds."""
    data = lf.data.load(name, fraction=min(1.0, samples / {"moved_digits": 4000, "cifar10": 50000}[name]))
    shape = tuple(data.train.inputs.shape[1:])
    nets = [lf.models.small_cnn(inputs=shape, classes=10, seed=seed) for seed in seeds]
    recipes = [
        lf.Recipe(epochs=epochs, batch_size=32, lr=0.05, momentum=0.9, schedule="cosine", seed=seed) for seed in seeds
    ]
    runs = lf.train_many(nets, data, recipes)
    return data, lf.Landscape(nets[0], data), torch.stack([run.point.cpu() for run in runs])


def row(name: str, barrier: lf.paths.Barrier, straight: lf.paths.Barrier) -> str:
    """A line of the table."""
    test = barrier.on["test"]
    return (
        f"| {name} | {barrier.height:.4f} | {barrier.error_height:.1%} | {test.height:.4f} | {test.error_height:.1%} "
        f"| {barrier.height / straight.height:.4f} |"
    )


def main() -> None:
    """Train, join, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="moved_digits", choices=["moved_digits", "cifar10"])
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--epochs", type=float, default=10)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a .png or .svg file for the first curve")
    given = parser.parse_args()
    torch.set_num_threads(1)
    data, landscape, points = trained(given.data, given.samples, given.epochs, list(range(given.seeds)))
    reading = landscape.read(points)
    assert reading.error is not None
    print(landscape)
    print("loss of the ends", *(f"{loss:.4f}" for loss in reading.loss.tolist()))
    print("error of the ends", *(f"{error:.2%}" for error in reading.error.tolist()))
    for i in range(1, given.seeds):
        print(f"\nFrom seed 0 to seed {i}\n")
        print("| path | barrier | of the error | on test | of the error | to the straight one |")
        print("|---|---:|---:|---:|---:|---:|")
        for number, (kind, bends, begin) in enumerate(CURVES):
            curve = lf.paths.curve(
                landscape, points[0], points[i], kind=kind, bends=bends, begin=begin, steps=given.steps,
                on={"test": data.test},
            )  # fmt: skip
            if number == 0:
                print(row("straight", curve.straight, curve.straight), flush=True)
            for leg in (curve, twice := curve.more()):
                name = f"{kind}, {bends} bend{'s' * (bends > 1)}, {begin}, {leg.steps} steps"
                print(row(name, leg.barrier, leg.straight), flush=True)
            if given.out is not None and number == 0 and i == 1:
                given.out.write_bytes(draw(profile(twice), "svg" if given.out.suffix == ".svg" else "png"))


if __name__ == "__main__":
    main()
