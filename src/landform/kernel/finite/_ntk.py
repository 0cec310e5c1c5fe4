"""The finite tangent kernel, exact.

``K(x, x')_kl = <d f_k(x) / d theta, d f_l(x') / d theta>``, layer by layer: a layer's share is the Gram matrix of its
per-sample gradients, which are formed only where nothing cheaper will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.kernel.finite._held import Held, Reduce, Separable
from landform.kernel.finite._plan import Choice, Plan, plan
from landform.kernel.finite._samples import Samples, samples_of
from landform.landscape import Landscape
from landform.per_sample import Layer, Pass, Rules

Kind = Literal["full", "trace", "each", "sum", "loss"] | int
Progress = Callable[[int, int], None]
MEMORY = 2**31
_REDUCE: dict[Any, Reduce] = {"full": "full", "each": "each"}


def ntk(
    landscape: Landscape,
    point: Tensor,
    x: Any = None,
    x2: Any = None,
    *,
    kind: Kind = "full",
    memory: float = MEMORY,
    precision: Literal["full", "bfloat16"] = "full",
    progress: Progress | None = None,
    buffers: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The tangent kernel of a model at a point.

    Args:
        landscape: gives the model, and the data where ``x`` is None.
        point: ``[P]``.
        x: inputs ``[n, ...]``, a pair of inputs and targets, or a batch as the landscape's ``forward`` takes it; None
            for all of the landscape's data.
        x2: a second set of m; None for the first again, whose symmetric half is then computed once.
        kind: ``"full"`` for all pairs of the K outputs; ``"trace"`` for the sum over the outputs of the kernel of each
            (neural-tangents calls the mean over them trace); ``"each"`` for the kernel of each output; ``"sum"`` for
            the kernel of the sum of the outputs; a number for that output's alone; ``"loss"`` for the gradients of the
            losses of the samples, which needs targets.
        memory: bytes that the kernel and all that is held for it may take.
        precision: ``"bfloat16"`` multiplies in bfloat16 and adds in float32 where the device can (CPU cores with AMX;
            a GPU takes TF32): see `precision_error` for what that costs in exactness here.
        progress: told how many samples' gradients have been taken, and how many there are to take.
        buffers: buffers to use instead of the landscape's own, such as a record's.

    Returns:
        ``[n, m, K, K]`` for ``"full"``, ``[n, m, K]`` for ``"each"``, else ``[n, m]``; trailing output dimensions are
        flattened into K. On the landscape's device.

    Raises:
        BadInput: when samples are not independent, or the kernel does not fit into the memory.
    """
    work = work_of(landscape, point, x, x2, kind, memory, buffers)
    with products(precision):
        (kernel,) = whole_of(work, (None,), progress).values()
    return presented(kernel, work.plan.reduce)


