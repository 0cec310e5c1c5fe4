"""Quantum networks over patches of an image (Kawase 2025, arXiv 2504.19239): how sharp, and by what.

Networks of several depths, numbers of patches and aggregations are trained, beside classical ones of as many
parameters; random circuits tell where gradients vanish: see `docs/quantum-study.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from landform.engine import Unit
from landform.errors import BadInput
from landform.studies._claim import Claim
from landform.studies._parts import Asked, Made, conduct
from landform.studies._quantum_claims import claims_of_quantum
from landform.studies._quantum_measure import between, network, plateau
from landform.studies._quantum_protocol import QuantumProtocol
from landform.training import Recipe

NAME = "quantum-patches"
QUESTION = "how sharp are the minima of quantum networks over patches, and what makes them so? (Kawase 2025)"
SCHEMA = 1

_SMALL = QuantumProtocol(
    data="digits",
    data_options={"flat": False},
    classes=8,
    model_options={"qubits": 4, "patch": 4, "scale": 25.0},
    recipe=Recipe(epochs=50, batch_size=64, optimizer="adam", lr=1e-2),
    depth=3,
    patches=(1, 4, 9, 25),
    depths=(1, 3, 6),
    falling=(1e-2, 5e-3, 2.5e-3),
)
_MEDIUM = replace(
    _SMALL,
    classes=10,
    # Patches as on the paper's images, which are 14 x 14 once pooled.
    side=14,
    data_options={"flat": False, "per_class": 100},
    model_options={"qubits": 8, "patch": 8, "scale": 100.0},
    recipe=Recipe(epochs=15, batch_size=50, optimizer="adam", lr=1e-2),
    depth=5,
    patches=(4, 9, 16),
    depths=(5, 10),
    falling=(1e-2, 5e-3),
    summed=(4, 9),
    closely=3,
    products=40,
    steps=9,
    layers=(1, 4, 16, 40),
    draws=400,
)

SCALES: Mapping[str, QuantumProtocol] = {
    "small": _SMALL,
    # Seconds: shows what the page looks like, and proves nothing.
    "tiny": replace(
        _SMALL,
        classes=3,
        data_options={"flat": False, "per_class": 12},
        model_options={"qubits": 2, "patch": 4, "scale": 10.0},
        recipe=replace(_SMALL.recipe, epochs=3.0, batch_size=18),
        depth=1,
        patches=(4, 9),
        depths=(1, 2),
        falling=(1e-2, 5e-3),
        summed=(4, 9),
        controlled=(4, 9),
        closely=2,
        products=8,
        steps=5,
        kernel=12,
        qubits=(2, 3, 4),
        layers=(1, 2),
        draws=25,
        seeds=2,
    ),
    "medium": _MEDIUM,
    # As the paper: for a GPU. Images of 28 x 28 are pooled to 14 x 14.
    "paper": replace(
        _MEDIUM,
        data="mnist",
        side=0,
        data_options={},
        model_options={"qubits": 8, "patch": 8, "scale": 100.0, "pool": 2},
        recipe=Recipe(epochs=50, batch_size=1000, optimizer="adam", lr=1e-2, weight_decay=5e-5),
        depth=50,
        depths=(50, 100, 150, 200),
        falling=(1e-2, 5e-3, 2.5e-3, 1e-3),
        summed=(4, 9, 16),
        controlled=(4, 9, 16),
        closely=50,
        products=100,
        steps=20,
        kernel=256,
        draws=2500,
    ),
}


def quantum_study(out: str | Path, **asked: Unpack[Asked[QuantumProtocol]]) -> list[Claim]:
    """Train, measure, and hold the claims against the numbers; goes on where it was stopped.

    The scales are ``"small"`` (4 qubits on digits, minutes), ``"medium"`` (8 qubits, less than an hour; on MNIST
    where ``$LANDFORM_DATA`` has it, else on digits of 14 x 14), ``"paper"`` (MNIST, a GPU), or ``"tiny"``, to see
    in seconds what comes out.

    Args:
        out: folder for the results, ``claims.json`` and the report.
        **asked: ``scale``, ``seeds`` and whatever else `Asked` tells of.

    Returns:
        The claims.

    Raises:
        BadInput: when something given does not fit, or another study lies in the folder.
    """
    made = QUANTUM
    if asked.get("scale") == "medium":
        made = replace(QUANTUM, scales={**SCALES, "medium": _with_mnist(SCALES["medium"])})
    return conduct(made, out, **asked)


def _with_mnist(protocol: QuantumProtocol) -> QuantumProtocol:
    """The same on 2,000 images of MNIST, where they are to be found."""
    theirs = replace(
        protocol,
        data="mnist",
        side=0,
        data_options={"per_class": 200},
        model_options={**protocol.model_options, "pool": 2},
        recipe=replace(protocol.recipe, batch_size=100),
    )
    try:
        theirs.dataset()
    except BadInput:
        return protocol
    return theirs


def _wanted(protocol: QuantumProtocol, folder: Path, device: str) -> list[Unit]:
    """The parts that depend on no other, the longest first."""
    shared = {"folder": folder, "protocol": protocol, "device": device}
    found: list[Unit] = []
    for variant in protocol.variants():
        for seed in range(protocol.seeds):
            name = f"{variant.name}-{seed}"
            found.append(Unit(name, network, {**shared, "name": name, "variant": variant, "seed": seed}))
    names = [f"plateau-{seed}" for seed in range(protocol.seeds)]
    return found + [Unit(name, plateau, {**shared, "name": name, "seed": seed}) for seed, name in enumerate(names)]


def _lines(protocol: QuantumProtocol, folder: Path, device: str) -> list[Unit]:
    """Lines between networks: two seeds have one between them, three have three."""
    found = []
    for seed in range(protocol.seeds if protocol.seeds > 2 else protocol.seeds - 1):
        other = (seed + 1) % protocol.seeds
        name = f"barrier-{seed}-{other}"
        shared = {"folder": folder, "protocol": protocol, "device": device, "name": name}
        found.append(Unit(name, between, {**shared, "seed": seed, "other": other}))
    return found


def _sentence(chosen: QuantumProtocol) -> str:
    data = chosen.dataset()
    return (
        f"Training quantum networks over {', '.join(map(str, chosen.patches))} patches and classical ones with "
        f"{chosen.seeds} seeds on {data.name}, and drawing random circuits"
    )


# It finds parts of the kinds ``network``, ``barrier`` and ``plateau``, one for each variant and seed.
QUANTUM = Made(NAME, SCHEMA, SCALES, QuantumProtocol.from_json, _sentence, _wanted, claims_of_quantum, later=_lines)
