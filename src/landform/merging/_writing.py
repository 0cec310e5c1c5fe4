"""A model written into a folder, of which nothing looks finished before it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landform import store
from landform.errors import BadInput
from landform.merging._beside import type_name
from landform.merging._places import INDEX, PICKLED, UNFINISHED
from landform.merging._reading import Held, header
from landform.store import free_space, make_folder, settle_folder, size_text, sweep, write_bytes, write_text

TOLD = "merge.json"
_WEIGHTS = (".safetensors", *PICKLED, ".h5", ".msgpack", ".onnx", ".gguf", ".ot", ".npz")
# The card and the arguments of a training tell of that model and not of the merge.
_OWN = ("README.md", "training_args.bin", TOLD)


@dataclass(frozen=True)
class Shard:
    """A file of weights to be written.

    Attributes:
        file: its name.
        names: of its tensors, in order.
    """

    file: str
    names: tuple[str, ...]


def divide(
    shards: Sequence[tuple[str, tuple[str, ...]]], out: Mapping[str, Held], shard_bytes: int | None
) -> tuple[Shard, ...]:
    """Decide which tensor goes into which file.

    Args:
        shards: the division of the first source.
        out: the tensors of the merge.
        shard_bytes: how large a file may be at most (one tensor that is larger gets a file of its own); None for the
            division of the first source.

    Returns:
        The files.

    Raises:
        BadInput: when the size is no whole number above 0.
    """
    if shard_bytes is None:
        return tuple(Shard(file, names) for file, names in shards)
    if not isinstance(shard_bytes, int) or isinstance(shard_bytes, bool) or shard_bytes < 1:
        raise BadInput(f"shard_bytes is {shard_bytes!r}: give how many bytes a file may have, such as 5_000_000_000.")
    groups: list[list[str]] = []
    filled = 0
    for name in (name for _, names in shards for name in names):
        if not groups or (groups[-1] and filled + out[name].bytes > shard_bytes):
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += out[name].bytes
    stem = stem_of(shards[0][0])
    if len(groups) == 1:
        return (Shard(f"{stem}.safetensors", tuple(groups[0])),)
    return tuple(
        Shard(f"{stem}-{number:05d}-of-{len(groups):05d}.safetensors", tuple(names))
        for number, names in enumerate(groups, start=1)
    )


def stem_of(file: str) -> str:
    """What a file of weights is called, without its number.

    Args:
        file: for example ``"model-00001-of-00002.safetensors"``.

    Returns:
        For example ``"model"``.
    """
    stem = file.removesuffix(".safetensors")
    head, dash, count = stem.rpartition("-of-")
    return head.rpartition("-")[0] if dash and count.isdigit() else stem


def check_target(out: Path, inputs: Iterable[Path], needed: int, *, overwrite: bool) -> None:
    """Refuse a place into which a merge cannot, or should not, be written.

    Args:
        out: a folder, or a file that ends in .safetensors.
        inputs: the files that are merged.
        needed: bytes.
        overwrite: whether a model that is there may be replaced.

    Raises:
        BadInput: when there is something already, the sources lie there, or the disk is too full.
    """
    single = out.suffix == ".safetensors"
    for path in inputs:
        if path.resolve() == out.resolve() or (not single and path.resolve().parent == out.resolve()):
            raise BadInput(
                f"{out} is where {path.name} of the sources lies, which the merge would replace: give another."
            )
    if out.is_file() and not single:
        raise BadInput(f"{out} is a file: give a folder, or a name that ends in .safetensors.")
    if out.is_dir() and single:
        raise BadInput(f"{out} is a folder: give a folder without that ending, or a file.")
    there = out.exists() and (single or any(not file.name.startswith(".") for file in out.iterdir()))
    if there and not overwrite and not (not single and (out / UNFINISHED).exists()):
        raise BadInput(f"{out} is there and not empty: give another place, or say that it may be overwritten.")
    place = out.absolute()
    while not place.exists():
        place = place.parent
    free = free_space(place if place.is_dir() else place.parent)
    if free < needed:
        raise BadInput(
            f"{out} would take {size_text(needed)} and the disk has {size_text(free)} free: make room first."
        )


@contextmanager
def unfinished(out: Path) -> Iterator[list[Path]]:
    """Hold a folder as unfinished while what is inside goes on; what went wrong leaves nothing behind.

    Args:
        out: the folder.

    Yields:
        A list, into which every file goes that is written.

    Raises:
        BadInput: when another process writes there.
    """
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    make_folder(out)
    lock = store.Lock(out)
    written: list[Path] = []
    try:
        sweep(out, older_than=0)
        write_text(out / UNFINISHED, "A merge is being written here, or was cut short: make it again.\n")
        old = [file for file in out.iterdir() if file.suffix == ".safetensors" or file.name.endswith(INDEX)]
        for file in sorted(old, key=lambda file: not file.name.endswith(INDEX)):
            store.remove(file)
        try:
            yield written
            store.remove(out / UNFINISHED)
        except BaseException:
            for file in [*written, out / UNFINISHED]:
                with suppress(BadInput):
                    store.remove(file)
            raise
    finally:
        with suppress(BadInput):
            store.remove(out / ".lock")
        lock.release()
        for folder in new:
            with suppress(OSError):  # one that holds something stays
                folder.rmdir()


def write_shard(path: Path, tensors: Mapping[str, Held], metadata: Mapping[str, str], blocks: Iterable[Tensor]) -> None:
    """Write one file of weights, whole or not at all.

    Args:
        path: the file.
        tensors: what it shall hold, in order.
        metadata: strings to keep with them.
        blocks: their numbers, flat and in order.
    """
    front = header(tensors, metadata)
    write_bytes(path, _bytes(front, blocks), settle=False)


def write_index(out: Path, shards: Sequence[Shard], tensors: Mapping[str, Held]) -> Path:
    """Write which tensor lies in which file.

    Args:
        out: the folder.
        shards: the files.
        tensors: the tensors.

    Returns:
        The file.
    """
    told = {
        "metadata": {"total_size": sum(tensor.bytes for tensor in tensors.values())},
        "weight_map": dict(sorted((name, shard.file) for shard in shards for name in shard.names)),
    }
    path = out / f"{stem_of(shards[0].file)}.safetensors{INDEX}"
    write_text(path, json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    return path


def others(folder: Path) -> list[Path]:
    """What lies in a model's folder beside its weights: settings, tokenizer, licence.

    Args:
        folder: the folder.

    Returns:
        The files, by name.
    """

    def belongs(file: Path) -> bool:
        weights = file.suffix in _WEIGHTS or file.name.endswith(INDEX)
        return file.is_file() and not (file.name.startswith(".") or file.name in _OWN or weights)

    return sorted(file for file in folder.iterdir() if belongs(file))


def copy_other(file: Path, out: Path, dtype: torch.dtype | None) -> None:
    """Copy a file that goes with the weights.

    Args:
        file: the file.
        out: the folder.
        dtype: in which the merge is, for a config.json to tell of; None where it is that of the source.
    """
    content = store.read_bytes(file)
    if file.name == "config.json" and dtype is not None:
        content = _retyped(content, dtype)
    write_bytes(out / file.name, content, settle=False)


def settle(out: Path, tell: Callable[[], Mapping[str, Any]]) -> None:
    """Write what was done beside the weights, and make all names last.

    Args:
        out: the folder.
        tell: what there is to tell.
    """
    store.write_json(out / TOLD, tell(), checksum=False)
    settle_folder(out)


def _retyped(content: bytes, dtype: torch.dtype) -> bytes:
    try:
        told = json.loads(content)
    except ValueError:
        return content
    keys = [key for key in ("torch_dtype", "dtype") if isinstance(told, dict) and key in told]
    for key in keys:
        told[key] = type_name(dtype)
    return json.dumps(told, indent=2, ensure_ascii=False).encode() + b"\n" if keys else content


def _bytes(front: bytes, blocks: Iterable[Tensor]) -> Iterator[bytes | memoryview]:
    yield front
    for block in blocks:
        if block.numel():
            yield memoryview(block.view(torch.uint8).numpy())  # type: ignore[arg-type]
