"""The recurrent neural tangent kernel (Alemohammad et al. 2021, arXiv 2006.10246).

Time series classified by it and by other kernels under one protocol, sequences that tell what it sees, the weight of
every time step, and networks drawn to see it converge: see `docs/recurrent-study.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from landform import store
from landform.engine import Engine, Unit
from landform.errors import BadInput
from landform.studies._claim import Claim, write_claims
from landform.studies._loaded import loaded
from landform.studies._parts import Progress, Say, choose, keep, read_parts, run_parts
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


def recurrent_study(
    out: str | Path,
    *,
    scale: str = "small",
    seeds: int | None = None,
    protocol: RecurrentProtocol | None = None,
    device: str = "auto",
    engine: Engine | None = None,
    say: Say | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> list[Claim]:
    """Classify, measure, draw, and hold the claims against the numbers; goes on where it was stopped.

    Args:
        out: folder for the results, ``claims.json`` and the report.
        scale: ``"small"`` (minutes), ``"medium"`` (less than an hour, the paper's protocol), or ``"tiny"``, to see in
            seconds what comes out. Sets of time series that ``$LANDFORM_DATA`` does not have are left out.
        seeds: how often all of it is done; more can be asked for later.
        protocol: everything at once, in place of a scale.
        device: where GRUs are trained.
        engine: where the units of work run; here, one after the other, by default.
        say: told in a sentence what is going on.
        progress: given a title, returns what is called with (done, total).

    Returns:
        The claims.

    Raises:
        BadInput: when something given does not fit, or another study lies in the folder.
    """
    chosen, name = choose(NAME, SCALES, scale, protocol, seeds)
    folder = store.make_folder(out)
    keep(folder, {"study": NAME, "scale": name, "protocol": chosen.to_json()}, SCHEMA)
    there = [each for each in chosen.sets if _there(each)]

    def told(left: str) -> None:
        if say is not None:
            lacking = [each for each in chosen.sets if each not in there]
            missing = f" ({', '.join(lacking)} not found in $LANDFORM_DATA)" if lacking else ""
            sets = ", ".join(there) or "no time series"
            say(f"Kernels on {sets}{missing} and on made sequences, {chosen.seeds} seeds: {left} are left ...")

    bar = None if progress is None else progress("recurrent kernels")
    run_parts(folder, _wanted(chosen, there, folder, device), engine=engine, progress=bar, left=told)
    claims = claims_of_recurrent(chosen, recurrent_results(folder), name)
    write_claims(folder, claims)
    return claims


def recurrent_results(folder: str | Path) -> dict[str, list[dict[str, Any]]]:
    """What was measured.

    Args:
        folder: of the study.

    Returns:
        By kind (``"set"``, ``"made"``, ``"weights"``, ``"drawn"``), one for each subject and seed there is.
    """
    return read_parts(folder)


def recurrent_protocol_of(described: Mapping[str, Any]) -> RecurrentProtocol:
    """Read a protocol from what a study keeps of itself.

    Args:
        described: the content of its ``study.json``.

    Returns:
        The protocol.
    """
    return RecurrentProtocol.from_json(described["protocol"])


def _there(name: str) -> bool:
    try:
        loaded(f"time_series:{name}", {})
    except BadInput:
        return False
    return True


def _wanted(protocol: RecurrentProtocol, sets: list[str], folder: Path, device: str) -> list[Unit]:
    parts: list[tuple[str, str, Callable[..., None]]] = [("set", name, compare) for name in sets]
    parts += [("made", "early", made), ("made", "late", made), ("drawn", "", drawn), ("weights", "", weights)]
    found = []
    for seed in range(protocol.seeds):
        for kind, subject, function in parts:
            name = "-".join(word for word in (kind, subject, str(seed)) if word)
            arguments = {"folder": folder, "protocol": protocol, "device": device, "name": name}
            found.append(Unit(name, function, {**arguments, "subject": subject, "seed": seed}))
    return found
