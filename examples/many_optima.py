"""Stars and simplices of low loss that join 2 to 10 networks trained from other seeds.

    python examples/many_optima.py [--optima 2,3,5,7,10] [--kinds star,bezier] [--steps 2000] [--out many.png]

MLPs 64-32-32-10 on the digits, trained as one stack. For each number of optima: loss at 256 points drawn evenly over
the connector, mean and highest, on the plain star or simplex of the optima and on the trained one, after a number of
steps and after twice as many; and along the edges between pairs. Fort & Jastrzebski 2019.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import landform as lf
from landform.paths import Connector, connector
from landform.report import connectors, draw


def trained(count: int) -> tuple[lf.data.Dataset, lf.Landscape, Tensor]:
    """The data, the landscape and the optima."""
    data = lf.data.digits()
    nets = [lf.models.mlp(inputs=(64,), classes=10, width=32, depth=2, seed=seed) for seed in range(count)]
    recipe = lf.Recipe(epochs=30, batch_size=16, lr=0.05, momentum=0.9, schedule="cosine")
    recipes = [replace(recipe, seed=seed) for seed in range(count)]
    runs = lf.train_many(nets, data, recipes, device="cpu")
    return data, lf.Landscape(nets[0], data, device="cpu"), torch.stack([run.point for run in runs])


def row(found: Connector, steps: int, plain: bool = False) -> str:
    """A line of the table."""
    seen = found.plain if plain else found.trained
    test = found.on["test"][1 if plain else 0]
    edges = "-" if seen.edges is None else f"{seen.edges.highest:.3f}"
    return (
        f"| {len(seen.optima)} | {found.kind} | {'plain' if plain else steps} | {seen.inside.mean:.4f} | "
        f"{seen.inside.highest:.4f} | {seen.inside.error_highest:.1%} | {edges} | {test.inside.error_mean:.1%} |"
    )


def main() -> None:
    """Train, join, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optima", default="2,3,4,5,6,7,8,9,10")
    parser.add_argument("--kinds", default="star,bezier")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="a .png or .svg file: loss inside the last kind, by how many optima")
    given = parser.parse_args()
    torch.set_num_threads(1)
    numbers = [int(number) for number in given.optima.split(",")]
    data, landscape, optima = trained(max(numbers))
    reading = landscape.read(optima)
    test = landscape.on(data.test).read(optima)
    assert reading.error is not None
    assert test.error is not None
    print(landscape)
    print(
        f"optima: loss up to {reading.loss.max():.4f}, error {reading.error.max():.1%}, test {test.error.mean():.1%}\n"
    )
    print("| optima | kind | steps | mean inside | highest | error | highest on an edge | test error, mean |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    begun = time.perf_counter()
    for kind in given.kinds.split(","):
        last: list[Connector] = []
        for m in numbers:
            found = connector(landscape, optima[:m], kind=kind, steps=given.steps, on={"test": data.test})
            twice = found.more()
            print(row(found, 0, plain=True))
            print(row(found, given.steps))
            print(row(twice, 2 * given.steps), flush=True)
            last.append(twice)
    print(f"\n{time.perf_counter() - begun:.0f} s")
    if given.out is not None:
        given.out.write_bytes(draw(connectors(last), "svg" if given.out.suffix == ".svg" else "png"))


if __name__ == "__main__":
    main()
