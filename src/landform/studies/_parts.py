"""What studies that are made of independent parts have in common: they are kept, gone on with, and run by an engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from landform import store
from landform.engine import Engine, Unit, run_missing
from landform.errors import BadInput

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

P = TypeVar("P", bound="DataclassInstance")

STUDY, RESULTS = "study.json", "results"
Say: TypeAlias = Callable[[str], object]
Progress: TypeAlias = Callable[[int, int], object]
# What a study measured, by the kind of part, in the order of subjects and seeds.
Found: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]


def choose(study: str, scales: Mapping[str, P], scale: str, protocol: P | None, seeds: int | None) -> tuple[P, str]:
    """The protocol that is asked for.

    Args:
        study: its name.
        scales: its protocols, by scale.
        scale: one of them.
        protocol: one that is given in place of a scale.
        seeds: how often all of it is done, where that is given.

    Returns:
        The protocol, and the name of its scale: ``"own"`` for one that was given.

    Raises:
        BadInput: when there is no such scale.
    """
    if protocol is None and scale not in scales:
        raise BadInput(f"There is no scale {scale!r} of {study}: choose from {', '.join(scales)}.")
    chosen = scales[scale] if protocol is None else protocol
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


def run_parts(
    folder: Path, parts: Sequence[Unit], *, engine: Engine | None, progress: Progress | None, left: Say | None
) -> None:
    """Run the parts of which there is no result yet; each writes its own, by `write_part`.

    Args:
        folder: of the study.
        parts: all of them.
        engine: where they run; here, one after the other, by default.
        progress: called with (done, total).
        left: told which are left, as "3 of 12 parts".

    Raises:
        BadInput: when one failed; the others are kept.
    """
    missing = [unit for unit in parts if not (folder / RESULTS / f"{unit.name}.json").is_file()]
    if left is not None:
        left(f"{len(missing)} of {len(parts)} parts")
    run_missing(missing, engine=engine, progress=progress)


def write_part(folder: Path, name: str, found: Mapping[str, Any]) -> None:
    """Write what a part found.

    Args:
        folder: of the study.
        name: of the part.
        found: plain numbers, with the part's ``kind``, ``subject`` and ``seed``.
    """
    store.make_folder(folder / RESULTS)
    store.write_json(folder / RESULTS / f"{name}.json", dict(found))


def read_parts(folder: str | Path) -> dict[str, list[dict[str, Any]]]:
    """What a study measured.

    Args:
        folder: of the study.

    Returns:
        By the kind of part, one for each subject and seed there is.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(Path(folder, RESULTS).glob("*.json")):
        part = store.read_json(path)
        found.setdefault(part["kind"], []).append(part)
    for parts in found.values():
        parts.sort(key=lambda part: (part["subject"], part["seed"]))
    return found
