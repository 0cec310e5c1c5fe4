"""The loss at many points in one call against a loop of ``load_state_dict`` and evaluate, as ratios of CPU time.

python benchmarks/many_points.py [--quick]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landform.data import digits
from landform.landscape import Landscape
from landform.models import build


def plain(model: nn.Module, landscape: Landscape, points: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The loop everyone writes."""
    losses = []
    with torch.no_grad():
        for point in points:
            model.load_state_dict(landscape.layout.views(point))
            losses.append(F.cross_entropy(model(x), y).item())
    return torch.tensor(losses, dtype=torch.float64)


def seconds(run: Callable[[], object]) -> float:
    """Process CPU seconds of one run."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def compare(name: str, model: nn.Module, x: Tensor, y: Tensor, count: int, repeats: int) -> None:
    """Print how many times quicker one call is than the loop."""
    landscape = Landscape(model, (x, y), device="cpu")
    points = landscape.here + 0.1 * torch.randn(count, landscape.layout.size)
    together = landscape.loss(points)
    torch.testing.assert_close(together, plain(model, landscape, points, x, y), rtol=1e-4, atol=1e-5)
    loop, call = [], []
    for _ in range(repeats):
        loop.append(seconds(lambda: plain(model, landscape, points, x, y)))
        call.append(seconds(lambda: landscape.loss(points)))
    ratio = statistics.median(loop) / statistics.median(call)
    print(
        f"{name:<34} {count:>4} points {len(x):>5} samples   {ratio:5.2f} times quicker   {landscape.explain()}",
        flush=True,
    )


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few points")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    torch.manual_seed(0)
    set_ = digits()
    x, y = torch.cat([set_.train.inputs, set_.test.inputs]), torch.cat([set_.train.targets, set_.test.targets])
    count, repeats = (25, 1) if quick else (625, 7)
    print(f"torch {torch.__version__}, one thread; medians of {repeats} interleaved repeats, process CPU time")

    def mlp(width: int, depth: int = 1) -> nn.Module:
        return build("mlp", inputs=(64,), classes=10, width=width, depth=depth)

    compare("mlp 64-64-10", mlp(64), x[:256], y[:256], count, repeats)
    compare("mlp 64-64-10, all of digits", mlp(64), x, y, count, repeats)
    compare("mlp 64-64-64-64-10", mlp(64, 3), x[:256], y[:256], count, repeats)
    compare("mlp 64-256-10", mlp(256), x[:256], y[:256], count // 5, repeats)
    images = x.view(-1, 1, 8, 8)
    for samples in (32, 256):
        cnn = build("small_cnn", inputs=(1, 8, 8), classes=10)
        compare("small cnn 12-24-24, 8x8", cnn, images[:samples], y[:samples], count // 5, repeats)


if __name__ == "__main__":
    main()
