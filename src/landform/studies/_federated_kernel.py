"""Two-layer networks under federated averaging beside what their kernel predicts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landform.data import Dataset, partition
from landform.errors import BadInput
from landform.studies._emergent_protocol import finite
from landform.studies._federated_protocol import FederatedProtocol, averaged, reached, summed, two_layer
from landform.studies._loaded import loaded
from landform.studies._parts import write_part
from landform.theory import federated as theory
from landform.training import Federated, Federation, LocalMoment, Recipe, federated

# Rounds in which the clients' kernels are looked at.
_LOOKS = (0, 1, 2, 5, 10, 20, 40)


@dataclass(frozen=True)
class Setting:
    """Samples divided among clients, and the kernel that an infinitely wide network has on them.

    Attributes:
        x: inputs, ``[n, d]``.
        y: targets, ``[n, 1]``.
        places: of each client's samples.
        limit: H-infinity, ``[n, n]``.
    """

    x: Tensor
    y: Tensor
    places: tuple[Tensor, ...]
    limit: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, clients: int, division: Literal["iid", "labels"], seed: int) -> Setting:
        """Divide samples."""
        return cls(x, y, partition(y, clients, division, seed=seed), theory.limit_gram(x.double()))

    @property
    def least(self) -> float:
        """The smallest eigenvalue of H-infinity."""
        return float(torch.linalg.eigvalsh(self.limit)[0])

    def start(self, net: nn.Module) -> Tensor:
        """Residuals of a network, ``[n]``."""
        with torch.no_grad():
            found: Tensor = net(self.x) - self.y
        return found[:, 0].double()

    def train(
        self,
        net: nn.Module,
        rate: float,
        steps: int,
        rounds: int,
        device: str,
        *,
        mean: bool = False,
        watch: Callable[[LocalMoment], object] | None = None,
    ) -> Federated:
        """Train a network by full batches, with equal clients."""
        return federated(
            net,
            (self.x, self.y),
            Federation(len(self.places), steps, rounds, weighting="equal"),
            Recipe(batch_size=len(self.x), lr=rate, momentum=0.0),
            clients=self.places,
            loss=averaged if mean else summed,
            device=device,
            how="stack" if len(self.places) > 1 else "loop",
            watch=watch,
        )


def lazy(folder: Path, protocol: FederatedProtocol, device: str, name: str, seed: int) -> None:
    """Train in the notes' setting, and hold the curves against the kernel's.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to train.
        name: of the part.
        seed: of samples and weights.
    """
    setting = Setting.of(*protocol.drawn(seed), protocol.clients, "labels", seed)
    values = torch.linalg.eigvalsh(setting.limit)
    cells = itertools.product(protocol.widths, protocol.steps)
    runs = [_held(protocol, setting, device, width, steps, seed) for width, steps in cells]
    told = {
        "kind": "lazy",
        "subject": "",
        "seed": seed,
        "least": float(values[0]),
        "condition": float(values[-1] / values[0]),
        "spectrum": values.tolist(),
        "runs": runs,
    }
    write_part(folder, name, told)


def _held(
    protocol: FederatedProtocol, setting: Setting, device: str, width: int, steps: int, seed: int
) -> dict[str, Any]:
    """A run, what it was predicted to be, and how far its kernel is from symmetric."""
    net = two_layer(protocol.inputs, width, seed)
    begun = net[0].weight.detach().clone()  # type: ignore[operator]
    start = setting.start(net)
    apart: dict[int, float] = {}
    last: dict[str, Any] = {}

    def watch(moment: LocalMoment) -> None:
        if moment.step != steps - 1 or moment.round not in _LOOKS:
            return
        x, server = setting.x.double(), moment.server.cpu().double().view(width, -1)
        whole = torch.empty_like(setting.limit)
        for client, point in zip(moment.members, moment.points.cpu().double(), strict=True):
            at = setting.places[client]
            whole[:, at] = theory.gram(x, server, point.view(width, -1), x[at])
        blocks = [whole[at][:, at] for at in setting.places]
        apart[moment.round] = max(theory.asymmetry(block) for block in blocks)
        if not moment.round:
            values = torch.linalg.eigvals(whole)
            last["real"] = sorted(values.real.tolist())
            last["imaginary"] = float(values.imag.abs().max())

    found = setting.train(net, protocol.rate, steps, protocol.rounds + 1, device, watch=watch)
    observed = len(setting.places) * found.start_losses.double()  # the sum over all samples
    told: dict[str, Any] = {
        "width": width,
        "steps": steps,
        "losses": finite(observed),
        "observed": contraction(observed),
        "bound": theory.contraction_bound(
            setting.least, local_lr=protocol.rate, local_steps=steps, clients=len(setting.places)
        ),
        "asymmetry": [[number, value] for number, value in sorted(apart.items())],
        "eigenvalues": last.get("real"),
        "imaginary": last.get("imaginary"),
        "moved": float((net[0].weight.detach() - begun).norm() / begun.norm()),  # type: ignore[operator]
    }
    for key, kernel in (("limit", setting.limit), ("own", theory.gram(setting.x.double(), begun.double()))):
        rounds = theory.lazy_rounds(kernel, setting.places, local_lr=protocol.rate, local_steps=steps)
        curve = rounds.losses(start, protocol.rounds)
        told[key] = {"losses": finite(curve), "contraction": contraction(curve), "radius": rounds.radius**2}
    return told


def contraction(losses: Tensor) -> float | None:
    """Mean factor of a curve of losses from one place to the next, None where there is none.

    Args:
        losses: ``[rounds + 1]``.

    Returns:
        The factor.
    """
    if not bool(losses.isfinite().all()) or float(losses[-1]) <= 0:
        return None
    return math.exp(math.log(float(losses[-1] / losses[0])) / (len(losses) - 1))


def scaling(folder: Path, protocol: FederatedProtocol, device: str, name: str, seed: int) -> None:
    """Rounds to a share of the loss by local steps, clients and division, trained and predicted.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to train.
        name: of the part.
        seed: of samples and weights.
    """
    x, y = protocol.drawn(seed)
    cells = []
    divisions: tuple[Literal["iid", "labels"], ...] = ("iid", "labels")
    middle = protocol.scaled_steps[len(protocol.scaled_steps) // 2]
    for division in divisions:
        for clients in protocol.scaled_clients:
            setting = Setting.of(x, y, clients, division, seed)
            wanted = [*((steps, False) for steps in protocol.scaled_steps), (middle, True)]
            cells += [_reaching(protocol, setting, device, steps, seed, division, mean) for steps, mean in wanted]
    write_part(folder, name, {"kind": "scaling", "subject": "", "seed": seed, "cells": cells})


def _reaching(
    protocol: FederatedProtocol, setting: Setting, device: str, steps: int, seed: int, division: str, mean: bool
) -> dict[str, Any]:
    net = two_layer(protocol.inputs, protocol.scaled_width, seed)
    start, clients = setting.start(net), len(setting.places)
    # With the protocol's number of clients, sums and means take the same steps.
    each = protocol.samples // clients
    rate = protocol.rate * protocol.samples / protocol.clients if mean else protocol.rate
    rounds = protocol.rounds_of(steps)
    found = setting.train(net, rate, steps, rounds, device, mean=mean)
    lazy_rate = rate / each if mean else rate
    predicted = theory.lazy_rounds(setting.limit, setting.places, local_lr=lazy_rate, local_steps=steps)
    curves = {"trained": found.start_losses.double(), "predicted": predicted.losses(start, rounds - 1)}
    return {
        "division": division,
        "clients": clients,
        "steps": steps,
        "mean": mean,
        **{key: reached(finite(curve), protocol.share * float(curve[0])) for key, curve in curves.items()},
        "spread": float(found.spread[0]),
    }


def gap(folder: Path, protocol: FederatedProtocol, device: str, name: str, seed: int) -> None:
    """The generalisation bound beside the gap, with more and more labels drawn at random.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to train.
        name: of the part.
        seed: of samples, labels and weights.
    """
    levels = []
    for noise in protocol.gap_noise:
        x, y, test_x, test_y = digits_in_two(protocol.gap_samples, noise, seed)
        setting = Setting.of(x, y, protocol.clients, "labels", seed)
        blocks = [setting.limit[at][:, at] for at in setting.places]
        rate = 1 / max(float(torch.linalg.eigvalsh(block)[-1]) for block in blocks)
        net = two_layer(x.shape[1], protocol.gap_width, seed, protocol.gap_spread)
        found = setting.train(net, rate, protocol.steps[-1], protocol.gap_rounds, device)
        with torch.no_grad():
            near, far = net(x), net(test_x)
        across = theory.limit_gram(test_x.double(), x.double())
        solved = (across @ torch.linalg.solve(setting.limit, y.double())).float()
        levels.append(
            {
                "noise": noise,
                "bound": theory.generalisation_bound(setting.limit, y),
                "train": clipped(near, y),
                "test": clipped(far, test_y),
                "error": float((far.sign() != test_y).double().mean()),
                "kernel": clipped(solved, test_y),
                "kernel_error": float((solved.sign() != test_y).double().mean()),
                "loss": float(found.start_losses[-1]) * len(setting.places) / len(x),
            }
        )
    write_part(folder, name, {"kind": "gap", "subject": "", "seed": seed, "levels": levels})


def digits_in_two(samples: int, noise: float, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Digits of unit length, those below five against the others; a share of all labels is drawn at random.

    Args:
        samples: for training.
        noise: the share.
        seed: which samples, and which labels.

    Returns:
        Inputs ``[n, 64]`` and targets ``[n, 1]`` for training, and for testing.
    """
    data: Dataset = loaded("digits", {"flat": True})
    if samples > len(data.train):
        raise BadInput(f"The digits have {len(data.train)} training samples: ask for no more.")
    made = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(data.train), generator=made)[:samples]
    found: list[Tensor] = []
    for split, rows in ((data.train, chosen), (data.test, torch.arange(len(data.test)))):
        x = split.inputs[rows].float()
        y = torch.where(split.targets[rows] < 5, -1.0, 1.0)
        drawn = torch.rand(len(y), generator=made) < noise
        signs = 2.0 * torch.randint(0, 2, (len(y),), generator=made) - 1
        found += [x / x.norm(dim=1, keepdim=True), torch.where(drawn, signs, y)[:, None]]
    return found[0], found[1], found[2], found[3]


def clipped(outputs: Tensor, targets: Tensor) -> float:
    """The theorem's kind of loss: mean distance from the target, at most 1."""
    return float((outputs - targets).abs().clamp_max(1).double().mean())


def exponent(x: Sequence[float], y: Sequence[float | None]) -> float:
    """Exponent of the power of x that comes nearest to y; nan where one is missing."""
    known = [value for value in y if value is not None and value > 0]
    if len(known) < len(y) or len(y) < 2:
        return math.nan
    a = torch.tensor(x, dtype=torch.float64).log()
    b = torch.tensor(known, dtype=torch.float64).log()
    a = a - a.mean()
    return float((a * (b - b.mean())).sum() / a.square().sum())
