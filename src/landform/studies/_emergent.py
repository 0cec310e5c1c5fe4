"""Emergent properties of the local geometry of loss landscapes (Fort & Ganguli 2019, arXiv 1910.05929).

Networks are followed along their training, descended upon at the edge of stability, drawn at random radii, and trained
in random planes; a model without a network stands beside them: see `docs/emergent-geometry.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from landform.engine import Unit
from landform.studies._claim import Claim
from landform.studies._emergent_along import follow, grid
from landform.studies._emergent_claims import claims_of_emergent
from landform.studies._emergent_edge import edge
from landform.studies._emergent_protocol import EmergentProtocol, Subject
from landform.studies._emergent_random import planes, random_model, zone
from landform.studies._parts import Asked, Made, conduct
from landform.training import Recipe

NAME = "emergent-geometry"
QUESTION = "what does a landscape look like around the points that training visits? (Fort & Ganguli 2019)"
SCHEMA = 1

_MLP = {"width": 50, "depth": 2, "bias": False}
_DIGITS = {"flat": False}
_CLUSTERS = {"classes": 10, "features": 64, "train_size": 1000, "test_size": 1000}
_FREE = Recipe(epochs=60, batch_size=64, momentum=0.0)
_PLANE = Recipe(epochs=30, batch_size=100, optimizer="adam", lr=0.05, schedule="cosine")

SCALES: Mapping[str, EmergentProtocol] = {
    "small": EmergentProtocol(
        subjects={
            "clusters": Subject("clusters", "mlp", _CLUSTERS, _MLP),
            "mlp": Subject("digits", "mlp", _DIGITS, _MLP),
            "tanh": Subject("digits", "mlp", _DIGITS, {**_MLP, "activation": "tanh"}),
            "cnn": Subject("digits", "small_cnn", _DIGITS, {"width": (8, 16, 16)}, looks=6),
        },
        recipe=_FREE,
        grid_on=("clusters", "mlp"),
        planes_on="mlp",
        edge_on="tanh",
        plane_recipe=_PLANE,
    ),
    # Seconds: shows what the page looks like, and proves nothing.
    "tiny": EmergentProtocol(
        subjects={
            "mlp": Subject(
                "digits", "mlp", {"flat": False, "per_class": 12}, {"width": 12, "depth": 2, "bias": False}, 100, 3
            ),
            "tanh": Subject(
                "digits", "mlp", {"flat": False, "per_class": 12},
                {"width": 12, "depth": 2, "bias": False, "activation": "tanh"}, 100, 3,
            ),
        },
        recipe=replace(_FREE, epochs=5.0, batch_size=20),
        grid_on=("mlp",),
        planes_on="mlp",
        edge_on="tanh",
        plane_recipe=replace(_PLANE, epochs=5.0, batch_size=40),
        batches=(20, 0),
        rates=(0.1, 0.9),
        grid_steps=40,
        minis=2,
        modelled=30,
        radii=(0.1, 1.0, 5.0),
        draws=1,
        dimensions=(3, 30),
        plane_radii=(1.0, 2.5),
        burn_in=(4,),
        edge_rates=(0.3, 1.5),
        edge_steps=60,
        seeds=2,
    ),
    "medium": EmergentProtocol(
        subjects={
            "mlp": Subject("cifar10", "mlp", {"per_class": 500}, {"width": 64, "depth": 3}, looks=6),
            "tanh": Subject(
                "cifar10", "mlp", {"per_class": 500}, {"width": 64, "depth": 3, "activation": "tanh"}, looks=6
            ),
            "cnn": Subject("cifar10", "small_cnn", {"per_class": 500}, {"width": (16, 32, 32)}, looks=6),
            "resnet": Subject(
                "cifar10", "resnet20", {"per_class": 500}, {"width": 4, "norm": "group"}, samples=150, looks=4
            ),
        },
        recipe=replace(_FREE, epochs=12.0, batch_size=64),
        grid_on=("mlp",),
        planes_on="cnn",
        edge_on="tanh",
        plane_recipe=replace(_PLANE, epochs=8.0, batch_size=125, lr=0.02),
        grid_steps=300,
        draws=1,
        modelled=150,
        radii=(0.1, 0.3, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0),
        dimensions=(10, 100, 300, 1000),
        burn_in=(20, 80),
        edge_steps=600,
        seeds=3,
    ),
}  # fmt: skip
# As the paper: for one large GPU, or a cluster.
SCALES = {
    **SCALES,
    "paper": replace(
        SCALES["medium"],
        subjects={
            name: replace(
                subject,
                data_options={},
                model_options={**subject.model_options, "width": width},
                samples=5000,
                looks=16,
            )
            for (name, subject), width in zip(
                SCALES["medium"].subjects.items(), (256, 256, (32, 64, 64), 16), strict=True
            )
        },
        recipe=replace(_FREE, epochs=60.0, batch_size=128),
        plane_recipe=replace(_PLANE, epochs=30.0, batch_size=128, lr=0.02),
        draws=10,
        radii=SCALES["small"].radii,
        seeds=5,
    ),
}


def emergent_geometry(out: str | Path, **asked: Unpack[Asked[EmergentProtocol]]) -> list[Claim]:
    """Train, measure, and hold the claims against the numbers; goes on where it was stopped.

    The scales are ``"small"`` (digits, minutes), ``"medium"`` (CIFAR-10, less than an hour), ``"paper"`` (a GPU),
    or ``"tiny"``, to see in seconds what comes out.

    Args:
        out: folder for the results, ``claims.json`` and the report.
        **asked: ``scale``, ``seeds`` and whatever else `Asked` tells of.

    Returns:
        The claims.

    Raises:
        BadInput: when something given does not fit, or another study lies in the folder.
    """
    return conduct(EMERGENT, out, **asked)


def _wanted(protocol: EmergentProtocol, folder: Path, device: str) -> list[Unit]:
    """The parts, the longest first, so that processes end together."""
    found: list[Unit] = []
    for seed in range(protocol.seeds):
        parts: list[tuple[str, str, Callable[..., None]]] = [("planes", protocol.planes_on, planes)]
        parts += [("along", subject, follow) for subject in protocol.subjects]
        parts += [("edge", protocol.edge_on, edge)]
        parts += [("grid", subject, grid) for subject in protocol.grid_on]
        parts += [("zone", subject, zone) for subject in protocol.subjects]
        parts += [("model", "", random_model)]
        for kind, subject, function in parts:
            name = "-".join(word for word in (kind, subject.replace(" ", "_"), str(seed)) if word)
            arguments = {"folder": folder, "protocol": protocol, "device": device, "name": name}
            found.append(Unit(name, function, {**arguments, "subject": subject, "seed": seed}))
    return found


def _sentence(chosen: EmergentProtocol) -> str:
    for subject in chosen.subjects.values():
        subject.dataset()
    return (
        f"Following {', '.join(chosen.subjects)} with {chosen.seeds} seeds, at the edge of stability, at random radii "
        "and in random planes"
    )


# It finds parts of the kinds ``along``, ``grid``, ``zone``, ``planes``, ``edge`` and ``model``, one for each subject
# and seed.
EMERGENT = Made(NAME, SCHEMA, SCALES, EmergentProtocol.from_json, _sentence, _wanted, claims_of_emergent)
