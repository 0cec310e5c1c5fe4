"""A kernel larger than memory, stripe by stripe to a file, to be taken up again where it was cut."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from landform import store
from landform.errors import BadInput
from landform.kernel.finite._ntk import (
    MEMORY,
    Counter,
    Kind,
    NotSeparable,
    Progress,
    Work,
    add_rows,
    fill,
    groups_of,
    hold,
    mirror,
    presented,
    without_separable,
    work_of,
)
from landform.landscape import Landscape

_PARTS = 16


def ntk_to_file(
    out: str | Path,
    landscape: Landscape,
    point: Tensor,
    x: Any = None,
    x2: Any = None,
    *,
    kind: Kind = "trace",
    memory: float = MEMORY,
    progress: Progress | None = None,
    buffers: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The tangent kernel, written to a file as it is computed.

    Stripes of rows are kept in a folder beside the file until all are there; a run that was cut goes on from the
    outputs of the stripe it was at.

    Args:
        out: the file, ``.safetensors``; the kernel is in it under the name ``kernel``.
        landscape: as for `ntk`.
        point: as for `ntk`.
        x: as for `ntk`.
        x2: as for `ntk`.
        kind: as for `ntk`.
        memory: bytes for one stripe of the kernel and what is held for it.
        progress: told how many samples' gradients have been taken in this run, and how many there are to take.
        buffers: as for `ntk`.

    Returns:
        The kernel, its numbers still in the file and read as they are used; shaped as `ntk` returns it.

    Raises:
        BadInput: as for `ntk`; or when the file is there already and holds another kernel, or its folder cannot be
            written.
    """
    out = Path(out)
    work = work_of(landscape, point, x, x2, kind, memory, buffers, whole=False)
    asked = _asked(work, landscape, buffers)
    if out.exists():
        return presented(_finished(out, asked), work.plan.reduce)
    folder = store.make_folder(out.with_name(out.name + ".stripes"))
    lock = store.Lock(folder)
    try:
        try:
            _stripes(work, folder, asked, progress)
        except NotSeparable:
            work = without_separable(work)
            _stripes(work, folder, asked, progress)
        _assemble(work, folder, out, asked)
    finally:
        lock.release()
    for file in folder.iterdir():
        store.remove(file)
    folder.rmdir()
    return presented(_finished(out, asked), work.plan.reduce)


def _asked(work: Work, landscape: Landscape, buffers: Mapping[str, Tensor] | None) -> str:
    """What kernel this is, so that a file or a folder of another one is not gone on with."""
    tensors = [work.rules.point, *[(buffers or {})[name] for name in sorted(buffers or {})]]
    for samples in (work.left, work.right):
        if samples is not None:
            tensors += [leaf for leaf in pytree.tree_leaves(samples.batch) if isinstance(leaf, Tensor)]
    sums = [f"{store.checksum(t):08x}" for t in tensors]
    told = json.dumps([landscape.fingerprint(), str(work.kind), sums, work.right is None])
    return hashlib.blake2b(told.encode(), digest_size=10).hexdigest()


def _finished(out: Path, asked: str) -> Tensor:
    file = store.open_tensors(out)
    if file.metadata.get("kernel") != asked:
        raise BadInput(f"{out} is there already and holds another kernel: give another path, or remove it.")
    return file.map("kernel")


def _ranges(work: Work) -> list[slice]:
    """The rows that are kept together: those held at a time, or parts of them where all samples are held."""
    made = work.plan
    step = max(made.side, -(-made.samples // _PARTS)) if _all_held(work) else made.stripe
    return [slice(i, min(i + step, made.samples)) for i in range(0, made.samples, step)]


def _all_held(work: Work) -> bool:
    return work.right is None and work.plan.stripe == work.plan.samples


def _width(work: Work, rows: slice) -> int:
    """Columns of a stripe: of a symmetric kernel those up to the diagonal."""
    return rows.stop if work.right is None else work.plan.against


def _shape(work: Work, rows: slice) -> tuple[int, ...]:
    count, k = rows.stop - rows.start, work.plan.outputs
    wide = _width(work, rows)
    return {"full": (count, k, wide, k), "trace": (count, wide), "each": (k, count, wide)}[work.plan.reduce]


def _stripes(work: Work, folder: Path, asked: str, progress: Progress | None) -> None:
    told = Counter(work, progress)
    groups = groups_of(work.plan)
    if _all_held(work):
        for done, which in enumerate(groups):
            _parts(work, folder, asked, done, which, told)
        return
    for number, rows in enumerate(_ranges(work)):
        done, stripe = _begun(work, folder, asked, number, rows)
        for which in groups[done:]:
            fill(work, rows, {None: stripe}, told, [which])
            done += 1
            _keep(work, folder, asked, number, rows, stripe, done)


def _parts(work: Work, folder: Path, asked: str, group: int, which: range, told: Counter) -> None:
    """Take the gradients of all samples once, and go through the rows that lack these outputs."""
    lacking = [
        (number, rows)
        for number, rows in enumerate(_ranges(work))
        if _begun(work, folder, asked, number, rows)[0] <= group
    ]
    if not lacking:
        return
    held = hold(work, work.left, slice(0, work.plan.samples), which, told)
    for number, rows in lacking:
        _, stripe = _begun(work, folder, asked, number, rows)
        add_rows(work, held, rows, which, stripe)
        _keep(work, folder, asked, number, rows, stripe, group + 1)
        told(0)


def _plan(work: Work, asked: str, rows: slice) -> str:
    """Which rows and groups there are follows from the memory given: another plan cannot go on with these."""
    return f"{asked} {rows.start} {rows.stop} {work.plan.group} {[c.form.name for c in work.plan.layers]}"


def _keep(work: Work, folder: Path, asked: str, number: int, rows: slice, stripe: Tensor, done: int) -> None:
    told = {"plan": _plan(work, asked, rows), "done": str(done)}
    store.write_tensors(folder / f"{number:05d}.safetensors", {"stripe": stripe}, told)


def _begun(work: Work, folder: Path, asked: str, number: int, rows: slice) -> tuple[int, Tensor]:
    """How many groups of outputs a stripe has, and the stripe."""
    path = folder / f"{number:05d}.safetensors"
    if path.exists():
        file = store.open_tensors(path)
        if file.metadata.get("plan") == _plan(work, asked, rows):
            return int(file.metadata["done"]), file.read("stripe").to(work.rules.point.device)
    return 0, work.rules.point.new_zeros(_shape(work, rows))


def _assemble(work: Work, folder: Path, out: Path, asked: str) -> None:
    """Put the stripes into one file, mirrored where only the lower half was computed."""
    n, m, k = work.plan.samples, work.plan.against, work.plan.outputs
    shape = {"full": (n, k, m, k), "trace": (n, m), "each": (k, n, m)}[work.plan.reduce]
    room = folder / "whole.numbers"
    whole = store.scratch(room, shape, work.rules.point.dtype)
    for number, rows in enumerate(_ranges(work)):
        stripe = store.open_tensors(folder / f"{number:05d}.safetensors").read("stripe")
        if work.plan.reduce == "each":
            whole[:, rows, : _width(work, rows)] = stripe
        elif work.plan.reduce == "full":
            whole[rows, :, : _width(work, rows)] = stripe
        else:
            whole[rows, : _width(work, rows)] = stripe
        del stripe
    if work.right is None:
        mirror(whole, work.plan)
    store.write_tensors(out, {"kernel": whole}, {"kernel": asked})
    del whole
