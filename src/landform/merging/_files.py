"""Merge weights on disk that memory need not hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch

from landform.errors import BadInput
from landform.merging._ask import ask
from landform.merging._beside import Beside, put_beside
from landform.merging._blocks import BLOCK, step_of
from landform.merging._layers import Layer
from landform.merging._method import Asked, Method, Per
from landform.merging._places import Stored, open_stored
from landform.merging._registry import get
from landform.merging._stream import Stream, combined, one_thread_each
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
from landform.store import make_folder, size_text

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


@dataclass(frozen=True)
class FileMerge:
    """Weights on disk made into one, and how.

    Attributes:
        out: the folder or file; None where nothing was to be written.
        method: its name.
        sources: as they were given.
        base: as it was given, or None.
        weights: of the sources, as given; ones where none were.
        settings: of the method, each with its value.
        per: over what the method gathered what it had to know.
        tensors: how many the merge has.
        bytes: how many they take.
        files: names of the files of weights, and what each takes.
        memory: bytes of numbers held at a time, roughly.
        layers: each merged tensor beside those of the sources; none where no report was asked for.
        total: the same over all of them, or None.
        facts: what is worth knowing, by topic: whose other files were copied, what was averaged, kept or left out.
    """

    out: Path | None
    method: str
    sources: tuple[str, ...]
    base: str | None
    weights: tuple[float, ...]
    settings: Mapping[str, Any]
    per: Per
    tensors: int
    bytes: int
    files: Mapping[str, int]
    memory: int
    layers: tuple[Layer, ...]
    total: Layer | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """What was done, in a few lines."""
        where = f"written to {self.out}" if self.out else "would be written"
        on = f" on {self.base}" if self.base else ""
        count = len(self.files)
        lines = [
            f"{self.method} of {len(self.sources)}{on}, per {self.per}: {self.tensors} tensors, "
            f"{size_text(self.bytes)} in {count} file{'s' * (count != 1)}, {where}",
            *(f"{topic}: {told}" for topic, told in self.facts.items()),
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values, NaN as None.

        Returns:
            What is kept beside the weights as ``merge.json``.
        """
        plain: dict[str, Any] = _plain({**vars(self), "out": None if self.out is None else str(self.out)})
        return plain


def merge_files(
    sources: Sequence[Place],
    out: Place | None,
    *,
    method: str | Method = "mean",
    base: Place | None = None,
    weights: Sequence[float] | None = None,
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
        weights: one for each source; ones if not given.
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
    asked = ask(chosen, names, base=base is not None, weights=weights, settings=settings, per=per, seed=seed)
    wanted = as_type(dtype)
    beside = put_beside([open_stored(one) for one in sources], None if base is None else open_stored(base), wanted)
    with one_thread_each() as threads:
        return _merge(
            chosen, beside, lambda name: asked, out, wanted, shard_bytes, dry_run, report, overwrite, block, threads,
            progress,
        )  # fmt: skip


def _merge(
    method: Method,
    beside: Beside,
    asks: Callable[[str], Asked],
    out: Place | None,
    dtype: torch.dtype | None,
    shard_bytes: int | None,
    dry_run: bool,
    report: bool,
    overwrite: bool,
    block: int,
    threads: int,
    progress: Progress | None,
) -> FileMerge:
    first = beside.sources[0]
    target = None if out is None else Path(out)
    single = target is not None and target.suffix == ".safetensors"
    shards = divide(first.shards, beside.out, shard_bytes)
    if single and target is not None:
        shards = (Shard(target.name, tuple(name for shard in shards for name in shard.names)),)
    needed = sum(held.bytes for held in beside.out.values())
    if target is not None:
        inputs = [path for source in beside.every for path in source.paths]
        check_target(target, inputs, 0 if dry_run else needed, overwrite=overwrite)
    stream = Stream(method, beside, asks, report=report, block=block, threads=threads, tick=_ticker(beside, progress))
    beginning = next((one for one in (beside.base, first) if one is not None and one.folder is not None), None)
    copied = [] if beginning is None or beginning.folder is None or single else others(beginning.folder)
    facts = _facts(beside, beginning, [file.name for file in copied])

    def told() -> FileMerge:
        found = stream.found
        asked = asks("")
        differing = {"of the first source though others differ": _some(found.differing)} if found.differing else {}
        return FileMerge(
            None if dry_run else target,
            method.name,
            asked.names,
            None if beside.base is None else beside.base.name,
            asked.weights,
            asked.settings,
            asked.per,
            len(beside.out),
            needed,
            {shard.file: sum(beside.out[name].bytes for name in shard.names) for shard in shards},
            _memory(method, beside, block),
            tuple(found.layers),
            combined(found.sums, "all") if found.sums else None,
            {**found.facts, **facts, **differing},
        )

    if dry_run:
        for shard in shards:
            for _ in stream.merged(shard.names):
                pass
        return told()
    assert target is not None
    strings = {**first.metadata, **first.tied, "format": "pt"}
    if single:
        make_folder(target.parent)
        _write(target, shards[0], beside, strings, stream)
        return told()
    with unfinished(target) as written:
        for file in copied:
            written.append(target / file.name)
            copy_other(file, target, dtype)
        for shard in shards:
            written.append(target / shard.file)
            mine = {key: value for key, value in strings.items() if first.tied.get(key) in (None, *shard.names)}
            _write(target / shard.file, shard, beside, mine, stream)
        if len(shards) > 1:
            written.append(write_index(target, shards, beside.out))
        result = told()
        settle(target, result.to_json)
    return result


def _write(path: Path, shard: Shard, beside: Beside, strings: Mapping[str, str], stream: Stream) -> None:
    with closing(stream.merged(shard.names)) as blocks:
        write_shard(path, {name: beside.out[name] for name in shard.names}, strings, blocks)


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


def _memory(method: Method, beside: Beside, block: int) -> int:
    """What is held at a time: a few copies of a block of every source, as large as the arithmetic."""
    longest = max(min(held.size, step_of(method, held.shape, block)) for held in beside.out.values())
    return 4 * longest * (3 + 4) * len(beside.every)


def _facts(beside: Beside, beginning: Stored | None, copied: Sequence[str]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if copied and beginning is not None:
        facts["copied"] = f"from {beginning.name}: {_some(copied)}"
        if unlike := list(_unlike(beside, beginning)):
            facts["tokenizers differ"] = f"that of {beginning.name} was taken, and not that of {_some(unlike)}"
    if beside.averaged:
        facts["averaged whatever the method"] = _some(beside.averaged)
    if beside.kept:
        facts["of the first source"] = _some(beside.kept)
    if beside.sources[0].tied:
        facts["tied"] = _some([f"{alias} is {owner}" for alias, owner in beside.sources[0].tied.items()])
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


def _plain(value: Any) -> Any:
    if isinstance(value, Layer):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
