"""How a run stands, told from a few small files: no point is loaded."""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from landform import store
from landform.engine import status
from landform.errors import BadInput, Damaged
from landform.live._folder import FIRST_SHARD, Found, contained
from landform.recording._format import CURVES, POINTS, RUN, read_run
from landform.store import Writers, is_shared

State: TypeAlias = Literal["training", "measuring", "finished", "stopped", "ended", "unreadable"]

# Seconds for which a run on a file system of several machines counts as going on after its last change.
_RECENT = 60.0
# A folder that changed less than this long ago may change again without its time showing it (nanoseconds).
_SETTLED = 200_000_000
# Settings that are no choice of anybody's, and names that several groups of settings have.
_APART = {"architecture", "class", "epochs", "fingerprint", "frozen", "how", "parameters", "precision", "source"}
_SHARED = {"name", "seed"}
# How many records a line is drawn through.
_LINE = 32
_RECORD = re.compile(r"(\d{9,})\.safetensors")
_RESULT = re.compile(r"(?P<probe>loss|error)(?:@(?P<set>[^@]+))?\.(?P<step>\d{9,})\.safetensors")


@dataclass(frozen=True)
class Standing:
    """How a run, a study or a sweep stands.

    Attributes:
        found: what it is, and where.
        state: ``"training"``, ``"measuring"`` (a survey goes on), ``"finished"``, ``"stopped"`` (before its planned
            end), ``"ended"`` (no end was planned) or ``"unreadable"``.
        what: the model's name and its size, or what a sweep runs.
        settings: what its description tells in single words and numbers, by name.
        step: optimiser steps taken at the last record.
        epoch: the same in epochs.
        until: epochs planned; None where nobody said.
        records: how many times are recorded.
        loss: the training loss that the loop told at the last record.
        seconds: of training until then.
        measured: last loss and error that a survey took, by set and name, such as ``"test error"``.
        results: how many results its atlas holds.
        line: losses told at some records from the first to the last.
        changed: when something last happened, in seconds since 1970.
        note: a sentence about what is wrong, or how far a sweep is.
    """

    found: Found
    state: State
    what: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    step: int = 0
    epoch: float = 0.0
    until: float | None = None
    records: int = 0
    loss: float | None = None
    seconds: float = 0.0
    measured: Mapping[str, float] = field(default_factory=dict)
    results: int = 0
    line: tuple[float, ...] = ()
    changed: float = 0.0
    note: str = ""

    @property
    def going(self) -> bool:
        """Whether it is being trained or measured."""
        return self.state in ("training", "measuring")

    @property
    def diverged(self) -> bool:
        """Whether the last loss is no finite number."""
        return self.loss is not None and not math.isfinite(self.loss)

    @property
    def left(self) -> float | None:
        """About how many seconds of training are left, while it goes on."""
        if self.state != "training" or self.until is None or not self.epoch or not self.seconds:
            return None
        return max(0.0, self.until - self.epoch) * self.seconds / self.epoch

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON.

        Returns:
            The attributes by name, without the line.
        """
        return {
            "name": self.found.name,
            "kind": self.found.kind,
            "state": self.state,
            "what": self.what,
            "step": self.step,
            "epoch": self.epoch,
            "until": self.until,
            "records": self.records,
            "loss": self.loss,
            "diverged": self.diverged,
            "seconds": self.seconds,
            "seconds_left": self.left,
            "measured": dict(self.measured),
            "results": self.results,
            "changed": self.changed,
            "note": self.note,
        }


@dataclass
class Memory:
    """What was read of a run, so that only what is new is read again."""

    stamp: tuple[Any, ...] = ()
    standing: Standing | None = None
    lined: bool = False
    about: tuple[Any, dict[str, Any]] | None = None
    told: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    values: dict[tuple[str, int], float] = field(default_factory=dict)
    shared: bool | None = None


def standing(found: Found, root: Path, writers: Writers, memory: Memory, *, line: bool = True) -> Standing:
    """Tell how a run, a study or a sweep stands.

    Args:
        found: which.
        root: the folder that nothing may lead out of.
        writers: who is writing.
        memory: what was read of it before; what is read now is added.
        line: also read the losses of earlier records.

    Returns:
        How it stands; what cannot be read is told as its note.
    """
    if found.kind != "run":
        return _work(found, root, memory)
    folder = recorded(found.folder)
    if memory.shared is None:
        memory.shared = is_shared(folder)
    training, measuring = writers.hold(folder), writers.hold(folder / "atlas")
    times = [_changed(path) for path in (folder / RUN, *(folder / name for name in (POINTS, CURVES, "atlas")))]
    latest = max(times)
    recent = memory.shared and time.time() - latest / 1e9 < _RECENT
    stamp = (training, measuring, recent, *times)
    before = memory.standing
    if before is not None and memory.stamp == stamp and (memory.lined or not line):
        return before
    line = line or memory.lined  # a line that was read is kept up
    try:
        told = _run(found, root, memory, line=line)
    except BadInput as why:
        told = Standing(found, "unreadable", note=str(why))
    else:
        state = _state(told, training, measuring, bool(recent))
        told = replace(told, state=state)
    told = replace(told, changed=latest / 1e9)
    settled = time.time_ns() - latest > _SETTLED
    memory.stamp, memory.standing, memory.lined = stamp, (told if settled else None), line
    return told


def recorded(folder: Path) -> Path:
    """Where a run's records lie: where several processes record it, the first one's shard, until they are joined.

    Args:
        folder: of the run.

    Returns:
        The folder that holds its description.
    """
    first = folder / FIRST_SHARD
    return first if not (folder / RUN).is_file() and (first / RUN).is_file() else folder


def _state(told: Standing, training: bool, measuring: bool, recent: bool) -> State:
    done = told.until is not None and told.records > 0 and told.epoch >= told.until * (1 - 1e-9)
    if training or (recent and not done):
        return "training"
    if measuring:
        return "measuring"
    return "finished" if done else "ended" if told.until is None else "stopped"


def _run(found: Found, root: Path, memory: Memory, *, line: bool) -> Standing:
    folder = recorded(found.folder)
    path = folder / RUN
    if not contained(path, root):
        raise BadInput(f"{path} leads out of {root}, and nothing outside it is read.")
    stamp = _changed(path)
    if memory.about is None or memory.about[0] != stamp:
        memory.about = (stamp, _about(folder))
    about = memory.about[1]
    records = sorted(
        (int(match[1]), entry) for entry in _files(folder / POINTS, root) if (match := _RECORD.fullmatch(entry.name))
    )
    step, told, note = 0, {}, "" if folder == found.folder else "Recorded in shards: landform survey joins them."
    for at, entry in reversed(records):
        try:
            step, told = at, _told(entry, memory)
            break
        except (BadInput, KeyError, ValueError, TypeError):
            note = note or f"{entry.name} is damaged."
    losses: list[float] = []
    if line and len(records) > 1:
        places = sorted({round(i * (len(records) - 1) / (_LINE - 1)) for i in range(_LINE)})
        for place in places:
            with suppress(BadInput, KeyError, ValueError, TypeError):
                loss = _told(records[place][1], memory)["loss"]
                losses += [] if loss is None else [float(loss)]
    measured, results = _measured(folder, root, memory)
    return Standing(
        found,
        "ended",
        what=about["what"],
        settings=about["settings"],
        step=step,
        epoch=step / about["epoch"],
        until=None if about["until"] is None else about["until"] / about["epoch"],
        records=len(records),
        loss=told.get("loss"),
        seconds=float(told.get("seconds") or 0.0),
        measured=measured,
        results=results,
        line=tuple(losses),
        note=note,
    )


def _about(folder: Path) -> dict[str, Any]:
    """What a run's description says of its model and its planned end."""
    run = read_run(folder)
    settings: Mapping[str, Any] = run["settings"]
    slots = run["layout"].get("slots") or [{"stop": 0}]
    try:
        return {
            "epoch": max(1, run["epoch"]),
            "until": _until(settings, run["epoch"]),
            "what": f"{_model(settings)}, {slots[-1]['stop']:,} parameters".lstrip(", "),
            "settings": dict(_single(settings)),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as why:
        raise Damaged(f"{folder / RUN} does not say what it should ({why!r}): put back a good copy.") from None


def _single(settings: Mapping[str, Any], group: str = "") -> Iterator[tuple[str, str]]:
    """The settings that are one word or number, by their own name, or with their group's where two have one."""
    for name, value in settings.items():
        if name in _APART:
            continue
        if isinstance(value, Mapping):
            yield from _single(value, name)
        elif isinstance(value, str | int | float) and len(str(value)) <= 40:
            plain = f"{value:.4g}" if isinstance(value, float) else str(value)
            own = group not in ("", "recipe") and name in _SHARED
            yield (f"{group} {name}" if own else name).replace("_", " "), plain


def _model(settings: Mapping[str, Any]) -> str:
    """The model's name, from the command line that trained it, or its class."""
    for group in ("command", "recorder", ""):
        about = settings.get(group, {}) if group else settings
        model = about.get("model") if isinstance(about, Mapping) else None
        if isinstance(model, Mapping):
            model = model.get("name") or model.get("class")
        if isinstance(model, str):
            return model
    return ""


def _until(settings: Mapping[str, Any], epoch: int) -> int | None:
    """The last step that is planned."""
    recipe, recorder = settings.get("recipe"), settings.get("recorder")
    if isinstance(recipe, Mapping) and isinstance(recipe.get("epochs"), int | float):
        return max(1, round(float(recipe["epochs"]) * epoch))
    if isinstance(recorder, Mapping) and isinstance(recorder.get("at"), Sequence) and recorder["at"]:
        last: int = max(recorder["at"])
        return last or None
    return None


def _told(entry: os.DirEntry[str], memory: Memory) -> dict[str, Any]:
    """What a record says beside its tensors."""
    key = (entry.name, entry.stat().st_mtime_ns)
    if key not in memory.told:
        strings = store.open_tensors(entry.path).metadata
        memory.told[key] = {name: json.loads(strings[name]) for name in ("loss", "seconds")}
    return memory.told[key]


def _measured(folder: Path, root: Path, memory: Memory) -> tuple[dict[str, float], int]:
    """The last loss and error that a survey took on each set, and how many results there are."""
    newest: dict[str, tuple[int, str, os.DirEntry[str]]] = {}
    count = 0
    for entry in _files(folder / "atlas", root):
        count += entry.name.endswith(".safetensors") and not entry.name.startswith(".")
        match = _RESULT.fullmatch(entry.name)
        if match:
            name, step = f"{match['set'] or ''} {match['probe']}".strip(), int(match["step"])
            if name not in newest or newest[name][0] < step:
                newest[name] = step, match["probe"], entry
    found: dict[str, float] = {}
    for name, (_, probe, entry) in sorted(newest.items()):
        with suppress(BadInput, ValueError, RuntimeError, OSError):
            key = (entry.name, entry.stat().st_mtime_ns)
            if key not in memory.values:
                memory.values[key] = float(store.open_tensors(entry.path).read(probe))
            found[name] = memory.values[key]
    return found, count


def _files(place: Path, root: Path) -> Iterator[os.DirEntry[str]]:
    """The files of a folder; none where it, or a file, is a link to somewhere outside."""
    if place.is_symlink() and not contained(place, root):
        return
    try:
        with os.scandir(place) as entries:
            yield from [entry for entry in entries if not entry.is_symlink() or contained(entry.path, root)]
    except OSError:
        return


def _work(found: Found, root: Path, memory: Memory) -> Standing:
    """How far a study or a sweep is."""
    folder = found.folder
    stamp = tuple(_changed(folder / name) for name in (f"{found.kind}.json", "status.json", "claims.json"))
    if memory.standing is not None and memory.stamp == stamp and not memory.standing.going:
        return memory.standing
    what: str = found.kind
    with suppress(BadInput, KeyError):
        about = store.read_json(folder / f"{found.kind}.json")
        what = f"{what} {about['study']}, scale {about['scale']}"
    # A study says what it found when it is done, whether or not it told how far it was.
    told = Standing(found, "finished" if stamp[2] else "ended", what=what, changed=max(stamp) / 1e9)
    if contained(folder / "status.json", root):
        with suppress(BadInput, KeyError, TypeError):
            work = status(folder)
            failed = f", {len(work.failed)} failed" if work.failed else ""
            told = replace(
                told,
                state=_STATES.get(work.state, "ended"),
                changed=work.told,
                note=f"{work.done:,} of {work.total:,} done{failed}",
            )
    memory.stamp, memory.standing = stamp, told
    return told


_STATES: dict[str, State] = {"running": "training", "finished": "finished", "stopped": "stopped"}


def _changed(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
