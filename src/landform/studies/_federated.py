"""Federated averaging in the kernel regime (Huang, Li, Song & Yang 2021, arXiv 2105.05001).

Two-layer networks beside the operator of their kernel and the theorem's bounds, and networks of the zoo with local
steps, clients and divisions: see `docs/federated-study.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

from landform.engine import Unit
from landform.studies._claim import Claim
from landform.studies._emergent_protocol import Subject
from landform.studies._federated_claims import claims_of_federated
from landform.studies._federated_kernel import gap, lazy, scaling
from landform.studies._federated_protocol import FederatedProtocol
from landform.studies._federated_zoo import zoo
from landform.studies._parts import Asked, Made, conduct
from landform.training import Recipe

NAME = "federated-kernel"
QUESTION = "does the kernel tell how fast federated averaging converges? (Huang et al. 2021)"
SCHEMA = 1

_RECIPE = Recipe(batch_size=32, lr=0.1, momentum=0.0)

SCALES: Mapping[str, FederatedProtocol] = {
    "small": FederatedProtocol(
        zoo={
            "mlp": Subject("digits", "mlp", {"flat": True}, {"width": 32, "depth": 2}, samples=400),
            "cnn": Subject("digits", "small_cnn", {"flat": False}, {"width": 4}, samples=400),
        },
        zoo_recipe=_RECIPE,
        levels={"mlp": 0.5, "cnn": 1.0},
    ),
    # Seconds: shows what the page looks like, and proves nothing.
    "tiny": FederatedProtocol(
        zoo={"mlp": Subject("digits", "mlp", {"flat": True, "per_class": 20}, {"width": 12, "depth": 1}, samples=100)},
        zoo_recipe=Recipe(batch_size=10, lr=0.1, momentum=0.0),
        levels={"mlp": 1.5},
        rounds=12,
        steps=(1, 3),
        widths=(128, 512),
        scaled_steps=(1, 3, 6),
        scaled_clients=(2, 4),
        scaled_width=128,
        share=0.5,
        gap_samples=40,
        gap_noise=(0.0, 1.0),
        gap_width=128,
        gap_rounds=10,
        zoo_steps=(1, 4),
        zoo_clients=(2, 4),
        zoo_budget=24,
        zoo_least=6,
        seeds=2,
    ),
    "medium": FederatedProtocol(
        zoo={"cnn": Subject("cifar10", "small_cnn", {"per_class": 400}, {"width": 16}, samples=500)},
        zoo_recipe=_RECIPE,
        levels={"cnn": 1.8},
        widths=(512, 2048, 8192, 32768),
        gap_width=2048,
        gap_samples=400,
        zoo_clients=(4, 10),
        zoo_budget=400,
        zoo_least=30,
    ),
}


def federated_study(out: str | Path, **asked: Unpack[Asked[FederatedProtocol]]) -> list[Claim]:
    """Train, predict, and hold the claims against the numbers; goes on where it was stopped.

    The scales are ``"small"`` (digits, minutes), ``"medium"`` (CIFAR-10 and wider networks, less than an hour), or
    ``"tiny"``, to see in seconds what comes out.

    Args:
        out: folder for the results, ``claims.json`` and the report.
        **asked: ``scale``, ``seeds`` and whatever else `Asked` tells of.

    Returns:
        The claims.

    Raises:
        BadInput: when something given does not fit, or another study lies in the folder.
    """
    return conduct(FEDERATED, out, **asked)


def _wanted(protocol: FederatedProtocol, folder: Path, device: str) -> list[Unit]:
    found = []
    for seed in range(protocol.seeds):
        usual = {"folder": folder, "protocol": protocol, "device": device, "seed": seed}
        for subject in protocol.zoo:
            name = f"zoo-{subject}-{seed}"
            found.append(Unit(name, zoo, {**usual, "name": name, "subject": subject}))
        for function in (lazy, scaling, gap):
            name = f"{function.__name__}-{seed}"
            found.append(Unit(name, function, {**usual, "name": name}))
    return found


def _sentence(chosen: FederatedProtocol) -> str:
    for subject in chosen.zoo.values():
        subject.dataset()
    return f"Federated averaging beside its kernel, and in the zoo, {chosen.seeds} seeds"


# It finds parts of the kinds ``lazy``, ``scaling``, ``gap`` and ``zoo``, one for each subject and seed.
FEDERATED = Made(NAME, SCHEMA, SCALES, FederatedProtocol.from_json, _sentence, _wanted, claims_of_federated)
