"""The recurrent neural tangent kernel (Alemohammad et al. 2021, arXiv 2006.10246).

Time series classified by it and by other kernels under one protocol, sequences that tell what it sees, the weight of
every time step, and networks drawn to see it converge: see `docs/recurrent-study.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from landform.engine import Unit
from landform.errors import BadInput
from landform.studies._claim import Claim
from landform.studies._loaded import loaded
from landform.studies._parts import Asked, Made, conduct
from landform.studies._recurrent_claims import claims_of_recurrent
from landform.studies._recurrent_measure import compare, drawn, made, weights
from landform.studies._recurrent_protocol import RecurrentProtocol

NAME = "recurrent-kernel"
QUESTION = "does a kernel of recurrent networks tell time series apart better than others? (Alemohammad et al. 2021)"
SCHEMA = 1

_SETS = ("ItalyPowerDemand", "GunPoint", "ArrowHead", "JapaneseVowels", "PickupGestureWiimoteZ")
_SMALL = RecurrentProtocol(sets=_SETS, sigma_h=(0.0,), gru_epochs=100.0)

SCALES: Mapping[str, RecurrentProtocol] = {
    "small": _SMALL,
    # Seconds: shows what the page looks like, and proves nothing.
    "tiny": replace(
        _SMALL,
        sets=(),
        folds=3,
        penalties=(0.1, 10.0),
        sigma_w=(1.4142,),
        sigma_b=(0.0, 0.2),
        lengths=16,
        spreads=(0.0, 0.4),
        samples=24,
        informative=3,
        watched=(1.0, 1.4142, 2.0),
        watched_length=9,
        sequences=4,
        widths=(8, 32),
        draws=(400, 200),
        seeds=2,
    ),
    # The paper's protocol (ten folds, its penalties, kernels from its ranges) on the sets that are there.
    "medium": RecurrentProtocol(sets=_SETS, gru_epochs=250.0, samples=200, draws=(20_000, 6_000), seeds=5),
}


def recurrent_study(out: str | Path, **asked: Unpack[Asked[RecurrentProtocol]]) -> list[Claim]:
    """Classify, measure, draw, and hold the claims against the numbers; goes on where it was stopped.

    The scales are ``"small"`` (minutes), ``"medium"`` (less than an hour, the paper's protocol), or ``"tiny"``, to
    see in seconds what comes out. Sets of time series that ``$LANDFORM_DATA`` does not have are left out.

    Args:
        out: folder for the results, ``claims.json`` and the report.
        **asked: ``scale``, ``seeds`` and whatever else `Asked` tells of.

    Returns:
        The claims.

    Raises:
        BadInput: when something given does not fit, or another study lies in the folder.
    """
    return conduct(RECURRENT, out, **asked)


def _there(name: str) -> bool:
    try:
        loaded(f"time_series:{name}", {})
    except BadInput:
        return False
    return True


def _wanted(protocol: RecurrentProtocol, folder: Path, device: str) -> list[Unit]:
    sets = [name for name in protocol.sets if _there(name)]
    parts: list[tuple[str, str, Callable[..., None]]] = [("set", name, compare) for name in sets]
    parts += [("made", "early", made), ("made", "late", made), ("drawn", "", drawn), ("weights", "", weights)]
    found = []
    for seed in range(protocol.seeds):
        for kind, subject, function in parts:
            name = "-".join(word for word in (kind, subject, str(seed)) if word)
            arguments = {"folder": folder, "protocol": protocol, "device": device, "name": name}
            found.append(Unit(name, function, {**arguments, "subject": subject, "seed": seed}))
    return found


def _sentence(chosen: RecurrentProtocol) -> str:
    there = [each for each in chosen.sets if _there(each)]
    lacking = [each for each in chosen.sets if each not in there]
    missing = f" ({', '.join(lacking)} not found in $LANDFORM_DATA)" if lacking else ""
    return f"Kernels on {', '.join(there) or 'no time series'}{missing} and on made sequences, {chosen.seeds} seeds"


# It finds parts of the kinds ``set``, ``made``, ``weights`` and ``drawn``, one for each subject and seed.
RECURRENT = Made(NAME, SCHEMA, SCALES, RecurrentProtocol.from_json, _sentence, _wanted, claims_of_recurrent)
