"""Merge weights on disk that memory need not hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import torch

from landform.errors import BadInput
from landform.merging._beside import Beside, put_beside
from landform.merging._blocks import BLOCK, step_of
from landform.merging._file_merge import FileMerge, combined
from landform.merging._method import Method, Per
from landform.merging._places import Stored, open_stored
from landform.merging._registry import get
from landform.merging._stream import MOST, Stream, one_thread_each
from landform.merging._varying import Varying, asking, varies
from landform.merging._writing import (
    Shard,
    check_target,
    copy_other,
    divide,
    others,
    settle,
    unfinished,
    write_index,
    write_shard,
)
from landform.store import make_folder

Progress: TypeAlias = Callable[[int, int], None]
Place: TypeAlias = str | Path
_TYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
    "half": torch.float16,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float64": torch.float64,
    "fp64": torch.float64,
}


def merge_files(
    sources: Sequence[Place],
    out: Place | None,
    *,
    method: str | Method = "mean",
    base: Place | None = None,
    weights: Sequence[float | Varying] | None = None,
    per: Per | None = None,
    seed: int = 0,
    dtype: str | torch.dtype | None = None,
    shard_bytes: int | None = None,
    dry_run: bool = False,
    report: bool = True,
    overwrite: bool = False,
    block: int = BLOCK,
    progress: Progress | None = None,
    **settings: Any,
) -> FileMerge:
    """Merge weights on disk, tensor by tensor; memory holds a block of each source at a time.

    Arithmetic is in float32, or in float64 where a source is. What comes out equals `merge` of the same tensors in
    memory.

    Args:
        sources: each a .safetensors, .pt, .pth or .bin file, a folder in the form of the Hugging Face hub, or a run's
            folder (``run@epoch=2`` for another time than its last).
        out: a folder, or a file that ends in .safetensors; None with ``dry_run`` where there is none yet.
        method: its name, one of `methods`, or a `Method` of your own; one that needs no data.
        base: what the sources came from; many methods merge the differences from it.
        weights: one for each source; ones if not given. Each may be a `Varying`, and so may settings.
        per: whether thresholds, norms and angles are of each ``"tensor"``, or of the whole ``"point"`` (which reads the
            sources twice or more); if not given, as the method's paper has it.
        seed: of random drops; what is drawn for a tensor follows from it, the tensor's name and the source's place.
        dtype: for the floating-point tensors of the merge, such as ``"bf16"``; those of the first source if not given.
        shard_bytes: how large a file may be; the division of the first source if not given.
        dry_run: go through everything and tell what would be written, but write nothing.
        report: compare the merge with its sources, tensor by tensor: the larger part of the arithmetic of a mean.
        overwrite: replace the model that lies in ``out``; it is gone as soon as the new one is begun.
        block: numbers of each source held at a time.
        progress: called with bytes read and bytes to read.
        **settings: of the method.

    Returns:
        What was done; beside the weights it lies as ``merge.json``.

    Raises:
        BadInput: when the sources are not whole or not of one architecture, hold NaN, or the method cannot do what is
            asked; nothing is left half-written.
    """
    chosen = get(method)
    if isinstance(sources, str | Path):
        raise BadInput(f"sources is one path, {sources}: give a list of at least two.")
    if chosen.part is None:
        raise BadInput(
            f"{chosen.name} looks at data, which files do not tell of: merge points in memory with merge(..., data=), "
            "or runs with landform merge --data."
        )
    if out is None and not dry_run:
        raise BadInput("There is no out: give a folder to write into, or dry_run=True.")
    if not isinstance(block, int) or isinstance(block, bool) or block < 1:
        raise BadInput(f"block is {block!r}: give how many numbers of each source may be held at a time.")
    names = [str(source) for source in sources]
    how: dict[str, Any] = {"base": base is not None, "weights": weights, "settings": settings, "per": per, "seed": seed}
    if not varies(weights, settings):
        asking(chosen, names, (), **how)  # what is asked is looked at before any file
    wanted = as_type(dtype)
    beside = put_beside([open_stored(one) for one in sources], None if base is None else open_stored(base), wanted)
    asks = asking(chosen, names, beside.merged, **how)
    first = beside.sources[0]
    target = None if out is None else Path(out)
    shards = divide(first.shards, beside.out, shard_bytes)
    if target is not None:
        if target.suffix == ".safetensors":
            shards = (Shard(target.name, tuple(name for shard in shards for name in shard.names)),)
        inputs = [path for source in beside.every for path in source.paths]
        needed = 0 if dry_run else sum(held.bytes for held in beside.out.values())
        check_target(target, inputs, needed, overwrite=overwrite)
    with one_thread_each() as threads:
        tick = _ticker(beside, progress)
        stream = Stream(chosen, beside, asks, report=report, block=block, threads=threads, tick=tick)

        def told(copied: Sequence[Path]) -> FileMerge:
            asked, found = asks(""), stream.found
            varying = {name: value for name, value in settings.items() if varies(value)}
            return FileMerge(
                None if dry_run else target,
                chosen.name,
                asked.names,
                None if base is None else str(base),
                tuple(weights) if weights is not None and varies(weights) else asked.weights,
                {**asked.settings, **varying},
                asked.per,
                len(beside.out),
                sum(held.bytes for held in beside.out.values()),
                {shard.file: sum(beside.out[name].bytes for name in shard.names) for shard in shards},
                _memory(chosen, beside, block, threads),
                tuple(found.layers),
                *combined(found.sums),
                {**found.facts, **_facts(beside, copied, found.differing)},
            )

        copied = [] if target is not None and target.suffix == ".safetensors" else _others(beside)
        if dry_run or target is None:
            for shard in shards:
                deque(stream.merged(shard.names), maxlen=0)
            return told(copied)
        strings = {**first.metadata, "format": "pt"}
        if target.suffix == ".safetensors":
            make_folder(target.parent)
            _write(target, shards[0], beside, strings, stream)
            return told(copied)
        with unfinished(target) as written:
            for file in copied:
                written.append(target / file.name)
                copy_other(file, target, wanted)
            for shard in shards:
                written.append(target / shard.file)
                _write(target / shard.file, shard, beside, strings, stream)
            if len(shards) > 1:
                written.append(write_index(target, shards, beside.out))
            result = told(copied)
            settle(target, result.to_json)
        return result


def _write(path: Path, shard: Shard, beside: Beside, strings: Mapping[str, str], stream: Stream) -> None:
    tied = {alias: owner for alias, owner in beside.sources[0].tied.items() if owner in shard.names}
    with closing(stream.merged(shard.names)) as blocks:
        write_shard(path, {name: beside.out[name] for name in shard.names}, {**strings, **tied}, blocks)


def as_type(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """Understand what a user calls a type.

    Args:
        dtype: such as ``"bf16"`` or ``torch.bfloat16``; None stays None.

    Returns:
        The type.

    Raises:
        BadInput: when weights cannot be kept in it.
    """
    if dtype is None or dtype in _TYPES.values():
        return dtype  # type: ignore[return-value]
    found = _TYPES.get(str(dtype).removeprefix("torch.").lower())
    if found is None:
        raise BadInput(f"dtype is {dtype!r}: give bfloat16 (bf16), float16 (fp16), float32 (fp32) or float64.")
    return found


def _ticker(beside: Beside, progress: Progress | None) -> Callable[[int], None]:
    whole = sum(one.bytes for one in beside.every)
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(min(done, whole), whole)

    return tick


def _memory(method: Method, beside: Beside, block: int, threads: int) -> int:
    """Bytes held at a time: on each thread a block of every source, some copies of it, and merged blocks that wait."""
    longest = max(min(held.size, step_of(method, held.shape, block)) for held in beside.out.values())
    return 4 * longest * min(threads, MOST) * (2 * len(beside.every) + 4)


def _origin(beside: Beside) -> Stored | None:
    """Whose other files go with the merge."""
    return next((one for one in (beside.base, beside.sources[0]) if one is not None and one.folder is not None), None)


def _others(beside: Beside) -> list[Path]:
    origin = _origin(beside)
    return [] if origin is None or origin.folder is None else others(origin.folder)


def _facts(beside: Beside, copied: Sequence[Path], differing: Sequence[str]) -> dict[str, str]:
    facts: dict[str, str] = {}
    origin = _origin(beside)
    if copied and origin is not None:
        facts["copied"] = f"from {origin.name}: {_some([file.name for file in copied])}"
        if unlike := list(_unlike(beside, origin)):
            facts["tokenizers differ"] = f"that of {origin.name} was taken, and not that of {_some(unlike)}"
    if beside.averaged:
        facts["averaged whatever the method"] = _some(beside.averaged)
    if beside.kept:
        facts["of the first source"] = _some(beside.kept)
    if differing:
        facts["of the first source though others differ"] = _some(differing)
    if tied := beside.sources[0].tied:
        facts["tied"] = _some([f"{alias} is {owner}" for alias, owner in tied.items()])
    for one in beside.every:
        for topic, note in one.notes.items():
            facts[topic] = f"{facts[topic]}; {note}" if topic in facts and facts[topic] != note else note
    return facts


def _unlike(beside: Beside, beginning: Stored) -> Iterator[str]:
    """Sources that read text otherwise."""
    for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"):
        taken = beginning.folder / name if beginning.folder else None
        if taken is None or not taken.is_file():
            continue
        for other in beside.every:
            own = other.folder / name if other.folder else None
            if own is not None and own.is_file() and own.read_bytes() != taken.read_bytes():
                yield other.name
        return


def _some(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
