"""One network out of two that know half of the digits each, by every method that looks at data.

    python examples/merging_two_halves.py [--pairs 5] [--epochs 15]

One network learns the digits 0 to 4, the other 5 to 9 (Adam, 2e-3), from one beginning or from two; then they are
merged over the training images of all ten. Printed: the share of test images of all ten digits that are told right,
means over the pairs with 95 % intervals. Heads of two give five classes each; so does the pair kept apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

import landform as lf
from landform import merging
from landform.series import interval

MODELS: dict[str, tuple[Callable[[int], nn.Module], tuple[int, ...]]] = {
    "dense, 2 of 64": (lambda seed: lf.models.mlp(inputs=(64,), classes=10, width=64, depth=2, seed=seed), (64,)),
    "convolutions, BatchNorm": (
        lambda seed: lf.models.small_cnn(inputs=(1, 8, 8), classes=10, width=16, norm="batch", seed=seed),
        (1, 8, 8),
    ),
}
WAYS: dict[str, dict[str, object]] = {
    "mean": {"method": "mean"},
    "fisher": {"method": "fisher"},
    "regmean": {"method": "regmean"},
    "learned soup": {"method": "learned_soup"},
    "learned, by tensor": {"method": "learned_soup", "per": "tensor"},
    "aligned": {"method": "aligned"},
    "aligned, REPAIR": {"method": "aligned", "repair": True},
    "aligned by activations": {"method": "aligned", "match": "activations"},
}
ZIPS: dict[str, dict[str, object]] = {
    "zipped": {},
    "zipped, two heads": {"stop_at": "readout"},
    "permuted, two heads": {"stop_at": "readout", "match": "permute"},
}


def pictures(split: lf.data.Split, shape: tuple[int, ...], low: int, high: int) -> tuple[Tensor, Tensor]:
    """Images of some digits."""
    chosen = (split.targets >= low) & (split.targets < high)
    return split.inputs[chosen].reshape(-1, *shape), split.targets[chosen]


def halves(first: Tensor, second: Tensor) -> Tensor:
    """Probabilities of the five classes that each knows."""
    return torch.cat([first.softmax(-1)[:, :5], second.softmax(-1)[:, 5:]], 1)


def measure(
    make: Callable[[int], nn.Module], shape: tuple[int, ...], pair: int, one: bool, epochs: int
) -> dict[str, float]:
    """Accuracy of each way, for one pair."""
    data = lf.data.digits()
    nets = [make(100 * pair if one else 100 * pair + number) for number in range(2)]
    tasks: dict[str, lf.Landscape] = {}
    for number, net in enumerate(nets):
        own = pictures(data.train, shape, 5 * number, 5 * number + 5)
        recipe = lf.Recipe(epochs=epochs, batch_size=50, optimizer="adam", lr=2e-3, seed=2 * pair + number)
        lf.train(net, own, recipe, device="cpu")
        tasks[f"half {number + 1}"] = lf.Landscape(nets[0], own, device="cpu")
    x, y = pictures(data.test, shape, 0, 10)
    whole = lf.Landscape(nets[0], pictures(data.train, shape, 0, 10), device="cpu").on((x, y))
    points = [whole.layout.point(net) for net in nets]
    found = {"kept apart": right(halves(*(whole.outputs(point) for point in points)), y)}
    for name, options in WAYS.items():
        merged = merging.merge(points, data=tasks, **options)  # type: ignore[arg-type]
        found[name] = 1 - float(whole.error(merged.point))
    for name, options in ZIPS.items():
        zipped = merging.zip_models(tasks, *points, **options)  # type: ignore[arg-type]
        with torch.no_grad():
            outputs = zipped(x)
        found[name] = right(halves(*outputs) if isinstance(outputs, tuple) else outputs, y)
    return found


def right(outputs: Tensor, labels: Tensor) -> float:
    """Share of right labels."""
    return float((outputs.argmax(1) == labels).double().mean())


def main() -> None:
    """Train, merge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)
    columns: list[dict[str, str]] = []
    heads: list[str] = []
    for name, (make, shape) in MODELS.items():
        for one in (True, False):
            every = [measure(make, shape, pair, one, given.epochs) for pair in range(given.pairs)]
            column: dict[str, str] = {}
            for way in every[0]:
                found = interval([100 * accuracies[way] for accuracies in every])
                column[way] = f"{found.mean:.1f} ± {found.high - found.mean:.1f}"
            columns.append(column)
            heads.append(f"{name}, {'one beginning' if one else 'two'}")
    print(f"| | {' | '.join(heads)} |\n|---|{'---:|' * len(heads)}")
    for way in columns[0]:
        print(f"| {way} | {' | '.join(column[way] for column in columns)} |")


if __name__ == "__main__":
    main()
