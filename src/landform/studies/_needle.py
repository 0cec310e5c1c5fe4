"""Finding the needle in the haystack with convolutions (d'Ascoli, Sagun, Biroli & Bruna 2019, arXiv 1906.06766).

A convolutional network is trained for a while, written out as a fully-connected one, and trained on without its bias:
see `docs/needle-study.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from landform import models
from landform.engine import Unit
from landform.studies._claim import Claim
from landform.studies._emergent_protocol import Subject
from landform.studies._needle_claims import claims_of_needle
from landform.studies._needle_measure import relaxed
from landform.studies._needle_protocol import NeedleProtocol
from landform.studies._parts import Asked, Made, conduct
from landform.training import Recipe

NAME = "needle"
QUESTION = "does a convolutional network become better when it is freed of convolution? (d'Ascoli et al. 2019)"
SCHEMA = 1

_NET = {"width": [12, 12], "head": "flatten", "init": "torch"}
# The paper's: plain descent at a constant rate, without augmentation.
_PLAIN = Recipe(batch_size=50, lr=0.1, momentum=0.0)
_RELAX = (0.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 120.0)

SCALES: Mapping[str, NeedleProtocol] = {
    "small": NeedleProtocol(
        subject=Subject("moved_digits", "small_cnn", {"train_size": 1000, "test_size": 1500, "canvas": 12},
                        {**_NET, "width": [8, 8], "downsample": "max"}, samples=500),
        recipe=_PLAIN,
        relax=_RELAX,
        after=60.0,
        every=5.0,
        held="test",
    ),
    # Seconds: shows what the page looks like, and proves nothing.
    "tiny": NeedleProtocol(
        subject=Subject("moved_digits", "small_cnn", {"train_size": 200, "test_size": 300, "canvas": 9},
                        {**_NET, "width": [4, 4]}, samples=60),
        recipe=replace(_PLAIN, batch_size=20),
        relax=(0.0, 2.0, 4.0, 8.0),
        after=4.0,
        every=2.0,
        train=200,
        validation=100,
        test=200,
        held="test",
        alphas=5,
        seeds=2,
    ),
    "medium": NeedleProtocol(
        subject=Subject("cifar10", "small_cnn", {"per_class": 500}, _NET, samples=1000),
        recipe=replace(_PLAIN, batch_size=250),
        relax=_RELAX,
        after=100.0,
        every=5.0,
        pooled=2,
        train=4000,
        validation=1000,
        test=4000,
    ),
}  # fmt: skip


def needle_study(out: str | Path, **asked: Unpack[Asked[NeedleProtocol]]) -> list[Claim]:
    """Train, free, train on, and hold the claims against the numbers; goes on where it was stopped.

    The scales are ``"small"`` (digits somewhere on a canvas, minutes), ``"medium"`` (CIFAR-10 at 16 x 16, less than
    an hour), or ``"tiny"``, to see in seconds what comes out.

    Args:
        out: folder for the results, ``claims.json`` and the report.
        **asked: ``scale``, ``seeds`` and whatever else `Asked` tells of.

    Returns:
        The claims.

    Raises:
        BadInput: when something given does not fit, or another study lies in the folder.
    """
    return conduct(NEEDLE, out, **asked)


def _wanted(protocol: NeedleProtocol, folder: Path, device: str) -> list[Unit]:
    shared = {"folder": folder, "protocol": protocol, "device": device}
    names = [f"relaxed-{seed}" for seed in range(protocol.seeds)]
    return [Unit(name, relaxed, {**shared, "name": name, "seed": seed}) for seed, name in enumerate(names)]


def _sentence(chosen: NeedleProtocol) -> str:
    data, _ = chosen.load()
    size = models.freed_size(chosen.subject.net(data, 0), tuple(data.train.inputs.shape[1:]))
    return f"A convolutional network freed at {len(chosen.relax)} times ({size})"


# It finds parts of the kind ``relaxed``, one for each seed.
NEEDLE = Made(NAME, SCHEMA, SCALES, NeedleProtocol.from_json, _sentence, _wanted, claims_of_needle)
