"""Large-scale structure of loss landscapes: wedges (Fort & Jastrzebski 2019, arXiv 1906.04724).

A toy whose set of low loss is a union of long thin cuboids, with laws for what random planes, lines, tunnels and
connectors find in it, and the same looked for in networks: see `docs/wedges-study.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from landform.engine import Unit
from landform.studies._claim import Claim
from landform.studies._emergent_protocol import Subject
from landform.studies._parts import Asked, Made, conduct
from landform.studies._wedges_claims import claims_of_wedges
from landform.studies._wedges_nets import cycles, optima, planes, tunnels
from landform.studies._wedges_protocol import WedgesProtocol
from landform.studies._wedges_toy import toy
from landform.training import Recipe

NAME = "wedges"
QUESTION = "is the set of low loss made of long thin wedges that meet? (Fort & Jastrzebski 2019)"
SCHEMA = 1

_MLP = {"width": 48, "depth": 2}
_FREE = Recipe(epochs=20, batch_size=64, lr=0.1, momentum=0.0)
_PLANE = Recipe(epochs=30, batch_size=100, optimizer="adam", lr=0.05, schedule="cosine")
_PLAIN_KNOBS = {
    "learning rate": (0.02, 0.1, 0.4),
    "L2": (0.0, 1e-3, 5e-3),
    "batch size": (256, 64, 16),
    "dropout": (0.0, 0.2, 0.4),
    "width": (16.0, 48.0, 144.0),
}

SCALES: Mapping[str, WedgesProtocol] = {
    "small": WedgesProtocol(
        subject=Subject("digits", "mlp", {"flat": False}, _MLP, samples=500),
        recipe=_FREE,
        plane_recipe=_PLANE,
        knobs=_PLAIN_KNOBS,
    ),
    # Seconds: shows what the page looks like, and proves nothing.
    "tiny": WedgesProtocol(
        subject=Subject("digits", "mlp", {"flat": False, "per_class": 12}, {"width": 12, "depth": 2}, samples=100),
        recipe=replace(_FREE, epochs=12.0, batch_size=20),
        plane_recipe=replace(_PLANE, epochs=5.0, batch_size=40),
        knobs={"learning rate": (0.1, 0.3), "width": (8.0, 16.0)},
        optima=3,
        connected=(2, 3),
        steps=20,
        threshold=2.0,
        lines=2,
        cycle_lrs=(0.05, 0.5),
        cycles=2,
        period=2.0,
        dimensions=(10, 100),
        big=100,
        shorts=(20,),
        wedges=4,
        seeds=2,
    ),
    "medium": WedgesProtocol(
        subject=Subject("cifar10", "small_cnn", {"per_class": 300}, {"width": 16}, samples=1000),
        recipe=Recipe(epochs=25, batch_size=64, lr=0.05, momentum=0.9),
        plane_recipe=replace(_PLANE, epochs=10.0, batch_size=125, lr=0.02),
        knobs={
            "learning rate": (0.01, 0.03, 0.08),
            "L2": (0.0, 1e-3, 4e-3),
            "batch size": (256, 64, 16),
            "width": (8.0, 16.0, 32.0),
        },
        threshold=2.0,
        cycle_lrs=(0.005, 0.02, 0.05, 0.15),
        period=3.0,
        dimensions=(30, 100, 300, 1000),
        shorts=(50, 200, 500),
        seeds=3,
    ),
}


def wedges_study(out: str | Path, **asked: Unpack[Asked[WedgesProtocol]]) -> list[Claim]:
    """Simulate the toy, train, measure, and hold the claims against the numbers; goes on where it was stopped.

    The scales are ``"small"`` (digits, minutes), ``"medium"`` (CIFAR-10, less than an hour), or ``"tiny"``, to see
    in seconds what comes out.

    Args:
        out: folder for the results, ``claims.json`` and the report.
        **asked: ``scale``, ``seeds`` and whatever else `Asked` tells of.

    Returns:
        The claims.

    Raises:
        BadInput: when something given does not fit, or another study lies in the folder.
    """
    return conduct(WEDGES, out, **asked)


def _wanted(protocol: WedgesProtocol, folder: Path, device: str) -> list[Unit]:
    parts = {"tunnels": tunnels, "optima": optima, "cycles": cycles, "planes": planes, "toy": toy}
    found = []
    for seed in range(protocol.seeds):
        for kind, function in parts.items():
            name = f"{kind}-{seed}"
            arguments = {"folder": folder, "protocol": protocol, "device": device, "name": name, "seed": seed}
            found.append(Unit(name, function, arguments))
    return found


def _sentence(chosen: WedgesProtocol) -> str:
    chosen.subject.dataset()
    return f"Wedges in the toy, and tunnels and connectors of networks, {chosen.seeds} seeds"


# It finds parts of the kinds ``toy``, ``optima``, ``tunnels``, ``cycles`` and ``planes``, one for each seed.
WEDGES = Made(NAME, SCHEMA, SCALES, WedgesProtocol.from_json, _sentence, _wanted, claims_of_wedges)