def by_layer(
    landscape: Landscape,
    point: Tensor,
    x: Any = None,
    x2: Any = None,
    *,
    kind: Kind = "trace",
    memory: float = MEMORY,
    progress: Progress | None = None,
    buffers: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Each layer's share of the tangent kernel; the shares add up to it.

    Args:
        landscape: gives the model, and the data where ``x`` is None.
        point: ``[P]``.
        x: as for `ntk`.
        x2: as for `ntk`.
        kind: as for `ntk`.
        memory: bytes; as many kernels are held as there are layers.
        progress: as for `ntk`.
        buffers: as for `ntk`.

    Returns:
        The kernel of the parameters of each layer, by the name of its module ("" for parameters of the model itself).

    Raises:
        BadInput: as for `ntk`.
    """
    work = work_of(landscape, point, x, x2, kind, memory, buffers)
    modules = tuple(dict.fromkeys(_module(choice) for choice in work.plan.layers))
    needed = work.plan.memory + (len(modules) - 1) * work.kernel_bytes
    if needed > memory:
        raise BadInput(
            f"The kernels of {len(modules)} layers take {needed / 2**20:,.0f} MB, and memory= is {memory / 2**20:,.0f} "
            "MB: give more, fewer samples, or kind='trace'."
        )
    found = whole_of(work, modules, progress)
    return {str(name): presented(kernel, work.plan.reduce) for name, kernel in found.items()}


def explain(
    landscape: Landscape,
    point: Tensor,
    x: Any = None,
    x2: Any = None,
    *,
    kind: Kind = "full",
    memory: float = MEMORY,
    buffers: Mapping[str, Tensor] | None = None,
) -> Plan:
    """Say how `ntk` would compute a kernel: the rule and form of every parameter, its cost, and what is held at a time.

    Args:
        landscape: as for `ntk`.
        point: as for `ntk`.
        x: as for `ntk`.
        x2: as for `ntk`.
        kind: as for `ntk`.
        memory: as for `ntk`.
        buffers: as for `ntk`.

    Returns:
        The plan; printed, it is a table.
    """
    return work_of(landscape, point, x, x2, kind, memory, buffers).plan


@dataclass(frozen=True)
class Work:
    """A kernel to compute."""

    rules: Rules
    left: Samples
    right: Samples | None
    kind: Kind
    mixes: Tensor | None
    plan: Plan
    replan: Callable[[frozenset[type[Held]]], Plan]

    @property
    def columns(self) -> Samples:
        return self.left if self.right is None else self.right

    @property
    def kernel_bytes(self) -> int:
        n, m, k = len(self.left), len(self.columns), self.plan.outputs
        each = {"full": k * k, "trace": 1, "each": k}[self.plan.reduce]
        return n * m * each * torch.empty((), dtype=self.rules.point.dtype).element_size()


def work_of(
    landscape: Landscape,
    point: Tensor,
    x: Any,
    x2: Any,
    kind: Kind,
    memory: float,
    buffers: Mapping[str, Tensor] | None,
    whole: bool = True,
    mixes: Callable[[int], Tensor] | None = None,
) -> Work:
    """Read what a user asks for, look at two samples, and plan.

    Args:
        landscape: as for `ntk`.
        point: as for `ntk`.
        x: as for `ntk`.
        x2: as for `ntk`.
        kind: as for `ntk`.
        memory: bytes.
        buffers: as for `ntk`.
        whole: whether the whole kernel is held in memory, or one stripe of its rows.
        mixes: makes, for K outputs, mixes of them ``[d, K]`` to take in their place.

    Returns:
        The work.
    """
    left = samples_of(landscape, x, "x", kind == "loss")
    right = None if x2 is None else samples_of(landscape, x2, "x2", kind == "loss")
    rules = Rules(landscape, point, left.batch, buffers=buffers)
    reduce = _reduce(kind, rules.outputs)
    mixed = None if mixes is None else mixes(rules.outputs).to(rules.point)
    count = len(mixed) if mixed is not None else _count(kind, rules.outputs)
    against = len(left) if right is None else len(right)

    def made(without: frozenset[type[Held]]) -> Plan:
        two = left.part(slice(0, 2))
        along = _cotangents(kind, mixed, rules, rules(two), range(count))
        symmetric = right is None
        return plan(
            rules, two, along, len(left), against, reduce,
            symmetric=symmetric, memory=memory, whole=whole, without=without,
        )  # fmt: skip

    # A plan holds for all points; that along a run hundreds of kernels are taken is the usual case.
    asked = ("kernel", kind, count, mixed is None, len(left), right is None, against, memory, whole)
    if asked not in rules.kept:
        rules.kept[asked] = made(frozenset())
    return Work(rules, left, right, kind, mixed, rules.kept[asked], made)


def _reduce(kind: Kind, outputs: int) -> Reduce:
    if isinstance(kind, int) and not isinstance(kind, bool):
        if not 0 <= kind < outputs:
            raise BadInput(f"kind={kind} asks for output {kind}, and the model has {outputs} (0 to {outputs - 1}).")
        return "trace"
    if kind not in ("full", "trace", "each", "sum", "loss"):
        raise BadInput(f"kind is {kind!r}: give 'full', 'trace', 'each', 'sum', 'loss', or the number of an output.")
    return _REDUCE.get(kind, "trace")


def _count(kind: Kind, outputs: int) -> int:
    return outputs if kind in ("full", "trace", "each") else 1


def _cotangents(kind: Kind, mixes: Tensor | None, rules: Rules, passed: Pass, which: range) -> Tensor:
    """The cotangents of some of the gradients of every sample, ``[len(which), B, K]``."""
    outputs = passed.outputs
    if mixes is not None:
        return mixes[which.start : which.stop].unsqueeze(1).expand(-1, len(outputs), -1)
    if kind == "loss":
        return _loss_cotangents(rules, passed)
    along = outputs.new_zeros(len(which), *outputs.shape)
    if kind == "sum":
        return along + 1
    for i, k in enumerate(which):
        along[i, :, kind if isinstance(kind, int) else k] = 1
    return along


def _loss_cotangents(rules: Rules, passed: Pass) -> Tensor:
    outputs = passed.outputs.detach().requires_grad_()
    with torch.enable_grad():
        # The mean over the batch times its size: each sample's own loss.
        loss = rules.landscape._loss(outputs.view(-1, *rules.shape), passed.targets) * len(outputs)
        (along,) = torch.autograd.grad(loss, outputs)
    return along.unsqueeze(0)


class NotSeparable(Exception):
    """A layer's cotangents turned out to have no common factor over its positions."""


def whole_of(work: Work, modules: tuple[str | None, ...], progress: Progress | None) -> dict[str | None, Tensor]:
    """The kernel in memory, or one for each module."""
    try:
        found = {module: _empty(work) for module in modules}
        done = Counter(work, progress)
        for start in range(0, work.plan.samples, work.plan.stripe):
            rows = slice(start, min(start + work.plan.stripe, work.plan.samples))
            stripes = {module: _rows_of(kernel, rows, work.plan.reduce) for module, kernel in found.items()}
            fill(work, rows, stripes, done)
    except NotSeparable:
        return whole_of(without_separable(work), modules, progress)
    if work.right is None:
        for kernel in found.values():
            mirror(kernel, work.plan)
    return found


def without_separable(work: Work) -> Work:
    return replace(work, plan=work.replan(frozenset({Separable})))


def fill(
    work: Work,
    rows: slice,
    stripes: Mapping[str | None, Tensor],
    done: Counter,
    groups: Iterable[range] | None = None,
) -> None:
    """Add to a stripe of the kernel (of each module) what some outputs give; where symmetric, up to the diagonal.

    Args:
        work: the kernel.
        rows: of the stripe.
        stripes: the blocks to add to, all columns wide.
        done: told of samples.
        groups: of outputs; None for all.
    """
    made, symmetric = work.plan, work.right is None
    for which in groups_of(made) if groups is None else groups:
        held = hold(work, work.left, rows, which, done)
        blocks = {module: _outputs_of(block, which, made.reduce) for module, block in stripes.items()}
        if symmetric:
            _add(work, held, held, blocks, rows.start, symmetric=True)
        before = range(0, rows.start if symmetric else made.against, max(made.piece, 1))
        for start in before:
            piece = slice(start, min(start + made.piece, before.stop))
            other = hold(work, work.columns, piece, which, done)
            _add(work, held, other, blocks, piece.start, symmetric=False)


def add_rows(work: Work, held: list[Held], rows: slice, which: range, stripe: Tensor) -> None:
    """Add to a stripe of a symmetric kernel, up to the diagonal, from the gradients of all samples.

    Args:
        work: the kernel.
        held: what all samples hold of some outputs.
        rows: of the stripe.
        which: those outputs.
        stripe: the block to add to, ``rows.stop`` columns wide.
    """
    own = [layer.part(rows) for layer in held]
    block: dict[str | None, Tensor] = {None: _outputs_of(stripe, which, work.plan.reduce)}
    _add(work, own, own, block, rows.start, symmetric=True)
    if rows.start:
        _add(work, own, [layer.part(slice(0, rows.start)) for layer in held], block, 0, symmetric=False)


def _outputs_of(block: Tensor, which: range, reduce: Reduce) -> Tensor:
    return block[which.start : which.stop] if reduce == "each" else block


def groups_of(made: Plan) -> list[range]:
    """The outputs in the groups in which they are gone through."""
    return [range(i, min(i + made.group, made.outputs)) for i in range(0, made.outputs, made.group)]


def hold(work: Work, samples: Samples, part: slice, which: range, done: Counter) -> list[Held]:
    """Take the gradients of some samples, chunk by chunk, each layer in its form."""
    held: list[Held] = []
    count = part.stop - part.start
    for start in range(part.start, part.stop, work.plan.chunk):
        chunk = slice(start, min(start + work.plan.chunk, part.stop))
        passed = work.rules(samples.part(chunk))
        along = _cotangents(work.kind, work.mixes, work.rules, passed, which)
        for number, layer in enumerate(passed.pull_layers(along, last=True)):
            form = _formed(work.plan.layers[number], layer)
            if len(held) == number:
                held.append(form if count == len(form) else form.room(count))
            if count != len(form):
                held[number].put(start - part.start, form)
        done(chunk.stop - chunk.start)
    return held


def _formed(choice: Choice, layer: Layer) -> Held:
    form = choice.form.of(layer.part, layer.bias is not None)
    if form is None:
        raise NotSeparable
    return form


def _add(
    work: Work,
    left: list[Held],
    right: list[Held],
    stripes: Mapping[str | None, Tensor],
    first_column: int,
    symmetric: bool,
) -> None:
    """Add the Grams of all layers, tile by tile; of a symmetric block only the lower tiles."""
    reduce = work.plan.reduce
    side = work.plan.side
    modules = [None if None in stripes else _module(choice) for choice in work.plan.layers]
    count, columns = len(left[0]), len(right[0])
    for i in range(0, count, side):
        rows = slice(i, min(i + side, count))
        for j in range(0, rows.stop if symmetric else columns, side):
            part = slice(j, min(j + side, columns))
            at = slice(first_column + part.start, first_column + part.stop)
            # All layers to one tile, which stays in the cache meanwhile.
            tiles = {module: _tile(block, rows, at, reduce) for module, block in stripes.items()}
            for own, other, module in zip(left, right, modules, strict=True):
                own.part(rows).add(other.part(part), tiles[module], reduce)


def _tile(block: Tensor, rows: slice, columns: slice, reduce: Reduce) -> Tensor:
    if reduce == "full":
        return block[rows, :, columns]
    return block[..., rows, columns]


def _rows_of(kernel: Tensor, rows: slice, reduce: Reduce) -> Tensor:
    return kernel[:, rows] if reduce == "each" else kernel[rows]


def _empty(work: Work) -> Tensor:
    n, m, k = len(work.left), len(work.columns), work.plan.outputs
    shape = {"full": (n, k, m, k), "trace": (n, m), "each": (k, n, m)}[work.plan.reduce]
    return work.rules.point.new_zeros(shape)


def mirror(kernel: Tensor, made: Plan) -> None:
    """Copy the lower half into the upper, some rows at a time."""
    size, step, reduce = made.samples, made.side, made.reduce
    for i in range(0, size, step):
        rows = slice(i, min(i + step, size))
        if reduce == "full":
            kernel[:i, :, rows] = kernel[rows, :, :i].permute(2, 3, 0, 1)
            square = kernel[rows, :, rows].flatten(0, 1).flatten(1, 2)
            whole = square.tril() + square.tril(-1).T
            kernel[rows, :, rows] = whole.view(kernel[rows, :, rows].shape)
        else:
            kernel[..., :i, rows] = kernel[..., rows, :i].transpose(-1, -2)
            square = kernel[..., rows, rows]
            kernel[..., rows, rows] = square.tril() + square.tril(-1).transpose(-1, -2)


def presented(kernel: Tensor, reduce: Reduce) -> Tensor:
    """In the order of the axes that users know."""
    if reduce == "full":
        return kernel.permute(0, 2, 1, 3)
    return kernel.permute(1, 2, 0) if reduce == "each" else kernel


def _module(choice: Choice) -> str:
    return choice.names[0].split("[")[0].rpartition(".")[0]


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Let products inside round their factors to bfloat16.

    Args:
        precision: ``"full"`` or ``"bfloat16"``.

    Yields:
        Nothing.

    Raises:
        BadInput: for any other.
    """
    if precision not in ("full", "bfloat16"):
        raise BadInput(f"precision is {precision!r}: give 'full' or 'bfloat16'.")
    if precision == "full":
        yield
        return
    backends: Any = torch.backends
    if not hasattr(backends.mkldnn, "matmul"):  # before torch 2.9 there was one setting for all matrix products
        old = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(old)
        return
    places = [backends.mkldnn.matmul, backends.mkldnn.conv, backends.cuda.matmul, backends.cudnn.conv]
    before = [place.fp32_precision for place in places]
    try:
        for place, value in zip(places, ("bf16", "bf16", "tf32", "tf32"), strict=True):
            place.fp32_precision = value
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value


class Counter:
    """Tells how many samples' gradients have been taken, of how many."""

    def __init__(self, work: Work, progress: Progress | None) -> None:
        """Count what is to come."""
        made = work.plan
        stripes = [min(made.stripe, made.samples - start) for start in range(0, made.samples, made.stripe)]
        before = [i * made.stripe if work.right is None else made.against for i in range(len(stripes))]
        groups = -(-made.outputs // made.group)
        self._progress, self._done = progress, 0
        self._total = groups * (sum(stripes) + sum(before))

    def __call__(self, samples: int) -> None:
        """Go on by some samples."""
        self._done += samples
        if self._progress is not None:
            self._progress(self._done, self._total)
