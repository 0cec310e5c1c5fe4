"""What studies that are made of independent parts have in common: they are kept, gone on with, and run by an engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypedDict, TypeVar, Unpack

from landform import store
from landform.engine import Engine, Unit, run_missing
from landform.errors import BadInput
from landform.studies._claim import Claim, write_claims


class Kept(Protocol):
    """A protocol of a study: a dataclass that says itself in plain JSON."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def to_json(self) -> dict[str, Any]: ...


P = TypeVar("P", bound=Kept)

STUDY, RESULTS = "study.json", "results"
Say: TypeAlias = Callable[[str], object]
Progress: TypeAlias = Callable[[int, int], object]
# What a study measured, by the kind of part, in the order of subjects and seeds.
Found: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]


class Asked(TypedDict, Generic[P], total=False):
    """What can be asked of any study that is made of parts.

    Attributes:
        scale: ``"small"`` by default; its docstring tells what there is.
        seeds: how often all of it is done; more can be asked for later.
        protocol: everything at once, in place of a scale.
        device: where to train and to measure; the best there is by default.
        engine: where the parts run; here, one after the other, by default.
        say: told in a sentence what is going on.
        progress: given a title, returns what is called with (done, total).
    """

    scale: str
    seeds: int | None
    protocol: P | None
    device: str
    engine: Engine | None
    say: Say | None
    progress: Callable[[str], Progress] | None


def read_parts(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What a study measured.

    Args:
        folder: of the study.

    Returns:
        By the kind of part, one for each subject and seed there is.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((folder / RESULTS).glob("*.json")):
        part = store.read_json(path)
        found.setdefault(part["kind"], []).append(part)
    for parts in found.values():
        parts.sort(key=lambda part: (part["subject"], part["seed"]))
    return found


@dataclass(frozen=True)
class Made(Generic[P]):
    """How a study is made of parts.

    Attributes:
        name: what users call it.
        schema: version of the form of its files.
        scales: its protocols.
        read: reads a protocol from what the study keeps of it.
        sentence: says what a protocol does; loads what it needs, so that what is not there is told at once.
        parts: the parts of a protocol, for a folder and a device.
        claims: holds the claims against what they found, for a protocol and the name of its scale.
        results: reads what they found from a folder; by kind of part, as a rule.
        later: parts that need what the others found.
    """

    name: str
    schema: int
    scales: Mapping[str, P]
    read: Callable[[Mapping[str, Any]], P]
    sentence: Callable[[P], str]
    parts: Callable[[P, Path, str], Sequence[Unit]]
    claims: Callable[[P, Any, str], list[Claim]]
    results: Callable[[Path], Any] = read_parts
    later: Callable[[P, Path, str], Sequence[Unit]] | None = None


def conduct(study: Made[P], out: str | Path, **asked: Unpack[Asked[P]]) -> list[Claim]:
    """Run the parts of a study of which there is no result yet, and hold its claims against the numbers.

    Args:
        study: which.
        out: its folder.
        **asked: what is asked of it, see `Asked`.

    Returns:
        The claims, which lie in ``claims.json`` too.

    Raises:
        BadInput: when something given does not fit, another study lies in the folder, or a part failed.
    """
    protocol, name = choose(study, asked.get("scale", "small"), asked.get("protocol"), asked.get("seeds"))
    sentence, say, progress = study.sentence(protocol), asked.get("say"), asked.get("progress")
    folder = store.make_folder(out)
    keep(folder, {"study": study.name, "scale": name, "protocol": protocol.to_json()}, study.schema)
    for place, parts in enumerate((study.parts, study.later)):
        units = parts(protocol, folder, asked.get("device", "auto")) if parts is not None else ()
        missing = [unit for unit in units if not (folder / RESULTS / f"{unit.name}.json").is_file()]
        if not place and say is not None:
            say(f"{sentence}: {len(missing)} of {len(units)} parts are left ...")
        bar = None if progress is None or place else progress(study.name)
        run_missing(missing, engine=asked.get("engine"), progress=bar)
    claims = study.claims(protocol, study.results(folder), name)
    write_claims(folder, claims)
    return claims


def choose(study: Made[P], scale: str, protocol: P | None, seeds: int | None) -> tuple[P, str]:
    """The protocol that is asked for.

    Args:
        study: which.
        scale: one of its scales.
        protocol: one that is given in place of a scale.
        seeds: how often all of it is done, where that is given.

    Returns:
        The protocol, and the name of its scale: ``"own"`` for one that was given.

    Raises:
        BadInput: when there is no such scale.
    """
    if protocol is None and scale not in study.scales:
        raise BadInput(f"There is no scale {scale!r} of {study.name}: choose from {', '.join(study.scales)}.")
    chosen = study.scales[scale] if protocol is None else protocol
    if seeds is not None:
        chosen = replace(chosen, seeds=seeds)
    return chosen, scale if protocol is None else "own"


def keep(folder: Path, described: Mapping[str, Any], schema: int) -> None:
    """Write down what a study is, or see that what lies there is the same but for the number of seeds.

    Args:
        folder: of the study.
        described: what it is: ``study``, ``scale`` and ``protocol``.
        schema: version of the form of its files.

    Raises:
        BadInput: when another study lies in the folder.
    """
    path = folder / STUDY
    plain = json.loads(json.dumps({"schema": schema, **described}))
    if path.is_file():
        before = store.read_json(path)
        store.check_schema(before, path, schema)
        told = before.get("protocol", {})
        changed = [key for key, value in plain["protocol"].items() if key != "seeds" and told.get(key) != value]
        if before.get("study") != plain["study"] or changed:
            raise BadInput(
                f"{folder} holds a study with another {' and '.join(changed) or 'question'}: go on with the settings "
                "it was begun with, or give another folder."
            )
    elif (folder / RESULTS).exists():
        raise BadInput(f"{folder} holds results but no {STUDY}: give another folder.")
    store.write_json(path, plain)


def write_part(folder: Path, name: str, found: Mapping[str, Any]) -> None:
    """Write what a part found.

    Args:
        folder: of the study.
        name: of the part.
        found: plain numbers, with the part's ``kind``, ``subject`` and ``seed``.
    """
    store.make_folder(folder / RESULTS)
    store.write_json(folder / RESULTS / f"{name}.json", dict(found))
