"""Where weights may lie on disk: a file, a folder in the form of the Hugging Face hub, a run of landform."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from landform.errors import BadInput, Damaged
from landform.merging._pickled import PickledFile
from landform.merging._reading import Held, RawFile, TensorFile, open_safetensors
from landform.recording import Record, Trajectory

UNFINISHED = ".unfinished-merge"
PICKLED = (".pt", ".pth", ".bin")
INDEX = ".index.json"
_WHOLE = "model.safetensors"
_AT = re.compile(r"(.+)@(epoch|step)=([^@=]+)")
# Statistics that a mean suits whatever the method: a negative variance has no root.
_STATISTICS = (".running_mean", ".running_var")


@dataclass(frozen=True)
class Stored:
    """Weights on disk.

    Attributes:
        name: as the user gave it.
        files: the file in which each tensor lies, by the tensor's name, shard after shard.
        shards: names for files that hold a merge in the same division, each with the names of its tensors.
        folder: a folder whose other files (settings, tokenizer) belong to the weights, or None.
        tied: further names of some tensors.
        buffers: names of tensors that are statistics or counts and not trained.
        metadata: strings that go with the weights.
        notes: what has to be said about them, by topic.
    """

    name: str
    files: Mapping[str, TensorFile]
    shards: tuple[tuple[str, tuple[str, ...]], ...]
    folder: Path | None = None
    tied: Mapping[str, str] = field(default_factory=dict)
    buffers: frozenset[str] = frozenset()
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def held(self, name: str) -> Held:
        """Where and as what a tensor is held.

        Args:
            name: of the tensor, or a second name of it.

        Returns:
            Its type, shape and place.
        """
        own = self.own(name)
        return self.files[own].held[own]

    def own(self, name: str) -> str:
        """The name under which a tensor lies in its file.

        Args:
            name: of the tensor, or a second name of it.

        Returns:
            The name.
        """
        return name if name in self.files else self.tied[name]

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that hold the weights."""
        return tuple(dict.fromkeys(file.path for file in self.files.values()))

    @property
    def bytes(self) -> int:
        """How much there is to be read of them."""
        return sum(file.held[name].bytes for name, file in self.files.items())


def open_stored(given: str | Path) -> Stored:
    """Look at weights on disk; their numbers are not read.

    Args:
        given: a .safetensors, .pt, .pth or .bin file, a folder of such in the form of the hub, or a folder that
            landform recorded a run in (``run@epoch=2`` and ``run@step=100`` for another time than the last).

    Returns:
        The weights.

    Raises:
        BadInput: when there are none, or they are not whole.
    """
    if not isinstance(given, str | Path):
        raise BadInput(f"A source is a {type(given).__name__}: give the path of a file or folder with weights.")
    path = Path(given)
    timed = _AT.fullmatch(str(given))
    if timed and not path.exists():
        return _run(str(given))
    if path.is_file():
        return _file(str(given), path)
    if not path.is_dir():
        raise BadInput(
            f"There is no file or folder {given}: give weights that lie on this machine (those of the hub have to be "
            "downloaded first, as by huggingface-cli download)."
        )
    if (path / "run.json").is_file():
        return _run(str(given))
    if (path / UNFINISHED).exists():
        raise BadInput(f"{path} holds a merge that was not finished: make it again first, or remove the folder.")
    return _folder(str(given), path)


def _open(path: Path) -> RawFile | PickledFile:
    if path.suffix in PICKLED:
        return PickledFile(path)
    if path.suffix != ".safetensors":
        raise BadInput(f"{path} is no file of weights: give one that ends in .safetensors, {', '.join(PICKLED)}.")
    return open_safetensors(path)


def _file(name: str, path: Path, shard: str = _WHOLE, folder: Path | None = None) -> Stored:
    file = _open(path)
    notes = {}
    if isinstance(file, PickledFile):
        if file.within:
            notes["taken"] = f"of {path.name} the entry {file.within!r}"
        if file.left:
            notes["left out"] = f"of {path.name}, since they are no tensors: {_some(file.left)}"
    metadata = file.metadata if isinstance(file, RawFile) else {}
    return Stored(
        name,
        dict.fromkeys(file.held, file),
        ((shard, tuple(file.held)),),
        folder,
        file.tied,
        _statistics(file.held),
        {key: value for key, value in metadata.items() if key not in file.tied and not key.startswith("landform.")},
        notes,
    )


def _folder(name: str, path: Path) -> Stored:
    """A folder of the hub: one file, or shards and the index that says which tensor lies in which."""
    _refuse_quantised(path)
    indices = sorted(file for file in path.iterdir() if file.name.endswith((f".safetensors{INDEX}", f".bin{INDEX}")))
    wholes = sorted(file for file in path.iterdir() if file.suffix in (".safetensors", *PICKLED) and file.is_file())
    for kind in (".safetensors", ".bin", ".pt", ".pth"):
        index = [file for file in indices if file.name.endswith(f"{kind}{INDEX}")]
        whole = [file for file in wholes if file.suffix == kind and file.name != "training_args.bin"]
        named = [file for file in whole if file.name in (_WHOLE, "pytorch_model.bin")]
        if named or len(whole) == 1:
            found = (named or whole)[0]
            shard = found.name if kind == ".safetensors" else _WHOLE
            return _noted(_file(name, found, shard, path))
        if len(index) == 1:
            return _noted(_sharded(name, path, index[0]))
        if len(index) > 1 or whole:
            raise BadInput(
                f"{path} holds {_some([file.name for file in index or whole])} and nothing that says which of them are "
                f"the model: give the one file, or put its {_WHOLE}{INDEX} beside the shards."
            )
    raise BadInput(f"{path} holds no weights: give a folder with {_WHOLE}, its shards and their index, or a run.")


