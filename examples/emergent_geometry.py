"""Outliers, clustered logit gradients and confinement of descent, on a network small enough to see all of it.

A ReLU network 64-50-50-10 without biases on 1,000 points of ten Gaussian clusters, after Fort & Ganguli 2019
(arXiv 1910.05929): how many outliers its Hessian has, how far the gradients of its logits point the same way, and how
much of the gradient lies in the top ten eigenvectors, by descent on all points and by SGD. Five seeds of the points,
the weights and the order; printed beside what an earlier measurement of the same network found with one seed.

    python examples/emergent_geometry.py [--seeds 5] [--quick]
"""

from __future__ import annotations

import argparse
import itertools
import statistics

import torch
from torch import nn

import landform as lf
from landform import curvature

CLASSES, SAMPLES = 10, 1000
TIMES = (0, 20, 100, 1500)
RUNS = {"all points, lr 0.5": (0.5, SAMPLES), "SGD 64, lr 0.5": (0.5, 64), "SGD 64, lr 0.1": (0.1, 64)}
# One seed, other points: what it found, by run, quantity and step. None where it did not look.
BEFORE = {
    ("all points, lr 0.5", "top"): (None, 0.00, 0.00, 0.00),
    ("SGD 64, lr 0.5", "top"): (None, 0.76, 0.62, 0.05),
    ("SGD 64, lr 0.1", "top"): (None, "0.03-0.19", "0.03-0.19", "0.03-0.19"),
    ("SGD 64, lr 0.1", "largest"): (2.60, 1.53, 2.65, 0.17),
    ("SGD 64, lr 0.1", "gap 9/10"): (1.1, None, "2-3", None),
    ("SGD 64, lr 0.1", "q_SLSC"): (0.22, None, None, 0.43),
    ("SGD 64, lr 0.1", "q_SL"): (0.18, None, None, 0.23),
    ("SGD 64, lr 0.1", "q_DL"): (0.00, None, None, 0.00),
}


def network(seed: int) -> nn.Module:
    """Draw the network with Xavier's weights."""
    torch.manual_seed(seed)
    sizes = (64, 50, 50, CLASSES)
    layers: list[nn.Module] = []
    for inside, out in itertools.pairwise(sizes):
        layers += [nn.Linear(inside, out, bias=False), nn.ReLU()]
        nn.init.xavier_normal_(layers[-2].weight)
    return nn.Sequential(*layers[:-1])


def look(landscape: lf.Landscape, point: torch.Tensor, batch: torch.Tensor) -> dict[str, float]:
    """Measure at a point.

    Args:
        landscape: all points.
        point: where, ``[P]``.
        batch: which samples make the mini-batch whose gradient is looked at too.

    Returns:
        Numbers by name.
    """
    pairs = curvature.eigenpairs(landscape.hessian(point), CLASSES + 1, tol=1e-3)
    values = pairs.values.tolist()
    top = pairs.vectors[:, :CLASSES]
    cosines = curvature.logit_cosines(landscape, point, samples=100)
    gaps = [values[i] / max(values[i + 1], 1e-12) for i in range(CLASSES)]
    return {
        "top": float(curvature.confinement(landscape.gradient(point), top).total),
        "top, batch": float(curvature.confinement(landscape.subset(batch).gradient(point), top).total),
        "largest": values[0],
        "gap 9/10": gaps[8],
        "gap 10/11": gaps[9],
        "q_SLSC": cosines.same_logit_same_class,
        "q_SL": cosines.same_logit,
        "q_DL": cosines.different_logit,
        "loss": float(landscape.loss(point)),
    }


def follow(lr: float, size: int, seed: int, times: tuple[int, ...]) -> list[dict[str, float]]:
    """Train by plain descent, and look at some steps.

    Args:
        lr: learning rate.
        size: of a batch.
        seed: of points, weights and order.
        times: the steps to look at.

    Returns:
        What was seen at each.
    """
    data = lf.data.clusters(classes=CLASSES, features=64, train_size=SAMPLES, test_size=CLASSES, seed=seed)
    x, y = data.train.inputs, data.train.targets
    model = network(seed)
    landscape = lf.Landscape(model, (x, y), device="cpu")
    order = torch.Generator().manual_seed(seed)
    found = []
    for step in range(times[-1] + 1):
        batch = torch.randperm(SAMPLES, generator=order)[:size]
        if step in times:
            found.append(look(landscape, landscape.here, torch.randperm(SAMPLES, generator=order)[:64]))
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        for weight, slope in zip(model.parameters(), torch.autograd.grad(loss, model.parameters()), strict=True):
            weight.data.sub_(slope, alpha=lr)
    return found


def main() -> None:
    """Print every figure with its spread over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--quick", action="store_true", help="two seeds and 100 steps")
    given = parser.parse_args()
    torch.set_num_threads(1)
    times, seeds = (TIMES[:3], 2) if given.quick else (TIMES, given.seeds)
    for run, (lr, size) in RUNS.items():
        seen = [follow(lr, size, seed, times) for seed in range(seeds)]
        print(f"\n{run}: mean and standard deviation over {seeds} seeds [one seed, before]")
        print(f"{'step':>12}" + "".join(f"{time:>30}" for time in times))
        for name in seen[0][0]:
            row = f"{name:>12}"
            before = BEFORE.get((run, name), (None,) * len(TIMES))
            for i in range(len(times)):
                numbers = [one[i][name] for one in seen]
                spread = statistics.stdev(numbers) if len(numbers) > 1 else float("nan")
                known = "" if before[i] is None else f" [{before[i]}]"
                row += f"{f'{statistics.mean(numbers):.2f} +- {spread:.2f}{known}':>30}"
            print(row)


if __name__ == "__main__":
    main()
