"""The models and data that every library is given: the same weights and the same numbers, through one file.

This module runs in the peers' environments too, so it knows nothing but PyTorch. Inputs are smooth noise around the
mean of their class, so that there is something to learn, and each model is trained for some steps: the spectrum of the
ReLU network then has nine outliers (one less than classes), that of the tanh network decays without a gap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 10
READINGS, APART = 10, 4  # points kept along a run, and the steps between them


class Block(nn.Module):
    """Two convolutions, their norms, and a shortcut."""

    def __init__(self, inside: int, out: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.a = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.b = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norm_a, self.norm_b = norm(out), norm(out)
        self.short = nn.Identity() if inside == out else nn.Conv2d(inside, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add them."""
        inner = self.norm_b(self.b(F.relu(self.norm_a(self.a(x)))))
        return F.relu(inner + self.short(x))


def groups(channels: int) -> nn.Module:
    return nn.GroupNorm(4, channels)


def mlp(inputs: int, width: int, bend: type[nn.Module]) -> nn.Module:
    """Two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, width), bend(), nn.Linear(width, width), bend(), nn.Linear(width, CLASSES)
    )  # fmt: skip


def residual(channels: int) -> nn.Module:
    """Three residual blocks with GroupNorm."""
    c = channels
    stem = [nn.Conv2d(1, c, 3, padding=1, bias=False), groups(c), nn.ReLU()]
    blocks = [Block(c, c, 1, groups), Block(c, 2 * c, 2, groups), Block(2 * c, 4 * c, 2, groups)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * c, CLASSES))


def plain(channels: int) -> nn.Module:
    """Seven convolutions."""
    c = channels
    layers: list[nn.Module] = []
    for inside, out, stride in (
        (1, c, 1), (c, c, 1), (c, c, 1), (c, 2 * c, 2), (2 * c, 2 * c, 1), (2 * c, 4 * c, 2), (4 * c, 4 * c, 1)
    ):  # fmt: skip
        layers += [nn.Conv2d(inside, out, 3, stride, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * c, CLASSES))


def resnet20(width: int) -> nn.Module:
    """Three stages of three residual blocks with BatchNorm."""
    w, norm = width, nn.BatchNorm2d
    layers: list[nn.Module] = [nn.Conv2d(3, w, 3, padding=1, bias=False), norm(w), nn.ReLU()]
    for stage, out in enumerate((w, 2 * w, 4 * w)):
        inside = w if stage == 0 else out // 2
        layers += [Block(inside, out, 1 if stage == 0 else 2, norm), Block(out, out, 1, norm), Block(out, out, 1, norm)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * w, CLASSES))


# what it is; build(quick); the shape of one input(quick); training steps; learning rate
MODELS: dict[str, tuple[str, Callable[[bool], nn.Module], Callable[[bool], tuple[int, ...]], int, float]] = {
    "A": ("MLP 784-256-256-10, tanh", lambda q: mlp(16 if q else 784, 12 if q else 256, nn.Tanh),
          lambda q: (16,) if q else (784,), 40, 0.02),
    "R": ("MLP 784-256-256-10, ReLU", lambda q: mlp(16 if q else 784, 12 if q else 256, nn.ReLU),
          lambda q: (16,) if q else (784,), 40, 0.02),
    "B": ("residual CNN with GroupNorm, 28x28", lambda q: residual(4 if q else 8),
          lambda q: (1, 8, 8) if q else (1, 28, 28), 40, 0.05),
    "P": ("plain CNN, ReLU, 28x28", lambda q: plain(4 if q else 8),
          lambda q: (1, 8, 8) if q else (1, 28, 28), 40, 0.05),
    "C": ("ResNet-20 on 3x32x32, BatchNorm as at evaluation", lambda q: resnet20(1 if q else 16),
          lambda q: (3, 8, 8) if q else (3, 32, 32), 8, 0.05),
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """A model with its weights, the data, and points along a run.

    Attributes:
        name: a key of `MODELS`.
        model: with its weights, at evaluation.
        inputs: ``[N, ...]``.
        targets: ``[N]``.
        batch: samples in a batch.
        run: points a few steps apart, the last being the model's, ``[T, P]``; empty for models that are not followed.
    """

    name: str
    model: nn.Module
    inputs: Tensor
    targets: Tensor
    batch: int
    run: Tensor

    @property
    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """Pairs of inputs and targets."""
        return list(zip(self.inputs.split(self.batch), self.targets.split(self.batch), strict=True))

    @property
    def parameters(self) -> list[nn.Parameter]:
        """In their order."""
        return list(self.model.parameters())

    @property
    def size(self) -> int:
        """How many numbers they are."""
        return sum(p.numel() for p in self.parameters)

    def gradient(self) -> None:
        """One full-data gradient, the unit of cost, as everyone writes it."""
        for x, y in self.batches:
            torch.autograd.grad(F.cross_entropy(self.model(x), y), self.parameters)

    def double(self) -> Problem:
        """The same in float64."""
        return Problem(
            self.name, self.model.double(), self.inputs.double(), self.targets, self.batch, self.run.double()
        )


def make(name: str, samples: int, batch: int, quick: bool, path: Path) -> None:
    """Build and train a model, and write all of it to a file."""
    _, build, shape, steps, lr = MODELS[name]
    torch.manual_seed(0)
    model = build(quick)
    y = torch.randint(0, CLASSES, (samples,))
    x = (
        _smooth(samples, shape(quick))
        + 0.5 * _smooth(CLASSES, shape(quick))[y]
        + 0.3 * torch.randn(samples, *shape(quick))
    )
    if samples > 4 * batch and name == "C":
        steps = min(steps, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    points: list[Tensor] = []
    for step in range(1, steps + 1):
        at = torch.arange(step * batch, (step + 1) * batch) % samples
        optimizer.zero_grad()
        F.cross_entropy(model(x[at]), y[at]).backward()
        optimizer.step()
        left = steps - step
        if name == "A" and left % APART == 0 and left < READINGS * APART:
            points.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())
    run = torch.stack(points) if points else torch.empty(0)
    torch.save({"name": name, "quick": quick, "weights": model.state_dict(), "inputs": x, "targets": y,
                "batch": batch, "run": run}, path)  # fmt: skip


def _smooth(count: int, shape: tuple[int, ...]) -> Tensor:
    """Noise with the long correlations of pictures, of variance 1: without them a spectrum has no outliers."""
    side = shape[-1] if len(shape) == 3 else math.isqrt(shape[0])
    coarse = torch.randn(count, shape[0] if len(shape) == 3 else 1, max(2, side // 4), max(2, side // 4))
    fine = F.interpolate(coarse, size=(side, side), mode="bilinear")
    return (fine / fine.std()).reshape(count, *shape)


def load(path: str | Path) -> Problem:
    """Read what `make` wrote."""
    held: dict[str, Any] = torch.load(path, weights_only=True)
    model = MODELS[held["name"]][1](held["quick"])
    model.load_state_dict(held["weights"])
    return Problem(held["name"], model.eval(), held["inputs"], held["targets"], held["batch"], held["run"])


def tiny() -> Problem:
    """A network of a few weights, to warm up on."""
    torch.manual_seed(0)
    model = mlp(4, 4, nn.ReLU)
    return Problem("R", model.eval(), torch.randn(32, 4), torch.arange(32) % CLASSES, 16, torch.empty(0))


def probe(size: int, seed: int) -> Tensor:
    """A fixed vector of length 1, the same in every process."""
    v = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(v, dim=0)


def sketch(product: Tensor) -> list[float]:
    """Eight numbers that tell one product from another."""
    return [float(probe(len(product), 100 + i) @ product.double()) for i in range(8)]
