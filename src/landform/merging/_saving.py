"""A merge made in memory, put on disk as files are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from landform.errors import BadInput
from landform.merging._beside import type_name
from landform.merging._file_merge import FileMerge
from landform.merging._files import as_type
from landform.merging._merge import Merge
from landform.merging._reading import Held
from landform.merging._writing import Shard, check_target, settle, unfinished, write_shard
from landform.store import make_folder


def save(
    found: Merge,
    out: str | Path | None,
    *,
    sources: Sequence[str] = (),
    base: str | None = None,
    dtype: str | torch.dtype | None = None,
    overwrite: bool = False,
) -> FileMerge:
    """Write a merge as ``model.safetensors``, under the names of the model, with ``merge.json`` beside it.

    Args:
        found: what `merge` made, with a layout.
        out: a folder, or a file that ends in .safetensors; None to be told only what would be written.
        sources: what the sources are called, for what is told of the merge.
        base: what the base is called.
        dtype: for the floating-point tensors; that of the point if not given.
        overwrite: replace the model that lies in ``out``.

    Returns:
        What was written.

    Raises:
        BadInput: when no layout is known, or ``out`` cannot be written.
    """
    if found.layout is None:
        raise BadInput("This merge knows no layout, so its tensors have no names: give merge(..., layout=).")
    wanted = as_type(dtype)
    tensors = {
        **found.layout.views(found.point.detach().cpu()),
        **{n: b.detach().cpu() for n, b in found.buffers.items()},
    }
    if wanted is not None:
        tensors = {name: t.to(wanted) if t.is_floating_point() else t for name, t in tensors.items()}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BadInput(f"{name} of the merge holds numbers that are not finite as {type_name(tensor.dtype)}.")
    held = {name: Held(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    target = None if out is None else Path(out)
    single = target is not None and target.suffix == ".safetensors"
    shard = Shard(target.name if single and target is not None else "model.safetensors", tuple(tensors))
    size = sum(one.bytes for one in held.values())
    if target is not None:
        check_target(target, (), size, overwrite=overwrite)
    tied = dict(found.layout.tied or {})
    facts = dict(found.facts)
    if tied:
        facts["tied"] = ", ".join(f"{alias} is {owner}" for alias, owner in tied.items())
    if found.layout.frozen:
        facts["left out"] = f"what is frozen: {', '.join(found.layout.frozen)}"
    told = FileMerge(
        target,
        found.method,
        tuple(sources) or tuple(f"source {i + 1}" for i in range(len(found.weights))),
        base,
        found.weights,
        found.settings,
        found.per,
        len(tensors),
        size,
        {shard.file: size},
        0,
        found.layers,
        (),
        found.total,
        facts,
    )
    if target is None:
        return told
    blocks = [tensor.contiguous().reshape(-1) for tensor in tensors.values()]
    strings = {"format": "pt", **tied}
    if single:
        make_folder(target.parent)
        write_shard(target, held, strings, blocks)
        return told
    with unfinished(target) as written:
        written.append(target / shard.file)
        write_shard(target / shard.file, held, strings, blocks)
        settle(target, told.to_json)
    return told