def _sharded(name: str, path: Path, index: Path) -> Stored:
    try:
        told = json.loads(index.read_text(encoding="utf-8"))
        places = {str(key): str(value) for key, value in told["weight_map"].items()}
    except OSError as why:
        raise BadInput(f"{index} cannot be read ({why.strerror}).") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(f"{index} is no index of shards: it has no weight_map from tensors to files.") from None
    shards = list(dict.fromkeys(sorted(places.values())))
    files: dict[str, TensorFile] = {}
    divided: list[tuple[str, tuple[str, ...]]] = []
    tied: dict[str, str] = {}
    metadata: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        first = next(key for key, value in places.items() if value == shard)
        if Path(shard).name != shard or not (path / shard).is_file():
            raise BadInput(
                f"{path} lacks its shard {shard}, in which {first} should lie: download it again, or mend {index.name}."
            )
        file = _open(path / shard)
        for key in file.held:
            if places.get(key) != shard:
                where = f"lies in {places[key]}" if key in places else "is not told of"
                raise BadInput(
                    f"{path / shard} holds {key}, which {where} by {index.name}: they do not belong together."
                )
        for key in (key for key, value in places.items() if value == shard):
            if key not in file.held and key not in file.tied:
                raise BadInput(
                    f"{path / shard} lacks {key}, which {index.name} says it holds: download the shard again."
                )
        files.update(dict.fromkeys(file.held, file))
        tied.update(file.tied)
        if isinstance(file, RawFile):
            metadata.update({key: value for key, value in file.metadata.items() if key not in file.tied})
            divided.append((shard, tuple(file.held)))
        else:
            divided.append((f"model-{number:05d}-of-{len(shards):05d}.safetensors", tuple(file.held)))
    return Stored(name, files, tuple(divided), path, tied, _statistics(files), metadata)


def record_at(given: str) -> Record:
    """Find a recorded time of a run.

    Args:
        given: the run's folder, for the last time, or ``run@epoch=2`` or ``run@step=100`` for the nearest to it.

    Returns:
        The record.

    Raises:
        BadInput: when there is no such run, or it holds no record.
    """
    timed = None if Path(given).exists() else _AT.fullmatch(given)
    folder = Path(timed[1]) if timed else Path(given)
    trajectory = Trajectory(folder)
    if not len(trajectory):
        raise BadInput(f"{folder} holds no record yet: record a run first.")
    if timed is None:
        return trajectory.record(len(trajectory) - 1)
    try:
        time = float(timed[3])
    except ValueError:
        raise BadInput(
            f"{given} asks for the {timed[2]} {timed[3]!r}: give a number, such as {folder}@{timed[2]}=2."
        ) from None
    return trajectory.at(epoch=time) if timed[2] == "epoch" else trajectory.at(step=time)


def _run(name: str) -> Stored:
    """A recorded time of a run: its parameters lie one behind the other in the point, its buffers beside it."""
    record = record_at(name)
    layout, folder = record.layout, record.file.path.parent.parent
    file = record.file
    _verify(file.path, file.offset, {key: (one.start, one.stop, one.crc) for key, one in file.entries.items()})
    point = file.entries["point"]
    held = {
        slot.name: Held(point.dtype, slot.shape, file.offset + point.start + slot.start * point.dtype.itemsize)
        for slot in layout.slots
    }
    buffers = {
        key.removeprefix("buffers."): Held(one.dtype, one.shape, file.offset + one.start)
        for key, one in file.entries.items()
        if key.startswith("buffers.")
    }
    raw = RawFile(file.path, {**held, **buffers}, dict(layout.tied or {}))
    notes = {"taken": f"of {folder} the record of step {record.step} (epoch {record.epoch:.4g})"}
    if layout.frozen:
        notes["left out"] = f"of {folder}, since runs do not hold what is frozen: {_some(layout.frozen)}"
    return Stored(
        name,
        dict.fromkeys(raw.held, raw),
        ((_WHOLE, tuple(raw.held)),),
        None,
        raw.tied,
        frozenset(buffers),
        {},
        notes,
    )


def _verify(path: Path, offset: int, pieces: Mapping[str, tuple[int, int, int]], at_once: int = 2**20) -> None:
    """Hold what a run's file has of weights against the checksums it was written with."""
    with open(path, "rb", buffering=0) as file:
        for name, (start, stop, crc) in pieces.items():
            if name != "point" and not name.startswith("buffers."):
                continue
            file.seek(offset + start)
            left, sum_ = stop - start, 0
            while left and (piece := file.read(min(left, at_once))):
                left, sum_ = left - len(piece), zlib.crc32(piece, sum_)
            if left or sum_ != crc:
                raise Damaged(f"{path} is damaged (the bytes of {name} are not those that were written): take another.")


def _refuse_quantised(path: Path) -> None:
    """Weights that are packed into whole numbers cannot be averaged."""
    try:
        told: Any = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(told, dict) and told.get("quantization_config"):
        raise BadInput(f"{path} holds quantised weights, as its config.json says: give those it was quantised from.")


def _noted(stored: Stored) -> Stored:
    """Say what merging adapters means."""
    names = list(stored.files)
    if not any(".lora_A." in name for name in names):
        return stored
    note = "adapters are merged factor by factor, and the product of two means is not the mean of two products"
    return replace(stored, notes={**stored.notes, "adapters": note})


def _statistics(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in names if name.endswith(_STATISTICS))


def _some(names: Iterable[str], most: int = 6) -> str:
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
